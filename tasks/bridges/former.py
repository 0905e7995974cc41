"""What our netplan file on a host still has, and the inventory no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import yaml

from tasks.actual import HostFacts
from tasks.bridges.naming import member_of
from tasks.intent.model import Interface, LxdHost, Route

Definitions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Former:
    """Our file as it is on the host: its definitions by name, empty where there is none."""

    bridges: Definitions = field(default_factory=dict)
    vlans: Definitions = field(default_factory=dict)
    ethernets: Definitions = field(default_factory=dict)

    def addresses(self, bridge: str) -> tuple[Interface, ...]:
        """The addresses that the file gives a bridge."""
        found = []
        for text in self.bridges.get(bridge, {}).get("addresses") or ():
            try:
                found.append(ip_interface(str(text)))
            except ValueError:
                continue  # spoilt by hand; netplan took no notice of it either
        return tuple(found)

    def routes(self, bridge: str) -> tuple[Route, ...]:
        """The routes that the file gives a bridge, without their metrics."""
        found = []
        for route in self.bridges.get(bridge, {}).get("routes") or ():
            try:
                found.append(Route(ip_network(str(route["to"])), ip_address(str(route["via"]))))
            except (ValueError, KeyError, TypeError):
                continue
        return tuple(found)

    def members(self, bridge: str) -> tuple[str, ...]:
        """The interfaces that the file plugs into a bridge."""
        return tuple(map(str, self.bridges.get(bridge, {}).get("interfaces") or ()))


@dataclass(frozen=True)
class Departed:
    """The bridges and vlans of our file that the inventory no longer has, by name."""

    bridges: Definitions = field(default_factory=dict)
    vlans: Definitions = field(default_factory=dict)
    ethernets: Definitions = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything has departed."""
        return bool(self.bridges or self.vlans)


def former_of(wanted: LxdHost, actual: HostFacts) -> Former:
    """What our file defines; nothing where it is not there or was spoilt by hand."""
    try:
        network = yaml.safe_load(actual.netplan.get(wanted.netplan.file, ""))["network"]
        kinds = {
            kind: {
                str(name): body if isinstance(body, dict) else {}
                for name, body in (network.get(kind) or {}).items()
            }
            for kind in ("bridges", "vlans", "ethernets")
        }
        return Former(**kinds)
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        return Former()  # it is written anew


def departed_of(wanted: LxdHost, former: Former) -> Departed:
    """The definitions to keep until ``--prune``: as they were, without what is wanted elsewhere.

    Removal is never implied, and a file without them would remove them at the next boot. But a
    member, an address or a default route is in one place only: where the inventory has it now.
    """
    ours = {bridge.name for bridge in wanted.bridges}
    members = {member_of(wanted, bridge) for bridge in wanted.bridges}
    addresses = {a.ip for at in wanted.attachments.values() for a in at.addresses}
    families: set[int] = {
        route.to.version
        for attachment in wanted.attachments.values()
        for route in attachment.all_routes
        if route.to.prefixlen == 0
    }
    bridges = {
        name: _without(body, members, addresses, families)
        for name, body in former.bridges.items()
        if name not in ours
    }
    vlans = {name: body for name, body in former.vlans.items() if name not in members}
    nics = set(wanted.nics.values())
    named = {m for body in bridges.values() for m in body.get("interfaces", ())}
    named |= {str(body.get("link")) for body in vlans.values()}
    ethernets = {
        name: body for name, body in former.ethernets.items() if name in named and name not in nics
    }
    return Departed(bridges, vlans, ethernets)


def _without(
    body: Mapping[str, Any], members: set[str | None], addresses: set[Any], families: set[int]
) -> dict[str, Any]:
    kept = dict(body)
    kept["interfaces"] = [m for m in body.get("interfaces") or () if m not in members]
    if len(kept["interfaces"]) < len(body.get("interfaces") or ()):
        # Nobody is behind it any more: neither shall the boot wait for it, nor traffic go there.
        kept = {k: v for k, v in kept.items() if k not in ("addresses", "routes", "nameservers")}
        return {k: v for k, v in kept.items() if v != []} | {"optional": True}
    kept["addresses"] = [a for a in body.get("addresses") or () if _ip(a) not in addresses]
    kept["routes"] = [
        route for route in body.get("routes") or () if _default_route(route) not in families
    ]
    return {key: value for key, value in kept.items() if value != []}


def _ip(text: object) -> Any:
    try:
        return ip_interface(str(text)).ip
    except ValueError:
        return None


def _default_route(route: Mapping[str, Any]) -> int | None:
    """The IP version for which a route of ours is the default route; None where it is none."""
    return {"0.0.0.0/0": 4, "::/0": 6}.get(str(route.get("to")))
