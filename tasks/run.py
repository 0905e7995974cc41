"""What the tasks of one run share: the intent, the state folder, what has been read so far."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from nornir.core import Nornir
from nornir.core.inventory import Host
from nornir.core.task import Task

from tasks.actual import HostFacts, MachineFacts
from tasks.errors import UsageError
from tasks.identity import Identity
from tasks.intent.model import Intent
from tasks.state import StateFolder

#: Where a Nornir inventory's defaults carry the run; every filtered copy shares them.
RUN_KEY = "nornir-lxd-fleet"


class Held(Protocol):
    """What is held on a host until it is closed."""

    @property
    def alive(self) -> bool:
        """Whether it is still held."""

    def close(self) -> None:
        """Let it go."""


@dataclass
class Run:
    """One run over a fleet.

    ``hosts`` are all Nornir hosts, also those that a filter left out; ``selected`` are the machines
    that may be changed, ``excluded`` those that were left out by name; ``facts`` (LXD hosts) and
    ``machines`` are what has been read so far, ``unreachable`` those that could not be reached, by
    name with the reason; ``exchanges`` counts by machine SSH execs, API requests and the bytes that
    they carried there and back, as ``{"execs": n, "requests": n, "sent": n, "received": n}``:
    scripts, their input and output, bodies of requests and answers; ``stop`` is set when the run
    shall end after what is under way. ``host_keys`` are the fingerprints under which an unknown SSH
    host key may be learned, by machine; ``locks`` are the LXD hosts' locks held. ``addresses`` are
    those at which a machine has to be reached for now, by name, instead of where it may be found:
    nothing else will do, and none of them is remembered as good. ``leaving`` are the containers
    that this run stops and renames, or in a dry run would. ``down`` are the containers that this
    run could not restart or move well, by their ``apart`` group. ``fetched`` are the images
    that this run downloaded or made: alias -> the LXD host that has it, and the fingerprint.
    ``not_fetched`` are those that did not come from their server, with the reason, and servers that
    did not answer at all: nobody asks them again.
    ``over_exec`` are the containers that are worked on through ``lxc exec``, by name with the
    reason. ``no_images`` says why an LXD host has not got an image, by host and alias.
    ``controllers`` are the machines that manage the fleet themselves, as far as they were read.
    ``drift`` is what a dry run of provision found, by machine, once it was asked for; ``comparing``
    is the lock under which it is made. ``renewing`` is that under which certificates are renewed,
    since that concerns all LXD hosts. ``promised`` are the bytes that backups under way are still
    to get, by machine, ``promising`` is the lock under which that is asked for.
    """

    intent: Intent
    state: StateFolder
    hosts: Mapping[str, Host] = field(default_factory=dict)
    selected: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    facts: dict[str, HostFacts] = field(default_factory=dict)
    machines: dict[str, MachineFacts] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    host_keys: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    locks: dict[str, Held] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    down: dict[str, str] = field(default_factory=dict)
    fetched: dict[str, tuple[str, str]] = field(default_factory=dict)
    not_fetched: dict[str, str] = field(default_factory=dict)
    over_exec: dict[str, str] = field(default_factory=dict)
    no_images: dict[tuple[str, str], str] = field(default_factory=dict)
    controllers: dict[str, Identity] = field(default_factory=dict)
    drift: Mapping[str, dict[str, Any]] | None = None
    exchanges: dict[str, dict[str, int]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    comparing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    renewing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    promised: dict[str, int] = field(default_factory=dict)
    promising: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _reading: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _apart: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _opening: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _fetching: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _restoring: dict[str, threading.Lock] = field(default_factory=dict, repr=False)

    def opening(self, machine: str) -> threading.Lock:
        """The lock under which a machine's connections are opened, so that threads share one."""
        with self._counting:
            return self._opening.setdefault(machine, threading.Lock())

    def apart(self, group: str) -> threading.Lock:
        """The lock under which one machine of an ``apart`` group is out of service."""
        with self._counting:
            return self._apart.setdefault(group, threading.Lock())

    def fetching(self, alias: str) -> threading.Lock:
        """The lock under which one host gets an image that the others then copy from it."""
        with self._counting:
            return self._fetching.setdefault(alias, threading.Lock())

    def restoring(self, host: str) -> threading.Lock:
        """The lock under which one container at a time is brought to an LXD host from a backup:
        each sees the room and the volumes that the one before has left."""
        with self._counting:
            return self._restoring.setdefault(host, threading.Lock())

    def reading(self, host: str) -> threading.Lock:
        """The lock under which one LXD host is read, so that threads share one read of it."""
        with self._counting:
            return self._reading.setdefault(host, threading.Lock())

    def count(
        self, machine: str, kind: Literal["execs", "requests"], *, sent: int = 0, received: int = 0
    ) -> None:
        """Count one exchange with a machine, and the bytes of it that are known already."""
        with self._counting:
            self._counts(machine)[kind] += 1
        self.carried(machine, sent=sent, received=received)

    def carried(self, machine: str, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes that an exchange with a machine carried."""
        with self._counting:
            counts = self._counts(machine)
            counts["sent"] += sent
            counts["received"] += received

    def _counts(self, machine: str) -> dict[str, int]:
        none = {"execs": 0, "requests": 0, "sent": 0, "received": 0}
        return self.exchanges.setdefault(machine, none)


def run_of(place: Task | Host | Nornir) -> Run:
    """The run that a task, a Nornir host or a Nornir object belongs to.

    Raises :class:`UsageError` where Nornir was not opened with ``open_fleet``.
    """
    if isinstance(place, Nornir):
        data = place.inventory.defaults.data
    else:
        data = (place.host if isinstance(place, Task) else place).defaults.data
    run = data.get(RUN_KEY)
    if not isinstance(run, Run):
        raise UsageError(
            "this Nornir object was not made by open_fleet",
            remedy="use: from tasks import open_fleet; nr = open_fleet(FOLDER)",
        )
    return run
