"""Upgrades with a way back: ten containers on two hosts, with a service of a package of the tests.

Version 1.0 and 2.0 of the package run the service, 2.1 has one that does not start.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.maintenance.upgrade.stage import REFUSED, UPGRADING
from tests.demo import statuses
from tests.killed_upgrade import BAD, GOOD
from tests.lab import Lab
from tests.packages import package
from tests.ten import HOSTS, NAMES, Ten, host_of, ten_on

pytestmark = pytest.mark.lab

SERVICE = "fleet-service"
#: What dpkg runs when it configures the package: one line of shell without single quotes. What it
#: leaves shows what was gone back to, and what was not.
RUN = (
    '(echo "[Service]"; echo "ExecStart=PROGRAM"; '
    f'echo "[Install]"; echo "WantedBy=multi-user.target") >/etc/systemd/system/{SERVICE}.service; '
    "echo VERSION >/root/configured; [ ! -d /data ] || echo VERSION >>/data/written; "
    f"systemctl daemon-reload; systemctl enable {SERVICE}; systemctl restart {SERVICE}"
)
#: Out of service is a container from when it is drained until it is undrained, and while it is not
#: up. Each second in which it is in service, its own log says so.
DRAIN = "touch /run/drained"
UNDRAIN = "rm -f /run/drained"
WATCH = """
cat >/etc/systemd/system/watch.service <<'END'
[Service]
ExecStart=/bin/sh -c 'while sleep 0.2; do [ -e /run/drained ] || date +%%s >>/srv/in-service; done'
[Install]
WantedBy=multi-user.target
END
systemctl enable --now watch
"""
WELL: Mapping[str, Any] = {
    "health": [{"service": SERVICE}],
    "maintenance": {"drain": {"run": DRAIN, "seconds": 20}, "undrain": {"run": UNDRAIN}},
}
PAIR = ("ten-01", "ten-06")
CANARY = "ten-09"


def version(number: str) -> str:
    """Shell text that builds that version and makes it what apt finds."""
    program = "/bin/false" if number == "2.1" else "/bin/sleep infinity"
    return package(SERVICE, number, RUN.replace("PROGRAM", program).replace("VERSION", number))


class Fleet:
    """The ten, with what an upgrade is about."""

    def __init__(self, ten: Ten) -> None:
        self.ten = ten

    def declare(
        self,
        names: Collection[str] = NAMES,
        only: Mapping[str, Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """All that is declared of each container: what is well, and ``more``; of some ``only``."""
        rules = {**WELL["maintenance"], **more.pop("maintenance", {})}
        data = {**WELL, **more, "maintenance": rules}
        each = {name: {**data, **(only or {}).get(name, {})} for name in names}
        self.ten.declare(tuple(names), with_ssh=True, containers=each)

    def offer(self, number: str, names: Collection[str] = NAMES, *, install: bool = False) -> None:
        """Have a version be the only one that apt finds, and install it."""
        script = "rm -rf /srv/rep\n" + version(number)
        if install:
            script += (
                f"apt-get -q update\napt-get -q -y --allow-downgrades install {SERVICE}={number}\n"
            )
        self.everywhere(script, names)

    def everywhere(self, script: str, names: Collection[str] = NAMES) -> None:
        """Run a script in containers, side by side."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.ten.inside(name, script, timeout=120), names))

    def maintain(self, *arguments: str) -> dict[str, Any]:
        done = self.ten.runbook("maintain", *arguments, "--json", "-")
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit": done.returncode}

    def installed(self, name: str) -> str:
        return self.ten.inside(name, f"dpkg-query -W -f '${{Version}}' {SERVICE}")

    def boot(self, name: str) -> str:
        """When the container was last started."""
        return str(self.instance(name)["last_used_at"])

    def instance(self, name: str) -> dict[str, Any]:
        return self.ten.left(host_of(name)).instances[name]

    def forget_refusals(self, names: Collection[str]) -> None:
        """Have the next run try versions that did not go well before."""
        for name in names:
            self.ten.sh(host_of(name), f"lxc config unset {name} {REFUSED} 2>/dev/null; true")

    def see_that_nothing_is_left(self, names: Collection[str]) -> None:
        """In service, running, no snapshot, no mark."""
        for name in names:
            instance = self.instance(name)
            assert instance["status"] == "Running", name
            assert not instance["snapshots"], name
            assert UPGRADING not in instance["config"], name
            assert self.ten.inside(name, "ls /run/drained 2>&1 || true").startswith("ls: "), name
            assert self.ten.inside(name, f"systemctl is-active {SERVICE}") == "active\n", name


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    for ten in ten_on(lab, tmp_path_factory.mktemp("upgrade")):
        found = Fleet(ten)
        found.declare()
        report = ten.provision()
        assert report["exit"] == 0, report
        yield found


