"""Stand-ins for the snap store on a lab host: ``snap``, the snap of LXD and its ``lxd.migrate``.

They record what they were called with and answer like the real ones. The snap's LXD is a real one,
the programs of the Debian package over the snap's folder, and ``lxd.migrate`` really moves the data
(as https://github.com/canonical/lxd-pkg-snap, branch 5.0-candidate, does).
"""

from __future__ import annotations

from tests.lxd_site import LxdSite

FOLDER = "/var/lib/stand-in-snap"
CALLS = f"{FOLDER}/calls"
#: Holds the moment at which lxd.migrate, and all that runs it, is killed.
KILL = f"{FOLDER}/kill-at"

_SNAP = f"""#!/bin/sh
echo "snap $*" >>{CALLS}
case "$1 $2" in
"refresh ") echo "All snaps up to date." ;;
"install lxd") exec {FOLDER}/install "${{3#--channel=}}" ;;
"refresh lxd") echo "${{3#--channel=}}" >{FOLDER}/channel ;;
"set system") echo "${{3#refresh.timer=}}" >{FOLDER}/timer ;;
"get system")
    cat {FOLDER}/timer 2>/dev/null && exit
    echo 'error: snap "core" has no "refresh.timer" configuration option' >&2
    exit 1
    ;;
"list lxd")
    echo "Name  Version       Rev    Tracking    Publisher   Notes"
    echo "lxd   5.0.3-ffb17cf 27948  $(cat {FOLDER}/channel)  canonical*  -"
    ;;
*) echo "the stand-in knows no snap $1 $2" >&2; exit 64 ;;
esac
"""
_UNIT = """[Service]
Environment=LXD_DIR=/var/snap/lxd/common/lxd
ExecStart=/snap/lxd/current/bin/lxd --group root --logfile /var/snap/lxd/common/lxd.log
KillMode=process
TimeoutStopSec=30s
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""
_INSTALL = f"""#!/bin/sh
set -e
echo "${{1:-latest/stable}}" >{FOLDER}/channel
mkdir -p /snap/lxd/x1/bin /snap/bin /var/snap/lxd/common/lxd
cp /usr/bin/lxd /usr/bin/lxc /snap/lxd/x1/bin
cp {FOLDER}/bin/* /snap/bin
cp {FOLDER}/unit /etc/systemd/system/snap.lxd.daemon.service
systemctl daemon-reload
systemctl enable --now snap.lxd.daemon.service 2>/dev/null
ln -s x1 /snap/lxd/current
echo "lxd 5.0.3-ffb17cf from Canonical* installed"
"""
_LXC = """#!/bin/sh
if ss -nlx | grep -q ' /var/lib/lxd/unix.socket '; then
    echo "Error: Both native and snap packages are installed on this system" >&2
    exit 1
fi
home=$(getent passwd "$(id -un)" | cut -d: -f6)
export LXD_DIR=/var/snap/lxd/common/lxd LXD_CONF="$home/snap/lxd/common/config"
mkdir -p "$LXD_CONF"
exec /snap/lxd/current/bin/lxc "$@"
"""
_LXD = """#!/bin/sh
export LXD_DIR=/var/snap/lxd/common/lxd
exec /snap/lxd/current/bin/lxd "$@"
"""
_MIGRATE = f"""#!/bin/sh
set -e
echo "lxd.migrate $* LXD_PREINST=$LXD_PREINST" >>{CALLS}
old=/var/lib/lxd
new=/var/snap/lxd/common/lxd
at() {{
    if [ "$(cat {KILL} 2>/dev/null)" = "$1" ]; then
        rm {KILL}
        systemctl kill --signal=KILL nornir-lxd-fleet-move.service
        sleep 5
    fi
}}
finish() {{
    # Without LXD_PREINST it removes the package, whatever its standard input says.
    [ -n "$LXD_PREINST" ] || echo "uninstalled the old LXD" >>{CALLS}
    exit 0
}}
ask() {{ LXD_DIR=$1 LXD_CONF={FOLDER}/client /snap/lxd/current/bin/lxc query "$2"; }}
mkdir -p {FOLDER}/client
[ "$1" = -yes ] || {{ echo "Aborted by the user" >&2; exit 1; }}
echo "=> Connecting to source server"
holdings=$(ask $old /1.0/instances; ask $old /1.0/images; ask $old /1.0/storage-pools)
echo "=> Connecting to destination server"
ask $new /1.0 >/dev/null
echo "=> Running sanity checks"
case $holdings in
*/1.0/*) ;;
*) echo "The source server is empty, no migration needed."; finish ;;
esac
case $(ask $new /1.0/storage-pools) in
*/1.0/*) echo "error: Target LXD already has storage pools, aborting." >&2; exit 1 ;;
esac
echo "=> Shutting down the source LXD"
lxd shutdown --timeout 60
echo "=> Stopping the source LXD units"
systemctl stop lxd.service lxd.socket
echo "=> Stopping the destination LXD unit"
systemctl stop snap.lxd.daemon.service
at stopped
for folder in $old $new; do
    awk -v below="$folder/" 'index($5, below) == 1 {{ print $5 }}' /proc/self/mountinfo | sort -r |
        while read -r mount; do umount -l "$mount"; done
done
echo "=> Wiping destination LXD clean"
rm -rf $new
echo "=> Backing up the database"
rm -rf $old/database.pre-migration
cp -a $old/database $old/database.pre-migration
at backed-up
echo "=> Moving the data"
mv $old $new
at moved
echo "=> Updating the storage backends"
for link in $new/containers/*; do
    [ -L "$link" ] || continue
    target=$(readlink "$link")
    ln -sfn "$new${{target#"$old"}}" "$link"
done
echo "UPDATE storage_pools_config SET value = replace(value, '$old/', '$new/')
    WHERE key = 'source';" >$new/database/patch.global.sql
echo "=> Starting the destination LXD"
systemctl start snap.lxd.daemon.service
at started
echo "=> Waiting for LXD to come online"
LXD_DIR=$new /snap/lxd/current/bin/lxd waitready --timeout=60
finish
"""


def install(site: LxdSite) -> None:
    """Put them on the host, which is Ubuntu from now on as far as it says itself."""
    site.write_program("/usr/local/bin/snap", _SNAP)
    site.write_program(f"{FOLDER}/install", _INSTALL)
    site.write_program(f"{FOLDER}/unit", _UNIT)
    for name, text in (("lxc", _LXC), ("lxd", _LXD), ("lxd.migrate", _MIGRATE)):
        site.write_program(f"{FOLDER}/bin/{name}", text)
    # lxd.migrate works there only, and reads this.
    site.sh("rm /etc/os-release; printf 'ID=ubuntu\\nVERSION_ID=\"22.04\"\\n' >/etc/os-release")


def kill_at(site: LxdSite, moment: str) -> None:
    """Have the next move killed at that moment: stopped, backed-up, moved, started."""
    site.sh(f"echo {moment} >{KILL}")


def calls(site: LxdSite) -> list[str]:
    """What they were called with since this was asked last, reading left out."""
    said = site.sh(f"cat {CALLS} 2>/dev/null || true; rm -f {CALLS}").splitlines()
    return [line for line in said if line.split()[1] not in ("list", "get")]
