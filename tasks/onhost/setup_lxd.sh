#!/bin/sh
# Sets up LXD as far as it has to be done on the host itself. Arguments, any of:
#   kernel KEY=VALUE    a kernel setting, now and after a reboot
#   install deb|snap    install LXD and start it; snap=CHANNEL from that channel
#   channel CHANNEL     what the snap follows from now on
#   refresh TIMER       when snapd refreshes its snaps
#   listen ADDRESS      core.https_address
#   trust NAME          trust the client certificate on standard input under this name, and remember
#                       so in /var/lib/nornir-lxd-fleet/created
#   distrust LINE       trust one no more that is remembered there, as NAME FINGERPRINT
#   client USER         make a client certificate for this Unix user, as the LXD client makes it
# Standard output: LXD's server certificate.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL
umask 077

created=/var/lib/nornir-lxd-fleet/created
work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX)
trap 'rm -rf "$work"' EXIT
cat >"$work/certificate.crt"

# Seconds for installing: with the rest it is less than the controller waits, which would leave
# apt or snap to themselves.
install_end=$(($(date +%s) + 700))

# bounded COMMAND...: no longer than what is left of them
bounded() {
    status=0
    left=$((install_end - $(date +%s)))
    [ "$left" -gt 0 ] || left=1
    # What packages make is for more than root.
    (umask 022 && exec timeout -k 10 "$left" "$@" </dev/null >&2) || status=$?
    case $status in
    124 | 137) echo "$1 was ended: it was not done within the deadline" >&2 ;;
    esac
    return "$status"
}

install_deb() {
    export DEBIAN_FRONTEND=noninteractive
    bounded apt-get -q -o DPkg::Lock::Timeout=300 update
    bounded apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold install lxd lxd-client
}

install_snap() {
    if ! command -v snap >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        bounded apt-get -q -o DPkg::Lock::Timeout=300 update
        bounded apt-get -q -y -o DPkg::Lock::Timeout=300 install snapd
        bounded snap wait system seed.loaded
    fi
    if [ -n "$1" ]; then bounded snap install lxd --channel="$1"; else bounded snap install lxd; fi
    lxd_folder=/var/snap/lxd/common/lxd
}

# The setting itself, then its line in our file, the rest of which is left as it is: what the kernel
# does not take is not kept for the next boot either.
set_kernel() {
    key=${1%%=*}
    value=${1#*=}
    if ! printf '%s\n' "$value" 2>/dev/null >"/proc/sys/$(printf %s "$key" | tr . /)"; then
        echo "the kernel does not take $key = $value" >&2
        return 1
    fi
    file=/etc/sysctl.d/60-nornir-lxd-fleet.conf
    mkdir -p "${file%/*}"
    {
        [ ! -e "$file" ] || grep -v "^$(printf %s "$key" | sed 's/\./\\./g') *=" "$file" || :
        printf '%s = %s\n' "$key" "$value"
    } >"$work/sysctl"
    chmod 644 "$work/sysctl"
    # Beside it first, so that whoever reads it sees the old file or the new one whole.
    cp -p "$work/sysctl" "$file.new"
    sync "$file.new"
    mv "$file.new" "$file"
}

# Run a command as a Unix user, with that user's home: what the LXD client writes there is theirs.
as_user() {
    if [ "$1" = root ]; then
        shift
        HOME=/root "$@"
    else
        user=$1
        home=$(getent passwd "$user" | cut -d: -f6)
        shift
        runuser -u "$user" -- env HOME="$home" "$@"
    fi
}

make_client() {
    as_user "$1" lxc remote list >/dev/null
    # shellcheck disable=SC2016  # the inner shell's
    as_user "$1" sh -c '
        umask 077
        folder=$1
        mkdir -p "$folder/servercerts" && cd "$folder" || exit 1
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -sha384 -nodes \
            -days 3650 -subj "/O=linuxcontainers.org/CN=$2@$3" \
            -addext basicConstraints=critical,CA:false -addext extendedKeyUsage=clientAuth \
            -addext keyUsage=critical,digitalSignature,keyEncipherment \
            -keyout client.key.new -out client.crt.new 2>openssl.said || { cat openssl.said >&2; exit 1; }
        rm openssl.said
        mv client.key.new client.key && mv client.crt.new client.crt
    ' sh "$2" "$1" "$(hostname)"
}

# Remembered first: killed in between, the next run still knows whose it is.
trust() {
    mkdir -p "${created%/*}" && chmod 700 "${created%/*}"
    # Of the DER in the PEM, as LXD counts it.
    line="trust $1 $(sed '/^-/d' "$work/certificate.crt" | base64 -d | sha256sum | cut -d' ' -f1)"
    grep -qxF "$line" "$created" 2>/dev/null || printf '%s\n' "$line" >>"$created"
    lxc config trust add "$work/certificate.crt" --name "$1" >&2
}

distrust() {
    lxc config trust remove "${1##* }" >&2
    grep -vxF "trust $1" "$created" >"$created.new" || : # nothing else in it
    mv "$created.new" "$created"
}

# Where both are there, the package has the data, or a move would have come first.
is_snap() {
    [ -e /snap/lxd/current ] || return
    if [ -e /var/lib/dpkg/info/lxd.list ] && [ -x /usr/bin/lxd ]; then return 1; fi
}

lxd_folder=/var/lib/lxd
is_snap && lxd_folder=/var/snap/lxd/common/lxd

while [ $# -gt 0 ]; do
    case $1 in
    install)
        case $2 in
        deb) install_deb ;;
        snap) install_snap '' ;;
        snap=*) install_snap "${2#snap=}" ;;
        esac
        ;;
    kernel) set_kernel "$2" ;;
    channel) bounded snap refresh lxd --channel="$2" ;;
    refresh) bounded snap set system refresh.timer="$2" ;;
    listen | trust | distrust)
        # A client folder of its own: root's is made only where the inventory has root as a client.
        export LXD_CONF="$work/client"
        mkdir -p "$LXD_CONF"
        lxd waitready --timeout=60
        case $1 in
        listen) lxc config set core.https_address "$2" ;;
        trust) trust "$2" ;;
        distrust) distrust "$2" ;;
        esac
        unset LXD_CONF
        ;;
    client)
        home=$(getent passwd "$2" | cut -d: -f6)
        folder=$home/.config/lxc
        is_snap && folder=$home/snap/lxd/common/config
        make_client "$2" "$folder"
        ;;
    *) echo "unknown word $1" >&2 && exit 1 ;;
    esac
    shift 2
done

LXD_CONF=$work/client lxd waitready --timeout=60
cat "$lxd_folder/server.crt"
