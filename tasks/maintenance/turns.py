"""Whose turn it is: the order in which maintenance goes through a fleet, decided purely."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.intent.model import Intent


@dataclass(frozen=True)
class Turn:
    """One machine's place in the order.

    ``on`` is a container's LXD host, ``batch`` how many of its containers an LXD host lets work
    at once, ``apart`` the group of which never two work at once, ``last`` marks the machine that
    the run is controlled from, and its LXD host.
    """

    name: str
    on: str | None = None
    batch: int = 1
    apart: str | None = None
    last: bool = False


def turns_of(
    intent: Intent, machines: Iterable[str], last: Collection[str] = ()
) -> dict[str, Turn]:
    """The turns of ``machines``; the LXD host of one that is ``last`` is last as well."""
    last = {*last, *(c.on for c in intent.containers.values() if c.name in last)}
    turns = {}
    for name in machines:
        machine = intent.machine(name)
        on = intent.containers[name].on if name in intent.containers else None
        host = intent.lxd_hosts[on] if on else machine
        turns[name] = Turn(
            name, on, max(1, host.maintenance.batch), machine.apart, last=name in last
        )
    return turns


def next_turns(
    turns: Mapping[str, Turn], waiting: Sequence[str], running: Collection[str]
) -> list[str]:
    """Which of the waiting machines may start now, given those that are at work.

    On one LXD host at most ``batch`` containers at once, and the host itself after all of them;
    of an ``apart`` group one at a time in the whole fleet; the controlling machine and its host
    when all others are done. Something starts whenever nothing is running.
    """
    busy = list(running)
    chosen: list[str] = []
    for name in waiting:
        if _may_start(turns[name], turns, [w for w in waiting if w not in chosen], busy):
            chosen.append(name)
            busy.append(name)
    return chosen


def _may_start(
    turn: Turn, turns: Mapping[str, Turn], waiting: Sequence[str], busy: Sequence[str]
) -> bool:
    others = [turns[name] for name in (*waiting, *busy) if name != turn.name]
    at_work = [turns[name] for name in busy]
    if turn.last and any(not other.last for other in others):
        return False
    if turn.apart and any(other.apart == turn.apart for other in at_work):
        return False
    if turn.on is None:
        return all(other.on != turn.name for other in others)
    return sum(other.on == turn.on for other in at_work) < turn.batch
