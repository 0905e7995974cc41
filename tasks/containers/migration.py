"""Carrying out a container's move from one LXD host to another, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.actual import Json
from tasks.containers.moving import (
    AUTOSTART,
    COPYING,
    MOVING,
    autostart_of,
    config_of_copy,
    config_while_moving,
    devices_of_copy,
    is_half,
)
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import change_state, stop, update, wait_until_idle
from tasks.errors import FleetError, LxdError, LxdNotFoundError
from tasks.facts.machine import read_machine
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.run import Run
from tasks.transport import exec_shell_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Seconds for copying a container with its snapshots over the network.
COPY_DEADLINE = 3600.0
START_DEADLINE = 120.0
#: Seconds until the system inside is up again.
UP_DEADLINE = 180.0


def move(run: Run, container: Container, source: str, *, force: bool = False) -> None:
    """Stop a container on the LXD host that has it, and copy it to the one it is declared on.

    What fails before it is whole here starts it again where it was, as it was. A half copy of an
    earlier run is deleted first. LXD 5.0 REST API, ``POST /1.0/instances`` with a source of the
    type migration, which is pulled.

    ``force`` stops it hard where it does not shut down by itself. Raises :class:`LxdError`,
    :class:`DeadlineError`, or what ``api_of`` raises for either host.
    """
    here, there = api_of(run.hosts[container.on]), api_of(run.hosts[source])
    name = container.name
    _delete_half(here, name)
    former = wait_until_idle(there, name)
    update(there, ContainerWrite("update", name, config_while_moving(former, container.on)))
    try:
        if former["status"] != "Stopped":
            stop(there, name, force=force)
        _copy(run, container, source, former)
    except FleetError as error:
        _take_back(there, former)
        raise LxdError(
            f"it is not moved from {source}, where it goes on: {error.what}",
            where=container.on,
            remedy=error.remedy or f"see whether {container.on} reaches LXD on {source}",
        ) from error
    update(here, ContainerWrite("update", name, without_config=(COPYING,)))


def see_that_it_is_up(run: Run, container: Container) -> None:
    """Wait until the system inside is up; raises what reading it raises."""
    if container.running:
        read_machine(exec_shell_of(run.hosts[container.name]), container, deadline=UP_DEADLINE)


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


def _take_back(api: LxdApi, former: Json) -> None:
    """The former instance is as it was before the move, and runs if it did."""
    name, autostart = former["name"], autostart_of(former)
    kept = {AUTOSTART: autostart} if autostart else {}
    gone = (MOVING,) if autostart else (MOVING, AUTOSTART)
    update(api, ContainerWrite("update", name, kept, without_config=gone))
    if former["status"] != "Stopped" or MOVING in former["config"]:
        change_state(api, name, "start")
