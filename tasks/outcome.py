"""From a plan to a Nornir Result: the five steps that every mutating task has.

read, plan, diff, apply (unless dry), prove. Proving is reading and planning once more: what was
applied leaves nothing to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from nornir.core.task import Result, Task

from tasks.errors import FleetError, ProofError, UnchangedError, UnreachableError
from tasks.intent.secret import hide
from tasks.plan import Plan

logger = logging.getLogger(__name__)
Write = TypeVar("Write")
Status = Literal["ok", "changed", "skipped", "unreachable", "failed"]
Record = dict[str, Any]

#: The phases of a provision, in order.
PHASES = (
    "check",
    "bridges",
    "lxd",
    "remotes",
    "profiles",
    "images",
    "containers",
    "bootstrap",
    "configure",
    "prove",
)


def record(
    phase: str,
    status: Status,
    *,
    plan: Plan[Any] | None = None,
    seconds: float = 0.0,
    message: str = "",
    changed: bool | None = None,
) -> Record:
    """One phase of one machine as the report has it: a plain dict, seconds with two decimals.

    ``changed`` is whether anything was changed (or would be, in a dry run), by default whether the
    plan has steps; of a phase that failed it is whether anything was or may have been changed.
    """
    plan = plan or Plan()
    said = "; ".join(part for part in (message or plan.reason, *plan.notes) if part)
    return {
        "phase": phase,
        "status": status,
        "changed": plan.changed if changed is None else changed,
        "steps": [{"action": s.action, "object": s.object, "detail": s.detail} for s in plan.steps],
        "diff": plan.diff,
        "seconds": round(seconds, 2),
        "message": said,
        "notes": list(plan.notes),
    }


def result_of(task: Task, entry: Record) -> Result:
    """A record as the Result of a task; a failed one fails the task without a traceback."""
    return Result(
        host=task.host,
        result=entry,
        changed=entry["changed"],
        diff=entry["diff"],
        failed=entry["status"] in ("failed", "unreachable"),
    )


def failure(
    phase: str,
    error: Exception,
    *,
    plan: Plan[Any] | None = None,
    seconds: float = 0.0,
    begun: bool = False,
) -> Record:
    """The record of a phase that ended with an error; its traceback goes to the log only.

    ``begun`` says that applying the plan had begun, so that some of it may be done: the record is
    changed and has the plan's steps. Otherwise nothing was: it has no steps, its message tells
    what had been planned, and the diff is still the plan's.
    """
    status: Status = "unreachable" if isinstance(error, UnreachableError) else "failed"
    known = isinstance(error, FleetError)
    message = hide(str(error) if known else f"internal error: {type(error).__name__}: {error}")
    logger.log(logging.INFO if known else logging.ERROR, "%s: %s", phase, message, exc_info=error)
    entry = record(phase, status, plan=plan, seconds=seconds, message=message, changed=begun)
    if entry["steps"] and not begun:
        planned = ", ".join(f"{step['action']} {step['object']}" for step in entry["steps"])
        entry["message"] += f"; nothing was changed, planned was: {planned}"
        entry["steps"] = []
    return entry


def converge(
    task: Task,
    phase: str,
    *,
    plan: Callable[[bool], Plan[Write]],
    apply: Callable[[Plan[Write]], Plan[Write] | None],
    dry_run: bool | None,
    ready: Callable[[], object] = lambda: None,
) -> Result:
    """Bring one thing to its wanted state: plan, apply unless dry, prove.

    Arguments:
        plan: reads and plans; called with true it must read again instead of using what is
            remembered.
        apply: carries out the plan; where it went on with another, that is what it returns, and
            what is recorded.
        dry_run: plan only; None follows Nornir's own setting.
        ready: opens what ``apply`` writes through and takes the lock; it writes nothing.

    The Result holds the phase's record (see :func:`record`); ``changed`` and ``diff`` mean the
    same dry and real. A failure up to the end of ``ready`` has changed nothing; from ``apply`` on
    something may have been changed, which the record then says (see :func:`failure`).
    """
    started = time.monotonic()
    wanted: Plan[Write] | None = None
    begun = False
    try:
        wanted = plan(False)
        if wanted.changed and not task.is_dry_run(dry_run):
            ready()
            begun = True
            wanted = apply(wanted) or wanted
            left = plan(True)
            if left.changed:
                objects = ", ".join(f"{s.action} {s.object}" for s in left.steps)
                raise ProofError(
                    f"applied, but read again there is still to do: {objects}",
                    where=task.host.name,
                    remedy="run again with -v and look at the diff",
                )
    except Exception as error:  # an error ends this host's phase, never the run
        seconds = time.monotonic() - started
        begun = begun and not isinstance(error, UnchangedError)
        return result_of(task, failure(phase, error, plan=wanted, seconds=seconds, begun=begun))
    status: Status = "changed" if wanted.changed else "ok"
    return result_of(task, record(phase, status, plan=wanted, seconds=time.monotonic() - started))
