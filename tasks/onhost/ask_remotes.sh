#!/bin/sh
# Asks remotes for their LXD server, all at once, as the user that has them.
# Arguments: deb or snap, whichever its LXD is, then USER REMOTE pairs. Prints for each pair:
# USER REMOTE STATUS AUTH SAID, the last as base64; STATUS is the client's exit status (124: no
# answer in time), AUTH trusted, untrusted or "-".
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL

lxc=lxc
package=$1
shift
[ "$package" = snap ] && lxc=/snap/bin/lxc
work=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT

# The client makes its folder at its first call; where there is none, there is no remote either.
ask() {
    home=$(getent passwd "$1" | cut -d: -f6)
    folder=$home/.config/lxc
    [ "$package" = snap ] && folder=$home/snap/lxd/common/config
    if [ ! -f "$folder/config.yml" ]; then
        echo "no LXD client folder" >&2
        return 1
    fi
    if [ "$1" = root ]; then
        HOME=$home timeout -k 1 10 "$lxc" query "$2:/1.0"
    else
        runuser -u "$1" -- env HOME="$home" timeout -k 1 10 "$lxc" query "$2:/1.0"
    fi
}

count=0
while [ $# -gt 1 ]; do
    count=$((count + 1))
    {
        ask "$1" "$2" </dev/null >"$work/$count.out" 2>"$work/$count.err"
        status=$?
        auth=$(sed -n 's/^[[:space:]]*"auth": "\([a-z]*\)".*/\1/p' "$work/$count.out")
        said=$(base64 -w0 "$work/$count.err")
        printf '%s %s %s %s %s\n' "$1" "$2" "$status" "${auth:--}" "$said" >"$work/$count.line"
    } &
    shift 2
done
wait
cat "$work"/*.line
