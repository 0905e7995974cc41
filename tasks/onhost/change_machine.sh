#!/bin/sh
# The frame of a change to a machine, followed by the calls that make the change: which step it is
# in, how long it may take, what it said when it failed; files, lines and packages. Follows
# apt_locks.sh, whose functions it uses.
# Argument: the seconds that all of it may take. Standard input: a tar of the contents that the
# calls name. A change that ends before its time, or is killed, is finished by the next run.
# shellcheck disable=SC2034  # read there
# shellcheck disable=SC2317,SC2329  # the calls follow
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
HOME=/root
export PATH LC_ALL DEBIAN_FRONTEND HOME

state=/var/lib/nornir-lxd-fleet
end=$(($(now) + $1))
wait_until=$((end - 5)) # there is time to say who holds the lock
seconds=$1
current="the preparation"
unfinished=
pended=

work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX)
log=$work/log
said=$log
finished() {
    status=$?
    trap - EXIT
    set +e
    if [ -e "$unfinished" ]; then
        rm -f "$unfinished"
        drop_pending
    fi
    if [ "$status" -ne 0 ]; then
        exec 2>&4
        case $status in
        124 | 137) printf '%s did not end within the deadline of %s s\n' "$current" "$seconds" >&2 ;;
        143) printf '%s was interrupted\n' "$current" >&2 ;;
        *) printf '%s failed\n' "$current" >&2 ;;
        esac
        tail -n 8 "$log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finished EXIT
trap 'exit 143' HUP INT TERM
: >"$log"
exec 3>&1 4>&2 >>"$log" 2>&1
mkdir "$work/content"
tar -x -C "$work/content"
exec </dev/null
# A change whose controller was killed goes on to its end; the next one waits for it.
exec 9>/run/nornir-lxd-fleet.change
if ! flock -w "$seconds" 9; then
    printf 'an earlier change of this machine is still under way\n'
    exit 124
fi

# step WHAT: what follows, for whoever reads about its failure.
step() {
    current=$1
    : >"$log"
}

# fail WHY: end here.
fail() {
    printf '%s\n' "$1"
    exit 1
}

# bounded COMMAND...: no longer than what is left of the whole. What it leaves running holds
# neither the controller nor the next change.
bounded() {
    left=$((end - $(now)))
    [ "$left" -gt 0 ] || exit 124
    timeout -k 10 "$left" "$@" 3>&- 4>&- 9>&-
}

ours() {
    [ -n "$state_made" ] || install -d -m 700 "$state"
    state_made=yes
}
state_made=

# Whoever had the file before us finds it again in backup/, as it was when we first touched it.
touched=
if [ -e "$state/files" ]; then
    touched=$(cat "$state/files")
fi
newline='
'
keep_original() {
    case $newline$touched$newline in
    *"$newline$1$newline"*) return ;;
    esac
    ours
    if [ -e "$1" ] || [ -L "$1" ]; then
        mkdir -p "$state/backup${1%/*}"
        cp -aT -- "$1" "$state/backup$1"
    elif [ -e "$state/backup$1" ] || [ -L "$state/backup$1" ]; then
        rm -f -- "$state/backup$1" # of an earlier time, which a kill kept from going
    fi
    printf '%s\n' "$1" >>"$state/files"
    touched=$touched$newline$1
    kept="$kept $1 "
}
kept=
noted=

# note LIST LINE: what we make, before it is made: a kill may come in between.
note() {
    ours
    [ -e "$state/$1" ] || : >"$state/$1"
    grep -qxF -e "$2" "$state/$1" || printf '%s\n' "$2" >>"$state/$1"
}

# forget LIST LINE
forget() {
    [ -e "$state/$1" ] || return 0
    grep -vxF -e "$2" "$state/$1" >"$work/list" || [ $? = 1 ]
    install -m 600 "$work/list" "$state/$1.new"
    mv -f "$state/$1.new" "$state/$1"
}

