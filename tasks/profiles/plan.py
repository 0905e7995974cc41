"""What has to be done to the profiles of one LXD host, and to the NICs that they give.

A profile that the inventory declares is ours whole: what LXD has and the inventory has not is
taken out of it. Any other profile is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.actual import HostFacts, Json
from tasks.instances import InstanceName, users_of
from tasks.intent.model import Intent, Profile
from tasks.ownership import created_by_us, unmarked
from tasks.plan import Plan, Step, mapping_diff
from tasks.profiles.nics import nics_being_plugged, nics_to_plug, nics_to_unplug
from tasks.profiles.reach import Effect, Reach
from tasks.profiles.writes import ProfileWrite, Write

#: Instances named in a step's detail; more are counted.
SHOWN = 4
#: LXD makes this one itself, so that on a bare host it is already there.
DEFAULT: Json = {
    "name": "default",
    "description": "Default LXD profile",
    "config": {},
    "devices": {},
}


def plan_profiles(intent: Intent, facts: HostFacts, prune: bool = False) -> Plan[Write]:
    """Compare the profiles that a host declares with those it has, and with the NICs they gave.

    Arguments:
        intent: the fleet; the host's own ``profiles`` are the names of what it declares.
        facts: what was read of the host; its LXD is empty where there is none yet.
        prune: delete what we created, the inventory no longer has and no instance uses.
    """
    host, lxd = intent.lxd_hosts[facts.name], facts.lxd
    reach = Reach(intent, host.name, lxd)
    steps: list[Step[Write]] = [*nics_being_plugged(facts), *nics_to_unplug(host, facts)]
    profiles = dict(lxd.profiles)  # as they are while one after the other is written
    for name in host.profiles:
        wanted = wanted_form(intent.profiles[name])
        actual = lxd.profiles.get(name) or (DEFAULT if name == "default" else None)
        if actual is None:
            steps.append(_create(name, wanted))
        elif normal_form(actual) != wanted:
            after = profiles | {name: wanted}
            effects = tuple(reach.effects(users_of(actual), profiles, after))
            steps.append(_update(name, actual, wanted, effects))
            profiles = after
    steps += nics_to_plug(host, facts, profiles)
    notes: list[str] = []
    for name, actual in lxd.profiles.items():
        if name in host.profiles or not created_by_us(actual):
            continue
        users = users_of(actual)
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


def wanted_form(profile: Profile) -> dict[str, Any]:
    """A profile of the inventory in the same form."""
    return normal_form(
        {
            "description": profile.description,
            "config": profile.config,
            "devices": profile.devices,
        }
    )


def _create(name: str, body: Json) -> Step[Write]:
    return Step(
        "create",
        f"profile {name}",
        ProfileWrite("create", name, body),
        diff=mapping_diff({}, body, f"profile {name}"),
    )


def _update(name: str, actual: Json, after: Json, effects: tuple[Effect, ...]) -> Step[Write]:
    before, users = normal_form(actual), users_of(actual)
    said = [", ".join(_differences(before, after))]
    said.append(f"used by {_shortened(users)}" if users else "not in use")
    replugged = [effect.instance for effect in effects if effect.nics]
    if replugged:
        said.append(f"NICs change now in {_shortened(replugged)}")
    anew = [effect.instance for effect in effects if effect.cloud_init]
    if anew:
        said.append(f"cloud-init runs anew at the next start of {_shortened(anew)}")
    story = [f"# used by {', '.join(map(str, users))}"] if users else []
    story += [f"# {effect}" for effect in effects]
    return Step(
        "update",
        f"profile {name}",
        ProfileWrite("update", name, after),
        detail="; ".join(said),
        diff="\n".join([mapping_diff(before, after, f"profile {name}"), *story]),
    )


def _delete(name: str, actual: Json) -> Step[Write]:
    return Step(
        "delete",
        f"profile {name}",
        ProfileWrite("delete", name, {}),
        detail="no longer in the inventory, not in use",
        diff=mapping_diff(normal_form(actual), {}, f"profile {name}"),
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
    """For LXD an empty value is none."""
    return {str(key): str(value) for key, value in values.items() if str(value)}


def _shortened(names: list[InstanceName]) -> str:
    shown = ", ".join(map(str, names[:SHOWN]))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
