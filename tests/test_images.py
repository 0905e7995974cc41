"""Images: planned from a table of cases, brought to a real LXD host."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.errors import FleetError
from tasks.fingerprint import image_fingerprint
from tasks.images.plan import plan_images
from tasks.images.source import source_mark
from tasks.images.task import sync_images
from tasks.images.upkeep import plan_upkeep
from tasks.intent.model import Image, LxdHost, Ssh
from tasks.ownership import IMAGE_PROPERTY, alias_mark, image_created_by_us
from tests.image_files import fingerprint_of, simplestreams_server, tiny_image
from tests.lab import GATEWAY
from tests.object_fleet import FIRST, ObjectFleet

FOLDER = Path(__file__).parent / "cases"
CASES = yaml.safe_load((FOLDER / "images.yaml").read_text())
UPKEEP = yaml.safe_load((FOLDER / "images_upkeep.yaml").read_text())
SERVER = "https://images.example.net"


def image_document(
    aliases: list[str], ours: bool | str, fresh: str = "", asked: str = ""
) -> dict[str, Any]:
    mark = {IMAGE_PROPERTY: "voice-01" if ours is True else ours} if ours else {}
    said = (
        source_mark("voice-01", Image("any", server=SERVER, alias=asked), ours=True)
        if asked
        else ""
    )
    source = {"server": f"{SERVER}/", "alias": fresh}
    return {
        "aliases": [{"name": alias, "description": said} for alias in aliases],
        "properties": {"os": "Debian", **mark},
        **({"auto_update": True, "update_source": source} if fresh else {}),
    }


def image_facts(has: dict[str, Any]) -> LxdFacts:
    return LxdFacts(
        images={fingerprint: image_document(*facts) for fingerprint, facts in has.items()}
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: dict[str, Any]) -> None:
    missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/images/rootfs")
    files = case.get("files", {})
    images = {name: Image(name, metadata=Path("/images/metadata")) for name in files}
    images |= {
        name: Image(name, server=SERVER, alias=alias)
        for name, alias in case.get("servers", {}).items()
    }
    images |= {name: Image(name, local=local) for name, local in case.get("locals", {}).items()}

    def planned() -> Any:
        return plan_images(
            LxdHost("voice-01", Ssh("192.0.2.1"), images=tuple(images)),
            images,
            {name: fingerprint or missing for name, fingerprint in files.items()},
            image_facts(case["has"]),
            others={name: image_facts(has) for name, has in case.get("others", {}).items()},
            prune=case.get("prune", False),
        )

    if "error" in case:
        with pytest.raises(FleetError) as refused:
            planned()
        assert str(refused.value) == case["error"]
        return
    plan = planned()
    assert [[s.action, s.object, s.write.method] for s in plan.steps] == case["steps"]
    assert set(case.get("adds", [])) <= set(plan.diff.splitlines())
    if "notes" in case:
        assert list(plan.notes) == case["notes"]
    if "detail" in case:
        assert plan.steps[0].detail == case["detail"]
    if "reason" in case:
        assert plan.reason == case["reason"]


@pytest.mark.parametrize("case", UPKEEP.values(), ids=UPKEEP.keys())
def test_upkeep(case: dict[str, Any]) -> None:
    images = {
        name: Image(name, metadata=Path("/images/metadata")) for name in case.get("files", {})
    }
    images |= {
        name: Image(name, server=SERVER, alias=alias)
        for name, alias in case.get("servers", {}).items()
    }
    plan = plan_upkeep(
        LxdHost("voice-01", Ssh("192.0.2.1"), images=tuple(images)),
        images,
        image_facts(case["has"]),
        others={name: image_facts(has) for name, has in case.get("others", {}).items()},
        derived=case.get("derived", ()),
        asked={
            f"{name} from {found[0]}": tuple(found) for name, found in case.get("asked", {}).items()
        },
    )
    assert [[s.action, s.object, s.write.method] for s in plan.steps] == case["steps"]
    assert bool(plan.reason) == (case["steps"] == [])
    if "detail" in case:
        assert plan.steps[0].detail == case["detail"]


def test_an_image_that_lxd_has_replaced_is_ours_by_its_alias() -> None:
    """LXD drops the properties of the one before, and keeps the alias."""
    document = {"properties": {"os": "Debian"}, "aliases": [{"name": "a", "description": ""}]}
    assert not image_created_by_us(document, "voice-01")
    document["aliases"] = [{"name": "a", "description": alias_mark("voice-01")}]
    assert image_created_by_us(document, "voice-01")
    assert not image_created_by_us(document, "voice-02")
    said = source_mark("voice-01", Image("a", server=SERVER, alias="debian/12"), ours=True)
    document["aliases"] = [{"name": "a", "description": said}]
    assert image_created_by_us(document, "voice-01")
    assert not image_created_by_us(document, "voice-0")


def test_the_fingerprint_is_that_of_both_files_in_one_and_follows_a_change(tmp_path: Path) -> None:
    metadata, rootfs = tmp_path / "metadata", tmp_path / "rootfs"
    metadata.write_bytes(b"metadata")
    rootfs.write_bytes(b"root" * 1_000_000)
    image = Image("obj", metadata=metadata, rootfs=rootfs)
    assert fingerprint_of(image) == hashlib.sha256(b"metadata" + b"root" * 1_000_000).hexdigest()
    rootfs.write_bytes(b"changed")
    assert fingerprint_of(image) == hashlib.sha256(b"metadatachanged").hexdigest()
    assert image_fingerprint(rootfs, None) == hashlib.sha256(b"changed").hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent") as caught:
        image_fingerprint(tmp_path / "absent", None)
    assert caught.value.filename == str(tmp_path / "absent")


def aliases(objects: ObjectFleet) -> dict[str, str]:
    """Our aliases on the first host, and the images that they point to."""
    return {
        alias["name"]: document["fingerprint"]
        for document in objects.query(FIRST, "/1.0/images?recursion=1")
        for alias in document["aliases"]
        if alias["name"].startswith("obj-")
    }


@pytest.mark.lab
def test_upload_dry_then_real_then_nothing(objects: ObjectFleet, tmp_path: Path) -> None:
    image = tiny_image(tmp_path, "one")
    fleet = objects.open(image)
    dry = fleet.do(sync_images, dry_run=True)
    assert (dry.changed, dry.failed, aliases(objects)) == (True, False, {})
    assert fleet.requests() == 0

    real = fleet.do(sync_images)
    assert (real.changed, real.diff) == (True, dry.diff), real.result["message"]
    assert aliases(objects) == {"obj-tiny": fingerprint_of(image)}
    document = objects.query(FIRST, f"/1.0/images/{fingerprint_of(image)}")
    assert document["properties"] == {"os": "obj", IMAGE_PROPERTY: FIRST}

    again = objects.open(image)
    second = again.do(sync_images)
    assert (second.changed, second.result["status"]) == (False, "ok")
    assert again.requests() == 0
    fleet.close()
    again.close()


@pytest.mark.lab
def test_an_alias_moves_the_old_image_stays_and_prune_removes_it(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    old, new = tiny_image(tmp_path / "old", "one"), tiny_image(tmp_path / "new", "two")
    fleet = objects.open(old)
    fleet.do(sync_images)
    fleet.close()

    fleet = objects.open(new)
    moved = fleet.do(sync_images)
    assert [s["action"] for s in moved.result["steps"]] == ["update"], moved.result["message"]
    assert aliases(objects) == {"obj-tiny": fingerprint_of(new)}
    assert objects.query(FIRST, f"/1.0/images/{fingerprint_of(old)}")["aliases"] == []

    noted = fleet.do(sync_images)
    assert not noted.changed
    assert str(fingerprint_of(old))[:12] in noted.result["message"]
    pruned = fleet.do(sync_images, prune=True)
    assert [s["action"] for s in pruned.result["steps"]] == ["delete"], pruned.result["message"]
    there = {d["fingerprint"] for d in objects.query(FIRST, "/1.0/images?recursion=1")}
    assert fingerprint_of(old) not in there
    assert fingerprint_of(new) in there
    fleet.close()


@pytest.mark.lab
def test_a_run_killed_between_upload_and_alias_is_finished(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    image = tiny_image(tmp_path, "one")
    fleet = objects.open(image)
    fleet.do(sync_images)
    objects.shell(FIRST, "lxc image alias delete obj-tiny")
    fleet.forget()
    finished = fleet.do(sync_images)
    assert "already on the host" in finished.result["steps"][0]["detail"]
    assert aliases(objects) == {"obj-tiny": fingerprint_of(image)}
    fleet.close()


@pytest.mark.lab
def test_a_file_that_is_no_image_leaves_the_other_image(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no image")
    fleet = objects.open(Image("obj-wrong", metadata=tmp_path / "text"), tiny_image(tmp_path, "a"))
    result = fleet.do(sync_images)
    assert result.result["status"] == "failed"
    assert "image obj-wrong: LXD refused" in result.result["message"] or (
        "image obj-wrong: POST /1.0/images failed" in result.result["message"]
    )
    assert list(aliases(objects)) == ["obj-tiny"]
    fleet.close()


@pytest.mark.lab
def test_from_a_simplestreams_server(objects: ObjectFleet, tmp_path: Path) -> None:
    image = tiny_image(tmp_path, "streamed")
    with simplestreams_server(tmp_path, image) as server:
        fleet = objects.open(Image("obj-streamed", server=server, alias="obj/1"))
        real = fleet.do(sync_images)
        assert (real.result["status"], real.changed) == ("changed", True), real.result["message"]
        assert aliases(objects) == {"obj-streamed": fingerprint_of(image)}
        document = objects.query(FIRST, f"/1.0/images/{fingerprint_of(image)}")
        assert document["auto_update"] is True
        assert document["properties"][IMAGE_PROPERTY] == FIRST
        assert not fleet.do(sync_images).changed
        missing = objects.open(Image("obj-other", server=server, alias="obj/2"))
        failed = missing.do(sync_images)
        assert failed.result["status"] == "failed"
        assert server in failed.result["message"]
        missing.close()
        fleet.close()


@pytest.mark.lab
def test_a_server_that_does_not_answer_is_named(objects: ObjectFleet) -> None:
    fleet = objects.open(Image("obj-nowhere", server=f"https://{GATEWAY}:9", alias="obj/1"))
    result = fleet.do(sync_images)
    assert result.result["status"] == "failed"
    message = result.result["message"]
    assert message.startswith(f"{FIRST}: image obj-nowhere: it cannot be fetched from https://")
    assert "refused" in message
    fleet.close()
