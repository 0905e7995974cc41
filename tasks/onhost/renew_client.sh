#!/bin/sh
# Renews client certificates of Unix users on an LXD host, each with the key that it has.
# Arguments: deb or snap, whichever its LXD is, then any of
#   make USER   a new one beside the one in use, as client.crt.next; prints USER and it as base64
#   use USER    that one from now on, in one rename
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

package=$1
shift

# in_folder USER COMMAND ARGUMENT...: a shell's command, as the user, in that user's client folder
in_folder() {
    user=$1
    home=$(getent passwd "$user" | cut -d: -f6)
    folder=$home/.config/lxc
    [ "$package" = snap ] && folder=$home/snap/lxd/common/config
    shift
    # shellcheck disable=SC2016  # the inner shell's
    set -- sh -c 'umask 077; cd "$1" || exit 1; shift; eval "$1"' sh "$folder" "$@"
    if [ "$user" = root ]; then HOME=$home "$@"; else runuser -u "$user" -- env HOME="$home" "$@"; fi
}

# As the LXD client makes its own. -key takes what kind of key there is.
# shellcheck disable=SC2016  # the inner shell's
make='
    rm -f client.crt.next.new
    openssl req -x509 -new -key client.key -sha384 -days 3650 \
        -subj "/O=linuxcontainers.org/CN=$2@$3" \
        -addext basicConstraints=critical,CA:false -addext extendedKeyUsage=clientAuth \
        -addext keyUsage=critical,digitalSignature,keyEncipherment \
        -out client.crt.next.new >&2 </dev/null || exit 1
    mv -fT client.crt.next.new client.crt.next
    base64 -w0 client.crt.next
'
# shellcheck disable=SC2016  # the inner shell's
use='
    [ "$(openssl x509 -in client.crt.next -noout -pubkey)" = "$(openssl pkey -in client.key -pubout)" ] ||
        { echo "client.crt.next is not of the key client.key" >&2; exit 1; }
    sync client.crt.next
    mv -fT client.crt.next client.crt
'

while [ $# -gt 1 ]; do
    case $1 in
    make)
        made=$(in_folder "$2" "$make" "$2" "$(hostname)")
        printf '%s %s\n' "$2" "$made"
        ;;
    use) in_folder "$2" "$use" ;;
    *) echo "unknown word $1" >&2 && exit 1 ;;
    esac
    shift 2
done
