#!/bin/sh
# What only a configuration does; follows change_machine.sh, whose functions it uses.
# shellcheck disable=SC2154  # set there
# shellcheck disable=SC2317,SC2329  # the calls follow

set_timezone() {
    [ -e "/usr/share/zoneinfo/$1" ] || fail "the time zone $1 is unknown here"
    # first, since the link is what is looked at
    printf '%s\n' "$1" >/etc/timezone
    ln -sfnT "/usr/share/zoneinfo/$1" /etc/localtime.new
    mv -fT /etc/localtime.new /etc/localtime
}

# generate_locale NAME: as locale-gen of Debian and Ubuntu takes it, NAME and its characters.
generate_locale() {
    keep_original /etc/locale.gen
    printf '%s %s\n' "$1" "${1#*.}" >"$work/content/locale"
    add_lines locale /etc/locale.gen
    bounded locale-gen
}

# set_locale NAME: the other settings of that file stay.
set_locale() {
    file=/etc/default/locale
    if [ -e /etc/locale.conf ]; then
        file=/etc/locale.conf
    fi
    keep_original "$file"
    {
        [ ! -e "$file" ] || grep -v '^LANG=' "$file" || :
        printf 'LANG=%s\n' "$1"
    } >"$work/locale"
    install -T -m 644 "$work/locale" "$file.nornir"
    mv -fT "$file.nornir" "$file"
}

# set_kernel KEY VALUE: at once; only what the kernel takes is kept for the next boot.
set_kernel() {
    printf '%s\n' "$2" 2>/dev/null >"/proc/sys/$(printf %s "$1" | tr . /)" ||
        fail "the kernel does not take $1 = $2 here; a container's settings are its host's but for few"
}

# make_group NAME OPTION...
make_group() {
    name=$1
    shift
    groupadd "$@" "$name" || not_made group "$name"
}

# not_made user|group NAME: what is not there is not ours; somebody else may make it yet.
not_made() {
    kind=passwd
    [ "$1" = user ] || kind=group
    if ! getent "$kind" "$2" >/dev/null; then
        forget made "$1 $2"
        [ "$1" != user ] || forget made "private-group $2"
    fi
    fail "$1 $2 could not be made"
}

# remove_group NAME: userdel may have taken it along.
remove_group() {
    if getent group "$1" >/dev/null; then
        groupdel "$1"
    fi
}

# make_user NAME OPTION...: with the group of that name, which may be there already.
make_user() {
    name=$1
    shift
    if getent group "$name" >/dev/null; then
        forget made "private-group $name" # of one that is gone
        useradd --create-home --gid "$name" "$@" "$name" || not_made user "$name"
    else
        note made "private-group $name"
        useradd --create-home --user-group "$@" "$name" || not_made user "$name"
    fi
}

# change_user NAME OPTION...
change_user() {
    name=$1
    shift
    usermod "$@" "$name"
    home=$(getent passwd "$name" | cut -d: -f6)
    [ -d "$home" ] || install -d -m 700 -o "$name" -g "$(id -gn "$name")" "$home"
}

# remove_user NAME: userdel takes the group of that name along; one that was there before a user that
# we made comes back as it was.
remove_user() {
    gid=$(getent group "$1" | cut -d: -f3)
    userdel "$1"
    if is_made "private-group $1"; then
        forget made "private-group $1"
    elif is_made "user $1" && [ -n "$gid" ] && ! getent group "$1" >/dev/null; then
        groupadd --gid "$gid" "$1"
    fi
}

is_made() { [ -e "$state/made" ] && grep -qxF -e "$1" "$state/made"; }

# note_configured PATH: a configuration of ours writes it, until it has left the inventory.
note_configured() {
    ours
    if [ -e "$state/configured" ] && grep -qxF -e "$1" "$state/configured"; then
        return
    fi
    printf '%s\n' "$1" >>"$state/configured"
    noted="$noted $1 "
}

# revoke PATH: a file of ours that gave a right goes at once, and for good.
revoke() {
    rm -f -- "$1"
    forget_undo "$1"
    forget files "$1"
    forget configured "$1"
    rm -f -- "$state/backup$1"
}

reload_units() { bounded systemctl daemon-reload; }

# add_groups USER GROUP...
add_groups() {
    user=$1
    shift
    for group; do
        getent group "$group" >/dev/null || fail "there is no group $group here"
        usermod --append --groups "$group" "$user"
    done
}

# load_state SERVICE: loaded, not-found, masked, ... (systemctl show -P is younger than Debian 10.)
load_state() { systemctl show -p LoadState --value "$1"; }

# forget_restart SERVICE: it is not due any more.
forget_restart() { rm -f "$state/restart/$1"; }

# starts_at_boot SERVICE: by itself; is-enabled is content with what only a timer starts, say.
starts_at_boot() {
    case $(systemctl is-enabled "$1" 2>/dev/null) in
    enabled | enabled-runtime | alias) ;;
    *) return 1 ;;
    esac
}

# restart SERVICE: one that does not run has nothing to read again, unless it failed; nor has one
# that is gone.
restart() {
    case $(load_state "$1") in
    not-found | masked) ;;
    *)
        how=try-restart
        if systemctl is-failed --quiet "$1" && starts_at_boot "$1"; then
            how=restart # it had failed, perhaps for want of what has changed
            systemctl reset-failed "$1"
        fi
        if ! bounded systemctl "$how" "$1"; then
            journalctl --no-pager -q -n 6 -u "$1" || true
            fail "$1 did not start again"
        fi
        ;;
    esac
    forget_restart "$1"
}

# service SERVICE enable|disable|start|stop: one that is not there, since no package brought it or
# its package went a moment ago, is off.
service() {
    case $2 in
    disable | stop) [ "$(load_state "$1")" = loaded ] || return 0 ;;
    esac
    if ! bounded systemctl "$2" "$1"; then
        journalctl --no-pager -q -n 6 -u "$1" || true
        fail "systemctl $2 $1 failed"
    fi
    [ "$2" != start ] || forget_restart "$1" # it has just read everything
}
