#!/bin/sh
# What only a configuration does; follows change_machine.sh, whose functions it uses.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # the calls follow

set_timezone() {
    [ -e "/usr/share/zoneinfo/$1" ] || fail "the time zone $1 is unknown here"
    ln -sfnT "/usr/share/zoneinfo/$1" /etc/localtime.new
    mv -fT /etc/localtime.new /etc/localtime
    printf '%s\n' "$1" >/etc/timezone
}

# make_user NAME SHELL: with the group of that name, which may be there already.
make_user() {
    if getent group "$1" >/dev/null; then
        useradd --create-home --shell "$2" --gid "$1" "$1"
    else
        useradd --create-home --shell "$2" --user-group "$1"
    fi
}

set_shell() { usermod --shell "$2" "$1"; }

# add_groups USER GROUP...
add_groups() {
    user=$1
    shift
    for group; do
        getent group "$group" >/dev/null || fail "there is no group $group here"
        usermod --append --groups "$group" "$user"
    done
}

# restart SERVICE: one that does not run has nothing to read again.
restart() {
    if ! bounded systemctl try-restart "$1"; then
        journalctl --no-pager -q -n 6 -u "$1" || true
        fail "$1 did not start again"
    fi
    rm -f "$state/restart/$1"
}

# service SERVICE enable|disable|start|stop
service() {
    if ! bounded systemctl "$2" "$1"; then
        journalctl --no-pager -q -n 6 -u "$1" || true
        fail "systemctl $2 $1 failed"
    fi
}
