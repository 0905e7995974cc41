#!/bin/sh
# Reads what a backup or a restore has to know of an LXD host: its room, and what lies in it.
# Arguments: the process id of its LXD, which may have a mount namespace of its own, LXD's folder,
# then any of
#   size POOL TYPE NAME   the bytes in a volume: TYPE is container or custom
#   pool POOL             the bytes free in a storage pool
#   volumes POOL          its custom volumes, as LXD's API gives them
#   exports PATH          the names of the exports that LXD keeps of an instance or a volume
# Prints a line for each that begins with its words, and first `free BYTES FOLDER`: the room where
# LXD makes exports and takes them in. Nothing is changed, nothing stays behind.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL

LXD_CONF=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
export LXD_CONF
trap 'rm -rf "$LXD_CONF"' EXIT
trap 'exit 1' HUP INT TERM
: >"$LXD_CONF/config.yml" # without one, whoever is first greets a new user

lxd=$1
folder=$2
shift 2

ask() { timeout -k 1 30 lxc query "$1" </dev/null; }
number() { sed -n "s/.*\"$1\": \\([0-9]*\\).*/\\1/p"; }

# A volume that is not mounted looks empty: then LXD may know it by its storage's own count.
size() {
    place=$folder/storage-pools/$1/containers/$3
    [ "$2" = custom ] && place=$folder/storage-pools/$1/custom/default_$3
    files=$(nsenter -t "$lxd" -m -- du -sk --apparent-size "$place" 2>/dev/null | cut -f1)
    files=$((${files:-0} * 1024))
    used=$(ask "/1.0/storage-pools/$1/volumes/$2/$3/state" 2>/dev/null | number used)
    [ "${used:-0}" -gt "$files" ] && files=$used
    printf 'size %s %s %s %s\n' "$1" "$2" "$3" "$files"
}

pool() {
    space=$(ask "/1.0/storage-pools/$1/resources" | sed -n '/"space"/,$p') || exit 1
    total=$(printf '%s\n' "$space" | number total)
    used=$(printf '%s\n' "$space" | number used)
    printf 'pool %s %s\n' "$1" $((${total:-0} - ${used:-0}))
}

free=$(nsenter -t "$lxd" -m -- df -Pk "$folder/backups" | sed 1d) || exit 1
# shellcheck disable=SC2086  # its columns
set -- $free -- "$@"
printf 'free %s %s\n' $(($4 * 1024)) "$folder/backups"
while [ "$1" != -- ]; do shift; done
shift

while [ $# -gt 1 ]; do
    case $1 in
    size)
        size "$2" "$3" "$4"
        shift 2
        ;;
    pool) pool "$2" ;;
    volumes)
        found=$(ask "/1.0/storage-pools/$2/volumes/custom?recursion=1" | base64 -w0) || exit 1
        printf 'volumes %s %s\n' "$2" "$found"
        ;;
    exports)
        for path in $(ask "$2/backups" | tr -d '[]",'); do
            printf 'exports %s %s\n' "$2" "${path##*/}"
        done
        ;;
    esac
    shift 2
done
