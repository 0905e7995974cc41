"""Bridges, and each machine's place in their networks: prefix length, gateway, nameservers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from tasks.intent.documents import as_document
from tasks.intent.merge import Layers
from tasks.intent.model import Address, Attachment, Bridge, Interface, Route
from tasks.intent.scope import Scope
from tasks.mistakes import Place

#: The keys of a bridge that need no resolving.
_AS_WRITTEN = ("mtu", "stp", "forward_delay", "dhcp4", "dhcp6", "accept_ra")


def bridge_of(name: str, data: Mapping[str, Any]) -> Bridge:
    """The bridge that a group declares."""
    return Bridge(
        network=name.removeprefix("br-"),
        nic=data.get("nic"),
        vlan=data.get("vlan"),
        subnet=ip_network(data["subnet"]) if "subnet" in data else None,
        gateway=ip_address(data["gateway"]) if "gateway" in data else None,
        nameservers=tuple(ip_address(server) for server in data.get("nameservers", [])),
        search=tuple(data.get("search", [])),
        **{key: data[key] for key in _AS_WRITTEN if key in data},
    )


def attachments(host: Layers, networks: Iterable[str], scope: Scope) -> dict[str, Attachment]:
    """A machine's place in each network that it has an interface or an address in."""
    for key in ("gateways", "macs", "routes"):
        for network in host.data.get(key, {}):
            scope.bridge(network, host.place(key, network))
    addresses: Mapping[str, str | list[str]] = host.data.get("addresses", {})
    found: dict[str, Attachment] = {}
    for network in dict.fromkeys((*networks, *addresses)):
        place = host.place("addresses", network)
        if network in addresses:
            scope.bridge(network, place)
        bridge = scope.bridges.get(network)
        if bridge is None:
            continue
        written = addresses.get(network, [])
        written = [written] if isinstance(written, str) else written
        own = _interfaces(written, bridge, place, scope)
        address = own[0] if own else None
        mac = host.data.get("macs", {}).get(network)
        found[network] = Attachment(
            network=network,
            address=address,
            gateway=_gateway(host, bridge) if address else None,
            nameservers=bridge.nameservers if address else (),
            search=bridge.search if address else (),
            mac=mac.lower() if mac else None,
            further=tuple(own[1:]),
            routes=tuple(_route(route) for route in host.data.get("routes", {}).get(network, [])),
        )
    return found


def _interfaces(
    written: Sequence[str], bridge: Bridge, place: Place, scope: Scope
) -> list[Interface]:
    """Addresses with their prefix lengths; those that are not written out are the subnet's."""
    found = []
    for number, text in enumerate(written):
        if "/" in text:
            found.append(ip_interface(text))
            continue
        address, subnet = ip_address(text), bridge.subnet
        if subnet and (number == 0 or address in subnet):
            # A first address of the other IP version is outside the subnet, which the checks say.
            length = min(subnet.prefixlen, address.max_prefixlen)
            found.append(ip_interface(f"{address}/{length}"))
        elif bridge.network not in scope.without_subnet:
            why = f"is not in {subnet}" if subnet else f"{bridge.name} no subnet"
            scope.mistakes.add(
                place,
                f"{text} has no prefix length, and {why}",
                "write it as address/length",
            )
    return found


def _route(written: Mapping[str, Any]) -> Route:
    return Route(ip_network(written["to"]), ip_address(written["via"]), written.get("metric"))


def _gateway(host: Layers, bridge: Bridge) -> Address | None:
    gateways: Mapping[str, str | None] = host.data.get("gateways", {})
    if bridge.network not in gateways:
        return bridge.gateway
    written = gateways[bridge.network]
    return ip_address(written) if written else None


def network_config(attached: Iterable[Attachment]) -> str:
    """A container's static network as cloud-init's network configuration, version 1.

    Each NIC by its name alone, which LXD gives it: where a MAC stands beside it, netplan has
    networkd look for a permanent one, which a veth has not, and the NIC stays without an address.

    Source: cloud-init's documentation, "Networking config Version 1".
    """
    interfaces = []
    for attachment in attached:
        interface: dict[str, Any] = {"type": "physical", "name": attachment.interface}
        interface["subnets"] = [_subnet(attachment), *map(_further, attachment.further)]
        interfaces.append(interface)
    return as_document({"version": 1, "config": interfaces})


def _further(address: Interface) -> dict[str, Any]:
    return {"type": "static6" if address.version == 6 else "static", "address": str(address)}


def _subnet(attachment: Attachment) -> dict[str, Any]:
    address = attachment.address
    if address is None:
        return {"type": "manual"}
    if address.version == 4:
        subnet: dict[str, Any] = {
            "type": "static",
            "address": str(address.ip),
            "netmask": str(address.netmask),
        }
    else:
        subnet = {"type": "static6", "address": str(address)}
    if attachment.gateway:
        subnet["gateway"] = str(attachment.gateway)
    if attachment.nameservers:
        subnet["dns_nameservers"] = [str(server) for server in attachment.nameservers]
    if attachment.search:
        subnet["dns_search"] = list(attachment.search)
    return subnet
