#!/bin/sh
# Runs LXD's client with a folder of its own that stays nowhere: what it reads and writes, and how
# it ends, are the client's. Arguments: seconds that it may take, then its own arguments.
set -u
PATH=$PATH:/snap/bin

LXD_CONF=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
export LXD_CONF
trap 'rm -rf "$LXD_CONF"' EXIT
trap 'exit 1' HUP INT TERM
: >"$LXD_CONF/config.yml" # without one, whoever is first greets a new user
seconds=$1
shift
timeout -k 10 "$seconds" lxc "$@"
