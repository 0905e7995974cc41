"""Containers that we created and that are no longer in the inventory.

They are reported. With ``--prune`` they are stopped, renamed and no longer ours: nothing is lost,
and a later run neither reports nor touches them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date

from tasks.actual import Json, LxdFacts
from tasks.containers.remembered import MOVING
from tasks.containers.step import ContainerWrite
from tasks.ownership import created_by_us, mark_of
from tasks.plan import Plan, Step

#: LXD's limit, which is that of a label in a host name.
NAME_LENGTH = 63
#: A name that a killed run has already given.
RETIRED = re.compile(r"-(pruned|moved|replaced)-\d{8}(-\d+)?$")


def plan_departed(
    declared: Mapping[str, str], host: str, facts: LxdFacts, today: date, prune: bool = False
) -> Plan[ContainerWrite]:
    """Find the containers of an LXD host that are not declared there.

    Arguments:
        declared: the fleet's containers and the LXD host that each is declared on.
        host: the LXD host.
        facts: what was read of LXD there.
        today: the date for the new name, which is ``NAME-pruned-YYYYMMDD``.
        prune: retire them; otherwise they are only noted.

    A container that is declared on another host is noted and never retired: it is on the wrong
    host, which its own record explains.
    """
    steps: list[Step[ContainerWrite]] = []
    notes: list[str] = []
    for name, instance in facts.instances.items():
        place = declared.get(name)
        if place == host or not (created_by_us(instance) or _half_retired(instance)):
            continue
        if place is not None:
            notes.append(f"container {name} is here and declared on {place}")
        elif prune or _half_moved(instance):
            steps += _retirement(name, instance, facts.instances, today)
        else:
            notes.append(
                f"container {name} is no longer in the inventory; --prune stops and renames it"
            )
    return Plan(tuple(steps), notes=tuple(notes))


def _half_retired(instance: Json) -> bool:
    """Whether a run renamed it and was killed before it let go: the mark is its name before."""
    name, before = str(instance["name"]), mark_of(instance)
    return bool(before and RETIRED.search(name) and before.startswith(RETIRED.sub("", name)))


def _half_moved(instance: Json) -> bool:
    """Whether a move renamed it and was killed before it let go, which needs no asking again."""
    config = instance.get("config") or {}
    return MOVING in config and _half_retired(instance)


def _retirement(
    name: str, instance: Json, taken: Collection[str], today: date
) -> Iterator[Step[ContainerWrite]]:
    if instance.get("status") in ("Running", "Frozen"):
        yield Step("stop", f"container {name}", ContainerWrite("stop", name), "no longer wanted")
    new = name if RETIRED.search(name) else free_name(name, taken, today)
    yield Step(
        "rename",
        f"container {name}",
        ContainerWrite("retire", name, rename=new),
        detail=f"no longer in the inventory; kept as {new}",
        diff=f"--- container {name}\n+++ container {new}",
    )


def free_name(name: str, taken: Collection[str], today: date, *, why: str = "pruned") -> str:
    """A name for an instance that is let go of: ``NAME-WHY-YYYYMMDD``, with a number if need be."""
    suffix = f"-{why}-{today:%Y%m%d}"
    new = name[: NAME_LENGTH - len(suffix)] + suffix
    number = 2
    while new in taken:
        more = f"{suffix}-{number}"
        new = name[: NAME_LENGTH - len(more)] + more
        number += 1
    return new
