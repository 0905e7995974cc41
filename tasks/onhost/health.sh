#!/bin/sh
# Reads how a machine does and prints a line for each thing:
#   disk PATH PERCENT, inodes PATH PERCENT   how full the file system mounted there is
#   unmounted PATH                           nothing is mounted there
#   failed UNIT, systemd silent
#   service NAME STATE, port NUMBER open|closed
#   memory total|available|limit|used KIB    the last two are a cgroup's, where it limits memory
#   command NUMBER ended STATUS SECONDS      the NUMBERth argument that is a command
#   command NUMBER said TEXT                 each line of the end of its output
#   clock SECONDS                            its time, at the beginning and at the end
# Changes nothing.
# Arguments: what to look at beyond / and failed units: "service:NAME", "port:NUMBER",
# "disk:PATH", "memory:", "clock:" or "command:SECONDS:TEXT", which sh runs for so long at most.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

tell_clock() {
    for check in "$@"; do
        if [ "$check" = clock: ]; then
            date '+clock %s.%N'
            break
        fi
    done
}

# A file system without a fixed number of inodes shows a dash: not full. One that hangs is not
# waited for. For a path on which nothing is mounted, df tells of the file system around it.
tell_disk() {
    space=$(timeout -k 1 10 df -P -- "$1" 2>/dev/null)
    case $? in
        0) ;;
        1) echo "unmounted $1" && return ;;
        *) return ;;
    esac
    mount=$(printf '%s\n' "$space" | awk 'NR == 2 { print $NF }')
    if [ "$1" != / ] && [ "$mount" != "$(readlink -f -- "$1")" ]; then
        echo "unmounted $1"
        return
    fi
    printf '%s\n' "$space" | awk -v path="$1" 'NR == 2 { print "disk", path, $(NF - 1) + 0 }'
    timeout -k 1 10 df -P -i -- "$1" |
        awk -v path="$1" 'NR == 2 { print "inodes", path, $(NF - 1) + 0 }'
}

# Listening TCP sockets have state 0A; the port is the local address's last part, in hex.
listening() {
    wanted=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$wanted" '$4 == "0A" && $2 ~ ":" port "$" { found = 1 } END { exit !found }'
}

# The limit is that of the cgroup (version 2 or 1) that a container sees as the root of all; of what
# it uses, files that nobody has read lately are not counted, since they make way.
tell_memory() {
    awk '$1 == "MemTotal:" { print "memory total", $2 }
        $1 == "MemAvailable:" { print "memory available", $2 }' /proc/meminfo
    group=/sys/fs/cgroup
    if [ -r $group/memory.max ] && [ -r $group/memory.current ]; then
        limit=$(cat $group/memory.max) used=$(cat $group/memory.current) idle=inactive_file
    elif [ -r $group/memory/memory.limit_in_bytes ]; then
        group=$group/memory idle=total_inactive_file
        limit=$(cat $group/memory.limit_in_bytes) used=$(cat $group/memory.usage_in_bytes)
    else
        return
    fi
    [ "$limit" = max ] && return
    files=$(awk -v idle=$idle '$1 == idle { print $2 }' $group/memory.stat)
    echo "memory limit $((limit / 1024))"
    echo "memory used $(((used - ${files:-0}) / 1024))"
}

# The outer timeout is for what a command leaves running with its output open. The last line is its
# exit status and when it ended.
# shellcheck disable=SC2016 # expanded by the inner shells
run_command() {
    began=$(date +%s)
    timeout -k 1 $(($1 + 4)) sh -c '
        {
            timeout -k 2 "$1" sh -c -- "$2" </dev/null 2>&1
            printf "\n%s %s\n" $? "$(date +%s)"
        } | tail -c 2000' sh "$1" "$2" |
        tr -d '\000' | awk -v number="$3" -v began="$began" '
            NR > 1 { if (last != "") print "command", number, "said", last }
            { last = $0 }
            END { if (split(last, word, " ") == 2)
                print "command", number, "ended", word[1], word[2] - began }'
}

tell_clock "$@"
tell_disk /

if [ -d /run/systemd/system ]; then # booted with systemd
    if units=$(systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null); then
        printf '%s\n' "$units" | awk 'NF { print "failed", $1 }'
    else
        echo "systemd silent"
    fi
fi

number=0
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
        disk:*) tell_disk "$name" ;;
        memory:) tell_memory ;;
        command:*)
            number=$((number + 1))
            run_command "${name%%:*}" "${name#*:}" "$number"
            ;;
    esac
done

tell_clock "$@"
