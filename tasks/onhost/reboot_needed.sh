#!/bin/sh
# Tells the present boot of a machine, and what asks for another one. Changes nothing. Prints
#   boot ID             other after each boot
#   needed REASON       any number of them
#   busy REASON         what must not be interrupted now
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

# When a process started, in ticks of a clock that nobody sets (proc_pid_stat(5)).
start_of() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20; }

# With the start of the first process: not every container has a boot id of its own.
read -r id </proc/sys/kernel/random/boot_id
first=$(start_of 1)
echo "boot $id-$first"

# Packages ask for it there (Debian's unattended-upgrades, Ubuntu's update-notifier-common).
if [ -e /run/reboot-required ]; then
    packages=$(sort -u /run/reboot-required.pkgs 2>/dev/null | tr '\n' ' ')
    echo "needed ${packages:-/run/reboot-required is there}"
fi

# Where nothing writes that file: what has come since the boot, and acts from the next one on. What
# was there already and is not used (an older kernel is the default, say) needs none: it would need
# it again after each. The clock may have been wrong when it booted, so it is counted back from now.
now=$(date +%s)
booted=$((now - ($(start_of self) - first) / $(getconf CLK_TCK)))
since() {
    moment=$(stat -L -c "$1" "$2" 2>/dev/null) && [ "$moment" -gt "$booted" ] &&
        [ "$moment" -le "$now" ]
}

# As installed, whatever its own date is. A container has its host's kernel.
if ! systemd-detect-virt -qc; then
    running=$(uname -r)
    for kernel in /boot/vmlinuz-*; do
        version=${kernel#/boot/vmlinuz-}
        newest=$(printf '%s\n' "$running" "$version" | sort -V | tail -n 1)
        if [ "$newest" = "$version" ] && since %Z "$kernel"; then
            echo "needed kernel $version, running is $running"
        fi
    done
fi
for list in /var/lib/dpkg/info/libc6.list /var/lib/dpkg/info/libc6:*.list; do
    if since %Y "$list"; then
        echo "needed libc6, upgraded since it booted"
        break
    fi
done

# Who has dpkg's lock open is installing something, or about to; not who does so in a container.
own=$(readlink /proc/self/ns/pid)
find /proc/[0-9]*/fd -lname /var/lib/dpkg/lock-frontend 2>/dev/null |
    while IFS=/ read -r _ _ process _; do
        if [ "$(readlink "/proc/$process/ns/pid")" = "$own" ]; then
            echo "busy packages are being installed there"
            break
        fi
    done
exit 0
