"""Whose turn it is: the order in which maintenance goes through a fleet, decided purely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.intent.model import Intent


@dataclass(frozen=True)
class Turn:
    """One machine's place in the order.

    ``on`` is a container's LXD host, ``batch`` how many of its containers an LXD host lets work
    at once, ``apart`` the group of which never two work at once, ``last`` marks the machine that
    the run is controlled from, and its LXD host, ``canary`` one that all others wait for.
    """

    name: str
    on: str | None = None
    batch: int = 1
    apart: str | None = None
    last: bool = False
    canary: bool = False


def turns_of(
    intent: Intent,
    machines: Iterable[str],
    last: Collection[str] = (),
    undone: Sequence[str] = (),
) -> dict[str, Turn]:
    """The turns of ``machines``, those before the others that are to start first.

    These are the ``undone`` ones in their order, then the containers that an undone LXD host has to
    wait for. The LXD host of a machine that is ``last`` is last as well. An LXD host is no canary:
    it comes after its containers.
    """
    last = {*last, *(c.on for c in intent.containers.values() if c.name in last)}
    place = {name: number for number, name in enumerate(undone)}
    turns = {}
    for name in machines:
        machine = intent.machine(name)
        on = intent.containers[name].on if name in intent.containers else None
        host = intent.lxd_hosts[on] if on else machine
        canary = machine.maintenance.canary and machine.kind != "lxd" and name not in last
        batch = max(1, host.maintenance.batch)
        turns[name] = Turn(name, on, batch, machine.apart, name in last, canary)

    def urgency(turn: Turn) -> int:
        return place.get(turn.name, len(place) + (turn.on not in place))

    return {turn.name: turn for turn in sorted(turns.values(), key=urgency)}


def next_turns(
    turns: Mapping[str, Turn], waiting: Sequence[str], running: Collection[str]
) -> list[str]:
    """Which of the waiting machines may start now, given those that are at work.

    On one LXD host at most ``batch`` containers at once, and the host itself after all of them;
    of an ``apart`` group one at a time in the whole fleet; all others when the canaries are done;
    the controlling machine and its host when all others are done. Among those the first that waits
    starts first. Something starts whenever nothing is running.
    """
    left = [turns[name] for name in (*waiting, *running)]
    carrying = {turn.on for turn in left}
    others_left = any(not turn.last for turn in left)
    canaries_left = any(turn.canary for turn in left)
    busy = Counter(turns[name].on for name in running)
    apart = {turns[name].apart for name in running}
    chosen = []
    for turn in (turns[name] for name in waiting):
        if (turn.last and others_left) or (turn.apart and turn.apart in apart):
            continue
        if canaries_left and not turn.canary:
            continue
        if turn.name in carrying if turn.on is None else busy[turn.on] >= turn.batch:
            continue
        chosen.append(turn.name)
        busy[turn.on] += 1
        apart.add(turn.apart)
    return chosen
