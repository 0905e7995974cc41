"""Containers, planned from a table of cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import partial
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import HostFacts, Link, LxdFacts
from tasks.containers.departed import plan_departed
from tasks.containers.plan import plan_container
from tasks.containers.step import ContainerWrite
from tasks.containers.wire import addresses_in_reach, see_that_nobody_has
from tasks.containers.writes import update
from tasks.errors import FleetError
from tasks.intent.model import Attachment, Container, Intent, LxdHost, Profile, Ssh
from tasks.run import Run
from tasks.state import StateFolder

TABLE = yaml.safe_load((Path(__file__).parent / "cases" / "containers.yaml").read_text())
CASES, DEPARTED, WIRE = TABLE["cases"], TABLE["departed"], TABLE["wire"]
HOST = LxdHost("voice-01", Ssh("192.0.2.1"))
PROFILES = {
    "demo": Profile(
        "demo",
        devices={
            "if-demo": {"name": "if-demo", "nictype": "bridged", "type": "nic", "parent": "br-demo"}
        },
    ),
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
        PROFILES,
        facts,
        others=others,
        unread=case.get("unread", []),
        known_in=case.get("known_in", ""),
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


def attached(*addresses: str) -> Attachment:
    first, *further = (ip_interface(address) for address in addresses)
    return Attachment("mgmt", address=first, further=tuple(further))


@pytest.mark.parametrize("case", WIRE.values(), ids=WIRE.keys())
def test_who_has_an_address(case: dict[str, Any], tmp_path: Path) -> None:
    host = replace(HOST, attachments={"mgmt": attached("10.0.0.1/24")})
    hidden = Attachment("hidden", address=ip_interface("10.1.0.5/24"))
    attachments = {"mgmt": attached("10.0.0.5/24", "10.0.0.6/24", "2001:db8::5/64")}
    container = Container(
        "web-01", Ssh(""), on=HOST.name, attachments={**attachments, "hidden": hidden}
    )
    reach = addresses_in_reach(container, host)
    assert {str(address): network for address, network in reach.items()} == {
        "10.0.0.5": "mgmt",
        "10.0.0.6": "mgmt",
    }
    second = Container("web-02", Ssh(""), on="voice-02", attachments=attachments)
    intent = Intent(
        folder=tmp_path,
        lxd_hosts={host.name: host},
        containers={c.name: c for c in (container, second)},
        machines={},
        bridges={},
        profiles={},
        images={},
    )
    facts = {
        "voice-01": facts_with("voice-01", "01", {"web-01": "00:01", "theirs": "00:03"}),
        "voice-02": facts_with("voice-02", "02", {"web-01": "00:04", "web-02": "00:02"}),
    }
    run = Run(intent, StateFolder(tmp_path), facts=facts, leaving=set(case.get("leaving", ())))
    held = {ip_address(address): mac for address, mac in case["held"].items()}
    if "error" not in case:
        see_that_nobody_has(container, held, run)
        return
    with pytest.raises(FleetError) as refused:
        see_that_nobody_has(container, held, run)
    assert str(refused.value) == case["error"]


def facts_with(host: str, number: str, macs: dict[str, str]) -> HostFacts:
    bridge = Link(
        "br-mgmt", mac=f"00:16:3e:00:01:{number}", addresses=(ip_interface("10.0.0.1/24"),)
    )
    instances = {
        name: {
            "name": name,
            "status": "Running",
            "config": {"volatile.if-mgmt.hwaddr": f"00:16:3E:00:{mac}"},
            "expanded_devices": {"if-mgmt": {"type": "nic"}, "root": {"type": "disk"}},
        }
        for name, mac in macs.items()
    }
    return HostFacts(host, links={"br-mgmt": bridge}, lxd=LxdFacts(instances=instances))
