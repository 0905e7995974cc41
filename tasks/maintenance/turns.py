"""Whose turn it is: the order in which maintenance goes through a fleet, decided purely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.intent.model import Intent

#: What every LXD host counts for where a job takes it out of service: one after the other. No
#: ``apart`` group is called so.
LXD_HOSTS = "LXD hosts"


@dataclass(frozen=True)
class Turn:
    """One machine's place in the order.

    ``on`` is a container's LXD host, ``batch`` how many of its containers an LXD host lets work
    at once, ``apart`` the group of which never two work at once, ``last`` marks the machine that
    the run is controlled from, and its LXD host, ``canary`` one that all others wait for.
    ``carries`` are the groups of the containers that an LXD host may take out of service, where a
    job of the run does that, and :data:`LXD_HOSTS`; ``keeps`` the containers that have to be backed
    up to it before it is taken out of service itself.
    """

    name: str
    on: str | None = None
    batch: int = 1
    apart: str | None = None
    last: bool = False
    canary: bool = False
    carries: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()

    @property
    def groups(self) -> frozenset[str]:
        """The ``apart`` groups that lack a member while this one works."""
        return self.carries | ({self.apart} if self.apart else frozenset())


def turns_of(
    intent: Intent,
    machines: Iterable[str],
    last: Collection[str] = (),
    undone: Sequence[str] = (),
    *,
    interrupting: bool = False,
    risking: bool = False,
    backing_up: bool = False,
) -> dict[str, Turn]:
    """The turns of ``machines``, those before the others that are to start first.

    These are the ``undone`` ones in their order, then the containers that an undone LXD host has to
    wait for. The LXD host of a machine that is ``last`` is last as well. An LXD host is no canary:
    it comes after its containers.

    Arguments:
        interrupting: a job takes machines out of service, LXD hosts with what they carry.
        risking: a job may leave an LXD host's containers other than they were.
        backing_up: a job brings backups to other machines.
    """
    machines = list(machines)
    last = {*last, *(c.on for c in intent.containers.values() if c.name in last)}
    place = {name: number for number, name in enumerate(undone)}
    turns = {}
    for name in machines:
        machine = intent.machine(name)
        on = intent.containers[name].on if name in intent.containers else None
        host = intent.lxd_hosts[on] if on else machine
        canary = machine.maintenance.canary and machine.kind != "lxd" and name not in last
        batch = max(1, host.maintenance.batch)
        carries, keeps = set[str](), set[str]()
        if machine.kind == "lxd" and (interrupting or risking):
            carries = {c.apart for c in intent.containers_on(name) if c.apart and c.running}
            carries |= {LXD_HOSTS} if interrupting else set()
        if interrupting and backing_up and not canary:
            keeps = {n for n in machines if n not in last and _keeper_of(intent, n) == name}
        turns[name] = Turn(
            name,
            on,
            batch,
            machine.apart,
            last=name in last,
            canary=canary,
            carries=frozenset(carries),
            keeps=frozenset(keeps),
        )

    def urgency(turn: Turn) -> int:
        return place.get(turn.name, len(place) + (turn.on not in place))

    return {turn.name: turn for turn in sorted(turns.values(), key=urgency)}


def _keeper_of(intent: Intent, name: str) -> str | None:
    """The machine that keeps the backups of another one."""
    rule = intent.machine(name).maintenance.backup if name in intent.containers else None
    return rule.to if rule else None


def next_turns(
    turns: Mapping[str, Turn], waiting: Sequence[str], running: Collection[str]
) -> list[str]:
    """Which of the waiting machines may start now, given those that are at work.

    On one LXD host at most ``batch`` containers at once, and the host itself after all of them;
    of an ``apart`` group one at a time in the whole fleet, where an LXD host counts for all that
    it carries; who keeps backups after those that are backed up; all others when the canaries are
    done; the controlling machine and its host when all others are done. Among those the first that
    waits starts first. Something starts whenever nothing is running.
    """
    left = [turns[name] for name in (*waiting, *running)]
    carrying = {turn.on for turn in left}
    names_left = {turn.name for turn in left}
    others_left = any(not turn.last for turn in left)
    canaries_left = any(turn.canary for turn in left)
    busy = Counter(turns[name].on for name in running)
    apart = {group for name in running for group in turns[name].groups}
    chosen = []
    for turn in (turns[name] for name in waiting):
        if (turn.last and others_left) or turn.groups & apart:
            continue
        if (canaries_left and not turn.canary) or turn.keeps & names_left:
            continue
        if turn.name in carrying if turn.on is None else busy[turn.on] >= turn.batch:
            continue
        chosen.append(turn.name)
        busy[turn.on] += 1
        apart |= turn.groups
    return chosen
