"""Upgrade a container with a way back: it ends well, or as it was before.

Drained, found well, a snapshot, the upgrade, services restarted that need it, found well again,
undrained. Where the upgrade fails or does not leave it well, it goes back to the snapshot. What is
attached to it besides its root disk is in no snapshot of LXD's, and keeps what was written. How far
it is, :mod:`tasks.maintenance.upgrade.stage` says.
"""

from __future__ import annotations

from dataclasses import replace

from nornir.core.inventory import Host

from tasks.actual import Json
from tasks.containers.remembered import remembering
from tasks.errors import FleetError, ProofError
from tasks.facts.host import facts_of
from tasks.intent.model import Container
from tasks.maintenance.disks import driver_of, root_pool
from tasks.maintenance.moments import clock, snapshot_name
from tasks.maintenance.service import Service
from tasks.maintenance.snapshots import snapshots_of
from tasks.maintenance.upgrade.packages import (
    OutputLostError,
    foreseen,
    is_interrupted,
    see_it_ended_well,
    upgraded,
    versions_of,
)
from tasks.maintenance.upgrade.snapshot import COPYING, Snapshot
from tasks.maintenance.upgrade.stage import (
    BACK,
    FORTH,
    REFUSED,
    UNDER_WAY,
    UPGRADING,
    Next,
    is_recent,
    is_upgrading,
    kept_name,
    next_of,
    snapshot_under_way,
    stamp_of,
    versions_under_way,
    was_refused,
)
from tasks.outcome import Attempt
from tasks.plan import Plan, Step
from tasks.run import run_of
from tasks.transport import exec_notes

PHASE = "upgrade"


def upgrade_with_a_way_back(host: Host, container: Container, attempt: Attempt) -> None:
    """Upgrade a container, where there is something to do; see the module.

    ``attempt`` is begun where something of it may be left. Raises :class:`ProofError` where the
    container went back, and what reaching the machine or LXD raises.
    """
    _Upgrade(host, container, attempt).run()
    attempt.plan = attempt.plan.noted(*exec_notes(host))


