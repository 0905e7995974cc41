"""Machines' way through phases: grouped Nornir tasks that book each one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nornir.core import Nornir
from nornir.core.exceptions import NornirSubTaskError
from nornir.core.task import AggregatedResult, Result, Task

from tasks.errors import LockedError
from tasks.outcome import Record, failure, record
from tasks.report import Report
from tasks.run import run_of

OnResult = Callable[[AggregatedResult], None]
NOTHING_TO_DO = "none of these phases has to do with it"


@dataclass(frozen=True)
class Leg:
    """One phase and the Nornir task that does it.

    ``blocks`` says whether a failure ends the machine's way: not where what comes next sees by
    itself what it lacks. ``when`` is asked once all before it is done; where it says no, the leg is
    left out as if it was none.
    """

    phase: str
    task: Callable[..., Result]
    options: Mapping[str, Any] = field(default_factory=dict)
    blocks: bool = True
    when: Callable[[], bool] = lambda: True


def run_over(
    nr: Nornir,
    machines: Collection[str],
    task: Callable[[Task], Result],
    report: Report,
    *,
    name: str,
    on_result: OnResult | None = None,
) -> None:
    """One Nornir run over these machines; none for no machine, which Nornir would warn of.

    What a machine raises outside of its phases, which :func:`walk` books, is booked here.
    """
    if not machines:
        return
    part = nr.filter(filter_func=lambda host: host.name in machines)
    results = part.run(task=task, name=name, on_failed=True)
    for machine, result in results.items():
        error = result[0].exception
        if isinstance(error, Exception) and machine in report.hosts:
            report.add(machine, failure("check", error))
    if on_result:
        on_result(results)


def walk(task: Task, legs: Sequence[Leg], report: Report, *, book: bool = True) -> Result:
    """Go through the phases until one that blocks fails or the run is asked to stop; book each one.

    One that fails in what does not stand in the way of the next (see
    :class:`tasks.errors.PassableError`) does not block, and the machine has failed all the same.
    Records under ``containers`` in a phase's result are booked on these containers. A machine that
    none of the phases asked for concerns is booked as skipped: it was not even contacted.
    """
    stop = run_of(task).stop
    entries: list[Record] = []
    if book and not legs and not report.hosts[task.host.name].phases:
        report.add(task.host.name, record("check", "skipped", message=NOTHING_TO_DO))
    for leg in legs:
        if stop.is_set():
            entry = record(leg.phase, "skipped", message="the run was asked to stop")
        elif leg.when():
            entry = _run(task, leg, report)
        else:
            continue
        if book:
            report.add(task.host.name, entry)
            if "edges" in entry:
                report.hosts[task.host.name].edges = entry["edges"]
        for name, entry_of in entry.get("containers", {}).items():
            report.add(name, entry_of)
        entries.append(entry)
        if entry["status"] == "failed" and (not leg.blocks or entry.get("passable")):
            continue
        if entry["status"] in ("failed", "unreachable", "skipped"):
            break
    return Result(
        host=task.host,
        result=", ".join(f"{entry['phase']} {entry['status']}" for entry in entries),
        changed=any(entry["changed"] for entry in entries),
        failed=any(entry["status"] in ("failed", "unreachable") for entry in entries),
    )


def _run(task: Task, leg: Leg, report: Report) -> Record:
    try:
        result = task.run(task=leg.task, name=leg.phase, **leg.options)[0]
    except NornirSubTaskError as error:
        result = error.result[0]
    if isinstance(result.exception, Exception):  # raised, not returned as a failed record
        if isinstance(result.exception, LockedError):
            report.locked = True
        return failure(leg.phase, result.exception)
    entry: Record = result.result
    return entry
