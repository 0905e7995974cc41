"""The phase ``bridges``: one change of a host's network, with a way back."""

from __future__ import annotations

from nornir.core.task import Result, Task

from tasks.bridges.compare import plan_bridges
from tasks.bridges.earlier import facts_when_settled
from tasks.bridges.live import Words
from tasks.bridges.transaction import NetworkChange, OnStage
from tasks.facts.host import facts_of
from tasks.outcome import converge
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import lock_host


def configure_bridges(
    task: Task,
    dry_run: bool | None = None,
    prune: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> Result:
    """Bring an LXD host's bridges, vlans and NICs to what the inventory intends.

    All of it is one change: validated elsewhere on the host first, made live with a way back armed
    on the host itself, checked over a new SSH connection to the address that the inventory names,
    and only then confirmed, which makes it permanent. In every other case the host goes back by
    itself within ``netplan.confirm_seconds``; a change that a killed run has left is waited for so
    long. A netplan file that is not ours is moved away only where the inventory lists it under
    ``netplan.replaces``.

    Arguments:
        dry_run: plan only, whatever Nornir's own setting says.
        prune: remove the bridges and vlans of our file that the inventory no longer has.
        on_stage: called with each :data:`Stage` of a change as it is reached.

    ``Result.result`` is the record of the phase ``bridges`` (see :func:`tasks.outcome.record`);
    its message says what was tried, what failed and whether it was rolled back.
    """
    wanted = run_of(task).intent.lxd_hosts[task.host.name]
    dry = task.is_dry_run(dry_run)

    def plan(fresh: bool) -> Plan[Words]:
        facts = facts_of(task.host, fresh=fresh)
        if facts.network_pending and wanted.bridges and not dry:
            facts = facts_when_settled(task.host, wanted.netplan.confirm_seconds)
        return plan_bridges(wanted, facts, prune=prune)

    def ready() -> None:
        locked = task.host.name in run_of(task).locks
        lock_host(task.host)
        if not locked:  # another run may have been at work until now
            facts_of(task.host, fresh=True)

    def apply(planned: Plan[Words]) -> None:
        actual = facts_of(task.host)
        planned = plan_bridges(wanted, actual, prune=prune)
        change = NetworkChange(task.host, wanted, actual, planned, prune=prune, on_stage=on_stage)
        change.make()

    return converge(task, "bridges", plan=plan, apply=apply, dry_run=dry_run, ready=ready)
