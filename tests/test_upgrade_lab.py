"""Upgrades with a way back: ten containers on two hosts, in batches, with a canary and a pair."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.demo import statuses
from tests.lab import Lab
from tests.ten import HOSTS, NAMES, host_of, ten_on
from tests.upgrade_site import SERVICE, WELL, Fleet, message, steps

pytestmark = pytest.mark.lab

PAIR = ("ten-01", "ten-06")
CANARY = "ten-09"
#: Out of service is a container from when it is drained until it is undrained, and while it is not
#: up. Each second in which it is in service, its own log says so.
WATCH = """
cat >/etc/systemd/system/watch.service <<'END'
[Service]
ExecStart=/bin/sh -c 'while sleep 0.2; do [ -e /run/drained ] || date +%%s >>/srv/in-service; done'
[Install]
WantedBy=multi-user.target
END
systemctl enable --now watch
"""


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    for ten in ten_on(lab, tmp_path_factory.mktemp("upgrade")):
        found = Fleet(ten)
        found.declare()
        report = ten.provision()
        assert report["exit"] == 0, report
        yield found


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
    assert "versions that did not leave it well before" in message(report, CANARY)
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
