#!/bin/sh
# Reads how a machine does and prints a line for each thing: "disk 43", "inodes 7" (percent of /
# in use), "failed UNIT", "systemd silent", "service NAME STATE", "port NUMBER open|closed".
# Changes nothing.
# Arguments: what to look at beyond the disk and failed units, "service:NAME" or "port:NUMBER".
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# A file system without a fixed number of inodes shows a dash: not full.
df -P / | awk 'NR == 2 { print "disk", $5 + 0 }'
df -P -i / | awk 'NR == 2 { print "inodes", $5 + 0 }'

if [ -d /run/systemd/system ]; then # booted with systemd
    if units=$(systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null); then
        printf '%s\n' "$units" | awk 'NF { print "failed", $1 }'
    else
        echo "systemd silent"
    fi
fi

# Listening TCP sockets have state 0A; the port is the local address's last part, in hex.
listening() {
    wanted=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$wanted" '$4 == "0A" && $2 ~ ":" port "$" { found = 1 } END { exit !found }'
}

for check in "$@"; do
    name=${check#*:}
    case $check in
        service:*)
            state=$(systemctl is-active "$name" 2>/dev/null)
            echo "service $name ${state:-unknown}"
            ;;
        port:*)
            if listening "$name"; then echo "port $name open"; else echo "port $name closed"; fi
            ;;
    esac
done
