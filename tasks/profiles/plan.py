"""What has to be done to the profiles of one LXD host.

A profile that the inventory declares is ours whole: what LXD has and the inventory has not is
taken out of it. Any other profile is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.actual import Json, LxdFacts
from tasks.intent.model import LxdHost, Profile
from tasks.ownership import created_by_us, unmarked
from tasks.plan import Plan, Step, mapping_diff

#: Instances named in a step's detail; more are counted.
SHOWN = 4
#: LXD makes this one itself, so that on a bare host it is already there.
DEFAULT: Json = {
    "name": "default",
    "description": "Default LXD profile",
    "config": {},
    "devices": {},
}


@dataclass(frozen=True)
class ProfileWrite:
    """One write of a profile; ``body`` is what it becomes, without our mark."""

    method: Literal["create", "update", "delete"]
    profile: str
    body: Json


def plan_profiles(
    host: LxdHost, profiles: Mapping[str, Profile], facts: LxdFacts, prune: bool = False
) -> Plan[ProfileWrite]:
    """Compare the profiles that a host declares with those it has.

    Arguments:
        host: the LXD host; its ``profiles`` are the names of what it declares.
        profiles: all profiles of the inventory, by name.
        facts: what was read of LXD on the host; empty for a host that has no LXD yet.
        prune: delete what we created, the inventory no longer has and no instance uses.
    """
    steps: list[Step[ProfileWrite]] = []
    for name in host.profiles:
        actual = facts.profiles.get(name) or (DEFAULT if name == "default" else None)
        step = _create(profiles[name]) if actual is None else _update(profiles[name], actual)
        if step:
            steps.append(step)
    notes: list[str] = []
    for name, actual in facts.profiles.items():
        if name in host.profiles or not created_by_us(actual):
            continue
        users = used_by(actual)
        if prune and not users:
            steps.append(_delete(name, actual))
        elif users:
            notes.append(
                f"profile {name} is no longer in the inventory but used by {_shortened(users)}"
            )
        else:
            notes.append(f"profile {name} is no longer in the inventory; --prune deletes it")
    reason = "" if steps else f"as declared: {', '.join(host.profiles) or 'none'}"
    return Plan(tuple(steps), reason=reason, notes=tuple(notes))


def normal_form(document: Json) -> dict[str, Any]:
    """A profile as both sides are compared: strings only, without our mark, name or users."""
    return {
        "description": str(document.get("description") or ""),
        "config": unmarked(_texts(document.get("config") or {})),
        "devices": {
            name: _texts(device) for name, device in (document.get("devices") or {}).items()
        },
    }


def used_by(document: Json) -> list[str]:
    """The instances that use a profile as LXD's API gives it, those of other projects included."""
    paths = [str(path) for path in document.get("used_by") or []]
    return sorted(path.split("?")[0].rsplit("/", 1)[1] for path in paths)


def _create(profile: Profile) -> Step[ProfileWrite]:
    body = _wanted(profile)
    return Step(
        "create",
        f"profile {profile.name}",
        ProfileWrite("create", profile.name, body),
        diff=mapping_diff({}, body, f"profile {profile.name}"),
    )


def _update(profile: Profile, actual: Json) -> Step[ProfileWrite] | None:
    before, after = normal_form(actual), _wanted(profile)
    if before == after:
        return None
    users = used_by(actual)
    reach = f"used by {_shortened(users)}" if users else "not in use"
    return Step(
        "update",
        f"profile {profile.name}",
        ProfileWrite("update", profile.name, after),
        detail=f"{', '.join(_differences(before, after))}; {reach}",
        diff=mapping_diff(before, after, f"profile {profile.name}"),
    )


def _delete(name: str, actual: Json) -> Step[ProfileWrite]:
    return Step(
        "delete",
        f"profile {name}",
        ProfileWrite("delete", name, {}),
        detail="no longer in the inventory, not in use",
        diff=mapping_diff(normal_form(actual), {}, f"profile {name}"),
    )


def _wanted(profile: Profile) -> dict[str, Any]:
    return normal_form(
        {
            "description": profile.description,
            "config": profile.config,
            "devices": profile.devices,
        }
    )


def _differences(before: Json, after: Json) -> Iterable[str]:
    """The names of the config keys and devices that differ."""
    if before["description"] != after["description"]:
        yield "description"
    for key in _differing(before["config"], after["config"]):
        yield f"config {key}"
    for name in _differing(before["devices"], after["devices"]):
        yield f"device {name}"


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
