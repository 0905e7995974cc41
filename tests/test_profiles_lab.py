"""Profiles, written on a real LXD host, and the NICs that they give to real containers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from nornir.core.task import Result

from tasks.containers.task import raise_containers
from tasks.errors import LxdError
from tasks.images.task import sync_images
from tasks.intent.model import Devices, Profile
from tasks.lxd_api.api import LxdApi
from tasks.ownership import CREATED_KEY
from tasks.profiles.compare import compare_profiles
from tasks.profiles.reach import INSTANCE_ID
from tasks.profiles.task import sync_profiles
from tasks.provision import provision
from tasks.status.read import status
from tasks.status.view import as_plain
from tests.object_fleet import (
    FIRST,
    POOL,
    ROOT_DISK,
    SECOND,
    Fleet,
    ObjectFleet,
    lab_container,
    lab_image,
)

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
def test_the_same_profile_on_two_hosts(objects: ObjectFleet) -> None:
    fleet: Fleet = objects.open(WEB)
    for host in (FIRST, SECOND):
        done = fleet.do(sync_profiles, host)
        assert not done.failed, done.result["message"]
    objects.shell(SECOND, "lxc profile set obj-web limits.memory 1GiB")
    fleet.forget()
    execs = {host: fleet.run.exchanges[host]["execs"] for host in (FIRST, SECOND)}
    found = {host: fleet.do(compare_profiles, host) for host in (FIRST, SECOND)}
    assert {host: result.result["obj-web"]["same"] for host, result in found.items()} == {
        FIRST: [FIRST],
        SECOND: [FIRST],
    }
    assert found[FIRST].result["obj-web"]["differing"] == [SECOND]
    assert found[FIRST].diff == ""
    assert "-  limits.memory: 1GiB" in found[SECOND].diff.splitlines()
    told = as_plain(status(fleet.nr))
    assert f"obj-web: differs on {SECOND} from the inventory" in told
    assert "    -  limits.memory: 1GiB" in told
    assert {h: fleet.run.exchanges[h]["execs"] - n for h, n in execs.items()} == {
        FIRST: 1,
        SECOND: 1,
    }
    fleet.close()


@pytest.mark.lab
def test_what_lxd_stores_compares_equal(objects: ObjectFleet) -> None:
    """Texts of several lines as they are; an empty value is none, in devices too."""
    stored = Profile(
        "obj-web",
        "one\ntwo\n",
        {"cloud-init.user-data": "#cloud-config\na: |\n  b\n\n", "limits.cpu": "", "user.t": " x"},
        {"root": {**ROOT_DISK["root"], "size": ""}, "web": {"type": "none"}},
    )
    fleet = objects.open(stored)
    first = fleet.do(sync_profiles)
    assert first.result["status"] == "changed", first.result["message"]
    assert profile(objects, "obj-web")["config"].keys() >= {"cloud-init.user-data", "user.t"}
    fleet.forget()
    assert not fleet.do(sync_profiles, dry_run=True).changed
    fleet.close()


BRIDGES = ("obj-br", "obj-other")
NIC = {"type": "nic", "nictype": "bridged", "parent": "obj-br", "name": "if-sip"}


def given(devices: Devices, **config: str) -> Profile:
    """The profile of the containers below, with these devices besides a root disk."""
    return Profile("obj-web", "", {k.replace("_", "."): v for k, v in config.items()},
                   {**ROOT_DISK, **devices})  # fmt: skip


@pytest.fixture(scope="module")
def running(lab_hosts: ObjectFleet) -> Iterator[ObjectFleet]:
    """Two bridges, and two running containers that have no NIC; for the tests from here on."""
    lab_hosts.clean()
    for bridge in BRIDGES:
        lab_hosts.shell(FIRST, f"ip link add {bridge} type bridge && ip link set {bridge} up")
    users = [lab_container(f"obj-{n}", profiles=("obj-web",), devices={}) for n in ("one", "two")]
    fleet = lab_hosts.open(given({}), lab_image(), *users)
    for task in (sync_profiles, sync_images, raise_containers):
        result = fleet.do(task)
        assert not result.failed, result.result["message"]
    fleet.close()
    yield lab_hosts
    for bridge in BRIDGES:
        lab_hosts.shell(FIRST, f"ip link delete {bridge}")


@pytest.fixture
def pair(running: ObjectFleet) -> ObjectFleet:
    """The two containers without a NIC again, whatever the test before has left of it."""
    for name in ("obj-one", "obj-two"):
        running.shell(FIRST, f"lxc config device remove {name} if-sip 2>&1 || true")
        running.shell(FIRST, f"lxc exec {name} -- sh -c 'ip link delete if-sip 2>&1 || true'")
    assert not sync(running, given({})).failed
    return running


def sync(objects: ObjectFleet, profile: Profile, *, dry_run: bool = False) -> Result:
    """One run of its own."""
    fleet = objects.open(profile, lab_image())
    result = fleet.do(sync_profiles, dry_run=dry_run)
    assert not (dry_run and fleet.requests())
    fleet.close()
    return result


def exit_status(objects: ObjectFleet, profile: Profile, *, dry_run: bool) -> int:
    """That of a provision's phase profiles alone."""
    fleet = objects.open(profile, lab_image())
    fleet.nr.data.dry_run = dry_run
    report = provision(fleet.nr, phases=["profiles"])
    fleet.close()
    return report.exit_status()


