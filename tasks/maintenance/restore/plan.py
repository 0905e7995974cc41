"""What a restore of a container takes on the LXD host that it is to run on, decided purely.

A file of a backup is imported under a name that nothing else has and marked with where it comes
from. Once all of it is whole, what was there goes out of the way, and each gets its own name: so a
killed run is seen from the names and marks that it left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from tasks.actual import Json, LxdFacts
from tasks.containers.departed import free_name
from tasks.errors import FleetError
from tasks.intent.model import Container, LxdHost
from tasks.maintenance.backups.room import LxdRoom, in_words
from tasks.maintenance.backups.stored import Part, StoredBackup
from tasks.maintenance.restore.marks import (
    REPLACED,
    begun_from,
    half_name,
    halves_of,
    is_kept,
    mark_words,
    restored_mark,
    volume_mark,
)
from tasks.plan import Plan, Step


@dataclass(frozen=True)
class RestoreWrite:
    """One write: ``delete`` an import that is not whole, ``import`` a part as ``half``, ``retire``
    the instance that is there, ``keep`` the volume that is there under another name, ``place`` an
    import, which gives it its name, ``start`` the container, ``prove`` it.

    An import that nothing is in the way of is placed at once, unless it is to ``wait``.
    """

    action: Literal["delete", "import", "retire", "keep", "place", "start", "prove"]
    name: str
    part: Part | None = None
    rename: str = ""
    half: str = ""
    wait: bool = False


def plan_restore(
    container: Container,
    backup: StoredBackup,
    here: LxdFacts,
    room: LxdRoom,
    *,
    replace: bool,
    chosen: bool,
    today: date,
    keeper: str,
) -> Plan[RestoreWrite]:
    """The steps from what is on the LXD host to the container as it was in the backup.

    Arguments:
        container: what the inventory declares, ``on`` being the LXD host that it is restored to.
        backup: which one.
        here: what was read of LXD there.
        room: its custom volumes.
        replace: put the container and volumes that are there out of the way.
        chosen: this very backup was asked for, so that none that an earlier run has begun to
            restore it from will do.
        today: the date for their new names, ``NAME-replaced-YYYYMMDD``.
        keeper: the machine that keeps the backup.

    Raises :class:`FleetError` where the container or a volume is there and is not to be replaced,
    or where another container uses the volume.
    """
    name = container.name
    found = here.instances.get(name)
    half = half_name(name, backup.moment)
    steps = [*_half_kept(name, here), *_other_halves(name, backup, here, room)]
    begun = begun_from(name, here)
    if found and begun and (begun == backup.moment or not chosen):
        return Plan((*steps, *_last(container, found, begun)))
    if found and mark_words(found) == [name, backup.moment, "done"] and not replace:
        return Plan(tuple(steps), reason=f"restored from the backup {backup.moment} already")
    if found and not replace:
        raise _there(f"container {name}", container.on)
    last = [_retirement(found, here.instances, today)] if found else []
    for part in backup.volumes:
        first, then = _volume(container, backup, part, room, replace=replace, today=today)
        steps += first
        last += then
    imported = here.instances.get(half)
    whole = mark_words(imported) == restored_mark(name, backup.moment).split()
    if imported and not whole:
        steps.append(_deletion("container", half))
    what = f"container {name}"
    if not whole:
        said = f"from the backup {backup.moment} of {backup.host}, kept on {keeper}"
        steps.append(_import(what, backup.instance, said, name, half, wait=bool(last)))
    if whole or last:
        last.append(_placing(what, backup.instance, name, half))
    return Plan((*steps, *last, *_last(container, {}, backup.moment)))


def see_that_it_can_be(
    container: Container,
    host: LxdHost,
    backup: StoredBackup,
    here: LxdFacts,
    others: Mapping[str, LxdFacts],
    *,
    declared: Collection[str],
) -> None:
    """See that nothing stands in the way of a restore, before anything is done.

    Arguments:
        host: the LXD host that it is restored to.
        here: what was read of LXD there.
        others: what was read of the other LXD hosts, by name.
        declared: the names of all containers of the inventory.

    Raises :class:`FleetError` with all that it lacks there, or naming where it is as well: stopped
    as it may be, the next provision would start it.
    """
    name = container.name
    for other, lxd in others.items():
        if instance := lxd.instances.get(name):
            how = "is stopped" if instance.get("status") == "Stopped" else "runs"
            raise FleetError(
                f"it {how} on {other}: two machines would have its addresses and its MACs",
                where=name,
                remedy=f"delete it there (lxc delete --force {name}), have it come over as it is "
                f"(provision.py --move {name}, where {host.name} is declared for it), or restore "
                f"it on {other} (--to {other} --replace)",
            )
    if taken := halves_of(name, declared):
        raise FleetError(
            f"container {taken[0]} is declared, which is what an import of {name} is called",
            where=name,
            remedy="give that container another name",
        )
    lacking = [f"profile {p}" for p in backup.profiles if p not in here.profiles]
    pools = dict.fromkeys(part.pool for part in backup.parts)
    lacking += [f"storage pool {pool}" for pool in pools if pool not in here.pools]
    bridges = {bridge.network for bridge in host.bridges}
    lacking += [f"bridge br-{n}" for n in container.networks if bridges and n not in bridges]
    if lacking:
        raise FleetError(
            f"{host.name} has no {', '.join(lacking)}, which the container needs",
            where=name,
            remedy=f"provision.py --limit {host.name} brings what is declared there",
        )


def _there(what: str, host: str) -> FleetError:
    return FleetError(
        f"{what} is on {host}, and nothing is overwritten",
        where=host,
        remedy="with --replace it is stopped and kept under another name, and what is in the "
        "backup takes its place",
    )


def _retirement(
    instance: Json, taken: Collection[str], today: date, kept: str = ""
) -> Step[RestoreWrite]:
    name = str(instance["name"])
    new = kept or free_name(name, taken, today, why=REPLACED)
    write = RestoreWrite("retire", name, rename=new)
    diff = f"--- container {name}\n+++ container {new}"
    return Step("rename", f"container {name}", write, f"stopped, kept as {new}", diff)


def _half_kept(name: str, here: LxdFacts) -> Iterator[Step[RestoreWrite]]:
    """Instances that a killed run has renamed and that it has not let go of: they could start with
    their LXD host, with the MACs of the restored one."""
    for other, instance in here.instances.items():
        config = instance.get("config") or {}
        if not is_kept(name, other) or instance.get("status") != "Stopped":
            continue
        if (
            any(key.endswith(".hwaddr") for key in config)
            or config.get("boot.autostart") != "false"
        ):
            yield _retirement(instance, here.instances, date.min, kept=other)


def _other_halves(
    name: str, backup: StoredBackup, here: LxdFacts, room: LxdRoom
) -> Iterator[Step[RestoreWrite]]:
    """Imports of other backups that nobody goes on with."""
    for half in halves_of(name, here.instances):
        if half != half_name(name, backup.moment):
            yield _deletion("container", half)
    for part in backup.volumes:
        names = [volume for pool, volume in room.volumes if pool == part.pool]
        for half in halves_of(part.volume, names):
            if half != half_name(part.volume, backup.moment):
                yield _deletion("volume", half, part)


def _volume(
    container: Container,
    backup: StoredBackup,
    part: Part,
    room: LxdRoom,
    *,
    replace: bool,
    today: date,
) -> tuple[list[Step[RestoreWrite]], list[Step[RestoreWrite]]]:
    """The steps of one volume before the container's import, and after it; none where it is there
    already, by an earlier run that did not end or by the restore of one that shares it.

    The import of a container needs each of its volumes to be there, be it the one of before.
    """
    what = f"volume {part.pool}/{part.volume}"
    found = room.volumes.get((part.pool, part.volume))
    users = _others_that_use(found, container.name)
    if found and _is_brought(found, container.name, backup, users):
        return [], []
    if found and users:
        raise FleetError(
            f"{what} on {container.on} is shared: {', '.join(users)} uses it too, and it is not "
            "replaced under it",
            where=container.name,
            remedy=f"take it from there first (lxc storage volume detach {part.pool} "
            f"{part.volume} {users[0]}), restore, then attach it again",
        )
    if found and not replace:
        raise _there(what, container.on)
    half = half_name(part.volume, backup.moment)
    imported = room.volumes.get((part.pool, half))
    whole = mark_words(imported) == volume_mark(container.name, backup).split()
    first, last = [], []
    if imported and not whole:
        first.append(_deletion("volume", half, part))
    if not whole:
        said = f"from the backup {backup.moment}"
        first.append(_import(what, part, said, part.volume, half, wait=bool(found)))
    if found:
        taken = [name for pool, name in room.volumes if pool == part.pool]
        new = free_name(part.volume, taken, today, why=REPLACED)
        write = RestoreWrite("keep", part.volume, part, rename=new)
        diff = f"--- {what}\n+++ {part.pool}/{new}"
        last.append(Step("rename", what, write, f"kept as {new}", diff))
    if found or whole:
        (last if found else first).append(_placing(what, part, part.volume, half))
    return first, last


def _others_that_use(volume: Json | None, name: str) -> list[str]:
    """The instances that use a volume, but for a container and what a restore has made of it."""
    paths = [str(path).split("?")[0] for path in (volume or {}).get("used_by") or ()]
    users = [path.rsplit("/", 1)[1] for path in paths if path.startswith("/1.0/instances/")]
    return [
        user for user in users
        if user != name and not is_kept(name, user) and not halves_of(name, [user])
    ]  # fmt: skip


def _is_brought(volume: Json, name: str, backup: StoredBackup, users: Collection[str]) -> bool:
    """Whether a volume came from this backup by a run that did not end, or from that moment and
    host with another container that shares it and has it still."""
    by, *of = mark_words(volume) or [""]
    if of[:2] != [backup.moment, backup.host]:
        return False
    begun = of[2:] != ["done"]
    return begun if by == name else begun or by in users


def _deletion(kind: str, half: str, part: Part | None = None) -> Step[RestoreWrite]:
    what = f"{kind} {part.pool}/{half}" if part else f"{kind} {half}"
    return Step("delete", what, RestoreWrite("delete", half, part), "half of an earlier import")


def _import(
    what: str, part: Part, said: str, name: str, half: str, *, wait: bool
) -> Step[RestoreWrite]:
    write = RestoreWrite("import", name, part, half=half, wait=wait)
    return Step("restore", what, write, f"{said}, {in_words(part.bytes)}", f"+{what}")


def _placing(what: str, part: Part, name: str, half: str) -> Step[RestoreWrite]:
    write = RestoreWrite("place", name, part, half=half)
    return Step("place", what, write, f"what was imported as {half}")


def _last(container: Container, found: Json, moment: str) -> Sequence[Step[RestoreWrite]]:
    """Start it where it is to run, and see that it is as it should be."""
    what = f"container {container.name}"
    if not container.running:
        write = RestoreWrite("prove", container.name)
        return (Step("release", what, write, f"restored from {moment}, declared stopped"),)
    if found.get("status") == "Running":
        write = RestoreWrite("prove", container.name)
        detail = f"an earlier run restored it from {moment} and did not end"
        return (Step("prove", what, write, detail),)
    return (Step("start", what, RestoreWrite("start", container.name), "and prove it"),)
