"""Maintain a fleet: the jobs on every machine, in an order that keeps services up."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from nornir.core import Nornir
from nornir.core.task import AggregatedResult, Result, Task

from tasks.actual import HostFacts
from tasks.containers.remembered import is_upgrading
from tasks.errors import LockedError
from tasks.facts.host import facts_of
from tasks.intent.model import Container
from tasks.maintenance.health import PHASE, check_health
from tasks.maintenance.jobs import Job, chosen
from tasks.maintenance.runner import TurnRunner
from tasks.maintenance.turns import Turn, turns_of
from tasks.outcome import Record, failure, record, result_of
from tasks.report import Report
from tasks.run import run_of
from tasks.transport import lock_host
from tasks.walk import Leg, walk
from tasks.waves import in_waves


def maintain(
    nr: Nornir,
    jobs: Collection[str] = (),
    *,
    workers: int = 20,
    time_limit: float | None = None,
    on_result: Callable[[AggregatedResult], None] | None = None,
) -> Report:
    """Run maintenance jobs on the selected part of a fleet.

    First every LXD host concerned is read (and locked, where a job changes something). Then each
    machine goes through the jobs: on each LXD host at most ``maintenance.batch`` containers at
    once and the host itself after them, of an ``apart`` group never two at once, the controlling
    machine last. A machine that a risky job changed is checked for its health; where that or a job
    fails, the others of its ``apart`` group are left alone. Containers that are stopped, and
    those of a host that cannot be reached, are skipped; where health is among the jobs, one that
    is declared running and does not has failed it.

    Arguments:
        nr: from ``open_fleet``, whose ``limit`` and ``dry_run`` hold here.
        jobs: names out of ``tasks.maintenance.JOBS``; the regular ones when empty.
        workers: machines at work at once, at most.
        time_limit: seconds after which work on no other machine begins; those at work go through
            all their jobs. None for no limit.
        on_result: called with each Nornir run's AggregatedResult.

    Returns the report; what goes wrong on a machine is in it, never raised. ``locked`` is set,
    and nothing was done, where another run held an LXD host's lock; ``out_of_time`` where machines
    were left undone because of the time limit, which are skipped with that reason.
    Raises :class:`UsageError` for an unknown job.
    """
    wanted = chosen(jobs)
    with run_of(nr).state.lock():
        return _Maintenance(nr, wanted, workers, time_limit, on_result).run()


class _Maintenance:
    """One maintenance on its way: what its two Nornir runs share."""

    def __init__(
        self,
        nr: Nornir,
        jobs: dict[str, Job],
        workers: int,
        time_limit: float | None,
        on_result: Callable[[AggregatedResult], None] | None,
    ) -> None:
        self.nr = nr
        self.jobs = jobs
        self.workers = workers
        self.started = time.monotonic()
        self.time_limit = time_limit
        self.on_result = on_result
        self.shared = run_of(nr)
        self.intent = self.shared.intent
        self.changes = not nr.data.dry_run and any(job.changes for job in jobs.values())
        self.report = Report("maintain", self.intent.name, nr.data.dry_run)
        self.report.declare_fleet(self.intent, self.shared.selected)
        #: The apart groups with a machine that this run did not leave well, by its name.
        self.broken: dict[str, str] = {}

    def run(self) -> Report:
        """Check the LXD hosts, then all machines in their turns."""
        hosts = [name for name in self.report.hosts if name in self.intent.lxd_hosts]
        self._run_on(hosts, self.nr, self._check)
        if not self.report.locked:
            machines = self._machines_left()
            turns = turns_of(self.intent, machines, self._controlling(machines))

            def go(task: Task) -> Result:
                return self._jobs(task, turns[task.host.name])

            runner = TurnRunner(turns, self.workers, self._ending)
            self._run_on(machines, self.nr.with_runner(runner), go)
        for name, host in self.report.hosts.items():
            host.exchanges = self.shared.exchanges.get(name)
        self.report.seconds = time.monotonic() - self.started
        return self.report

    def _ending(self) -> bool:
        """Whether no machine is begun with any more."""
        return self.shared.stop.is_set() or self._late()

    def _late(self) -> bool:
        return self.time_limit is not None and time.monotonic() - self.started >= self.time_limit

    def _run_on(
        self, machines: Collection[str], nr: Nornir, task: Callable[[Task], Result]
    ) -> None:
        """One Nornir run; none for no machine, which Nornir would warn of."""
        if machines:
            part = nr.filter(filter_func=lambda host: host.name in machines)
            result = part.run(task=task, name="maintain", on_failed=True)
            if self.on_result:
                self.on_result(result)

    def _check(self, task: Task) -> Result:
        if self._late() and not self.shared.stop.is_set():
            return self._left_undone(task, "check")
        return walk(task, [Leg("check", self._read)], self.report)

    def _read(self, task: Task) -> Result:
        """Read the LXD host, whose facts say which containers run, and hold its lock."""
        started = time.monotonic()
        try:
            if self.changes:
                lock_host(task.host)
            facts_of(task.host)
        except LockedError:
            raise  # ends the run, not only this host's part
        except Exception as error:
            return result_of(task, failure("check", error, seconds=time.monotonic() - started))
        return result_of(task, record("check", "ok", seconds=time.monotonic() - started))

    def _machines_left(self) -> list[str]:
        """The selected machines that can be worked on; the others are booked as skipped."""
        left = []
        for name in self.report.hosts:
            reason = self._why_skip(name)
            if reason:
                for entry in self._left_out(name, reason):
                    self.report.add(name, entry)
            elif name in self.shared.selected and not self.report.lost(name):
                left.append(name)
        return left

    def _why_skip(self, name: str) -> str:
        container = self.intent.containers.get(name)
        if container is None:
            return ""
        if self.report.lost(container.on):
            return f"its LXD host {container.on} is {self.report.hosts[container.on].status}"
        return why_not(container, self.shared.facts[container.on])

    def _left_out(self, name: str, reason: str) -> Iterator[Record]:
        """What is booked of a container that is not worked on; one that should run is not well."""
        container = self.intent.containers[name]
        down = container.running and not self.report.lost(container.on)
        if not down or PHASE not in self.jobs:
            yield record("check", "skipped", message=reason)
            return
        for job in self.jobs:
            if job != PHASE:
                yield record(job, "skipped", message=reason)
        yield record(PHASE, "failed", message=f"{reason}, declared running")

    def _controlling(self, machines: Collection[str]) -> list[str]:
        waves = in_waves(self.intent, machines)
        return waves[1] if len(waves) > 1 else []

    def _jobs(self, task: Task, turn: Turn) -> Result:
        if turn.apart in self.broken:
            return self._left_alone(task, turn.apart)
        if self._late() and not self.shared.stop.is_set():
            return self._left_undone(task, next(iter(self.jobs)))
        kind = self.intent.machine(task.host.name).kind
        legs = [Leg(name, job.task) for name, job in self.jobs.items() if kind in job.kinds]
        result = walk(task, legs, self.report)
        risked = self.changes and any(job.risky for job in self.jobs.values())
        if result.changed and not result.failed and risked and PHASE not in self.jobs:
            result = walk(task, [Leg("health", check_health)], self.report)
        if result.failed and self.changes and turn.apart:
            self.broken[turn.apart] = turn.name
        return result

    def _left_undone(self, task: Task, phase: str) -> Result:
        """A machine that the run does not come to any more."""
        self.report.out_of_time = True
        reason = f"the time limit of {in_minutes(self.time_limit or 0)} was over"
        self.report.add(task.host.name, record(phase, "skipped", message=reason))
        return Result(host=task.host, result=reason)

    def _left_alone(self, task: Task, apart: str) -> Result:
        reason = f"{self.broken[apart]} of its group {apart} failed, this one is left alone"
        first = next(iter(self.jobs))
        self.report.add(task.host.name, record(first, "skipped", message=reason))
        return Result(host=task.host, result=reason)


def in_minutes(seconds: float) -> str:
    """Seconds as minutes, in words."""
    minutes = seconds / 60
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"


def why_not(container: Container, facts: HostFacts) -> str:
    """Why a container cannot be worked on, as its LXD host sees it; empty where it can.

    Where LXD does not answer nothing is known, and the container is tried; so is one that a killed
    run left stopped in the midst of an upgrade.
    """
    if facts.lxd.problem:
        return ""
    instance = facts.lxd.instances.get(container.name)
    if instance is None:
        return f"it does not exist on {container.on}"
    status = str(instance.get("status", "Running"))
    return (
        ""
        if status == "Running" or is_upgrading(instance)
        else f"it is {status.lower()} on {container.on}"
    )
