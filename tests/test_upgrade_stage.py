"""What is left of an upgrade that was killed, decided purely."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.containers.remembered import remembering
from tasks.maintenance.disks import driver_of, root_pool
from tasks.maintenance.upgrade.packages import is_interrupted, simulated, versions_of
from tasks.maintenance.upgrade.stage import (
    REFUSED,
    decided,
    kept_name,
    next_of,
    snapshot_under_way,
    was_refused,
)

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "upgrade.yaml").read_text())
NOW = datetime(2026, 11, 24, 4, tzinfo=timezone.utc)
FORESEEN = "Inst app [1.0] (2.0 rep [all])\nInst lib [1] (2 rep [all])\n"


@pytest.mark.parametrize("case", CASES["next"], ids=lambda case: case["name"])
def test_what_comes_first(case: dict[str, Any]) -> None:
    status = case.get("status", "Running")
    instance = {"name": "web", "status": status, "config": case["config"]}
    snapshot = snapshot_under_way(instance, case["snapshots"])
    assert next_of(instance, snapshot, NOW) == case["next"]


@pytest.mark.parametrize("case", CASES["names"], ids=lambda case: case["snapshot"])
def test_what_a_snapshot_is_called(case: dict[str, str]) -> None:
    assert kept_name(case["snapshot"]) == case["kept"]
    assert decided(case["snapshot"]) == case["decided"]


@pytest.mark.parametrize("case", CASES["drivers"])
def test_the_driver_of_the_root_disk(case: dict[str, Any]) -> None:
    pools = {"default": {"driver": "dir"}, "fast": {"driver": "zfs"}}
    instance = {"name": "web", "expanded_devices": case["devices"]}
    assert driver_of(root_pool(instance), LxdFacts(pools=pools)) == case["driver"]


def test_versions_that_went_wrong_are_told_from_others() -> None:
    plan, other = simulated(FORESEEN), simulated(FORESEEN.replace("2.0", "2.1"))
    instance = {"name": "web", "config": remembering(REFUSED, "web", *versions_of(plan))}
    lines = simulated("".join(reversed(FORESEEN.splitlines(keepends=True))))
    assert versions_of(plan) == ("app=2.0", "lib=2")
    assert was_refused(instance, versions_of(lines))  # in whatever order apt tells them
    more = simulated(FORESEEN + "Inst new (1 rep [all])\nRemv old [3]\n")
    assert versions_of(more) == ("app=2.0", "lib=2", "new=1", "old=")
    assert was_refused(instance, versions_of(more))  # whatever else there is
    assert not was_refused(instance, versions_of(other))
    assert not was_refused({**instance, "name": "copy"}, versions_of(plan))
    assert not was_refused({"name": "web", "config": {}}, ())


def test_what_an_earlier_dpkg_left_is_no_reason_to_be_well_before() -> None:
    assert is_interrupted(simulated(FORESEEN + "# interrupted\n"))
    assert not is_interrupted(simulated(FORESEEN))
