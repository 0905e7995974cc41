"""Back up a container: the container and its volumes, on another machine of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import Json
from tasks.errors import FleetError
from tasks.facts.lxd import lxd_facts_of
from tasks.intent.maintenance import Backup
from tasks.intent.model import Container
from tasks.maintenance.backups.kept import Stored
from tasks.maintenance.backups.plan import BackupWrite, created, export_path, plan_backup
from tasks.maintenance.backups.promises import promised_room
from tasks.maintenance.backups.read_room import read_room
from tasks.maintenance.backups.room import LxdRoom, see_room_for_export, see_that_lxd_can
from tasks.maintenance.backups.store import Store
from tasks.maintenance.backups.stored import INSTANCE_ID, Part, StoredBackup, parts_of, state_of
from tasks.maintenance.disks import custom_volumes, disks_left_out, root_pool
from tasks.maintenance.moments import clock, moment_name
from tasks.onhost import on_host
from tasks.outcome import converge, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import lock_host, shell_of

BACKUP = "backup"
#: Seconds to remove an export that an earlier run left in LXD.
CLEAR_DEADLINE = 300.0


def back_up_container(task: Task, dry_run: bool | None = None) -> Result:
    """Export a container and its custom volumes to where ``maintenance.backup`` says.

    They are files of LXD's own (``lxc export``, ``lxc storage volume export``), without snapshots,
    in a folder named after the moment (``20261124T030000Z``, UTC), with a manifest of their sizes
    and sha256 sums, which is written last. Another LXD host gets them over its remote, a plain
    machine through the SSH connections of the run. The container is neither stopped nor frozen:
    on btrfs and zfs LXD exports a snapshot, so that each file has the state of one moment, as after
    a power cut; on other storage it reads one file after the other while the container writes, and
    the record says so. Disks that are folders or devices of the LXD host are not in it, which the
    record says too. Before anything is written the room is looked at, in LXD's folder and where it
    goes. Afterwards those go that ``maintenance.backup.keep`` does not keep.

    A killed run leaves half a backup and at most an export in LXD; the next one removes both.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``backup``; its steps say what was written where, with
    sizes. Errors are in it, never raised.
    """
    run = run_of(task)
    container = run.intent.containers[task.host.name]
    rule = container.maintenance.backup
    if rule is None:
        reason = "maintenance.backup says nothing, it is not backed up"
        return result_of(task, record(BACKUP, "ok", plan=Plan(reason=reason)))
    backup = _Backup(run.hosts[container.on], container, rule, run.hosts[rule.to])
    return converge(
        task,
        BACKUP,
        plan=backup.plan,
        apply=backup.apply,
        dry_run=dry_run,
        ready=lambda: lock_host(run.hosts[container.on]),
    )


class _Backup:
    """One backup on its way."""

    def __init__(self, host: Host, container: Container, rule: Backup, keeper: Host) -> None:
        self.run = run_of(host)
        self.host = host
        self.container = container
        self.rule = rule
        self.store = Store(keeper, container, rule.deadline)
        self.moment = moment_name(clock())
        self.whole = StoredBackup(container.name, self.moment, host.name, "stopped")
        self.room = LxdRoom()

    def plan(self, fresh: bool) -> Plan[BackupWrite]:
        """Look at what is kept and, where this one is not among it, at what is to be exported."""
        stored = self.store.look()
        if self.moment in stored.whole:
            return Plan(reason=f"backup {self.moment} is on {self.rule.to}")
        facts = lxd_facts_of(self.host)
        instance = facts.instances.get(self.container.name)
        if instance is None:
            raise FleetError(
                "there is no such container to back up",
                where=self.host.name,
                remedy="raise it, or restore it from its last backup: maintain.py restore",
            )
        self.room = read_room(self.host, facts, _questions(instance))
        parts = parts_of(instance, self.room.sizes)
        see_that_lxd_can(self.host.name, facts, parts, take_in=False)
        self.whole = replace(
            self.whole,
            state=state_of(instance, facts),
            profiles=tuple(instance.get("profiles") or ()),
            instance_id=str((instance.get("config") or {}).get(INSTANCE_ID, "")),
            parts=parts,
        )
        if not stored.halves:  # what they take is free once they are removed
            self._see_room(self.room, stored)
        notes = [f"its files are those {self.whole.state}"] * (self.whole.state != "stopped")
        if left := disks_left_out(instance):
            notes.append(f"not in it: {', '.join(left)}, which is of the LXD host itself")
        return plan_backup(
            self.moment,
            parts,
            stored,
            self.room.exports,
            to=self.rule.to,
            keep=self.rule.keep,
            notes=notes,
        )

    def apply(self, plan: Plan[BackupWrite]) -> Plan[BackupWrite]:
        """Make it, whole or not at all; the plan with the sizes that its files have."""
        left = {step.write.path for step in plan.steps if step.write.action == "clear"}
        kept = [
            f"{path}/{name}"
            for path, names in self.room.exports.items()
            for name in names
            if export_path(path, name) not in left
        ]
        self.store.begin(self.moment, kept)
        for step in plan.steps:
            if step.write.action == "clear":
                self._clear(step.write.path)
        try:
            with promised_room(self.run, self._look_for_room) as written:
                parts = tuple(self._fetched(part, written) for part in self.whole.parts)
        except FleetError:
            with suppress(FleetError):  # what is half takes room until the next run
                self.store.drop(self.moment)
            raise
        self.whole = replace(self.whole, parts=parts)
        going = [step.write.moment for step in plan.steps if step.write.action == "delete"]
        self.store.keep(self.whole, going)
        return replace(
            plan,
            steps=tuple(
                created(self.moment, parts, self.rule.to) if s.write.action == "create" else s
                for s in plan.steps
            ),
        )

    def _fetched(self, part: Part, written: Callable[[str, int], None]) -> Part:
        measured = self.store.fetch(self.moment, part, self.host)
        written(self.rule.to, part.size)
        return measured

    def _look_for_room(self, promised: Mapping[str, int]) -> dict[str, int]:
        """Others may have taken since what was free when it was planned."""
        room = read_room(self.host, lxd_facts_of(self.host), ())
        return self._see_room(room, self.store.look(), promised)

    def _see_room(
        self, room: LxdRoom, stored: Stored, promised: Mapping[str, int] = {}
    ) -> dict[str, int]:
        return see_room_for_export(
            self.host.name,
            room,
            self.whole.parts,
            to=self.rule.to,
            place=stored.folder,
            free=stored.free,
            promised=promised,
        )

    def _clear(self, path: str) -> None:
        seconds = str(int(CLEAR_DEADLINE))
        script = on_host("lxd_client", seconds, "query", "--wait", "-X", "DELETE", path)
        done = shell_of(self.host).run(script, deadline=CLEAR_DEADLINE)
        if b"not found" not in done.stderr.lower():  # the client of the killed run was faster
            done.check(self.host.name, f"removing {path}", f"look at: lxc query {path}")


def _questions(instance: Json) -> list[str]:
    """What is asked of the LXD host: how large each part is, and which exports LXD keeps of it."""
    name = str(instance["name"])
    questions = ["size", root_pool(instance), "container", name]
    questions += ["exports", f"/1.0/instances/{name}"]
    for pool, volume in custom_volumes(instance):
        questions += ["size", pool, "custom", volume]
        questions += ["exports", f"/1.0/storage-pools/{pool}/volumes/custom/{volume}"]
    return questions
