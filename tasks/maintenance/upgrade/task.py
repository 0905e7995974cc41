"""Upgrade all packages of a machine, and say which went from which version to which."""

from __future__ import annotations

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import Json
from tasks.facts.host import facts_or_none
from tasks.intent.model import Container, Machine
from tasks.maintenance.carried import Carried
from tasks.maintenance.upgrade.packages import foreseen, see_it_ended_well, upgraded
from tasks.maintenance.upgrade.stage import is_upgrading
from tasks.maintenance.upgrade.way_back import PHASE, upgrade_with_a_way_back
from tasks.outcome import Attempt
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of
from tasks.waves import controlling


def upgrade_packages(task: Task, dry_run: bool | None = None) -> Result:
    """Refresh the package lists, upgrade, remove what nothing needs any more, clean the cache.

    Works on any Debian or Ubuntu machine of the fleet; ``maintenance.upgrade`` says what is
    upgraded. An interrupted dpkg is finished first; dpkg's and apt's locks are waited for, up to a
    third of the machine's ``maintenance.deadline`` (seconds). A dry run asks apt to simulate, on
    the lists as they are.

    A container for which there is something to do is drained, looked at, and upgraded with a
    snapshot to go back to (:mod:`tasks.maintenance.upgrade.way_back`), unless its
    ``maintenance.upgrade.way_back`` is false or the run is controlled from it. All others are
    upgraded at once; the containers that run on an LXD host, and those that are well, are so after
    it as well.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``upgrade``; its steps name each package with its
    versions. It is changed only where a package was upgraded, installed or removed, also where
    the upgrade failed half-way or was taken back, and where that is not known: it passed its
    deadline, or the connection broke. Errors are in the record, never raised.
    """
    with Attempt(PHASE) as attempt:
        machine = run_of(task).intent.machine(task.host.name)
        if task.is_dry_run(dry_run):
            _foresee(task, attempt)
        elif isinstance(machine, Container) and _has_a_way_back(task, machine):
            upgrade_with_a_way_back(task.host, machine, attempt)
        else:
            _upgrade_at_once(task.host, machine, attempt)
    return attempt.result(task)


def _has_a_way_back(task: Task, container: Container) -> bool:
    """Whether it is upgraded with one: not where the run itself is controlled from it, which would
    end with it; one that was begun so has to end so."""
    if container.name in controlling(run_of(task).intent):
        return False
    return container.maintenance.upgrade.way_back or is_upgrading(_instance_of(task))


def _foresee(task: Task, attempt: Attempt) -> None:
    rules = run_of(task).intent.machine(task.host.name).maintenance
    plan = foreseen(task.host, "dry", rules)
    attempt.plan = plan.noted(*_unfinished(task), *exec_notes(task.host))


def _unfinished(task: Task) -> tuple[str, ...]:
    what = "an upgrade that an earlier run began has not ended; a real run ends it first"
    return (what,) if is_upgrading(_instance_of(task)) else ()


def _instance_of(task: Task) -> Json:
    """A container as its LXD host has it; empty for others, and where that is not known."""
    run = run_of(task)
    container = run.intent.containers.get(task.host.name)
    facts = facts_or_none(run.hosts[container.on]) if container else None
    return facts.lxd.instances.get(task.host.name, {}) if facts else {}


def _upgrade_at_once(host: Host, machine: Machine, attempt: Attempt) -> None:
    """In one exchange; on an LXD host, a look first and its containers' health besides."""
    rules = machine.maintenance
    shell_of(host)  # where it cannot be reached, nothing was begun
    carried = None
    if machine.kind == "lxd":
        attempt.plan = foreseen(host, "look", rules)
        if not attempt.plan.changed:
            return
        carried = Carried(host)
    attempt.begun = True
    upgrade = upgraded(host, "real", rules)
    attempt.plan = upgrade.plan.noted(*exec_notes(host))
    attempt.begun = attempt.plan.changed
    see_it_ended_well(host, upgrade)
    if carried:
        carried.see_that_all_is_as_before("its upgrade")
