"""What an upgrade with a way back does where something goes wrong, killed runs among it; on an LXD
host that carries what is upgraded, and on a pool that takes snapshots at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tasks.maintenance.upgrade.stage import UPGRADING
from tests.killed_upgrade import BAD, GOOD
from tests.lab import Lab
from tests.packages import package
from tests.ten import host_of, ten_on
from tests.upgrade_site import DRAIN, SERVICE, Fleet, message, steps

pytestmark = pytest.mark.lab

#: All on one host; the last is on a pool whose snapshots copy nothing.
NAMES = ("ten-03", "ten-04", "ten-05")
QUICK = {"ten-05": {"root": "quick"}}
POOLS = {"quick": {"driver": "btrfs", "size": "2GiB"}}
HOST = host_of(NAMES[0])
#: A lab host has no device nodes of its own for files as disks, nor Debian's btrfs tools.
BTRFS = """
mknod /dev/loop-control c 10 237
for n in 0 1 2 3 4 5 6 7; do mknod /dev/loop$n b 7 $n; done
apt-get -qq update
apt-get -qqy install --no-install-recommends btrfs-progs >/dev/null
"""


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    for ten in ten_on(lab, tmp_path_factory.mktemp("upgrade")):
        found = Fleet(ten, POOLS)
        ten.sh(HOST, BTRFS, timeout=300)
        found.declare(NAMES, QUICK)
        report = ten.provision()
        assert report["exit"] == 0, report
        found.offer("1.0", NAMES, install=True)
        report = found.maintain("upgrade", "--limit", "ten-*")  # whatever else there is
        assert report["exit"] == 0, report
        yield found
        ten.sh(HOST, f"lxc delete -f {' '.join(NAMES)}; lxc storage delete quick")


def test_one_that_is_not_well_before_is_left_as_it_is(fleet: Fleet) -> None:
    fleet.declare(NAMES, QUICK)
    fleet.offer("1.0", ["ten-03"], install=True)
    fleet.offer("2.0", ["ten-03"])
    fleet.ten.inside("ten-03", f"systemctl stop {SERVICE}")
    report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "not well before its upgrade: " in message(report, "ten-03")
    assert "nothing was changed" in message(report, "ten-03")
    assert steps(report, "ten-03") == []
    assert fleet.installed("ten-03") == "1.0"
    fleet.ten.inside("ten-03", f"systemctl start {SERVICE}")
    fleet.see_that_nothing_is_left(["ten-03"])


def test_a_drain_that_does_not_end_is_ended_and_nothing_is_changed(fleet: Fleet) -> None:
    endless = {"run": f"{DRAIN}; sleep 600", "seconds": 5}
    fleet.declare(NAMES, QUICK, maintenance={"drain": endless})
    report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "draining it did not end within 5 s, and was ended" in message(report, "ten-03")
    assert fleet.installed("ten-03") == "1.0"
    fleet.see_that_nothing_is_left(["ten-03"])


def test_no_room_for_the_snapshot_is_said_and_nothing_is_changed(fleet: Fleet) -> None:
    fleet.declare(NAMES, QUICK)
    host = host_of("ten-03")
    where = "/var/lib/lxd/storage-pools/default/containers-snapshots/ten-03"
    with fleet.ten.lab.small_disk(host, where, 1):
        report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "No space left on device" in message(report, "ten-03")
    assert fleet.installed("ten-03") == "1.0"
    fleet.see_that_nothing_is_left(["ten-03"])


def test_one_that_does_not_shut_down_is_left_running_as_it_is(fleet: Fleet) -> None:
    before = fleet.boot("ten-03")
    fleet.ten.inside("ten-03", "systemctl mask halt.target poweroff.target")
    report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "it does not shut down within 60 s" in message(report, "ten-03")
    assert "it is left running" in message(report, "ten-03")
    fleet.ten.inside("ten-03", "systemctl unmask halt.target poweroff.target")
    assert fleet.boot("ten-03") == before
    assert fleet.installed("ten-03") == "1.0"
    fleet.see_that_nothing_is_left(["ten-03"])


def test_one_that_is_half_down_is_brought_up_again(fleet: Fleet) -> None:
    stuck = "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 300\n"
    fleet.ten.inside(
        "ten-03",
        f"printf '{stuck}' >/run/systemd/system/stuck.service; systemctl daemon-reload; "
        "systemctl start stuck",
    )
    report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "it was stopped hard then and started again" in message(report, "ten-03")
    assert fleet.installed("ten-03") == "1.0"
    fleet.see_that_nothing_is_left(["ten-03"])


def test_where_an_earlier_dpkg_was_cut_short_it_is_finished_first(fleet: Fleet) -> None:
    """Its service need not be well before: it cannot be."""
    name = "ten-03"
    fleet.offer("1.0", [name])
    fleet.ten.inside(
        name,
        "apt-get -q update; dpkg --unpack --force-all /srv/rep/*.deb; "
        f"systemctl stop {SERVICE}; dpkg --audit | grep {SERVICE}",
    )
    report = fleet.maintain("upgrade", "--limit", name)
    assert report["exit"] == 0, message(report, name)
    assert fleet.installed(name) == "1.0"
    fleet.see_that_nothing_is_left([name])


def test_too_long_ago_it_is_not_gone_back_by_itself(fleet: Fleet) -> None:
    """What was written since would be lost. A run began it yesterday, and was killed."""
    name, host = "ten-05", host_of("ten-05")
    fleet.offer("1.0", [name], install=True)
    fleet.offer("2.1", [name])
    snapshot = "fleet-upgrade-20261101T030000Z"
    fleet.ten.sh(
        host,
        f"lxc config set {name} {UPGRADING} '{name} 20261101T030000Z -'; lxc stop {name}; "
        f"lxc snapshot {name} {snapshot}; lxc start {name}",
    )
    report = fleet.maintain("upgrade", "--limit", name)
    assert report["exit"] == 1
    assert "it is kept as it is" in message(report, name)
    by_hand = f"lxc restore {name} fleet-20261101T030000Z; lxc config unset {name} {UPGRADING}"
    assert by_hand in message(report, name)
    assert fleet.installed(name) == "2.1"
    instance = fleet.instance(name)
    assert [s["name"] for s in instance["snapshots"]] == ["fleet-20261101T030000Z"]
    assert UPGRADING not in instance["config"]
    fleet.ten.sh(host, by_hand)
    fleet.ten.sh(host, f"lxc delete {name}/fleet-20261101T030000Z")


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", [*GOOD, *BAD])
def test_killed_between_any_two_steps_the_next_run_decides(fleet: Fleet, stage: str) -> None:
    """It finishes what goes well, and goes back from what does not."""
    name = "ten-04"
    new = "2.1" if stage in BAD else "2.0"
    fleet.declare(NAMES, QUICK)
    fleet.forget_refusals([name])
    fleet.offer("1.0", [name], install=True)
    fleet.offer(new, [name])
    killed = subprocess.run(
        [sys.executable, "-m", "tests.killed_upgrade", stage, name, "--inventory",
         str(fleet.ten.inventory), "upgrade", "--limit", name],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    report = fleet.maintain("upgrade", "--limit", name)
    wanted = (1, "1.0") if stage in BAD else (0, "2.0")
    assert (report["exit"], fleet.installed(name)) == wanted, message(report, name)
    fleet.see_that_nothing_is_left([name])


def test_where_snapshots_copy_nothing_it_runs_on_meanwhile(fleet: Fleet) -> None:
    name = "ten-05"
    fleet.declare(NAMES, QUICK)
    fleet.forget_refusals([name])
    fleet.offer("1.0", [name], install=True)
    fleet.offer("2.0", [name])
    before = fleet.boot(name)
    report = fleet.maintain("upgrade", "--limit", name)
    assert report["exit"] == 0, message(report, name)
    assert (fleet.installed(name), fleet.boot(name)) == ("2.0", before)
    fleet.offer("2.1", [name])
    assert fleet.maintain("upgrade", "--limit", name)["exit"] == 1
    assert fleet.installed(name) == "2.0"
    assert fleet.boot(name) != before
    fleet.see_that_nothing_is_left([name])


def test_what_runs_on_an_lxd_host_is_as_well_after_its_upgrade_as_before(fleet: Fleet) -> None:
    fleet.declare(NAMES, QUICK)
    stops = f"lxc exec ten-03 -- systemctl stop {SERVICE}"
    for number, script in (("1.0", "true"), ("2.0", "true"), ("3.0", stops)):
        fleet.ten.sh(HOST, "rm -rf /srv/rep\n" + package("host-tool", number, script))
        if number == "1.0":
            fleet.ten.sh(HOST, "apt-get -q update && apt-get -q -y install host-tool", timeout=120)
            continue
        report = fleet.maintain("upgrade", "--limit", HOST)
        assert steps(report, HOST)[0][:2] == ("upgrade", "package host-tool")
        if number == "2.0":
            assert report["exit"] == 0, message(report, HOST)
    assert report["exit"] == 1
    told = f"not well any more after its upgrade: ten-03: service {SERVICE} is "
    assert told in message(report, HOST)
    fleet.ten.inside("ten-03", f"systemctl start {SERVICE}")
