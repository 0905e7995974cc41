"""What has to change in a host's network: the wanted bridges against its files and live links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tasks.actual import HostFacts
from tasks.bridges.conflicts import refuse_conflicts, refuse_strangers
from tasks.bridges.former import Departed, Former, departed_of, former_of
from tasks.bridges.live import Words, live_steps, ports_of
from tasks.bridges.naming import member_of
from tasks.bridges.render import render_netplan
from tasks.errors import FleetError
from tasks.intent.model import LxdHost
from tasks.plan import Plan, Step, text_diff


def plan_bridges(wanted: LxdHost, actual: HostFacts, *, prune: bool = False) -> Plan[Words]:
    """The steps from the host's network as it is to the bridges that it shall have.

    Arguments:
        prune: remove the bridges and vlans of our file that the inventory no longer has; without
            it they are reported and stay, in the file as well.

    Raises :class:`~tasks.errors.FleetError` where another netplan file that the inventory does not
    let us take over configures one of the same links, where a bridge to be removed carries
    containers, and while an earlier change waits for its confirmation.
    """
    if not wanted.bridges:
        return Plan(reason="no bridges declared")
    if actual.network_pending:
        raise FleetError(
            "an earlier change of its network is not confirmed yet, nothing was touched",
            where=wanted.name,
            remedy=f"it is undone within {wanted.netplan.confirm_seconds:.0f} s; "
            "run again after that",
        )
    former = former_of(wanted, actual)
    text = wanted_text(wanted, actual, prune=prune)
    refuse_conflicts(wanted, actual, text)
    steps = (
        *_takeovers(wanted, actual),
        *_file(wanted, actual, text),
        *link_steps(wanted, actual, former, prune=prune),
    )
    return Plan(
        steps,
        reason="" if steps else "the bridges are as wanted",
        notes=() if prune else tuple(_left(departed_of(wanted, former))),
    )


def link_steps(
    wanted: LxdHost, actual: HostFacts, former: Former, *, prune: bool
) -> tuple[Step[Words], ...]:
    """What is to be done to the live links; nothing is left once the change has arrived.

    Arguments:
        former: our file before the change: the leftovers that it names are ours.

    Raises :class:`~tasks.errors.FleetError` as :func:`plan_bridges` does.
    """
    steps = (
        *_moved_vlans(wanted, actual, former),
        *live_steps(wanted, actual, former),
        *_strangers(wanted, actual, former),
        *(_removals(wanted, actual, former) if prune else ()),
    )
    return tuple(replace(step, diff=_line(step)) for step in steps)


def _line(step: Step[Words]) -> str:
    """A link's line in the diff: added, removed or changed."""
    sign = {"create": "+", "delete": "-"}.get(step.action, "~")
    what = step.object if sign != "~" or step.action == "update" else step.what
    return f"{sign} {what}: {step.detail}" if step.detail else f"{sign} {what}"


def wanted_text(wanted: LxdHost, actual: HostFacts, *, prune: bool) -> str:
    """What our file on this host shall hold."""
    departed = departed_of(wanted, former_of(wanted, actual))
    return render_netplan(wanted, None if prune else departed)


def _left(departed: Departed) -> Iterator[str]:
    for kind, there in (("bridge", departed.bridges), ("vlan", departed.vlans)):
        for name in sorted(there):
            yield f"{kind} {name} is no longer in the inventory and stays; --prune removes it"


def _takeovers(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[Words]]:
    for path in wanted.netplan.replaces:
        if path in actual.netplan:
            yield Step(
                "take over",
                path,
                (("replace", path),),
                detail="moved to /var/lib/nornir-lxd-fleet/backup",
            )


def _file(wanted: LxdHost, actual: HostFacts, text: str) -> Iterable[Step[Words]]:
    path = wanted.netplan.file
    before = actual.netplan.get(path)
    orphan = f"/run/netplan/{path.rpartition('/')[2]}"
    if before != text or orphan in actual.netplan:
        yield Step(
            "create" if before is None else "update",
            path,
            (),
            detail=f"an unconfirmed one was left in {orphan}" if orphan in actual.netplan else "",
            diff=text_diff(before or "", text, path),
        )


