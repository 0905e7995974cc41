"""The Nornir task that raises the containers of an LXD host."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from nornir.core.task import Result, Task

from tasks.actual import LxdFacts, MachineFacts
from tasks.apply import apply_all
from tasks.containers.carrying import carry_out, check_sources
from tasks.containers.departed import plan_departed
from tasks.containers.holder import see_that_it_is_free, who_has_address_of
from tasks.containers.plan import plan_container
from tasks.containers.step import ContainerWrite
from tasks.containers.wire import addresses_in_reach, see_that_nobody_has, who_has
from tasks.containers.writes import apply_steps, is_unfinished, wait_until_idle
from tasks.errors import FleetError, LxdError, LxdNotFoundError
from tasks.facts.lxd import lxd_facts_of
from tasks.images.prepared import starts_from
from tasks.intent.model import Address, Container
from tasks.lxd_api.connection import api_of
from tasks.outcome import Attempt
from tasks.plan import Plan
from tasks.run import run_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "containers"
#: Where what was applied is not there.
REMEDY = "look at the difference with -v, and at lxc info NAME --show-log"
#: Containers that LXD works on at once; each waits for LXD, none for another.
AT_ONCE = 16
#: Who has which address, once the LXD host has heard it.
Held = Future[dict[Address, str]]


@dataclass(frozen=True)
class _Options:
    """What the operator allows besides what follows from the inventory."""

    prune: bool
    allow_restart: bool
    move: frozenset[str]
    force: bool


@dataclass
class _Job:
    """One container on its way: what was planned, and how it ended."""

    container: Container
    attempt: Attempt = field(default_factory=partial(Attempt, PHASE))
    ended: bool = False


def raise_containers(
    task: Task,
    dry_run: bool | None = None,
    *,
    prune: bool = False,
    allow_restart: bool = False,
    move: Collection[str] = (),
    force: bool = False,
    first: bool = False,
) -> Result:
    """Create, start and mend the selected containers that are declared on an LXD host.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.
        prune: stop and rename containers that we created and that left the inventory, only where
            the LXD host itself is selected; and take out of the selected ones that we created what
            config and devices of their own have and it has not, whoever set it.
        allow_restart: restart those where a change waits for that, gracefully; of an ``apart``
            group one at a time.
        move: the names of those that are moved here where another LXD host has them. They are
            stopped meanwhile, and the former ones are kept there, stopped and renamed.
        force: stop hard what has to stop and does not shut down by itself.
        first: leave those that wait for an image to be prepared to the next call in this run, which
            then raises them alone.

    All containers go their way at the same time, and what fails on one is booked on it alone. The
    Result holds the host's own record (see :func:`tasks.outcome.record`) with the key
    ``containers``: name -> that container's record. The host itself fails only where it could not
    be read or written, or where a container that has to go did not; then a container that was
    not brought to an end is missing there.
    """
    raising = _Raising(task, _Options(prune, allow_restart, frozenset(move), force), first)
    with raising.departing:
        raising.plan()
        if not task.is_dry_run(dry_run):
            raising.apply()
    entry = raising.departing.entry()
    told = [job for job in raising.jobs if job.ended or not raising.departing.error]
    containers = {job.container.name: job.attempt.entry() for job in told}
    entries = [entry, *containers.values()]
    return Result(
        host=task.host,
        result={**entry, "containers": containers},
        changed=any(each["changed"] for each in entries),
        diff="\n".join(each["diff"] for each in entries if each["diff"]),
        failed=entry["status"] in ("failed", "unreachable"),
    )


class _Raising:
    """The containers of one LXD host: planned together, applied side by side, proven at once."""

    def __init__(self, task: Task, options: _Options, first: bool) -> None:
        self.task_host = task.host
        self.shared = run_of(task)
        self.intent = self.shared.intent
        self.host = self.intent.lxd_hosts[task.host.name]
        self.options = options
        self.today = date.today()
        self.facts = LxdFacts()
        self.departing = Attempt(PHASE)
        waiting = self.shared.waiting.get(self.host.name)
        self.rest = waiting is not None and not first
        if self.rest:
            del self.shared.waiting[self.host.name]
        self.jobs = [
            _Job(container)
            for container in self.intent.containers_on(self.host.name)
            if container.name in self.shared.selected
            and (waiting is None or (container.name in waiting) is self.rest)
        ]

    def plan(self) -> None:
        """Plan every container; one that cannot be planned has ended."""
        self.facts = lxd_facts_of(self.task_host)
        self.departing.plan = self._plan_departed(self.facts)
        self.shared.leaving.update(step.write.container for step in self.departing.plan.steps)
        for job in self.jobs:
            try:
                job.attempt.plan = self._plan(job.container, self.facts)
                job.ended = not job.attempt.plan.changed
            except FleetError as error:
                job.attempt.error, job.ended = error, True

    def apply(self) -> None:
        """Do what was planned, then read the host again and see that nothing is left."""
        todo = [job for job in self.jobs if not job.ended]
        if not todo and not self.departing.plan.changed:
            return
        api = api_of(self.task_host)
        refused: FleetError | None = None
        try:
            self._let_go(api)
        except FleetError as error:  # what is declared is raised all the same
            refused = error
            gone = {step.write.container for step in self.departing.plan.steps}
            self.shared.leaving -= gone  # who is still heard has not left
        if todo:
            with ThreadPoolExecutor(1) as asking, ThreadPoolExecutor(_at_once(todo)) as pool:
                held = asking.submit(self._who_has_their_addresses, todo)
                list(pool.map(partial(self._raise, api, held), todo))
        facts = lxd_facts_of(self.task_host, fresh=True)
        self._prove(todo, facts)
        if refused:
            raise refused
        self._plan_departed(facts).see_that_nothing_is_left(self.host.name, REMEDY)

    def _plan(self, container: Container, facts: LxdFacts) -> Plan[ContainerWrite]:
        state, name = self.shared.state, container.name
        # other hosts' threads write to both meanwhile
        read = {n: f.lxd for n, f in list(self.shared.facts.items()) if n != self.host.name}
        failed = {*self.shared.unreachable, *self.shared.unread} & self.intent.lxd_hosts.keys()
        unread = sorted(failed - {self.host.name})
        return plan_container(
            container,
            self.intent.profiles,
            facts,
            others=read,
            move=container.name in self.options.move,
            today=self.today,
            start_from=starts_from(
                container,
                self.intent.images,
                self.intent.profiles,
                facts,
                datetime.now(timezone.utc),
            ),
            unread=[*unread, *(name for name, lxd in read.items() if lxd.problem)],
            known_in=str(state.known_hosts) if state.knows(name, name, 22) else "",
            prune=self.options.prune,
            allow_restart=self.options.allow_restart,
        )

    def _plan_departed(self, facts: LxdFacts) -> Plan[ContainerWrite]:
        if self.rest:
            return Plan()  # the call before has seen to them
        declared = {container.name: container.on for container in self.intent.containers.values()}
        prune = self.options.prune and self.host.name in self.shared.selected
        return plan_departed(declared, self.host.name, facts, self.today, prune=prune)

    def _let_go(self, api: LxdApi) -> None:
        departed = self.departing.plan
        self.departing.begun = departed.changed
        by_container = groupby(departed.steps, key=lambda step: step.write.container)
        apply_all(
            (f"container {name}", partial(apply_steps, api, list(steps), force=self.options.force))
            for name, steps in by_container
        )

    def _raise(self, api: LxdApi, held: Held, job: _Job) -> None:
        """One container's way, in a thread of its own."""
        with job.attempt as attempt:  # an error is booked on this container alone
            check_sources(self.shared, job.container, attempt.plan, self.facts)
            if _starts_anew(job):
                self._see_that_it_may_start(job, held)
            attempt.begun = True
            try:
                self._carry_out(api, job, attempt.plan)
            except LxdError as error:
                if not is_unfinished(error):
                    raise
                self._finish(api, job)
        job.ended = True

    def _see_that_it_may_start(self, job: _Job, held: Held) -> None:
        """Nobody else has its address: with cloud-init, say, it has it as soon as it runs. So a
        container that was only called anew in the inventory is not made beside the former one."""
        answer = who_has_address_of(job.container)
        if answer:
            nothing = MachineFacts(job.container.name)
            see_that_it_is_free(job.container, nothing, answer, self.shared)
        see_that_nobody_has(job.container, held.result(), self.shared)

    def _who_has_their_addresses(self, jobs: Collection[_Job]) -> dict[Address, str]:
        """Of those that are about to start; the LXD host asks for all of them at once."""
        wanted = [
            address
            for job in jobs
            if _starts_anew(job)
            for address in addresses_in_reach(job.container, self.host)
        ]
        return who_has(self.task_host, wanted)

    def _finish(self, api: LxdApi, job: _Job) -> None:
        """Let LXD end what a killed run left it to do, and do what is then still missing."""
        container, instances = job.container, dict(self.facts.instances)
        try:
            instances[container.name] = wait_until_idle(api, container.name)
        except LxdNotFoundError:
            instances.pop(container.name, None)
        again = self._plan(container, replace(self.facts, instances=instances))
        self._carry_out(api, job, again)

    def _carry_out(self, api: LxdApi, job: _Job, plan: Plan[ContainerWrite]) -> None:
        notes = carry_out(
            api,
            self.shared,
            job.container,
            plan,
            force=self.options.force,
            allow_restart=self.options.allow_restart,
        )
        planned = job.attempt.plan
        job.attempt.plan = replace(planned, notes=(*planned.notes, *notes))

    def _prove(self, todo: list[_Job], facts: LxdFacts) -> None:
        for job in todo:
            if job.attempt.error is None:
                try:
                    plan = self._plan(job.container, facts)
                    plan.see_that_nothing_is_left(self.host.name, REMEDY)
                except FleetError as error:
                    job.attempt.error = error


def _at_once(jobs: Collection[_Job]) -> int:
    return min(AT_ONCE, len(jobs))


def _starts_anew(job: _Job) -> bool:
    """Whether a container that does not run is started; one that moves has its address already."""
    actions = {step.action for step in job.attempt.plan.steps}
    return "start" in actions and "move" not in actions
