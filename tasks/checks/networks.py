"""Rules on networks: subnets, gateways, default routes, addresses and MACs over the fleet."""

from __future__ import annotations

from tasks.intent.inventory import Inventory
from tasks.intent.model import Address, Attachment, Bridge, Intent, Machine, Network
from tasks.mistakes import Mistakes


def check_networks(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Check every bridge, every attachment, and what has to be unique over the fleet."""
    for bridge in intent.bridges.values():
        _check_bridge(bridge, inventory, mistakes)
    for name in intent.names():
        machine = intent.machine(name)
        for attachment in machine.attachments.values():
            bridge = intent.bridges[attachment.network]
            _check_address(machine, attachment, bridge, inventory, mistakes)
            _check_gateway(machine, attachment, bridge, inventory, mistakes)
            _check_routes(machine, attachment, inventory, mistakes)
        _check_default_routes(machine, inventory, mistakes)
        for network, gateway in machine.data.get("gateways", {}).items():  # type: ignore[attr-defined]
            attached = machine.attachments.get(network)
            place = inventory.host_place(name, "gateways", network)
            if gateway and not (attached and attached.address) and network in intent.bridges:
                mistakes.add(
                    place,
                    f"a gateway without an address on {network}",
                    f"write addresses: {{{network}: ADDRESS}}, or leave the gateway out",
                )
    _check_unique_addresses(intent, inventory, mistakes)
    _check_unique_macs(intent, inventory, mistakes)


def _check_bridge(bridge: Bridge, inventory: Inventory, mistakes: Mistakes) -> None:
    place = inventory.group_place(bridge.name, "bridge")
    if bridge.vlan is not None and bridge.nic is None and not mistakes.within(place.at("nic")):
        mistakes.add(
            place.at("vlan"),
            f"vlan {bridge.vlan} without a NIC",
            "write nic: ROLE, as in the hosts' `nics`",
        )
    if bridge.gateway is None:
        return
    if bridge.subnet is None:
        if not mistakes.within(place.at("subnet")):
            mistakes.add(place.at("gateway"), "a gateway without a subnet", "write subnet: ...")
    elif bridge.gateway not in bridge.subnet:
        mistakes.add(
            place.at("gateway"),
            f"{bridge.gateway} is outside the subnet {bridge.subnet}",
            f"write an address of {bridge.subnet}",
        )
    elif _reserved(bridge.gateway, bridge.subnet):
        mistakes.add(
            place.at("gateway"),
            f"{bridge.gateway} is {_reserved(bridge.gateway, bridge.subnet)} of {bridge.subnet}",
            "write a host's address",
        )


def _check_address(
    machine: Machine,
    attachment: Attachment,
    bridge: Bridge,
    inventory: Inventory,
    mistakes: Mistakes,
) -> None:
    place = inventory.host_place(machine.name, "addresses", attachment.network)
    for address in attachment.addresses:
        first = address == attachment.address
        subnet = bridge.subnet or address.network
        if not first and address.ip not in subnet:
            subnet = address.network  # of another network on the same wire
        if address.ip not in subnet:
            mistakes.add(
                place,
                f"{address.ip} is outside the subnet {subnet} of {bridge.name}",
                f"write an address of {subnet}",
            )
        elif address.network != subnet:
            mistakes.add(
                place,
                f"{address} has another length than the subnet {subnet} of {bridge.name}",
                f"write {address.ip}, the length follows",
                host=machine.name,
            )
        elif reserved := _reserved(address.ip, subnet):
            mistakes.add(place, f"{address.ip} is {reserved} of {subnet}", "write a host's address")
        if address.version == 6 and address.ip.is_link_local:
            mistakes.add(
                place,
                f"{address.ip} is a link-local address, which every interface has by itself",
                "leave it out, or write a global or a unique local one",
            )
        # A machine that declares no gateway of its own there may be the gateway itself.
        if address.ip == bridge.gateway and attachment.gateway is not None:
            mistakes.add(
                place,
                f"{address.ip} is the gateway of {bridge.name}",
                "write another address, or, if this machine is the gateway, "
                f"gateways: {{{attachment.network}: null}}",
            )


def _check_routes(
    machine: Machine, attachment: Attachment, inventory: Inventory, mistakes: Mistakes
) -> None:
    for number, route in enumerate(attachment.routes):
        place = inventory.host_place(machine.name, "routes", attachment.network).at(number)
        if route.to.version != route.via.version:
            mistakes.add(
                place.at("via"),
                f"{route.via} is no IPv{route.to.version} address, as {route.to} is",
                "write the address of a neighbour of the same IP version",
            )
        elif not route.via.is_link_local and not any(
            route.via in address.network for address in attachment.addresses
        ):
            own = ", ".join(str(a.network) for a in attachment.addresses) or "none there"
            mistakes.add(
                place.at("via"),
                f"{route.via} is no neighbour on {attachment.network}",
                f"write an address of the machine's own networks ({own})",
            )


def _check_gateway(
    machine: Machine,
    attachment: Attachment,
    bridge: Bridge,
    inventory: Inventory,
    mistakes: Mistakes,
) -> None:
    address, gateway = attachment.address, attachment.gateway
    if address is None or gateway is None or gateway == bridge.gateway:
        return
    place = inventory.host_place(machine.name, "gateways", attachment.network)
    if gateway not in address.network:
        mistakes.add(
            place,
            f"the gateway {gateway} is outside the subnet {address.network}",
            f"write an address of {address.network}, or null for none",
        )
    elif gateway == address.ip:
        mistakes.add(
            place,
            f"the gateway {gateway} is the machine's own address",
            "write another address, or null for none",
        )


def _check_default_routes(machine: Machine, inventory: Inventory, mistakes: Mistakes) -> None:
    for version in (4, 6):
        routed = [
            (a.network, "gateway" if via == a.gateway else "route")
            for a in machine.attachments.values()
            for via in (a.gateway, *(r.via for r in a.routes if r.to.prefixlen == 0))
            if via is not None and via.version == version
        ]
        if len(routed) > 1:
            networks = " and ".join(network for network, _ in routed)
            last = next((n for n, kind in reversed(routed) if kind == "gateway"), "")
            mistakes.add(
                inventory.own_place(machine.name, "data", "addresses"),
                f"{len(routed)} default routes, over {networks}",
                f"keep one: write gateways: {{{last}: null}}" if last else "keep one",
            )


def _reserved(address: Address, subnet: Network) -> str:
    """What an address is besides a host's own: nothing in subnets too small to reserve any."""
    if subnet.num_addresses <= 2:
        return ""
    if address == subnet.network_address:
        return "the network's own address"
    if address == subnet.broadcast_address and address.version == 4:
        return "the broadcast address"
    return ""


def _check_unique_addresses(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    seen: dict[tuple[str, Address], str] = {}
    for name in intent.names():
        machine = intent.machine(name)
        for attachment in machine.attachments.values():
            private = intent.bridges[attachment.network].nic is None
            host = intent.containers[name].on if name in intent.containers else name
            scope = host if private else ""  # a bridge without a NIC ends at its host
            for address in attachment.addresses:
                other = seen.setdefault((scope, address.ip), f"{name} on {attachment.network}")
                if other != f"{name} on {attachment.network}":
                    mistakes.add(
                        inventory.host_place(name, "addresses", attachment.network),
                        f"{name} has {address.ip}, and so has {other}",
                        "give each an address of its own",
                    )


def _check_unique_macs(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    seen: dict[str, str] = {}
    for name in intent.names():
        machine = intent.machine(name)
        macs = {
            a.mac: inventory.host_place(name, "macs", a.network)
            for a in machine.attachments.values()
            if a.mac
        }
        if name in intent.containers:
            for device, keys in intent.containers[name].devices.items():
                if "hwaddr" in keys:
                    macs.setdefault(
                        keys["hwaddr"].lower(),
                        inventory.host_place(name, "devices", device, "hwaddr"),
                    )
        declared = [a.mac for a in machine.attachments.values() if a.mac]
        for mac, place in macs.items():
            other = seen.setdefault(mac, name)
            if other != name or declared.count(mac) > 1:
                mistakes.add(
                    place,
                    f"{name} has the MAC {mac}, and so has {other}",
                    "give each NIC a MAC of its own",
                )