def _moved_vlans(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    """networkd never changes a vlan that exists: one of ours is deleted and made anew."""
    for bridge in wanted.bridges:
        name = member_of(wanted, bridge)
        vlan = actual.links.get(name) if name and bridge.vlan is not None else None
        nic = wanted.nics[bridge.nic] if bridge.nic else ""
        if not name or not vlan or (vlan.vlan_id, vlan.vlan_link) == (bridge.vlan, nic):
            continue
        if name not in former.vlans or vlan.kind != "vlan":
            found = f"with id {vlan.vlan_id} on {vlan.vlan_link}" * (vlan.kind == "vlan")
            raise FleetError(
                f"{name} is there already and not ours, {found or 'and is no vlan'}; "
                f"the inventory wants id {bridge.vlan} on {nic}",
                where=wanted.name,
                remedy=f"delete it by hand at a quiet moment (ip link delete {name}), "
                "then run again",
            )
        words = (
            ("delete", name),
            ("vlan", name, nic, str(bridge.vlan)),
            ("plug", name, bridge.name),
        )
        now = f"id {vlan.vlan_id} on {vlan.vlan_link}"
        detail = f"from {now} to id {bridge.vlan} on {nic}, made anew"
        yield Step("move", f"vlan {name}", words, detail)


def _strangers(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    """The links that have a bridge's address, and keep it since no file configures them any more.

    Such a host would seem to be reachable, until its next boot.
    """
    members = {member_of(wanted, bridge) for bridge in wanted.bridges}
    bridges = {bridge.name for bridge in wanted.bridges}
    own = {a.ip for at in wanted.attachments.values() for a in at.addresses}
    for link in actual.links.values():
        if link.name in bridges | members:
            continue
        for address in (a for a in link.addresses if a.ip in own):
            if link.name not in former.bridges:
                refuse_strangers(wanted, actual, link, address)
            yield Step("strip", link.name, (("strip", link.name, str(address)),), str(address))


def _removals(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    departed = departed_of(wanted, former)
    for name in departed.bridges:
        _refuse_carrying(wanted, actual, former, name)
        if name in actual.links:
            yield Step("delete", f"bridge {name}", (("delete", name),))
    for name in departed.vlans:
        _refuse_used(wanted, actual, former, name)
        if name in actual.links:
            yield Step("delete", f"vlan {name}", (("delete", name),))


def _refuse_used(wanted: LxdHost, actual: HostFacts, former: Former, vlan: str) -> None:
    """Refuse to remove a vlan that is plugged into a foreign bridge, or carries another one."""
    ours = {*former.bridges, *(bridge.name for bridge in wanted.bridges)}
    link = actual.links.get(vlan)
    users = [other.name for other in actual.links.values() if other.vlan_link == vlan]
    if link and link.master and link.master not in ours:
        users.append(link.master)
    if users:
        raise FleetError(
            f"vlan {vlan} is to be removed, but {', '.join(users)} is on it",
            where=wanted.name,
            remedy=f"remove that first, or keep a bridge with {vlan} in the inventory",
        )


def _refuse_carrying(wanted: LxdHost, actual: HostFacts, former: Former, bridge: str) -> None:
    """Refuse to remove a bridge with anything plugged in but the members that our file gave it."""
    carried = [port for port in ports_of(actual) if port.bridge == bridge]
    ours = {*former.members(bridge), *(port.link for port in carried)}
    plugged = [link.name for link in actual.links.values() if link.master == bridge]
    others = [name for name in plugged if name not in ours]
    carrying = [*dict.fromkeys(port.container for port in carried), *others]
    if carrying:
        raise FleetError(
            f"bridge {bridge} is to be removed, but carries {', '.join(carrying)}",
            where=wanted.name,
            remedy="unplug these first (another profile, or stop the containers), "
            f"or keep {bridge} in the inventory",
        )
