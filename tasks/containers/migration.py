"""Carrying out a container's move from one LXD host to another, whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasks.actual import Json
from tasks.containers.moving import (
    config_of_copy,
    config_while_moving,
    devices_of_copy,
    is_half,
    ran_before,
    write_back,
)
from tasks.containers.remembered import COPYING
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import START_DEADLINE, change_state, stop, update, wait_until_idle
from tasks.errors import FleetError, LxdError, LxdNotFoundError
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.run import Run

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Seconds for copying a container with its snapshots over the network.
COPY_DEADLINE = 3600.0


def move(run: Run, container: Container, source: str, *, force: bool = False) -> None:
    """Stop a container on the LXD host that has it, and copy it to the one it is declared on.

    What fails starts it again where it was, as it was. A half copy of an earlier run is deleted
    first. LXD 5.0 REST API, ``POST /1.0/instances`` with a source of the type migration, which is
    pulled.

    ``force`` stops it hard where it does not shut down by itself. Raises :class:`LxdError`,
    :class:`DeadlineError`, or what ``api_of`` raises for either host.
    """
    here, there = api_of(run.hosts[container.on]), api_of(run.hosts[source])
    name = container.name
    former = wait_until_idle(there, name)
    _delete_half(here, name)
    update(there, ContainerWrite("update", name, config_while_moving(former, container.on)))
    try:
        if former["status"] != "Stopped":
            stop(there, name, force=force)
        _copy(run, container, source, former)
    except FleetError as error:
        raise _back(there, container, source, error) from error
    update(here, ContainerWrite("update", name, without_config=(COPYING,)))


def move_back(run: Run, container: Container, source: str, error: FleetError) -> LxdError:
    """Have a container go on where it was, since its copy does not come up; the error that says so.

    The copy is stopped, and no longer whole: the next move makes it anew.
    """
    here, there = api_of(run.hosts[container.on]), api_of(run.hosts[source])
    name = container.name
    with suppress(FleetError):  # whatever keeps it from starting may keep it from stopping
        stop(here, name, force=True)
        update(here, ContainerWrite("update", name, {COPYING: name}))
    return _back(there, container, source, error)


def _back(api: LxdApi, container: Container, source: str, error: FleetError) -> LxdError:
    name, goes_on = container.name, "where it goes on"
    try:
        former, _ = api.get(f"/1.0/instances/{name}")
        if ran_before(former):
            change_state(api, name, "start")
        update(api, write_back(former))  # last: until then the next run goes on with the move
    except FleetError as refused:
        goes_on = f"where it does not go on either ({refused.what})"
    return LxdError(
        f"it is not moved from {source}, {goes_on}: {error.what}",
        where=container.on,
        remedy=error.remedy or f"see whether {container.on} reaches LXD on {source}",
    )


def _delete_half(api: LxdApi, name: str) -> None:
    try:
        instance = wait_until_idle(api, name)
    except LxdNotFoundError:
        return
    if is_half(instance):
        api.delete(f"/1.0/instances/{name}", deadline=START_DEADLINE)


def _copy(run: Run, container: Container, source: str, former: Json) -> None:
    here, there = api_of(run.hosts[container.on]), api_of(run.hosts[source])
    path, secrets = there.offer_migration(container.name)
    body: dict[str, Any] = {
        "name": container.name,
        "type": "container",
        "architecture": former["architecture"],
        "profiles": list(container.profiles),
        "config": config_of_copy(former),
        "devices": devices_of_copy(container, former),
        "source": {
            "type": "migration",
            "mode": "pull",
            "operation": f"https://{run.intent.lxd_hosts[source].api_address}{path}",
            "secrets": secrets,
            "certificate": run.facts[source].lxd.certificate or "",
        },
    }
    here.post("/1.0/instances", body, deadline=COPY_DEADLINE)
