"""Reboot the machines that need it, and prove that they have booted anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import Json, LxdFacts
from tasks.containers.restarting import UP_DEADLINE, out_of_service, see_that_it_is_up
from tasks.containers.writes import change_state, restart
from tasks.errors import DeadlineError, FleetError, LockedError, LxdError, ProofError
from tasks.facts.host import facts_of, facts_or_none
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.boot import (
    Boot,
    apart_obstacles,
    interrupted,
    parse_boot,
    plan_reboot,
    starts_with_host,
)
from tasks.maintenance.carried import not_running, running_on
from tasks.maintenance.drained import drained
from tasks.maintenance.turns import LXD_HOSTS
from tasks.maintenance.upgrade.stage import is_upgrading
from tasks.onhost import on_host
from tasks.outcome import Attempt
from tasks.plan import Plan
from tasks.run import Run, run_of
from tasks.shell import Shell
from tasks.transport import disconnect, exec_notes, lock_host, shell_of, ssh_shell_of
from tasks.waves import controlling

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "reboot"
#: Seconds for one look at a machine, and between two of them while it boots.
READ_DEADLINE = 30.0
PAUSE = 2.0
#: Containers of one host that are looked into at once.
AT_ONCE = 8
#: A timer of the machine's own, so that the end of this command is known before it goes down.
REBOOT = (
    "systemd-run --quiet --collect --on-active=1 --timer-property=AccuracySec=100ms "
    "systemctl reboot"
)


def reboot_machine(task: Task, dry_run: bool | None = None) -> Result:
    """Reboot a machine that needs it: its packages ask for it, or since it booted a kernel or a C
    library came that it does not use yet.

    A container is restarted by its LXD host, gracefully; one that does not shut down stays up. Any
    other machine has ``maintenance.deadline`` (seconds) to answer again, an LXD host also until
    all that ran on it and starts with it runs again; what is declared running and does not start by
    itself is started, and has to be up inside. LXD hosts reboot one after the other. Of an
    ``apart`` group one container is out of service at a time, and all of it that an LXD host
    carries when that reboots. Where another one does not run, or the host carries the whole group,
    nothing is rebooted, which is a failure that says so. So it is for the machine that the run is
    controlled from, and while packages are being installed.

    What is out of service has its ``maintenance.drain`` run before, of an LXD host the containers
    that it carries; then each is looked at and undrained, however it is. Where one cannot be
    drained, nothing is rebooted.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``reboot``; proven is it by another boot id. Errors are
    in it, never raised.
    """
    with Attempt(PHASE) as attempt:
        rebooting = _Reboot(task.host, attempt)
        attempt.plan = rebooting.plan()
        if attempt.plan.changed and not task.is_dry_run(dry_run):
            rebooting.apply()
    return attempt.result(task)


class _Reboot:
    """One machine on its way through a reboot."""

    def __init__(self, host: Host, attempt: Attempt) -> None:
        self.host = host
        self.attempt = attempt
        self.run: Run = run_of(host)
        self.machine = self.run.intent.machine(host.name)
        self.is_lxd = host.name in self.run.intent.lxd_hosts
        self.before = self.after = Boot("")

    def plan(self) -> Plan[None]:
        """Read whether it needs a reboot, and what is in the way of one."""
        self.before = boot_of(self.host.name, shell_of(self.host))
        obstacles = self._obstacles() if self.before.needed else []
        return plan_reboot(self.host.name, self.before, obstacles, exec_notes(self.host))

    def apply(self) -> None:
        """Take it out of service, reboot it, see it back."""
        if isinstance(self.machine, Container):
            self._restart(self.machine)
        else:
            self._reboot()
        if self.after.needed:  # otherwise it would be rebooted in every run, and nobody knew
            raise ProofError(
                f"it has booted anew and needs it all the same ({'; '.join(self.after.needed)})",
                where=self.host.name,
                remedy="look why; every run with this job reboots it until then",
            )

    def _obstacles(self) -> list[str]:
        obstacles = []
        if self.host.name in controlling(self.run.intent):
            obstacles.append("this run is controlled from it")
        if isinstance(self.machine, Container) and is_upgrading(self._instance(self.machine)):
            obstacles.append("an upgrade that was killed has to be finished first")
        lxd = facts_of(self.host).lxd if self.is_lxd else LxdFacts()
        if lxd.move == "begun":
            obstacles.append("its LXD is being moved to the snap")
        if lxd.problem:
            obstacles.append(f"its LXD does not say what it carries ({lxd.problem})")
        return obstacles + apart_obstacles(self.run.intent, self._groups(), self._instances())

    def _instance(self, container: Container) -> Json:
        return facts_of(self.run.hosts[container.on]).lxd.instances.get(container.name, {})

    def _groups(self) -> dict[str, list[str]]:
        return interrupted(self.run.intent, self.host.name, running_on(self.host))

    def _instances(self) -> dict[str, Mapping[str, Json]]:
        """What the LXD hosts have that carry others of its ``apart`` groups, read where needed."""
        groups = self._groups()
        carrying = {c.on for c in self.run.intent.containers.values() if c.apart in groups}
        read = {name: facts_or_none(self.run.hosts[name]) for name in carrying}
        return {name: facts.lxd.instances for name, facts in read.items() if facts}

    def _restart(self, container: Container) -> None:
        over_exec = self.host.name in self.run.over_exec
        shell = shell_of if over_exec else ssh_shell_of  # nothing else will do after it
        api = api_of(self.run.hosts[container.on])
        with self._out_of_service(), drained(self.run, [container], "its reboot"):
            _restarted(api, container.name)
            see_that_it_is_up(self.run, container)
            self._await_boot(time.monotonic() + UP_DEADLINE, UP_DEADLINE, shell)

    def _reboot(self) -> None:
        deadline = self.machine.maintenance.deadline
        if self.is_lxd:
            lock_host(self.host)
        ran = running_on(self.host, fresh=True)
        with self._out_of_service(), drained(self.run, self._carried(ran), "its host's reboot"):
            until = time.monotonic() + deadline
            told = shell_of(self.host).run(REBOOT, deadline=READ_DEADLINE)
            told.check(self.host.name, "having it reboot")
            self._await_boot(until, deadline, shell_of)
            if ran:
                self._await_instances(ran, until, deadline)

    def _carried(self, ran: frozenset[str]) -> list[Container]:
        """The declared ones of these, but for those whose upgrade has to end by itself."""
        instances = facts_of(self.host).lxd.instances if self.is_lxd else {}
        return [
            c
            for c in self.run.intent.containers_on(self.host.name)
            if c.running and c.name in ran and not is_upgrading(instances.get(c.name, {}))
        ]

    @contextmanager
    def _out_of_service(self) -> Iterator[None]:
        """One of each of its ``apart`` groups at a time in the whole run, and one LXD host. From
        here on something may have been changed."""
        containers = self.run.intent.containers
        names = [members[0] for _, members in sorted(self._groups().items())]
        with ExitStack() as stack:
            if self.is_lxd:
                stack.enter_context(self.run.apart(LXD_HOSTS))
            for name in names or [n for n in (self.host.name,) if n in containers]:
                stack.enter_context(out_of_service(self.run, containers[name]))
            self.attempt.begun = True
            yield

    def _await_boot(self, until: float, deadline: float, shell: Callable[[Host], Shell]) -> None:
        """Connect again and again until another boot answers: nobody tells when it does."""
        reason = "it answers, and has not gone down"
        while time.monotonic() < until:
            # what is open may be a connection to the system that went down
            disconnect(self.host, "shell", "lxd")
            try:
                boot = boot_of(self.host.name, shell(self.host))
                if boot.id != self.before.id:
                    self.after = boot
                    return
            except LockedError:
                raise
            except FleetError as error:
                reason = error.what
            time.sleep(PAUSE)
        raise DeadlineError(
            f"no other boot of it answers {deadline:g} s after it was told to reboot ({reason})",
            where=self.host.name,
            remedy="look at its console",
        )

    def _await_instances(self, ran: frozenset[str], until: float, deadline: float) -> None:
        """See that what ran runs again; start what is declared and does not start with its host."""
        instances = facts_of(self.host).lxd.instances
        by_itself = frozenset(n for n in ran if starts_with_host(instances.get(n, {})))
        missing = by_itself - self._running()
        while missing and time.monotonic() < until:
            time.sleep(PAUSE)
            missing = by_itself - self._running()
        if missing:
            raise not_running(self.host, missing, f"{deadline:g} s after it was told to reboot")
        declared = [
            c for c in self.run.intent.containers_on(self.host.name) if c.running and c.name in ran
        ]
        for container in declared:
            if container.name not in by_itself:
                change_state(api_of(self.host), container.name, "start")
        # One that runs may still be booting, and the next host waits for it.
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(partial(see_that_it_is_up, self.run), declared))
        self._running()  # for whoever looks at the host next

    def _running(self) -> frozenset[str]:
        with suppress(FleetError):
            return running_on(self.host, fresh=True)
        return frozenset()  # its LXD is not up yet


def boot_of(name: str, shell: Shell) -> Boot:
    """Read a machine's present boot, in one exchange; raises what its shell raises."""
    done = shell.run(on_host("reboot_needed"), deadline=READ_DEADLINE)
    return parse_boot(name, done.check(name, "reading whether it needs a reboot").text)


def _restarted(api: LxdApi, name: str) -> None:
    """Have LXD restart a container; one that does not shut down goes on, one that does not start
    is tried once more."""
    try:
        restart(api, name)
    except LxdError as error:
        with suppress(FleetError):
            change_state(api, name, "start")
        raise LxdError(
            error.what,
            where=name,
            remedy=f"look inside, and at: lxc info {name} --show-log; restart it by hand",
        ) from error
