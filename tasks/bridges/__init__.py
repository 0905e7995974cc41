"""Bridges: every NIC and vlan of an LXD host in a bridge, through netplan."""

from __future__ import annotations

from nornir.core.task import Result, Task

from tasks.bridges.compare import NetworkWrite, plan_bridges
from tasks.bridges.transaction import change_network
from tasks.facts.host import facts_of
from tasks.outcome import converge
from tasks.plan import Plan
from tasks.run import run_of

__all__ = ["configure_bridges"]


def configure_bridges(task: Task, dry_run: bool | None = None) -> Result:
    """Bring an LXD host's bridges, vlans and NICs to what the inventory intends.

    All of it is one change of our netplan file: validated elsewhere on the host first, applied with
    a way back armed on the host itself, confirmed over a new SSH connection. A netplan file that is
    not ours is moved away only where the inventory lists it under ``netplan.replaces``.

    Arguments:
        dry_run: plan only, whatever Nornir's own setting says.

    ``Result.result`` is the record of the phase ``bridges`` (see :func:`tasks.outcome.record`).
    """
    wanted = run_of(task).intent.lxd_hosts[task.host.name]

    def plan(fresh: bool) -> Plan[NetworkWrite]:
        return plan_bridges(wanted, facts_of(task.host, fresh=fresh))

    def apply(planned: Plan[NetworkWrite]) -> None:
        change_network(task.host, wanted, facts_of(task.host), planned)

    return converge(task, "bridges", plan=plan, apply=apply, dry_run=dry_run)
