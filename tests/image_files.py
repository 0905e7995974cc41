"""Small images for tests, from files and from a server of theirs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.fingerprint import image_fingerprint
from tasks.intent.model import Image
from tests.lab import GATEWAY


def fingerprint_of(image: Image) -> str:
    assert image.metadata
    return image_fingerprint(image.metadata, image.rootfs)


def tiny_image(folder: Path, content: str) -> Image:
    """An image of two small files; nothing in it runs."""
    folder.mkdir(exist_ok=True)
    metadata = {"architecture": "x86_64", "creation_date": 1700000000, "properties": {"os": "obj"}}
    files = {
        "metadata.tar.xz": {"metadata.yaml": yaml.safe_dump(metadata)},
        "rootfs.tar.xz": {"etc/obj": content},
    }
    for name, members in files.items():
        with tarfile.open(folder / name, "w:xz") as archive:
            for path, text in members.items():
                member = tarfile.TarInfo(path)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
    return Image("obj-tiny", metadata=folder / "metadata.tar.xz", rootfs=folder / "rootfs.tar.xz")


@contextlib.contextmanager
def simplestreams_server(
    folder: Path, image: Image, asked: list[str] | None = None
) -> Iterator[str]:
    """A server of one image, ``obj/1``, on the lab's gateway; ``asked`` gets what is fetched."""
    serve_image(folder, image)
    handler = functools.partial(
        _QuietHandler, [] if asked is None else asked, directory=str(folder)
    )
    with http.server.ThreadingHTTPServer((GATEWAY, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{GATEWAY}:{server.server_port}"
        server.shutdown()


def serve_image(folder: Path, image: Image, version: str = "20260101_0000") -> None:
    """Have the server of that folder serve this image as its newest, whose files lie in it."""
    assert image.metadata
    assert image.rootfs
    items = {
        name: {
            "ftype": ftype,
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "sha256": digest,
        }
        for name, ftype, path, digest in (
            (path.name, ftype, path, hashlib.sha256(path.read_bytes()).hexdigest())
            for path, ftype in ((image.metadata, "lxd.tar.xz"), (image.rootfs, "root.tar.xz"))
        )
    }
    items[image.metadata.name]["combined_rootxz_sha256"] = fingerprint_of(image)
    product = {
        "aliases": "obj/1",
        "arch": "amd64",
        "os": "Obj",
        "release": "1",
        "release_title": "1",
        "versions": {version: {"items": items}},
    }
    index = {"datatype": "image-downloads", "path": "images.json", "products": ["obj:1:amd64"]}
    streams = folder / "streams" / "v1"
    streams.mkdir(parents=True, exist_ok=True)
    (streams / "index.json").write_text(
        json.dumps({"format": "index:1.0", "index": {"images": index}})
    )
    (folder / "images.json").write_text(
        json.dumps(
            {
                "content_id": "images",
                "datatype": "image-downloads",
                "format": "products:1.0",
                "products": {"obj:1:amd64": product},
            }
        )
    )


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, asked: list[str], *args: Any, **options: Any) -> None:
        self._asked = asked
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Not on standard error."""
