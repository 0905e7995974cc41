"""Making a prepared image: a container of its own is bootstrapped, cleaned, published, deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nornir.core.inventory import Host

from tasks.actual import MachineFacts
from tasks.bootstrap.network import network_files
from tasks.bootstrap.plan import plan_bootstrap
from tasks.containers.holder import who_has_address_of
from tasks.containers.step import ContainerWrite
from tasks.containers.wanted import wanted_config, wanted_devices
from tasks.containers.wire import addresses_in_reach, see_that_nobody_has, who_has
from tasks.containers.writes import change_state, create, stop, wait_until_idle
from tasks.errors import FleetError, LxdNotFoundError
from tasks.facts.machine import read_machine
from tasks.images.prepared import BASE, BASE_NAME, PREPARED
from tasks.intent.model import Container, Profile
from tasks.intent.system import Configure
from tasks.lxd_api.connection import api_of
from tasks.machine.change import Call, Calls, Clock, apply_calls
from tasks.machine.paths import RESOLV_CONF
from tasks.ownership import BUILDER_KEY, image_mark, marked
from tasks.plan import Plan, Step
from tasks.prepared.plan import BUILDER
from tasks.run import run_of
from tasks.shell import Shell
from tasks.transport import instance_shell

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Seconds for packing a container's file system into an image.
PUBLISH_DEADLINE = 600.0
FORCED_STOP = {"action": "stop", "force": True, "timeout": 30}


def prepare_image(host: Host, container: Container, alias: str, base: str) -> str:
    """Make the prepared image of that alias on an LXD host; its fingerprint.

    Arguments:
        host: the LXD host, as Nornir has it.
        container: one that will start from it, and whose network the builder has meanwhile:
            it does not exist yet.
        base: the fingerprint of the image that it is made from.

    ``bootstrap.deadline`` of the container bounds the bootstrap. The builder is deleted whatever
    happens; one that a killed run has left, the next run deletes. Raises :class:`FleetError`.
    """
    name = BUILDER + hashlib.sha256(alias.encode()).hexdigest()[:12]
    api = api_of(host)
    _see_that_nobody_has(host, container)
    try:
        _bootstrap(api, host, name, container)
        stop(api, name)
        published = api.post(
            "/1.0/images",
            {
                "source": {"type": "instance", "name": name},
                "properties": {
                    **image_mark(host.name),
                    PREPARED: alias,
                    BASE_NAME: container.image,
                    BASE: base,
                },
            },
            deadline=PUBLISH_DEADLINE,
        )
    finally:
        with suppress(FleetError):  # the next run deletes it, and says so
            delete_builder(api, name)
    fingerprint = str(published["fingerprint"])
    api.point_alias(alias, fingerprint)
    return fingerprint


def delete_builder(api: LxdApi, name: str) -> None:
    """Delete the container in which an image was prepared, once LXD is done with it."""
    with suppress(LxdNotFoundError):
        if wait_until_idle(api, name).get("status") != "Stopped":
            api.put(f"/1.0/instances/{name}/state", FORCED_STOP, deadline=60.0)
        api.delete(f"/1.0/instances/{name}", deadline=60.0)


def _see_that_nobody_has(host: Host, container: Container) -> None:
    run = run_of(host)
    reach = addresses_in_reach(container, run.intent.lxd_hosts[host.name])
    see_that_nobody_has(container, who_has(host, reach), run)
    if who_has_address_of(container):
        raise FleetError(
            f"{container.ssh.hostname}, the address of {container.name}, answers already",
            where=container.name,
            remedy="find the machine that has it, and give one of the two another address",
        )


def _bootstrap(api: LxdApi, host: Host, name: str, container: Container) -> None:
    run = run_of(host)
    create(api, _creation(name, container, run.intent.profiles))
    change_state(api, name, "start")
    clock = Clock(container.bootstrap.deadline)
    shell = instance_shell(host, name)
    nobody = replace(container.bootstrap, authorized_keys=())
    machine = replace(
        container, name=name, bootstrap=nobody, configure=Configure(), groups=(), controller=None
    )
    facts = read_machine(shell, machine, deadline=clock.left)
    plan = plan_bootstrap(machine, run.intent.images[container.image], facts)
    apply_calls(shell, "bootstrap", plan, clock)
    _clean(shell, machine, facts, clock)


def _creation(name: str, container: Container, profiles: Mapping[str, Profile]) -> ContainerWrite:
    """Its network and its root disk; what else it has belongs to it alone."""
    devices = {
        device: keys
        for device, keys in wanted_devices(container).items()
        if keys.get("type") == "nic" or keys.get("path") == "/"
    }
    return ContainerWrite(
        "create",
        name,
        {**marked(name, wanted_config(container, profiles)), BUILDER_KEY: name},
        devices,
        profiles=container.profiles,
        image=container.image,
    )


def _clean(shell: Shell, machine: Container, facts: MachineFacts, clock: Clock) -> None:
    static = [a for a in machine.attachments.values() if a.address]
    files = [file.path for file in network_files(facts.network_tool, static)]
    calls: Calls = (Call("clean_machine", (*files, RESOLV_CONF)),)
    apply_calls(shell, "clean", Plan((Step("clean", "machine", calls),)), clock)
