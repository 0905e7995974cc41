"""Bring containers from nothing to SSH, and give hosts their first upgrade."""

from __future__ import annotations

import logging

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import MachineFacts
from tasks.bootstrap.plan import plan_bootstrap, plan_host_bootstrap
from tasks.errors import FleetError, UnreachableError
from tasks.facts.machine import is_there, machine_facts_of, read_machine
from tasks.intent.model import Container
from tasks.machine.change import Call, Calls, Clock, apply_calls
from tasks.outcome import converge, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import exec_shell_of, shell_of

logger = logging.getLogger(__name__)


def bootstrap_container(task: Task, dry_run: bool | None = None) -> Result:
    """Bring a container to where SSH answers with a host key that we know.

    One read (over SSH where it answers already, else through ``lxc exec`` on its LXD host), one
    change over exec, one proof over SSH. ``bootstrap.deadline`` bounds all of it.

    Arguments:
        dry_run: only say what would be done; a container that does not run is planned as new.

    ``Result.result`` is the phase's record (see :func:`tasks.outcome.record`).
    """
    container = run_of(task).intent.containers[task.host.name]
    if not container.running:
        reason = "declared as not running"
        return result_of(task, record("bootstrap", "skipped", message=reason))
    bootstrap = _ContainerBootstrap(task.host, container, dry=task.is_dry_run(dry_run))
    return converge(task, "bootstrap", plan=bootstrap.plan, apply=bootstrap.apply, dry_run=dry_run)


class _ContainerBootstrap:
    """One container on its way; its exchanges share one deadline."""

    def __init__(self, host: Host, container: Container, *, dry: bool) -> None:
        self.host = host
        self.container = container
        self.dry = dry
        self.run = run_of(host)
        self.image = self.run.intent.images[container.image]
        self.clock = Clock(container.bootstrap.deadline)

    def plan(self, fresh: bool) -> Plan[Calls]:
        """Read, plan, and keep what was read for the next phase."""
        facts = self._over_ssh() if fresh else self._read()
        plan = plan_bootstrap(self.container, self.image, facts)
        if facts.over == "exec" and not self.dry and not plan.changed:
            self._learn(facts.host_key)
            facts = self._over_ssh()
            plan = plan_bootstrap(self.container, self.image, facts)
        self.run.machines[self.host.name] = facts
        return plan

    def apply(self, plan: Plan[Calls]) -> None:
        """Over exec: a change of the network does not cut the branch it sits on."""
        self.run.machines.pop(self.host.name, None)
        last = (Call("start_ssh"), Call("tell_host_key"))
        shell = exec_shell_of(self.host)
        said = apply_calls(shell, "bootstrap", plan, self.clock, last=last)
        told = [
            line.partition(" ")[2] for line in said.splitlines() if line.startswith("host_key ")
        ]
        self._learn("\n".join(told))

    def _read(self) -> MachineFacts:
        if self.dry and not is_there(self.host):
            return MachineFacts(self.host.name)
        return machine_facts_of(self.host, deadline=self.clock.left, over_exec=True)

    def _over_ssh(self) -> MachineFacts:
        try:
            shell = shell_of(self.host)
            return read_machine(shell, self.container, deadline=self.clock.left)
        except UnreachableError as error:
            raise FleetError(
                f"bootstrapped over exec, but SSH does not answer: {error.what}",
                where=self.host.name,
                remedy=error.remedy or "look at its address, its route and its sshd",
            ) from error

    def _learn(self, key: str) -> None:
        """The LXD host's verified SSH vouches for what it read inside its container."""
        ssh = self.container.ssh
        if not key:
            raise FleetError("it has no SSH host key", where=self.host.name)
        self.run.state.learn_host_key(self.host.name, ssh.hostname, ssh.port, key)
        logger.info("%s: learned its host key %s", self.host.name, key)


def bootstrap_host(task: Task, dry_run: bool | None = None) -> Result:
    """Give an LXD host or a plain machine its first upgrade, root's keys and a quiet login.

    Arguments:
        dry_run: only say what would be done.

    ``Result.result`` is the phase's record (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    machine = run.intent.machine(host.name)
    clock = Clock(machine.bootstrap.deadline)

    def plan(fresh: bool) -> Plan[Calls]:
        facts = machine_facts_of(host)
        run.machines[host.name] = facts
        return plan_host_bootstrap(machine, facts)

    def apply(plan: Plan[Calls]) -> None:
        run.machines.pop(host.name, None)
        apply_calls(shell_of(host), "bootstrap", plan, clock)

    return converge(task, "bootstrap", plan=plan, apply=apply, dry_run=dry_run)
