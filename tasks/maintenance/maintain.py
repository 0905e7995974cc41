"""Maintain a fleet: the jobs on every machine, in an order that keeps services up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from nornir.core import Nornir
from nornir.core.task import Result, Task

from tasks.errors import FleetError, LockedError, UsageError
from tasks.facts.host import facts_of, facts_or_none
from tasks.intent.model import Container
from tasks.maintenance.backups.task import BACKUP
from tasks.maintenance.boot import undrain_step
from tasks.maintenance.calendar import zone_of
from tasks.maintenance.drained import give_work_again
from tasks.maintenance.gate import Gate
from tasks.maintenance.jobs import JOBS, Job, chosen
from tasks.maintenance.look import PHASE
from tasks.maintenance.reboot import PHASE as REBOOT
from tasks.maintenance.runner import TurnRunner
from tasks.maintenance.turns import Turn, turns_of
from tasks.maintenance.undone import first_of, still_undone
from tasks.maintenance.upgrade.way_back import PHASE as UPGRADE
from tasks.maintenance.visit import skip_late, visit
from tasks.maintenance.workable import Workable
from tasks.outcome import Attempt, Record, record
from tasks.plan import Plan
from tasks.report import Report
from tasks.run import Run, run_of
from tasks.transport import lock_host
from tasks.walk import NOTHING_TO_DO, Leg, OnResult, run_over, walk
from tasks.waves import in_waves

logger = logging.getLogger(__name__)
#: Why nothing is done to the others where another run holds the lock of one LXD host.
LOCKED = "nothing was done: another run works on an LXD host of this one"


def maintain(
    nr: Nornir,
    jobs: Collection[str] = (),
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    now: bool = False,
    workers: int = 20,
    time_limit: float | None = None,
    on_result: OnResult | None = None,
) -> Report:
    """Run maintenance jobs on the selected part of a fleet.

    First every LXD host concerned is read (and locked, where a job changes something). Then each
    machine goes through the jobs: on each LXD host at most ``maintenance.batch`` containers at
    once and the host itself after them, of an ``apart`` group never two at once (where a job
    reboots, an LXD host counts for all that it carries), the controlling machine last. A machine
    that a risky job changed is checked for its health; where that or a job fails, the others of
    its ``apart`` group are left alone. Containers of a host that cannot be reached are skipped, and
    those that are stopped, but for jobs that need none that runs (see
    :class:`tasks.maintenance.jobs.Job`); where health is among the jobs, one that is declared
    running and does not has failed it. Jobs that have to do with other machines as well come after
    all that, on each machine whose LXD host could be read.

    No machine is begun to be changed outside its ``maintenance.window``, in its
    ``maintenance.freezes``, or once so many that were begun have failed as one of them declares in
    ``maintenance.failures``; jobs that only read are done all the same. What is left undone for
    such a reason, or because the run was asked to stop, is in the report's ``undone`` and in the
    state folder, and the next run that has the job begins with it, as far as the order allows. A
    dry run remembers nothing, and plans what a real run would leave, with a note.

    Arguments:
        nr: from ``open_fleet``, whose ``limit`` and ``dry_run`` hold here.
        jobs: names out of ``tasks.maintenance.jobs.JOBS``; the regular ones when empty.
        options: by job, what its task is given besides.
        now: change machines outside their windows and in freezes as well.
        workers: machines at work at once, at most.
        time_limit: seconds after which work on no other machine begins; those at work go through
            all their jobs. None for no limit.
        on_result: called with each Nornir run's AggregatedResult.

    Returns the report; what goes wrong on a machine is in it, never raised. ``locked`` is set,
    and nothing was done, where another run held an LXD host's lock; ``out_of_time`` where machines
    were left undone because of the time limit, which are skipped with that reason.
    Raises :class:`UsageError` for an unknown job, for one that is done by hand and is not alone or
    meant for the whole fleet, and for a time zone that is unknown here.
    """
    wanted = {
        name: replace(job, options=(options or {}).get(name, {}))
        for name, job in chosen(jobs).items()
    }
    run = run_of(nr)
    by_hand = next((name for name, job in wanted.items() if job.by_hand), "")
    if by_hand and run.selected == frozenset(run.intent.names()):
        raise UsageError(f"{by_hand} is for chosen machines", remedy="say which: --limit SELECTOR")
    _see_it_can_be_done(run, wanted, by_hand)
    now = now or bool(by_hand)
    if not now and any(job.changes for job in wanted.values()):
        for name in run.selected:
            zone_of(run.intent.machine(name).maintenance.calendar)
    gate = Gate(run.intent, now=now, time_limit=time_limit)
    with run.state.lock():
        return _Maintenance(nr, wanted, gate, workers, on_result).run()


def _see_it_can_be_done(run: Run, jobs: Mapping[str, Job], by_hand: str) -> None:
    """Raise :class:`UsageError` for a job that would do nothing to any selected machine, and that
    nobody would notice."""
    machines = [run.intent.machine(name) for name in run.selected]
    if by_hand and not any(machine.kind in jobs[by_hand].kinds for machine in machines):
        raise UsageError(
            f"{by_hand} is for containers, and none is selected",
            remedy="those on an LXD host are: --limit on=HOST",
        )
    containers = [machine for machine in machines if machine.kind == "container"]
    if BACKUP in jobs and containers and not any(c.maintenance.backup for c in containers):
        raise UsageError(
            f"{BACKUP}: no selected container says where it is backed up to",
            remedy="declare maintenance: backup: {to: MACHINE}",
        )


class _Maintenance:
    """One maintenance on its way: what its Nornir runs share."""

    def __init__(
        self,
        nr: Nornir,
        jobs: dict[str, Job],
        gate: Gate,
        workers: int,
        on_result: OnResult | None,
    ) -> None:
        self.nr = nr
        self.jobs = {name: job for name, job in jobs.items() if not job.after}
        self.jobs_after = {name: job for name, job in jobs.items() if job.after}
        self.workers = workers
        self.started = time.monotonic()
        self.on_result = on_result
        self.shared = run_of(nr)
        self.intent = self.shared.intent
        self.changes = not nr.data.dry_run and any(job.changes for job in jobs.values())
        self.report = Report("maintain", self.intent.name, nr.data.dry_run)
        self.report.declare_fleet(self.intent, self.shared.selected)
        self.gate = gate
        #: The jobs of this run that change machines, none in a dry run.
        self.changing = [name for name, job in jobs.items() if job.changes and self.changes]
        self.workable = Workable(self.shared, self.report, finishing=UPGRADE in self.changing)
        self.undone = self.shared.state.undone()
        #: By job the machines that this run left undone, and those that had their turn.
        self.left: dict[str, set[str]] = {job: set() for job in self.changing}
        self.settled: dict[str, set[str]] = {job: set() for job in self.changing}
        #: The containers that do not run, and those with which another run has begun and not ended.
        self.down: set[str] = set()
        self.unfinished: set[str] = set()

    def run(self) -> Report:
        """Check the LXD hosts, then all machines in their turns, then what comes after these."""
        hosts = [name for name in self.report.hosts if name in self.intent.lxd_hosts]
        self._run_on(hosts, self.nr, self._check)
        if not self.report.locked:
            if self.jobs:
                self._turns()
            for name, job in self.jobs_after.items():
                self._after(name, job)
            if self.changing:
                self._remember()
        self._book_the_rest()
        for name, host in self.report.hosts.items():
            host.exchanges = self.shared.exchanges.get(name)
        self.report.seconds = time.monotonic() - self.started
        return self.report

    def _turns(self) -> None:
        self._read_partners()
        self._give_work_again()
        kinds = {kind for job in self.jobs.values() for kind in job.kinds}
        machines = [n for n in self._machines_left() if self.intent.machine(n).kind in kinds]
        containers = [self.intent.containers[n] for n in machines if n in self.intent.containers]
        self.unfinished = {c.name for c in containers if self.workable.is_unfinished(c)}
        turns = turns_of(
            self.intent,
            machines,
            self._controlling(machines),
            [*sorted(self.unfinished), *first_of(self.undone, self.changing)],
            interrupting=any(JOBS[job].interrupts for job in self.changing),
            risking=any(JOBS[job].risky for job in self.changing),
            backing_up=BACKUP in self.changing,
        )

        def go(task: Task) -> Result:
            return self._visit(task, turns[task.host.name], self.jobs)

        runner = TurnRunner(turns, self.workers, self._ending)
        self._run_on(machines, self.nr.with_runner(runner), go)

    def _give_work_again(self) -> None:
        """To containers that a run left drained when it was killed. It weakens nobody, so that no
        window, freeze or partner is in its way; in a dry run it is only told."""
        if not {UPGRADE, REBOOT} & self.jobs.keys() or self._ending():
            return
        left = [
            container
            for name, container in self.intent.containers.items()
            if name in self.shared.selected and self.workable.is_left_drained(container)
        ]

        def give(container: Container) -> None:
            with Attempt("check") as attempt:
                attempt.plan = Plan((undrain_step(container.name),))
                if self.changes:
                    attempt.begun = True
                    give_work_again(self.shared, container)
            self.report.add(container.name, attempt.entry())

        if left:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(give, left))

    def _read_partners(self) -> None:
        """Read the LXD hosts that carry others of the ``apart`` groups that this run weakens."""
        if not any(JOBS[job].service for job in self.changing):
            return
        selected = [c for c in self.intent.containers.values() if c.name in self.shared.selected]
        groups = {c.apart for c in selected if c.apart}
        for partner in self.intent.containers.values():
            if partner.apart in groups and partner.running:
                facts_or_none(self.shared.hosts[partner.on])

    def _after(self, name: str, job: Job) -> None:
        """A job on all its machines at once, whatever came of their turns; what it finds there
        tells nothing of the others of an ``apart`` group."""
        machines = []
        for machine, host in self.report.hosts.items():
            if machine not in self.shared.selected or host.kind not in job.kinds:
                continue
            if self.workable.is_read(machine):
                machines.append(machine)
                continue
            if name in self.left and self.workable.is_left_unread(machine):
                self.left[name].add(machine)
            if not host.phases:
                self.report.add(
                    machine, record(name, "skipped", message=self.workable.why_skip(machine)[0])
                )

        def go(task: Task) -> Result:
            return self._visit(task, Turn(task.host.name), {name: job})

        self._run_on(machines, self.nr, go)

    def _book_the_rest(self) -> None:
        """Say of the machines that no job of this run has come to why they were left out."""
        reason = LOCKED if self.report.locked else NOTHING_TO_DO
        for name, host in self.report.hosts.items():
            if name in self.shared.selected and not host.phases:
                self.report.add(name, record("check", "skipped", message=reason))

    def _ending(self) -> bool:
        """Whether no machine is begun with any more."""
        return self.shared.stop.is_set() or bool(self.gate.why_late())

    def _run_on(
        self, machines: Collection[str], nr: Nornir, task: Callable[[Task], Result]
    ) -> None:
        run_over(nr, machines, task, self.report, name="maintain", on_result=self.on_result)

    def _check(self, task: Task) -> Result:
        late = self.gate.why_late()
        if late and not self.shared.stop.is_set():
            return skip_late(task, "check", late, self.report)
        return walk(task, [Leg("check", self._read)], self.report)

    def _read(self, task: Task) -> Result:
        """Read the LXD host, whose facts say which containers run, and hold its lock."""
        with Attempt("check") as attempt:
            if self.changes:
                lock_host(task.host)
            facts_of(task.host)
        if isinstance(attempt.error, LockedError):
            raise attempt.error  # ends the run, not only this host's part
        return attempt.result(task)

    def _machines_left(self) -> list[str]:
        """The selected machines that can be worked on; the others are booked as skipped."""
        left = []
        for container in self.intent.containers.values():
            if container.running and self.workable.is_down(container):
                self.gate.is_down(container)
        for name in self.report.hosts:
            lost, down = self.workable.why_skip(name)
            if name in self.shared.selected and self.workable.is_left_unread(name):
                for job in self.changing:
                    if self._concerns(job, name):
                        self.left[job].add(name)
            at_rest = not lost and any(not job.service for job in self.jobs.values())
            ready = name in self.shared.selected and not self.report.lost(name)
            if lost or down:
                for entry in self._left_out(name, lost or down, at_rest=at_rest):
                    self.report.add(name, entry)
                if down:
                    self.down.add(name)
            if ready and not lost and (at_rest or not down):
                left.append(name)
        return left

    def _concerns(self, job: str, name: str) -> bool:
        """Whether a job has to do with a machine, as far as the inventory says."""
        container = self.intent.containers.get(name)
        fits = self.intent.machine(name).kind in JOBS[job].kinds
        return fits and (container is None or container.running)

    def _left_out(self, name: str, reason: str, *, at_rest: bool) -> Iterator[Record]:
        """What is booked of a container that is not worked on, or ``at_rest`` by some jobs only;
        one that should run is not well."""
        container = self.intent.containers[name]
        down = container.running and not self.report.lost(container.on)
        ill = down and PHASE in self.jobs
        if not ill and not at_rest:
            yield record("check", "skipped", message=reason)
            return
        for name_of_job, job in self.jobs.items():
            told = not (ill and name_of_job == PHASE) and (job.service or not at_rest)
            if told and container.kind in job.kinds:
                yield record(name_of_job, "skipped", message=reason)
        if ill:
            yield record(PHASE, "failed", message=f"{reason}, declared running")

    def _controlling(self, machines: Collection[str]) -> list[str]:
        waves = in_waves(self.intent, machines)
        return waves[1] if len(waves) > 1 else []

    def _visit(self, task: Task, turn: Turn, jobs: Mapping[str, Job]) -> Result:
        down = turn.name in self.down
        jobs = {name: job for name, job in jobs.items() if not (down and job.service)}
        done = visit(task, turn, jobs, self.gate, self.report, changes=self.changes)
        for job in self.changing:
            if job in jobs:
                (self.left if job in done.left else self.settled)[job].add(turn.name)
        if (
            turn.name in self.unfinished
            and not done.result.failed
            and {UPGRADE, REBOOT} & set(jobs)
        ):
            self.gate.is_well_again(self.intent.containers[turn.name])
        return done.result

    def _remember(self) -> None:
        """Say what was left undone, and remember it for the next run.

        Not so where another of its ``apart`` group failed, which has to be seen well before it.
        """
        left = {
            job: [n for n in self.report.hosts if n in self.left[job] and self._well(n, job)]
            for job in self.changing
        }
        self.report.undone = {job: names for job, names in left.items() if names}
        settled = {job: self.settled[job] | self.left[job] for job in self.changing}
        known = {job: names for job, names in self.undone.items() if job in JOBS}
        undone = still_undone(known, left, settled, self.intent.names())
        try:
            self.shared.state.remember_undone(undone)
        except FleetError as error:  # the report of what was done is worth more
            logger.warning("what is undone is not remembered: %s", error)

    def _well(self, name: str, job: str) -> bool:
        groups = [self.intent.machine(name).apart]
        if JOBS[job].interrupts:
            groups += [container.apart for container in self.intent.containers_on(name)]
        return not self.gate.why_left_alone(name, *groups)
