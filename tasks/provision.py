"""Provision a fleet: all phases in order, in three Nornir runs.

A run is a barrier, and only twice does a host need what another host's run has found: the
certificates of all (before the remotes), and everything raised (before the proof). Inside a run
each machine goes through its phases without waiting for others. Only where the networks of several
hosts change, or their LXD moves to the snap, does the first run become a series of them: one host
first, then batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from nornir.core import Nornir
from nornir.core.task import Result, Task

from tasks.bootstrap.task import bootstrap_container, bootstrap_host
from tasks.bridges.task import configure_bridges
from tasks.check import see_that_it_can_be_managed
from tasks.configure.task import configure_system
from tasks.containers.task import raise_containers
from tasks.controllers.known import has_controllers
from tasks.controllers.task import identify_controller, look_at_controller
from tasks.controllers.trust import trust_controllers
from tasks.errors import LockedError, UsageError
from tasks.images.task import sync_images
from tasks.lxd_server.task import setup_lxd
from tasks.mistakes import nearest
from tasks.outcome import PHASES, Attempt, record
from tasks.prepared.task import leave_waiting, prepare_images
from tasks.profiles.task import sync_profiles
from tasks.prove import prove_machine
from tasks.remotes.task import sync_remotes
from tasks.report import Report
from tasks.rolling import rolling_waves
from tasks.run import Run, run_of
from tasks.taking_turns import TURNS, turns_of
from tasks.transport import lock_host
from tasks.walk import Leg, OnResult, run_over, walk
from tasks.waves import controlling, in_waves

#: The phase that fails for those containers alone that need the image.
IMAGES = "images"


def provision(
    nr: Nornir,
    *,
    phases: Collection[str] = (),
    prune: bool = False,
    allow_restart: bool = False,
    move: Collection[str] = (),
    force: bool = False,
    on_result: OnResult | None = None,
) -> Report:
    """Bring the selected part of a fleet to what its inventory intends.

    Arguments:
        nr: from ``open_fleet``, whose ``limit`` and ``dry_run`` hold here.
        phases: names out of ``tasks.outcome.PHASES``; all of them when empty. ``check`` always
            runs, since it reads what the others need.
        prune: remove what we created and the inventory no longer has.
        allow_restart: restart containers where a change waits for that.
        move: containers that are moved to where they are declared from the host that has them.
        force: stop containers hard that have to stop and do not shut down by themselves.
        on_result: called with each Nornir run's AggregatedResult.

    Returns the report; what goes wrong on a machine is in it, never raised.
    Raises :class:`UsageError` for an unknown phase or container, :class:`LockedError` where another
    run of this environment is under way.
    """
    unknown = [phase for phase in phases if phase not in PHASES]
    if unknown:
        raise UsageError(f"unknown phase {unknown[0]}", remedy=f"phases are: {', '.join(PHASES)}")
    _check_moves(run_of(nr), move)
    with run_of(nr).state.lock():
        wanted = frozenset(phases or PHASES) | {"check"}
        containers = {"allow_restart": allow_restart, "move": frozenset(move), "force": force}
        return _Provision(nr, wanted, on_result, prune=prune, containers=containers).run()


def _check_moves(run: Run, names: Collection[str]) -> None:
    here = controlling(run.intent)
    for name in names:
        if name in here:
            raise UsageError(
                f"--move {name}: this run is controlled from it", remedy="run it from elsewhere"
            )
        if name not in run.intent.containers:
            raise UsageError(
                f"--move {name}: there is no such container in the inventory",
                remedy=nearest(name, run.intent.containers, "name one that is declared"),
            )
        if name not in run.selected:
            raise UsageError(
                f"--move {name}: the --limit leaves it out", remedy=f"add --limit {name}"
            )


class _Provision:
    """One provision on its way: what its three runs share."""

    def __init__(
        self,
        nr: Nornir,
        phases: frozenset[str],
        on_result: OnResult | None,
        *,
        prune: bool,
        containers: Mapping[str, Any],
    ) -> None:
        self.nr = nr
        self.phases = phases
        self.prune = prune
        self.containers = containers
        self.on_result = on_result
        self.bootstrapped: set[str] = set()
        self.shared: Run = run_of(nr)
        self.intent = self.shared.intent
        self.selected = self.shared.selected
        self.report = Report("provision", self.intent.name, dry_run=nr.data.dry_run)
        self.report.declare_fleet(self.intent, self.selected)

    def run(self) -> Report:
        """The three runs; the machine that controls them comes last in each."""
        started = time.monotonic()
        hosts = self._hosts_to_read()
        self._first_run(hosts)
        self._nornir_run([h for h in hosts if not self._lost(h)], self._second_legs)
        self._skip_containers_of_lost_hosts()
        self._controllers_first()
        controllers = {machine.name for machine in self.intent.controllers}
        for last in (False, True):  # they are handed the SSH host keys of all others
            machines = [m for m in self.intent.names() if (m in controllers) is last]
            ready = [m for m in machines if m in self.selected and not self._lost(m)]
            self._nornir_run(ready, self._third_legs)
        for name, host in self.report.hosts.items():
            host.exchanges = self.shared.exchanges.get(name)
        self.report.seconds = time.monotonic() - started
        return self.report

    def _hosts_to_read(self) -> list[str]:
        """Every LXD host, unless only plain machines are selected: a limit never limits reading."""
        if self.selected <= set(self.intent.machines):
            return []
        return list(self.intent.lxd_hosts)

    def _lost(self, machine: str) -> bool:
        lost = self.report.lost(machine, despite=(IMAGES,))
        return lost or machine in self.shared.unreachable

    def _carries_selected(self, host: str) -> bool:
        return any(c.name in self.selected for c in self.intent.containers_on(host))

    def _first_run(self, hosts: Sequence[str]) -> None:
        """Check all hosts; change networks and move LXD wave after wave, until one fails."""
        self._nornir_run(hosts, lambda host: [Leg("check", self._check)])
        ready = [h for h in hosts if h in self.selected and not self._lost(h)]
        turns = {} if self.nr.data.dry_run else self._turns(ready)
        self._nornir_run([h for h in ready if h not in turns], self._first_legs)
        order = [self.intent.lxd_hosts[host] for host in turns]
        failed = ""
        last = {h: self.shared.state.last_address(h) for h in self.intent.lxd_hosts}
        known = {host: address for host, address in last.items() if address}
        for wave in rolling_waves(order, last=controlling(self.intent, known)):
            if failed:
                for host in wave:
                    why = f"{TURNS[turns[host]]} after {failed}, which failed"
                    self.report.add(host, record(turns[host], "skipped", message=why))
                continue
            self._nornir_run(wave, self._first_legs)
            failed = ", ".join(host for host in wave if self._lost(host))

    def _turns(self, hosts: Sequence[str]) -> dict[str, str]:
        return turns_of(self.shared, hosts, self.phases, prune=self.prune)

    def _first_legs(self, host: str) -> Sequence[Leg]:
        return [
            Leg("bridges", configure_bridges, {"prune": self.prune}),
            Leg("lxd", setup_lxd, {"prune": self.prune}),
        ]

    def _second_legs(self, host: str) -> Sequence[Leg]:
        prune: Mapping[str, Any] = {"prune": self.prune}
        legs = []
        if host in self.selected:
            legs = [
                Leg("remotes", sync_remotes, prune),
                Leg("profiles", sync_profiles, prune),
                Leg(IMAGES, sync_images, prune, blocks=False),
            ]
        raising = {**prune, **self.containers}
        if host in self.selected and self._prepares(host):
            if IMAGES in self.phases:  # who needs none of them does not wait until they are there
                leave = partial(leave_waiting, self.nr.inventory.hosts[host])
                first = {**raising, "first": True}
                legs.append(Leg("containers", raise_containers, first, blocks=False, when=leave))
            legs.append(Leg(IMAGES, prepare_images, blocks=False))
        if host in self.selected or self._carries_selected(host):
            legs.append(Leg("containers", raise_containers, raising))
        return legs

    def _prepares(self, host: str) -> bool:
        """Whether an image of its selected containers is to be prepared; most fleets have none."""
        containers = (c for c in self.intent.containers_on(host) if c.name in self.selected)
        return any(self.intent.images[c.image].prepare for c in containers)

    def _controllers_first(self) -> None:
        """Every other machine lets the fleet's controllers in: their keys are there before that."""
        names = [machine.name for machine in self.intent.controllers]
        if not names or not {"bootstrap", "configure"} & self.phases:
            return
        ours = [name for name in names if name in self.selected and not self._lost(name)]
        ours = ours if "bootstrap" in self.phases else []
        here = controlling(self.intent)  # it comes last, but for its key, which others need
        self.bootstrapped = set(ours) - here
        self._nornir_run(ours, self._controller_legs)
        read = [name for name in names if name not in ours and self._reachable(name)]
        self._run_over(read, look_at_controller)

    def _reachable(self, machine: str) -> bool:
        container = self.intent.containers.get(machine)
        return not self._lost(container.on if container else machine)

    def _controller_legs(self, machine: str) -> Sequence[Leg]:
        identify = Leg("bootstrap", identify_controller)
        return [self._bootstrap(machine), identify] if machine in self.bootstrapped else [identify]

    def _bootstrap(self, machine: str) -> Leg:
        container = machine in self.intent.containers
        return Leg("bootstrap", bootstrap_container if container else bootstrap_host)

    def _third_legs(self, machine: str) -> Sequence[Leg]:
        legs = [] if machine in self.bootstrapped else [self._bootstrap(machine)]
        if machine in self.intent.lxd_hosts and has_controllers(self.shared):
            legs.append(Leg("lxd", trust_controllers, {"prune": self.prune}))
        legs.append(Leg("configure", configure_system, {"prune": self.prune}))
        # what is only planned cannot be proven
        return legs if self.nr.data.dry_run else [*legs, Leg("prove", prove_machine)]

    def _check(self, task: Task) -> Result:
        """Hold the host's lock for the whole run where something may change on it, then check."""
        host = task.host.name
        changes = host in self.selected or self._carries_selected(host)
        with Attempt("check") as attempt:
            if changes and not task.is_dry_run():
                lock_host(task.host)
            see_that_it_can_be_managed(task.host)
        if attempt.error and host not in self.shared.facts:
            self.shared.unread[host] = str(attempt.error)
        if isinstance(attempt.error, LockedError):
            raise attempt.error  # ends the run, not only this host's part
        return attempt.result(task)

    def _nornir_run(self, machines: Sequence[str], legs_of: Callable[[str], Sequence[Leg]]) -> None:
        def go(task: Task) -> Result:
            wanted = [leg for leg in legs_of(task.host.name) if leg.phase in self.phases]
            return walk(task, wanted, self.report, book=task.host.name in self.report.hosts)

        for wave in in_waves(self.intent, machines):
            self._run_over(wave, go)

    def _run_over(self, machines: Collection[str], task: Callable[[Task], Result]) -> None:
        run_over(self.nr, machines, task, self.report, name="provision", on_result=self.on_result)

    def _skip_containers_of_lost_hosts(self) -> None:
        for host in self.intent.lxd_hosts:
            if not self._lost(host):
                continue
            state = "is unreachable" if host in self.shared.unreachable else "failed"
            told = self.report.hosts.get(host)  # nothing of one that is not selected
            if told and told.status == "skipped":
                state = "was skipped"
            for container in self.intent.containers_on(host):
                if container.name in self.selected:
                    self.report.add(
                        container.name,
                        record("containers", "skipped", message=f"its LXD host {host} {state}"),
                    )
