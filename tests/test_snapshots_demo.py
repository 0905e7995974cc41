"""Snapshots of the demo's containers: taken, kept and removed as the inventory says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.maintenance.snapshots import taken_at
from tests.demo import HOSTS, WEBS, Demo, change, statuses

pytestmark = pytest.mark.lab

OLD = "fleet-20250101T030000Z"
OPERATORS = "before-my-work"


def snapshots(demo: Demo, container: str) -> list[str]:
    host = HOSTS[WEBS.index(container) >= 2]
    listed = demo.lab.exec(host, f"lxc query /1.0/instances/{container}/snapshots", timeout=60)
    return [path.rsplit("/", 1)[1] for path in json.loads(listed.stdout)]


def maintain(demo: Demo, inventory: Path, *arguments: str) -> dict[str, Any]:
    done = demo.runbook("maintain", *arguments, "--json", "-", inventory=inventory)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode}


@pytest.fixture
def snapped(demo: Demo) -> Iterator[Demo]:
    """The demo with an old snapshot of ours and one of an operator's on web-01; none after it."""
    for name in (OLD, OPERATORS):
        demo.lab.exec(HOSTS[0], f"lxc snapshot web-01 {name}", timeout=120)
    yield demo
    for container in WEBS:
        host = HOSTS[WEBS.index(container) >= 2]
        for name in snapshots(demo, container):
            demo.lab.exec(host, f"lxc delete {container}/{name}", timeout=60)


def test_taken_kept_and_removed(snapped: Demo, inventory: Path) -> None:
    def two(groups: dict[str, Any]) -> None:
        groups["web"]["data"]["maintenance"] = {"snapshots": {"last": 2}}

    both = ("snapshot", "prune-snapshots", "--limit", "web-0[13]")
    unruled = maintain(snapped, inventory, "prune-snapshots", "--limit", "web-01")
    assert (unruled["exit"], unruled["summary"]["changed"]) == (0, 0)
    assert snapshots(snapped, "web-01") == [OLD, OPERATORS]

    change(inventory, "groups.yaml", two)
    dry = maintain(snapped, inventory, *both, "--dry-run")
    assert dry["exit"] == 3
    assert snapshots(snapped, "web-01") == [OLD, OPERATORS]
    assert snapshots(snapped, "web-03") == []

    first = maintain(snapped, inventory, *both)
    assert first["exit"] == 0
    assert statuses(first) == {
        "sidn-demo-01": "ok", "web-01": "changed", "sidn-demo-02": "ok", "web-03": "changed",
    }  # fmt: skip
    phases = {p["phase"]: p for p in first["hosts"]["web-01"]["phases"]}
    assert list(phases) == ["snapshot", "prune-snapshots"]  # its health is as it was
    assert "2 of ours kept" in phases["prune-snapshots"]["message"]
    assert first["hosts"]["web-01"].get("exchanges") is None  # all of it is its LXD host's
    left = snapshots(snapped, "web-01")
    assert (len(left), set(left) >= {OLD, OPERATORS}) == (3, True)
    assert len(snapshots(snapped, "web-03")) == 1

    second = maintain(snapped, inventory, *both)
    assert second["exit"] == 0
    left = snapshots(snapped, "web-01")
    ours = [name for name in left if taken_at(name)]
    assert (len(left), len(ours), OPERATORS in left, OLD in left) == (3, 2, True, False)
    quiet = snapped.runbook("maintain", "prune-snapshots", "--quiet", inventory=inventory)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_one_that_cannot_be_taken_is_said_of_that_container_alone(
    snapped: Demo, inventory: Path
) -> None:
    with snapped.lab.small_disk(
        HOSTS[0], "/var/lib/lxd/storage-pools/default/containers-snapshots/web-02", 1
    ):
        done = maintain(snapped, inventory, "snapshot", "--limit", "web-*")
    assert done["exit"] == 1
    assert {n: s for n, s in statuses(done).items() if n in WEBS} == {
        **dict.fromkeys(WEBS, "changed"), "web-02": "failed",
    }  # fmt: skip
    message = done["hosts"]["web-02"]["phases"][-1]["message"]
    assert "No space left on device" in message
    assert snapshots(snapped, "web-02") == []
