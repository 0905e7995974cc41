"""Containers, raised on real LXD hosts."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from tasks.containers import task as raising
from tasks.containers import writes
from tasks.containers.task import raise_containers
from tasks.errors import DeadlineError
from tasks.facts.host import facts_of
from tasks.images.task import sync_images
from tasks.intent.model import Attachment, Container, Profile
from tasks.lxd_api.api import LxdApi
from tasks.lxd_api.connection import api_of
from tasks.ownership import CREATED_KEY, unmarked
from tasks.profiles.task import sync_profiles
from tasks.state import StateFolder
from tests.object_fleet import (
    FIRST,
    ROOT_DISK,
    SECOND,
    Fleet,
    ObjectFleet,
    lab_container,
    lab_image,
)


@pytest.fixture
def objects(lab_hosts: ObjectFleet) -> ObjectFleet:
    """Hosts with our image and nothing else of ours."""
    lab_hosts.clean(images=False)
    fleet = lab_hosts.open(lab_image())
    for host in (FIRST, SECOND):
        result = fleet.do(sync_images, host)
        assert not result.failed, result.result["message"]
    fleet.close()
    return lab_hosts


WEB = Profile("obj-web", config={"boot.autostart": "false"}, devices=ROOT_DISK)
ONE = lab_container("obj-one", config={"user.site": "ams"})
#: Inside, once it is up: it does not obey when it is told to shut down.
IGNORE_SHUTDOWN = (
    "until [ -S /run/systemd/private ]; do sleep 0.1; done; "
    "systemctl is-system-running --wait; systemctl mask halt.target poweroff.target"
)
TWO = lab_container("obj-two", profiles=("obj-web",), devices={})


def opened(objects: ObjectFleet, *containers: Container, limit: tuple[str, ...] = ()) -> Fleet:
    fleet = objects.open(WEB, lab_image(), *containers, limit=limit)
    result = fleet.do(sync_profiles)
    assert not result.failed, result.result["message"]
    return fleet


def instance(objects: ObjectFleet, name: str, host: str = FIRST) -> dict[str, Any]:
    document: dict[str, Any] = objects.query(host, f"/1.0/instances/{name}")
    return document


def own_keys(document: dict[str, Any]) -> dict[str, str]:
    return {k: v for k, v in document["config"].items() if not k.startswith("volatile.")}


def actions(record: dict[str, Any]) -> list[str]:
    return [step["action"] for step in record["steps"]]


@pytest.mark.lab
def test_raise_dry_then_real_then_nothing(objects: ObjectFleet) -> None:
    fleet = opened(objects, ONE, TWO)
    requests = fleet.requests()
    dry = fleet.do(raise_containers, dry_run=True)
    assert (dry.changed, dry.failed) == (True, False)
    assert (fleet.requests(), objects.ours(FIRST, "instances")) == (requests, [])

    real = fleet.do(raise_containers)
    assert (real.changed, real.failed, real.diff) == (True, False, dry.diff)
    records = real.result["containers"]
    assert {name: r["status"] for name, r in records.items()} == {
        "obj-one": "changed",
        "obj-two": "changed",
    }, [r["message"] for r in records.values()]
    assert actions(records["obj-one"]) == ["create", "start"]
    assert (real.result["status"], real.result["changed"]) == ("ok", False)
    one, two = instance(objects, "obj-one"), instance(objects, "obj-two")
    assert (one["status"], two["status"]) == ("Running", "Running")
    assert (one["profiles"], two["profiles"]) == ([], ["obj-web"])
    assert one["config"]["user.site"] == "ams"
    assert [one["config"][CREATED_KEY], two["config"][CREATED_KEY]] == ["obj-one", "obj-two"]
    assert facts_of(fleet.run.hosts[FIRST]).lxd.instances["obj-one"]["status"] == "Running"

    again = objects.open(WEB, lab_image(), ONE, TWO)
    second = again.do(raise_containers)
    assert (second.changed, second.diff, again.requests()) == (False, "", 0)
    assert {r["status"] for r in second.result["containers"].values()} == {"ok"}
    fleet.close()
    again.close()


@pytest.mark.lab
def test_one_deleted_by_hand_comes_back_and_a_stopped_one_starts(objects: ObjectFleet) -> None:
    fleet = opened(objects, ONE, TWO)
    fleet.do(raise_containers)
    uuid = instance(objects, "obj-two")["config"]["volatile.uuid"]
    objects.shell(FIRST, "lxc delete --force obj-one; lxc stop --force obj-two")
    fleet.forget()
    records = fleet.do(raise_containers).result["containers"]
    assert actions(records["obj-one"]) == ["create", "start"]
    assert actions(records["obj-two"]) == ["start"]
    assert {r["status"] for r in records.values()} == {"changed"}
    assert instance(objects, "obj-two")["config"]["volatile.uuid"] == uuid
    fleet.close()


@pytest.mark.lab
def test_drift_is_mended_in_place_key_by_key(objects: ObjectFleet) -> None:
    nic = {"type": "nic", "nictype": "p2p", "name": "if-own"}
    declared = replace(
        ONE,
        profiles=("obj-web",),
        config={"user.site": "ams", "boot.autostart.delay": "1"},
        devices={"if-own": nic},
    )
    fleet = opened(objects, declared)
    fleet.do(raise_containers)
    before = instance(objects, "obj-one")
    objects.shell(
        FIRST,
        "lxc config set obj-one user.site=rtm boot.autostart.delay=2 user.theirs=1 &&"
        "lxc config device add obj-one theirs none &&"
        "lxc config device set obj-one if-own mtu 1400 &&"
        "lxc profile assign obj-one default,obj-web",
    )
    fleet.forget()
    dry = fleet.do(raise_containers, dry_run=True).result["containers"]["obj-one"]
    assert dry["steps"][0]["detail"] == (
        "config boot.autostart.delay, config user.site, device if-own, profiles obj-web; if-own is "
        "plugged in anew at once"
    )
    assert instance(objects, "obj-one")["config"]["user.site"] == "rtm"
    real = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert (real["status"], actions(real), real["diff"]) == ("changed", ["update"], dry["diff"])
    after = instance(objects, "obj-one")
    assert own_keys(after) == {**own_keys(before), "user.theirs": "1"}
    mac = "volatile.if-own.hwaddr"
    assert after["config"][mac] == before["config"][mac]
    mtu = objects.shell(FIRST, "lxc exec obj-one -- cat /sys/class/net/if-own/mtu")
    assert mtu.strip() == "1500"
    assert after["devices"] == {**before["devices"], "theirs": {"type": "none"}}
    assert after["profiles"] == ["obj-web"]
    fleet.close()


#: How one thing is spoilt, and what the one step says of it.
DRIFT = {
    "a config key": ("config set obj-one user.site=rtm", "config user.site"),
    "a config key that is gone": ("config unset obj-one user.site", "config user.site"),
    "a device": (
        "config device set obj-one if-own mtu 1400",
        "device if-own; if-own is plugged in anew at once",
    ),
    "a device that is gone": ("config device remove obj-one if-own", "device if-own"),
    "the order of the profiles": (
        "profile assign obj-one obj-web,obj-app",
        "profiles obj-app, obj-web",
    ),
    "a profile that is gone": ("profile assign obj-one obj-web", "profiles obj-app, obj-web"),
}


@pytest.mark.lab
@pytest.mark.parametrize(("spoil", "told"), DRIFT.values(), ids=DRIFT)
def test_each_kind_of_drift_is_shown_exactly_and_mended_and_nothing_else_is_touched(
    objects: ObjectFleet, spoil: str, told: str
) -> None:
    nic = {"type": "nic", "nictype": "p2p", "name": "if-own"}
    app = Profile("obj-app", config={"user.site": "nowhere", "user.app": "yes"})
    one = replace(ONE, profiles=("obj-app", "obj-web"), devices={**ROOT_DISK, "if-own": nic})
    fleet = objects.open(WEB, app, lab_image(), one, TWO)
    assert not fleet.do(sync_profiles).failed
    fleet.do(raise_containers)
    before, up_since = all_of(objects), instance(objects, "obj-one")["last_used_at"]
    objects.shell(FIRST, f"lxc {spoil}")
    spoilt = all_of(objects)
    assert spoilt != before
    fleet.forget()
    dry = fleet.do(raise_containers, dry_run=True).result["containers"]["obj-one"]
    assert [(s["action"], s["detail"]) for s in dry["steps"]] == [("update", told)], dry["message"]
    assert all_of(objects) == spoilt
    result = fleet.do(raise_containers)
    real = result.result["containers"]["obj-one"]
    assert (real["status"], real["steps"], real["diff"]) == ("changed", dry["steps"], dry["diff"])
    assert result.result["containers"]["obj-two"]["status"] == "ok"
    assert all_of(objects) == before
    assert instance(objects, "obj-one")["last_used_at"] == up_since
    fleet.close()


def all_of(objects: ObjectFleet) -> dict[str, Any]:
    """Our objects on the first host, but for what LXD fills in by itself."""
    instances = {name: instance(objects, name) for name in objects.ours(FIRST, "instances")}
    return {
        "profiles": objects.query(FIRST, "/1.0/profiles?recursion=1"),
        "instances": {
            name: {**own_keys(document), **{k: document[k] for k in ("devices", "profiles")}}
            for name, document in instances.items()
        },
    }


@pytest.mark.lab
def test_what_we_set_and_left_the_inventory_is_unset_and_nothing_else(objects: ObjectFleet) -> None:
    nic = {"type": "nic", "nictype": "p2p", "name": "if-own"}
    declared = replace(
        ONE,
        config={"user.site": "ams", "boot.autostart.delay": "1"},
        devices={**ROOT_DISK, "if-own": nic},
    )
    fleet = opened(objects, declared)
    fleet.do(raise_containers)
    objects.shell(FIRST, "lxc config set obj-one user.theirs=1")
    fleet.declare(containers={**fleet.run.intent.containers, "obj-one": ONE})
    fleet.forget()
    dry = fleet.do(raise_containers, dry_run=True).result["containers"]["obj-one"]
    assert dry["steps"][0]["detail"] == "no config boot.autostart.delay, no device if-own"
    real = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert (real["status"], real["diff"]) == ("changed", dry["diff"]), real["message"]
    after = instance(objects, "obj-one")
    assert unmarked(own_keys(after)).keys() >= {"user.site", "user.theirs"}
    assert "boot.autostart.delay" not in after["config"]
    assert list(after["devices"]) == list(ROOT_DISK)
    assert "config user.theirs, which is not in the inventory" in real["message"]
    assert not fleet.do(raise_containers).changed
    fleet.close()


@pytest.mark.lab
def test_what_waits_for_a_restart_is_said_until_it_is_done(objects: ObjectFleet) -> None:
    fleet = opened(objects, ONE)
    fleet.do(raise_containers)
    nesting = replace(ONE, config={**ONE.config, "security.nesting": "true"})
    fleet.declare(containers={**fleet.run.intent.containers, "obj-one": nesting})
    waits = "runs without its new security.nesting"
    for expected in ("changed", "ok", "ok"):
        record = fleet.do(raise_containers).result["containers"]["obj-one"]
        assert record["status"] == expected
        assert waits in record["message"]
        fleet.forget()
    started = instance(objects, "obj-one")["last_used_at"]
    dry = fleet.do(raise_containers, dry_run=True, allow_restart=True)
    assert actions(dry.result["containers"]["obj-one"]) == ["restart"]
    assert instance(objects, "obj-one")["last_used_at"] == started
    real = fleet.do(raise_containers, allow_restart=True).result["containers"]["obj-one"]
    assert (actions(real), real["status"]) == (["restart"], "changed"), real["message"]
    assert instance(objects, "obj-one")["last_used_at"] > started
    fleet.forget()
    again = fleet.do(raise_containers, allow_restart=True).result["containers"]["obj-one"]
    assert (again["status"], waits in again["message"]) == ("ok", False)
    fleet.close()


@pytest.mark.lab
def test_a_restart_that_fails_leaves_the_other_of_the_pair_up(
    objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "STOP_TIMEOUT", 3)
    pair = [replace(each, apart="obj") for each in (ONE, TWO)]
    fleet = opened(objects, *pair)
    fleet.do(raise_containers)
    for name in ("obj-one", "obj-two"):
        objects.shell(FIRST, f"lxc exec {name} -- sh -c '{IGNORE_SHUTDOWN}'")
    started = [instance(objects, each.name)["last_used_at"] for each in pair]
    late = [replace(each, config={**each.config, "security.nesting": "true"}) for each in pair]
    fleet.declare(containers={**fleet.run.intent.containers, **{c.name: c for c in late}})
    fleet.forget()
    records = fleet.do(raise_containers, allow_restart=True).result["containers"]
    assert {record["status"] for record in records.values()} == {"failed"}
    messages = sorted(record["message"] for record in records.values())
    assert any("it does not restart" in message for message in messages)
    assert any("left in service: obj-" in message for message in messages)
    assert [instance(objects, each.name)["last_used_at"] for each in pair] == started
    assert {instance(objects, each.name)["status"] for each in pair} == {"Running"}
    fleet.close()


@pytest.mark.lab
def test_a_declared_mac_is_there_from_the_first_start(objects: ObjectFleet) -> None:
    nic = {"type": "nic", "nictype": "p2p"}
    shared = replace(WEB, devices={**ROOT_DISK, "if-shared": {**nic, "name": "if-shared"}})
    macs = {
        "own": Attachment("own", mac="00:16:3e:0b:1e:c1"),
        "shared": Attachment("shared", mac="00:16:3e:0b:1e:c2"),
    }
    container = lab_container(
        "obj-one",
        profiles=("obj-web",),
        devices={"if-own": {**nic, "name": "if-own"}},
        attachments=macs,
    )
    fleet = objects.open(shared, lab_image(), container)
    fleet.do(sync_profiles)
    record = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert record["status"] == "changed", record["message"]
    for interface, mac in (("if-own", "00:16:3e:0b:1e:c1"), ("if-shared", "00:16:3e:0b:1e:c2")):
        address = objects.shell(
            FIRST, f"lxc exec obj-one -- cat /sys/class/net/{interface}/address"
        )
        assert address.strip() == mac
    assert not fleet.do(raise_containers).changed
    macs["shared"] = Attachment("shared", mac="00:16:3e:0b:1e:c3")
    other = replace(container, attachments=macs)
    fleet.declare(containers={**fleet.run.intent.containers, "obj-one": other})
    record = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert record["status"] == "changed", record["message"]
    assert record["steps"][0]["detail"].endswith("acts at the next start")
    objects.shell(FIRST, "lxc restart --force obj-one")
    address = objects.shell(FIRST, "lxc exec obj-one -- cat /sys/class/net/if-shared/address")
    assert address.strip() == "00:16:3e:0b:1e:c3"
    fleet.forget()
    assert not fleet.do(raise_containers).changed
    fleet.close()


@pytest.mark.lab
def test_what_fails_on_one_is_booked_on_it_alone(objects: ObjectFleet) -> None:
    objects.shell(SECOND, f"lxc init --empty obj-moved -s {ROOT_DISK['root']['pool']}")
    fleet = opened(
        objects,
        ONE,
        lab_container("obj-no-image", image="obj-nothing"),
        lab_container("obj-no-profile", profiles=("obj-nothing",)),
        lab_container("obj-refused", config={"limits.memory": "much"}),
        lab_container("obj-moved"),
    )
    fleet.nr.run(task=lambda task: facts_of(task.host) and None)
    result = fleet.do(raise_containers)
    assert not result.failed
    records = result.result["containers"]
    assert {name: r["status"] for name, r in records.items()} == {
        "obj-one": "changed",
        "obj-no-image": "failed",
        "obj-no-profile": "failed",
        "obj-refused": "failed",
        "obj-moved": "failed",
    }
    assert "image obj-nothing is not on this host" in records["obj-no-image"]["message"]
    assert "profile obj-nothing is not on this host" in records["obj-no-profile"]["message"]
    assert "much" in records["obj-refused"]["message"]
    assert f"found on {SECOND}" in records["obj-moved"]["message"]
    assert objects.ours(FIRST, "instances") == ["obj-one"]
    fleet.close()


#: A bridge in which the host has an address, and in it a machine that drops all but ARP. Rules know
#: protocols from Linux 4.17 on.
WIRE = """
set -e
ip link add obj-br type bridge
ip address add 10.77.0.1/24 dev obj-br
ip link set obj-br up
ip netns add obj-quiet
ip link add obj-q0 type veth peer name obj-q1 netns obj-quiet
ip link set obj-q0 master obj-br up
ip -n obj-quiet link set obj-q1 address 00:16:3e:77:00:03 up
ip -n obj-quiet address add 10.77.0.3/24 dev obj-q1
ip -n obj-quiet rule add pref 10 lookup local
ip -n obj-quiet rule del pref 0
for protocol in tcp icmp; do ip -n obj-quiet rule add pref 1 ipproto $protocol blackhole; done
"""
NO_WIRE = "ip netns delete obj-quiet; ip link delete obj-br; true"


def wired(name: str, address: str, **fields: Any) -> Container:
    """A container of the network ``obj``, without one to be managed at."""
    attachment = Attachment("obj", address=ip_interface(f"{address}/24"))
    return lab_container(name, attachments={"obj": attachment}, **fields)


@pytest.mark.lab
def test_an_address_that_somebody_has_in_any_network_of_the_host_keeps_one_from_being_made(
    objects: ObjectFleet,
) -> None:
    """Where it has no address to be managed at, and by somebody who answers no ping and no SYN."""
    nic = {"type": "nic", "nictype": "bridged", "parent": "obj-br", "name": "if-obj"}
    has = wired("obj-has", "10.77.0.4", devices={**ROOT_DISK, "if-obj": nic})
    quiet, taken = wired("obj-quiet", "10.77.0.3"), wired("obj-taken", "10.77.0.5")
    ours, free = wired("obj-ours", "10.77.0.1"), wired("obj-free", "10.77.0.6")
    objects.shell(FIRST, WIRE)
    try:
        fleet = opened(objects, has)
        wire_up(fleet)
        before = fleet.run.exchanges[FIRST]["execs"]
        assert fleet.do(raise_containers).result["containers"]["obj-has"]["status"] == "changed"
        assert fleet.run.exchanges[FIRST]["execs"] == before + 2  # who has it, and the proof
        assert fleet.do(raise_containers).result["containers"]["obj-has"]["status"] == "ok"
        assert fleet.run.exchanges[FIRST]["execs"] == before + 2
        fleet.close()
        inside = (
            "until [ -S /run/systemd/private ]; do sleep 0.1; done; "
            "systemctl is-system-running --wait; "
            "ip link set if-obj up && ip address add 10.77.0.5/24 dev if-obj"
        )
        objects.shell(FIRST, f"lxc exec obj-has -- sh -c '{inside}'")
        # one that is selected would lose what it has and is not declared
        new = (quiet, taken, ours, free)
        fleet = opened(objects, has, *new, limit=(FIRST, *(each.name for each in new)))
        wire_up(fleet)
        records = fleet.do(raise_containers).result["containers"]
        fleet.close()
        mac = instance(objects, "obj-has")["config"]["volatile.if-obj.hwaddr"]
    finally:
        objects.shell(FIRST, f"lxc delete -f obj-has; {NO_WIRE}")
    said = {n: r["message"] for n, r in records.items() if r["status"] == "failed"}
    assert said.keys() == {"obj-quiet", "obj-taken", "obj-ours"}
    for name, holder in (
        ("obj-quiet", "10.77.0.3 in the network obj is in use: another machine, with the MAC "
                      "00:16:3e:77:00:03, has it"),
        ("obj-taken", f"10.77.0.5 in the network obj is in use: obj-has on {FIRST} ({mac}) has it"),
        ("obj-ours", f"10.77.0.1 in the network obj is in use: the LXD host {FIRST} has it"),
    ):  # fmt: skip
        assert said[name].startswith(f"{name}: {holder}; "), said[name]
    assert records["obj-free"]["status"] == "changed"
    assert objects.ours(FIRST, "instances") == ["obj-free"]


def wire_up(fleet: Fleet) -> None:
    """The first host has the network ``obj``."""
    own = {"obj": Attachment("obj", address=ip_interface("10.77.0.1/24"))}
    hosts = fleet.run.intent.lxd_hosts
    fleet.declare(lxd_hosts={**hosts, FIRST: replace(hosts[FIRST], attachments=own)})


@pytest.mark.lab
def test_only_selected_containers_are_touched(objects: ObjectFleet) -> None:
    fleet = opened(objects, ONE, TWO, limit=("obj-two",))
    records = fleet.do(raise_containers).result["containers"]
    assert list(records) == ["obj-two"]
    assert objects.ours(FIRST, "instances") == ["obj-two"]
    fleet.close()


@pytest.mark.lab
def test_one_declared_stopped_is_created_only_and_stopped_gracefully(
    objects: ObjectFleet,
) -> None:
    stopped = replace(ONE, running=False)
    fleet = opened(objects, stopped)
    assert actions(fleet.do(raise_containers).result["containers"]["obj-one"]) == ["create"]
    objects.shell(
        FIRST, "lxc start obj-one && lxc exec obj-one -- systemctl is-system-running --wait || true"
    )
    fleet.forget()
    record = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert (actions(record), record["status"]) == (["stop"], "changed"), record["message"]
    assert instance(objects, "obj-one")["status"] == "Stopped"
    assert not fleet.do(raise_containers).changed
    fleet.close()


@pytest.mark.lab
def test_what_a_killed_run_left_lxd_to_do_is_waited_for(
    objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The create of a killed run goes on: the next run finds it begun, before or after reading."""
    fleet = opened(objects, ONE)
    api = api_of(fleet.run.hosts[FIRST])
    waited: list[str] = []

    def watched(lxd: LxdApi, name: str) -> Any:
        waited.append(name)
        return writes.wait_until_idle(lxd, name)

    monkeypatch.setattr(raising, "wait_until_idle", watched)
    facts_of(fleet.run.hosts[FIRST])  # read before the other run's create, which it cannot know
    body = {
        "name": "obj-one",
        "type": "container",
        "source": {"type": "image", "alias": "obj-minimal"},
        "profiles": [],
        "devices": ROOT_DISK,
        "config": {CREATED_KEY: "obj-one"},
    }
    with pytest.raises(DeadlineError):  # LXD has begun
        api.post("/1.0/instances", body, deadline=0.001)
    unaware = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert unaware["status"] == "changed", unaware["message"]
    assert waited == ["obj-one"]
    assert instance(objects, "obj-one")["status"] == "Running"
    assert instance(objects, "obj-one")["config"]["user.site"] == "ams"

    objects.shell(FIRST, "lxc delete --force obj-one")
    with pytest.raises(DeadlineError):
        api.post("/1.0/instances", body, deadline=0.001)
    until = time.monotonic() + 30
    while "obj-one" not in objects.ours(FIRST, "instances") and time.monotonic() < until:
        time.sleep(0.05)
    aware = objects.open(WEB, lab_image(), ONE)
    record = aware.do(raise_containers).result["containers"]["obj-one"]
    assert record["status"] == "changed", record["message"]
    assert instance(objects, "obj-one")["status"] == "Running"
    fleet.close()
    aware.close()


