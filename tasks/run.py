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


class HeldLock(Protocol):
    """A lock on an LXD host, held until it is closed."""

    @property
    def alive(self) -> bool:
        """Whether it is still held."""

    def close(self) -> None:
        """Let it go."""


@dataclass
class Run:
    """One run over a fleet: what its tasks have read and done, and the locks between them."""

    intent: Intent
    state: StateFolder
    #: All Nornir hosts, also those that a filter left out.
    hosts: Mapping[str, Host] = field(default_factory=dict)
    #: The machines that may be changed, and those that were left out by name.
    selected: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    #: What has been read: of LXD hosts, of the system of any machine.
    facts: dict[str, HostFacts] = field(default_factory=dict)
    machines: dict[str, MachineFacts] = field(default_factory=dict)
    #: Those that could not be reached, with the reason.
    unreachable: dict[str, str] = field(default_factory=dict)
    #: LXD hosts that could not be read for another reason.
    unread: dict[str, str] = field(default_factory=dict)
    #: The fingerprints under which an unknown SSH host key may be learned, by machine.
    host_keys: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    #: The LXD hosts' locks that are held.
    locks: dict[str, HeldLock] = field(default_factory=dict)
    #: Where a machine has to be reached for now, instead of where it may be found: nothing else
    #: will do, and none of them is remembered as good.
    addresses: dict[str, str] = field(default_factory=dict)
    #: The containers that this run stops and renames, or in a dry run would.
    leaving: set[str] = field(default_factory=set)
    #: The containers that this run could not restart or move well, by their ``apart`` group.
    down: dict[str, str] = field(default_factory=dict)
    #: The images that it downloaded or made: alias -> the LXD host that has it, the fingerprint.
    fetched: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Images that did not come from their server, and servers that did not answer at all, with the
    #: reason: nobody asks them again.
    not_fetched: dict[str, str] = field(default_factory=dict)
    #: The containers of an LXD host that are left until their images are prepared, by host, between
    #: the two times that it raises containers.
    waiting: dict[str, frozenset[str]] = field(default_factory=dict)
    #: The containers that are worked on through ``lxc exec``, with the reason.
    over_exec: dict[str, str] = field(default_factory=dict)
    #: Why an LXD host has not got an image, by host and alias.
    no_images: dict[tuple[str, str], str] = field(default_factory=dict)
    #: The machines that manage the fleet themselves, as far as they were read.
    controllers: dict[str, Identity] = field(default_factory=dict)
    #: What a dry run of provision found, by machine, once it was asked for.
    drift: Mapping[str, dict[str, Any]] | None = None
    #: The bytes that backups under way are still to get, by machine.
    promised: dict[str, int] = field(default_factory=dict)
    #: By machine ``{"execs": n, "requests": n, "sent": n, "received": n}``: SSH execs, requests to
    #: LXD's API, and the bytes of scripts, of their input and output, of requests and answers.
    exchanges: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Set when the run shall end after what is under way.
    stop: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False)

    def opening(self, machine: str) -> threading.Lock:
        """The lock under which a machine's connections are opened, so that threads share one."""
        return self._lock(f"open {machine}")

    def apart(self, group: str) -> threading.Lock:
        """The lock under which one machine of an ``apart`` group is out of service."""
        return self._lock(f"apart {group}")

    def fetching(self, alias: str) -> threading.Lock:
        """The lock under which one host gets an image that the others then copy from it."""
        return self._lock(f"fetch {alias}")

    def restoring(self, host: str) -> threading.Lock:
        """The lock under which one container at a time is brought to an LXD host from a backup:
        each sees the room and the volumes that the one before has left."""
        return self._lock(f"restore {host}")

    def reading(self, host: str) -> threading.Lock:
        """The lock under which one LXD host is read, so that threads share one read of it."""
        return self._lock(f"read {host}")

    def comparing(self) -> threading.Lock:
        """The lock under which the dry run of a provision is made, whose outcome is ``drift``."""
        return self._lock("compare")

    def renewing(self) -> threading.Lock:
        """The lock under which certificates are renewed, which concerns all LXD hosts."""
        return self._lock("renew")

    def promising(self) -> threading.Lock:
        """The lock under which room is asked for and ``promised``."""
        return self._lock("promise")

    def _lock(self, purpose: str) -> threading.Lock:
        with self._counting:
            return self._locks.setdefault(purpose, threading.Lock())

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
