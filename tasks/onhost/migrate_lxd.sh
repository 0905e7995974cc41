#!/bin/sh
# Moves LXD from its Debian package to its snap: snap refresh, snap install, lxd.migrate, purge of
# the package. Killed at any moment it is started anew and goes on where it was.
# Arguments: CHANNEL, then the Unix users whose LXD client folders come along.
# Run by move_lxd.sh, in a folder of its own in /var/lib/nornir-lxd-fleet/move:
#   before   the instances that there were, when lxd.migrate began last
#   zfs      there was a zfs pool then, whose mountpoints it sets
#   begun    lxd.migrate may have been at work
#   moved    the snap has all of them: what is left is to remove the package
#   log, status
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
HOME=/root # a unit has none
export PATH LC_ALL DEBIAN_FRONTEND HOME
umask 022 # what snap, lxd.migrate and apt make is for more than root; our own folder is 0700

channel=$1
shift
state=/var/lib/nornir-lxd-fleet/move
old=/var/lib/lxd
new=/var/snap/lxd/common/lxd
hostfs=/var/lib/snapd/hostfs # where the snap sees the host's own files
# A day for lxd.migrate, whose own limit for waiting for the snap's LXD is some 150 years. Ended
# while it waits, the next run goes on; ended while it copies to another file system, it is torn.
migrate_seconds=86400
exec </dev/null >>"$state/log" 2>&1
trap 'echo $? >"$state/status"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "$*"
    exit 1
}

has_database() { [ -e "$1/database" ] || [ -e "$1/lxd.db" ]; }

# lxd.migrate leaves copies of the database in the folder that it moves.
arrived() {
    for file in "$new"/*.pre-migration; do
        [ -e "$file" ] && return 0
    done
    return 1
}

# said TEXT: whether lxd.migrate came to that point when it was at work last.
said() {
    sed -n 'H; /^=> Connecting to source server/h; $ {g; p}' "$state/log" | grep -q "^=> $1"
}

# names LXC: the instances of all projects, of an older LXD those that it knows.
names() {
    LXD_CONF=$state/client
    export LXD_CONF
    mkdir -p "$LXD_CONF"
    timeout -k 1 60 "$1" list --all-projects --format csv -c n 2>/dev/null ||
        timeout -k 1 60 "$1" list --format csv -c n
}

# What depends on the package would be removed with it: found out before anything is stopped.
refuse_to_take_others_along() {
    others=$(apt-get -s purge lxd lxd-client | sed -n 's/^\(Remv\|Purg\) \([^ ]*\).*/\2/p' |
        grep -vx -e lxd -e lxd-client -e lxd-tools -e lxc2 | sort -u | tr '\n' ' ')
    [ -z "$others" ] || fail "purging lxd would remove others too: ${others% }; remove them first"
}

# lxd.migrate would only mount it at its new place until the next boot, which mounts it at the old
# one again: the snap would then start with nothing.
refuse_a_file_system_of_its_own() {
    if has_database $old && mountpoint -q $old; then
        fail "$old is a file system of its own: move LXD by hand (snap install lxd" \
            "--channel=$channel; lxd.migrate), have /etc/fstab mount it at $new, then run again"
    fi
}

install_snap() {
    [ -e /snap/lxd/current ] && return
    timeout -k 10 600 snap refresh || fail "snap refresh failed"
    timeout -k 10 600 snap install lxd --channel="$channel" || fail "snap install failed"
}

migrate() {
    # Behind that point all has been copied: a database at the old place is what an LXD that was
    # woken there since has made.
    if has_database $old && arrived && [ -e "$state/begun" ] &&
        ! said 'Updating the storage backends'; then
        fail "lxd.migrate was ended while it copied: compare $old with $new, keep the whole one of" \
            "them, remove the other, then run again"
    elif has_database $old && ! arrived; then
        [ -x /snap/bin/lxd.migrate ] || fail "the snap of $channel has no lxd.migrate"
        # An earlier try may have stopped them.
        systemctl start lxd.socket lxd.service
        systemctl start snap.lxd.daemon.service
        for lxd in /usr/bin/lxd /snap/bin/lxd; do
            timeout -k 1 130 $lxd waitready --timeout=120 || fail "$lxd does not get ready"
        done
        # Anew at each try: containers come and go between them.
        names /usr/bin/lxc >"$state/before.new" || fail "LXD of the Debian package is silent"
        rm -f "$state/zfs"
        timeout -k 1 60 /usr/bin/lxc storage list | grep -qw zfs && : >"$state/zfs"
        mv "$state/before.new" "$state/before"
        : >"$state/begun"
        # LXD_PREINST is what Ubuntu's own package sets: all questions are answered, and the old
        # package stays. With -yes alone it would be removed, with all that is left in its folder.
        LXD_PREINST=1 timeout -k 60 "$migrate_seconds" lxd.migrate -yes ||
            case $? in
            124 | 137) fail "lxd.migrate was killed, or not done within $migrate_seconds s" ;;
            *) fail "lxd.migrate failed" ;;
            esac
    elif [ -e "$state/begun" ] && ! said 'Starting the destination LXD'; then
        [ -e "$state/zfs" ] &&
            fail "lxd.migrate was ended before it set the mountpoints of the zfs pools: nothing is" \
                "lost, set those that begin with $old to $new, then remove $state/zfs and run again"
        mend_paths
    fi
}

