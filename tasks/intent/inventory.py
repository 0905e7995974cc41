"""The three files of SimpleInventory, validated, and each host's layers in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tasks.intent import scalars, schema
from tasks.intent.documents import Document, read_document
from tasks.intent.grouping import (
    check_memberships,
    check_names,
    kind_of,
    known_groups,
    parents_of,
    written_groups,
)
from tasks.intent.merge import Layer, Layers, lineage
from tasks.intent.values import WRONG, Table
from tasks.mistakes import KeyPath, Mistakes, Place, nearest

#: Remotes that LXD's client brings along; an LXD host of that name could not be a remote.
_CLIENT_REMOTES = (
    "images",
    "local",
    "ubuntu",
    "ubuntu-daily",
    "ubuntu-minimal",
    "ubuntu-minimal-daily",
)


@dataclass(frozen=True)
class Inventory:
    """Validated files: what is wrong in them is left out.

    ``kinds`` maps a host to lxd, container or machine; a host whose kind is unclear has none.
    """

    hosts: Mapping[str, Layers]
    groups: Mapping[str, Layer]
    kinds: Mapping[str, str]

    def of_kind(self, kind: str) -> dict[str, Layers]:
        """The hosts of one kind, in the order of the file."""
        return {name: host for name, host in self.hosts.items() if self.kinds.get(name) == kind}

    def groups_with(self, key: str) -> dict[str, tuple[Mapping[str, Any], Place]]:
        """The groups that have ``bridge`` or ``profile``: what it holds, and where."""
        return {
            name: (group.body["data"][key], group.place.at("data", key))
            for name, group in self.groups.items()
            if key in group.body.get("data", {})
        }

    def host_place(self, host: str, *path: str | int) -> Place:
        """Where a value of a host's merged data was written."""
        return self.hosts[host].place(*path)

    def own_place(self, host: str, *path: str | int) -> Place:
        """A place in what a host says itself, ``data`` and ``groups`` among it."""
        return self.hosts[host].layers[-1].place.at(*path)

    def unsure(self, host: str, mistakes: Mistakes) -> bool:
        """Whether mistakes leave open which bridges or profiles a host has."""
        own = [path for path in mistakes.of(self.own_place(host)) if path]
        inherited = [
            path
            for group in self.hosts[host].groups
            for path in mistakes.of(self.groups[group].place)
        ]
        return any(_shapes(path) for path in (*own, *inherited))

    def group_place(self, group: str, *path: str | int) -> Place:
        """A place in a group's data."""
        return self.groups[group].place.at("data", *path)


def read_inventory(folder: Path, mistakes: Mistakes) -> Inventory | None:
    """Read and validate a folder's files; None where one is no YAML, so that nothing can follow."""
    if not folder.is_dir():
        beside = [p.name for p in folder.parent.glob("*") if p.is_dir()]
        mistakes.add(
            Place(str(folder)), "there is no such inventory folder", nearest(folder.name, beside)
        )
        return None
    defaults = read_document(folder / "defaults.yaml", "defaults", mistakes)
    groups = read_document(folder / "groups.yaml", "group", mistakes)
    hosts = read_document(folder / "hosts.yaml", "host", mistakes)
    if not hosts.content and not hosts.broken:
        mistakes.add(hosts.place(), "declares no host", "write a host's name with `data` beneath")
    groups = _needed(groups, hosts, mistakes)
    table = schema.body(schema.DATA_OF_DEFAULTS, groups=False)
    base = Layer(defaults.place(), _clean(defaults.content, table, defaults.place(), mistakes))
    group_layers = {
        name: Layer(groups.place(name), _group(name, body, groups.place(name), mistakes))
        for name, body in groups.content.items()
    }
    parents = parents_of(groups, mistakes)
    kinds: dict[str, str] = {}
    found: dict[str, Layers] = {}
    for name, body in hosts.content.items():
        place = hosts.place(name)
        written = known_groups(body, groups, place, mistakes)
        line = lineage(written, parents)
        kind = None if groups.broken else kind_of(body, line, groups, place, mistakes)
        own = Layer(place, _host(name, body, kind, place, mistakes))
        found[name] = Layers((base, *(group_layers[g] for g in reversed(line)), own), line)
        if kind:
            kinds[name] = kind
    if hosts.broken or groups.broken or defaults.broken:
        return None
    check_names(found, mistakes)
    check_memberships(found, group_layers, kinds, mistakes)
    return Inventory(found, group_layers, kinds)


def _needed(groups: Document, hosts: Document, mistakes: Mistakes) -> Document:
    """The groups, or a broken document where there are none and hosts name some: what follows
    from that in every host need not be said as well."""
    named = sorted({group for body in hosts.content.values() for group in written_groups(body)})
    if not named or groups.content or groups.broken:
        return groups
    mistakes.add(
        groups.place(),
        "there is no such file, and hosts name groups" if groups.absent
        else "declares no group, and hosts name groups",
        f"declare there: {', '.join(named[:8])}{', ...' if len(named) > 8 else ''}",
    )  # fmt: skip
    return replace(groups, broken=True)


def _shapes(path: KeyPath) -> bool:
    """Whether a mistake at a path may hide a bridge, a profile or a kind."""
    if len(path) < 2 or path[0] == "groups":
        return True
    key, below = str(path[1]), path[2:]
    if key not in schema.DATA_OF_GROUP.keys:
        return bool(get_close_matches(key, ("bridge", "bridges", "profile", "root", "devices")))
    if key in ("bridge", "profile"):
        return not below or below[0] in ("nic", "bridges", "root")
    return key in ("bridges", "root")


def _clean(body: object, table: Table, place: Place, mistakes: Mistakes) -> Mapping[str, Any]:
    cleaned = table.clean(body, place, mistakes)
    right: dict[str, Any] = {} if cleaned is WRONG else cleaned
    return right


def _group(name: str, body: object, place: Place, mistakes: Mistakes) -> Mapping[str, Any]:
    scalars.GROUP_NAME.clean(name, place, mistakes)
    if body is None:
        mistakes.add(place, "is empty, which Nornir does not take", "write {}")
        return {}
    cleaned = _clean(body, schema.body(schema.DATA_OF_GROUP), place, mistakes)
    data = cleaned.get("data", {})
    if "bridge" in data:
        scalars.BRIDGE_NAME.clean(name, place, mistakes)
    if "bridge" in data and "profile" in data:
        mistakes.add(place.at("data"), "is both a bridge and a profile", "make two groups of it")
    return cleaned


def _host(
    name: str, body: object, kind: str | None, place: Place, mistakes: Mistakes
) -> Mapping[str, Any]:
    names = scalars.INSTANCE_NAME if kind == "container" else scalars.HOST_NAME
    names.clean(name, place, mistakes)
    if kind == "lxd" and name in _CLIENT_REMOTES:
        mistakes.add(
            place,
            "is the name of a remote that LXD's client brings along",
            "call the host something else",
        )
    if body is None:
        return {}
    return _clean(body, schema.body(schema.data_of_host(kind)), place, mistakes)