@pytest.mark.lab
def test_one_that_left_the_inventory(objects: ObjectFleet) -> None:
    """It is noted; with prune it is stopped, renamed and let go, and nothing is lost."""
    fleet = opened(objects, ONE)
    fleet.do(raise_containers)
    objects.shell(FIRST, "lxc exec obj-one -- sh -c 'echo kept >/root/data'")
    empty = opened(objects)
    noted = empty.do(raise_containers)
    assert not noted.changed
    assert "container obj-one is no longer in the inventory" in noted.result["message"]
    unselected = opened(objects, TWO, limit=("obj-two",))
    assert unselected.do(raise_containers, dry_run=True, prune=True).result["steps"] == []

    dry = empty.do(raise_containers, dry_run=True, prune=True)
    assert actions(dry.result) == ["stop", "rename"]
    assert objects.ours(FIRST, "instances") == ["obj-one"]
    pruned = empty.do(raise_containers, prune=True)
    assert (pruned.result["status"], actions(pruned.result)) == ("changed", ["stop", "rename"])
    name = f"obj-one-pruned-{date.today():%Y%m%d}"
    assert objects.ours(FIRST, "instances") == [name]
    kept = instance(objects, name)
    assert (kept["status"], CREATED_KEY in kept["config"]) == ("Stopped", False)
    assert objects.shell(FIRST, f"lxc file pull {name}/root/data -") == "kept\n"

    after = empty.do(raise_containers, prune=True)
    assert (after.changed, after.result["message"]) == (False, "")
    for each in (fleet, empty, unselected):
        each.close()


