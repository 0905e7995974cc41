"""What an import is called until it is whole, and what a restore has things remember."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from tasks.actual import Json, LxdFacts
from tasks.containers.departed import NAME_LENGTH
from tasks.containers.remembered import RESTORED
from tasks.maintenance.backups.stored import StoredBackup
from tasks.maintenance.moments import made_at

#: What is put out of the way is told by this, with a date.
REPLACED = "replaced"
KEPT = re.compile(rf"-{REPLACED}-\d{{8}}(-\d+)?")
_UNDER_WAY = "-restoring-"
_MOMENT_LENGTH = len("20261124T030000Z")


def half_name(name: str, moment: str) -> str:
    """What an import is called until it is put in its place: the moment in it is what a name that
    somebody else gives practically never has."""
    return f"{_stem(name)}{moment}"


def halves_of(name: str, names: Collection[str]) -> list[str]:
    """Those of the names that imports have, of any backup."""
    stem = _stem(name)
    return [other for other in names if other.startswith(stem) and made_at(other[len(stem) :])]


def is_kept(name: str, other: str) -> bool:
    """Whether a name is that of what a restore has put out of the way."""
    return other.startswith(name) and KEPT.fullmatch(other[len(name) :]) is not None


def begun_from(container: str, here: LxdFacts) -> str:
    """The backup that an earlier run has begun to restore a container from; "" for none."""
    words = mark_words(here.instances.get(container))
    return words[1] if words[:1] == [container] and words[2:] == ["begun"] else ""


def restored_mark(container: str, moment: str, *, done: bool = False) -> str:
    """What an instance that was restored remembers."""
    return f"{container} {moment} {'done' if done else 'begun'}"


def volume_mark(container: str, backup: StoredBackup, *, done: bool = False) -> str:
    """What a volume that was restored remembers: with whom, from which backup and whose volume it
    was, and whether that container came up."""
    return f"{container} {backup.moment} {backup.host}{' done' if done else ''}"


def mark_words(thing: Json | None) -> list[str]:
    """The mark on an instance or a volume, word by word."""
    return str(((thing or {}).get("config") or {}).get(RESTORED, "")).split()


def with_own_volumes(devices: Mapping[str, Any], backup: StoredBackup) -> dict[str, Any]:
    """The devices of an imported instance, with the volumes that the backup has: LXD has a device
    follow its volume when that is renamed, also that of an instance which is to have the new one.
    """
    volumes = {(part.pool, part.volume) for part in backup.volumes}

    def own(pool: str, source: str) -> str:
        end = KEPT.search(source)
        if (pool, source) in volumes or end is None or end.end() != len(source):
            return source
        stem = source[: end.start()]
        cut = len(source) == NAME_LENGTH
        those = [volume for place, volume in volumes if place == pool]
        return next((v for v in those if v == stem or (cut and v.startswith(stem))), source)

    return {
        name: {**device, "source": own(device["pool"], device["source"])}
        if device.get("type") == "disk" and device.get("pool") and device.get("source")
        else device
        for name, device in devices.items()
    }


def _stem(name: str) -> str:
    room = NAME_LENGTH - len(_UNDER_WAY) - _MOMENT_LENGTH
    if len(name) > room:  # two that begin alike stay two
        name = f"{name[: room - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return f"{name}{_UNDER_WAY}"
