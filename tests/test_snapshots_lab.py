"""Snapshots of a container on the lab: taken, kept and removed as the inventory says.

It is stopped: to copy one that runs, LXD freezes it on such a pool, which the lab's kernel refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tasks.containers.task import raise_containers
from tasks.images.task import sync_images
from tasks.intent.maintenance import Maintenance, Retention
from tasks.intent.model import Container
from tasks.maintenance.moments import taken_at
from tasks.maintenance.snapshots import prune_snapshots, take_snapshot
from tasks.outcome import Record
from tests.object_fleet import FIRST, ObjectFleet, lab_container, lab_image

pytestmark = pytest.mark.lab

OLD = "fleet-20250101T030000Z"
OPERATORS = "before-my-work"
ONE = lab_container("obj-one", running=False)


@pytest.fixture
def raised(objects: ObjectFleet) -> Iterator[ObjectFleet]:
    """The container, with an old snapshot of ours and one of an operator's."""
    fleet = objects.open(lab_image(), ONE)
    for task in (sync_images, raise_containers):
        result = fleet.do(task)
        assert not result.failed, result.result["message"]
    fleet.close()
    for name in (OLD, OPERATORS):
        objects.shell(FIRST, f"lxc snapshot obj-one {name}")
    yield objects


def snapshots(objects: ObjectFleet) -> list[str]:
    paths = objects.query(FIRST, "/1.0/instances/obj-one/snapshots")
    return sorted(path.rsplit("/", 1)[1] for path in paths)


def do(objects: ObjectFleet, task: object, wanted: Container, *, dry_run: bool = False) -> Record:
    fleet = objects.open(lab_image(), wanted)
    try:
        entry: Record = fleet.do(task, "obj-one", dry_run=dry_run).result
    finally:
        fleet.close()
    return entry


def test_taken_kept_and_removed(raised: ObjectFleet) -> None:
    all_kept = do(raised, prune_snapshots, ONE)
    assert (all_kept["status"], all_kept["steps"]) == ("ok", [])
    assert "maintenance.snapshots says nothing" in all_kept["message"]
    foreseen = do(raised, take_snapshot, ONE, dry_run=True)
    assert (foreseen["status"], foreseen["changed"]) == ("changed", True)
    assert snapshots(raised) == [OPERATORS, OLD]

    taken = do(raised, take_snapshot, ONE)
    assert taken["status"] == "changed", taken["message"]
    (new,) = set(snapshots(raised)) - {OPERATORS, OLD}
    assert taken_at(new)
    assert [(s["action"], s["object"]) for s in taken["steps"]] == [("create", f"snapshot {new}")]

    ruled = replace(ONE, maintenance=Maintenance(snapshots=Retention(last=1)))
    dry = do(raised, prune_snapshots, ruled, dry_run=True)
    assert len(snapshots(raised)) == 3
    pruned = do(raised, prune_snapshots, ruled)
    assert pruned["status"] == "changed", pruned["message"]
    assert dry["diff"] == pruned["diff"] == f"-snapshot {OLD}"
    assert snapshots(raised) == sorted([OPERATORS, new])
    again = do(raised, prune_snapshots, ruled)
    assert (again["status"], again["message"]) == ("ok", "nothing to remove, 1 of ours kept")


def test_one_that_lxd_does_not_take_is_said_and_leaves_nothing(raised: ObjectFleet) -> None:
    """The lab's kernel does not let LXD freeze a container that runs."""
    raised.shell(FIRST, "lxc start obj-one")
    entry = do(raised, take_snapshot, ONE)
    assert entry["status"] == "failed"
    assert "freezing the container failed" in entry["message"]
    assert snapshots(raised) == [OPERATORS, OLD]


def test_a_container_that_is_not_there(objects: ObjectFleet) -> None:
    entry = do(objects, take_snapshot, ONE)
    assert (entry["status"], entry["changed"]) == ("failed", False)
    assert "reading the snapshots of obj-one" in entry["message"]
