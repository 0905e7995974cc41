"""One machine's turn: it goes through the jobs as far as it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nornir.core.task import Result, Task

from tasks.maintenance.gate import Gate
from tasks.maintenance.health import check_health
from tasks.maintenance.jobs import Job
from tasks.maintenance.look import PHASE
from tasks.maintenance.turns import Turn
from tasks.outcome import record
from tasks.report import Report
from tasks.run import run_of
from tasks.walk import Leg, walk


@dataclass(frozen=True)
class Visit:
    """What came of a machine's turn: ``left`` are the changing jobs that it had to leave undone,
    but could have done at another time."""

    result: Result
    left: tuple[str, ...] = ()


def visit(
    task: Task, turn: Turn, jobs: Mapping[str, Job], gate: Gate, report: Report, *, changes: bool
) -> Visit:
    """Go through the jobs for its kind until one fails or the run is asked to stop; book each one.

    From a changing job on that may not begin, the changing ones are left and the others done: none
    of them is done without those before it. What fails elsewhere does not stop a machine whose
    first changing job has begun; what fails in its ``apart`` group, not after the first that
    concerns its service.

    Arguments:
        changes: whether this run changes anything, which a dry run does not.
    """
    kind = run_of(task).intent.machine(turn.name).kind
    jobs = {name: job for name, job in jobs.items() if kind in job.kinds}
    if not jobs:
        return Visit(walk(task, [], report))
    stop = run_of(task).stop
    late = gate.why_late()
    if late and not stop.is_set():
        undone = tuple(name for name, job in jobs.items() if changes and job.changes)
        return Visit(skip_late(task, next(iter(jobs)), late, report), undone)
    results: list[Result] = []
    left: list[str] = []
    closed, begun, serving = "", False, False
    for name, job in jobs.items():
        changing = changes and job.changes
        if changing and not stop.is_set():
            if job.service and not serving:
                closed = closed or gate.why_left_alone(turn.name, turn.apart)
            goes_on = begun or job.by_hand
            closed = closed or (gate.why_not_now if goes_on else gate.why_not_begin)(turn.name)
            if job.interrupts:
                closed = closed or gate.why_left_alone(turn.name, *sorted(turn.carries))
            if closed:
                left.append(name)
                report.add(turn.name, record(name, "skipped", message=closed))
                continue
        foreseen = "" if changing or not job.changes else gate.why_not_now(turn.name)
        work = _noting(job.task, foreseen) if foreseen else job.task
        results.append(walk(task, [Leg(name, work, job.options)], report))
        status = report.hosts[turn.name].phases[-1]["status"]
        if status == "skipped" and stop.is_set():
            names = list(jobs)
            left += [other for other in names[names.index(name) :] if jobs[other].changes]
            break
        begun, serving = begun or changing, serving or (changing and job.service)
        if status in ("failed", "unreachable", "skipped"):
            break
    done = _whole(task, results)
    risked = changes and any(job.risky for job in jobs.values())
    if done.changed and not done.failed and risked and PHASE not in jobs:
        results.append(walk(task, [Leg(PHASE, check_health)], report))
        done = _whole(task, results)
    if changes and done.failed:
        gate.failed(turn, begun=begun)
    return Visit(done, tuple(left))


def skip_late(task: Task, phase: str, reason: str, report: Report) -> Result:
    """Book that the run does not come to a machine any more, since its time is over."""
    report.out_of_time = True
    report.add(task.host.name, record(phase, "skipped", message=reason))
    return Result(host=task.host, result=reason)


def _whole(task: Task, results: list[Result]) -> Result:
    return Result(
        host=task.host,
        result=", ".join(str(result.result) for result in results),
        changed=any(result.changed for result in results),
        failed=any(result.failed for result in results),
    )


def _noting(work: Callable[..., Result], reason: str) -> Callable[..., Result]:
    """A job that changes nothing in this dry run, and says why a real run would not begin it."""

    def noting(task: Task, **options: Any) -> Result:
        result = work(task, **options)
        entry, note = result.result, f"a real run would not begin it now: {reason}"
        entry["notes"].append(note)
        entry["message"] = "; ".join(part for part in (entry["message"], note) if part)
        return result

    return noting
