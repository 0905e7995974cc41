#!/bin/sh
# Prints "boot ID" (of the present boot) and, where the machine asks for a reboot, "needed REASON".
# Changes nothing.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"

# Packages ask for it there (Debian's unattended-upgrades, Ubuntu's update-notifier-common).
if [ -e /run/reboot-required ]; then
    packages=$(sort -u /run/reboot-required.pkgs 2>/dev/null | tr '\n' ' ')
    echo "needed ${packages:-/run/reboot-required is there}"
fi

# A container has its host's kernel.
if ! systemd-detect-virt -qc; then
    # shellcheck disable=SC2012  # names that Debian's kernel packages give
    newest=$(ls /boot/vmlinuz-* 2>/dev/null | sed 's|.*/vmlinuz-||' | sort -V | tail -n 1)
    running=$(uname -r)
    if [ -n "$newest" ] && [ "$newest" != "$running" ]; then
        echo "needed kernel $newest, running is $running"
    fi
fi
exit 0
