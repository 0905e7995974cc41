"""Upgrade all packages of a machine, and say which went from which version to which."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace

from nornir.core.task import Result, Task

from tasks.onhost import on_host
from tasks.outcome import Status, failure, record, result_of
from tasks.plan import Plan, Step
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of

PHASE = "upgrade"
#: No more of the deadline than this part is spent on waiting for dpkg's lock.
LOCK_SHARE = 1 / 3
PRESENT_LISTS = "planned on the package lists as they are; a real run refreshes them first"

#: apt-get -s: ``Inst NAME [OLD] (NEW ORIGIN [ARCH])`` and ``Remv NAME [OLD]``, OLD only where
#: the package is installed.
_SIMULATED = re.compile(r"^(Inst|Remv) (\S+)(?: \[(\S+)\])?(?: \((\S+))?", re.MULTILINE)


def upgrade_packages(task: Task, dry_run: bool | None = None) -> Result:
    """Refresh the package lists, upgrade, remove what nothing needs any more, clean the cache.

    Works on any Debian or Ubuntu machine of the fleet, in one exchange. An interrupted
    dpkg is finished first; dpkg's and apt's locks are waited for, up to a third of the machine's
    ``maintenance.deadline`` (seconds). A dry run asks apt to simulate, on the lists as they are.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``upgrade``; its steps name each package with its
    versions. It is changed only where a package was upgraded, installed or removed, also where
    the upgrade failed half-way, and where that is not known: it passed its deadline, or the
    connection broke. Errors are in the record, never raised.
    """
    started = time.monotonic()
    dry = task.is_dry_run(dry_run)
    plan: Plan[None] = Plan()
    begun = False
    try:
        machine = run_of(task).intent.machine(task.host.name)
        deadline = machine.maintenance.deadline
        script = on_host("upgrade", "dry" if dry else "real", str(int(deadline * LOCK_SHARE)))
        shell = shell_of(task.host)
        begun = not dry
        done = shell.run(script, deadline=deadline)
        plan = simulated(done.text) if dry else happened(*_before_and_after(done.text))
        plan = replace(plan, notes=(*plan.notes, *exec_notes(task.host)))
        begun = begun and plan.changed
        done.check(task.host.name, "the upgrade of packages", remedy="mend it there and run again")
    except Exception as error:
        seconds = time.monotonic() - started
        return result_of(task, failure(PHASE, error, plan=plan, seconds=seconds, begun=begun))
    status: Status = "changed" if plan.changed else "ok"
    return result_of(task, record(PHASE, status, plan=plan, seconds=time.monotonic() - started))


def happened(before: Mapping[str, str], after: Mapping[str, str]) -> Plan[None]:
    """What differs between the installed packages, name to version, before and after."""
    names = sorted({*before, *after})
    steps = [_step(name, before.get(name), after.get(name)) for name in names]
    return Plan(tuple(filter(None, steps)), reason="" if any(steps) else "nothing to upgrade")


def simulated(output: str) -> Plan[None]:
    """What ``apt-get -s`` would do, from its output."""
    steps = []
    for verb, name, old, new in _SIMULATED.findall(output):
        steps.append(_step(name, old or None, new if verb == "Inst" else None))
    found = tuple(filter(None, steps))
    if found:
        return Plan(found, notes=(PRESENT_LISTS,))
    return Plan(reason=f"nothing to upgrade, {PRESENT_LISTS}")


def _step(name: str, old: str | None, new: str | None) -> Step[None] | None:
    if old == new:
        return None
    versions = [f"-{name} {old}"] * (old is not None) + [f"+{name} {new}"] * (new is not None)
    diff = "\n".join(versions)
    if old is None:
        return Step("install", f"package {name}", None, detail=str(new), diff=diff)
    if new is None:
        return Step("remove", f"package {name}", None, detail=old, diff=diff)
    return Step("upgrade", f"package {name}", None, detail=f"{old} -> {new}", diff=diff)


def _before_and_after(output: str) -> tuple[dict[str, str], dict[str, str]]:
    before, _, after = output.partition("# after\n")
    return _packages(before), _packages(after)


def _packages(listing: str) -> dict[str, str]:
    pairs = (line.split(" ", 1) for line in listing.splitlines() if not line.startswith("#"))
    return dict(pairs)
