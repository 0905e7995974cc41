"""What the last runs did, from their reports in the state folder.

A report is what some version of this project wrote, or half of it: what cannot be read is left out
with a note, and never an error.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

#: Runs that are shown; further back it is only looked for when a machine last changed.
SHOWN = 3
#: Different things that are told of what one run did to a machine.
FEW = 3
#: Characters of a reason.
SHORT = 100


@dataclass(frozen=True)
class PastMachine:
    """A machine in a run: ``what`` was changed or went wrong, in few words; ``seconds`` spent."""

    status: str
    changed: bool
    seconds: float
    what: str = ""


@dataclass(frozen=True)
class PastRun:
    """A run: ``started`` is ISO 8601, ``seconds`` how long it took, ``ended`` what ended it before
    it was done (``signal 15``, ``time limit``), empty where nothing did."""

    runbook: str
    started: str
    seconds: float
    ended: str = ""
    machines: Mapping[str, PastMachine] = field(default_factory=dict)


@dataclass(frozen=True)
class LastChange:
    """When a run last changed a machine, and what."""

    started: str
    runbook: str
    seconds: float
    what: str


@dataclass(frozen=True)
class History:
    """The last runs, newest first, and each machine's last change as far as reports are kept."""

    runs: tuple[PastRun, ...] = ()
    last_changed: Mapping[str, LastChange] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The history as plain dicts and lists."""
        return asdict(self)


def read_history(reports: Path, machines: Collection[str]) -> History:
    """The history of these machines, from the reports in a folder.

    Reads no further back than the last change of all of them.
    """
    runs: list[PastRun] = []
    changed: dict[str, LastChange] = {}
    notes = []
    for path in _newest_first(reports):
        if len(runs) >= SHOWN and changed.keys() >= set(machines):
            break
        try:
            run = past_run(json.loads(path.read_bytes()), machines)
        except (OSError, ValueError, OverflowError, RecursionError) as error:
            notes.append(f"the report {path.name} is left out: {_reason(error)}")
            continue
        runs.append(run)
        for name, machine in run.machines.items():
            if machine.changed:
                change = LastChange(run.started, run.runbook, machine.seconds, machine.what)
                changed.setdefault(name, change)
    ordered = {name: changed[name] for name in machines if name in changed}
    return History(tuple(runs[:SHOWN]), ordered, tuple(notes))


def past_run(report: object, machines: Collection[str]) -> PastRun:
    """A report as a past run, with no other machines than these. Raises ValueError."""
    document = _mapping(report)
    hosts = {name: _mapping(host) for name, host in _mapping(document.get("hosts")).items()}
    started = _text(document.get("started"))
    datetime.fromisoformat(started)
    return PastRun(
        runbook=_text(document.get("runbook")),
        started=started,
        seconds=_number(document.get("seconds")),
        ended=_text(document.get("ended", "")),
        machines={name: _machine(name, hosts[name]) for name in machines if name in hosts},
    )


def _machine(name: str, host: Mapping[str, Any]) -> PastMachine:
    phases = [_mapping(phase) for phase in _list(host.get("phases"))]
    changed = any(phase.get("changed") is True for phase in phases)
    status = _text(host.get("status"))
    told = [*_changes(phases), *_troubles(name, phases, status)]
    return PastMachine(status, changed, _number(host.get("seconds")), "; ".join(told))


def _changes(phases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The steps, counted by action and kind of object where there are several of them."""
    steps = [
        (_text(step.get("action")), _text(step.get("object")))
        for phase in phases
        if phase.get("changed") is True
        for step in map(_mapping, _list(phase.get("steps")))
    ]
    kinds = Counter((action, object_.partition(" ")[0]) for action, object_ in steps)
    told = {
        (action, kind): f"{action} {kind} ({kinds[action, kind]})"
        if kinds[action, kind] > 1
        else f"{action} {object_}"
        for action, object_ in steps
        for kind in [object_.partition(" ")[0]]
    }
    few = list(told.values())[:FEW]
    if few:
        yield ", ".join(few) + (", ..." if len(told) > FEW else "")


def _troubles(name: str, phases: Sequence[Mapping[str, Any]], status: str) -> Iterator[str]:
    """The reason why a machine is as bad as it is, in short."""
    if status in ("failed", "unreachable", "skipped"):
        for phase in phases:
            if phase.get("status") == status:
                message = _text(phase.get("message")).removeprefix(f"{name}: ")
                reason = " ".join(message.split())
                short = reason if len(reason) <= SHORT else f"{reason[:SHORT].rstrip()}..."
                yield f"{_text(phase.get('phase'))} {status}" + (f": {short}" if short else "")
                return


def _newest_first(reports: Path) -> list[Path]:
    """By when they were written, as they are kept; one that has just gone is none."""
    found = []
    for path in reports.glob("*.json"):
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.append((status.st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found, reverse=True)]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    broken = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
    return "it is no JSON" if broken else str(error)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"it has {type(value).__name__} where a mapping belongs")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"it has {type(value).__name__} where a list belongs")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it has {type(value).__name__} where a text belongs")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"it has {type(value).__name__} where a number belongs")
    return float(value)
