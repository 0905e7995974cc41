#!/bin/sh
# Reads what bootstrap, configure and prove need to know of a machine, from inside: one fact in a
# line, its kind first, free text as base64. Nothing is changed, nothing stays behind.
# Arguments, in pairs: wait SECONDS (until the system is up), network HEADER (the first line of the
# files of ours that give it its network), path FILE, secret FILE (whose content
# stays there), package NAME, unit NAME, user NAME, group NAME, sysctl KEY, zone NAME, locale NAME, ping ADDRESS.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

state=/var/lib/nornir-lxd-fleet
largest=262144

os_release() { sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | tr -d "\"'"; }

# Everything here, and all that follows, is Debian's way: apt, dpkg, systemd.
see_that_it_is_debian() {
    version=$(os_release VERSION_ID)
    case $(os_release ID) in
    debian) oldest=10 ;;
    ubuntu) oldest=18 ;;
    *)
        oldest=0
        case " $(os_release ID_LIKE) " in
        *" debian "* | *" ubuntu "*) ;;
        *) oldest=none ;;
        esac
        ;;
    esac
    # an unstable Debian has no number
    if [ "$oldest" = none ] || [ "${version:+${version%%.*}}" -lt "$oldest" ] 2>/dev/null; then
        os_release PRETTY_NAME >&2
        exit 76
    fi
}
see_that_it_is_debian

uptime_seconds() {
    read -r now _ </proc/uptime
    printf %s "${now%.*}"
}

# systemd says "starting" for as long as it waits for a network that is not there yet: whoever
# writes that network cannot wait for it.
wait_for_system() {
    while [ "$(uptime_seconds)" -lt "$system_end" ]; do
        system=$(timeout $((system_end - $(uptime_seconds))) \
            systemctl is-system-running --wait 2>/dev/null)
        case $system in
        running | degraded | maintenance | stopping) return ;;
        esac
        sleep 0.2
    done
}

wait_for_cloud_init() {
    while [ ! -e /run/cloud-init/result.json ]; do
        left=$((end - $(uptime_seconds)))
        if [ "$left" -le 0 ]; then
            echo "cloud-init did not end in time, the end of its log:" >&2
            tail -n 8 /var/log/cloud-init-output.log >&2
            exit 75
        fi
        # It exits 129 where it is asked too early, and at once where it cannot run at all.
        timeout "$left" cloud-init status --wait >/dev/null 2>&1
        case $(cloud-init status 2>/dev/null) in
        *done* | *error* | *disabled* | *degraded*) return ;;
        esac
        sleep 0.2
    done
}

read_cloud_init() {
    command -v cloud-init >/dev/null 2>&1 || return
    [ -e /run/cloud-init/enabled ] || return
    wait_for_cloud_init
    if tr -d ' \n' </run/cloud-init/result.json 2>/dev/null | grep -q '"errors":\[\]'; then
        echo "cloud_init done"
    else
        echo "cloud_init error $(tr -d '\n' </run/cloud-init/result.json | base64 -w0)"
    fi
}

read_network() {
    if command -v netplan >/dev/null 2>&1 && [ -d /etc/netplan ]; then
        echo "network_tool netplan"
    elif command -v ifup >/dev/null 2>&1; then
        echo "network_tool ifupdown"
    elif [ -x /lib/systemd/systemd-networkd ]; then
        echo "network_tool networkd"
    fi
    ip -o addr show | sed 's/^/address /'
    ip -4 route show default | sed 's/^/route /'
    ip -6 route show default | sed 's/^/route /'
}

