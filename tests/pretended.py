"""A fleet whose maintenance jobs are pretended: what is begun, in which order, what is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts, LxdFacts
from tasks.containers.remembered import remembering
from tasks.errors import FleetError
from tasks.intent.maintenance import Maintenance
from tasks.intent.model import Container, LxdHost
from tasks.intent.windows import Calendar, window_of
from tasks.maintenance import gate
from tasks.maintenance.boot import DRAINED
from tasks.maintenance.jobs import JOBS, Job
from tasks.maintenance.maintain import maintain
from tasks.maintenance.upgrade.stage import UPGRADING
from tasks.outcome import record, result_of
from tasks.report import Report
from tasks.run import Run, run_of
from tasks.state import StateFolder
from tests.machines import container_of, fleet_of, host_of

module = sys.modules[maintain.__module__]  # its name is also the function's
WEDNESDAY = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
NIGHTLY = Maintenance(calendar=Calendar((window_of("02:00-05:00"),), timezone="UTC"))
OUTSIDE = "outside its window, which opens thu 2026-03-05 02:00 UTC"
ASKED = "the run was asked to stop"
Booked = dict[str, list[str]]


class Pretended:
    """A host with containers whose jobs are pretended, in threads, one after the other.

    ``fails`` are the machines whose upgrade fails, ``stopped`` do not run, ``upgrading`` were
    left so by a run that was killed, ``drained`` too; ``undrains`` says whether they get their work
    again; ``during`` is called in each job, ``begun`` has those that
    were begun, as "JOB MACHINE".
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.machines: list[Container | LxdHost] = [host_of()]
        self.fails: Collection[str] = ()
        self.stopped: Collection[str] = ()
        self.upgrading: Collection[str] = ()
        self.drained: set[str] = set()
        self.undrains = True
        self.begun: list[str] = []
        self.during: Callable[[str, Run], None] = lambda job, run: None
        self.on_read: Callable[[Run], None] = lambda run: None
        self.now = WEDNESDAY
        patch.setattr(module, "facts_of", self._read)
        patch.setattr(module, "facts_or_none", self._read)
        patch.setattr(module, "lock_host", lambda host: None)
        patch.setattr(module, "give_work_again", self._undrain)
        # no address of theirs may be this machine's by chance
        patch.setattr(module, "in_waves", lambda intent, machines: [list(machines)])
        patch.setattr(gate, "clock", lambda: self.now)
        for job in ("upgrade", "health", "tidy"):
            patch.setitem(JOBS, job, Job(self.pretend(job), changes=job != "health"))
        patch.setitem(JOBS, "later", Job(self.pretend("later"), changes=True, after=True))
        patch.setitem(JOBS, "backup", Job(self.pretend("backup"), changes=True, service=False))
        by_hand = Job(self.pretend("restore"), changes=True, service=False, by_hand=True)
        patch.setitem(JOBS, "restore", by_hand)

    @classmethod
    def of_four(cls, folder: Path, patch: pytest.MonkeyPatch) -> Pretended:
        """One host and the containers a to d."""
        fleet = cls(folder, patch)
        for name in "abcd":
            fleet.add(name)
        return fleet

    def add(self, name: str, **values: Any) -> None:
        address = f"192.0.2.{len(self.machines)}"
        self.machines.append(container_of(name, address, **values))

    def declare(self, **values: Any) -> None:
        """What all machines have."""
        self.machines = [replace(machine, **values) for machine in self.machines]

    def run(
        self,
        *jobs: str,
        dry_run: bool = False,
        now: bool = False,
        workers: int = 1,
        limit: Collection[str] = (),
    ) -> Report:
        self.begun = []
        nr = fleet_of(self.folder, *self.machines, dry_run=dry_run)
        if limit:
            run_of(nr).selected = frozenset(limit)
        return maintain(nr, jobs, now=now, workers=workers)

    def begun_in(self, *jobs: str, dry_run: bool = False) -> list[str]:
        """What a run began."""
        self.run(*jobs, dry_run=dry_run)
        return self.begun

    @property
    def undone(self) -> dict[str, list[str]]:
        return StateFolder(self.folder).undone()

    def _read(self, host: Host) -> HostFacts:
        instances = {
            machine.name: {
                "name": machine.name,
                "status": "Stopped" if machine.name in self.stopped else "Running",
                "config": {
                    **(remembering(UPGRADING, name, "0123") if name in self.upgrading else {}),
                    **(remembering(DRAINED, name, "0123") if name in self.drained else {}),
                },
            }
            for machine in self.machines
            for name in [machine.name]
        }
        read = HostFacts(host.name, lxd=LxdFacts(running=True, instances=instances))
        run_of(host).facts[host.name] = read
        self.on_read(run_of(host))
        return read

    def _undrain(self, run: Run, container: Container) -> None:
        if not self.undrains:
            raise FleetError("it does not answer", where=container.name)
        self.drained.discard(container.name)
        self._read(run.hosts[container.on])

    def pretend(self, job: str) -> Callable[..., Result]:
        """A job that books itself, and that it has begun."""

        def work(task: Task) -> Result:
            self.begun.append(f"{job} {task.host.name}")
            self.during(f"{job} {task.host.name}", run_of(task))
            fails = job in ("upgrade", "restore") and task.host.name in self.fails
            return result_of(task, record(job, "failed" if fails else "ok"))

        return work


def booked(report: Report, job: str) -> dict[str, str]:
    """What a report has of a job, by machine: its message where it was skipped, or its status."""
    return {
        host.name: phase["message"] if phase["status"] == "skipped" else phase["status"]
        for host in report.hosts.values()
        for phase in host.phases
        if phase["phase"] == job
    }
