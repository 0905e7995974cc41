#!/bin/sh
# Takes an unconfirmed change of the network back at once, and waits until that is done.
# Arguments: the change's token; seconds to wait; "now" to begin it, "wait" where it has begun.
# Exit status 16: it is not done within that time; 17: it was confirmed after all.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
change=/run/nornir-lxd-fleet/network
# A reboot has forgotten it, or it never came as far as this.
[ "$(cat "$change/token" 2>/dev/null)" = "$1" ] || exit 0
# In a unit of its own: this connection may end with the network that it came over.
[ "$3" = wait ] || [ -e "$change/confirmed" ] ||
    systemd-run --quiet --collect --no-block sh "$change/rollback.sh"
until=$(($(date +%s) + $2))
until [ -e "$change/rolled-back" ]; do
    [ ! -e "$change/confirmed" ] || exit 17
    [ "$(date +%s)" -lt "$until" ] || exit 16
    sleep 0.2
done
