"""What the interface is called that is plugged into a bridge."""

from __future__ import annotations

from tasks.errors import FleetError
from tasks.intent.model import Bridge, LxdHost

#: Linux: IFNAMSIZ less the closing zero.
LONGEST_INTERFACE_NAME = 15


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
