"""Configure a machine: one read, one change, one proof."""

from __future__ import annotations

from nornir.core.task import Result, Task

from tasks.actual import MachineFacts
from tasks.configure.plan import plan_configuration
from tasks.controllers.equip import controller_steps
from tasks.controllers.known import letting_in
from tasks.facts.machine import is_there, machine_facts_of, why_not_foreseen
from tasks.machine.change import Calls, Clock, apply_calls
from tasks.outcome import converge, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.shell import Shell
from tasks.ssh.own_keys import public_keys_of
from tasks.transport import exec_notes, shell_of

#: Seconds for the whole configuration of one machine.
DEADLINE = 900.0


def configure_system(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Bring what ``configure`` declares of a machine about: repositories, packages, host name,
    time zone, locale, groups, users, files, kernel settings, cron jobs and services.

    Over SSH, or through its LXD host where a container does not answer at all (the record says so).
    A service is restarted only when a file that names it changed, once, after all files. A file
    whose validation fails goes back to what it was, and the phase fails. What the phase before
    has read is not read again.

    Arguments:
        dry_run: only say what would be done; a container that does not exist yet is planned from
            nothing, of one that is stopped nothing is foreseen.
        prune: take back files that we wrote and that left the inventory, which are only noted
            otherwise; what was there before comes back. Keys, users and groups that we made and
            that left it go; homes stay, and groups that somebody is in.

    ``Result.result`` is the phase's record (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    machine = letting_in(run.intent.machine(host.name), run)
    dry = task.is_dry_run(dry_run)
    clock = Clock(DEADLINE)
    if not getattr(machine, "running", True):
        reason = "declared as not running"
        return result_of(task, record("configure", "skipped", message=reason))

    def read() -> MachineFacts:
        if dry and host.name not in run.machines and not is_there(host):
            return MachineFacts(host.name)
        return machine_facts_of(host, over_exec=dry)

    def plan(fresh: bool) -> Plan[Calls]:
        why = why_not_foreseen(host) if dry and host.name not in run.machines else ""
        if why:
            return Plan(notes=(why,))
        facts = read()
        more = controller_steps(host, machine, facts, prune=prune)
        own = public_keys_of(machine.ssh) if facts.added_keys.get(machine.ssh.username) else ()
        plan = plan_configuration(machine, facts, prune=prune, before_files=more, own_keys=own)
        return plan.noted(*exec_notes(host))

    def apply(plan: Plan[Calls]) -> None:
        scripts = ("configure", "controller") if machine.controller else ("configure",)
        apply_calls(shell_of(host), "configure", plan, clock, scripts=scripts)

    def ready() -> Shell:
        return shell_of(host)

    return converge(task, "configure", plan=plan, apply=apply, dry_run=dry_run, ready=ready)
