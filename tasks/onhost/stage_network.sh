#!/bin/sh
# Prepares a change of the host's network: validates it elsewhere, remembers what is there now, arms
# the way back, and places the new files where a reboot forgets them. Nothing live changes yet.
# Arguments: OUR_FILE SECONDS TOKEN BYTES BYTES, then any of
#   replace FILE           a foreign netplan file that ours takes over from
#   link LINK              a link that is ours: rolling back restores it whole
#   gateway ADDRESS LINK   a default gateway that has to answer before the change is confirmed,
#                          unless it is no new one and does not answer now either ("old" follows)
# Standard input: the scripts that roll back and apply (so many BYTES), then our file's new text.
# netplan(5): a file in /run/netplan shadows the one of the same name in /etc/netplan.
# Exit status 10: the configuration is not valid, nothing was touched; 11: another change waits for
# its confirmation.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

ours=$1
seconds=$2
token=$3
rollback=$4
apply=$5
shift 5

change=/run/nornir-lxd-fleet/network
unit=nornir-lxd-fleet-rollback
mkdir -p "${change%/*}"
exec 9>"$change.lock"
busy() {
    echo "another change of the network is on its way" >&2
    exit 11
}
flock -n 9 || busy
if [ -e "$change/pending" ]; then
    systemctl is-active --quiet "$unit.timer" && busy
    # Its timer is gone, and nobody else would do it.
    flock -u 9
    sh "$change/rollback.sh"
    flock -n 9 || busy
fi
rm -rf "$change"
mkdir -p "$change/hidden"
printf '%s\n' "$ours" >"$change/ours"
: >"$change/replaced"
: >"$change/links"
: >"$change/gateways"
printf '%s\n' "$token" >"$change/token"
dd bs="$rollback" count=1 iflag=fullblock of="$change/rollback.sh" 2>/dev/null
dd bs="$apply" count=1 iflag=fullblock of="$change/apply.sh" 2>/dev/null
cat >"$change/candidate"

# answers ADDRESS: whether a neighbour is there, by ARP or neighbour discovery.
answers() {
    ping -c 1 -W 1 "$1" >/dev/null 2>&1 || :
    ip neigh show "$1" | grep lladdr | grep -qv FAILED
}

while [ $# -gt 0 ]; do
    case $1 in
    replace) printf '%s\n' "$2" >>"$change/replaced" && shift 2 ;;
    link) printf '%s\n' "$2" >>"$change/links" && shift 2 ;;
    gateway)
        if [ "$4" = new ] || answers "$2"; then printf '%s %s\n' "$2" "$3" >>"$change/gateways"; fi
        shift 4
        ;;
    *) echo "unknown word $1" >&2 && exit 1 ;;
    esac
done

# Validate what netplan will see, in a root of its own.
work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX)
trap 'rm -rf "$work"' EXIT
for folder in /etc/netplan /run/netplan /lib/netplan; do
    [ -d "$folder" ] || continue
    mkdir -p "$work$folder"
    cp -a "$folder/." "$work$folder"
done
while read -r file; do rm -f "$work$file"; done <"$change/replaced"
mkdir -p "$work${ours%/*}"
cp "$change/candidate" "$work$ours"
# The generator by itself where it is known: `netplan generate` of 1.1 and later also tells the
# running udev and systemd. netplan 1.2 wants to see its systemd generator below that root.
mkdir -p "$work/usr/lib/systemd/system-generators"
cp -P /usr/lib/systemd/system-generators/netplan "$work/usr/lib/systemd/system-generators/" 2>/dev/null || :
generate() {
    for generator in /usr/libexec/netplan/generate /usr/lib/netplan/generate /lib/netplan/generate; do
        [ ! -x "$generator" ] || { "$generator" "$@"; return; }
    done
    netplan generate "$@"
}
if ! generate --root-dir "$work" >"$work/said" 2>&1; then
    cat "$work/said" >&2
    rm -rf "$change"
    exit 10
fi

# What is there now, for the way back.
{
    for path in /sys/class/net/*; do
        link=${path##*/}
        [ -e "$path/address" ] && [ "$link" != lo ] || continue
        master=-
        [ ! -e "$path/master" ] || master=$(readlink "$path/master")
        echo "master $link ${master##*/}"
        [ ! -d "$path/bridge" ] ||
            echo "bridge $link $(cat "$path/bridge/stp_state" "$path/bridge/forward_delay" | tr '\n' ' ')"
        grep -qxF "$link" "$change/links" || continue
        echo "mtu $link $(cat "$path/mtu")"
        echo "mac $link $(cat "$path/address")"
        echo "state $link $(ip -o link show dev "$link" | grep -q '[<,]UP[,>]' && echo up || echo down)"
    done
    ip -d -o link show type vlan 2>/dev/null | sed -n \
        's/^[0-9]*: \([^@:]*\)@\([^:]*\):.* vlan protocol [^ ]* id \([0-9]*\).*/vlan \1 \2 \3/p'
    ip -o addr show | awk '$4 !~ /^fe80:/ && $2 != "lo" { print "address", $2, $4 }'
    ip -4 route show | grep -v '^[[:space:]]' | grep ' via ' | sed 's/ linkdown//; s/^/route4 /' || :
    # Without what the kernel adds and `ip route show` does not take as a condition.
    ip -6 route show | grep -v '^[[:space:]]' | grep ' via ' |
        sed 's/ linkdown//; s/ expires [^ ]*//; s/ pref [^ ]*//; s/^/route6 /' || :
} >"$change/before"

# The timer of a change that was taken back at once may be running, or have fired and wait for our
# lock: it would take this change back.
systemctl stop "$unit.timer" "$unit.service" 2>/dev/null || :
systemctl reset-failed "$unit.service" 2>/dev/null || :
# The way back needs neither this connection nor the controller.
: >"$change/pending"
systemd-run --quiet --unit="$unit" --on-active="$seconds" --timer-property=AccuracySec=1s \
    --description="roll back the network unless the change is confirmed" \
    sh "$change/rollback.sh"

# Ours, and an empty file instead of each one that it replaces.
mkdir -p /run/netplan
place() {
    hidden=/run/netplan/${2##*/}
    [ ! -e "$hidden" ] || cp -a "$hidden" "$change/hidden/"
    next=$(mktemp "$change/next.XXXXXX")
    cat "$1" >"$next"
    mv "$next" "$hidden"
}
echo 'network: {version: 2}' >"$change/nothing"
while read -r file; do place "$change/nothing" "$file"; done <"$change/replaced"
place "$change/candidate" "$ours"
