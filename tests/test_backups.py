from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.containers.remembered import RESTORED
from tasks.errors import FleetError, UsageError
from tasks.intent.maintenance import Retention
from tasks.intent.model import Bridge, Container, LxdHost, Ssh
from tasks.maintenance.backups.kept import Stored, parse_stored
from tasks.maintenance.backups.plan import plan_backup
from tasks.maintenance.backups.promises import promised_room
from tasks.maintenance.backups.room import (
    LxdRoom,
    in_words,
    parse_room,
    see_room_for_export,
    see_room_for_import,
    see_that_lxd_can,
)
from tasks.maintenance.backups.stored import (
    Part,
    StoredBackup,
    as_manifest,
    from_manifest,
    parts_of,
    state_of,
)
from tasks.maintenance.disks import disks_left_out
from tasks.maintenance.moments import made_at, moment_name
from tasks.maintenance.restore.marks import half_name, halves_of, with_own_volumes
from tasks.maintenance.restore.plan import plan_restore, see_that_it_can_be
from tasks.maintenance.restore.task import place_on
from tasks.run import run_of
from tests.machines import container_of, fleet_of, host_of

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "backups.yaml").read_text())
NOW = "20261124T030000Z"
GB = 1000**3
PARTS = (
    Part("container", "default", 2 * GB, "", GB, "a" * 64),
    Part("volume-1", "default", 3 * GB, "calls", 2 * GB, "b" * 64),
)
WHOLE = StoredBackup("web-01", NOW, "one", "of one moment", ("web",), "id-1", PARTS)
WEB = Container("web-01", Ssh(""), on="one", networks=("demo",))


def cases(table: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[table], ids=lambda case: case["name"])


def steps(plan: Any) -> list[str]:
    return [f"{step.action} {step.object}" for step in plan.steps]


@cases("backup")
def test_what_a_backup_does(case: dict[str, Any]) -> None:
    stored = Stored(
        whole={moment: replace(WHOLE, moment=moment) for moment in case.get("whole", [])},
        halves={
            name: None if words is None else frozenset(words)
            for name, words in case.get("halves", {}).items()
        },
        odd=tuple(case.get("odd", [])),
    )
    keep = Retention(**case["keep"]) if "keep" in case else None
    plan = plan_backup(NOW, PARTS, stored, case.get("exports", {}), to="box", keep=keep)
    assert steps(plan) == case["steps"]
    assert list(plan.notes) == case.get("notes", [])


@cases("restore")
def test_what_a_restore_does(case: dict[str, Any]) -> None:
    instances = {
        name: {
            "name": name,
            "status": instance["status"],
            "config": instance.get("config", {})
            | ({RESTORED: instance["mark"]} if "mark" in instance else {}),
        }
        for name, instance in case.get("instances", {}).items()
    }
    users = case.get("used_by", {})
    volumes = {
        (place.split("/")[0], place.split("/")[1]): {
            "config": {RESTORED: mark} if mark else {},
            "used_by": [f"/1.0/instances/{user}" for user in users.get(place, [])],
        }
        for place, mark in case.get("volumes", {}).items()
    }
    container = replace(WEB, running=case.get("running", True))
    here, room = LxdFacts(instances=instances), LxdRoom(volumes=volumes)

    def planned() -> Any:
        return plan_restore(
            container, WHOLE, here, room,
            replace=case.get("replace", False), chosen=case.get("chosen", False),
            today=date(2026, 11, 25), keeper="box",
        )  # fmt: skip

    if "refused" in case:
        with pytest.raises(FleetError) as refused:
            planned()
        assert str(refused.value) == case["refused"]
        return
    plan = planned()
    assert steps(plan) == case["steps"]
    assert plan.reason == case.get("reason", "")
    renamed = [step.write.rename for step in plan.steps if step.write.rename]
    assert renamed == case.get("renamed", [])
    waiting = [step.write.name for step in plan.steps if step.write.wait]
    assert waiting == case.get("waiting", [])


@cases("obstacles")
def test_what_is_in_the_way_of_a_restore(case: dict[str, Any]) -> None:
    bridges = tuple(Bridge(network) for network in case.get("bridges", ["demo"]))
    here = LxdFacts(
        profiles={name: {} for name in case.get("profiles", ["web"])},
        pools={name: {} for name in case.get("pools", ["default"])},
    )
    others = {
        host: LxdFacts(instances={"web-01": {"name": "web-01", "status": status}})
        for host, status in case.get("others", {}).items()
    }

    def look() -> None:
        host = LxdHost("one", Ssh(""), bridges=bridges)
        declared = ["web-01", *case.get("declared", [])]
        see_that_it_can_be(WEB, host, WHOLE, here, others, declared=declared)

    if "refused" not in case:
        look()
        return
    with pytest.raises(FleetError) as refused:
        look()
    assert str(refused.value).startswith(case["refused"])