# find_network_files HEADER: whatever interface they are for, and what is under way with them.
find_network_files() {
    for path in /etc/systemd/network/10-*.network /etc/network/interfaces.d/* \
        /etc/netplan/60-nornir-lxd-fleet.yaml; do
        [ -f "$path" ] && [ ! -L "$path" ] || continue
        read -r first <"$path" && [ "$first" = "$1" ] || continue
        echo "network_file $path"
        case "$paths " in
        *" $path "*) ;;
        *) paths="$paths $path" ;;
        esac
    done
    [ ! -e "$state/leaving" ] || sed 's/^/leaving /' "$state/leaving"
}

# read_files PATH...: in a few processes, however many there are. A link is not followed: whoever
# owns the folder chooses where it points. Of a large file the sum alone is told.
read_files() {
    [ $# -gt 0 ] || return
    found=$(stat -c '%s %U %G %f %n' -- "$@" 2>/dev/null)
    small=
    while read -r size owner group mode path; do
        [ -n "$path" ] || continue
        unproven=no
        if [ -e "$state/undo$path" ] || [ -e "$state/undo$path.absent" ]; then
            unproven=yes
        fi
        sum=-
        case $mode in
        8???)
            if [ "$size" -gt "$largest" ]; then
                sum=$(sha256sum <"$path")
                sum=${sum%% *}
            else
                small="$small $path"
            fi
            ;;
        esac
        echo "file $owner $group $mode $unproven $sum $path"
    done <<END
$found
END
    [ -n "$small" ] || return
    # shellcheck disable=SC2086  # paths hold no spaces
    printf 'contents %s\n' "$(tar -czPf - --hard-dereference --no-recursion -- $small 2>/dev/null |
        base64 -w0)"
}

# read_secrets PATH...: whether they are there and whose, never what is in them.
read_secrets() {
    [ $# -gt 0 ] || return
    stat -c 'file %U %G %f no - %n' -- "$@" 2>/dev/null
}

# read_keys FOLDER: of both files that sshd reads. They are the user's, who may put anything in their
# place: a link to what only root can read, a FIFO that nobody writes to, a file without an end.
read_keys() {
    for file in "$1/authorized_keys" "$1/authorized_keys2"; do
        if [ -f "$file" ] && [ ! -L "$file" ] && [ "$(stat -c %s "$file")" -le "$largest" ]; then
            cat "$file"
            echo
        fi
    done 2>/dev/null
}

read_user() {
    entry=$(getent passwd "$1") || return
    home=$(printf '%s\n' "$entry" | cut -d: -f6)
    keys=
    uid=$(printf '%s\n' "$entry" | cut -d: -f3)
    if [ -n "$home" ] && [ ! -L "$home/.ssh" ]; then
        keys=$(read_keys "$home/.ssh" | base64 -w0)
    fi
    shell=$(printf '%s\n' "$entry" | cut -d: -f7 | tr -d '\n' | base64 -w0)
    home=$(printf %s "$home" | base64 -w0)
    echo "user $1 ${shell:--} ${home:--} $uid ${keys:--} $(id -Gn "$1")"
}

read_timezone() {
    zone=$(readlink /etc/localtime)
    case $zone in
    */zoneinfo/*) zone=${zone#*/zoneinfo/} ;;
    *) zone=$(cat /etc/timezone 2>/dev/null) ;;
    esac
    echo "timezone $zone"
}

read_locale() {
    for file in /etc/locale.conf /etc/default/locale; do
        [ -e "$file" ] || continue
        lang=$(sed -n 's/^LANG=//p' "$file" | tr -d "\"'" | tail -n 1)
        echo "lang $lang"
        return
    done
}

# As locale -a has them: nl_NL.utf8.
read_locale_known() {
    name=$(printf %s "$1" | sed 's/UTF-8/utf8/')
    locale -a 2>/dev/null | grep -qxF -e "$name" && echo "locale_known"
}

read_sysctl() {
    file=/proc/sys/$(printf %s "$1" | tr . /)
    [ -r "$file" ] && echo "sysctl $1 $(tr '\n' ' ' <"$file")"
}

read_group() {
    entry=$(getent group "$1") || return
    echo "group $1 $(printf '%s\n' "$entry" | cut -d: -f3)"
}

