"""Profiles: planned from a table of cases, written on a real LXD host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.containers import raise_containers
from tasks.images import sync_images
from tasks.intent.model import LxdHost, Profile, Ssh
from tasks.lxd_api.api import LxdApi
from tasks.ownership import CREATED_KEY
from tasks.profiles import plan_profiles, sync_profiles
from tests.lab import Lab
from tests.object_fleet import (
    FIRST,
    POOL,
    ObjectFleet,
    lab_container,
    lab_image,
    lab_objects,
)

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "profiles.yaml").read_text())


def lxd_host(**declared: Any) -> LxdHost:
    return LxdHost("voice-01", Ssh("192.0.2.1"), **declared)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: dict[str, Any]) -> None:
    profiles = {name: Profile(name, **fields) for name, fields in case["declares"].items()}
    plan = plan_profiles(
        lxd_host(profiles=tuple(profiles)),
        profiles,
        LxdFacts(profiles=case["has"]),
        prune=case.get("prune", False),
    )
    assert [[s.action, s.object, s.detail] for s in plan.steps] == case["steps"]
    assert list(plan.notes) == case.get("notes", [])
    assert set(case.get("adds", [])) <= set(plan.diff.splitlines())
    if "reason" in case:
        assert plan.reason == case["reason"]


def test_a_second_plan_after_the_first_is_empty() -> None:
    profile = Profile("demo", "text", {"limits.cpu": "2"}, {"root": {"type": "disk"}})
    host = lxd_host(profiles=("demo",))
    write = plan_profiles(host, {"demo": profile}, LxdFacts()).steps[0].write
    after = LxdFacts(profiles={"demo": {"name": "demo", **write.body}})
    assert not plan_profiles(host, {"demo": profile}, after).changed


@pytest.fixture(scope="module")
def lab_hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectFleet]:
    yield from lab_objects(lab, tmp_path_factory.mktemp("objects"))


@pytest.fixture
def objects(lab_hosts: ObjectFleet) -> ObjectFleet:
    lab_hosts.clean()
    return lab_hosts


WEB = Profile(
    "obj-web",
    "of the tests",
    {"limits.memory": "256MiB", "boot.autostart": "true"},
    {"root": {"type": "disk", "path": "/", "pool": POOL}},
)


def profile(objects: ObjectFleet, name: str) -> dict[str, Any]:
    document: dict[str, Any] = objects.query(FIRST, f"/1.0/profiles/{name}")
    return document


@pytest.mark.lab
def test_create_dry_then_real_then_nothing(objects: ObjectFleet) -> None:
    fleet = objects.open(WEB)
    dry = fleet.do(sync_profiles, dry_run=True)
    assert (dry.changed, dry.failed) == (True, False)
    assert objects.ours(FIRST, "profiles") == []
    assert fleet.requests() == 0

    real = fleet.do(sync_profiles)
    assert (real.changed, real.failed, real.diff) == (True, False, dry.diff), real.result
    assert [s["action"] for s in real.result["steps"]] == ["create"]
    made = profile(objects, "obj-web")
    assert made["config"] == {**WEB.config, CREATED_KEY: "obj-web"}
    assert made["devices"] == WEB.devices
    assert made["description"] == WEB.description

    again = objects.open(WEB)
    second = again.do(sync_profiles)
    assert (second.changed, second.diff, second.result["status"]) == (False, "", "ok")
    assert again.requests() == 0
    fleet.close()
    again.close()


@pytest.mark.lab
def test_update_takes_out_what_is_not_declared_and_keeps_the_mark(objects: ObjectFleet) -> None:
    fleet = objects.open(WEB)
    fleet.do(sync_profiles)
    objects.shell(FIRST, "lxc profile set obj-web limits.memory 128MiB")
    objects.shell(FIRST, "lxc profile device add obj-web extra none")
    fleet.forget()
    dry = fleet.do(sync_profiles, dry_run=True)
    details = [s["detail"] for s in dry.result["steps"]]
    assert details == ["config limits.memory, device extra; not in use"]
    assert profile(objects, "obj-web")["config"]["limits.memory"] == "128MiB"
    real = fleet.do(sync_profiles)
    assert real.result["status"] == "changed", real.result["message"]
    assert profile(objects, "obj-web")["config"] == {**WEB.config, CREATED_KEY: "obj-web"}
    assert profile(objects, "obj-web")["devices"] == WEB.devices
    fleet.close()


@pytest.mark.lab
def test_a_profile_made_by_hand_is_converged_and_not_marked(objects: ObjectFleet) -> None:
    objects.shell(FIRST, "lxc profile create obj-web")
    fleet = objects.open(WEB)
    assert fleet.do(sync_profiles).result["status"] == "changed"
    assert profile(objects, "obj-web")["config"] == WEB.config
    fleet.close()


@pytest.mark.lab
@pytest.mark.parametrize(("writers", "status"), [(1, "changed"), (2, "failed")])
def test_another_writer_in_between(
    objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch, writers: int, status: str
) -> None:
    """Someone else writes between our GET and our PUT: once is retried, twice is an error."""
    fleet = objects.open(WEB)
    fleet.do(sync_profiles)
    changed = objects.open(replace(WEB, description="new"))
    put, left = LxdApi.put, list(range(writers))

    def slow_put(self: LxdApi, path: str, *arguments: Any, **options: Any) -> Any:
        if left:
            objects.shell(FIRST, f"lxc profile set obj-web user.race {left.pop()}")
        return put(self, path, *arguments, **options)

    monkeypatch.setattr(LxdApi, "put", slow_put)
    result = changed.do(sync_profiles)
    assert result.result["status"] == status, result.result["message"]
    assert not left
    now = profile(objects, "obj-web")
    if status == "changed":
        assert (now["description"], now["config"].get("user.race")) == ("new", None)
    else:
        assert now["description"] == WEB.description
        assert FIRST in result.result["message"]
    fleet.close()
    changed.close()


@pytest.mark.lab
def test_one_that_lxd_refuses_leaves_the_others(objects: ObjectFleet) -> None:
    wrong = Profile("obj-wrong", config={"limits.memory": "much"})
    fleet = objects.open(wrong, WEB)
    result = fleet.do(sync_profiles)
    assert result.result["status"] == "failed"
    assert "profile obj-wrong: LXD refused" in result.result["message"]
    assert "Invalid value: much" in result.result["message"]
    assert "Traceback" not in result.result["message"]
    assert objects.ours(FIRST, "profiles") == ["obj-web"]
    fleet.close()


@pytest.mark.lab
def test_one_that_left_the_inventory(objects: ObjectFleet) -> None:
    """It is noted, deleted with prune, and kept while an instance uses it."""
    objects.shell(FIRST, "lxc profile create obj-foreign")
    fleet = objects.open(WEB)
    fleet.do(sync_profiles)
    objects.shell(FIRST, f"lxc init --empty obj-user -s {POOL} -p obj-web")
    empty = objects.open()
    noted = empty.do(sync_profiles)
    assert (noted.changed, noted.result["status"]) == (False, "ok")
    assert "used by obj-user" in noted.result["message"]
    kept = empty.do(sync_profiles, prune=True)
    assert (kept.changed, objects.ours(FIRST, "profiles")) == (False, ["obj-foreign", "obj-web"])
    objects.shell(FIRST, "lxc delete obj-user")
    empty.forget()
    assert empty.do(sync_profiles, dry_run=True, prune=True).changed
    assert objects.ours(FIRST, "profiles") == ["obj-foreign", "obj-web"]
    pruned = empty.do(sync_profiles, prune=True)
    assert [s["action"] for s in pruned.result["steps"]] == ["delete"], pruned.result["message"]
    assert objects.ours(FIRST, "profiles") == ["obj-foreign"]
    fleet.close()
    empty.close()


@pytest.mark.lab
def test_an_update_that_an_instance_refuses_is_a_failure(objects: ObjectFleet) -> None:
    """LXD saves the profile all the same, and says which instance did not get it."""
    user = lab_container("obj-user", profiles=("obj-web",), devices={})
    plain = Profile("obj-web", devices=WEB.devices)
    fleet = objects.open(plain, lab_image(), user)
    for task in (sync_profiles, sync_images, raise_containers):
        assert not fleet.do(task).failed
    objects.shell(FIRST, "lxc exec obj-user -- ip link add if-taken type bridge")
    nic = {"type": "nic", "nictype": "p2p", "name": "if-taken"}
    struck = objects.open(replace(plain, devices={**plain.devices, "if-taken": nic}))
    result = struck.do(sync_profiles)
    assert "used by obj-user" in result.result["steps"][0]["detail"]
    assert result.result["status"] == "failed"
    assert "profile change still saved" in result.result["message"]
    assert "obj-user" in result.result["message"]
    assert "restart the instances" in result.result["message"]
    fleet.close()
    struck.close()