def test_a_manifest_says_all_of_a_backup_and_another_text_nothing() -> None:
    text = as_manifest(WHOLE).decode()
    assert from_manifest(text) == WHOLE
    for other in ("", "[]", "{}", text.replace('"version": 1', '"version": 2'), text[:-9]):
        assert from_manifest(other) is None
    assert from_manifest(as_manifest(replace(WHOLE, parts=PARTS[1:])).decode()) is None


def test_what_is_kept_is_read_and_what_is_not_ours_is_not_seen() -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    manifest = encoded(as_manifest(WHOLE).decode())
    stored = parse_stored(
        f"free 5 /var/lib\nwhole {NOW} {manifest}\nwhole 20261101T000000Z {manifest}\n"
        f"half 20261102T000000Z {encoded('- /a/backup0 /b/backup1')}\n"
        f"half 20261103T000000Z \nhalf 20261104T000000Z {encoded('- ')}\nhalf 99999999T999999Z \n"
    )
    assert (stored.free, stored.folder) == (5, "/var/lib")
    assert stored.whole == {NOW: WHOLE}
    assert stored.odd == ("20261101T000000Z",)  # what is in it is another backup
    assert stored.halves == {
        "20261102T000000Z": frozenset({"/a/backup0", "/b/backup1"}),
        "20261103T000000Z": None,
        "20261104T000000Z": frozenset(),
    }


def test_a_backup_is_named_after_its_moment_in_utc() -> None:
    moment = datetime(2026, 11, 24, 3, tzinfo=timezone.utc)
    assert moment_name(moment) == NOW
    assert made_at(NOW) == moment
    assert made_at("20261324T030000Z") is made_at("mine") is None


DEVICES = {
    "root": {"type": "disk", "path": "/", "pool": "fast"},
    "calls": {"type": "disk", "path": "/srv/calls", "pool": "default", "source": "calls"},
    "again": {"type": "disk", "path": "/srv/again", "pool": "default", "source": "calls"},
    "share": {"type": "disk", "path": "/srv/share", "source": "/srv/share"},
    "if-demo": {"type": "nic", "parent": "br-demo"},
}


def test_the_files_of_a_backup_are_the_container_and_each_volume_once() -> None:
    instance = {"name": "web-01", "devices": {}, "expanded_devices": DEVICES}
    sizes = {("fast", "container", "web-01"): 7, ("default", "custom", "calls"): 8}
    assert parts_of(instance, sizes) == (
        Part("container", "fast", 7),
        Part("volume-1", "default", 8, "calls"),
    )
    assert disks_left_out(instance) == ["share"]


@pytest.mark.parametrize(
    ("status", "drivers", "state"),
    [
        ("Stopped", ("dir", "dir"), "stopped"),
        ("Running", ("btrfs", "zfs"), "of one moment"),
        ("Running", ("btrfs", "dir"), "read while it ran"),
        ("Frozen", ("lvm", "zfs"), "read while it ran"),
    ],
)
def test_in_what_state_the_files_are(status: str, drivers: tuple[str, str], state: str) -> None:
    pools = {
        name: {"driver": driver} for name, driver in zip(("fast", "default"), drivers, strict=True)
    }
    instance = {"name": "web-01", "status": status, "expanded_devices": DEVICES}
    assert state_of(instance, LxdFacts(pools=pools)) == state


def test_room_is_read_and_counted() -> None:
    volumes = base64.b64encode(b'[{"name": "calls"}]').decode()
    room = parse_room(
        "free 6000000000 /var/lib/lxd/backups\nsize default container web-01 2000000000\n"
        "pool default 4000000000\nexports /1.0/instances/web-01 backup0\n"
        "exports /1.0/instances/web-01 mine\n"
        f"volumes default {volumes}\n"
    )
    assert room.sizes == {("default", "container", "web-01"): 2 * GB}
    assert room.exports == {"/1.0/instances/web-01": ("backup0", "mine")}
    assert list(room.volumes) == [("default", "calls")]
    with pytest.raises(ValueError, match="nothing"):
        parse_room("nothing")

    see_room_for_export("one", room, PARTS, to="box", place="/b", free=6 * GB)
    with pytest.raises(FleetError) as refused:
        see_room_for_export("one", room, PARTS, to="box", place="/b", free=5 * GB)
    assert str(refused.value) == (
        "box: no room in /b: backups are kept there, 5052428800 bytes are needed (5.1 GB), "
        "5000000000 are free (5.0 GB); make room there, then run again"
    )
    with pytest.raises(FleetError, match=r"^one: no room in /l: LXD makes the export there first"):
        see_room_for_export("one", LxdRoom(3 * GB, "/l"), PARTS, to="box", place="/b", free=9 * GB)
    btrfs, plain = (LxdFacts(pools={"default": {"driver": d}}) for d in ("btrfs", "dir"))
    with pytest.raises(FleetError, match=r"^one: no room in storage pool default: it goes there"):
        see_room_for_import("one", room, PARTS, btrfs)
    with pytest.raises(FleetError, match=r"^one: no room in /l: LXD keeps the file there"):
        see_room_for_import("one", LxdRoom(2 * GB, "/l", pools={"default": 9 * GB}), PARTS, btrfs)
    roomy = replace(room, pools={"default": 6 * GB})
    see_room_for_import("one", roomy, PARTS, btrfs)
    with pytest.raises(FleetError, match=r"it goes there, 7052428800 bytes are needed"):
        see_room_for_import("one", roomy, PARTS, plain)


