"""Raise a container from its last backup, on its own LXD host or on another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from ipaddress import ip_address

from nornir.core import Nornir
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import LxdFacts
from tasks.containers.holder import who_has_address_of
from tasks.containers.restarting import UP_DEADLINE
from tasks.containers.wire import addresses_in_reach, holder_of, who_has
from tasks.errors import FleetError, ProofError, UnchangedError, UsageError
from tasks.facts.host import facts_or_none
from tasks.facts.lxd import lxd_facts_of
from tasks.facts.machine import is_known, read_machine
from tasks.intent.maintenance import Backup
from tasks.intent.model import Address, Container
from tasks.intent.system import Configure
from tasks.lxd_api.connection import api_of
from tasks.maintenance.backups.plan import newest
from tasks.maintenance.backups.read_room import read_room
from tasks.maintenance.backups.room import LxdRoom, see_room_for_import, see_that_lxd_can
from tasks.maintenance.backups.store import Store
from tasks.maintenance.backups.stored import StoredBackup
from tasks.maintenance.restore.marks import begun_from
from tasks.maintenance.restore.plan import RestoreWrite, plan_restore, see_that_it_can_be
from tasks.maintenance.restore.writes import RestoreWriter
from tasks.mistakes import nearest
from tasks.outcome import converge
from tasks.plan import Plan
from tasks.prove import not_as_declared
from tasks.run import run_of
from tasks.transport import exec_shell_of, ssh_shell_of

RESTORE = "restore"


def place_on(nr: Nornir, host: str) -> None:
    """Have the selected containers be on another LXD host for this run, wherever they are declared.

    Raises :class:`UsageError` where there is no such LXD host.
    """
    run = run_of(nr)
    hosts = run.intent.lxd_hosts
    if host not in hosts:
        raise UsageError(
            f"--to {host}: there is no such LXD host in the inventory",
            remedy=nearest(host, hosts, "name one that is declared"),
        )
    placed = {
        name: replace(container, on=host) if name in run.selected else container
        for name, container in run.intent.containers.items()
    }
    run.intent = replace(run.intent, containers=placed)


def restore_container(
    task: Task, dry_run: bool | None = None, *, replace_it: bool = False, moment: str = ""
) -> Result:
    """Bring a container back as it was in its last backup, with its volumes, on its LXD host.

    That is the one it is declared on, or where :func:`place_on` has put it for this run. The
    backup's sums are verified first. A container that is there is not overwritten, nor is a volume,
    and none is restored that another LXD host has, be it stopped, or at whose address somebody
    answers. It is started where it is declared running, and proven: its system is up, its
    addresses and default route are as declared, SSH logs in with the known host key.

    What is there runs on while the backup is imported beside it, and goes out of the way once that
    is whole. A volume that another container uses is left as it is where it came with that one from
    the same moment, and is refused otherwise. On one LXD host one container is brought at a time.

    A killed run is finished by the next one: what is half is imported anew, what is whole is put in
    its place, and what is there and was not proven is, unless another ``moment`` is asked for.

    Arguments:
        dry_run: overrides Nornir's own dry run.
        replace_it: stop the container that is there, and keep it and its volumes under other names
            (``NAME-replaced-YYYYMMDD``), without MACs.
        moment: the name of another backup than the last one.

    ``Result.result`` is the record of phase ``restore``. Errors are in it, never raised.
    """
    run = run_of(task)
    container = run.intent.containers[task.host.name]
    restoring = _Restoring(task.host, container, replace_it=replace_it, moment=moment)
    return converge(
        task,
        RESTORE,
        plan=restoring.plan,
        apply=restoring.apply,
        dry_run=dry_run,
        ready=lambda: api_of(restoring.target),
    )


class _Restoring:
    """One container on its way back."""

    def __init__(self, host: Host, container: Container, *, replace_it: bool, moment: str) -> None:
        self.run = run_of(host)
        self.host = host
        self.container = container
        self.replace_it = replace_it
        self.moment = moment
        self.chosen = bool(moment)
        self.target = self.run.hosts[container.on]
        self.room = LxdRoom()
        self.done = False
        self._backups: list[StoredBackup] | None = None

    def plan(self, fresh: bool) -> Plan[RestoreWrite]:
        """Look at the backups, at all LXD hosts and at the address, and plan."""
        if self.done:
            return self._see_that_it_is_done()
        here = lxd_facts_of(self.target, fresh=fresh)
        begun = begun_from(self.container.name, here)
        if not self.chosen and any(kept.moment == begun for kept in self._kept()):
            self.moment = begun
        backup, _ = self._backup()
        others, unread = self._others()
        see_that_it_can_be(
            self.container,
            self.run.intent.lxd_hosts[self.container.on],
            backup,
            here,
            others,
            declared=self.run.intent.containers,
        )
        pools = list(dict.fromkeys(part.pool for part in backup.parts))
        questions = [word for pool in pools for word in ("pool", pool, "volumes", pool)]
        self.room = read_room(self.target, here, questions)
        plan = plan_restore(
            self.container,
            backup,
            here,
            self.room,
            replace=self.replace_it,
            chosen=self.chosen,
            today=date.today(),
            keeper=self._rule.to,
        )
        actions = {step.write.action for step in plan.steps}
        parts = [s.write.part for s in plan.steps if s.write.action == "import" and s.write.part]
        if parts:
            see_that_lxd_can(self.container.on, here, parts, take_in=True)
            see_room_for_import(self.container.on, self.room, parts, here)
        if "start" in actions:
            self._see_that_nobody_has_its_address(here)
        notes = [f"its files are those {backup.state}"] * (backup.state != "stopped")
        if unread:
            notes.append(f"not looked for on {', '.join(unread)}, which could not be read")
        return replace(plan, notes=(*plan.notes, *notes)) if plan.changed else plan

    def apply(self, plan: Plan[RestoreWrite]) -> Plan[RestoreWrite]:
        """Verify the backup, then bring it; the plan as it was once an earlier run had ended."""
        backup, before = self._backup()
        if any(step.write.action == "import" for step in plan.steps):
            self._verify(backup, before)
        api = api_of(self.target)
        writer = RestoreWriter(api, self._store, backup, self.container, self.target)
        kept = ""
        try:
            with self.run.restoring(self.target.name):
                if any(step.write.action in ("import", "place") for step in plan.steps):
                    plan = self.plan(True)
                for write in (step.write for step in plan.steps[:-1]):
                    self._carry_out(writer, write)
                    if (write.action, write.name) == ("retire", self.container.name):
                        kept = write.rename
            for write in (step.write for step in plan.steps[-1:]):
                self._carry_out(writer, write)
        except FleetError as error:
            if kept:
                error.remedy = _and_what_is_kept(error.remedy, self.container.name, kept)
            raise
        self.done = True
        return plan

    @property
    def _rule(self) -> Backup:
        rule = self.container.maintenance.backup
        if rule is None or not rule.to:
            raise FleetError(
                "no machine that keeps its backups is declared",
                where=self.container.name,
                remedy="write maintenance: {backup: {to: NAME}}",
            )
        return rule

    @property
    def _store(self) -> Store:
        return Store(self.run.hosts[self._rule.to], self.container, self._rule.deadline)

    def _kept(self) -> list[StoredBackup]:
        """Its backups, the newest first, read once."""
        if self._backups is None:
            self._backups = newest(self._store.look())
        return self._backups

    def _backup(self) -> tuple[StoredBackup, StoredBackup | None]:
        """The backup that is meant, and the one before it."""
        found = self._kept()
        wanted = [b for b in found if not self.moment or b.moment == self.moment]
        if not wanted:
            there = ", ".join(b.moment for b in found)
            remedy = f"there is {there}" if there else "without one, provision.py raises it anew"
            raise FleetError(
                f"it has no backup {self.moment}".rstrip() + f" on {self._rule.to}",
                where=self.container.name,
                remedy=remedy,
            )
        earlier = [b for b in found if b.moment < wanted[0].moment]
        return wanted[0], earlier[0] if earlier else None

    def _others(self) -> tuple[dict[str, LxdFacts], list[str]]:
        """What the other LXD hosts have, and those that could not be read."""
        names = [name for name in self.run.intent.lxd_hosts if name != self.container.on]
        facts = {name: facts_or_none(self.run.hosts[name]) for name in names}
        read = {name: found.lxd for name, found in facts.items() if found and not found.lxd.problem}
        return read, [name for name in names if name not in read]

    def _see_that_nobody_has_its_address(self, here: LxdFacts) -> None:
        """A host that cannot be managed any more may still have it running."""
        instance = here.instances.get(self.container.name, {})
        if instance.get("status") == "Running":
            return
        container, run = self.container, self.run
        reach = addresses_in_reach(container, run.intent.lxd_hosts[container.on])
        own = set(_address_of(container))
        held = who_has(self.target, {*reach, *own})
        where = container.ssh.hostname if own and who_has_address_of(container) else ""
        for address, mac in held.items():
            network = f" in the network {reach[address]}" if address in reach else ""
            holder = holder_of(mac, container.on, dict(run.facts))
            where = f"{address}{network}, {holder}"
        if where:
            raise UnchangedError(
                f"somebody answers at its address {where}: it may still run on a host that is not "
                "reachable, or another machine has the address",
                where=container.name,
                remedy="find that machine and stop it, then run again",
            )

    def _verify(self, backup: StoredBackup, before: StoredBackup | None) -> None:
        damaged = self._store.damaged(backup)
        if damaged:
            files = ", ".join(damaged)
            raise FleetError(
                f"the backup {backup.moment} on {self._rule.to} is damaged: {files} is not what "
                "was written (sha256)",
                where=self.container.name,
                remedy=f"take the one before: --backup {before.moment}"
                if before
                else "there is none before it",
            )

    def _carry_out(self, writer: RestoreWriter, write: RestoreWrite) -> None:
        writer.carry_out(write)
        if write.action in ("start", "prove"):
            if self.container.running:
                self._prove()
            writer.let_go()

    def _prove(self) -> None:
        """See from inside that it is up and where it should be, and that SSH lets us in."""
        container = self.container
        facts = read_machine(exec_shell_of(self.host), container, deadline=UP_DEADLINE)
        wrong = list(not_as_declared(replace(container, configure=Configure()), facts))
        if wrong:
            raise ProofError(
                f"it runs, and not as declared: {'; '.join(wrong)}",
                where=container.name,
                remedy=f"provision.py --limit {container.name} mends it where it is declared",
            )
        if container.ssh.hostname:
            if not is_known(self.host, container) and facts.host_key:
                ssh = container.ssh
                self.run.state.learn_host_key(
                    container.name, ssh.hostname, ssh.port, facts.host_key
                )
            ssh_shell_of(self.host).run("true").check(container.name, "logging in over SSH")

    def _see_that_it_is_done(self) -> Plan[RestoreWrite]:
        instance = lxd_facts_of(self.target, fresh=True).instances.get(self.container.name, {})
        wanted = "Running" if self.container.running else "Stopped"
        if instance.get("status") != wanted:
            raise ProofError(
                f"restored, but it is {instance.get('status', 'gone')}",
                where=self.container.name,
                remedy=f"look at: lxc info {self.container.name} --show-log",
            )
        return Plan(reason=f"restored, {wanted.lower()}")


def _address_of(container: Container) -> Iterator[Address]:
    """The one it is managed at, unless that is a name, or whoever leads to it has it."""
    with suppress(ValueError):
        address = ip_address(container.ssh.hostname)
        own = (found.ip for each in container.attachments.values() for found in each.addresses)
        if address in own:
            yield address


def _and_what_is_kept(remedy: str, name: str, kept: str) -> str:
    said = (
        f"the one that was there is kept, stopped, as {kept}: run again, or bring that one back "
        f"(once {name} is out of its way: lxc rename {kept} {name}; lxc start {name})"
    )
    return f"{remedy}; {said}" if remedy else said
