"""Other netplan files on a host that configure the links which are ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import yaml

from tasks.actual import HostFacts, Link
from tasks.errors import FleetError
from tasks.intent.model import Interface, LxdHost

#: netplan reads these in this order of precedence: a file hides its namesakes further on.
FOLDERS = ("/run/netplan", "/etc/netplan", "/lib/netplan")
_NO_DEFINITIONS = ("version", "renderer")


def refuse_conflicts(wanted: LxdHost, actual: HostFacts, text: str) -> None:
    """Raise :class:`FleetError` where another file configures a link of our file ``text``.

    Such a file would be merged with ours: an installer's address on a NIC stays in force beside
    the bridge. An empty definition (``eno1: {}``) configures nothing and is let be.
    """
    names = {name for _, name in _definitions(yaml.safe_load(text))}
    macs = {actual.links[name].mac for name in names if name in actual.links}
    _refuse_other_managers(wanted, actual)
    for path in _in_force(actual.netplan):
        if PurePosixPath(path).name == PurePosixPath(wanted.netplan.file).name:
            continue  # ours, or what an unconfirmed change of ours has left in /run/netplan
        if path in wanted.netplan.replaces:
            continue
        for (kind, name), body in _definitions(_parsed(path, actual)).items():
            if body and (name in names or _claims(body, names, macs)):
                raise FleetError(
                    f"{path} also configures {name} (network.{kind}.{name})",
                    where=wanted.name,
                    remedy=f"list {path} under netplan.replaces in the inventory to have it taken "
                    "over with a backup, or remove that key from it",
                )


def _refuse_other_managers(wanted: LxdHost, actual: HostFacts) -> None:
    """Refuse a NIC whose address is not netplan's: rolling back through netplan would lose it."""
    roles = dict.fromkeys(bridge.nic for bridge in wanted.bridges if bridge.nic)
    for name in (wanted.nics[role] for role in roles):
        link = actual.links.get(name, Link(name))
        if not link.addresses or any(
            _defines(_parsed(path, actual), name, link.mac) for path in _in_force(actual.netplan)
        ):
            continue
        raise FleetError(
            f"{name} has the address {link.addresses[0]}, which netplan does not configure",
            where=wanted.name,
            remedy="look at /etc/network/interfaces and NetworkManager, and write that address "
            "into a netplan file which is listed under netplan.replaces",
        )


def refuse_strangers(wanted: LxdHost, actual: HostFacts, link: Link, address: Interface) -> None:
    """Refuse a host's address on another link, unless a file that we take over put it there.

    Taking it off that link would be the only thing to do, and nobody has said that we may.
    """
    for path in wanted.netplan.replaces:
        if path in actual.netplan and _defines(_parsed(path, actual), link.name, link.mac):
            return
    raise FleetError(
        f"{link.name} has the address {address}, which the inventory gives to one of its bridges",
        where=wanted.name,
        remedy=f"take it off {link.name} by hand, list the netplan file that configures it under "
        "netplan.replaces, or mend `nics`",
    )


def _defines(document: Any, name: str, mac: str) -> bool:
    return any(
        own_name == name or _claims(body, {name}, {mac})
        for (_, own_name), body in _definitions(document).items()
    )


def _in_force(paths: Iterable[str]) -> list[str]:
    """The files that netplan reads, in its order: one of each name, sorted by name."""
    by_name: dict[str, str] = {}
    for folder in FOLDERS:
        for path in paths:
            place = PurePosixPath(path)
            if str(place.parent) == folder:
                by_name.setdefault(place.name, path)
    return [by_name[name] for name in sorted(by_name)]


def _parsed(path: str, actual: HostFacts) -> Any:
    try:
        return yaml.safe_load(actual.netplan[path])
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise FleetError(
            f"{path} is no valid YAML ({problem})",
            where=actual.name,
            remedy="mend it on the host; netplan refuses it too",
        ) from error


def _definitions(document: Any) -> dict[tuple[str, str], Mapping[str, Any]]:
    """``(kind, name)`` -> body of every link that a netplan document defines."""
    network = document.get("network") if isinstance(document, dict) else None
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for kind, entries in (network or {}).items():
        if kind not in _NO_DEFINITIONS and isinstance(entries, dict):
            for name, body in entries.items():
                found[kind, str(name)] = body if isinstance(body, dict) else {}
    return found


def _claims(body: Mapping[str, Any], names: set[str], macs: set[str]) -> bool:
    """Whether a definition gets hold of one of our links by another name than its own."""
    match = body.get("match") or {}
    by_name = any(fnmatchcase(name, str(match["name"])) for name in names if "name" in match)
    by_mac = str(match.get("macaddress", "none")).lower() in macs
    members = body.get("interfaces") or ()
    return by_name or by_mac or any(member in names for member in members)
