"""What is kept of a container, as the machine that keeps it says."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.maintenance.backups.stored import StoredBackup, from_manifest
from tasks.maintenance.moments import made_at


@dataclass(frozen=True)
class Stored:
    """What is kept of a container: ``whole`` backups by their moment, and ``halves``, of which each
    has the exports that LXD kept before it was begun, as ``PATH/NAME``; None for one that did not
    come to that, and has left none itself.

    ``free`` are the bytes free in ``folder``. ``odd`` are those whose manifest is not understood,
    which are left alone.
    """

    free: int = 0
    folder: str = ""
    whole: Mapping[str, StoredBackup] = field(default_factory=dict)
    halves: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    odd: tuple[str, ...] = ()


def parse_stored(text: str) -> Stored:
    """What the script's ``list`` printed."""
    free, folder = 0, ""
    whole: dict[str, StoredBackup] = {}
    halves: dict[str, frozenset[str] | None] = {}
    odd: list[str] = []
    for line in text.splitlines():
        kind, first, *rest = line.split(" ")
        if kind == "free":
            free, folder = int(first), rest[0]
            continue
        if made_at(first) is None:
            continue
        content = base64.b64decode("".join(rest)).decode(errors="replace")
        if kind == "half":
            halves[first] = frozenset(content.split()[1:]) if content else None
        elif (backup := from_manifest(content)) and backup.moment == first:
            whole[first] = backup
        else:
            odd.append(first)
    return Stored(free, folder, whole, halves, tuple(odd))
