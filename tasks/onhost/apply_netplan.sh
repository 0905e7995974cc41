#!/bin/sh
# Changes the host's network, to be confirmed by confirm_netplan.sh from a new connection.
# Arguments: OUR_FILE SECONDS, then any of
#   replace FILE                  a foreign netplan file, moved to the backup
#   plug LINK                     a link that enters a bridge; rolling back takes it out again
#   unplug LINK                   a link that leaves its bridge; networkd never lets go of one
#   strip LINK ADDRESS            an address that goes to a bridge, of a link that nobody manages
#   new LINK                      a link that does not exist yet; rolling back deletes it
#   await BRIDGE MEMBER ADDRESS   what has to be there afterwards, "-" for none
# Standard input: our file's new text.
# Nothing is touched before the whole configuration has been validated elsewhere and the way back
# is armed. That way back is a timer of the host's own: it needs neither this connection nor the
# controller. Exit status 10: the configuration is not valid, nothing was touched; 11: another
# change waits for its confirmation; 12: it could not be applied and was rolled back.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

ours=$1
seconds=$2
shift 2
replaced=
plugged=
afterwards=
new=
awaited=
while [ $# -gt 0 ]; do
    case $1 in
    replace) replaced="$replaced $2" && shift 2 ;;
    plug) plugged="$plugged $2" && shift 2 ;;
    unplug) afterwards="$afterwards
ip link set $2 nomaster" && shift 2 ;;
    strip) afterwards="$afterwards
ip address delete $3 dev $2 2>/dev/null || :" && shift 3 ;;
    new) new="$new $2" && shift 2 ;;
    await) awaited="$awaited $2,$3,$4" && shift 4 ;;
    *) echo "unknown word $1" >&2 && exit 1 ;;
    esac
done

state=/var/lib/nornir-lxd-fleet
pending=$state/network-pending
unit=nornir-lxd-fleet-rollback
mkdir -p "$state"
chmod 700 "$state"
if [ -e "$pending" ] && systemctl is-active --quiet "$unit.timer"; then
    echo "another change of the network waits for its confirmation" >&2
    exit 11
fi

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX)
trap 'rm -rf "$work"' EXIT
cat >"$work/ours"

# Validate what netplan will see, in a root of its own.
mkdir "$work/root"
for folder in /etc/netplan /run/netplan /lib/netplan; do
    [ -d "$folder" ] || continue
    mkdir -p "$work/root$folder"
    cp -a "$folder/." "$work/root$folder"
done
for file in $replaced; do rm -f "$work/root$file"; done
mkdir -p "$work/root${ours%/*}"
cp "$work/ours" "$work/root$ours"
if ! netplan generate --root-dir "$work/root" >"$work/said" 2>&1; then
    cat "$work/said" >&2
    exit 10
fi

# Keep what is there now, and the way back to it.
backup=$state/backup/network-$(date -u +%Y%m%dT%H%M%S.%N)
mkdir -p "$backup"
restore=
for file in $replaced "$ours"; do
    [ -e "$file" ] || continue
    mkdir -p "$backup${file%/*}"
    cp -a "$file" "$backup$file"
    restore="$restore $file"
done
back=
for link in $plugged; do
    if [ -e "/sys/class/net/$link/master" ]; then
        master=$(readlink "/sys/class/net/$link/master")
        back="$back
ip link set $link master ${master##*/}"
    else
        back="$back
ip link set $link nomaster"
    fi
done
cat >"$backup/rollback.sh" <<ROLLBACK
#!/bin/sh
# Puts back the network that was there before; made and armed by nornir-lxd-fleet.
PATH=$PATH
mv "$pending" "$backup/rolled-back" || exit 0
rm -f "$ours"
for file in$restore; do cp -a "$backup\$file" "\$file"; done
delete_new() {
    for link in$new; do
        for port in /sys/class/net/"\$link"/brif/*; do
            [ -e "\$port" ] && ip link set "\${port##*/}" nomaster
        done
        [ -e /sys/class/net/"\$link" ] && ip link delete "\$link"
    done
}
delete_new
netplan apply || systemctl restart systemd-networkd
# Until here networkd puts back by itself what is taken away.$back
delete_new
ROLLBACK
printf '%s\n' "$backup" >"$pending"
sync
systemctl stop "$unit.timer" 2>/dev/null || :
systemctl reset-failed "$unit.service" 2>/dev/null || :
systemd-run --quiet --unit="$unit" --on-active="$seconds" --timer-property=AccuracySec=1s \
    --description="roll back the network unless the change is confirmed" \
    sh "$backup/rollback.sh"

# Write ours whole or not at all, take over the others, and let netplan do the rest in a unit of its
# own: it goes on when this connection does not.
mkdir -p "${ours%/*}"
next=$(mktemp "$ours.XXXXXX")
cat "$work/ours" >"$next"
chmod 600 "$next"
sync "$next"
mv "$next" "$ours"
for file in $replaced; do rm -f "$file"; done
sync

if ! systemd-run --quiet --wait --collect --unit=nornir-lxd-fleet-apply \
    sh -c "netplan apply || exit $afterwards"; then
    echo "netplan apply failed: $(journalctl -q -o cat -n 5 -u nornir-lxd-fleet-apply)" >&2
    systemctl stop "$unit.timer"
    sh "$backup/rollback.sh"
    exit 12
fi

# networkd works on after netplan has ended.
arrived() {
    for one in $awaited; do
        bridge=${one%%,*}
        address=${one##*,}
        member=${one#*,}
        member=${member%,*}
        [ -d "/sys/class/net/$bridge/bridge" ] || return 1
        [ "$member" = - ] || [ -e "/sys/class/net/$bridge/brif/$member" ] || return 1
        [ "$address" = - ] || ip -o addr show dev "$bridge" | grep -qF " $address " || return 1
    done
}
tries=0
until arrived; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || break
    sleep 0.2
done
