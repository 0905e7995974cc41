"""How maintenance goes about a machine, as the inventory has it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.intent.windows import Calendar


@dataclass(frozen=True)
class Retention:
    """What is kept: the newest ``last``, and the newest of so many days and weeks."""

    last: int = 1
    daily: int = 0
    weekly: int = 0


@dataclass(frozen=True)
class Backup:
    """Where a container's backups are kept: on the machine ``to``, an LXD host or a plain one.

    ``keep`` says which of them stay, None that all do; ``deadline`` are the seconds that LXD may
    take to make and send one file of a backup, or to take one in.
    """

    to: str = ""
    keep: Retention | None = None
    deadline: float = 3600.0


@dataclass(frozen=True)
class BoundedCommand:
    """A shell command of the inventory, and the seconds that it may take."""

    run: str
    seconds: float = 300.0


@dataclass(frozen=True)
class Upgrade:
    """Which packages an upgrade is about: ``upgrade``, ``dist-upgrade`` or ``security`` alone, but
    for those whose name or glob is in ``hold``. ``way_back`` is whether a container is upgraded
    with a snapshot to go back to."""

    kind: str = "upgrade"
    hold: tuple[str, ...] = ()
    way_back: bool = True


@dataclass(frozen=True)
class Maintenance:
    """How maintenance goes through the fleet: at most ``batch`` machines at once on a host.

    ``canary`` is one that has to go well before others are begun. ``deadline`` are the seconds that
    an upgrade, a snapshot or a reboot may take; ``drain`` is what takes a container's work off it
    before an upgrade and ``undrain`` what gives it back, both of them as often as need be;
    ``snapshots`` says which of a container's are kept, None that all are; ``failures`` is how many
    failed machines end the run where this one is among them, None for any number; ``calendar`` is
    when the machine may be changed; ``certificates`` are the days that a certificate of an LXD host
    has to have left; ``backup`` is where a container is backed up to, None for nowhere.
    """

    batch: int = 2
    canary: bool = False
    upgrade: Upgrade = field(default_factory=Upgrade)
    drain: BoundedCommand | None = None
    undrain: BoundedCommand | None = None
    deadline: float = 900.0
    snapshots: Retention | None = None
    certificates: int = 30
    backup: Backup | None = None
    failures: int | None = None
    calendar: Calendar = field(default_factory=Calendar)
