"""Containers whose work is taken off them while they, or their LXD host, are rebooted.

Each remembers it in LXD, from before it is drained until it has its work again: what a run that is
killed leaves so, the next maintenance that upgrades or reboots anything ends first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tasks.containers.remembered import remembering
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import update
from tasks.errors import FleetError, ProofError, UnchangedError
from tasks.facts.lxd import lxd_facts_of
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.boot import DRAINED
from tasks.maintenance.moments import clock, moment_name
from tasks.maintenance.service import Service
from tasks.run import Run

#: Containers of one host that are drained at once.
AT_ONCE = 8


def give_work_again(run: Run, container: Container) -> None:
    """End what an earlier run began. Raises what its undrain, or reaching it or LXD, raises."""
    _Drain(run, container).end()
    _read_anew(run, [container])


@contextmanager
def drained(run: Run, containers: Collection[Container], what: str) -> Iterator[None]:
    """Take their work off those of the containers that have a ``drain``, side by side, meanwhile.

    After ``what`` was done each is looked at, and gets its work again however it is; where it
    fails, as far as it can be reached. Nothing is done where one of them cannot be drained.

    Raises :class:`UnchangedError` where one cannot be drained and all got their work again,
    :class:`ProofError` for those that are not well afterwards or did not get it again, and what is
    raised within.
    """
    drains = [_Drain(run, container) for container in containers if container.maintenance.drain]
    if not drains:
        yield
        return
    if refused := _each(drains, _Drain.begin):
        left = _each(drains, _Drain.end)
        said = "; ".join(map(str, (*refused, *left)))
        raise ProofError(said) if left else UnchangedError(said)
    try:
        yield
    except Exception as error:
        left = _each(drains, _Drain.end)
        if isinstance(error, FleetError):
            error.what = "; ".join((error.what, *(f"not undrained: {each}" for each in left)))
        raise
    ill = _each(drains, lambda drain: drain.service.see_that_it_is_well(f"after {what}"))
    failed = [*ill, *_each(drains, _Drain.end)]
    _read_anew(run, containers)
    if failed:
        raise ProofError("; ".join(map(str, failed)))


def _read_anew(run: Run, containers: Collection[Container]) -> None:
    """So that whoever looks next sees that they have their work."""
    for name in {container.on for container in containers}:
        with suppress(FleetError):
            lxd_facts_of(run.hosts[name], fresh=True)


class _Drain:
    """One container on its way."""

    def __init__(self, run: Run, container: Container) -> None:
        self.service = Service(run.hosts[container.name], container)
        self._name = container.name
        self._lxd_host = run.hosts[container.on]

    def begin(self) -> None:
        words = remembering(DRAINED, self._name, moment_name(clock()))
        update(api_of(self._lxd_host), ContainerWrite("update", self._name, words))
        self.service.drain()

    def end(self) -> None:
        self.service.forget_connection()
        self.service.undrain()
        forget = ContainerWrite("update", self._name, without_config=(DRAINED,))
        update(api_of(self._lxd_host), forget)


def _each(drains: Sequence[_Drain], do: Callable[[_Drain], None]) -> list[FleetError]:
    """Do it with all of them, and return what went wrong."""

    def tried(drain: _Drain) -> FleetError | None:
        try:
            do(drain)
        except FleetError as error:
            return error
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [error for error in pool.map(tried, drains) if error]
