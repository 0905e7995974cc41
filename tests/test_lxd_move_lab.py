"""A real LXD with a running container, moved to its snap, with stand-ins for the snap store.

The tests stand in the order in which a host lives, and build on each other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.lxd_server import task as lxd_server
from tests import snap_stand_in
from tests.lab import Lab, image
from tests.lxd_site import NAME, LxdSite
from tests.records import steps

pytestmark = pytest.mark.lab

WANTED = {"listen": "all", "pools": {"default": {"driver": "dir"}}}
SNAP = {**WANTED, "package": "snap", "channel": "5.0/stable", "refresh": "sat,02:00-04:00"}
MOVE = ("move", "LXD to its snap")
WINDOW = ("set", "refresh.timer of snapd")
STATE = "/var/lib/nornir-lxd-fleet/move"
IS_MOVING = "systemctl is-active --quiet nornir-lxd-fleet-move"
#: A run in a process of its own.
RUN = """
from tasks import open_fleet, setup_lxd
open_fleet({folder!r}).run(task=setup_lxd)
"""


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LxdSite]:
    """A host with LXD's Debian package, and in it a running container that has a file."""
    lab.up(hosts=3)
    lab.reset(NAME)
    host = LxdSite(lab, tmp_path_factory.mktemp("lxd"))
    host.intend(**WANTED)
    assert host.set_up()["status"] == "changed"
    for file in image("minimal"):
        done = lab.exec(NAME, f"cat >/root/{file.name}", input=file.read_bytes())
        assert done.returncode == 0
    host.sh(
        "cd /root && lxc image import metadata.tar.xz rootfs.squashfs --alias minimal && "
        "lxc init minimal stopped && lxc launch minimal kept && "
        "lxc exec kept -- sh -c 'echo precious >/root/data'"
    )
    snap_stand_in.install(host)
    yield host
    lab.remove(NAME)


def test_a_dry_run_names_the_containers_that_stop_and_asks_no_stand_in(site: LxdSite) -> None:
    site.intend(**SNAP)
    record = site.set_up(dry_run=True)
    assert record["status"] == "changed", record["message"]
    assert record["steps"][0] == {
        "action": "move",
        "object": "LXD to its snap",
        "detail": "channel 5.0/stable; stops and starts again: kept",
    }
    assert steps(record) == [MOVE, WINDOW]
    assert snap_stand_in.calls(site) == []
    assert site.sh("lxc list -f csv -c ns").split() == ["kept,RUNNING", "stopped,STOPPED"]


def test_a_folder_that_is_a_file_system_of_its_own_is_not_moved(site: LxdSite) -> None:
    site.sh("mount --bind /var/lib/lxd /var/lib/lxd")
    record = site.set_up()
    site.sh("umount --lazy /var/lib/lxd")
    assert (record["status"], record["changed"]) == ("failed", False)
    assert "/var/lib/lxd is a file system of its own" in record["message"]
    assert snap_stand_in.calls(site) == []


@pytest.mark.parametrize("moment", ["stopped", "backed-up"])
def test_a_move_with_stand_ins_killed_before_the_data_were_moved(
    site: LxdSite, moment: str
) -> None:
    snap_stand_in.kill_at(site, moment)
    record = site.set_up()
    assert record["status"] == "failed"
    assert "moving LXD to its snap failed" in record["message"]
    assert site.sh("ls -d /var/lib/lxd/database").strip()
    shown = site.set_up(dry_run=True)
    assert steps(shown)[0] == MOVE
    assert "finish what an earlier run began" in shown["steps"][0]["detail"]


def test_a_run_that_is_killed_leaves_the_move_with_stand_ins_going(site: LxdSite) -> None:
    snap_stand_in.calls(site)
    snap_stand_in.kill_at(site, "moved")  # long after this test and the next one
    script = RUN.format(folder=str(site.folder / "site"))
    run = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[1])
    try:
        site.sh(f"until {IS_MOVING}; do sleep 0.1; done", timeout=30)
    finally:
        run.kill()
        run.wait(10)
    site.sh(IS_MOVING)


def test_a_run_that_waits_no_longer_leaves_it_going_too(
    site: LxdSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lxd_server, "MOVE_WAIT", 0)
    record = site.set_up()
    assert record["status"] == "failed"
    assert "LXD is still being moved after 0 s, and goes on" in record["message"]
    site.sh(IS_MOVING)


def test_the_next_run_waits_for_the_end_of_the_move_with_stand_ins(site: LxdSite) -> None:
    record = site.set_up()
    assert record["status"] == "failed"  # the move itself was killed, at its worst moment
    assert "moving LXD to its snap failed" in record["message"]
    record = site.set_up()
    assert (record["status"], record["message"]) == ("changed", "")
    assert steps(record) == [MOVE, WINDOW]
    calls = snap_stand_in.calls(site)
    assert calls == [
        "lxd.migrate -yes LXD_PREINST=1",
        "snap set system refresh.timer=sat,02:00-04:00",
    ]


def test_after_the_move_with_stand_ins_nothing_is_lost(site: LxdSite) -> None:
    assert site.sh("/snap/bin/lxc list -f csv -c ns").split() == ["kept,RUNNING", "stopped,STOPPED"]
    assert site.sh("/snap/bin/lxc exec kept -- cat /root/data").strip() == "precious"
    packages = site.sh("dpkg-query -W -f '${db:Status-Status}\\n' lxd lxd-client 2>&1 || true")
    assert "installed" not in packages.replace("not-installed", "")
    assert site.sh(f"ls -d {STATE} /var/lib/lxd 2>/dev/null || true") == ""
    assert "BEGIN CERTIFICATE" in site.sh("cat /root/snap/lxd/common/config/client.crt")
    record = site.set_up()
    assert (record["status"], record["message"]) == ("ok", "LXD is as wanted")
    assert snap_stand_in.calls(site) == []


def test_the_channel_and_the_window_with_stand_ins_are_mended(site: LxdSite) -> None:
    site.sh("snap set system refresh.timer=00:00-24:00/4")
    site.intend(**{**SNAP, "channel": "5.21/stable"})
    snap_stand_in.calls(site)
    channel = ("set", "channel of the snap lxd")
    assert steps(site.set_up(dry_run=True)) == [channel, WINDOW]
    assert snap_stand_in.calls(site) == []
    assert steps(site.set_up()) == [channel, WINDOW]
    assert snap_stand_in.calls(site) == [
        "snap refresh lxd --channel=5.21/stable",
        "snap set system refresh.timer=sat,02:00-04:00",
    ]
    assert site.set_up()["status"] == "ok"


def test_the_way_back_from_the_stand_in_snap_is_refused(site: LxdSite) -> None:
    site.intend(**{**SNAP, "channel": "4.0/stable"})
    record = site.set_up()
    assert record["status"] == "failed"
    assert "which may be older" in record["message"]
    site.intend(**WANTED)
    assert "there is no way back from the snap" in site.set_up()["message"]
