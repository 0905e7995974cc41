"""Groups and kinds: who is in which group, and what its data's keys make of a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.intent import schema
from tasks.intent.documents import Document
from tasks.intent.merge import OWN_TO_GROUPS, Layer, Layers, cycles
from tasks.mistakes import Mistakes, Place, nearest

_PLURALS = {"container": "containers", "lxd": "LXD hosts", "machine": "plain machines"}


def written_groups(body: object) -> list[str]:
    """The groups that a host's or group's body names, as far as they are written as names."""
    groups = body.get("groups") if isinstance(body, dict) else None
    return [g for g in groups if isinstance(g, str)] if isinstance(groups, list) else []


def known_groups(body: object, groups: Document, place: Place, mistakes: Mistakes) -> list[str]:
    """The groups that a host or group names; one that is not declared is a mistake."""
    known: dict[str, None] = {}
    for number, name in enumerate(written_groups(body)):
        if name in known:
            mistakes.add(
                place.at("groups", number), f"names the group {name} twice", "leave one out"
            )
        elif name in groups.content:
            known[name] = None
        elif not groups.broken:
            mistakes.add(
                place.at("groups", number),
                f"there is no group {name}",
                nearest(name, groups.content, "declare it in groups.yaml"),
            )
    return list(known)


def parents_of(groups: Document, mistakes: Mistakes) -> dict[str, Sequence[str]]:
    """Each group's own groups; a circle is a mistake."""
    parents: dict[str, Sequence[str]] = {
        name: known_groups(body, groups, groups.place(name), mistakes)
        for name, body in groups.content.items()
    }
    for circle in cycles(parents):
        mistakes.add(
            groups.place(circle[0], "groups"),
            f"groups in a circle: {' -> '.join(circle)}",
            "take one of them out",
        )
    return parents


def kind_of(
    body: object,
    line: Sequence[str],
    groups: Document,
    place: Place,
    mistakes: Mistakes,
) -> str | None:
    """The kind of a host by the keys of its data and its groups' data, wrong values included."""
    keys = {key for owner in (body, *(groups.content[g] for g in line)) for key in _data(owner)}
    found = [kind for key, kind in schema.KIND_KEYS.items() if key in keys]
    if len(found) == 1:
        return found[0]
    if found:
        mistakes.add(
            place.at("data"),
            "is " + " and ".join(schema.KIND_NAMES[k] for k in found) + " at once",
            "keep one of lxd, on and machine",
        )
    elif any(mistakes.within(owner.at("groups")) for owner in (place, *map(groups.place, line))):
        pass  # the kind may be in the group that is wrong
    elif body is None:
        mistakes.add(place, "is empty", "write `on`, `lxd` or `machine` beneath `data`")
    else:
        mistakes.add(
            place.at("data"),
            "does not say what it is",
            "write `on: HOST` for a container, `lxd: {}` for an LXD host, "
            "`machine: true` for any other",
        )
    return None


def _data(body: object) -> Mapping[str, Any]:
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}


def check_names(hosts: Mapping[str, Layers], mistakes: Mistakes) -> None:
    """Two names that differ by capitals only are one name to DNS."""
    folded: dict[str, str] = {}
    for name, host in hosts.items():
        twin = folded.setdefault(name.lower(), name)
        if twin != name:
            mistakes.add(
                host.layers[-1].place,
                f"differs from {twin} by capitals only",
                "names are the same in any case: choose another",
            )


def check_memberships(
    hosts: Mapping[str, Layers],
    groups: Mapping[str, Layer],
    kinds: Mapping[str, str],
    mistakes: Mistakes,
) -> None:
    """Bridges are for LXD hosts, profiles for containers; a group's key fits some member."""
    allowed = {"bridge": "lxd", "profile": "container"}
    members: dict[str, set[str]] = {}
    for name, kind in kinds.items():
        for group in hosts[name].groups:
            members.setdefault(group, set()).add(kind)
            for key in OWN_TO_GROUPS:
                if key in groups[group].body.get("data", {}) and kind != allowed[key]:
                    mistakes.add(
                        hosts[name].layers[-1].place.at("groups"),
                        f"is {schema.KIND_NAMES[kind]}, and {group} is a {key}",
                        f"only {schema.KIND_NAMES[allowed[key]]} takes a {key} as a group",
                    )
    for group, found in members.items():
        for key in groups[group].body.get("data", {}):
            if key not in OWN_TO_GROUPS and not any(key in schema.KINDS[kind] for kind in found):
                mistakes.add(
                    groups[group].place.at("data", key),
                    "fits no member of the group",
                    f"its members are {' and '.join(_PLURALS[kind] for kind in sorted(found))}",
                )