def container(objects: ObjectFleet, name: str) -> dict[str, Any]:
    document: dict[str, Any] = objects.query(FIRST, f"/1.0/instances/{name}")
    return document


def port(objects: ObjectFleet, name: str, nic: str = "if-sip") -> tuple[str, str]:
    """A NIC's end on the host and the bridge that it is in; "" where there is none."""
    link = container(objects, name)["config"].get(f"volatile.{nic}.host_name", "")
    found = objects.shell(FIRST, f"basename $(readlink /sys/class/net/{link}/master) 2>&1 || true")
    return link, found.strip() if link else ""


def steps(result: Result) -> list[tuple[str, str]]:
    return [(step["action"], step["object"]) for step in result.result["steps"]]


PLUG_ONE = [("plug", "NIC if-sip of obj-one")]


@pytest.mark.lab
def test_an_update_that_one_instance_refuses_is_seen_and_mended_by_later_runs(
    pair: ObjectFleet,
) -> None:
    """LXD saves the profile all the same; the other instance keeps its NIC throughout."""
    with_nic = given({"if-sip": NIC})
    pair.shell(FIRST, "lxc exec obj-one -- ip link add if-sip type bridge")
    first = sync(pair, with_nic)
    assert first.result["status"] == "failed"
    assert (
        "profile obj-web: it is saved, and LXD could not carry it into obj-one (Failed to start "
        'device "if-sip": Failed to attach interface: '
    ) in first.result["message"]
    assert "obj-two" not in first.result["message"]
    assert "every run plugs in what NICs are missing" in first.result["message"]
    assert "# obj-two: now gains if-sip" in first.diff
    plugged = port(pair, "obj-two")
    assert plugged[1] == "obj-br"
    before = container(pair, "obj-one")

    dry = sync(pair, with_nic, dry_run=True)
    assert (dry.changed, dry.failed, steps(dry)) == (True, False, PLUG_ONE)
    assert "+plugged into obj-br" in dry.diff.splitlines()
    assert exit_status(pair, with_nic, dry_run=True) == 3
    assert exit_status(pair, with_nic, dry_run=False) == 1
    again = sync(pair, with_nic)
    assert again.result["status"] == "failed"
    assert "NIC if-sip of obj-one: it cannot be plugged in" in again.result["message"]
    assert "attaching specified netdev to the container failed" in again.result["message"]
    assert container(pair, "obj-one")["devices"] == before["devices"] == {}

    pair.shell(FIRST, "lxc exec obj-one -- ip link delete if-sip")
    mended = sync(pair, with_nic)
    assert (mended.result["status"], steps(mended)) == ("changed", PLUG_ONE)
    assert mended.diff == dry.diff
    assert port(pair, "obj-one")[1] == "obj-br"
    pair.shell(FIRST, "lxc exec obj-one -- test -e /sys/class/net/if-sip")
    after = container(pair, "obj-one")
    assert (after["devices"], after["config"][INSTANCE_ID]) == ({}, before["config"][INSTANCE_ID])
    assert port(pair, "obj-two") == plugged
    last = sync(pair, with_nic)
    assert (last.changed, last.diff) == (False, "")
    assert exit_status(pair, with_nic, dry_run=True) == 0