@pytest.mark.lab
def test_another_writer_in_between(objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = opened(objects, ONE)
    fleet.do(raise_containers)
    objects.shell(FIRST, "lxc config set obj-one user.site rtm")
    fleet.forget()
    put, left = LxdApi.put, ["1"]

    def slow_put(self: LxdApi, path: str, *arguments: Any, **options: Any) -> Any:
        if left:
            objects.shell(FIRST, f"lxc config set obj-one user.race {left.pop()}")
        return put(self, path, *arguments, **options)

    monkeypatch.setattr(LxdApi, "put", slow_put)
    record = fleet.do(raise_containers).result["containers"]["obj-one"]
    assert record["status"] == "changed", record["message"]
    config = instance(objects, "obj-one")["config"]
    assert (config["user.site"], config["user.race"]) == ("ams", "1")
    fleet.close()


@pytest.mark.lab
def test_a_host_whose_api_cannot_be_used(objects: ObjectFleet, tmp_path: Path) -> None:
    """The host fails with a clear line; what had nothing to do is ok, what had is missing."""
    fleet = opened(objects, ONE)
    fleet.do(raise_containers)
    fleet.close()
    fleet = objects.open(WEB, lab_image(), ONE, TWO)
    fleet.run.state = StateFolder(tmp_path / "state")
    result = fleet.do(raise_containers)
    assert (result.failed, result.result["status"]) == (True, "failed")
    assert "does not trust" in result.result["message"]
    assert {n: r["status"] for n, r in result.result["containers"].items()} == {"obj-one": "ok"}
    fleet.close()


@pytest.mark.lab
def test_one_that_does_not_shut_down_keeps_running_and_the_others_are_raised(
    objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "STOP_TIMEOUT", 3)
    fleet = opened(objects, ONE)
    fleet.do(raise_containers)
    objects.shell(FIRST, f"lxc exec obj-one -- sh -c '{IGNORE_SHUTDOWN}'")
    other = opened(objects, TWO)
    result = other.do(raise_containers, prune=True)
    assert (result.failed, result.result["status"]) == (True, "failed")
    assert "container obj-one: it does not shut down within 3 s" in result.result["message"]
    assert "run again with --force" in result.result["message"]
    assert result.result["containers"]["obj-two"]["status"] == "changed"
    assert instance(objects, "obj-one")["status"] == "Running"
    forced = other.do(raise_containers, prune=True, force=True)
    assert not forced.failed, forced.result["message"]
    assert objects.ours(FIRST, "instances") == [f"obj-one-pruned-{date.today():%Y%m%d}", "obj-two"]
    fleet.close()
    other.close()
