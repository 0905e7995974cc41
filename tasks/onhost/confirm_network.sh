#!/bin/sh
# Confirms a change of the network, from a connection made after it: the default gateways answer,
# then our file goes to its place for good, atomically, and the way back is disarmed.
# Exit status 13: too late, it has been taken back; 14: the file could not be written; 15: a gateway
# does not answer. After 14 it is being taken back, after 15 it waits for its timer.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
trap '' HUP PIPE
change=/run/nornir-lxd-fleet/network
exec 9>"$change.lock"
flock -w 5 9
[ -e "$change/pending" ] || exit 13

# By ARP and neighbour discovery: there are gateways that answer no ping.
answers() {
    ip neigh flush to "$1" dev "$2" 2>/dev/null
    tries=0
    while [ "$tries" -lt 3 ]; do
        ping -c 1 -W 1 -I "$2" "$1" >/dev/null 2>&1 || ip neigh replace "$1" dev "$2" use 2>/dev/null
        ip neigh show "$1" dev "$2" | grep lladdr | grep -qv FAILED && return
        tries=$((tries + 1))
    done
    return 1
}
while read -r gateway link; do
    if ! answers "$gateway" "$link"; then
        echo "the gateway $gateway does not answer on $link" >&2
        exit 15
    fi
done <"$change/gateways"

read -r ours <"$change/ours"
backup=/var/lib/nornir-lxd-fleet/backup/network-$(date -u +%Y%m%dT%H%M%S.%N)
keep() {
    mkdir -p "$backup" && chmod 700 /var/lib/nornir-lxd-fleet || return
    for file in "$ours" $(cat "$change/replaced"); do
        [ -e "$file" ] || continue
        mkdir -p "$backup${file%/*}" && cp -a "$file" "$backup$file" || return
    done
    mkdir -p "${ours%/*}"
    next=$(mktemp "$ours.XXXXXX") || return
    cat "$change/candidate" >"$next" && sync "$next" && mv "$next" "$ours" && return
    rm -f "$next"
    return 1
}
mv "$change/pending" "$change/confirming" 2>/dev/null || exit 13
if ! keep; then
    rm -rf "$backup"
    mv "$change/confirming" "$change/pending"
    systemd-run --quiet --collect --no-block sh "$change/rollback.sh" # its timer may be over by now
    exit 14
fi
# A reboot between these finds both, and the host where it shall be; the next run ends it.
while read -r file; do rm -f "$file" "/run/netplan/${file##*/}"; done <"$change/replaced"
rm -f "/run/netplan/${ours##*/}"
sync
mv "$change/confirming" "$change/confirmed"
systemctl stop nornir-lxd-fleet-rollback.timer || :
