"""What a run did: per machine and phase, as data, as JSON and as an exit status.

The shape of :meth:`Report.to_dict` is what ``--json`` writes and what other programs read; how a
report looks to a person is in :mod:`tasks.terminal.present`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from tasks.atomic_file import replace_text
from tasks.intent.model import Intent
from tasks.outcome import Record, Status

#: From the worst to the best.
SEVERITY: tuple[Status, ...] = ("failed", "unreachable", "skipped", "changed", "ok")
#: The order in which a summary counts them.
STATUSES: tuple[Status, ...] = ("ok", "changed", "failed", "unreachable", "skipped")
assert set(SEVERITY) == set(STATUSES) == set(get_args(Status))

#: What one phase of one machine has in the report; a record may carry more for the run itself.
PHASE_KEYS = ("phase", "status", "changed", "steps", "diff", "seconds", "message")

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PENDING = 3
EXIT_LOCKED = 4
EXIT_SIGNAL = 128


def now() -> str:
    """The present moment as ISO 8601 with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass
class HostReport:
    """One machine: ``kind`` is lxd, container or machine, ``on`` a container's LXD host.

    ``phases`` are records of :func:`tasks.outcome.record`; ``exchanges`` counts SSH execs, API
    requests and their bytes (see :class:`tasks.run.Run`), ``edges`` holds what came of an LXD
    host's remotes by peer (see :func:`tasks.remotes.edges.prove_edges`); None where nothing was
    counted.
    """

    name: str
    kind: str
    on: str | None = None
    phases: list[Record] = field(default_factory=list)
    exchanges: Mapping[str, int] | None = None
    edges: Mapping[str, str] | None = None

    @property
    def status(self) -> Status:
        """The worst status of its phases; ok without any."""
        return min((p["status"] for p in self.phases), key=SEVERITY.index, default="ok")

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or in a dry run would be."""
        return any(p["changed"] for p in self.phases)

    @property
    def seconds(self) -> float:
        """Seconds that its phases took together."""
        spent: float = sum(p["seconds"] for p in self.phases)
        return round(spent, 2)

    def to_dict(self) -> dict[str, Any]:
        """The machine as ``--json`` writes it."""
        extra = {"exchanges": self.exchanges, "edges": self.edges}
        return {
            "status": self.status,
            "kind": self.kind,
            "on": self.on,
            "seconds": self.seconds,
            "phases": [{key: phase[key] for key in PHASE_KEYS} for phase in self.phases],
            **{key: value for key, value in extra.items() if value is not None},
        }


@dataclass
class Report:
    """One run: ``started`` is ISO 8601 with its zone, ``seconds`` how long the whole run took.

    ``locked`` says that another run held a lock, ``interrupted`` is the number of the signal that
    ended the run, None where none did, ``out_of_time`` says that machines were left undone because
    of the time limit. ``undone`` is what maintenance left undone, and does first in its next run:
    machines by job. Machines are listed in the order of their declaration.
    """

    runbook: str
    inventory: str
    dry_run: bool = False
    started: str = field(default_factory=now)
    hosts: dict[str, HostReport] = field(default_factory=dict)
    seconds: float = 0.0
    locked: bool = False
    interrupted: int | None = None
    out_of_time: bool = False
    undone: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _adding: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def declare(self, name: str, kind: str, on: str | None = None) -> HostReport:
        """The machine's part of the report, made where it has none yet; fixes its place in it."""
        with self._adding:
            return self.hosts.setdefault(name, HostReport(name, kind, on))

    def declare_fleet(self, intent: Intent, selected: Collection[str]) -> None:
        """Declare what a run over ``selected`` reports: LXD hosts, each followed by its containers.

        An LXD host that is not selected has a place where one of its containers is, since that
        container depends on it.
        """
        for host in intent.lxd_hosts:
            containers = [c.name for c in intent.containers_on(host) if c.name in selected]
            if host in selected or containers:
                self.declare(host, "lxd")
            for container in containers:
                self.declare(container, "container", host)
        for machine in intent.machines:
            if machine in selected:
                self.declare(machine, "machine")

    def add(self, name: str, record: Record) -> None:
        """Book a phase on a machine that was declared before. Any thread may call this."""
        with self._adding:
            self.hosts[name].phases.append(record)

    def lost(self, name: str, *, despite: Collection[str] = ()) -> bool:
        """Whether a machine has dropped out: a phase failed, or was skipped for a reason.

        ``despite`` are phases that may have failed; so may any in what is passable.
        """
        host = self.hosts.get(name)
        return host is not None and any(
            phase["status"] in ("unreachable", "skipped")
            or (
                phase["status"] == "failed"
                and phase["phase"] not in despite
                and not phase.get("passable")
            )
            for phase in host.phases
        )

    @property
    def summary(self) -> dict[str, int]:
        """How many machines ended with each status."""
        found = [host.status for host in self.hosts.values()]
        return {status: found.count(status) for status in STATUSES}

    @property
    def changed(self) -> bool:
        """Whether anything was changed anywhere, or in a dry run would be."""
        return any(host.changed for host in self.hosts.values())

    @property
    def failed(self) -> bool:
        """Whether a machine failed or was unreachable."""
        return any(host.status in ("failed", "unreachable") for host in self.hosts.values())

    @property
    def ended(self) -> str:
        """What ended the run before it was done, in words; empty where nothing did."""
        signal = f"signal {self.interrupted}" if self.interrupted is not None else ""
        return " and ".join(filter(None, (signal, "time limit" if self.out_of_time else "")))

    def seconds_by_phase(self) -> dict[str, float]:
        """Seconds spent in each phase over all machines, side by side or not, as they came."""
        spent: defaultdict[str, float] = defaultdict(float)
        for host in self.hosts.values():
            for phase in host.phases:
                spent[phase["phase"]] += phase["seconds"]
        return {phase: round(seconds, 2) for phase, seconds in spent.items()}

    def exit_status(self) -> int:
        """The run's exit status: 128 + signal, 4 locked, 1 failed or left undone, 3 pending, 0."""
        if self.interrupted is not None:
            return EXIT_SIGNAL + self.interrupted
        if self.locked:
            return EXIT_LOCKED
        if self.failed or self.out_of_time:
            return EXIT_FAILED
        return EXIT_PENDING if self.dry_run and self.changed else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        """The report as ``--json`` writes it; ``ended`` is there where something ended the run."""
        return {
            "runbook": self.runbook,
            "inventory": self.inventory,
            "dry_run": self.dry_run,
            "started": self.started,
            "seconds": round(self.seconds, 2),
            **({"ended": self.ended} if self.ended else {}),
            "summary": self.summary,
            "hosts": {name: host.to_dict() for name, host in self.hosts.items()},
            **({"undone": self.undone} if self.undone else {}),
        }


def to_rows(report: Report) -> list[dict[str, Any]]:
    """A report as flat rows, one for each machine and phase, for a notebook's data frame."""
    return [
        {
            "host": host.name,
            "kind": host.kind,
            "on": host.on,
            "phase": phase["phase"],
            "status": phase["status"],
            "changed": phase["changed"],
            "steps": len(phase["steps"]),
            "seconds": phase["seconds"],
            "message": phase["message"],
        }
        for host in report.hosts.values()
        for phase in host.phases
    ]


def as_json(content: Mapping[str, Any]) -> str:
    """A report's dict as JSON text, indented."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_json(content: Mapping[str, Any], destination: str | Path) -> None:
    """Write a report's dict as JSON to a file, or to standard output for ``-``.

    The file is whole or not there, and readable for its owner only. Raises :class:`OSError`.
    """
    text = as_json(content)
    if str(destination) == "-":
        sys.stdout.write(text)
        return
    write_private(Path(destination), text)


def write_private(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, mode 0600. Raises :class:`OSError`.

    A link is followed; what is no plain file (a device, a pipe) is written to, never replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    replace_text(path, text)
