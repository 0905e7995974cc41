"""What a host's live links lack of the wanted bridges, and what the tools there do not do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.actual import HostFacts, Link, LiveRoute
from tasks.bridges.former import Former
from tasks.bridges.naming import member_of
from tasks.bridges.render import DEFAULT_MTU, mtus_of
from tasks.errors import FleetError
from tasks.instances import instances_of, is_bridged, is_live, plugged_nics
from tasks.intent.model import Attachment, Bridge, LxdHost, Route
from tasks.plan import Step

#: What Linux gives a bridge that is told nothing: seconds.
DEFAULT_DELAY = 15.0
#: The words of ``onhost/apply_network.sh`` for what a step needs done there besides the file.
Words = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Port:
    """A live instance's NIC: its end on the host, and the bridge that it belongs in."""

    link: str
    container: str
    nic: str
    bridge: str


def live_steps(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    """A step for each bridge that is not as wanted among the live links, one for each leftover.

    No step is left once a change of the network has arrived.

    Arguments:
        former: our file before the change; it says which leftovers are ours.
    """
    for bridge in wanted.bridges:
        yield from _bridge(wanted, actual, bridge, former)
    yield from _unplugged(wanted, actual, former)
    yield from _former_addresses(wanted, actual, former)
    yield from _former_routes(wanted, actual, former)


def ports_of(actual: HostFacts) -> Iterator[Port]:
    """The NICs of live instances, of any project, that are plugged into a bridge by LXD."""
    for name, instance in instances_of(actual.lxd).items():
        if is_live(instance):
            devices = instance.get("expanded_devices") or {}
            for nic, link in plugged_nics(instance).items():
                if is_bridged(devices.get(nic, {})):
                    yield Port(link, str(name), nic, str(devices[nic].get("parent")))


def _bridge(
    wanted: LxdHost, actual: HostFacts, bridge: Bridge, former: Former
) -> Iterator[Step[Words]]:
    """What is missing of one bridge: one step that says all of it."""
    link = actual.links.get(bridge.name)
    member = member_of(wanted, bridge)
    attachment = wanted.attachment_on(bridge)
    if link and link.kind != "bridge":
        raise FleetError(
            f"{bridge.name} is there already and is no bridge",
            where=wanted.name,
            remedy=f"rename or remove that interface (ip -d link show {bridge.name})",
        )
    if link is None:
        parts = [f"over {member}" if member else "without a NIC"]
        if attachment.addresses:
            parts.append(f"with {', '.join(map(str, attachment.addresses))}")
        words = [*_create(wanted, bridge), *_plug(member, bridge, actual)]
        words += [words_of for _, words_of in _settings(attachment, bridge, Link(bridge.name))]
        for said, words_of in (
            *_mtus(wanted, actual, member, former),
            *_containers(actual, bridge),
        ):
            words.append(words_of)
            parts.append(said)
        yield Step("create", f"bridge {bridge.name}", tuple(words), " ".join(parts))
        return
    missing = [
        *_member(wanted, actual, bridge, member),
        *_addressing(attachment, bridge, link, actual.routes),
        *_mtus(wanted, actual, member, former),
        *_mtus(wanted, actual, bridge.name, former),
        *_settings(attachment, bridge, link),
        *_delay(bridge, link, former),
        *_containers(actual, bridge),
    ]
    if missing:
        yield Step(
            "update",
            f"bridge {bridge.name}",
            tuple(dict.fromkeys(words for _, words in missing)),
            ", ".join(said for said, _ in missing),
        )


Missing = Iterator[tuple[str, tuple[str, ...]]]


def _member(wanted: LxdHost, actual: HostFacts, bridge: Bridge, member: str | None) -> Missing:
    link = actual.links.get(member) if member else None
    if member and link is None:
        for words in _create(wanted, bridge):
            if words[1] == member:
                yield f"create {member}", words
    if member and (link is None or link.master != bridge.name):
        yield f"plug in {member}", ("plug", member, bridge.name)
    if link and not link.up:
        yield f"{member} up", ("up", link.name)
    for address in link.addresses if link else ():
        yield f"take {address} off {member}", ("strip", str(member), str(address))


def _addressing(
    attachment: Attachment, bridge: Bridge, link: Link, routes: tuple[LiveRoute, ...]
) -> Missing:
    """networkd sets these anew when it is told to look at the link again."""
    again = ("reconfigure", bridge.name)
    for address in attachment.addresses:
        if address not in link.addresses:
            yield f"address {address}", again
    for route in attachment.all_routes:
        if not any(_is_there(route, there, bridge.name) for there in routes):
            default = route.to.prefixlen == 0
            yield f"default route {route.via}" if default else f"route {route.to}", again


def _settings(attachment: Attachment, bridge: Bridge, link: Link) -> Missing:
    """networkd gives these to a bridge that it creates, and never changes them afterwards."""
    name = bridge.name
    if attachment.mac and link.mac != attachment.mac:
        yield f"mac {attachment.mac}", ("mac", name, attachment.mac)
    if link.stp != bridge.stp:
        yield f"stp {'on' if bridge.stp else 'off'}", ("stp", name, str(int(bridge.stp)))
    if bridge.forward_delay is not None and _waits_otherwise(link, bridge, bridge.forward_delay):
        delay = str(bridge.forward_delay * 100)  # ip-link(8) takes 1/100 s
        yield f"forward delay {bridge.forward_delay}", ("forward-delay", name, delay)
    if not link.up:
        yield "up", ("up", name)


def _mtus(wanted: LxdHost, actual: HostFacts, name: str | None, former: Former) -> Missing:
    """The MTU of a link, after that of the NIC beneath a vlan: no vlan's is larger than its NIC's.

    What our file gave a link and no longer does, networkd leaves as it is until the next boot.
    """
    mtus = mtus_of(wanted)
    below = [wanted.nics[b.nic] for b in wanted.bridges if b.nic and member_of(wanted, b) == name]
    for one in dict.fromkeys((*below, name)):
        link = actual.links.get(one or "")
        if not one or link is None:
            continue
        given = {**former.ethernets, **former.vlans, **former.bridges}.get(one, {}).get("mtu")
        mtu = mtus.get(one) or (DEFAULT_MTU if given == link.mtu else None)
        if mtu and link.mtu != mtu:
            yield f"mtu {mtu} of {one}", ("mtu", one, str(mtu))


def _delay(bridge: Bridge, link: Link, former: Former) -> Missing:
    parameters = former.bridges.get(bridge.name, {}).get("parameters") or {}
    given = parameters.get("forward-delay") is not None and bridge.forward_delay is None
    if given and _waits_otherwise(link, bridge, DEFAULT_DELAY):
        words = ("forward-delay", bridge.name, f"{DEFAULT_DELAY * 100:.0f}")
        yield f"forward delay {DEFAULT_DELAY:.0f}", words


def _waits_otherwise(link: Link, bridge: Bridge, delay: float) -> bool:
    """Whether a bridge has another forward delay. Not known, it counts as right, unless the bridge
    is to have no STP: then it is its own root, and its own delay shows again."""
    return not bridge.stp if link.forward_delay is None else link.forward_delay != delay


def _containers(actual: HostFacts, bridge: Bridge) -> Missing:
    """A NIC that lost its bridge: neither networkd nor LXD plugs it in again."""
    for port in ports_of(actual):
        link = actual.links.get(port.link)
        if port.bridge == bridge.name and link and link.master != bridge.name:
            yield f"plug in {port.nic} of {port.container}", ("plug", port.link, bridge.name)


def _create(wanted: LxdHost, bridge: Bridge) -> Iterator[tuple[str, ...]]:
    """Where networkd has not made them by itself: it does not, of a file that it knows already."""
    member = member_of(wanted, bridge)
    if member and bridge.nic and bridge.vlan is not None:
        yield ("vlan", member, wanted.nics[bridge.nic], str(bridge.vlan))
    yield ("bridge", bridge.name)


def _plug(member: str | None, bridge: Bridge, actual: HostFacts) -> Iterator[tuple[str, ...]]:
    if member:
        yield ("plug", member, bridge.name)
        for address in actual.links.get(member, Link(member)).addresses:
            yield ("strip", member, str(address))


def _unplugged(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    """The members that our file had and no longer has: networkd itself never lets go of them."""
    for bridge in wanted.bridges:
        for member in former.members(bridge.name):
            link = actual.links.get(member)
            if member != member_of(wanted, bridge) and link and link.master == bridge.name:
                yield Step(
                    "unplug", member, (("unplug", member, bridge.name),), f"from {bridge.name}"
                )


def _former_addresses(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    """The addresses that our file gave a bridge and no longer does."""
    for bridge in wanted.bridges:
        attachment = wanted.attachment_on(bridge)
        link = actual.links.get(bridge.name, Link(bridge.name))
        for address in former.addresses(bridge.name):
            if address in link.addresses and address not in attachment.addresses:
                words = ("strip", bridge.name, str(address))
                yield Step("strip", bridge.name, (words,), str(address))


def _former_routes(wanted: LxdHost, actual: HostFacts, former: Former) -> Iterator[Step[Words]]:
    for bridge in wanted.bridges:
        attachment = wanted.attachment_on(bridge)
        for route in former.routes(bridge.name):
            ours = any((route.to, route.via) == (r.to, r.via) for r in attachment.all_routes)
            if not ours and any(_is_there(route, there, bridge.name) for there in actual.routes):
                words = ("unroute", bridge.name, str(route.to), str(route.via))
                yield Step("strip", bridge.name, (words,), f"route {route.to} via {route.via}")


def _is_there(route: Route, there: LiveRoute, link: str) -> bool:
    same_way = (route.to, route.via, link) == (there.to, there.via, there.link)
    return same_way and route.metric in (None, there.metric)
