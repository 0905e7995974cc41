"""Upgrade a container with a way back: it ends well, or as it was before.

Drained, found well, a snapshot, the upgrade, services restarted that need it, found well again,
undrained. Where the upgrade fails or does not leave it well, it goes back to the snapshot. What is
attached to it besides its root disk is in no snapshot of LXD's, and keeps what was written.

How far it is, the container itself says, so that a run that is killed is finished by the next one,
from whatever controller: the config key ``UPGRADING`` from before it is drained until it has its
work again; the snapshot ``fleet-upgrade-...`` from when there is something to go back to; and
``fleet-restore-...``, its name from the moment that going back is decided.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from nornir.core.task import Result, Task

from tasks.actual import Json
from tasks.containers.remembered import UPGRADING, is_upgrading
from tasks.containers.restarting import see_that_it_is_up
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import change_state, stop, update
from tasks.errors import FleetError, ProofError
from tasks.facts.host import facts_of
from tasks.intent.model import BoundedCommand, Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.health import check_health
from tasks.maintenance.packages import PHASE, foreseen, see_it_ended_well, upgraded
from tasks.maintenance.snapshots import PREFIX, snapshot_name, snapshots_of
from tasks.outcome import Status, failure, record, result_of
from tasks.plan import Plan, Step
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: How the snapshot is called while there may be a way back to go, and once it is gone.
UNDER_WAY = f"{PREFIX}upgrade-"
GOING_BACK = f"{PREFIX}restore-"
#: How often its health is looked at after an upgrade, and the seconds between: services start.
LOOKS = 4
PAUSE = 3.0


def upgrade_with_a_way_back(task: Task, container: Container) -> Result:
    """Upgrade a container for which there is something to do; see the module.

    The Result holds the record of phase ``upgrade``. It is failed where it went back, and its
    steps say so.
    """
    started = time.monotonic()
    upgrade = _Upgrade(task, container)
    try:
        upgrade.run()
    except Exception as error:
        seconds = time.monotonic() - started
        begun, plan = upgrade.begun, upgrade.plan
        return result_of(task, failure(PHASE, error, plan=plan, seconds=seconds, begun=begun))
    plan = replace(upgrade.plan, notes=(*upgrade.plan.notes, *exec_notes(task.host)))
    status: Status = "changed" if plan.changed else "ok"
    return result_of(task, record(PHASE, status, plan=plan, seconds=time.monotonic() - started))


class _Upgrade:
    """One upgrade on its way; ``begun`` says that something of it may be left."""

    def __init__(self, task: Task, container: Container) -> None:
        self.task = task
        self.host = task.host
        self.container = container
        self.rules = container.maintenance
        self.shared = run_of(task)
        self.lxd_host = self.shared.hosts[container.on]
        self.path = f"/1.0/instances/{container.name}"
        self.plan: Plan[None] = Plan()
        self.begun = False

    def run(self) -> None:
        """Look, and where there is something to do, do it; or finish what another run began."""
        instance = facts_of(self.lxd_host).lxd.instances.get(self.container.name, {})
        snapshot = ""
        if is_upgrading(instance):
            snapshot = self._snapshot_left()
            if snapshot.startswith(GOING_BACK):
                self._restore(snapshot, "an earlier run was ended while it went back")
        elif not self._is_something_to_do():
            return
        taken_up = bool(snapshot)
        snapshot = snapshot or self._prepare()
        self.begun = True
        try:
            if taken_up:
                self._see_that_it_runs(instance)
                self._drain()
            self._upgrade()
            self._see_that_it_is_well()
        except FleetError as error:
            self._restore(self._decide_to_go_back(snapshot), error.what)
        self._finish(snapshot)

    def _is_something_to_do(self) -> bool:
        self.plan = foreseen(self.host, "look", self.rules.deadline)
        return self.plan.changed

    def _prepare(self) -> str:
        """Take its work off it, see that it is well, and take the snapshot; the name of that."""
        snapshot = snapshot_name(datetime.now(timezone.utc), UNDER_WAY)
        self._mark()
        try:
            self._drain()
            self._see_that_it_was_well()
            self._take(snapshot)
        except FleetError as error:
            self._let_go(error)
            raise
        return snapshot

    def _let_go(self, reason: FleetError) -> None:
        """Give it its work again, which is not upgraded for that reason."""
        try:
            self._undrain()
            self._unmark()
        except FleetError as error:
            raise FleetError(
                f"{reason.what}; and then {error.what}",
                where=self.container.name,
                remedy="mend it there; the next run goes on with it",
            ) from error

    def _see_that_it_runs(self, instance: Json) -> None:
        if instance.get("status") == "Stopped":
            change_state(self._api, self.container.name, "start")
            see_that_it_is_up(self.shared, self.container)

    def _upgrade(self) -> None:
        upgrade = upgraded(self.host, "restart", self.rules.deadline)
        self.plan = upgrade.plan
        see_it_ended_well(self.host, upgrade)

    def _decide_to_go_back(self, snapshot: str) -> str:
        decided = GOING_BACK + snapshot.removeprefix(UNDER_WAY)
        self._api.post(f"{self.path}/snapshots/{snapshot}", {"name": decided})
        return decided

    def _restore(self, snapshot: str, reason: str) -> None:
        """Go back to the snapshot; raises :class:`ProofError` with the reason in the end."""
        self.begun = True
        stop(self._api, self.container.name, force=True)
        self._put_back(snapshot)
        if self.container.running:
            change_state(self._api, self.container.name, "start")
            see_that_it_is_up(self.shared, self.container)
        ill = self._what_is_wrong(LOOKS)
        self._finish(snapshot)
        what = f"snapshot {snapshot.removeprefix(GOING_BACK)}"
        back = Step("restore", what, None, detail="as it was before the upgrade")
        self.plan = replace(self.plan, steps=(*self.plan.steps, back))
        raise ProofError(
            f"{reason}; it is back to what it was before the upgrade"
            + (f", and is not well there: {ill}" if ill else ""),
            where=self.container.name,
            remedy="find out what does not go well with the new versions, then run again",
        )

    def _put_back(self, snapshot: str) -> None:
        self._api.put(self.path, {"restore": snapshot}, deadline=self.rules.deadline)

    def _finish(self, snapshot: str) -> None:
        """Give it its work again, keep the snapshot only where a retention ends it some day."""
        self._undrain()
        path = f"{self.path}/snapshots/{snapshot}"
        if self.rules.snapshots:
            stamp = snapshot.removeprefix(UNDER_WAY).removeprefix(GOING_BACK)
            self._api.post(path, {"name": f"{PREFIX}{stamp}"})
        else:
            self._api.delete(path, deadline=self.rules.deadline)
        self._unmark()

    def _snapshot_left(self) -> str:
        """The snapshot of an upgrade that another run began; empty where it had none yet."""
        found = snapshots_of(self.lxd_host, self.container)
        return next((n for n in found if n.startswith((UNDER_WAY, GOING_BACK))), "")

    def _mark(self) -> None:
        name = self.container.name
        update(self._api, ContainerWrite("update", name, {UPGRADING: name}))

    def _unmark(self) -> None:
        write = ContainerWrite("update", self.container.name, without_config=(UPGRADING,))
        update(self._api, write)

    def _drain(self) -> None:
        self._command(self.rules.drain, "draining it")

    def _undrain(self) -> None:
        self._command(self.rules.undrain, "giving it its work again")

    def _command(self, command: BoundedCommand | None, what: str) -> None:
        if command:
            done = shell_of(self.host).run(command.run, deadline=command.seconds)
            done.check(self.container.name, what)

    def _take(self, snapshot: str) -> None:
        body = {"name": snapshot, "stateful": False}
        self._api.post(f"{self.path}/snapshots", body, deadline=self.rules.deadline)

    def _see_that_it_was_well(self) -> None:
        if ill := self._what_is_wrong(1):
            raise ProofError(f"not well before its upgrade: {ill}", where=self.container.name)

    def _see_that_it_is_well(self) -> None:
        if ill := self._what_is_wrong(LOOKS):
            raise ProofError(f"not well after its upgrade: {ill}", where=self.container.name)

    def _what_is_wrong(self, looks: int) -> str:
        """What its health check says in the end; empty where it is well by the last look."""
        said = ""
        for look in range(looks):
            if look:
                time.sleep(PAUSE)
            self._forget_connection()
            entry = check_health(self.task).result
            if entry["status"] == "ok":
                return ""
            said = str(entry["message"]).removeprefix(f"{self.container.name}: ")
        return said

    def _forget_connection(self) -> None:
        """An open one would answer also where nobody can log in any more."""
        if "shell" in self.host.connections:
            self.host.close_connection("shell")
        self.shared.over_exec.pop(self.host.name, None)

    @property
    def _api(self) -> LxdApi:
        return api_of(self.lxd_host)
