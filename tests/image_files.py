"""Small images for tests, from files and from a server of theirs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.fingerprint import image_fingerprint
from tasks.intent.model import Image
from tests.lab import GATEWAY


def fingerprint_of(image: Image) -> str:
    assert image.metadata
    return image_fingerprint(image.metadata, image.rootfs)


def tiny_image(folder: Path, content: str, *, ballast: int = 0) -> Image:
    """An image of two small files, with so many bytes that do not compress besides; nothing in it
    runs."""
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
            if ballast and name.startswith("rootfs"):
                member = tarfile.TarInfo("ballast")
                member.size = ballast
                archive.addfile(member, io.BytesIO(os.urandom(ballast)))
    return Image("obj-tiny", metadata=folder / "metadata.tar.xz", rootfs=folder / "rootfs.tar.xz")


@contextlib.contextmanager
def simplestreams_server(
    folder: Path,
    image: Image,
    asked: list[str] | None = None,
    pace: Callable[[int], None] = lambda sent: None,
) -> Iterator[str]:
    """A server of one image, ``obj/1`` and ``obj/one``, on the lab's gateway.

    ``asked`` gets what is fetched; ``pace`` is called between the chunks of a root file system,
    with the bytes of it that are sent.
    """
    serve_image(folder, image)
    handler = functools.partial(
        _QuietHandler, [] if asked is None else asked, pace, directory=str(folder)
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
        "aliases": "obj/1,obj/one",
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


@contextlib.contextmanager
def silent_server(asked: list[str]) -> Iterator[str]:
    """A server on the lab's gateway that accepts connections and never answers; ``asked`` gets the
    address of each host that connects."""
    with socket.create_server((GATEWAY, 0)) as server, contextlib.ExitStack() as connections:

        def accept() -> None:
            while True:
                try:
                    connection, (address, _) = server.accept()
                except OSError:
                    return
                connections.enter_context(connection)
                asked.append(address)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://{GATEWAY}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def __init__(
        self, asked: list[str], pace: Callable[[int], None], *args: Any, **options: Any
    ) -> None:
        self._asked = asked
        self._pace = pace
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        with contextlib.suppress(ConnectionError):  # who gives up a download goes away
            super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """In chunks, each after a word with ``pace``."""
        sent = 0
        while chunk := source.read(1 << 16):
            if self.path.endswith("rootfs.tar.xz"):
                self._pace(sent)
            outputfile.write(chunk)
            sent += len(chunk)

    def log_message(self, *_: Any) -> None:
        """Not on standard error."""
