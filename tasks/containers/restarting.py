"""Taking a container out of service without taking its pair down with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.errors import FleetError
from tasks.facts.machine import read_machine
from tasks.intent.model import Container
from tasks.run import Run
from tasks.transport import exec_shell_of

#: Seconds until the system inside is up again.
UP_DEADLINE = 180.0


@contextmanager
def out_of_service(run: Run, container: Container) -> Iterator[None]:
    """While a container is restarted or moved; it is up again in the end.

    Of an ``apart`` group one container at a time in the whole run; once that failed for one, the
    others stay in service, which raises :class:`FleetError` for each.
    """
    group = container.apart or f"container {container.name}"
    with run.apart(group):
        if group in run.down:
            raise FleetError(
                f"left in service: {run.down[group]}, which is never down together with it (apart: "
                f"{group}), was not restarted or moved well",
                where=container.name,
                remedy=f"mend {run.down[group]} first, then run again",
            )
        run.down[group] = container.name
        yield
        del run.down[group]


def see_that_it_is_up(run: Run, container: Container) -> None:
    """Wait until the system inside is up; raises what reading it raises."""
    if container.running:
        read_machine(exec_shell_of(run.hosts[container.name]), container, deadline=UP_DEADLINE)
