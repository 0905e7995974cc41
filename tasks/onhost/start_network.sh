#!/bin/sh
# Starts apply_network.sh, which stage_network.sh has placed, and waits for its end.
# Arguments: those of apply_network.sh.
exec systemd-run --quiet --wait --collect --pipe --unit=nornir-lxd-fleet-apply \
    --property=TimeoutStopSec=2 sh /run/nornir-lxd-fleet/network/apply.sh "$@"