def steps(report: dict[str, Any], name: str) -> list[tuple[str, str, str]]:
    return [
        (step["action"], step["object"], step["detail"])
        for phase in report["hosts"][name]["phases"]
        for step in phase["steps"]
    ]


def message(report: dict[str, Any], name: str) -> str:
    return "; ".join(phase["message"] for phase in report["hosts"][name]["phases"])


def test_ten_containers_are_upgraded_in_batches_each_well_before_and_after(fleet: Fleet) -> None:
    fleet.offer("1.0", install=True)
    assert fleet.maintain("upgrade", "--limit", "ten-*")["exit"] == 0  # whatever else there is
    fleet.offer("2.0")
    report = fleet.maintain("upgrade", "--limit", "ten-*")
    assert report["exit"] == 0, {name: message(report, name) for name in NAMES}
    assert statuses(report) == {**dict.fromkeys(HOSTS, "ok"), **dict.fromkeys(NAMES, "changed")}
    for name in NAMES:
        assert steps(report, name) == [("upgrade", f"package {SERVICE}", "1.0 -> 2.0")]
        assert fleet.installed(name) == "2.0"
    fleet.see_that_nothing_is_left(NAMES)
    quiet = fleet.ten.runbook("maintain", "upgrade", "--limit", "ten-*", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    again = fleet.maintain("upgrade", "--limit", "ten-*")
    assert {again["hosts"][name]["exchanges"]["execs"] for name in NAMES} == {1}
    # a lock for what may be to do, and the look at its containers; nothing is asked of LXD's API
    assert [again["hosts"][host]["exchanges"]["requests"] for host in HOSTS] == [0, 0]


def test_a_service_that_does_not_start_goes_back_and_the_rest_is_not_touched(
    fleet: Fleet,
) -> None:
    fleet.declare(only={CANARY: {"maintenance": {**WELL["maintenance"], "canary": True}}})
    fleet.offer("2.1")
    before = {name: fleet.boot(name) for name in NAMES}
    report = fleet.maintain("upgrade", "--limit", "ten-*")
    assert report["exit"] == 1
    rest = [name for name in NAMES if name != CANARY]
    assert {n: statuses(report)[n] for n in NAMES} == {CANARY: "failed"} | dict.fromkeys(
        rest, "skipped"
    )
    assert [action for action, *_ in steps(report, CANARY)] == ["upgrade", "restore"]
    assert f"service {SERVICE} is " in message(report, CANARY)
    assert "it is back to what it was before the upgrade" in message(report, CANARY)
    assert message(report, rest[0]) == f"the canary {CANARY} failed"
    assert report["undone"] == {"upgrade": rest}
    assert {name: fleet.boot(name) for name in rest} == {name: before[name] for name in rest}
    for name in NAMES:
        assert fleet.installed(name) == "2.0"
        assert fleet.ten.inside(name, "cat /root/configured") == "2.0\n"
    fleet.see_that_nothing_is_left(NAMES)


def test_what_did_not_go_well_is_not_tried_again(fleet: Fleet) -> None:
    before = fleet.boot(CANARY)
    report = fleet.maintain("upgrade", "--limit", CANARY)
    assert report["exit"] == 1
    assert "the same versions did not leave it well before" in message(report, CANARY)
    assert (steps(report, CANARY), fleet.boot(CANARY)) == ([], before)
    held = {"hold": [SERVICE]}
    fleet.declare(maintenance={"upgrade": held})
    assert fleet.maintain("upgrade", "--limit", CANARY)["summary"]["changed"] == 0
    fleet.forget_refusals([CANARY])


def test_a_volume_of_its_own_keeps_what_was_written_in_between(fleet: Fleet) -> None:
    name = "ten-02"
    fleet.ten.sh(host_of(name), "lxc storage volume create default upgrade-data")
    volume = {"type": "disk", "pool": "default", "source": "upgrade-data", "path": "/data"}
    fleet.declare([name], devices={"data": volume})
    assert fleet.ten.provision("--limit", name, "--phase", "containers")["exit"] == 0
    fleet.offer("1.0", [name], install=True)
    fleet.offer("2.1", [name])
    assert fleet.maintain("upgrade", "--limit", name)["exit"] == 1
    assert fleet.ten.inside(name, "cat /root/configured") == "1.0\n"
    assert fleet.ten.inside(name, "cat /data/written") == "1.0\n2.1\n"
    fleet.forget_refusals([name])
    fleet.declare([name])
    assert fleet.ten.provision("--limit", name, "--phase", "containers")["exit"] == 0
    fleet.ten.sh(host_of(name), "lxc storage volume delete default upgrade-data")
    fleet.see_that_nothing_is_left([name])


def test_two_that_are_apart_are_never_both_out_of_service(fleet: Fleet) -> None:
    """By the log that each has written of itself, second by second."""
    fleet.declare(apart="sip")
    fleet.offer("1.0", PAIR, install=True)
    fleet.offer("2.0", PAIR)
    fleet.everywhere(WATCH, PAIR)
    began = time.time()
    report = fleet.maintain("upgrade", *(f"--limit={name}" for name in PAIR))
    ended = time.time()
    assert report["exit"] == 0, {name: message(report, name) for name in PAIR}
    seconds = set(range(int(began) + 1, int(ended)))
    logs = [fleet.ten.inside(name, "cat /srv/in-service").split() for name in PAIR]
    out = [seconds - set(map(int, log)) for log in logs]
    assert all(out)
    assert not out[0] & out[1]
    print(f"of {len(seconds)} s out of service: {[len(each) for each in out]}")


def test_one_that_is_not_well_before_is_left_as_it_is(fleet: Fleet) -> None:
    fleet.declare()
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
    fleet.declare(maintenance={"drain": endless})
    report = fleet.maintain("upgrade", "--limit", "ten-03")
    assert report["exit"] == 1
    assert "draining it did not end within 5 s, and was ended" in message(report, "ten-03")
    assert fleet.installed("ten-03") == "1.0"
    fleet.see_that_nothing_is_left(["ten-03"])


def test_no_room_for_the_snapshot_is_said_and_nothing_is_changed(fleet: Fleet) -> None:
    fleet.declare()
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
        f"lxc config set {name} {UPGRADING} '{name} 0123'; lxc stop {name}; "
        f"lxc snapshot {name} {snapshot}; lxc start {name}",
    )
    report = fleet.maintain("upgrade", "--limit", name)
    assert report["exit"] == 1
    assert "it is kept as it is" in message(report, name)
    assert f"lxc restore {name} fleet-20261101T030000Z" in message(report, name)
    assert fleet.installed(name) == "2.1"
    instance = fleet.instance(name)
    assert [s["name"] for s in instance["snapshots"]] == ["fleet-20261101T030000Z"]
    assert UPGRADING not in instance["config"]
    fleet.ten.sh(host, f"lxc restore {name} fleet-20261101T030000Z")
    fleet.ten.sh(host, f"lxc delete {name}/fleet-20261101T030000Z")
    fleet.ten.sh(host, f"lxc config unset {name} {UPGRADING}")


@pytest.mark.parametrize("stage", [*GOOD, *BAD])
def test_killed_between_any_two_steps_the_next_run_decides(fleet: Fleet, stage: str) -> None:
    """It finishes what goes well, and goes back from what does not."""
    name = "ten-04"
    new = "2.1" if stage in BAD else "2.0"
    fleet.declare()
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