# never_was PATH: what this change noted of a file that stays as it was.
never_was() {
    case $noted in
    *" $1 "*) forget configured "$1" ;;
    esac
    case $kept in
    *" $1 "*)
        forget files "$1"
        rm -f -- "$state/backup$1"
        ;;
    esac
}

forget_undo() {
    if [ -e "$state/undo$1" ] || [ -L "$state/undo$1" ] || [ -e "$state/undo$1.absent" ]; then
        rm -f -- "$state/undo$1" "$state/undo$1.absent"
    fi
}

# pend_restart SERVICE: noted before its file changes, so that a run killed in between does not
# leave a service with the old file's settings for ever; dropped where the file stays as it was.
pend_restart() {
    ours
    mkdir -p "$state/restart"
    [ ! -e "$state/restart/$1" ] || return 0
    : >"$state/restart/$1"
    pended="$pended $1"
}

drop_pending() {
    for service in $pended; do
        rm -f "$state/restart/$service"
    done
}

# put_file CONTENT PATH OWNER GROUP MODE [VALIDATE]: whole or not at all. A validation that has
# %s is given the new file before it is in place; one that has not looks at everything once it
# is, and the file goes back to what it was when it fails.
put_file() {
    keep_original "$2"
    [ -d "${2%/*}/" ] || mkdir -p "${2%/*}"
    # of one name, so that one that a kill left is taken away here
    unfinished=${2%/*}/.${2##*/}.nornir
    install -T -o "$3" -g "$4" -m "$5" -- "$work/content/$1" "$unfinished"
    validate=${6-}
    case $validate in
    *%s*)
        if ! bounded sh -c "${validate%%\%s*}$unfinished${validate#*\%s}"; then
            never_was "$2"
            fail "not written: the validation failed: $validate"
        fi
        validate=
        ;;
    ?*) remember "$2" ;;
    esac
    mv -fT -- "$unfinished" "$2"
    unfinished=
    if [ -n "$validate" ]; then
        prove_file "$2" "$validate"
    else
        case "$with_next " in
        *" $2 "*) ;;
        *) forget_undo "$2" ;;
        esac
    fi
    pended=
}

# put_with_next CONTENT PATH OWNER GROUP MODE: the validation of the file that follows is for this
# one too; both stay, or both go back.
put_with_next() {
    remember "$2"
    with_next="$with_next $2"
    put_file "$@"
}
with_next=

# remove_file PATH: kept in backup/ when it was not ours.
remove_file() {
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        fail "$1 is a folder, which is not removed"
    fi
    keep_original "$1"
    rm -f -- "$1"
    forget_undo "$1"
}

# take_back PATH: what was there before us comes back, or nothing; what is there now is kept in
# taken-back/. Killed anywhere, it can be done again: the backup goes last.
take_back() {
    if [ -e "$1" ] && ! cmp -s -- "$1" "$state/backup$1"; then
        mkdir -p "$state/taken-back${1%/*}"
        cp -aT -- "$1" "$state/taken-back$1"
    fi
    if [ -e "$state/backup$1" ] || [ -L "$state/backup$1" ]; then
        rm -f -- "$1.nornir"
        cp -aT -- "$state/backup$1" "$1.nornir"
        mv -fT -- "$1.nornir" "$1"
    else
        rm -f -- "$1"
    fi
    forget_undo "$1"
    forget files "$1"
    forget configured "$1"
    rm -f -- "$state/backup$1"
}

# What a file was stays until its successor is validated, also through a kill in between.
remember() {
    if [ -e "$state/undo$1" ] || [ -L "$state/undo$1" ] || [ -e "$state/undo$1.absent" ]; then
        return
    fi
    mkdir -p "$state/undo${1%/*}"
    if [ -e "$1" ] || [ -L "$1" ]; then
        cp -a -- "$1" "$state/undo$1.new"
        mv -fT -- "$state/undo$1.new" "$state/undo$1"
    else
        : >"$state/undo$1.absent"
    fi
}