def test_no_two_backups_are_told_of_the_same_room(tmp_path: Path) -> None:
    run = run_of(fleet_of(tmp_path))
    free = {"one": 9 * GB, "two": 9 * GB, "box": 12 * GB}

    def look(host: str, promised: Mapping[str, int]) -> dict[str, int]:
        room = LxdRoom(free[host], "/l")
        return see_room_for_export(
            host, room, PARTS, to="box", place="/b", free=free["box"], promised=promised
        )

    one, two = partial(look, "one"), partial(look, "two")
    with promised_room(run, one) as written:
        assert run.promised == {"one": 3 * GB, "box": 5 * GB}
        with promised_room(run, two):
            assert run.promised["box"] == 10 * GB
            with pytest.raises(FleetError) as refused, promised_room(run, one):
                pass
        assert str(refused.value).startswith(
            "box: no room in /b: backups are kept there, 5052428800 bytes are needed (5.1 GB), "
            "12000000000 are free (12.0 GB), 10000000000 of them for what is at work besides; make"
        )
        free["box"] -= 2 * GB  # the first file is written, and smaller than what is in it
        written("box", 2 * GB)
        with pytest.raises(ZeroDivisionError), promised_room(run, two):
            assert run.promised["box"] == 8 * GB
            _ = 1 / 0
        assert run.promised == {"one": 3 * GB, "two": 0, "box": 3 * GB}
    assert set(run.promised.values()) == {0}


def test_an_lxd_that_is_too_old_is_refused() -> None:
    old = LxdFacts(server={"environment": {"server_version": "4.0.9"}, "api_extensions": []})
    new = LxdFacts(server={"api_extensions": ["custom_volume_backup", "backup_override_name"]})
    see_that_lxd_can("one", old, PARTS[:1], take_in=False)
    for take_in, lacking in ((False, "custom_volume_backup"), (True, "backup_override_name")):
        parts = PARTS[:1] if take_in else PARTS
        see_that_lxd_can("one", new, PARTS, take_in=take_in)
        with pytest.raises(FleetError, match=f"^one: its LXD 4.0.9 cannot .*{lacking}"):
            see_that_lxd_can("one", old, parts, take_in=take_in)


def test_bytes_in_words() -> None:
    assert [in_words(n) for n in (0, 999, 1000, 57_540_334, 2 * GB)] == [
        "0 bytes", "999 bytes", "1.0 kB", "57.5 MB", "2.0 GB"
    ]  # fmt: skip


def test_an_import_on_its_way_has_a_name_that_lxd_takes() -> None:
    assert half_name("web-01", NOW) == f"web-01-restoring-{NOW}"
    long = [half_name("x" * 62 + last, NOW) for last in "yz"]
    assert len(set(long)) == 2
    assert [len(name) for name in long] == [63, 63]
    assert halves_of("x" * 62 + "y", long) == long[:1]


def test_an_import_has_its_own_volume_again_when_that_of_before_was_renamed() -> None:
    longest = "y" * 63
    parts = (*PARTS, Part("volume-2", "default", 1, longest))
    renamed = {"calls": "calls-replaced-20261125-2", "long": f"{'y' * 45}-replaced-20261125"}
    others = {"all": "allcalls-replaced-20261125", "other": "call-replaced-20261125"}

    def devices(sources: dict[str, str]) -> dict[str, Any]:
        disks = {
            name: {"type": "disk", "pool": "default", "source": source}
            for name, source in sources.items()
        }
        return {**DEVICES, **disks}

    found = with_own_volumes(devices({**renamed, **others}), replace(WHOLE, parts=parts))
    assert found == devices({"calls": "calls", "long": longest, **others})
    kept = (*PARTS, Part("volume-2", "default", 1, renamed["calls"]))
    assert (
        with_own_volumes(devices(renamed), replace(WHOLE, parts=kept))["calls"]["source"]
        == (renamed["calls"])
    )


def test_the_selected_containers_are_placed_on_another_host(tmp_path: Path) -> None:
    other = host_of("sidn-demo-01")
    machines = (host_of(), other, container_of("a", "192.0.2.1"), container_of("b", "192.0.2.2"))
    nr = fleet_of(tmp_path, *machines)
    run_of(nr).selected = frozenset({"a"})
    place_on(nr, "sidn-demo-01")
    assert {c.name: c.on for c in run_of(nr).intent.containers.values()} == {
        "a": "sidn-demo-01",
        "b": "sidn-demo-02",
    }
    with pytest.raises(UsageError, match=r"--to sidn-demo-1: there is no such LXD host.*demo-01"):
        place_on(nr, "sidn-demo-1")
