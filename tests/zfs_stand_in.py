"""Stand-ins for ZFS on a lab host, whose kernel has none: they answer LXD as ``zfs`` and ``zpool``
do, keep the names of datasets in a file, and record what they were called with."""

from __future__ import annotations

from tests.lxd_site import LxdSite

FOLDER = "/var/lib/stand-in-zfs"
CALLS = f"{FOLDER}/calls"

_ZFS = f"""#!/bin/sh
echo "zfs $*" >>{CALLS}
for last; do :; done
case $1 in
get)
    # zfs get -H [-r] -o name name DATASET
    grep -qx "$last" {FOLDER}/datasets || {{ echo "cannot open '$last': dataset does not exist" >&2; exit 1; }}
    if [ "$3" = -r ]; then grep -x -e "$last" -e "$last/.*" {FOLDER}/datasets; else echo "$last"; fi
    ;;
create) echo "$last" >>{FOLDER}/datasets ;;
set) ;;
*) echo "the stand-in knows no zfs $1" >&2; exit 2 ;;
esac
"""  # noqa: E501
_ZPOOL = f"""#!/bin/sh
echo "zpool $*" >>{CALLS}
"""
_MODPROBE = """#!/bin/sh
[ "$2" = zfs ]
"""
# LXD asks this first for the version.
_DPKG_QUERY = """#!/bin/sh
for last; do :; done
[ "$last" = zfsutils-linux ] || exec /usr/bin/dpkg-query "$@"
echo 2.1.11-1
"""


def install(site: LxdSite, pool: str) -> None:
    """Put them on the host, with a pool that is there already, and have LXD find them."""
    site.sh(f"mkdir -p {FOLDER}; echo {pool} >{FOLDER}/datasets")
    for name, text in (
        ("zfs", _ZFS),
        ("zpool", _ZPOOL),
        ("modprobe", _MODPROBE),
        ("dpkg-query", _DPKG_QUERY),
    ):
        site.write_program(f"/usr/local/sbin/{name}", text)
    site.sh("systemctl restart lxd && lxd waitready --timeout=60")