@pytest.mark.lab
def test_a_nic_that_lxd_took_away_with_a_refused_one_comes_back_by_itself(
    pair: ObjectFleet,
) -> None:
    """LXD takes all of an instance's update back where one NIC fails, and leaves it without."""
    if_a = {**NIC, "name": "if-a"}
    assert not sync(pair, given({"if-a": if_a})).failed
    pair.shell(FIRST, "lxc exec obj-one -- ip link add if-sip type bridge")
    both = given({"if-a": {**if_a, "parent": "obj-other"}, "if-sip": NIC})
    assert sync(pair, both).failed
    assert port(pair, "obj-one", "if-a") == ("", "")
    later = sync(pair, both)
    assert steps(later) == [("plug", "NIC if-a of obj-one"), *PLUG_ONE]
    assert later.result["status"] == "failed"
    assert "if-a" not in later.result["message"]
    assert port(pair, "obj-one", "if-a")[1] == "obj-other"


@pytest.mark.lab
def test_a_nic_that_was_deleted_or_put_elsewhere_comes_back(pair: ObjectFleet) -> None:
    with_nic = given({"if-sip": NIC})
    assert not sync(pair, with_nic).failed
    link, _ = port(pair, "obj-one")
    pair.shell(FIRST, f"ip link delete {link}")
    assert steps(sync(pair, with_nic)) == PLUG_ONE
    link, bridge = port(pair, "obj-one")
    assert bridge == "obj-br"
    pair.shell(FIRST, f"ip link set {link} master obj-other")
    back = sync(pair, with_nic)
    assert back.result["status"] == "changed", back.result["message"]
    assert steps(back) == [("replug", "NIC if-sip of obj-one")]
    assert back.result["steps"][0]["detail"] == (
        "plugged into obj-other, profile obj-web says obj-br"
    )
    assert port(pair, "obj-one")[1] == "obj-br"
    assert not sync(pair, with_nic).changed


@pytest.mark.lab
def test_a_nic_that_came_while_the_host_was_read_is_left_alone(pair: ObjectFleet) -> None:
    """The links are not read in the same moment as the instances."""
    with_nic = given({"if-sip": NIC})
    assert not sync(pair, with_nic).failed
    plugged = port(pair, "obj-one")
    fleet = pair.open(with_nic, lab_image())
    assert not fleet.do(sync_profiles, dry_run=True).changed
    read = fleet.run.facts[FIRST]
    links = {name: link for name, link in read.links.items() if name != plugged[0]}
    fleet.run.facts[FIRST] = replace(read, links=links)
    result = fleet.do(sync_profiles)
    assert (result.result["status"], steps(result)) == ("changed", PLUG_ONE)
    assert port(pair, "obj-one") == plugged
    fleet.close()


@pytest.mark.lab
def test_a_nic_that_an_instance_kept_is_unplugged(pair: ObjectFleet) -> None:
    """LXD refuses obj-one's whole update, since two of its keys then exclude each other."""
    assert not sync(pair, given({"if-sip": NIC})).failed
    pair.shell(FIRST, "lxc config set obj-one security.syscalls.deny=reboot")
    without = given({}, security_syscalls_allow="reboot")
    refused = sync(pair, without)
    assert refused.result["status"] == "failed"
    assert "could not carry it into obj-one (" in refused.result["message"]
    assert port(pair, "obj-two") == ("", "")
    link, bridge = port(pair, "obj-one")
    assert bridge == "obj-br"
    later = sync(pair, without)
    assert steps(later) == [("unplug", "NIC if-sip of obj-one")]
    assert later.result["status"] == "changed", later.result["message"]
    pair.shell(FIRST, f"test ! -e /sys/class/net/{link}")
    pair.shell(FIRST, "lxc exec obj-one -- test ! -e /sys/class/net/if-sip")
    assert not sync(pair, without).changed
    pair.shell(FIRST, "lxc config unset obj-one security.syscalls.deny")


