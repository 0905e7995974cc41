"""Bring containers from nothing to SSH, and give hosts their first upgrade."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import MachineFacts
from tasks.bootstrap.network import someone_in
from tasks.bootstrap.plan import plan_bootstrap, plan_host_bootstrap
from tasks.containers.holder import see_that_it_is_free, who_has_address_of
from tasks.controllers.known import letting_in
from tasks.errors import FleetError, HostKeyError, UnreachableError
from tasks.facts.machine import (
    is_known,
    is_there,
    machine_facts_of,
    read_machine,
    why_not_foreseen,
)
from tasks.facts.machine_document import is_whole
from tasks.intent.model import Container
from tasks.machine.change import Call, Calls, Clock, apply_calls
from tasks.outcome import converge, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.shell import Shell
from tasks.transport import NO_ADDRESS, exec_notes, exec_shell_of, shell_of, ssh_shell_of

logger = logging.getLogger(__name__)


def bootstrap_container(task: Task, dry_run: bool | None = None) -> Result:
    """Bring a container to where SSH answers with a host key that we know.

    One read (over SSH where it answers already, else through ``lxc exec`` on its LXD host), one
    change over exec, one proof over SSH. ``bootstrap.deadline`` bounds all of it. One that has no
    address to be managed at stays without SSH, and the record says so.

    Arguments:
        dry_run: only say what would be done; a container that does not exist yet is planned from
            nothing, of one that is stopped nothing is foreseen.

    ``Result.result`` is the phase's record (see :func:`tasks.outcome.record`).
    """
    run = run_of(task)
    container = letting_in(run.intent.containers[task.host.name], run)
    if not container.running:
        reason = "declared as not running"
        return result_of(task, record("bootstrap", "skipped", message=reason))
    bootstrap = _ContainerBootstrap(task.host, container, dry=task.is_dry_run(dry_run))
    return converge(
        task,
        "bootstrap",
        plan=bootstrap.plan,
        apply=bootstrap.apply,
        dry_run=dry_run,
        ready=bootstrap.ready,
    )


class _ContainerBootstrap:
    """One container on its way; its exchanges share one deadline."""

    def __init__(self, host: Host, container: Container, *, dry: bool) -> None:
        self.host = host
        self.container = container
        self.dry = dry
        self.run = run_of(host)
        self.image = self.run.intent.images[container.image]
        self.clock = Clock(container.bootstrap.deadline)
        self.has_ssh = bool(container.ssh.hostname)
        if not self.has_ssh:
            self.run.over_exec[host.name] = NO_ADDRESS

    def plan(self, fresh: bool) -> Plan[Calls]:
        """Read, plan, and keep what was read for the next phase."""
        why = why_not_foreseen(self.host) if self.dry else ""
        if why:
            return Plan(notes=(why,))
        facts = self._over_ssh() if fresh and self.has_ssh else self._read()
        plan = plan_bootstrap(self.container, self.image, facts)
        if facts.over == "exec" and self.has_ssh and not self.dry and not plan.changed:
            self._learn(facts.host_key)
            facts = self._over_ssh()
            plan = plan_bootstrap(self.container, self.image, facts)
        self.run.machines[self.host.name] = facts
        return plan.noted(*exec_notes(self.host))

    def ready(self) -> None:
        """The LXD host answers: exec goes over its SSH."""
        shell_of(self.run.hosts[self.container.on])

    def apply(self, plan: Plan[Calls]) -> None:
        """Over exec: a change of the network does not cut the branch it sits on."""
        self.run.machines.pop(self.host.name, None)
        static = [a for a in self.container.attachments.values() if a.address]
        last = tuple(Call("announce", (a.interface, someone_in(a))) for a in static)
        if self.has_ssh:
            last = (Call("start_ssh"), *last, Call("tell_host_key"))
        shell = exec_shell_of(self.host)
        said = apply_calls(shell, "bootstrap", plan, self.clock, last=last)
        if not self.has_ssh:
            return
        if is_whole(said):
            lines = (line.partition(" ") for line in said.splitlines())
            key = "".join(value for kind, _, value in lines if kind == "host_key")
        else:  # an exec loses it now and then: asked once more, which changes nothing
            key = read_machine(shell, self.container, deadline=self.clock.left).host_key
        self._learn(key)

    def _read(self) -> MachineFacts:
        if not self.has_ssh:
            return self._facts()
        with ThreadPoolExecutor(1) as pool:
            # side by side with the read: an address that nobody has keeps one waiting
            known = is_known(self.host, self.container)
            asked = None if known else pool.submit(who_has_address_of, self.container)
            facts = self._facts()
        if facts.over != "ssh":
            answer = asked.result() if asked else who_has_address_of(self.container)
            if answer:
                see_that_it_is_free(self.container, facts, answer, self.run)
        return facts

    def _facts(self) -> MachineFacts:
        """What there is inside, over SSH where that answers already; nothing of none."""
        if self.dry and not is_there(self.host):
            return MachineFacts(self.host.name)
        return machine_facts_of(self.host, deadline=self.clock.left, over_exec=True)

    def _over_ssh(self) -> MachineFacts:
        try:
            shell = ssh_shell_of(self.host)
            return read_machine(shell, self.container, deadline=self.clock.left)
        except HostKeyError as error:
            raise FleetError(
                f"bootstrapped over exec, but another machine answers at "
                f"{self.container.ssh.hostname}: {error.what}",
                where=self.host.name,
                remedy="find that machine and give one of the two another address",
            ) from error
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
    machine = letting_in(run.intent.machine(host.name), run)
    clock = Clock(machine.bootstrap.deadline)

    def plan(fresh: bool) -> Plan[Calls]:
        facts = machine_facts_of(host)
        run.machines[host.name] = facts
        return plan_host_bootstrap(machine, facts)

    def apply(plan: Plan[Calls]) -> None:
        run.machines.pop(host.name, None)
        apply_calls(shell_of(host), "bootstrap", plan, clock)

    def ready() -> Shell:
        return shell_of(host)

    return converge(task, "bootstrap", plan=plan, apply=apply, dry_run=dry_run, ready=ready)
