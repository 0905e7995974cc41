"""Reboot the machines that need it, and prove that they have booted anew."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.containers.restarting import out_of_service, see_that_it_is_up
from tasks.containers.writes import restart
from tasks.errors import DeadlineError, FleetError, ProofError
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.carried import not_running, running_on
from tasks.onhost import on_host
from tasks.outcome import Status, failure, record, result_of
from tasks.plan import Plan, Step
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of
from tasks.waves import controlling

PHASE = "reboot"
#: Seconds for one look at a machine, and between two of them while it boots.
READ_DEADLINE = 30.0
PAUSE = 2.0
#: Detached from this session, so that its end is known here before the machine goes down.
REBOOT = "(sleep 1; systemctl reboot) </dev/null >/dev/null 2>&1 &"


@dataclass(frozen=True)
class Boot:
    """One boot of a machine by its ``id`` (proc_sys_kernel(5)), and why it needs another."""

    id: str
    needed: str = ""


def reboot_machine(task: Task, dry_run: bool | None = None) -> Result:
    """Reboot a machine that needs it: its packages ask for it, or a newer kernel is installed.

    A container is restarted by its LXD host, gracefully, of an ``apart`` group one at a time. Any
    other machine has ``maintenance.deadline`` (seconds) to answer again; on an LXD host all
    containers that ran have to run again by then. The machine that the run is controlled from is
    never rebooted: that it needs it is a failure that says so.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``reboot``; proven is it by another boot id. Errors are
    in it, never raised.
    """
    started = time.monotonic()
    host, run = task.host, run_of(task)
    plan: Plan[None] = Plan()
    begun = False
    try:
        before = boot_of(host)
        plan = plan_reboot(host.name, before, exec_notes(host))
        if plan.changed and not task.is_dry_run(dry_run):
            if host.name in controlling(run.intent):
                raise FleetError(
                    f"needs a reboot ({before.needed}), and this run is controlled from it",
                    where=host.name,
                    remedy="reboot it by hand, or run this from elsewhere",
                )
            machine = run.intent.machine(host.name)
            begun = True
            if isinstance(machine, Container):
                _restart(host, machine)
            else:
                _reboot(host, before, machine.maintenance.deadline)
            _prove(host, before)
    except Exception as error:
        seconds = time.monotonic() - started
        return result_of(task, failure(PHASE, error, plan=plan, seconds=seconds, begun=begun))
    status: Status = "changed" if plan.changed else "ok"
    return result_of(task, record(PHASE, status, plan=plan, seconds=time.monotonic() - started))


def plan_reboot(name: str, boot: Boot, notes: tuple[str, ...] = ()) -> Plan[None]:
    """The one step, or the reason why there is none."""
    if not boot.needed:
        return Plan(reason="no reboot needed", notes=notes)
    return Plan((Step("reboot", f"machine {name}", None, detail=boot.needed),), notes=notes)


def parse_boot(output: str) -> Boot:
    """The lines of ``onhost/reboot_needed.sh``."""
    lines = [line.partition(" ") for line in output.splitlines()]
    reasons = [rest.strip() for word, _, rest in lines if word == "needed"]
    (boot,) = (rest for word, _, rest in lines if word == "boot")
    return Boot(boot, "; ".join(reasons))


def boot_of(host: Host) -> Boot:
    """Read a machine's present boot, in one exchange; raises what its shell raises."""
    done = shell_of(host).run(on_host("reboot_needed"), deadline=READ_DEADLINE)
    return parse_boot(done.check(host.name, "reading whether it needs a reboot").text)


def _restart(host: Host, container: Container) -> None:
    run = run_of(host)
    with out_of_service(run, container):
        restart(api_of(run.hosts[container.on]), container.name)
        see_that_it_is_up(run, container)
    _close(host)


def _reboot(host: Host, before: Boot, deadline: float) -> None:
    """Have a machine reboot and wait until it answers anew, with all that ran on it."""
    until = time.monotonic() + deadline
    ran = running_on(host)
    shell_of(host).run(REBOOT, deadline=READ_DEADLINE).check(host.name, "having it reboot")
    missing: frozenset[str] | None = None
    while time.monotonic() < until:
        time.sleep(PAUSE)
        _close(host)
        with suppress(FleetError):
            if boot_of(host).id != before.id:
                missing = ran - running_on(host, fresh=True)
                if not missing:
                    return
    took = f"{deadline:g} s after it was told to reboot"
    if missing:
        raise not_running(host, missing, took)
    raise DeadlineError(f"it does not answer {took}", where=host.name, remedy="look at its console")


def _prove(host: Host, before: Boot) -> None:
    if boot_of(host).id == before.id:
        raise ProofError("its boot id is the one of before", where=host.name)


def _close(host: Host) -> None:
    """What is open may be a connection to the system that went down."""
    for name in ("shell", "lxd"):
        if name in host.connections:
            host.close_connection(name)