class _Upgrade:
    """One upgrade on its way."""

    def __init__(self, host: Host, container: Container, attempt: Attempt) -> None:
        self.host = host
        self.attempt = attempt
        self.container = container
        self.rules = container.maintenance
        self.lxd_host = run_of(host).hosts[container.on]
        self.service = Service(host, container)
        self.snapshot = Snapshot(run_of(host), container)
        self.versions: tuple[str, ...] = ()

    def run(self) -> None:
        """Finish what an earlier run began, or look, and where there is something to do, do it."""
        facts = facts_of(self.lxd_host).lxd
        instance = facts.instances.get(self.container.name, {"name": self.container.name})
        if is_upgrading(instance):
            self.attempt.begun = True
            instance = self.snapshot.instance()
            if self._take_up(instance) != "give its work again":
                return
        self.attempt.begun = False
        self.attempt.plan = foreseen(self.host, "look", self.rules)
        if not self.attempt.plan.changed:
            return
        self.versions = versions_of(self.attempt.plan)
        if was_refused(instance, self.versions):
            raise FleetError(
                "versions that did not leave it well before are among those there are, and are not "
                "tried again",
                where=self.container.name,
                remedy="hold them (maintenance: upgrade: hold), or have them tried again, on "
                f"{self.container.on}: lxc config unset {self.container.name} {REFUSED}",
            )
        snapshot = self._prepare(driver_of(root_pool(instance), facts) in COPYING)
        self._go_on(snapshot, taken_up=False)

    def _take_up(self, instance: Json) -> Next:
        """Do what an earlier upgrade has left to do, and return what that was."""
        self.versions = versions_under_way(instance)
        snapshots = snapshots_of(self.lxd_host, self.container)
        snapshot = snapshot_under_way(instance, snapshots)
        what = next_of(instance, snapshot, clock())
        ended = "an earlier run was ended while it went back"
        match what:
            case "give its work again":
                self._give_its_work_again(instance)
            case "go back":
                self._go_back(snapshot, ended)
            case "end":
                self._end_back(snapshot, ended)
            case "keep":
                self._see_that_it_runs(instance)
                self._leave(snapshot, ended)
            case "finish":
                self._see_that_it_runs(instance)
                self.service.drain()
                self._go_on(snapshot, taken_up=True)
                done = Step("finish", "the upgrade that an earlier run began", None)
                self._record(done, *self.attempt.plan.steps)
        return what

    def _prepare(self, stopped: bool) -> str:
        """Take its work off it, see that it is well, and take the snapshot; the name of that.

        ``stopped`` says that it is shut down for the snapshot.
        """
        snapshot = snapshot_name(clock(), UNDER_WAY)
        plan = self.attempt.plan
        self._mark(snapshot)
        try:
            self.service.drain()
            if not is_interrupted(plan):
                self.service.see_that_it_is_well("before its upgrade", looks=1)
            if stopped:
                self.attempt.begun = True
                self.attempt.plan = Plan()  # nothing is upgraded yet
            self.snapshot.take(snapshot, stopped=stopped)
            if stopped:
                self.attempt.plan = plan
                self.service.forget_connection()
                self.service.drain()  # it may have forgotten that it was
        except Exception as error:
            self._let_go(snapshot, error)
            raise
        return snapshot

    def _let_go(self, snapshot: str, reason: Exception) -> None:
        """Give it its work again, which is not upgraded for that reason."""
        try:
            instance = self.snapshot.instance()
            self.snapshot.drop(snapshot)
            self._give_its_work_again(instance)
        except FleetError as error:
            self.attempt.begun = True  # it is not as it was
            self.attempt.plan = Plan()  # and nothing is upgraded
            raise FleetError(
                f"{_said(reason)}; and then {error.what}",
                where=self.container.name,
                remedy="mend it there; the next run goes on with it",
            ) from error

    def _give_its_work_again(self, instance: Json) -> None:
        """There is nothing to go back to: whatever it was about to be upgraded to comes later."""
        self._see_that_it_runs(instance)
        self.service.undrain()
        self.snapshot.remember({}, forget=(UPGRADING,))

    def _see_that_it_runs(self, instance: Json) -> None:
        if instance.get("status") == "Stopped":
            self.snapshot.start()
            self.service.forget_connection()

    def _go_on(self, snapshot: str, *, taken_up: bool) -> None:
        """The upgrade itself; ``taken_up`` is one that another run began, some time ago."""
        self.attempt.begun = True
        try:
            self._upgrade()
            self.service.see_that_it_is_well("after its upgrade")
        except Exception as error:  # whatever it is, it has to be decided about
            if taken_up and not is_recent(snapshot, clock()):
                self._leave(snapshot, _said(error))
            self._go_back(snapshot, _said(error))
        self._end(snapshot)

    def _upgrade(self) -> None:
        try:
            upgrade = upgraded(self.host, "restart", self.rules)
        except OutputLostError:
            if foreseen(self.host, "look", self.rules).changed:
                raise
            return  # it did what was foreseen
        self.attempt.plan = upgrade.plan
        see_it_ended_well(self.host, upgrade)

    def _go_back(self, snapshot: str, reason: str) -> None:
        """Go back to the snapshot; raises :class:`ProofError` with the reason in the end."""
        snapshot = self.snapshot.decide_to_go_back(snapshot)
        self.snapshot.put_back(snapshot)
        self._mark(snapshot, BACK)
        self._end_back(snapshot, reason)

    def _end_back(self, snapshot: str, reason: str) -> None:
        """It is back as it was: have it run, and say so: :class:`ProofError`."""
        self.snapshot.start()
        ill = self.service.what_is_wrong()
        back = Step("restore", f"snapshot {kept_name(snapshot)}", None, "as it was before")
        self._record(*self.attempt.plan.steps, back)
        self._end(snapshot, refused=True, keep=bool(ill))
        raise ProofError(
            f"{reason}; it is back to what it was before the upgrade"
            + (f", and is not well there: {ill}" if ill else ""),
            where=self.container.name,
            remedy="find out what does not go well with the new versions; they are not tried "
            "again, other ones are",
        )

    def _leave(self, snapshot: str, reason: str) -> None:
        """Keep it as it is and say so: :class:`ProofError`."""
        self._end(snapshot, refused=True, keep=True)
        name = kept_name(snapshot)
        raise ProofError(
            f"{reason}; it is kept as it is, since an earlier run began the upgrade too long ago "
            f"to go back by itself: what was written since snapshot {name} would be lost",
            where=self.container.name,
            remedy=f"mend it there, or on {self.container.on}: lxc restore {self.container.name} "
            f"{name}; lxc config unset {self.container.name} {UPGRADING}",
        )

    def _record(self, *steps: Step[None]) -> None:
        self.attempt.plan = replace(self.attempt.plan, steps=steps)

    def _end(self, snapshot: str, *, refused: bool = False, keep: bool = False) -> None:
        """Decide about the snapshot, and give it its work again."""
        if refused:
            self.snapshot.remember(remembering(REFUSED, self.container.name, *self.versions))
        self.snapshot.end(snapshot, keep=keep or self.rules.snapshots is not None)
        self.service.undrain()
        self.snapshot.remember({}, forget=(UPGRADING,) if refused else (UPGRADING, REFUSED))

    def _mark(self, snapshot: str, state: str = FORTH) -> None:
        words = (stamp_of(snapshot), state, *self.versions)
        self.snapshot.remember(remembering(UPGRADING, self.container.name, *words))


def _said(error: Exception) -> str:
    if isinstance(error, FleetError):
        return error.what
    return f"internal error: {type(error).__name__}: {error}"
