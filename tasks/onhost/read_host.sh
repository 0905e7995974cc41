#!/bin/sh
# Reads all that the phases on an LXD host need and prints it as one JSON document.
# Arguments: the Unix users whose LXD client folders are read, then `--` and the kernel settings.
# Free text travels as base64, so that nothing has to be escaped here. Nothing is changed, nothing
# stays behind: the LXD client gets a folder of its own in /run, and an LXD that has never been
# started is not woken through its socket.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

base64_of() { base64 -w0 "$1" 2>/dev/null; }

users=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    users="$users $1"
    shift
done
[ $# -eq 0 ] || shift
settings=$*
# shellcheck disable=SC2086  # one user a word
set -- $users

snap=false
deb=false
[ -e /snap/lxd/current ] && snap=true
# Ubuntu's lxd-installer has programs of these names too, which would install the snap.
if [ -e /var/lib/dpkg/info/lxd.list ]; then
    if [ -x /usr/bin/lxd ] || [ -x /usr/sbin/lxd ]; then deb=true; fi
fi

old=/var/lib/lxd
new=/var/snap/lxd/common/lxd
package=
move=
[ $deb = true ] && package=deb
[ $snap = true ] && package=snap
if [ $deb$snap = truetrue ]; then
    # Both are installed, in the middle of a move or side by side: lxd.migrate leaves these copies of
    # the database in the folder that it has brought to its new place.
    moving=/var/lib/nornir-lxd-fleet/move
    database=false
    arrived=false
    if [ -e $old/database ] || [ -e $old/lxd.db ]; then database=true; fi
    for file in "$new"/*.pre-migration; do
        [ -e "$file" ] && arrived=true
    done
    move=moved
    if [ ! -e $moving/moved ]; then
        [ $database$arrived = truefalse ] && move='' package=deb
        [ -e $moving/begun ] && move=begun
    fi
fi
mounted=false
[ $deb = true ] && mountpoint -q $old && mounted=true
lxc=lxc
lxd_folder=$old
if [ "$package" = snap ]; then
    lxc=/snap/bin/lxc
    lxd_folder=$new
fi

# ask NAME PATH: have LXD's answer, what it said to the contrary, and its status in files.
ask() {
    timeout -k 1 8 "$lxc" query --raw "$2" >"$work/$1" 2>"$work/$1.err"
    echo $? >"$work/$1.status"
}

# LXD's answers are fetched side by side while the rest is read.
started=false
if [ -n "$package" ] && [ -e "$lxd_folder/server.crt" ]; then
    started=true
    export LXD_CONF="$work/client"
    mkdir "$LXD_CONF"
    : >"$LXD_CONF/config.yml" # without one, whoever is first greets a new user
    while read -r name path; do
        {
            ask "$name" "$path"
            # LXD 3.17 and older have containers only. A newer one's instances are more than these.
            if [ "$name" = instances ] && grep -qix 'error: not found' "$work/$name.err"; then
                ask instances '/1.0/containers?recursion=1&all-projects=true'
            fi
        } </dev/null &
    done <<'PATHS'
server /1.0
certificates /1.0/certificates?recursion=1
pools /1.0/storage-pools?recursion=1
profiles /1.0/profiles?recursion=1
images /1.0/images?recursion=1
instances /1.0/instances?recursion=1&all-projects=true
PATHS
fi

ip -j -d addr show >"$work/links" 2>/dev/null &
{ ip route show && ip -6 route show; } >"$work/routes" 2>/dev/null &
df -Pk / /etc /var/lib /var/lib/lxd /var/lib/nornir-lxd-fleet >"$work/disks" 2>/dev/null &
# shellcheck disable=SC2016  # the dollars are dpkg-query's
dpkg-query -W -f '${db:Status-Status} ${Version}\n' netplan.io >"$work/netplan" 2>/dev/null &
# shellcheck disable=SC2016  # the dollars are dpkg-query's
[ $deb = true ] && dpkg-query -W -f '${db:Status-Status} ${Version}\n' lxd >"$work/deb" 2>/dev/null &
if [ "$package" = snap ]; then
    timeout -k 1 8 snap list lxd </dev/null >"$work/snap" 2>/dev/null &
    timeout -k 1 8 snap get system refresh.timer </dev/null >"$work/refresh" 2>/dev/null &
fi
wait

json_of() { if [ -s "$work/$1" ]; then cat "$work/$1"; else printf null; fi; }

printf '{"root":%s' "$([ "$(id -u)" = 0 ] && echo true || echo false)"
printf ',"systemd":%s' "$([ -d /run/systemd/system ] && echo true || echo false)"
printf ',"os_release":"%s"' "$(base64_of /etc/os-release)"
printf ',"disks":"%s"' "$(base64_of "$work/disks")"
printf ',"created":"%s"' "$(base64_of /var/lib/nornir-lxd-fleet/created)"
printf ',"netplan_package":"%s"' "$(base64_of "$work/netplan")"
pending=false
change=/run/nornir-lxd-fleet/network
if [ -e "$change.lock" ]; then
    flock -n "$change.lock" true || pending=true # it is being prepared, confirmed or rolled back
    [ -e "$change/pending" ] &&
        systemctl is-active --quiet nornir-lxd-fleet-rollback.timer && pending=true
fi
printf ',"network_pending":%s' "$pending"
printf ',"links":%s,"routes":"%s"' "$(json_of links)" "$(base64_of "$work/routes")"

printf ',"kernel_file":"%s","kernel":{' \
    "$(base64_of /etc/sysctl.d/60-nornir-lxd-fleet.conf)"
separator=
for key in $settings; do
    file=/proc/sys/$(printf %s "$key" | tr . /)
    [ -r "$file" ] || continue
    printf '%s"%s":"%s"' "$separator" "$key" "$(base64_of "$file")"
    separator=,
done
printf '}'

separator=
printf ',"netplan":['
for file in /etc/netplan/*.yaml /run/netplan/*.yaml /lib/netplan/*.yaml; do
    [ -f "$file" ] || continue
    printf '%s{"path":"%s","text":"%s"}' "$separator" \
        "$(printf %s "$file" | base64 -w0)" "$(base64_of "$file")"
    separator=,
done

# A user that the inventory no longer names may still have remotes that we made.
former=$(sed -n 's/^remote \([^ ]*\) .*/\1/p' /var/lib/nornir-lxd-fleet/created 2>/dev/null)
separator=
printf '],"clients":['
# shellcheck disable=SC2086  # one user a word
for user in $(printf '%s\n' "$@" $former | sort -u); do
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -n "$home" ] || continue
    folder=$home/.config/lxc
    [ "$package" = snap ] && folder=$home/snap/lxd/common/config
    printf '%s{"user":"%s","path":"%s","config":"%s","certificate":"%s","next":"%s","servercerts":[' \
        "$separator" "$user" "$(printf %s "$folder" | base64 -w0)" \
        "$(base64_of "$folder/config.yml")" "$([ ! -s "$folder/client.key" ] || base64_of "$folder/client.crt")" \
        "$(base64_of "$folder/client.crt.next")"
    separator=
    for file in "$folder"/servercerts/*.crt; do
        [ -f "$file" ] || continue
        printf '%s{"file":"%s","text":"%s"}' "$separator" \
            "$(basename "$file" | tr -d '\n' | base64 -w0)" "$(base64_of "$file")"
        separator=,
    done
    printf ']}'
    separator=,
done

printf '],"lxd":{"package":"%s","move":"%s","mounted":%s,"deb":"%s","snap":"%s","refresh":"%s"' \
    "$package" "$move" "$mounted" "$(base64_of "$work/deb")" "$(base64_of "$work/snap")" \
    "$(base64_of "$work/refresh")"
printf ',"started":%s,"certificate":"%s","answers":{' "$started" \
    "$(base64_of "$lxd_folder/server.crt")"
separator=
if [ "$started" = true ]; then
    for name in server certificates pools profiles images instances; do
        read -r status <"$work/$name.status"
        printf '%s"%s":{"status":%s,"said":"%s","body":' "$separator" "$name" "$status" \
            "$(base64_of "$work/$name.err")"
        if [ "$status" = 0 ]; then json_of "$name"; else printf null; fi
        printf '}'
        separator=,
    done
fi
printf '}}}\n'
