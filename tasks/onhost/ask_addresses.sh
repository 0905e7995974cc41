#!/bin/sh
# Asks the network who has these addresses, all at once. Arguments: the addresses. Leaves what this
# machine knows of its neighbours as little as it found it. Prints
#   held ADDRESS MAC    somebody has it; MAC is "-" where none is known, "self" for this machine
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# mac_of ADDRESS: of who answered; what somebody has set for good is no answer.
mac_of() {
    ip neighbour show to "$1" nud reachable nud stale nud delay nud probe 2>/dev/null |
        sed -n 's/.* lladdr \([^ ]*\).*/\1/p' | head -n 1
}

ask() {
    if [ -n "$(ip -o address show to "$1" 2>/dev/null)" ]; then
        echo "held $1 self"
        return
    fi
    # Linux would go on for a minute to believe what it knew before.
    ip neighbour flush to "$1" 2>/dev/null
    if command -v ping >/dev/null; then
        answered=$(ping -c 1 -W 2 "$1" >/dev/null 2>&1 && echo yes)
    elif [ -n "$(ip neighbour show to "$1" nud permanent 2>/dev/null)" ]; then
        return # to ask would take away what somebody has set
    else # only newer versions of ip can ask; older ones refuse, and nobody is found
        answered=
        device=$(ip -o route get "$1" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
        ip neighbour replace "$1" dev "$device" use 2>/dev/null && sleep 2
    fi
    # Who drops pings has told its MAC all the same.
    mac=$(mac_of "$1")
    [ -z "$answered$mac" ] || echo "held $1 ${mac:--}"
    ip neighbour flush to "$1" 2>/dev/null
}

for address; do
    ask "$address" &
done
wait
exit 0
