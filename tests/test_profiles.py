"""Profiles: planned from a table of cases, held against those of other hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import HostFacts, Link, LxdFacts
from tasks.errors import UnreachableError
from tasks.fleet import open_fleet
from tasks.intent.model import Bridge, Container, Image, Intent, LxdHost, Profile, Ssh
from tasks.plan import Plan
from tasks.profiles.compare import compare_profiles
from tasks.profiles.plan import plan_profiles, wanted_form
from tasks.profiles.reach import INSTANCE_ID
from tasks.run import run_of

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "profiles.yaml").read_text())


Case = dict[str, Any]


def planned(case: Case) -> Plan[Any]:
    """The plan for a host that declares ``declares`` and has what the case says."""
    profiles = {name: Profile(name, **fields) for name, fields in case["declares"].items()}
    bridges = {name: Bridge(name.removeprefix("br-")) for name in case.get("bridges", ())}
    host = LxdHost(
        "voice-01",
        Ssh("192.0.2.1"),
        profiles=tuple(profiles),
        bridges=tuple(bridges.values()),
    )
    images = {
        "plain": Image("plain"),
        "cloud": Image("cloud", network_config="user.network-config"),
    }
    intent = Intent(
        folder=Path("voice"),
        lxd_hosts={host.name: host},
        containers={
            name: Container(name, Ssh(""), on=host.name, image=image)
            for name, image in case.get("containers", {}).items()
        },
        machines={},
        bridges=bridges,
        profiles=profiles,
        images=images,
    )
    instances = [instance(name, i, case["has"]) for name, i in case.get("instances", {}).items()]
    links = [Link(name, "bridge") for name in case.get("links", {}).get("bridges", ())]
    ends = case.get("links", {}).get("veths", {})
    links += [Link(name, "veth", master=master) for name, master in ends.items()]
    lxd = LxdFacts(
        profiles=case["has"],
        images={"c1": {"aliases": [{"name": "cloud"}]}, "c0": {"aliases": [{"name": "plain"}]}},
        instances={i["name"]: i for i in instances if i["project"] == "default"},
        other_instances=tuple(i for i in instances if i["project"] != "default"),
    )
    facts = HostFacts(host.name, links={link.name: link for link in links}, lxd=lxd)
    return plan_profiles(intent, facts, prune=case.get("prune", False))


def instance(name: str, fields: dict[str, Any], profiles: dict[str, Any]) -> dict[str, Any]:
    """An instance as LXD gives it, expanded."""
    own = {"type": "container", "status": "Running", "project": "default", "profiles": ["demo"]}
    document = {"name": name, **own, "config": {}, "devices": {}, **fields}
    if not fields.get("old_lxd"):
        document["config"] = {INSTANCE_ID: "once", **document["config"]}
    given = [profiles[profile]["devices"] or {} for profile in document["profiles"]]
    expanded: dict[str, Any] = {}
    for devices in (*given, document["devices"]):
        expanded.update(devices)
    return {**document, "expanded_devices": expanded}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: Case) -> None:
    plan = planned(case)
    assert [[s.action, s.object, s.detail] for s in plan.steps] == case["steps"]
    assert list(plan.notes) == case.get("notes", [])
    lines = plan.diff.splitlines()
    assert set(case.get("adds", [])) <= set(lines)
    if "story" in case:
        assert [line for line in lines if line.startswith("# ")] == case["story"]
    if "reason" in case:
        assert plan.reason == case["reason"]


def test_a_second_plan_after_the_first_is_empty() -> None:
    """The text of several lines, with the newline at its end, is what LXD gives back."""
    fields = {
        "description": "text",
        "config": {"limits.cpu": "2", "user.user-data": "#cloud-config\na: |\n  b\n"},
        "devices": {"root": {"type": "disk"}},
    }
    write = planned({"declares": {"demo": fields}, "has": {}}).steps[0].write
    after = {"demo": {"name": "demo", "used_by": [], **write.body}}
    assert not planned({"declares": {"demo": fields}, "has": after}).changed


def test_a_host_is_held_against_the_inventory_and_the_other_hosts() -> None:
    """What a run has read is not read again, and a host that cannot be read is told of."""
    folder = Path(__file__).parent.parent / "inventory" / "voice"
    nr = open_fleet(folder)
    run = run_of(nr)
    first, second, third = run.intent.lxd_hosts
    shared, other, *_ = run.intent.lxd_hosts[first].profiles
    as_wanted = {name: {"name": name, **wanted_form(run.intent.profiles[name])}
                 for name in (shared, other)}  # fmt: skip
    odd = {**as_wanted[shared], "description": "by hand"}
    theirs = {"name": "theirs", "description": "", "config": {}, "devices": {}}
    for host, profiles in (
        (first, {**as_wanted, "theirs": theirs}),
        (second, {shared: odd, "theirs": {**theirs, "config": {"limits.cpu": "1"}}}),
    ):
        run.facts[host] = HostFacts(host, lxd=LxdFacts(running=True, profiles=profiles))
    run.unreachable[third] = "no route"
    results = nr.filter(filter_func=lambda h: h.name in (first, second)).run(task=compare_profiles)
    one, two = results[first][0], results[second][0]
    assert (one.changed, one.diff, one.failed) == (False, "", False)
    assert one.result[shared] == {
        "against": "the inventory",
        "same": [first],
        "differing": [second],
        "missing": [],
        "unread": [third],
        "diff": "",
    }
    assert (one.result[other]["missing"], one.result["theirs"]["against"]) == ([second], first)
    assert two.result[shared]["diff"].splitlines()[:2] == [
        f"--- profile {shared} on {second}",
        f"+++ profile {shared} in the inventory",
    ]
    assert "-description: by hand" in two.diff.splitlines()
    assert "-  limits.cpu: '1'" in two.result["theirs"]["diff"].splitlines()
    failed = nr.filter(name=third).run(task=compare_profiles)[third]
    assert isinstance(failed.exception, UnreachableError)
