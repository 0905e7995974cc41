"""The phase ``check``: whether an LXD host can be managed."""

from __future__ import annotations

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.errors import FleetError
from tasks.facts.host import facts_of
from tasks.obstacles import obstacles_of
from tasks.outcome import Attempt
from tasks.run import run_of


def check_host(task: Task) -> Result:
    """Read an LXD host and see whether the other phases can begin. It changes nothing.

    ``Result.result`` is the record of the phase ``check`` (see :func:`tasks.outcome.record`); what
    is in the way is its message and fails the task.
    """
    with Attempt("check") as attempt:
        see_that_it_can_be_managed(task.host)
    return attempt.result(task)


def see_that_it_can_be_managed(host: Host) -> None:
    """Read an LXD host; raises :class:`FleetError` with all that is in the way of its phases."""
    obstacles = obstacles_of(run_of(host).intent.lxd_hosts[host.name], facts_of(host))
    if obstacles:
        raise FleetError("; ".join(obstacles), where=host.name)
