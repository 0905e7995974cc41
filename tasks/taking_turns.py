"""Which LXD hosts must not all change at once, because all sites would stop at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tasks.actual import HostFacts
from tasks.bridges.compare import plan_bridges
from tasks.errors import FleetError
from tasks.intent.model import LxdHost
from tasks.lxd_server.package import will_move
from tasks.run import Run

#: The phases for which hosts take turns, and what each host's turn was for.
TURNS = {
    "bridges": "its network was to be changed",
    "lxd": "its LXD was to be moved to the snap",
}


def turns_of(
    run: Run, hosts: Iterable[str], phases: Collection[str], *, prune: bool
) -> dict[str, str]:
    """The hosts that take turns in these phases -> the phase that is why, from what was read."""
    turns: dict[str, str] = {}
    for host in hosts:
        wanted, actual = run.intent.lxd_hosts[host], run.facts[host]
        if "bridges" in phases and _network_changes(wanted, actual, prune=prune):
            turns[host] = "bridges"
        elif "lxd" in phases and will_move(wanted, actual):
            turns[host] = "lxd"
    return turns


def _network_changes(wanted: LxdHost, actual: HostFacts, *, prune: bool) -> bool:
    if actual.network_pending:
        return True  # an earlier run's change: it is waited for in its turn, and may stop the rest
    try:
        return plan_bridges(wanted, actual, prune=prune).changed
    except FleetError:
        return False  # refused before anything is touched, as its own phase will say
