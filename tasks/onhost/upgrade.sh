#!/bin/sh
# Upgrades all packages of a Debian or Ubuntu machine: refresh the lists, upgrade, autoremove,
# autoclean. Prints the installed packages before and after it, what went wrong on standard error.
# Arguments: "dry" or "real", and how many seconds to wait for the locks of dpkg and apt.
# In a dry run apt only simulates, on the lists that are there, and writes no cache.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export PATH LC_ALL DEBIAN_FRONTEND

mode=$1
wait_until=$(($(date +%s) + $2))

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# A file and no pipe: a daemon started by an upgrade would keep a pipe open for ever.
said=$work/said

# Fails with apt's own words, or with all that was said where there are none.
fail() {
    echo "$1:" >&2
    grep -E '^(E|W|Err|dpkg|Errors)[ :]' "$said" >&2 || cat "$said" >&2
    exit 1
}

installed() {
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n' |
        awk '$1 !~ /^.[nc]/ { print $2, $3 }'
}

# Runs a command, again every second while another process holds a lock, until the time is over:
# dpkg and the lock on apt's lists know no time-out. Standard input is not theirs to read.
patiently() {
    until "$@" </dev/null >"$said" 2>&1; do
        grep -qE 'could not get lock|(was|is) locked by' -i "$said" || return 1
        [ "$(date +%s)" -lt "$wait_until" ] || return 1
        sleep 1
    done
}

apt() {
    left=$((wait_until - $(date +%s)))
    [ "$left" -ge 0 ] || left=0
    patiently apt-get -q -y -o "DPkg::Lock::Timeout=$left" \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1 "$@" ||
        fail "apt-get $1"
}

upgrade() {
    patiently dpkg --configure -a --force-confdef --force-confold || fail "dpkg --configure -a"
    apt update
    # An index that cannot be fetched is only a warning to apt, which goes on with the old one.
    if grep -qE '^(W: Failed to fetch|W: Some index files|E:)' "$said"; then
        fail "apt-get update"
    fi
    apt upgrade --with-new-pkgs
    apt autoremove
    apt autoclean
}

simulate() {
    apt-get -q -s -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@" \
        </dev/null >"$said" 2>&1 || fail "apt-get -s $1"
    cat "$said"
}

if ! command -v apt-get >/dev/null 2>&1; then
    echo "there is no apt-get on this machine" >&2
    exit 1
fi
if [ "$mode" = dry ]; then
    simulate upgrade --with-new-pkgs
    simulate autoremove
    exit 0
fi
echo "# before"
installed
(
    trap - EXIT
    upgrade
)
status=$?
echo "# after"
installed
exit "$status"
