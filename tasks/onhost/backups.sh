#!/bin/sh
# Keeps the backups of one container on this machine, each in a folder named after its moment below
# /var/lib/nornir-lxd-fleet/backups/ENVIRONMENT/CONTAINER, with a manifest that comes last: without
# one it is half a backup. Arguments: ENVIRONMENT CONTAINER, then one of
#   list                          prints `free BYTES FOLDER`, and for each backup `whole MOMENT MANIFEST`
#                                 or `half MOMENT BEGUN`, both as base64
#   begin MOMENT SECONDS WORD...  waits for an earlier run, removes halves, remembers WORDs in `begun`
#   take MOMENT FILE              makes FILE of standard input
#   pull MOMENT FILE SECONDS ...  makes FILE of what root's LXD client exports, given the rest
#   keep MOMENT GOING...          makes the manifest of standard input, then removes the GOING ones
#   drop MOMENT                   removes it
#   sums MOMENT FILE...           prints what take prints, for each FILE
#   give MOMENT FILE              FILE on standard output
#   put MOMENT FILE SECONDS ...   has root's LXD client take FILE in, given the rest
# take, pull and sums print `file FILE BYTES SHA256`. Modes are 0700 and 0600.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
HOME=$(getent passwd root | cut -d: -f6) # whose client has the remotes, also through sudo
export PATH LC_ALL HOME

folder=/var/lib/nornir-lxd-fleet/backups/$1/$2
container=$2
verb=$3
shift 3

fail() {
    echo "$*" >&2
    exit 1
}

# One run at a time at the backups of a container: one that was killed goes on here for a while.
lock() {
    mkdir -p "$folder" || exit 1
    exec 9>>"$folder/.lock" || exit 1
    flock -w "$1" 9 || fail "an earlier run is still at work on the backups of $container here"
}

moments() {
    for path in "$folder"/*Z; do
        name=${path##*/}
        [ -d "$path" ] && [ ${#name} = 16 ] && echo "$name"
    done
}

# The manifest first: what is left of it after a kill is half a backup.
drop() {
    rm -f "$folder/$1/manifest" && rm -rf "${folder:?}/$1"
}

tell() {
    sum=$(sha256sum <"$folder/$1/$2") || exit 1
    printf 'file %s %s %s\n' "$2" "$(stat -c %s "$folder/$1/$2")" "${sum%% *}"
}

list() {
    at=$folder
    while [ ! -d "$at" ]; do at=${at%/*}; done
    # shellcheck disable=SC2046  # its columns
    set -- $(df -Pk "$at" | sed 1d)
    printf 'free %s %s\n' $(($4 * 1024)) "$folder"
    for moment in $(moments); do
        state=half file=begun
        [ -e "$folder/$moment/manifest" ] && state=whole file=manifest
        printf '%s %s %s\n' "$state" "$moment" "$(base64 -w0 "$folder/$moment/$file" 2>/dev/null)"
    done
}

case $verb in
list) list ;;
begin)
    moment=$1
    lock "$2"
    shift 2
    for half in $(moments); do
        [ -e "$folder/$half/manifest" ] || drop "$half"
    done
    mkdir "$folder/$moment" && echo "- $*" >"$folder/$moment/begun"
    ;;
take)
    lock 5
    cat >"$folder/$1/$2" && sync "$folder/$1/$2" && tell "$1" "$2"
    ;;
pull)
    lock 5
    moment=$1 file=$2 seconds=$3
    shift 3
    timeout -k 10 "$seconds" lxc "$@" /dev/stdout --quiet </dev/null >"$folder/$moment/$file" 9>&- ||
        exit 1
    sync "$folder/$moment/$file" && tell "$moment" "$file"
    ;;
keep)
    lock 5
    moment=$1
    shift
    cat >"$folder/$moment/manifest.new" && sync "$folder/$moment/manifest.new" || exit 1
    mv "$folder/$moment/manifest.new" "$folder/$moment/manifest" && sync "$folder/$moment" || exit 1
    rm -f "$folder/$moment/begun"
    for going; do
        drop "$going" || exit 1
    done
    ;;
drop)
    lock 5
    drop "$1"
    ;;
sums)
    lock 300
    moment=$1
    shift
    for file; do
        tell "$moment" "$file"
    done
    ;;
give) cat "$folder/$1/$2" ;;
put)
    lock 5
    input=$folder/$1/$2 seconds=$3
    shift 3
    timeout -k 10 "$seconds" lxc "$@" <"$input" 9>&-
    ;;
esac
