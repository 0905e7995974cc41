"""Room for backups: what there is where LXD makes and takes in exports, and what they need."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.actual import Json, LxdFacts
from tasks.errors import FleetError
from tasks.maintenance.backups.stored import Part
from tasks.obstacles import LEAST_FREE


@dataclass(frozen=True)
class LxdRoom:
    """One read of an LXD host: ``free`` bytes in ``folder``, where its exports are made.

    ``sizes`` are bytes by storage pool, type and name of a volume, ``pools`` the bytes free by
    storage pool, ``volumes`` what LXD has of each custom volume by pool and name, ``exports`` the
    names of the exports that it keeps, by path in its API.
    """

    free: int = 0
    folder: str = ""
    sizes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    pools: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[tuple[str, str], Json] = field(default_factory=dict)
    exports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_room(text: str) -> LxdRoom:
    """What the script printed. Raises ValueError, IndexError, KeyError or TypeError."""
    free, folder = 0, ""
    sizes: dict[tuple[str, str, str], int] = {}
    pools: dict[str, int] = {}
    volumes: dict[tuple[str, str], Json] = {}
    exports: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        kind, *words = line.split(" ")
        if kind == "free":
            free, folder = int(words[0]), words[1]
        elif kind == "size":
            sizes[words[0], words[1], words[2]] = int(words[3])
        elif kind == "pool":
            pools[words[0]] = int(words[1])
        elif kind == "volumes":
            for volume in json.loads(base64.b64decode(words[1])) or []:
                volumes[words[0], volume["name"]] = volume
        elif kind == "exports":
            exports[words[0]] = (*exports.get(words[0], ()), words[1])
    if not folder:
        raise ValueError(text)
    return LxdRoom(free, folder, sizes, pools, volumes, exports)


def see_that_lxd_can(host: str, lxd: LxdFacts, parts: Sequence[Part], *, take_in: bool) -> None:
    """See that the LXD of a host makes files of these parts, or takes them in, which one before 4.8
    does not. Raises :class:`FleetError`."""
    needed = {"custom_volume_backup": any(part.volume for part in parts)}
    needed["backup_override_name"] = take_in
    lacking = [name for name, asked in needed.items() if asked and name not in lxd.extensions]
    if lacking:
        raise FleetError(
            f"its LXD {lxd.version} cannot {'import' if take_in else 'export'} what is in the "
            f"backup: it lacks {', '.join(lacking)}",
            where=host,
            remedy="5.0 can: lxd.channel: 5.0/stable",
        )


def see_room_for_export(
    host: str,
    room: LxdRoom,
    parts: Sequence[Part],
    *,
    to: str,
    place: str,
    free: int,
    promised: Mapping[str, int] = {},
) -> dict[str, int]:
    """See that a backup fits, before anything is written; the bytes that it needs, by machine.

    LXD makes one export after the other in its own folder on ``host``; all of them are kept on
    ``to``. How far they compress is not known before, so it is counted as if not at all.
    ``promised`` are the bytes that others at work are to get, by machine: they are taken to be on
    the same file system. Raises :class:`FleetError`.
    """
    largest, all_of_it = max(part.size for part in parts), sum(part.size for part in parts)
    why = "LXD makes the export there first"
    _see(host, room.folder, room.free, largest, why, promised=promised.get(host, 0))
    why = "backups are kept there"
    _see(to, place, free, all_of_it, why, promised=promised.get(to, 0))
    return {host: largest, to: all_of_it}


def see_room_for_import(host: str, room: LxdRoom, parts: Sequence[Part], lxd: LxdFacts) -> None:
    """See that what a backup holds fits on an LXD host, which keeps each file in its own folder
    while it unpacks it into the storage pool; a pool of the driver dir is taken to be on the same
    file system as that folder. Raises :class:`FleetError`."""
    largest = max(part.bytes for part in parts)
    _see(host, room.folder, room.free, largest, "LXD keeps the file there meanwhile")
    for pool in {part.pool for part in parts}:
        needed = sum(part.size for part in parts if part.pool == pool)
        if lxd.pools[pool].get("driver") == "dir":
            needed += largest
        _see(host, f"storage pool {pool}", room.pools.get(pool, 0), needed, "it goes there")


def in_words(size: int) -> str:
    """A number of bytes for a person."""
    for unit, factor in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _see(host: str, place: str, free: int, needed: int, why: str, *, promised: int = 0) -> None:
    wanted = needed + LEAST_FREE
    if free - promised < wanted:
        others = f", {promised} of them for what is at work besides" if promised else ""
        raise FleetError(
            f"no room in {place}: {why}, {wanted} bytes are needed ({in_words(wanted)}), {free} "
            f"are free ({in_words(free)}){others}",
            where=host,
            remedy="make room there, then run again",
        )
