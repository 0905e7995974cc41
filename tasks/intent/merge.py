"""Merge an inventory's data: defaults, groups from the last to the first, then the host.

Nornir's own lookup takes a key whole from the first that has it; here mappings merge by key,
while scalars and lists replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.mistakes import Place

#: What is a group's own and never merges into a host.
OWN_TO_GROUPS = ("bridge", "profile")


def merge(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one: mappings merge by key, of anything else the higher wins."""
    merged = dict(lower)
    for key, value in higher.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]  # see both
    return merged


@dataclass(frozen=True)
class Layer:
    """What one host, group or the defaults say: Nornir's keys and ``data`` among them."""

    place: Place
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Layers:
    """A host's layers, the lowest first; its own is the last."""

    layers: Sequence[Layer]
    groups: tuple[str, ...] = ()

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """All layers merged, without ``groups``, ``bridge`` and ``profile``."""
        merged: dict[str, Any] = {}
        for layer in self.layers:
            merged = merge(merged, layer.body)
        merged.pop("groups", None)
        data = merged.get("data", {})
        merged["data"] = {k: v for k, v in data.items() if k not in OWN_TO_GROUPS}
        return merged

    @property
    def data(self) -> Mapping[str, Any]:
        """The merged data."""
        data: Mapping[str, Any] = self.body["data"]
        return data

    def place(self, *path: str | int) -> Place:
        """Where the value at a path beneath ``data`` was written: the highest layer that has it,
        or has the most of the path; the host itself where none has any."""
        best, depth = self.layers[-1], 1
        for layer in reversed(self.layers):
            reached = _depth(layer.body, ("data", *path))
            if reached > depth:
                best, depth = layer, reached
        return best.place.at("data", *path)


def _depth(value: Any, path: Iterable[str | int]) -> int:
    depth = 0
    for key in path:
        if isinstance(value, list):
            inside = isinstance(key, int) and key < len(value)
        else:
            inside = isinstance(value, dict) and key in value
        if not inside:
            return depth
        value, depth = value[key], depth + 1
    return depth


def lineage(groups: Sequence[str], parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All groups of a host, the one that wins first: depth first, each once.

    ``parents`` maps a group to its own groups; unknown groups and cycles are passed over.
    """
    found: dict[str, None] = {}

    def walk(names: Sequence[str]) -> None:
        for name in names:
            if name in parents and name not in found:
                found[name] = None
                walk(parents[name])

    walk(groups)
    return tuple(found)


def cycles(parents: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """The circles in which groups are their own groups, each once: ("a", "b", "a")."""
    found: dict[frozenset[str], tuple[str, ...]] = {}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = (*trail[trail.index(name) :], name)
            found.setdefault(frozenset(circle), circle)
        elif name in parents and name not in done:
            for parent in parents[name]:
                walk(parent, (*trail, name))
            done.add(name)

    for name in parents:
        walk(name, ())
    return list(found.values())