# What we added and made, as it was noted before; of its users those that nobody asked for are read
# like the others, of its groups who is in them.
read_made() {
    others=
    if [ -e "$state/keys" ]; then
        sed -n 's/^[^ ]* [^ ]*$/added_key &/p' "$state/keys"
        others=$(cut -d' ' -f1 "$state/keys")
    fi
    if [ -e "$state/made" ]; then
        sed -n 's/^user /made_user /p' "$state/made"
        others="$others $(sed -n 's/^user //p' "$state/made")"
        while read -r kind name; do
            [ "$kind" != group ] || read_members "$name"
        done <"$state/made"
    fi
    for name in $others; do
        case " $users " in
        *" $name "*) ;;
        *) read_user "$name" ;;
        esac
        users="$users $name"
    done
}

read_members() {
    if ! entry=$(getent group "$1"); then
        echo "gone_group $1"
        return
    fi
    gid=$(printf '%s\n' "$entry" | cut -d: -f3)
    # shellcheck disable=SC2046  # a word each
    echo "made_group $1" $(printf '%s\n' "$entry" | cut -d: -f4 | tr , ' ') \
        $(getent passwd | cut -d: -f1,4 | sed -n "s/:$gid\$//p")
}

# A first ping may find no answer while the neighbour's address is being looked up.
read_pings() {
    command -v ping >/dev/null 2>&1 || return
    answers=$(
        for address in $pings; do
            {
                answer=no
                if ping -n -c 1 -W 2 "$address" || ping -n -c 1 -W 2 "$address"; then
                    answer=yes
                fi >/dev/null 2>&1
                echo "ping $address $answer"
            } &
        done
        wait
    )
    echo "$answers"
}

patience=0
packages=
units=
pings=
paths=
header=
secrets=
users=
system=
for word; do
    if [ -z "${kind-}" ]; then
        kind=$word
        continue
    fi
    case $kind in
    wait) patience=$word ;;
    network) header=$word ;;
    path) paths="$paths $word" ;;
    secret) secrets="$secrets $word" ;;
    package) packages="$packages $word" ;;
    unit) units="$units $word" ;;
    ping) pings="$pings $word" ;;
    user) users="$users $word" ;;
    esac
    kind=
done

end=$(($(uptime_seconds) + patience))
system_end=$((end < $(uptime_seconds) + 60 ? end : $(uptime_seconds) + 60))
if [ "$patience" -gt 0 ]; then
    wait_for_system
    read_cloud_init
fi
echo "system ${system:-$(systemctl is-system-running 2>/dev/null)}"

echo "hostname $(uname -n)"
for type in ed25519 ecdsa rsa; do
    if [ -s "/etc/ssh/ssh_host_${type}_key.pub" ]; then
        echo "host_key $(cut -d' ' -f1,2 "/etc/ssh/ssh_host_${type}_key.pub")"
        break
    fi
done
read_network
read_timezone
# shellcheck disable=SC2016,SC2086  # dpkg-query's dollars; package names hold no spaces
dpkg-query -W -f='package ${db:Status-Status} ${Package} ${Version}\n' $packages 2>/dev/null |
    sed -n 's/^package installed /package /p'
for name in "$state"/restart/*; do
    [ -e "$name" ] || continue
    echo "pending ${name##*/}"
    units="$units ${name##*/}"
done
# shellcheck disable=SC2086  # unit names hold no spaces
systemctl show -p LoadState -p UnitFileState -p ActiveState -p NeedDaemonReload $units 2>/dev/null | sed 's/^/unit /'

if [ -e "$state/configured" ]; then
    while read -r path; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            echo "configured $path"
        fi
    done <"$state/configured"
fi
read_locale
[ -z "$header" ] || find_network_files "$header"

# From here on nothing is a pattern: a path may look like one.
set -f
# shellcheck disable=SC2086  # paths hold no spaces
read_files $paths
# shellcheck disable=SC2086  # nor do these
read_secrets $secrets
while [ $# -ge 2 ]; do
    case $1 in
    user) read_user "$2" ;;
    group) read_group "$2" ;;
    sysctl) read_sysctl "$2" ;;
    locale) read_locale_known "$2" ;;
    zone) [ -e "/usr/share/zoneinfo/$2" ] && echo "zone_known" ;;
    esac
    shift 2
done
read_made
read_pings
echo "end"
