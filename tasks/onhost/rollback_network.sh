#!/bin/sh
# Takes a change of the network back that stage_network.sh prepared: files, links, members,
# addresses, routes. Run by the host's own timer, or at once where the controller gives up.
# Whoever moves the file `pending` decides; the confirmation begins with the same move.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
trap '' HUP PIPE
change=/run/nornir-lxd-fleet/network
exec 9>"$change.lock"
flock -w 20 9 # whoever prepares or confirms a change is done within that
mv "$change/pending" "$change/rolling-back" 2>/dev/null || exit 0

# What still applies it must not go on beside this.
systemctl stop nornir-lxd-fleet-apply.service 2>/dev/null

read -r ours <"$change/ours"
for file in "$ours" $(cat "$change/replaced"); do
    rm -f "/run/netplan/${file##*/}"
    [ ! -e "$change/hidden/${file##*/}" ] ||
        cp -a "$change/hidden/${file##*/}" "/run/netplan/${file##*/}"
done

# Kinds of lines of `before`, each given to a function with the words that follow.
each() {
    grep "^$1 " "$change/before" | while read -r _ first rest; do "$2" "$first" "$rest"; done
}
exists() { [ -e "/sys/class/net/$1" ]; }
# did COMMAND...: run it, and remember that something was left to restore.
did() {
    : >"$change/restored"
    "$@"
}
is_before() { grep -q "^$1 $2 " "$change/before"; }

delete_new() {
    while read -r link; do
        if exists "$link" && ! is_before master "$link"; then
            for port in "/sys/class/net/$link/brif"/*; do
                [ ! -e "$port" ] || did ip link set "${port##*/}" nomaster
            done
            did ip link delete "$link"
        fi
    done <"$change/links"
}
vlan() {
    now=$(ip -d -o link show dev "$1" 2>/dev/null)
    case $now in
    *" $1@${2% *}: "*" id ${2#* } "*) return ;;
    ?*) did ip link delete "$1" ;;
    esac
    exists "$1" || did ip link add link "${2% *}" name "$1" type vlan id "${2#* }"
}
bridge() {
    exists "$1" || did ip link add "$1" type bridge
    read -r stp <"/sys/class/net/$1/bridge/stp_state"
    [ "$stp" = "${2%% *}" ] || did ip link set "$1" type bridge stp_state "${2%% *}"
    delay=${2#* }
    read -r now <"/sys/class/net/$1/bridge/forward_delay"
    [ "$now" = "${delay% }" ] || did ip link set "$1" type bridge forward_delay "${delay% }"
}
master() {
    exists "$1" || return 0
    now=-
    [ ! -e "/sys/class/net/$1/master" ] || now=$(readlink "/sys/class/net/$1/master")
    [ "${now##*/}" != "$2" ] || return 0
    if [ "$2" = - ]; then did ip link set "$1" nomaster; else did ip link set "$1" master "$2"; fi
}
mtu() { [ "$(cat "/sys/class/net/$1/mtu")" = "$2" ] || did ip link set "$1" mtu "$2"; }
mac() { [ "$(cat "/sys/class/net/$1/address")" = "$2" ] || did ip link set "$1" address "$2"; }
state() {
    now=down
    ip -o link show dev "$1" | grep -q '[<,]UP[,>]' && now=up
    [ "$now" = "$2" ] || did ip link set "$1" "$2"
}
address() { ip addr show dev "$1" | grep -qF " $2 " || did ip addr add "$2" dev "$1"; }
# shellcheck disable=SC2086  # a route's words
route4() { [ -n "$(ip -4 route show "$1" $2 2>/dev/null)" ] || did ip -4 route replace "$1" $2; }
# shellcheck disable=SC2086
route6() { [ -n "$(ip -6 route show "$1" $2 2>/dev/null)" ] || did ip -6 route replace "$1" $2; }
strip_new() {
    while read -r link; do
        ip -o addr show dev "$link" 2>/dev/null | awk '$4 !~ /^fe80:/ { print $4 }' |
            while read -r there; do
                grep -qxF "address $link $there" "$change/before" ||
                    did ip addr delete "$there" dev "$link"
            done
    done <"$change/links"
}
restore() {
    delete_new
    each vlan vlan
    each bridge bridge
    each master master
    each mac mac
    each mtu mtu
}
restore
netplan generate
if networkctl --help 2>/dev/null | grep -q ' reload'; then
    networkctl reload
    # One that changed its place has to be looked at again, whatever its file says.
    xargs -r -n 1 networkctl reconfigure <"$change/links" 2>/dev/null
else
    netplan apply || systemctl restart systemd-networkd
fi
# networkd works on meanwhile: it is done when for a while nothing was left to restore.
quiet=0
tries=0
while [ "$quiet" -lt 4 ] && [ "$tries" -lt 20 ]; do
    rm -f "$change/restored"
    restore
    strip_new
    each address address
    each route4 route4
    each route6 route6
    each state state
    tries=$((tries + 1))
    quiet=$((quiet + 1))
    [ ! -e "$change/restored" ] || quiet=0
    sleep 0.25
done 2>/dev/null
mv "$change/rolling-back" "$change/rolled-back"
