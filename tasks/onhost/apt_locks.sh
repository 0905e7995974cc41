#!/bin/sh
# What waits for the locks of dpkg and apt; precedes the scripts that use it. They set said, the file
# in which a command's words are found, and wait_until, the end of all patience as now has it.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # they call

# now: seconds on a clock that nobody sets.
now() {
    read -r uptime _ </proc/uptime
    printf %s "${uptime%.*}"
}

# patiently COMMAND...: again every second while another process holds a lock. dpkg and the lock on
# apt's lists know no time-out, nor does any lock to the apt of Debian 10 and Ubuntu 18.04. Standard
# input is not theirs to read.
patiently() {
    until "$@" </dev/null >"$said" 2>&1; do
        ended=$?
        grep -qE 'could not get lock|(was|is) locked by' -i "$said" || return "$ended"
        [ "$(now)" -lt "$wait_until" ] || return "$ended"
        sleep 1
    done
}

# patience: the seconds that are left of it.
patience() {
    left=$((wait_until - $(now)))
    [ "$left" -ge 0 ] || left=0
    printf %s "$left"
}

# some_not_fetched: by what apt has just said. An index that cannot be fetched is only a warning to
# it, and it goes on with the old one; not every apt can be told to fail.
some_not_fetched() { grep -qE '^W: (Failed to fetch|Some index files)' "$said"; }
