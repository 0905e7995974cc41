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

from tasks.errors import FleetError, ProofError, UnreachableError
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
) -> Record:
    """One phase of one machine as the report has it: a plain dict, seconds with two decimals."""
    plan = plan or Plan()
    said = "; ".join(part for part in (message or plan.reason, *plan.notes) if part)
    return {
        "phase": phase,
        "status": status,
        "changed": plan.changed,
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
    phase: str, error: Exception, *, plan: Plan[Any] | None = None, seconds: float = 0.0
) -> Record:
    """The record of a phase that ended with an error; its traceback goes to the log only."""
    status: Status = "unreachable" if isinstance(error, UnreachableError) else "failed"
    known = isinstance(error, FleetError)
    message = str(error) if known else f"internal error: {type(error).__name__}: {error}"
    logger.log(logging.INFO if known else logging.ERROR, "%s: %s", phase, message, exc_info=error)
    return record(phase, status, plan=plan, seconds=seconds, message=message)


def converge(
    task: Task,
    phase: str,
    *,
    plan: Callable[[bool], Plan[Write]],
    apply: Callable[[Plan[Write]], None],
    dry_run: bool | None,
) -> Result:
    """Bring one thing to its wanted state: plan, apply unless dry, prove.

    ``plan(fresh)`` reads and plans; with ``fresh`` true it must read again instead of using what
    is remembered. The Result holds the phase's record (see :func:`record`); ``changed`` and
    ``diff`` mean the same dry and real.
    """
    started = time.monotonic()
    wanted: Plan[Write] | None = None
    try:
        wanted = plan(False)
        if wanted.changed and not task.is_dry_run(dry_run):
            apply(wanted)
            left = plan(True)
            if left.changed:
                objects = ", ".join(f"{s.action} {s.object}" for s in left.steps)
                raise ProofError(
                    f"applied, but read again there is still to do: {objects}",
                    where=task.host.name,
                    remedy="run again with -v and look at the diff",
                )
    except Exception as error:  # an error ends this host's phase, never the run
        return result_of(
            task, failure(phase, error, plan=wanted, seconds=time.monotonic() - started)
        )
    status: Status = "changed" if wanted.changed else "ok"
    return result_of(task, record(phase, status, plan=wanted, seconds=time.monotonic() - started))
