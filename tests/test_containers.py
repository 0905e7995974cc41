"""Containers, planned from a table of cases."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.containers import ContainerWrite, plan_container, plan_departed
from tasks.containers.writes import update
from tasks.errors import FleetError
from tasks.intent.model import Attachment, Container, LxdHost, Profile, Ssh

TABLE = yaml.safe_load((Path(__file__).parent / "cases" / "containers.yaml").read_text())
CASES, DEPARTED = TABLE["cases"], TABLE["departed"]
HOST = LxdHost("voice-01", Ssh("192.0.2.1"))
PROFILES = {
    "demo": Profile("demo", devices={"if-demo": {"type": "nic", "parent": "br-demo"}}),
    "base": Profile("base"),
}


def container_of(declares: dict[str, Any]) -> Container:
    fields = {**TABLE["container"], **declares}
    mac = fields.pop("mac", None)
    fields["profiles"] = tuple(fields["profiles"])
    attachments = {"demo": Attachment("demo", mac=mac)}
    return Container("web-01", Ssh("192.0.2.2"), attachments=attachments, on=HOST.name, **fields)


def facts_of_case(case: dict[str, Any]) -> LxdFacts:
    changes = case.get("has", {})
    if changes is None:
        return LxdFacts()
    images = {
        fingerprint: {"aliases": [{"name": name} for name in names]}
        for fingerprint, names in case.get("images", {}).items()
    }
    return LxdFacts(instances={"web-01": instance_of(changes)}, images=images)


def instance_of(changes: dict[str, Any]) -> dict[str, Any]:
    instance = dict(TABLE["instance"])
    for key, value in changes.items():
        merges = isinstance(value, dict)
        instance[key] = {**instance[key], **value} if merges else value
    return instance


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: dict[str, Any]) -> None:
    container, facts = container_of(case.get("declares", {})), facts_of_case(case)
    others = {
        host: LxdFacts(instances={"web-01": instance_of(changes)})
        for host, changes in case.get("others", {}).items()
    }
    planned = partial(
        plan_container,
        container,
        HOST,
        PROFILES,
        facts,
        others=others,
        unread=case.get("unread", []),
        move=case.get("move", False),
        today=date(2026, 2, 28),
        prune=case.get("prune", False),
        allow_restart=case.get("allow_restart", False),
    )
    if "error" in case:
        with pytest.raises(FleetError) as refused:
            planned()
        assert str(refused.value) == case["error"]
        return
    plan = planned()
    assert [[s.action, s.object, s.detail] for s in plan.steps] == case["steps"]
    assert list(plan.notes) == case.get("notes", [])
    assert set(case.get("adds", [])) <= set(plan.diff.splitlines())
    for name, value in case.get("writes", {}).items():
        written = getattr(plan.steps[0].write, name)
        assert (list(written) if isinstance(written, tuple) else written) == value
    if "reason" in case:
        assert plan.reason == case["reason"]


def test_an_update_sets_and_takes_out_and_leaves_the_rest() -> None:
    now = {
        "config": {"a": "1", "gone": "1", "volatile.uuid": "x"},
        "devices": {"theirs": {"type": "none"}, "new": {"type": "none"}},
        "status": "Running",
    }
    written: list[dict[str, Any]] = []

    class Api:
        def update(self, path: str, change: Any, **_: Any) -> None:
            written.append({path: change(now)})

    write = ContainerWrite(
        "update", "web-01", {"a": "2"}, without_config=("gone",), without_devices=("theirs",)
    )
    update(Api(), write)  # type: ignore[arg-type]  # all that it uses of an API
    assert written == [
        {
            "/1.0/instances/web-01": {
                "config": {"a": "2", "volatile.uuid": "x"},
                "devices": {"new": {"type": "none"}},
            }
        }
    ]


@pytest.mark.parametrize("case", DEPARTED.values(), ids=DEPARTED.keys())
def test_departed(case: dict[str, Any]) -> None:
    plan = plan_departed(
        case["declared"],
        HOST.name,
        LxdFacts(instances={n: {"name": n, **i} for n, i in case["instances"].items()}),
        date(2026, 2, 28),
        prune=case.get("prune", False),
    )
    assert [[s.action, s.object, s.detail] for s in plan.steps] == case["steps"]
    assert list(plan.notes) == case.get("notes", [])
    assert all(len(s.write.rename) <= 63 for s in plan.steps)
