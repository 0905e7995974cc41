"""Images that go from one real LXD host to another: one download for the fleet."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tasks import gather_facts
from tasks.images import copying
from tasks.images import task as sync
from tasks.images.task import sync_images
from tasks.intent.model import Image
from tasks.ownership import IMAGE_PROPERTY
from tests.image_files import (
    fingerprint_of,
    serve_image,
    silent_server,
    simplestreams_server,
    tiny_image,
)
from tests.object_fleet import FIRST, HOSTS, SECOND, Fleet, ObjectFleet


def sync_all(fleet: Fleet, *, dry_run: bool = False) -> dict[str, str]:
    """Read both hosts as a run does, then sync both at once; host -> what its record says."""
    fleet.nr.run(task=gather_facts)
    results = fleet.nr.run(task=sync_images, dry_run=dry_run)
    records = {host: results[host][0].result for host in HOSTS}
    assert not [r["message"] for r in records.values() if r["status"] == "failed"]
    return {
        host: "; ".join(f"{s['action']} {s['object']}: {s['detail']}" for s in record["steps"])
        for host, record in records.items()
    }


def target(objects: ObjectFleet, host: str, alias: str) -> str:
    return str(objects.query(host, f"/1.0/images/aliases/{alias}")["target"])


@pytest.mark.lab
def test_one_download_for_all_hosts_and_the_copies_follow_it(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    first, second = tiny_image(tmp_path / "one", "one"), tiny_image(tmp_path / "two", "two")
    asked: list[str] = []
    with simplestreams_server(tmp_path, first, asked) as server:
        declared = Image("obj-streamed", server=server, alias="obj/1")
        fleet = objects.open(declared)
        foreseen = f"create image obj-streamed: obj/1 from {server}, once for all hosts"
        dry = sync_all(fleet, dry_run=True)
        assert (dry, asked) == (dict.fromkeys(HOSTS, foreseen), [])
        assert sync_all(fleet) == dry
        fleet.close()
        assert [path for path in asked if path.endswith("rootfs.tar.xz")] == ["/one/rootfs.tar.xz"]
        assert {target(objects, host, "obj-streamed") for host in HOSTS} == {fingerprint_of(first)}
        documents = {
            host: objects.query(host, f"/1.0/images/{fingerprint_of(first)}") for host in HOSTS
        }
        assert sorted(d["auto_update"] for d in documents.values()) == [False, True]
        assert {h: d["properties"][IMAGE_PROPERTY] for h, d in documents.items()} == {
            FIRST: FIRST,
            SECOND: SECOND,
        }
        again = objects.open(declared)
        assert sync_all(again) == {FIRST: "", SECOND: ""}
        assert [again.requests(host) for host in HOSTS] == [0, 0]
        again.close()

        downloader = next(host for host in HOSTS if documents[host]["auto_update"])
        copier = next(host for host in HOSTS if host != downloader)
        serve_image(tmp_path, second, "20260201_0000")
        # LXD asks a server for its list once an hour
        objects.shell(downloader, "find /var/cache/lxd -type f -exec touch -d '2 hours ago' {} +")
        objects.shell(downloader, "lxc image refresh obj-streamed")
        assert target(objects, downloader, "obj-streamed") == fingerprint_of(second)
        follows = objects.open(declared)
        moved = sync_all(follows)
        follows.close()
        assert moved[downloader] == ""
        assert moved[copier].endswith(
            f"fingerprint {fingerprint_of(second)[:12]}, copied from {downloader}; the alias moves "
            f"from {fingerprint_of(first)[:12]}, which stays"
        )
        assert target(objects, copier, "obj-streamed") == fingerprint_of(second)
        assert len([path for path in asked if path.endswith("rootfs.tar.xz")]) == 2


@pytest.mark.lab
def test_a_local_image_goes_to_the_hosts_that_lack_it(objects: ObjectFleet, tmp_path: Path) -> None:
    files = tiny_image(tmp_path, "local")
    imported = objects.open(Image("obj-theirs", files.metadata, files.rootfs))
    assert imported.do(sync_images, SECOND).changed
    imported.close()
    for local in ("obj-theirs", fingerprint_of(files)[:16]):
        fleet = objects.open(Image("obj-local", local=local))
        done = sync_all(fleet)
        assert done[FIRST] == (
            f"create image obj-local: fingerprint {fingerprint_of(files)[:12]}, "
            f"copied from {SECOND}"
        )
        assert done[SECOND].endswith("already on the host")
        assert sync_all(fleet) == {FIRST: "", SECOND: ""}
        fleet.close()
        for host in HOSTS:
            assert target(objects, host, "obj-local") == fingerprint_of(files)
            objects.shell(host, "lxc image alias delete obj-local")
        objects.shell(FIRST, f"lxc image delete {fingerprint_of(files)}")
    # nothing is left open on the host that was asked
    assert "running" not in objects.query(SECOND, "/1.0/operations")


@pytest.mark.lab
def test_where_the_copy_fails_a_host_downloads_itself(objects: ObjectFleet, tmp_path: Path) -> None:
    image = tiny_image(tmp_path, "one")
    asked: list[str] = []
    with simplestreams_server(tmp_path, image, asked) as server:
        fleet = objects.open(Image("obj-streamed", server=server, alias="obj/1"))
        fleet.nr.run(task=gather_facts)
        assert fleet.do(sync_images, FIRST).changed
        fleet.run.fetched["obj-streamed"] = (FIRST, "0" * 64)  # it has gone there meanwhile
        assert fleet.do(sync_images, SECOND).changed
        fleet.close()
        assert target(objects, SECOND, "obj-streamed") == fingerprint_of(image)
        assert len([path for path in asked if path.endswith("rootfs.tar.xz")]) == 2


@pytest.mark.lab
def test_another_source_is_fetched_from_and_what_came_before_stays(
    objects: ObjectFleet, tmp_path: Path
) -> None:
    old, new = (tiny_image(tmp_path / name, name) for name in ("old", "new"))
    asked: list[str] = []
    with (
        simplestreams_server(tmp_path / "old", old, asked) as before,
        simplestreams_server(tmp_path / "new", new, asked) as after,
    ):
        for server, alias, image in (
            (before, "obj/1", old),
            (before, "obj/one", old),  # another name of the same image
            (after, "obj/one", new),
        ):
            fleet = objects.open(Image("obj-streamed", server=server, alias=alias))
            fleet.nr.run(task=gather_facts)
            dry = {host: fleet.do(sync_images, host, dry_run=True).result for host in HOSTS}
            done = sync_all(fleet)
            for host in HOSTS:
                assert [step["action"] for step in dry[host]["steps"]] == [done[host].split()[0]]
                assert (
                    f"{alias} from {server}, once for all hosts"
                    in dry[host]["diff"] + (dry[host]["steps"][0]["detail"])
                )
                assert target(objects, host, "obj-streamed") == fingerprint_of(image)
            again = sync_all(fleet)
            assert again == {FIRST: "", SECOND: ""}
            fleet.close()
        roots = [path for path in asked if path.endswith("rootfs.tar.xz")]
        assert len(roots) == 2, asked
        for host in HOSTS:
            kept = objects.query(host, f"/1.0/images/{fingerprint_of(old)}")
            assert (kept["aliases"], kept["properties"][IMAGE_PROPERTY]) == ([], host)
        back = objects.open(Image("obj-streamed", server=before, alias="obj/1"))
        back.nr.run(task=gather_facts)
        for host in HOSTS:  # with leave to delete what the alias moves from
            moved = back.do(sync_images, host, prune=True).result
            assert moved["status"] == "changed", moved["message"]
            assert target(objects, host, "obj-streamed") == fingerprint_of(old)
        back.close()
        shown = [objects.query(host, "/1.0/images?recursion=1") for host in HOSTS]
        assert [any(d["fingerprint"] == fingerprint_of(new) for d in each) for each in shown] == [
            False, False,
        ]  # fmt: skip


def failures(fleet: Fleet) -> dict[str, str]:
    """Sync both hosts at once, which fails; host -> what its record says."""
    fleet.nr.run(task=gather_facts)
    results = fleet.nr.run(task=sync_images)
    records = {host: results[host][0].result for host in HOSTS}
    assert {record["status"] for record in records.values()} == {"failed"}, records
    return {host: record["message"] for host, record in records.items()}


def downloads(objects: ObjectFleet, host: str) -> list[str]:
    """LXD's operations on a host that download an image, by id."""
    told = objects.shell(host, "lxc query /1.0/operations?recursion=1")
    listed = json.loads(told or "{}").get("running", [])
    return [found["id"] for found in listed if found["description"] == "Downloading image"]


