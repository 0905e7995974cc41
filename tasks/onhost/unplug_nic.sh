#!/bin/sh
# Takes a container's NIC away. Argument: its end on this host, with which the other end goes too.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

[ -e "/sys/class/net/$1" ] || exit 0 # someone else was faster
ip link delete dev "$1" type veth
