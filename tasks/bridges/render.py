"""Our netplan file of an LXD host, rendered from its intent (netplan's YAML reference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tasks.bridges.former import Departed
from tasks.bridges.naming import member_of
from tasks.intent.model import Bridge, LxdHost, Route

#: What Linux gives an Ethernet interface, in bytes.
DEFAULT_MTU = 1500
HEADER = """\
# Managed by nornir-lxd-fleet: every NIC and vlan of this host in a bridge.
# Changes made here are lost at the next run; change the inventory instead.
"""


def render_netplan(host: LxdHost, departed: Departed | None = None) -> str:
    """The text of our netplan file: the NICs, vlans and bridges of one host.

    Understood alike by netplan 0.99 (Ubuntu 18.04) and newer: the default route is written as
    ``to: 0.0.0.0/0``, since ``gateway4`` is deprecated and ``to: default`` is too new.

    Arguments:
        departed: what the file had before and the inventory no longer has; kept as it was.
    """
    departed = departed or Departed()
    given = _definitions(host)
    network: dict[str, Any] = {
        "version": 2,
        "renderer": "networkd",
        "ethernets": {**given["ethernets"], **departed.ethernets},
        "vlans": {**given["vlans"], **departed.vlans},
        "bridges": {**given["bridges"], **departed.bridges},
    }
    wanted = {"network": {key: value for key, value in network.items() if value}}
    return HEADER + yaml.safe_dump(wanted, sort_keys=False, default_flow_style=False)


def mtus_of(host: LxdHost) -> dict[str, int | None]:
    """The MTU that our file gives each link of a host; None for none."""
    return {
        name: body.get("mtu")
        for bodies in _definitions(host).values()
        for name, body in bodies.items()
    }


def _definitions(host: LxdHost) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """The NICs, vlans and bridges of a host by their kind in netplan, then by name."""
    ethernets = {
        host.nics[role]: _member(host, [b for b in host.bridges if b.nic == role])
        for role in dict.fromkeys(b.nic for b in host.bridges if b.nic)
    }
    vlans = {
        member: {
            "id": bridge.vlan,
            "link": host.nics[bridge.nic],
            **_member(host, [bridge]),
        }
        for bridge in host.bridges
        if bridge.nic and bridge.vlan is not None and (member := member_of(host, bridge))
    }
    bridges = {bridge.name: _bridge(host, bridge) for bridge in host.bridges}
    return {"ethernets": ethernets, "vlans": vlans, "bridges": bridges}


def _member(host: LxdHost, bridges: list[Bridge]) -> dict[str, Any]:
    """A NIC or vlan that only carries bridges: no address of its own, whatever is on the wire."""
    wanted: dict[str, Any] = {"dhcp4": False, "dhcp6": False, "accept-ra": False}
    if any(bridge.mtu for bridge in _beside(host, bridges)):
        # A vlan takes over its NIC's MTU where it has none of its own.
        wanted["mtu"] = max(bridge.mtu or DEFAULT_MTU for bridge in bridges)
    if not any(_needed_at_boot(host, bridge) for bridge in bridges):
        wanted["optional"] = True
    return wanted


def _beside(host: LxdHost, bridges: list[Bridge]) -> list[Bridge]:
    """All bridges on the same NIC."""
    nics = {bridge.nic for bridge in bridges}
    return [bridge for bridge in host.bridges if bridge.nic in nics]


def _bridge(host: LxdHost, bridge: Bridge) -> Mapping[str, Any]:
    attachment = host.attachment_on(bridge)
    member = member_of(host, bridge)
    wanted: dict[str, Any] = {"interfaces": [member]} if member else {}
    if attachment.mac:
        wanted["macaddress"] = attachment.mac
    if attachment.addresses:
        wanted["addresses"] = [str(address) for address in attachment.addresses]
    if routes := attachment.all_routes:
        wanted["routes"] = [_route(route) for route in routes]
    nameservers = {
        "addresses": [str(address) for address in attachment.nameservers],
        "search": list(attachment.search),
    }
    if any(nameservers.values()):
        wanted["nameservers"] = {key: value for key, value in nameservers.items() if value}
    wanted |= {"dhcp4": bridge.dhcp4, "dhcp6": bridge.dhcp6, "accept-ra": bridge.accept_ra}
    if bridge.mtu:
        wanted["mtu"] = bridge.mtu
    if not _needed_at_boot(host, bridge):
        wanted["optional"] = True
    # Without `stp: false`, any parameter turns the spanning tree protocol on.
    wanted["parameters"] = {"stp": bridge.stp}
    if bridge.forward_delay is not None:
        wanted["parameters"]["forward-delay"] = bridge.forward_delay
    return wanted


def _route(route: Route) -> Mapping[str, Any]:
    wanted: dict[str, Any] = {"to": str(route.to), "via": str(route.via)}
    return wanted | ({"metric": route.metric} if route.metric else {})


def _needed_at_boot(host: LxdHost, bridge: Bridge) -> bool:
    """Whether the boot waits for a bridge: for the management network, or else the default route.

    LXD starts only when networkd has every link that is not optional online, so that one unplugged
    cable, or a bridge without a NIC, would keep all containers down for two minutes.
    """
    default = host.default_route
    needed = host.management or (default.network if default else None)
    return bridge.network == needed
