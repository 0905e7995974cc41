"""Bridges, and each machine's place in their networks: prefix length, gateway, nameservers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from tasks.intent.documents import as_document
from tasks.intent.merge import Layers
from tasks.intent.model import Address, Attachment, Bridge, Interface
from tasks.intent.scope import Scope


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
        mtu=data.get("mtu"),
    )


def attachments(host: Layers, networks: Iterable[str], scope: Scope) -> dict[str, Attachment]:
    """A machine's place in each network that it has an interface or an address in."""
    for key in ("gateways", "macs"):
        for network in host.data.get(key, {}):
            scope.bridge(network, host.place(key, network))
    addresses: Mapping[str, str] = host.data.get("addresses", {})
    found: dict[str, Attachment] = {}
    for network in dict.fromkeys((*networks, *addresses)):
        place = host.place("addresses", network)
        if network in addresses:
            scope.bridge(network, place)
        bridge = scope.bridges.get(network)
        if bridge is None:
            continue
        address = None
        if network in addresses:
            address = _interface(addresses[network], bridge)
            if address is None and network not in scope.without_subnet:
                scope.mistakes.add(
                    place,
                    f"{addresses[network]} has no prefix length, and {bridge.name} no subnet",
                    "write it as address/length",
                )
        mac = host.data.get("macs", {}).get(network)
        found[network] = Attachment(
            network=network,
            address=address,
            gateway=_gateway(host, bridge) if address else None,
            nameservers=bridge.nameservers if address else (),
            search=bridge.search if address else (),
            mac=mac.lower() if mac else None,
        )
    return found


def _interface(written: str, bridge: Bridge) -> Interface | None:
    if "/" in written:
        return ip_interface(written)
    if bridge.subnet is None:
        return None
    length = bridge.subnet.prefixlen
    address = ip_address(written)
    # An address of the other IP version is outside the subnet, which the checks will say.
    return ip_interface(f"{address}/{min(length, address.max_prefixlen)}")


def _gateway(host: Layers, bridge: Bridge) -> Address | None:
    gateways: Mapping[str, str | None] = host.data.get("gateways", {})
    if bridge.network not in gateways:
        return bridge.gateway
    written = gateways[bridge.network]
    return ip_address(written) if written else None


def network_config(attached: Iterable[Attachment]) -> str:
    """A container's static network as cloud-init's network configuration, version 1.

    Source: cloud-init's documentation, "Networking config Version 1".
    """
    interfaces = []
    for attachment in attached:
        interface: dict[str, Any] = {"type": "physical", "name": attachment.interface}
        if attachment.mac:
            interface["mac_address"] = attachment.mac
        interface["subnets"] = [_subnet(attachment)]
        interfaces.append(interface)
    return as_document({"version": 1, "config": interfaces})


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
