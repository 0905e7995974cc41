#!/bin/sh
# Takes an unconfirmed change of the network back at once, and waits until that is done.
# Arguments: seconds to wait; "now" to begin it, "wait" to leave that to its timer.
# Exit status 16: it is not done within that time; 17: it was confirmed after all.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
change=/run/nornir-lxd-fleet/network
[ -d "$change" ] || exit 0 # a reboot has forgotten it
[ ! -e "$change/confirmed" ] || exit 17
# In a unit of its own: this connection may end with the network that it came over.
[ "$2" = wait ] || systemd-run --quiet --collect --no-block sh "$change/rollback.sh"
until=$(($(date +%s) + $1))
until [ -e "$change/rolled-back" ]; do
    [ "$(date +%s)" -lt "$until" ] || exit 16
    sleep 0.2
done
