"""The job `images` on two real LXD hosts, with a simplestreams server of the tests' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks import gather_facts
from tasks.images.copying import copy_image
from tasks.images.task import sync_images
from tasks.intent.model import Container, Image, Profile
from tasks.maintenance.images import refresh_images
from tasks.outcome import Record
from tests.image_files import fingerprint_of, serve_image, simplestreams_server, tiny_image
from tests.object_fleet import FIRST, HOSTS, SECOND, Fleet, ObjectFleet
from tests.records import told

pytestmark = pytest.mark.lab

#: LXD asks a server for its list once an hour.
FORGET_LIST = "find /var/cache/lxd -type f -exec touch -d '2 hours ago' {} +"


def do_all(fleet: Fleet, task: Any, *, dry_run: bool = False) -> dict[str, Record]:
    """Read both hosts as a run does, then work on both at once; host -> record."""
    hosts = fleet.nr.filter(filter_func=lambda host: host.name in HOSTS)
    hosts.run(task=gather_facts)
    results = hosts.run(task=task, dry_run=dry_run)
    return {host: results[host][0].result for host in HOSTS}


def once(
    objects: ObjectFleet, *declared: Profile | Image | Container, dry_run: bool = False
) -> dict[str, Record]:
    fleet = objects.open(*declared)
    try:
        return do_all(fleet, refresh_images, dry_run=dry_run)
    finally:
        fleet.close()


def images(objects: ObjectFleet, host: str) -> dict[str, list[str]]:
    """Fingerprints of images of these tests, with their aliases."""
    return {
        document["fingerprint"]: [alias["name"] for alias in document["aliases"]]
        for document in objects.query(host, "/1.0/images?recursion=1")
        if document["properties"].get("os", "").lower() == "obj"
    }


def test_a_newer_one_from_a_server_of_the_tests_own_reaches_both_hosts_by_one_download(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    old, new = tiny_image(tmp_path / "one", "one"), tiny_image(tmp_path / "two", "two")
    before, after = str(fingerprint_of(old)), str(fingerprint_of(new))
    asked: list[str] = []
    with simplestreams_server(tmp_path, old, asked) as server:
        declared = Image("obj-streamed", server=server, alias="obj/1")
        fleet = objects.open(declared)
        do_all(fleet, sync_images)
        fleet.close()
        documents = {h: objects.query(h, f"/1.0/images/{before}") for h in HOSTS}
        downloader = next(host for host in HOSTS if documents[host]["auto_update"])
        copier = next(host for host in HOSTS if host != downloader)

        nothing = once(objects, declared)
        assert {h: (r["status"], r["steps"]) for h, r in nothing.items()} == dict.fromkeys(
            HOSTS, ("ok", [])
        )
        serve_image(tmp_path, new, "20260201_0000")
        objects.shell(downloader, FORGET_LIST)
        asked.clear()
        dry = once(objects, declared, dry_run=True)
        assert {h: (r["status"], r["changed"]) for h, r in dry.items()} == dict.fromkeys(
            HOSTS, ("ok", False)
        )
        assert "only seen when LXD fetches it" in dry[downloader]["message"]
        assert asked == []

        done = once(objects, declared)
        assert [r["status"] for r in done.values()] == ["changed", "changed"], done
        details = {h: [s["detail"] for s in r["steps"]] for h, r in done.items()}
        moved = f"{before[:12]} -> {after[:12]}"
        assert details[downloader] == [moved]
        assert details[copier] == [
            f"{moved}, copied from {downloader}",
            "no longer in the inventory",
        ]
        assert told(done[copier])[1] == f"delete image {before[:12]}"
        assert [images(objects, h) for h in HOSTS] == [{after: ["obj-streamed"]}] * 2
        assert len([path for path in asked if path.endswith("rootfs.tar.xz")]) == 1
        again = once(objects, declared)
        assert [r["status"] for r in again.values()] == ["ok", "ok"]

    # LXD has dropped the mark on the image itself, but it is known as ours, and goes
    assert "nornir-lxd-fleet" not in str(
        objects.query(downloader, f"/1.0/images/{after}")["properties"]
    )
    gone = once(objects)
    assert [told(r) for r in gone.values()] == [[f"delete image {after[:12]}"]] * 2
    assert [images(objects, h) for h in HOSTS] == [{}, {}]


def test_what_is_declared_or_somebody_elses_stays_and_the_rest_of_ours_goes(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    kept, left = tiny_image(tmp_path / "kept", "kept"), tiny_image(tmp_path / "left", "left")
    theirs = tiny_image(tmp_path / "theirs", "theirs")
    kept = Image("obj-kept", kept.metadata, kept.rootfs)
    left = Image("obj-left", left.metadata, left.rootfs)
    fleet = objects.open(kept, left)
    do_all(fleet, sync_images)
    fleet.close()
    for path in (theirs.metadata, theirs.rootfs):
        assert path
        objects.lab.exec(FIRST, f"cat >/run/{path.name}", input=path.read_bytes())
    objects.shell(
        FIRST, "cd /run && lxc image import metadata.tar.xz rootfs.tar.xz --alias obj-theirs"
    )
    dry = once(objects, kept, dry_run=True)
    done = once(objects, kept)
    wanted = [f"delete image {str(fingerprint_of(left))[:12]}"]
    for records in (dry, done):
        assert [told(record) for record in records.values()] == [wanted, wanted]
    assert [dry[host]["diff"] for host in HOSTS] == [done[host]["diff"] for host in HOSTS]
    assert images(objects, FIRST) == {
        fingerprint_of(kept): ["obj-kept"],
        fingerprint_of(theirs): ["obj-theirs"],
    }
    assert images(objects, SECOND) == {fingerprint_of(kept): ["obj-kept"]}
    again = once(objects, kept)
    assert [record["status"] for record in again.values()] == ["ok", "ok"]


def test_one_that_cannot_be_refreshed_leaves_the_others_and_what_it_has(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    """Somebody has removed the image in between; LXD does not tell of a server that is silent."""
    image = tiny_image(tmp_path, "one")
    with simplestreams_server(tmp_path, image) as server:
        declared = Image("obj-streamed", server=server, alias="obj/1")
        fleet = objects.open(declared)
        assert fleet.do(sync_images).changed
        fleet.close()
        fleet = objects.open(declared)
        fleet.do(gather_facts)
        objects.shell(FIRST, f"lxc image delete {fingerprint_of(image)}")
        record = fleet.do(refresh_images).result
        fleet.close()
    assert (record["status"], record["changed"], record["steps"]) == ("failed", False, [])
    assert "image obj-streamed cannot be refreshed" in record["message"]


def test_a_copy_follows_what_lxd_itself_has_refreshed_also_after_a_run_killed_in_between(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    old, new = tiny_image(tmp_path / "one", "one"), tiny_image(tmp_path / "two", "two")
    with simplestreams_server(tmp_path, old) as server:
        declared = Image("obj-streamed", server=server, alias="obj/1")
        fleet = objects.open(declared)
        do_all(fleet, sync_images)
        downloader = fleet.run.fetched["obj-streamed"][0]
        copier = next(host for host in HOSTS if host != downloader)
        serve_image(tmp_path, new, "20260201_0000")
        objects.shell(downloader, f"{FORGET_LIST}; lxc image refresh obj-streamed")
        # as a run leaves it that was killed between the copy and its alias
        copy_image(fleet.run.hosts[copier], downloader, str(fingerprint_of(new)))
        fleet.close()
        assert images(objects, copier) == {
            fingerprint_of(old): ["obj-streamed"],
            fingerprint_of(new): [],
        }
        done = once(objects, declared)
        assert (done[downloader]["status"], done[downloader]["steps"]) == ("ok", [])
        assert told(done[copier]) == [
            "update image obj-streamed",
            f"delete image {str(fingerprint_of(old))[:12]}",
        ]
        assert images(objects, copier) == {fingerprint_of(new): ["obj-streamed"]}
        again = once(objects, declared)
        assert [record["status"] for record in again.values()] == ["ok", "ok"]
