"""Room for backups: what there is where LXD makes and takes in exports, and what they need."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nornir.core.inventory import Host

from tasks.actual import Json, LxdFacts
from tasks.errors import FleetError, LxdError
from tasks.facts.host import LEAST_FREE
from tasks.maintenance.backups.stored import Part
from tasks.onhost import on_host
from tasks.run import Run
from tasks.transport import shell_of

#: Seconds to count the files of a container and its volumes, and without counting any.
DEADLINE = 600.0
QUICK_DEADLINE = 90.0
_FOLDERS = {"snap": "/var/snap/lxd/common/lxd", "deb": "/var/lib/lxd"}


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


def read_room(host: Host, facts: LxdFacts, questions: Sequence[str]) -> LxdRoom:
    """Ask an LXD host; ``questions`` are words for ``onhost/lxd_room.sh``. One exchange.

    Raises :class:`CommandError`, :class:`LxdError`, or what ``shell_of`` raises.
    """
    pid = str((facts.server.get("environment") or {}).get("server_pid", ""))
    folder = _FOLDERS[facts.package or "deb"]
    script = on_host("lxd_room", pid, folder, *questions)
    deadline = DEADLINE if "size" in questions else QUICK_DEADLINE
    done = shell_of(host).run(script, deadline=deadline).check(host.name, "reading LXD's room")
    try:
        return parse_room(done.text)
    except (ValueError, IndexError, KeyError, TypeError):
        raise LxdError(
            "what it says of LXD's room is not understood",
            where=host.name,
            remedy="look at: lxc storage list; df /var/lib/lxd",
        ) from None


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


@contextmanager
def promised_room(
    run: Run, look: Callable[[Mapping[str, int]], Mapping[str, int]]
) -> Iterator[Callable[[str, int], None]]:
    """Have room promised to what is done within, so that no two are told of the same free bytes.

    Arguments:
        look: gets the bytes that are promised to others, by machine, sees that what is free beside
            them is enough, and returns what is needed. Nothing is promised or given back meanwhile.

    Yields what is called with a machine and the bytes that have been written there.
    """
    with run.promising:
        left = dict(look(dict(run.promised)))
        for machine, size in left.items():
            run.promised[machine] = run.promised.get(machine, 0) + size

    def give_back(machine: str, size: int) -> None:
        with run.promising:
            run.promised[machine] -= size
            left[machine] -= size

    try:
        yield give_back
    finally:
        for machine, size in tuple(left.items()):
            give_back(machine, size)


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
