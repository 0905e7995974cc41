#!/bin/sh
# Has LXD moved from its Debian package to its snap, in a unit of its own, which goes on to its end
# whatever happens to this script and its SSH session; one that is under way is waited for.
# Arguments: SECONDS to wait, then those of the mover.
# Standard input: the mover (migrate_lxd.sh).
# Exit status 75: it is still under way.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

seconds=$1
shift
state=/var/lib/nornir-lxd-fleet/move
unit=nornir-lxd-fleet-move

mkdir -p "$state"
if ! systemctl is-active --quiet "$unit"; then
    rm -f "$state/status"
    cat >"$state/mover.new"
    mv "$state/mover.new" "$state/mover"
    # The lock is held from before the unit counts as started, so that it can be waited for.
    cat >"$state/start" <<START
exec 9>$state/lock && flock 9 && { sh $state/mover "\$@" & }
START
    systemd-run --quiet --collect --unit="$unit" -p Type=forking sh "$state/start" "$@"
fi
exec 9>"$state/lock"
if ! flock -w "$seconds" 9; then
    echo "LXD is still being moved after $seconds s, and goes on; its log is $state/log" >&2
    exit 75
fi
# Another one has waited too, perhaps that of a run that was killed, and was first to see the end:
# only after a success nothing is left.
[ -e "$state" ] || exit 0
status=$(cat "$state/status" 2>/dev/null || echo 1)
if [ "$status" != 0 ]; then
    tail -n 5 "$state/log" >&2
    exit "$status"
fi
rm -rf "$state"
