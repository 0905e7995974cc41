"""The fingerprint that LXD will give to an image that lies in files here."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

_CHUNK = 1 << 20
#: (path, size, mtime in ns) of each file -> fingerprint: a fleet's hosts share the images.
_known: dict[tuple[tuple[Path, int, int], ...], str] = {}
_computing = threading.Lock()


def image_fingerprint(metadata: Path, rootfs: Path | None) -> str:
    """The SHA-256 of the image's files one after the other, as LXD computes it for an upload.

    A file is read once as long as its size and time of change stay the same. (LXD 5.0.2,
    ``getImgPostInfo``: of a split image the fingerprint is that of metadata and root file system
    in one.) Raises :class:`OSError` naming the file that is missing or cannot be read.
    """
    files = [metadata, rootfs] if rootfs else [metadata]
    with _computing:  # hosts ask at the same time, and one of them does the work
        state = tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
        if state not in _known:
            _known[state] = _digest(files)
        return _known[state]


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
