"""From validated documents to the intent: kinds, merging, deriving, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tasks.intent.configuration import configure_of
from tasks.intent.containers import container_of
from tasks.intent.controller_files import controller_of
from tasks.intent.here import Here
from tasks.intent.inventory import Inventory
from tasks.intent.lxd_hosts import lxd_host_of
from tasks.intent.lxd_objects import image_of, profile_of
from tasks.intent.machines import machine_of
from tasks.intent.model import Bridge, Image, Intent, LxdHost, Machine, Profile
from tasks.intent.networks import bridge_of
from tasks.intent.scope import Scope
from tasks.intent.templates import Templates
from tasks.mistakes import Mistakes

AnyMachine = TypeVar("AnyMachine", bound=Machine)


def resolve(folder: Path, inventory: Inventory, mistakes: Mistakes, here: Here) -> Intent:
    """The intent that a validated inventory holds; what is wrong is booked and left out."""
    bridges = _bridges(inventory)
    scope = Scope(folder, mistakes, bridges, *_unclear(inventory, mistakes), here)
    lxd_hosts = {
        name: lxd_host_of(name, host, scope) for name, host in inventory.of_kind("lxd").items()
    }
    images_on = _images(inventory, scope)
    profiles = _profiles(inventory, images_on, scope)
    containers = {
        name: container_of(name, host, profiles, images_on.get(host.data.get("on", ""), {}), scope)
        for name, host in inventory.of_kind("container").items()
    }
    machines = {
        name: machine_of(name, host, (), scope)
        for name, host in inventory.of_kind("machine").items()
    }
    lxd_hosts = {
        name: replace(host, profiles=_profiles_on(host, profiles))
        for name, host in lxd_hosts.items()
    }
    images = {name: image for found in images_on.values() for name, image in found.items()}
    intent = Intent(folder, lxd_hosts, containers, machines, bridges, profiles, images)
    intent = _configured(intent, inventory, scope)

    def controllers(machines: Mapping[str, AnyMachine]) -> dict[str, AnyMachine]:
        hosts = inventory.hosts
        return {n: controller_of(m, hosts[n], inventory, scope) for n, m in machines.items()}

    return replace(
        intent,
        lxd_hosts=controllers(intent.lxd_hosts),
        containers=controllers(intent.containers),
        machines=controllers(intent.machines),
    )


def _bridges(inventory: Inventory) -> dict[str, Bridge]:
    bridges = [bridge_of(name, data) for name, (data, _) in inventory.groups_with("bridge").items()]
    return {bridge.network: bridge for bridge in bridges}


def _unclear(inventory: Inventory, mistakes: Mistakes) -> tuple[frozenset[str], frozenset[str]]:
    """The networks whose groups have mistakes that hide the bridge, or its subnet."""
    places = {
        name.removeprefix("br-"): (group.place, "bridge" in group.body.get("data", {}))
        for name, group in inventory.groups.items()
        if name.startswith("br-")
    }
    hidden = {
        network
        for network, (place, bridge) in places.items()
        if not bridge and mistakes.within(place)
    }
    without_subnet = {
        network
        for network, (place, _) in places.items()
        if mistakes.within(place.at("data", "bridge", "subnet"))
    }
    return frozenset(hidden), frozenset(without_subnet)


def _images(inventory: Inventory, scope: Scope) -> dict[str, dict[str, Image]]:
    """The images of each LXD host; two hosts may not mean different things by one name."""
    found: dict[str, dict[str, Image]] = {}
    first: dict[str, tuple[str, Image]] = {}
    for host, layers in inventory.of_kind("lxd").items():
        found[host] = {}
        for name, data in layers.data.get("images", {}).items():
            place = layers.place("images", name)
            image = image_of(name, data, place, scope)
            if image is None:
                continue
            found[host][name] = image
            other, known = first.setdefault(name, (host, image))
            if known != image:
                scope.mistakes.add(
                    place,
                    f"{host} and {other} mean different images by {name}",
                    "give one of them another name",
                )
    return found


def _profiles(
    inventory: Inventory, images_on: Mapping[str, Mapping[str, Image]], scope: Scope
) -> dict[str, Profile]:
    users: dict[str, list[Image | None]] = {}
    for layers in inventory.of_kind("container").values():
        image = images_on.get(layers.data.get("on", ""), {}).get(layers.data.get("image", ""))
        for group in layers.groups:
            users.setdefault(group, []).append(image)
    return {
        name: profile_of(name, data, users.get(name, []), place, scope)
        for name, (data, place) in inventory.groups_with("profile").items()
    }


def _profiles_on(host: LxdHost, profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    """The profiles that a host can have: it has all their bridges and their disks' pools."""
    networks = {bridge.network for bridge in host.bridges}
    pools = {pool.name for pool in host.lxd.pools}
    return tuple(
        name
        for name, profile in profiles.items()
        if networks.issuperset(profile.networks)
        and pools.issuperset(d["pool"] for d in profile.devices.values() if "pool" in d)
    )


def _configured(intent: Intent, inventory: Inventory, scope: Scope) -> Intent:
    """The same intent with every machine's configuration: templates may name the whole fleet."""
    fleet = {
        "hosts": list(intent.lxd_hosts),
        "containers": list(intent.containers),
        "machines": list(intent.machines),
    }
    templates = Templates(intent.folder, fleet, scope.mistakes)

    def configured(machines: Mapping[str, AnyMachine]) -> dict[str, AnyMachine]:
        return {
            name: replace(
                machine, configure=configure_of(machine, inventory.hosts[name], scope, templates)
            )
            for name, machine in machines.items()
        }

    return replace(
        intent,
        lxd_hosts=configured(intent.lxd_hosts),
        containers=configured(intent.containers),
        machines=configured(intent.machines),
    )
