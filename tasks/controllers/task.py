"""A controller's key and certificate: made there, and known here from then on."""

from __future__ import annotations

import logging

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import MachineFacts
from tasks.controllers.identity import identity_of, plan_identity
from tasks.controllers.known import learned
from tasks.errors import FleetError
from tasks.facts.machine import is_there, machine_facts_of, why_not_foreseen
from tasks.machine.change import Calls, Clock, apply_calls
from tasks.outcome import converge, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.shell import Shell
from tasks.transport import exec_shell_of, shell_of

#: Seconds for making both, the packages that it takes included.
DEADLINE = 300.0

logger = logging.getLogger(__name__)


def identify_controller(task: Task, dry_run: bool | None = None) -> Result:
    """Give a controller of the fleet an SSH key and a client certificate for LXD of its own.

    They are made there, and only their public halves come here. What the phase before has read is
    not read again, and stays for the next one.

    Arguments:
        dry_run: only say what would be done.

    ``Result.result`` is the record of the phase ``bootstrap`` (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    machine = run.intent.machine(host.name)
    controller = machine.controller
    dry = task.is_dry_run(dry_run)
    clock = Clock(DEADLINE)
    if controller is None or not getattr(machine, "running", True):
        reason = "declared as not running" if controller else "it is no controller"
        return result_of(task, record("bootstrap", "skipped", message=reason))

    def plan(fresh: bool) -> Plan[Calls]:
        why = why_not_foreseen(host) if dry and host.name not in run.machines else ""
        if why:
            return Plan(notes=(why,))
        facts = _facts(host, dry=dry)
        learned(run, identity_of(machine, controller, facts))
        return plan_identity(machine, controller, facts)

    def apply(plan: Plan[Calls]) -> None:
        there = shell()
        run.machines.pop(host.name, None)  # read anew, for the proof
        apply_calls(there, "bootstrap", plan, clock, scripts=("controller",))

    def shell() -> Shell:
        """By exec where it was read so: a run from inside may not know its own host key yet."""
        facts = run.machines.get(host.name)
        return exec_shell_of(host) if facts and facts.over == "exec" else shell_of(host)

    return converge(task, "bootstrap", plan=plan, apply=apply, dry_run=dry_run, ready=shell)


def look_at_controller(task: Task) -> Result:
    """See who a controller is that this run does not change; one that cannot be read is no failure.

    ``Result.result`` says whether it was read.
    """
    host = task.host
    run = run_of(task)
    machine = run.intent.machine(host.name)
    read = False
    try:
        if machine.controller and getattr(machine, "running", True) and is_there(host):
            facts = _facts(host, dry=True)
            learned(run, identity_of(machine, machine.controller, facts))
            read = True
    except FleetError as error:
        logger.info("%s: what is remembered of it has to do: %s", host.name, error)
    return Result(host=host, result=read)


def _facts(host: Host, *, dry: bool) -> MachineFacts:
    """What the phase before has read, or a read of its own; the next phase finds it as well."""
    run = run_of(host)
    facts = run.machines.get(host.name)
    if facts is None:
        there = not dry or is_there(host)
        facts = machine_facts_of(host, over_exec=True) if there else MachineFacts(host.name)
        run.machines[host.name] = facts
    return facts
