"""Upgrade all packages of a machine, and say which went from which version to which."""

from __future__ import annotations

import time
from dataclasses import replace

from nornir.core.task import Result, Task

from tasks.intent.model import Container
from tasks.maintenance.packages import PHASE, foreseen, see_it_ended_well, upgraded
from tasks.maintenance.way_back import upgrade_with_a_way_back
from tasks.outcome import Status, failure, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of


def upgrade_packages(task: Task, dry_run: bool | None = None) -> Result:
    """Refresh the package lists, upgrade, remove what nothing needs any more, clean the cache.

    Works on any Debian or Ubuntu machine of the fleet. An interrupted dpkg is finished first;
    dpkg's and apt's locks are waited for, up to a third of the machine's ``maintenance.deadline``
    (seconds). A dry run asks apt to simulate, on the lists as they are.

    A container for which there is something to do is drained, looked at, and upgraded with a
    snapshot to go back to (:mod:`tasks.maintenance.way_back`), unless its ``maintenance.way_back``
    is false. All others are upgraded in one exchange.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``upgrade``; its steps name each package with its
    versions. It is changed only where a package was upgraded, installed or removed, also where
    the upgrade failed half-way, and where that is not known: it passed its deadline, or the
    connection broke. Errors are in the record, never raised.
    """
    machine = run_of(task).intent.machine(task.host.name)
    if task.is_dry_run(dry_run):
        return _dry(task, machine.maintenance.deadline)
    if isinstance(machine, Container) and machine.maintenance.way_back:
        return upgrade_with_a_way_back(task, machine)
    return _at_once(task, machine.maintenance.deadline)


def _dry(task: Task, deadline: float) -> Result:
    started = time.monotonic()
    try:
        plan = foreseen(task.host, "dry", deadline)
        plan = replace(plan, notes=(*plan.notes, *exec_notes(task.host)))
    except Exception as error:
        return result_of(task, failure(PHASE, error, seconds=time.monotonic() - started))
    return _done(task, plan, started)


def _at_once(task: Task, deadline: float) -> Result:
    started = time.monotonic()
    plan: Plan[None] = Plan()
    begun = False
    try:
        shell_of(task.host)
        begun = True
        upgrade = upgraded(task.host, "real", deadline)
        plan = replace(upgrade.plan, notes=(*upgrade.plan.notes, *exec_notes(task.host)))
        begun = plan.changed
        see_it_ended_well(task.host, upgrade)
    except Exception as error:
        seconds = time.monotonic() - started
        return result_of(task, failure(PHASE, error, plan=plan, seconds=seconds, begun=begun))
    return _done(task, plan, started)


def _done(task: Task, plan: Plan[None], started: float) -> Result:
    status: Status = "changed" if plan.changed else "ok"
    return result_of(task, record(PHASE, status, plan=plan, seconds=time.monotonic() - started))
