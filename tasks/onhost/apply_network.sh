#!/bin/sh
# Makes the network live that stage_network.sh has prepared, with as little disturbance as the
# netplan there allows, and does by ip-link(8) what networkd does not. Runs in a unit of its own
# (start_network.sh), which goes on when the connection breaks and ends when the way back begins.
# Arguments, in any number, done in this order of kinds:
#   delete LINK                first: a vlan or bridge that goes, or is made anew
#   bridge LINK, vlan LINK NIC ID   made here where networkd does not make it
#   plug LINK BRIDGE, unplug LINK BRIDGE, strip LINK ADDRESS, unroute LINK NETWORK NEIGHBOUR
#   mac LINK MAC, mtu LINK BYTES, stp LINK 0|1, forward-delay LINK CENTISECONDS, up LINK
#   reconfigure LINK           networkd shall look at it again
#   await BRIDGE MEMBER ADDRESS     what has to be there afterwards, "-" for none
# Exit status 12: it could not be applied; the host goes back by itself.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
trap '' HUP PIPE # the connection may break here, the work goes on
[ -e /run/nornir-lxd-fleet/network/pending ] || {
    echo "there is no change to apply, or it was taken back already" >&2
    exit 12
}

words=$(mktemp /run/nornir-lxd-fleet.XXXXXX) || exit 12
trap 'rm -f "$words"' EXIT
while [ $# -gt 0 ]; do
    case $1 in
    vlan | await | unroute) echo "$1 $2 $3 $4" && shift 4 ;;
    plug | unplug | strip | mac | mtu | stp | forward-delay) echo "$1 $2 $3" && shift 3 ;;
    *) echo "$1 $2" && shift 2 ;;
    esac
done >"$words"

# each KIND FUNCTION
each() {
    grep "^$1 " "$words" | while read -r _ first second third; do
        "$2" "$first" "$second" "$third" || echo "$1 $first $second failed" >&2
    done
}
exists() { [ -e "/sys/class/net/$1" ]; }

delete() { ! exists "$1" || ip link delete "$1"; }
bridge() { exists "$1" || ip link add "$1" type bridge; }
vlan() { exists "$1" || ip link add link "$2" name "$1" type vlan id "$3"; }
plug() {
    now=$(readlink "/sys/class/net/$1/master" 2>/dev/null)
    [ "${now##*/}" = "$2" ] || ip link set "$1" master "$2"
}
unplug() {
    now=$(readlink "/sys/class/net/$1/master" 2>/dev/null)
    [ "${now##*/}" != "$2" ] || ip link set "$1" nomaster
}
unroute() {
    case $2 in
    *:*) ip -6 route delete "$2" via "$3" dev "$1" 2>/dev/null || : ;;
    *) ip -4 route delete "$2" via "$3" dev "$1" 2>/dev/null || : ;;
    esac
}
strip() { ip addr delete "$2" dev "$1" 2>/dev/null || :; }
mac() { ip link set "$1" address "$2"; }
mtu() { ip link set "$1" mtu "$2"; }
stp() { ip link set "$1" type bridge stp_state "$2"; }
forward_delay() { ip link set "$1" type bridge forward_delay "$2"; }
up() { ip link set "$1" up; }
reconfigure() { networkctl reconfigure "$1"; }

# netplan writes all its files anew, and networkd sets up each link anew whose file is another one
# than before (by inode and time, not by content): a packet or two are lost there. So the files
# that are equal get their former inodes back.
generate() {
    was=/run/nornir-lxd-fleet/network/was
    mkdir -p "$was"
    cp -al /run/systemd/network/. "$was" 2>/dev/null
    netplan generate || { rm -rf "$was"; return 1; }
    for file in /run/systemd/network/*; do
        cmp -s "$file" "$was/${file##*/}" && mv -f "$was/${file##*/}" "$file"
    done
    rm -rf "$was"
}

each delete delete
if networkctl --help 2>/dev/null | grep -q ' reload'; then
    generate && networkctl reload || exit 12
else
    netplan apply || exit 12
fi
# networkd makes what is new within a moment.
tries=0
until ! grep -E '^(bridge|vlan) ' "$words" | while read -r _ link _; do
    exists "$link" || echo missing
done | grep -q .; do
    tries=$((tries + 1))
    [ "$tries" -lt 10 ] || break
    sleep 0.1
done
each vlan vlan
each bridge bridge
each plug plug
each unplug unplug
each mac mac
each mtu mtu
each unroute unroute
each stp stp
each forward-delay forward_delay
each up up
each reconfigure reconfigure
each strip strip

arrived() {
    exists "$1" || return 1
    [ "$2" = - ] || [ -e "/sys/class/net/$1/brif/$2" ] || return 1
    [ "$3" = - ] || ip -o addr show dev "$1" | grep -qF " $3 "
}
tries=0
while grep '^await ' "$words" | while read -r _ bridge member address; do
    arrived "$bridge" "$member" "$address" || echo missing
done | grep -q .; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || break
    sleep 0.2
done
