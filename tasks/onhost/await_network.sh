#!/bin/sh
# Waits until an earlier change of the network is confirmed or taken back, by whoever does it.
# Argument: seconds to wait at most. Changes nothing.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
change=/run/nornir-lxd-fleet/network
until=$(($(date +%s) + $1))

undecided() {
    flock -n "$change.lock" true || return 0 # it is being prepared, confirmed or taken back
    [ -e "$change/pending" ] && systemctl is-active --quiet nornir-lxd-fleet-rollback.timer
}
while [ -e "$change.lock" ] && undecided && [ "$(date +%s)" -lt "$until" ]; do
    sleep 0.5
done
