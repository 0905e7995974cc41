"""From a plan to a Nornir Result: the five steps that every mutating task has.

read, plan, diff, apply (unless dry), prove. Proving is reading and planning once more: what was
applied leaves nothing to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

from nornir.core.task import Result, Task

from tasks.errors import FleetError, PassableError, UnchangedError, UnreachableError
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
    what had been planned, and the diff is still the plan's. ``passable`` says of it that the
    machine's way goes on (see :class:`tasks.errors.PassableError`).
    """
    status: Status = "unreachable" if isinstance(error, UnreachableError) else "failed"
    known = isinstance(error, FleetError)
    message = hide(str(error) if known else f"internal error: {type(error).__name__}: {error}")
    logger.log(logging.INFO if known else logging.ERROR, "%s: %s", phase, message, exc_info=error)
    entry = record(phase, status, plan=plan, seconds=seconds, message=message, changed=begun)
    entry["passable"] = isinstance(error, PassableError)
    if entry["steps"] and not begun:
        planned = ", ".join(f"{step['action']} {step['object']}" for step in entry["steps"])
        entry["message"] += f"; nothing was changed, planned was: {planned}"
        entry["steps"] = []
    return entry


@dataclass
class Attempt:
    """One phase of one machine while it is done: what is planned, whether carrying it out has
    begun, and the error that ended it.

    Used as a context it takes the time, and keeps an error within it: that ends this machine's
    phase, never the run.
    """

    phase: str
    plan: Plan[Any] = field(default_factory=Plan)
    begun: bool = False
    error: Exception | None = None
    seconds: float = 0.0
    _started: float = field(default=0.0, init=False, repr=False)

    def __enter__(self) -> Attempt:
        """Take the time."""
        self._started = time.monotonic()
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        """Keep the error."""
        self.seconds = time.monotonic() - self._started
        if not isinstance(error, Exception):
            return False
        self.error = error
        return True

    def entry(self) -> Record:
        """Its record: a failure, or else changed where its plan has steps."""
        if self.error:
            begun = self.begun and not isinstance(self.error, UnchangedError)
            return failure(
                self.phase, self.error, plan=self.plan, seconds=self.seconds, begun=begun
            )
        status: Status = "changed" if self.plan.changed else "ok"
        return record(self.phase, status, plan=self.plan, seconds=self.seconds)

    def result(self, task: Task) -> Result:
        """Its record as the Result of a task."""
        return result_of(task, self.entry())


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
    with Attempt(phase) as attempt:
        attempt.plan = plan(False)
        if attempt.plan.changed and not task.is_dry_run(dry_run):
            ready()
            attempt.begun = True
            attempt.plan = apply(attempt.plan) or attempt.plan
            plan(True).see_that_nothing_is_left(
                task.host.name, "run again with -v and look at the diff"
            )
    return attempt.result(task)
