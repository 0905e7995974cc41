#!/bin/sh
# Tells the present boot of a machine, and what asks for another one. Changes nothing. Prints
#   boot ID             other after each boot
#   needed REASON       any number of them
#   busy REASON         what must not be interrupted now
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
TZ=UTC
export PATH LC_ALL TZ

# With the start of the first process: not every container has a boot id of its own.
read -r id </proc/sys/kernel/random/boot_id
started=$(sed 's/.*) //' /proc/1/stat | cut -d' ' -f20)
echo "boot $id-$started"

# Packages ask for it there (Debian's unattended-upgrades, Ubuntu's update-notifier-common).
if [ -e /run/reboot-required ]; then
    packages=$(sort -u /run/reboot-required.pkgs 2>/dev/null | tr '\n' ' ')
    echo "needed ${packages:-/run/reboot-required is there}"
fi

# Where nothing writes that file: what has come since the boot, and acts from the next one on. What
# was there already and is not used (an older kernel is the default, say) needs none: it would need
# it again after each.
booted=
moment=$(systemctl show --value -p UserspaceTimestamp 2>/dev/null)
[ -z "$moment" ] || booted=$(date -d "$moment" +%s)
since() { [ -n "$booted" ] && [ "$(stat -L -c "$1" "$2" 2>/dev/null || echo 0)" -gt "$booted" ]; }

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

# Who has dpkg's lock (fcntl(2)) is installing something.
inode=$(stat -c %i /var/lib/dpkg/lock-frontend 2>/dev/null) || inode=none
if grep -q ":$inode " /proc/locks; then
    echo "busy packages are being installed there"
fi
exit 0