prove_file() {
    good=no
    # the lists that it fetches, say, may be locked; not every apt fails where it cannot fetch them
    patiently bounded sh -c "$2" && ! some_not_fetched && good=yes
    for path in $1 $with_next; do
        if [ $good = yes ]; then
            forget_undo "$path"
            continue
        elif [ -e "$state/undo$path.absent" ]; then
            rm -f -- "$path" "$state/undo$path.absent"
        else
            mv -fT -- "$state/undo$path" "$path"
        fi
        never_was "$path"
    done
    with_next=
    [ $good = no ] || return 0
    drop_pending
    fail "put back as it was: the validation failed: $2"
}

# add_lines CONTENT PATH: those that are not in the file yet, at its end.
add_lines() {
    keep_original "$2"
    [ -e "$2" ] || install -m 644 /dev/null "$2"
    sh -c "$append" append "$2" <"$work/content/$1"
}

# shellcheck disable=SC2016  # for a shell of its own
append='
    set -eu
    [ -z "$(tail -c 1 "$1")" ] || echo >>"$1"
    while IFS= read -r line; do
        grep -qxF -e "$line" "$1" || printf "%s\n" "$line" >>"$1"
    done
'

# add_keys CONTENT USER: as that user, whose home may hold any link.
add_keys() { change_keys "$1" "$2" "$append"; }

# shellcheck disable=SC2016  # for a shell of its own
enter_keys='
    set -eu
    cd "$1"
    umask 077
    mkdir -p .ssh
    chmod 700 .ssh
    [ ! -L .ssh/authorized_keys ] || { echo "authorized_keys is a link"; exit 1; }
    touch .ssh/authorized_keys
    chmod 600 .ssh/authorized_keys
    set -- .ssh/authorized_keys
'

# change_keys CONTENT USER SCRIPT
change_keys() {
    home=$(getent passwd "$2" | cut -d: -f6)
    [ -d "$home" ] || fail "the home of $2, $home, is not there"
    runuser -u "$2" -- sh -c "$enter_keys$3" keys "$home" <"$work/content/$1"
}

# set_keys CONTENT USER: these and no others; whole or not at all.
set_keys() {
    # shellcheck disable=SC2016  # for a shell of its own
    change_keys "$1" "$2" 'cat >"$1.nornir"; mv -f "$1.nornir" "$1"; rm -f "${1}2"'
}

# remove_keys CONTENT USER: these lines, and no other.
remove_keys() {
    # shellcheck disable=SC2016  # for a shell of its own
    change_keys "$1" "$2" 'grep -vxF -f - "$1" >"$1.nornir" || [ $? = 1 ]; mv -f "$1.nornir" "$1"'
}

set_hostname() { hostname "$1"; }

apt() {
    patiently bounded apt-get -q -y -o "DPkg::Lock::Timeout=$(patience)" -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"
}

# What an interrupted installation left half done comes first; somebody else's that is under
# way looks just the same, so its lock is waited for. Nobody is there to be asked about a file.
finish_interrupted() {
    if [ -n "$(dpkg --audit)" ]; then
        patiently bounded dpkg --configure -a --force-confdef --force-confold ||
            fail "dpkg --configure -a does not mend what an installation left"
    fi
}

prepare_packages() {
    [ ! -e "$work/prepared" ] || return 0
    finish_interrupted
    # the lists that a change a moment ago has fetched are still good
    fetched=/run/nornir-lxd-fleet.fetched
    if [ -z "$(find "$fetched" -mmin -5 2>/dev/null)" ]; then
        apt update
        ! some_not_fetched || fail "not every repository could be fetched"
        : >"$fetched"
    fi
    : >"$work/prepared"
}

upgrade_packages() {
    prepare_packages
    apt --with-new-pkgs upgrade
}

install_packages() {
    prepare_packages
    apt --allow-downgrades install "$@"
}

remove_packages() {
    finish_interrupted
    apt remove "$@"
}

# once MARKER: what was done once for all on this machine.
once() {
    ours
    : >"$state/$1"
}