@pytest.mark.lab
def test_a_run_that_is_killed_while_it_plugs_a_nic_in(
    pair: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_nic = given({"if-sip": NIC})
    assert not sync(pair, with_nic).failed
    pair.shell(FIRST, f"ip link delete {port(pair, 'obj-one')[0]}")
    put, puts = LxdApi.put, []

    def put_once(self: LxdApi, path: str, *arguments: Any, **options: Any) -> Any:
        puts.append(path)
        if len(puts) > 1:
            raise LxdError("the end of it")
        return put(self, path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(LxdApi, "put", put_once)
        assert sync(pair, with_nic).failed
    assert list(container(pair, "obj-one")["devices"]) == ["if-sip"]
    dry = sync(pair, with_nic, dry_run=True)
    assert dry.result["steps"][0]["detail"] == "an earlier run was broken off at it"
    assert steps(sync(pair, with_nic)) == PLUG_ONE
    assert container(pair, "obj-one")["devices"] == {}
    assert port(pair, "obj-one")[1] == "obj-br"


@pytest.mark.lab
def test_an_override_of_an_operator_is_left_alone(pair: ObjectFleet) -> None:
    assert not sync(pair, given({"if-sip": NIC})).failed
    pair.shell(FIRST, "lxc config device add obj-one if-sip none")
    assert port(pair, "obj-one") == ("", "")
    assert not sync(pair, given({"if-sip": NIC})).changed
    moved = sync(pair, given({"if-sip": {**NIC, "parent": "obj-other"}}))
    assert moved.diff.splitlines()[-2:] == [
        "# used by obj-one, obj-two",
        "# obj-two: now moves if-sip to obj-other",
    ]
    assert port(pair, "obj-two")[1] == "obj-other"


@pytest.mark.lab
def test_what_a_dry_run_foretells_happens(pair: ObjectFleet) -> None:
    """NICs, and cloud-init by the instance-id: LXD gives a new one where it will run anew. The
    container of another project is told of, and its NIC plugged in, like any other."""
    fleet = pair.open(given({}), replace(lab_image(), network_config="user.network-config"))
    make = "lxc init obj-minimal {0} -s obj-pool -p obj-web {1} </dev/null"
    pair.shell(FIRST, "lxc project create obj-p -c features.profiles=false -c features.images=false"
               " && " + make.format("obj-far", "--project obj-p") + " && lxc start obj-far "
               "--project obj-p && " + make.format("obj-own", "-c user.user-data=mine") + " && "
               + make.format("obj-down", "")
               )  # fmt: skip
    try:
        before = {i["name"]: i for i in users(pair)}
        profile = given({"if-sip": NIC}, user_user_data="#cloud-config")
        profile = replace(profile, config={"user.user-data": "#cloud-config\n"})
        fleet.declare(profiles={**fleet.run.intent.profiles, "obj-web": profile})
        dry = fleet.do(sync_profiles, dry_run=True)
        story = [line for line in dry.diff.splitlines() if line.startswith("# ")]
        assert story == [
            "# used by obj-down, obj-far (project obj-p), obj-one, obj-own, obj-two",
            "# obj-down: runs cloud-init anew at its next start",
            "# obj-far (project obj-p): now gains if-sip; runs cloud-init anew at its next start",
            "# obj-one: now gains if-sip; runs cloud-init anew at its next start",
            "# obj-own: runs cloud-init anew at its next start",
            "# obj-two: now gains if-sip; runs cloud-init anew at its next start",
        ]
        assert fleet.do(sync_profiles).diff == dry.diff
        after = {i["name"]: i for i in users(pair)}
        plugged = {n for n, i in after.items() if "volatile.if-sip.host_name" in i["config"]}
        assert plugged == {"obj-far", "obj-one", "obj-two"}
        assert changed_ids(before, after) == set(after)

        profile = replace(profile, config={"user.user-data": "#cloud-config\na: b\n"})
        fleet.declare(profiles={**fleet.run.intent.profiles, "obj-web": profile})
        dry = fleet.do(sync_profiles, dry_run=True)
        assert "obj-own:" not in dry.diff
        assert dry.diff.count("runs cloud-init anew") == 4
        assert not fleet.do(sync_profiles).failed
        now = {i["name"]: i for i in users(pair)}
        assert changed_ids(after, now) == set(now) - {"obj-own"}

        link = now["obj-far"]["config"]["volatile.if-sip.host_name"]
        pair.shell(FIRST, f"ip link delete {link}")
        fleet.forget()
        mended = fleet.do(sync_profiles)
        assert steps(mended) == [("plug", "NIC if-sip of obj-far (project obj-p)")]
        assert mended.result["status"] == "changed", mended.result["message"]
    finally:
        fleet.close()
        pair.shell(FIRST, "lxc delete --force obj-far --project obj-p; lxc project delete obj-p; "
                   "lxc delete --force obj-own obj-down")  # fmt: skip


def users(objects: ObjectFleet) -> list[dict[str, Any]]:
    listed = objects.query(FIRST, "/1.0/instances?recursion=1&all-projects=true")
    return [i for i in listed if "obj-web" in i["profiles"]]


def changed_ids(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {
        name
        for name in after
        if after[name]["config"][INSTANCE_ID] != before[name]["config"][INSTANCE_ID]
    }
