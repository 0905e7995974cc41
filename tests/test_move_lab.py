"""A container that is declared on another LXD host than it is on, moved there for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tasks import gather_facts
from tasks.containers import migration
from tasks.containers.remembered import COPYING, MOVING
from tasks.containers.task import raise_containers
from tasks.errors import LxdError
from tasks.images.task import sync_images
from tasks.intent.model import Attachment
from tasks.profiles.task import sync_profiles
from tests.demo import HOSTS, ROOT
from tests.object_fleet import (
    FIRST,
    ROOT_DISK,
    SECOND,
    Fleet,
    ObjectFleet,
    lab_container,
    lab_image,
)

pytestmark = pytest.mark.lab

MAC = "00:16:3e:0b:01:01"
HERE = lab_container(
    "obj-one",
    on=SECOND,
    config={"user.site": "ams"},
    devices={**ROOT_DISK, "if-own": {"type": "nic", "nictype": "p2p", "name": "if-own"}},
    attachments={"own": Attachment("own", mac=MAC)},
)
THERE = replace(HERE, on=FIRST)


@pytest.fixture
def site(lab_hosts: ObjectFleet) -> Iterator[ObjectFleet]:
    """The container on the second host, with something in it, a snapshot and a key of its own."""
    lab_hosts.clean(images=False)
    fleet = lab_hosts.open(lab_image(), HERE)
    for task in (sync_profiles, sync_images, raise_containers):
        result = fleet.do(task, SECOND)
        assert not result.failed, result.result["message"]
    fleet.close()
    lab_hosts.shell(
        SECOND,
        "lxc exec obj-one -- sh -c 'systemctl is-system-running --wait >/dev/null; "
        "echo kept >/root/data; sync'; lxc stop --force obj-one && "  # the lab freezes none
        "lxc snapshot obj-one before && lxc start obj-one && "
        "lxc config set obj-one boot.autostart=true user.theirs=1",
    )
    yield lab_hosts
    for host in HOSTS:
        for name in lab_hosts.ours(host, "instances"):
            lab_hosts.shell(host, f"lxc delete --force {name}")


def opened(site: ObjectFleet) -> Fleet:
    fleet = site.open(lab_image(), THERE)
    fleet.nr.run(task=gather_facts)
    return fleet


def raised(fleet: Fleet, **options: Any) -> dict[str, Any]:
    result = fleet.do(raise_containers, FIRST, **options)
    found: dict[str, Any] = result.result["containers"]["obj-one"]
    return found


def instance(site: ObjectFleet, host: str, name: str = "obj-one") -> dict[str, Any]:
    document: dict[str, Any] = site.query(host, f"/1.0/instances/{name}")
    return document


def see_that_it_is_moved(site: ObjectFleet) -> None:
    here = instance(site, FIRST)
    assert here["status"] == "Running"
    config = here["config"]
    assert {k: config.get(k) for k in ("user.site", "user.theirs", "boot.autostart")} == {
        "user.site": "ams", "user.theirs": "1", "boot.autostart": "true",
    }  # fmt: skip
    assert not {MOVING, COPYING} & config.keys()
    assert here["devices"]["if-own"]["hwaddr"] == MAC
    # LXD 5.0.2 loses the output of an exec now and then, on a machine that is busy
    assert site.shell(FIRST, "lxc file pull obj-one/root/data -") == "kept\n"
    assert site.query(FIRST, "/1.0/instances/obj-one/snapshots") == [
        "/1.0/instances/obj-one/snapshots/before"
    ]
    (left,) = site.ours(SECOND, "instances")
    assert left.startswith("obj-one-moved-2")
    former = instance(site, SECOND, left)
    assert former["status"] == "Stopped"
    assert former["config"]["boot.autostart"] == "false"
    assert not [key for key in former["config"] if key.startswith("user.nornir-lxd-fleet")]
    assert "hwaddr" not in former["devices"]["if-own"]
    for host in HOSTS:
        assert "running" not in site.query(host, "/1.0/operations")
    fleet = opened(site)
    again = raised(fleet)
    fleet.close()
    assert (again["status"], again["steps"]) == ("ok", [])


def test_moved_with_its_data_snapshots_and_keys_only_when_asked_for(site: ObjectFleet) -> None:
    fleet = opened(site)
    refused = raised(fleet)
    assert refused["status"] == "failed"
    assert refused["message"].endswith("correct its 'on', or have it moved: --move obj-one")
    dry = raised(fleet, dry_run=True, move=["obj-one"])
    assert instance(site, SECOND)["status"] == "Running"
    assert site.ours(FIRST, "instances") == []
    real = raised(fleet, move=["obj-one"])
    fleet.close()
    assert real["status"] == "changed", real["message"]
    assert [s["action"] for s in real["steps"]] == ["move", "start", "retire"]
    assert (real["steps"], real["diff"]) == (dry["steps"], dry["diff"])
    see_that_it_is_moved(site)


def test_what_fails_leaves_it_where_it_was_and_running(
    site: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = opened(site)
    before = instance(site, SECOND)
    facts = fleet.run.facts[SECOND]
    # the certificate that SSH has read is not the one that answers: an impostor
    other = fleet.run.facts[FIRST].lxd.certificate
    fleet.run.facts[SECOND] = replace(facts, lxd=replace(facts.lxd, certificate=other))
    failed = raised(fleet, move=["obj-one"])
    fleet.close()
    assert failed["status"] == "failed"
    assert f"it is not moved from {SECOND}, where it goes on: " in failed["message"]
    assert re.search(r"secret=(?!\(secret\))", failed["message"]) is None
    after = instance(site, SECOND)
    assert after["status"] == "Running"
    volatile = {k for d in (before, after) for k in d["config"] if k.startswith("volatile.")}
    assert {k: v for k, v in after["config"].items() if k not in volatile} == {
        k: v for k, v in before["config"].items() if k not in volatile
    }
    assert site.ours(FIRST, "instances") == []


#: A move in a process of its own that dies by SIGKILL before or after one of its writes.
KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tasks.containers import carrying, migration, writes
from tests.lab import Lab
from tests.object_fleet import ObjectFleet
from tests.test_move_lab import opened, raised
module, name, number, after = {moment!r}
written, count = getattr(globals()[module], name), 0
def killing(*arguments, **options):
    global count
    count += 1
    if count == number and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    written(*arguments, **options)
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(globals()[module], name, killing)
site = ObjectFleet(Lab(), Path({folder!r}))
from tasks.state import StateFolder
site.state = StateFolder(site.folder / "state")
print(raised(opened(site), move=["obj-one"]))
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "moment",
    [
        ("migration", "update", 1, True),  # marked, and still running where it was
        ("migration", "stop", 1, True),
        ("migration", "_copy", 1, True),  # whole, but nobody has said so
        ("migration", "update", 2, True),  # whole, not started
        ("carrying", "apply_steps", 1, True),  # started, not let go of
        ("carrying", "apply_steps", 2, False),
        ("writes", "unmarked", 1, False),  # renamed, not let go of
    ],
    ids=lambda moment: " ".join(map(str, moment)),
)
def test_killed_at_any_moment_the_next_run_finishes_it_without_being_asked(
    site: ObjectFleet, moment: tuple[str, str, int, bool]
) -> None:
    script = KILLED.format(root=str(ROOT), moment=moment, folder=str(site.folder))
    killed = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=180, check=False, env={**os.environ},
    )  # fmt: skip
    assert killed.returncode == -9, killed.stdout + killed.stderr
    fleet = opened(site)
    record = raised(fleet)
    there = fleet.do(raise_containers, SECOND)
    fleet.close()
    assert record["status"] != "failed", record["message"]
    assert record["changed"] or there.changed
    see_that_it_is_moved(site)


def test_one_that_does_not_start_where_it_is_declared_goes_on_where_it_was(
    site: ObjectFleet,
) -> None:
    """A NIC in a bridge that only the one host has, until the other one has it too."""
    add_bridge = "ip link add br-objx type bridge && ip link set br-objx up"
    site.shell(SECOND, add_bridge)
    try:
        site.shell(
            SECOND,
            "lxc config device add obj-one if-x nic nictype=bridged parent=br-objx name=if-x",
        )
        fleet = opened(site)
        failed = raised(fleet, move=["obj-one"])
        fleet.close()
        assert failed["status"] == "failed"
        assert f"it is not moved from {SECOND}, where it goes on: " in failed["message"]
        assert "br-objx" in failed["message"]
        former = instance(site, SECOND)
        assert former["status"] == "Running"
        assert former["config"]["boot.autostart"] == "true"
        assert MOVING not in former["config"]
        assert instance(site, FIRST)["status"] == "Stopped"
        site.shell(FIRST, add_bridge)
        fleet = opened(site)
        moved = raised(fleet, move=["obj-one"])
        fleet.close()
        assert moved["status"] == "changed", moved["message"]
        see_that_it_is_moved(site)
    finally:
        for host in HOSTS:
            for name in site.ours(host, "instances"):
                site.shell(host, f"lxc delete --force {name}")
            site.shell(host, "ip link del br-objx 2>/dev/null; true")


def test_a_copy_that_lxd_has_not_ended_is_made_anew(site: ObjectFleet) -> None:
    fleet = opened(site)

    def half(*_: Any) -> None:
        raise LxdError("cut off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migration, "_back", lambda *_: LxdError("cut off"))
        patch.setattr(migration, "_copy", half)
        assert raised(fleet, move=["obj-one"])["status"] == "failed"
    fleet.close()
    site.shell(FIRST, f"lxc init --empty obj-one -s obj-pool -c {COPYING}=obj-one")
    fleet = opened(site)
    record = raised(fleet)
    fleet.close()
    assert record["status"] == "changed", record["message"]
    see_that_it_is_moved(site)
