"""What has to change in a host's network: the wanted bridges against its files and live links."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import yaml

from tasks.actual import HostFacts
from tasks.bridges.conflicts import refuse_conflicts
from tasks.bridges.render import member_of, render_netplan
from tasks.errors import FleetError
from tasks.intent.model import Bridge, LxdHost
from tasks.plan import Plan, Step, text_diff

#: What a step changes: our file, a foreign one, a live link. All is done as one change.
NetworkWrite = Literal["file", "take over", "live", "unplug", "strip"]


def plan_bridges(wanted: LxdHost, actual: HostFacts) -> Plan[NetworkWrite]:
    """The steps from the host's network as it is to the bridges that it shall have.

    Raises :class:`~tasks.errors.FleetError` where another netplan file that the inventory does not
    let us take over configures one of the same links.
    """
    if not wanted.bridges:
        return Plan(reason="no bridges declared")
    text = render_netplan(wanted)
    refuse_conflicts(wanted, actual, text)
    _refuse_moved_vlans(wanted, actual)
    steps = (
        *_takeovers(wanted, actual),
        *_file(wanted, actual, text),
        *(step for bridge in wanted.bridges for step in _live(wanted, actual, bridge)),
        *_unplugged(wanted, actual),
        *_stripped(wanted, actual),
    )
    left = set(_former_bridges(wanted, actual)) - {bridge.name for bridge in wanted.bridges}
    notes = [f"bridge {name} is no longer in the inventory, left as it is" for name in sorted(left)]
    return Plan(steps, reason="" if steps else "the bridges are as wanted", notes=tuple(notes))


def _takeovers(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[NetworkWrite]]:
    for path in wanted.netplan.replaces:
        if path in actual.netplan:
            yield Step(
                "take over",
                path,
                "take over",
                detail="moved to /var/lib/nornir-lxd-fleet/backup",
            )


def _file(wanted: LxdHost, actual: HostFacts, text: str) -> Iterable[Step[NetworkWrite]]:
    path = wanted.netplan.file
    before = actual.netplan.get(path)
    if before != text:
        yield Step(
            "create" if before is None else "update",
            path,
            "file",
            diff=text_diff(before or "", text, path),
        )


def _live(wanted: LxdHost, actual: HostFacts, bridge: Bridge) -> Iterable[Step[NetworkWrite]]:
    """What is missing of one bridge among the live links: one step that says all of it."""
    link = actual.links.get(bridge.name)
    member = member_of(wanted, bridge)
    attachment = wanted.attachments.get(bridge.network)
    address = attachment.address if attachment else None
    if link is None:
        parts = (f"over {member}" if member else "without a NIC", f"with {address}" * bool(address))
        detail = " ".join(part for part in parts if part)
        yield Step("create", f"bridge {bridge.name}", "live", detail)
        return
    missing = []
    plugged = actual.links.get(member) if member else None
    if member and (plugged is None or plugged.master != bridge.name):
        missing.append(f"plug in {member}")
    if plugged:
        missing += [f"take {left} off {member}" for left in plugged.addresses]
    if address and address not in link.addresses:
        missing.append(f"address {address}")
    if attachment and attachment.gateway:
        gateway = str(attachment.gateway)
        if (gateway, bridge.name) not in actual.default_routes:
            missing.append(f"default route {gateway}")
    if bridge.mtu and link.mtu != bridge.mtu:
        missing.append(f"mtu {bridge.mtu}")
    if not link.up:
        missing.append("up")
    if missing:
        yield Step("update", f"bridge {bridge.name}", "live", ", ".join(missing))


def _unplugged(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[NetworkWrite]]:
    """The members that our file had and no longer has: networkd itself never lets go of them."""
    members = {member_of(wanted, bridge) for bridge in wanted.bridges}
    for bridge, body in _former_bridges(wanted, actual).items():
        for member in set(body.get("interfaces") or ()) - members:
            link = actual.links.get(member)
            if link and link.master == bridge:
                yield Step("unplug", member, "unplug", detail=f"from {bridge}")


def _stripped(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[NetworkWrite]]:
    """The links that have a bridge's address, and keep it since no file configures them any more.

    Such a host would seem to be reachable, until its next boot.
    """
    members = {member_of(wanted, bridge) for bridge in wanted.bridges}
    for bridge in wanted.bridges:
        attachment = wanted.attachments.get(bridge.network)
        for link in actual.links.values():
            for address in link.addresses if link.name not in (bridge.name, *members) else ():
                if attachment and attachment.address and address.ip == attachment.address.ip:
                    yield Step("strip", link.name, "strip", detail=str(address))


def _former_bridges(wanted: LxdHost, actual: HostFacts) -> dict[str, dict[str, Any]]:
    """The bridges in our file as it is on the host."""
    try:
        document = yaml.safe_load(actual.netplan.get(wanted.netplan.file, ""))
        return dict(document["network"]["bridges"])
    except (yaml.YAMLError, TypeError, KeyError):
        return {}  # none there, or spoilt by hand: it is written anew


def _refuse_moved_vlans(wanted: LxdHost, actual: HostFacts) -> None:
    """networkd never changes a vlan that exists, and deleting one cuts off what is behind it."""
    for bridge in wanted.bridges:
        name = member_of(wanted, bridge)
        vlan = actual.links.get(name) if name and bridge.vlan is not None else None
        nic = wanted.nics[bridge.nic] if bridge.nic else None
        if vlan and (vlan.vlan_id, vlan.vlan_link) != (bridge.vlan, nic):
            raise FleetError(
                f"{vlan.name} is id {vlan.vlan_id} on {vlan.vlan_link}, the inventory wants "
                f"id {bridge.vlan} on {nic}",
                where=wanted.name,
                remedy=f"delete it by hand at a quiet moment (ip link delete {vlan.name}), "
                "then run again",
            )
