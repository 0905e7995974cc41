"""Our netplan file of an LXD host, rendered from its intent (netplan's YAML reference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tasks.errors import FleetError
from tasks.intent.model import Attachment, Bridge, LxdHost

HEADER = """\
# Managed by nornir-lxd-fleet: every NIC and vlan of this host in a bridge.
# Changes made here are lost at the next run; change the inventory instead.
"""
#: Linux: IFNAMSIZ less the closing zero.
LONGEST_INTERFACE_NAME = 15


def render_netplan(host: LxdHost) -> str:
    """The text of our netplan file: the NICs, vlans and bridges of one host.

    Understood alike by netplan 0.36 (Ubuntu 18.04) and newer: the default route is written as
    ``to: 0.0.0.0/0``, since ``gateway4`` is deprecated and ``to: default`` is too new.
    """
    network: dict[str, Any] = {"version": 2, "renderer": "networkd"}
    network["ethernets"] = {
        host.nics[role]: _member(host, [b for b in host.bridges if b.nic == role])
        for role in dict.fromkeys(b.nic for b in host.bridges if b.nic)
    }
    network["vlans"] = {
        member_of(host, bridge): {
            "id": bridge.vlan,
            "link": host.nics[bridge.nic],
            **_member(host, [bridge]),
        }
        for bridge in host.bridges
        if bridge.nic and bridge.vlan is not None
    }
    network["bridges"] = {bridge.name: _bridge(host, bridge) for bridge in host.bridges}
    wanted = {"network": {key: value for key, value in network.items() if value}}
    return HEADER + yaml.safe_dump(wanted, sort_keys=False, default_flow_style=False)


def member_of(host: LxdHost, bridge: Bridge) -> str | None:
    """The interface that is plugged into a bridge: its NIC, the vlan on it, or none.

    A vlan is named ``vlan.ID``; where an earlier bridge of this host has the same id on another
    NIC, the later one is named after its NIC, ``NIC.ID``.
    Raises :class:`FleetError` where that name would be too long for an interface.
    """
    if not bridge.nic:
        return None
    nic = host.nics[bridge.nic]
    if bridge.vlan is None:
        return nic
    first = next(b for b in host.bridges if b.nic and b.vlan == bridge.vlan)
    if first.nic == bridge.nic:
        return f"vlan.{bridge.vlan}"
    name = f"{nic}.{bridge.vlan}"
    if len(name) > LONGEST_INTERFACE_NAME:
        raise FleetError(
            f"vlan {bridge.vlan} on {nic} cannot be named {name}: an interface name has at most "
            f"{LONGEST_INTERFACE_NAME} characters",
            where=f"{host.name}, {bridge.name}",
            remedy=f"put {first.name}, which has the same vlan id, after {bridge.name}",
        )
    return name


def _member(host: LxdHost, bridges: list[Bridge]) -> dict[str, Any]:
    """A NIC or vlan that only carries bridges: no address of its own, whatever is on the wire."""
    wanted: dict[str, Any] = {"dhcp4": False, "dhcp6": False, "accept-ra": False}
    sizes = [bridge.mtu for bridge in bridges if bridge.mtu]
    if sizes:
        wanted["mtu"] = max(sizes)
    if not any(_needed_at_boot(host, bridge) for bridge in bridges):
        wanted["optional"] = True
    return wanted


def _bridge(host: LxdHost, bridge: Bridge) -> Mapping[str, Any]:
    attachment = host.attachments.get(bridge.network, Attachment(bridge.network))
    member = member_of(host, bridge)
    wanted: dict[str, Any] = {"interfaces": [member]} if member else {}
    if attachment.mac:
        wanted["macaddress"] = attachment.mac
    if attachment.address:
        wanted["addresses"] = [str(attachment.address)]
    if attachment.gateway:
        everywhere = "::/0" if attachment.gateway.version == 6 else "0.0.0.0/0"
        wanted["routes"] = [{"to": everywhere, "via": str(attachment.gateway)}]
    nameservers = {
        "addresses": [str(address) for address in attachment.nameservers],
        "search": list(attachment.search),
    }
    if any(nameservers.values()):
        wanted["nameservers"] = {key: value for key, value in nameservers.items() if value}
    wanted |= {"dhcp4": False, "dhcp6": False, "accept-ra": False}
    if bridge.mtu:
        wanted["mtu"] = bridge.mtu
    if not _needed_at_boot(host, bridge):
        wanted["optional"] = True
    wanted["parameters"] = {"stp": False}
    return wanted


def _needed_at_boot(host: LxdHost, bridge: Bridge) -> bool:
    """Whether the boot waits for a bridge: for the management network, or else the default route.

    LXD starts only when networkd has every link that is not optional online, so that one unplugged
    cable, or a bridge without a NIC, would keep all containers down for two minutes.
    """
    default = host.default_route
    needed = host.management or (default.network if default else None)
    return bridge.network == needed
