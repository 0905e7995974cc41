#!/bin/sh
# Writes remotes and trust on an LXD host. Argument: deb or snap, whichever its LXD is.
# Standard input: one change a line, texts as base64:
#   trust NAME CERTIFICATE         trust a client certificate
#   untrust FINGERPRINT            trust that one no more
#   pin USER REMOTE CERTIFICATE    a remote's server certificate in the user's client folder
#   unpin USER REMOTE              that one no more
#   config USER SHA256 TEXT        the user's config.yml, only if it still has that checksum
#   created LINE                   what /var/lib/nornir-lxd-fleet/created remembers
#   forget LINE                    what it no longer remembers
# Exit status 14: a config.yml was changed by somebody else meanwhile.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL
umask 077

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX)
trap 'rm -rf "$work"' EXIT
export LXD_CONF="$work/client"
mkdir "$LXD_CONF"
: >"$LXD_CONF/config.yml" # without one it greets a new user
lxc=lxc
package=$1
[ "$package" = snap ] && lxc=/snap/bin/lxc
list=/var/lib/nornir-lxd-fleet/created

folder_of() {
    home=$(getent passwd "$1" | cut -d: -f6)
    folder=$home/.config/lxc
    [ "$package" = snap ] && folder=$home/snap/lxd/common/config
    [ -d "$folder/servercerts" ] || install -d -m 750 -o "$1" -g "$(id -g "$1")" "$folder/servercerts"
}

# write_file FILE USER < TEXT: whole or not at all, owned by that user
write_file() {
    new=$(mktemp "$1.XXXXXX")
    cat >"$new"
    chown "$2:$(id -g "$2")" "$new"
    chmod 600 "$new"
    mv "$new" "$1"
}

cat >"$work/changes"
while read -r word one two three; do
    case $word in
    trust)
        printf %s "$two" | base64 -d >"$work/$one.crt"
        "$lxc" config trust add "$work/$one.crt" --name "$one" </dev/null >&2
        ;;
    untrust) "$lxc" config trust remove "$one" </dev/null >&2 ;;
    pin)
        folder_of "$one"
        printf %s "$three" | base64 -d | write_file "$folder/servercerts/$two.crt" "$one"
        ;;
    config)
        folder_of "$one"
        if [ -d "$folder/config.yml" ]; then
            echo "$folder/config.yml is a folder; remove it" >&2
            exit 1
        fi
        now=-
        [ -s "$folder/config.yml" ] && now=$(sha256sum <"$folder/config.yml") && now=${now%% *}
        if [ "$now" != "$two" ]; then
            echo "$folder/config.yml was changed meanwhile" >&2
            exit 14
        fi
        printf %s "$three" | base64 -d | write_file "$folder/config.yml" "$one"
        ;;
    unpin)
        folder_of "$one"
        rm -f "$folder/servercerts/$two.crt"
        ;;
    created)
        mkdir -p "${list%/*}" && chmod 700 "${list%/*}"
        line="$one${two:+ $two}${three:+ $three}"
        grep -qxF "$line" "$list" 2>/dev/null || printf '%s\n' "$line" >>"$list"
        ;;
    forget)
        line="$one${two:+ $two}${three:+ $three}"
        if grep -qxF "$line" "$list" 2>/dev/null; then
            grep -vxF "$line" "$list" >"$list.new" || true # nothing else in it
            mv "$list.new" "$list"
        fi
        ;;
    *) echo "unknown word $word" >&2 && exit 1 ;;
    esac
done <"$work/changes"
