"""Restarting a container without taking its pair down with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.containers.writes import restart
from tasks.errors import FleetError
from tasks.facts.machine import read_machine
from tasks.intent.model import Container
from tasks.run import Run
from tasks.transport import exec_shell_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Seconds until the system inside is up again.
UP_DEADLINE = 180.0


def restart_in_turn(api: LxdApi, run: Run, container: Container, *, force: bool = False) -> None:
    """Restart a container, and see that its system is up again.

    Of an ``apart`` group one container at a time in the whole run; once one did not come back, the
    others are not restarted, which raises :class:`FleetError` for each.
    """
    group = container.apart or f"container {container.name}"
    with run.apart(group):
        if group in run.down:
            raise FleetError(
                f"not restarted: {run.down[group]}, which is never down together with it (apart: "
                f"{group}), did not come back from its own restart",
                where=container.name,
                remedy=f"mend {run.down[group]} first, then run again",
            )
        run.down[group] = container.name
        restart(api, container.name, force=force)
        read_machine(exec_shell_of(run.hosts[container.name]), container, deadline=UP_DEADLINE)
        del run.down[group]