# What lxd.migrate does after it has moved the folder, as it does it: the paths in links and, by a
# file that LXD carries out at its next start, in the pools' sources. Done twice it changes nothing.
mend_paths() {
    systemctl stop snap.lxd.daemon.unix.socket 2>/dev/null || :
    systemctl stop snap.lxd.daemon.service
    for link in "$new"/containers/* "$new"/virtual-machines/* "$new"/storage-pools/*; do
        [ -L "$link" ] || continue
        target=$(readlink "$link")
        case $target in
        "$old"/*) ln -sfn "$new${target#"$old"}" "$link" ;;
        "$new"/* | $hostfs/* | /dev/*) ;;
        /*) ln -sfn "$hostfs$target" "$link" ;;
        esac
    done
    cat >"$new/database/patch.global.sql" <<SQL
UPDATE storage_pools_config SET value = '$new' || substr(value, length('$old') + 1)
    WHERE key = 'source' AND value LIKE '$old/%';
UPDATE storage_pools_config SET value = '$hostfs' || value
    WHERE key = 'source' AND value LIKE '/%' AND value NOT LIKE '$new/%'
    AND value NOT LIKE '$hostfs/%' AND value NOT LIKE '/dev/%';
SQL
}

# Every instance that there was has to be there: nothing is removed before.
see_that_all_is_there() {
    # With both at work the snap's client refuses to.
    systemctl stop lxd.socket lxd.service
    systemctl start snap.lxd.daemon.service
    timeout -k 1 300 /snap/bin/lxd waitready --timeout=290 || fail "the snap's LXD does not start"
    names /snap/bin/lxc >"$state/after" || fail "the snap's LXD does not answer"
    [ -e "$state/before" ] || : >"$state/before"
    lost=$(grep -vxF -f "$state/after" "$state/before" | tr '\n' ' ')
    [ -z "$lost" ] || fail "the snap's LXD does not have: ${lost% }; the Debian package stays"
    : >"$state/moved"
}

# The client's remotes and certificates, for a user who has no certificate with the snap yet; a
# first call of its client has left a config.yml without any remote of the user's. The certificate
# comes last, since it tells the next run that all of it has come.
take_client_along() {
    home=$(getent passwd "$1" | cut -d: -f6)
    if [ -z "$home" ] || [ ! -d "$home/.config/lxc" ]; then return; fi
    [ -e "$home/snap/lxd/common/config/client.crt" ] && return
    # shellcheck disable=SC2016  # the inner shell's
    runuser -u "$1" -- sh -ec '
        umask 077
        mkdir -p "$2"
        for file in "$1"/*; do
            [ "$file" = "$1/client.crt" ] || [ ! -e "$file" ] || cp -Rp "$file" "$2"
        done
        if [ -e "$1/client.crt" ]; then
            cp -p "$1/client.crt" "$2/client.crt.new"
            mv "$2/client.crt.new" "$2/client.crt"
        fi
    ' sh "$home/.config/lxc" "$home/snap/lxd/common/config"
}

# Purging removes its folder: what is still in there is put aside first.
remove_package() {
    systemctl stop lxd.socket lxd.service 2>/dev/null || :
    if has_database $old; then
        for file in "$old"/containers/* "$old"/virtual-machines/*; do
            [ -e "$file" ] && fail "there are instances in $old and in $new: move them by hand"
        done
        mv $old "/var/lib/nornir-lxd-fleet/lxd-package.$(date +%s)"
    fi
    timeout -k 10 600 apt-get -q -y -o DPkg::Lock::Timeout=300 purge lxd lxd-client ||
        fail "apt-get could not purge lxd and lxd-client"
}

# Without the package it is over, but for an end that was cut off.
if [ -e /var/lib/dpkg/info/lxd.list ]; then
    if [ ! -e "$state/moved" ]; then
        refuse_to_take_others_along
        refuse_a_file_system_of_its_own
        install_snap
        migrate
        see_that_all_is_there
    fi
    for user; do
        take_client_along "$user"
    done
    remove_package
fi