@pytest.mark.lab
def test_a_server_that_never_answers_is_given_up_and_asked_by_one_host_alone(
    objects: ObjectFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copying.STALL == 30
    monkeypatch.setattr(sync, "STALL", 4.0)
    asked: list[str] = []
    with silent_server(asked) as server:
        images = [Image(f"obj-{name}", server=server, alias=name) for name in ("one", "two")]
        fleet = objects.open(*images)
        started = time.monotonic()
        told = failures(fleet)
        # each host may have begun with an image of its own
        assert time.monotonic() - started < 15
        assert len(asked) == 1, (asked, told)
        (who,) = (host for host in HOSTS if downloads(objects, host))
        (operation,) = downloads(objects, who)
        for host, said in told.items():
            assert said.startswith(f"{host}: image obj-one: it cannot be fetched from {server}: ")
            assert "image obj-two: it cannot be fetched from" in said
            assert "no progress for 4 s; LXD cannot cancel POST /1.0/images, its" in said
            assert f"operation {operation} goes on there until it fails by itself" in said
        other = next(host for host in HOSTS if host != who)
        assert f"(asked by {who}, and not again in this run)" in told[other]
        fleet.close()
    until = time.monotonic() + 10
    while downloads(objects, who):
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.lab
def test_a_download_that_stalls_is_cancelled_and_a_slow_one_goes_on(
    objects: ObjectFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "STALL", 8.0)  # LXD itself takes four to begin
    image = tiny_image(tmp_path, "one", ballast=2_000_000)
    goes_on = threading.Event()
    slow = threading.Event()
    asked: list[str] = []

    def paced(sent: int) -> None:
        if slow.is_set():
            time.sleep(0.5)
        elif sent > 1_000_000:
            goes_on.wait(60)

    with simplestreams_server(tmp_path, image, asked, paced) as server:
        declared = Image("obj-streamed", server=server, alias="obj/1")
        fleet = objects.open(declared)
        for said in failures(fleet).values():
            assert "no progress for 8 s; POST /1.0/images was cancelled" in said
        assert [path for path in asked if path.endswith("rootfs.tar.xz")] == ["/rootfs.tar.xz"]
        assert [downloads(objects, host) for host in HOSTS] == [[], []]
        fleet.close()
        slow.set()
        goes_on.set()
        again = objects.open(declared)
        started = time.monotonic()
        sync_all(again)
        assert time.monotonic() - started > 10
        again.close()
        assert {target(objects, h, "obj-streamed") for h in HOSTS} == {fingerprint_of(image)}
