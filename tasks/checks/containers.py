"""Rules between a container and its LXD host: bridges, pools, images, networks."""

from __future__ import annotations

from collections.abc import Collection

from tasks.checks.profiles import check_devices, check_user_data
from tasks.intent.inventory import Inventory
from tasks.intent.model import Container, Intent, LxdHost
from tasks.mistakes import Mistakes, Place, listed, nearest


def check_containers(
    intent: Intent, inventory: Inventory, unsure: frozenset[str], mistakes: Mistakes
) -> None:
    """Check every container, by itself and against its host; which bridges and profiles those
    ``unsure`` have is an open question."""
    for container in intent.containers.values():
        name = container.name

        def written(key: str, name: str = name) -> Place:
            place = inventory.host_place(name, "config", key)
            own = inventory.hosts[name].data.get("config", {})
            return place if key in own else inventory.host_place(name, "user_data")

        check_devices(container.devices, inventory.host_place(name, "devices"), intent, mistakes)
        check_user_data(container.config, written, mistakes)
        if name not in unsure:
            _check_networks(container, inventory, mistakes)
        host = intent.lxd_hosts.get(container.on)
        if host is None:
            _check_on(container, intent, inventory, mistakes)
            if container.on not in inventory.hosts and len(inventory.kinds) == len(inventory.hosts):
                _check_image(container, "no LXD host has the", intent.images, inventory, mistakes)
            continue
        _check_image(container, f"{host.name} has no", host.images, inventory, mistakes)
        if not unsure & {name, host.name}:
            _check_bridges(container, host, intent, inventory, mistakes)
            _check_disks(container, host, intent, inventory, mistakes)


def _check_on(
    container: Container, intent: Intent, inventory: Inventory, mistakes: Mistakes
) -> None:
    place = inventory.host_place(container.name, "on")
    if mistakes.within(place):
        return
    if container.on in inventory.hosts:
        if container.on in inventory.kinds:  # one whose kind is unclear has its own mistake
            mistakes.add(
                place,
                f"{container.on} is not an LXD host",
                listed(intent.lxd_hosts),
                host=container.name,
            )
    else:
        mistakes.add(
            place,
            f"there is no host {container.on}",
            nearest(container.on, intent.lxd_hosts, "declare it, with `lxd`"),
            host=container.name,
        )


def _check_networks(container: Container, inventory: Inventory, mistakes: Mistakes) -> None:
    """Addresses and MACs only where the container has a NIC."""
    data = inventory.hosts[container.name].data
    for key, what in (("addresses", "an address"), ("macs", "a MAC")):
        for network in data.get(key, {}):
            place = inventory.host_place(container.name, key, network)
            if network not in container.networks and not mistakes.within(place):
                plugged = ", ".join(container.networks) or "none"
                mistakes.add(
                    place,
                    f"{what} on {network}, where it has no NIC; its networks: {plugged}",
                    f"add a profile with br-{network}, or bridges: [br-{network}]",
                    host=container.name,
                )


def _check_image(
    container: Container,
    lacking: str,
    images: Collection[str],
    inventory: Inventory,
    mistakes: Mistakes,
) -> None:
    """Its image is one of ``images``: those of its host, or of all where it is on an unknown one.

    ``lacking`` begins what is said of one that is not.
    """
    place = inventory.host_place(container.name, "image")
    if not container.image:
        if not mistakes.within(place):
            mistakes.add(
                inventory.own_place(container.name, "data"),
                "no image is declared",
                nearest("", images, "write image: NAME, one of the host's `images`"),
            )
    elif container.image not in images:
        mistakes.add(
            place,
            f"{lacking} image {container.image}",
            nearest(container.image, images, "declare it among the host's `images`"),
            host=container.name,
        )


def _check_bridges(
    container: Container,
    host: LxdHost,
    intent: Intent,
    inventory: Inventory,
    mistakes: Mistakes,
) -> None:
    networks = {bridge.network for bridge in host.bridges}
    for profile in container.profiles:
        for network in intent.profiles[profile].networks:
            if network not in networks and network in intent.bridges:
                mistakes.add(
                    inventory.own_place(container.name, "groups"),
                    f"its profile {profile} needs br-{network}, which {host.name} lacks",
                    f"add br-{network} to the groups of {host.name}, or move "
                    f"{container.name} to a host that has it",
                )
    inherited = {n for p in container.profiles for n in intent.profiles[p].networks}
    for network in container.networks:
        if network not in networks | inherited and network in intent.bridges:
            mistakes.add(
                inventory.host_place(container.name, "bridges"),
                f"br-{network} is not on its host {host.name}",
                listed(bridge.name for bridge in host.bridges),
                host=container.name,
            )


def _check_disks(
    container: Container,
    host: LxdHost,
    intent: Intent,
    inventory: Inventory,
    mistakes: Mistakes,
) -> None:
    """A root disk, and every disk in a pool that the host has."""
    own = inventory.host_place(container.name, "root")
    disks = [(device, own) for device in container.devices.values()]
    for profile in container.profiles:
        place = inventory.group_place(profile, "profile", "root")
        disks += [(device, place) for device in intent.profiles[profile].devices.values()]
    pools = [pool.name for pool in host.lxd.pools]
    wrong_pools = mistakes.within(inventory.host_place(host.name, "lxd", "pools"))
    for device, place in disks:
        pool = device.get("pool")
        if pool is not None and pool not in pools and not wrong_pools:
            mistakes.add(
                place,
                f"there is no pool {pool} on {host.name}",
                nearest(pool, pools, "declare it in lxd.pools"),
                host=container.name,
            )
    rooted = any(d.get("type") == "disk" and d.get("path") == "/" for d, _ in disks)
    if not rooted and not any(mistakes.within(place) for _, place in (({}, own), *disks)):
        mistakes.add(
            inventory.own_place(container.name, "data"),
            "it has no root disk",
            "write root: POOL, or add a profile that has one",
        )
