#!/bin/sh
# Waits until interfaces of this container have their addresses again. Arguments: the seconds that it
# waits at most, then for each an interface, an address with its length, and another address in that
# network. That one is asked for, so that all who know this container by another MAC hear the new
# one. Prints
#   missing INTERFACE ADDRESS    it has not got it
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

now() { cut -d. -f1 /proc/uptime; }
until=$(($(now) + $1))
shift
while [ "$#" -gt 2 ]; do
    until ip -o address show dev "$1" 2>/dev/null | grep -qF " $2 "; do
        [ "$(now)" -lt "$until" ] || { echo "missing $1 $2" && break; }
        sleep 0.2
    done
    ping -n -c 1 -W 1 -I "$1" "$3" >/dev/null 2>&1
    shift 3
done
exit 0
