#!/bin/sh
# Upgrades the packages of a Debian or Ubuntu machine: refresh the lists, upgrade, autoremove,
# autoclean. Prints the installed packages before and after it, what went wrong on standard error.
# Follows apt_locks.sh, whose functions it uses.
# Arguments: the mode, how many seconds to wait for the locks of dpkg and apt, what to upgrade, and
# the names of packages that stay as they are (apt_preferences(5)).
# Ends with the line "# end".
# Modes: "dry": apt only simulates, on the lists that are there, and writes no cache; "look": the
# same on lists that it refreshes; "real"; and "restart": real, then restarts the services of which
# a process still runs what was replaced, and prints their names.
# What to upgrade: "upgrade" (nothing is removed for it), "dist-upgrade", or "security": what is
# installed only to versions of an archive whose name ends in -security, as Debian's and Ubuntu's.
# shellcheck disable=SC2034  # read there
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export PATH LC_ALL DEBIAN_FRONTEND

mode=$1
wait_until=$(($(now) + $2))
what=$3
shift 3

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# A file and no pipe: a daemon started by an upgrade would keep a pipe open for ever.
said=$work/said
# Ours come first, and the first that is about a package counts.
preferences=$work/preferences
for name; do
    printf 'Package: %s\nPin: version *\nPin-Priority: -1\n\n' "$name"
done >"$preferences"
[ ! -f /etc/apt/preferences ] || cat /etc/apt/preferences >>"$preferences"

# Fails with apt's own words and what stands beside them, as what a package's script said; or with
# all that was said where there are none.
fail() {
    echo "$1:" >&2
    grep -E -B 2 -A 1 '^(E|W|Err|dpkg|Errors)[ :]' "$said" >&2 || cat "$said" >&2
    exit 1
}

installed() {
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n' |
        awk '$1 !~ /^.[nc]/ { print $2, $3 }'
}

apt() {
    patiently apt-get -q -y -o "DPkg::Lock::Timeout=$(patience)" -o "Dir::Etc::preferences=$preferences" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1 "$@" ||
        fail "apt-get $1"
}

simulated() {
    apt-get -q -s -o "Dir::Etc::preferences=$preferences" "$@" </dev/null >"$said" 2>&1 ||
        fail "apt-get -s $1"
}

# Runs the upgrade by "apt" or "simulated", with more options of apt-get.
as_wanted() {
    by=$1
    shift
    case $what in
    dist-upgrade) "$by" dist-upgrade "$@" ;;
    *) "$by" upgrade --with-new-pkgs "$@" ;;
    esac
}

refresh() {
    apt update
    ! some_not_fetched || fail "apt-get update"
}

# Pins what would be upgraded from elsewhere to what is installed, or to a version that is for
# security, be there a newer one of another archive.
pin_to_security() {
    as_wanted simulated "$@"
    awk '$1 == "Inst" && $3 ~ /^\[/ && !/-security[], )]/ {
        sub(/:.*/, "", $2)
        print "Package: " $2 "\nPin: release a=*-security\nPin-Priority: 990\n"
        print "Package: " $2 "\nPin: version *\nPin-Priority: -1\n"
    }' "$said" >"$work/pins"
    cat "$preferences" >>"$work/pins"
    mv "$work/pins" "$preferences"
}

upgrade() {
    patiently dpkg --configure -a --force-confdef --force-confold || fail "dpkg --configure -a"
    refresh
    [ "$what" != security ] || pin_to_security
    as_wanted apt
    apt autoremove
    apt autoclean
}

simulate() {
    [ "$what" != security ] || pin_to_security "$@"
    as_wanted simulated "$@"
    cat "$said"
    simulated autoremove "$@"
    cat "$said"
    [ -z "$(dpkg --audit 2>/dev/null)" ] || echo "# interrupted"
}

# Prints the services of which a process still runs a program or library that was replaced. A bus
# or a login that is restarted would take others down with it, and our own service this very run.
outdated() {
    grep -lE ' r-xp .* (/usr|/lib|/bin|/sbin|/opt)[^ ]* \(deleted\)$' /proc/[0-9]*/maps 2>/dev/null |
        while IFS=/ read -r _ _ pid _; do
            sed -n 's|.*/system.slice/\(.*/\)\{0,1\}\([^/]*\.service\).*|\2|p' "/proc/$pid/cgroup"
        done 2>/dev/null | sort -u |
        grep -vE '^(dbus(-broker)?|systemd-logind|console-getty|getty@.*|container-getty@.*|nornir-lxd-fleet-.*)\.service$'
}

restart_outdated() {
    for service in $(outdated); do
        systemctl restart "$service" </dev/null >"$said" 2>&1 || fail "systemctl restart $service"
        echo "$service"
    done
}

if ! command -v apt-get >/dev/null 2>&1; then
    echo "there is no apt-get on this machine" >&2
    exit 1
fi
case $mode in
dry)
    simulate -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    echo "# end"
    exit 0
    ;;
look)
    refresh
    simulate
    echo "# end"
    exit 0
    ;;
esac
echo "# before"
installed
(
    trap - EXIT
    upgrade
)
status=$?
echo "# after"
installed
if [ "$status" = 0 ] && [ "$mode" = restart ]; then
    echo "# restarted"
    restart_outdated
fi
echo "# end"
exit "$status"
