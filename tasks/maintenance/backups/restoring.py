"""What a restore of a container takes on the LXD host that it is to run on, decided purely.

A file of a backup is imported under a name that nothing else has, marked with where it comes from,
and only then gets its own name: so a killed run is seen from the names and marks that it left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from tasks.actual import Json, LxdFacts
from tasks.containers.departed import free_name
from tasks.containers.remembered import RESTORED
from tasks.errors import FleetError
from tasks.intent.model import Container, LxdHost
from tasks.maintenance.backups.room import LxdRoom, in_words
from tasks.maintenance.backups.stored import Part, StoredBackup
from tasks.plan import Plan, Step

#: What is at work or is kept besides is told by these names.
_UNDER_WAY = "-restoring"
_REPLACED = "replaced"
_KEPT = re.compile(rf"-{_REPLACED}-\d{{8}}(-\d+)?")


@dataclass(frozen=True)
class RestoreWrite:
    """One write: ``delete`` a half import, ``retire`` the instance that is there, ``keep`` the
    volume that is there under another name, ``import`` a part, ``start`` the container, ``prove``
    it."""

    action: Literal["delete", "retire", "keep", "import", "start", "prove"]
    name: str
    part: Part | None = None
    rename: str = ""


def plan_restore(
    container: Container,
    backup: StoredBackup,
    here: LxdFacts,
    room: LxdRoom,
    *,
    replace: bool,
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
        today: the date for their new names, ``NAME-replaced-YYYYMMDD``.
        keeper: the machine that keeps the backup.

    Raises :class:`FleetError` where the container or a volume is there and is not to be replaced.
    """
    name = container.name
    found = here.instances.get(name)
    steps = list(_half_kept(name, here))
    begun = begun_from(name, here)
    if found and begun:
        return Plan((*steps, *_last(container, found, begun)))
    if found and _mark(found) == [name, backup.moment, "done"] and not replace:
        return Plan(tuple(steps), reason=f"restored from the backup {backup.moment} already")
    if found and not replace:
        raise _there(f"container {name}", container.on)
    if found:
        steps.append(_retirement(found, here.instances, today))
    if half_name(name) in here.instances:
        write = RestoreWrite("delete", half_name(name))
        steps.append(Step("delete", f"container {write.name}", write, "half of an earlier import"))
    for part in backup.volumes:
        steps += _volume(container, backup, part, room, replace=replace, today=today)
    said = f"from the backup {backup.moment} of {backup.host}, kept on {keeper}"
    steps.append(_import(f"container {name}", backup.instance, said))
    return Plan((*steps, *_last(container, {}, backup.moment)))


def see_that_it_can_be(
    container: Container,
    host: LxdHost,
    backup: StoredBackup,
    here: LxdFacts,
    others: Mapping[str, LxdFacts],
    *,
    replace: bool,
) -> None:
    """See that nothing stands in the way of a restore, before anything is done.

    Arguments:
        host: the LXD host that it is restored to.
        here: what was read of LXD there.
        others: what was read of the other LXD hosts, by name.

    Raises :class:`FleetError` with all that it lacks there, or naming where it is as well.
    """
    for name, lxd in others.items():
        instance = lxd.instances.get(container.name)
        running = instance and instance.get("status") != "Stopped"
        if instance and (running or not replace):
            how = "runs" if running else "is stopped"
            raise FleetError(
                f"it {how} on {name}: two machines would have its addresses and its MACs",
                where=container.name,
                remedy=f"stop it and rename it there (lxc stop {container.name}; lxc rename "
                f"{container.name} {container.name}-old), or restore it on {name}",
            )
    lacking = [f"profile {p}" for p in backup.profiles if p not in here.profiles]
    pools = dict.fromkeys(part.pool for part in backup.parts)
    lacking += [f"storage pool {pool}" for pool in pools if pool not in here.pools]
    bridges = {bridge.network for bridge in host.bridges}
    lacking += [f"bridge br-{n}" for n in container.networks if bridges and n not in bridges]
    if lacking:
        raise FleetError(
            f"{host.name} has no {', '.join(lacking)}, which the container needs",
            where=container.name,
            remedy=f"provision.py --limit {host.name} brings what is declared there",
        )


def half_name(name: str) -> str:
    """What an import is called until it is whole."""
    return f"{name[: 63 - len(_UNDER_WAY)]}{_UNDER_WAY}"


def begun_from(container: str, here: LxdFacts) -> str:
    """The backup that an earlier run has begun to restore a container from; "" for none."""
    mark = _mark(here.instances.get(container))
    return mark[1] if mark[:1] == [container] and mark[2:] == ["begun"] else ""


def restored_mark(container: str, moment: str, *, done: bool = False) -> str:
    """What an instance that was restored remembers."""
    return f"{container} {moment} {'done' if done else 'begun'}"


def volume_mark(container: str, moment: str) -> str:
    """What a volume that was restored remembers until its container is up."""
    return f"{container} {moment}"


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
    new = kept or free_name(name, taken, today, why=_REPLACED)
    write = RestoreWrite("retire", name, rename=new)
    diff = f"--- container {name}\n+++ container {new}"
    return Step("rename", f"container {name}", write, f"stopped, kept as {new}", diff)


def _half_kept(name: str, here: LxdFacts) -> Iterator[Step[RestoreWrite]]:
    """Instances that a killed run has renamed and that it has not let go of: they could start with
    their LXD host, with the MACs of the restored one."""
    for other, instance in here.instances.items():
        config = instance.get("config") or {}
        ours = other.startswith(name) and _KEPT.fullmatch(other[len(name) :])
        if not ours or instance.get("status") != "Stopped":
            continue
        if (
            any(key.endswith(".hwaddr") for key in config)
            or config.get("boot.autostart") != "false"
        ):
            yield _retirement(instance, here.instances, date.min, kept=other)


def _volume(
    container: Container,
    backup: StoredBackup,
    part: Part,
    room: LxdRoom,
    *,
    replace: bool,
    today: date,
) -> Iterator[Step[RestoreWrite]]:
    """The steps of one volume; none where an earlier run has brought it and did not end."""
    what = f"volume {part.pool}/{part.volume}"
    found = room.volumes.get((part.pool, part.volume))
    mark = str(((found or {}).get("config") or {}).get(RESTORED, ""))
    if mark == volume_mark(container.name, backup.moment):
        return
    if found and not replace:
        raise _there(what, container.on)
    if found:
        taken = [name for pool, name in room.volumes if pool == part.pool]
        new = free_name(part.volume, taken, today, why=_REPLACED)
        write = RestoreWrite("keep", part.volume, part, rename=new)
        yield Step("rename", what, write, f"kept as {new}", f"--- {what}\n+++ {part.pool}/{new}")
    if (part.pool, half_name(part.volume)) in room.volumes:
        write = RestoreWrite("delete", half_name(part.volume), part)
        detail = "half of an earlier import"
        yield Step("delete", f"volume {part.pool}/{write.name}", write, detail)
    yield _import(what, part, f"from the backup {backup.moment}")


def _import(what: str, part: Part, said: str) -> Step[RestoreWrite]:
    write = RestoreWrite("import", part.volume, part)
    return Step("restore", what, write, f"{said}, {in_words(part.bytes)}", f"+{what}")


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


def _mark(instance: Json | None) -> list[str]:
    return str(((instance or {}).get("config") or {}).get(RESTORED, "")).split()
