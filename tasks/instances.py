"""An LXD server's instances: who uses a profile, and what each has with its profiles applied.

LXD expands an instance so (its documentation, "Profiles"): profiles in the instance's order, a
later one over an earlier one, then what the instance has of its own. A config key replaces a key,
a device replaces the device of that name as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tasks.actual import Json, LxdFacts
from tasks.intent.model import Devices

#: States of an instance in which LXD carries a changed device into it at once.
LIVE = ("Running", "Frozen")
#: What LXD changes on a bridged NIC without unplugging it (5.0, nic_bridged.go, UpdatableFields).
CHANGED_IN_PLACE = frozenset(
    {
        "limits.ingress",
        "limits.egress",
        "limits.max",
        "ipv4.address",
        "ipv4.routes",
        "ipv4.routes.external",
        "ipv6.address",
        "ipv6.routes",
        "ipv6.routes.external",
        "security.mac_filtering",
        "security.ipv4_filtering",
        "security.ipv6_filtering",
    }
)


@dataclass(frozen=True, order=True)
class InstanceName:
    """An instance of an LXD server: its name is only one of its project's."""

    instance: str
    project: str = "default"

    def __str__(self) -> str:
        """As it is told."""
        if self.project == "default":
            return self.instance
        return f"{self.instance} (project {self.project})"

    def path(self, part: str = "") -> str:
        """Its path in the API, or that of a part of it ("/state")."""
        query = "" if self.project == "default" else f"?project={self.project}"
        return f"/1.0/instances/{self.instance}{part}{query}"


@dataclass(frozen=True)
class Expanded:
    """What an instance has of its own and through its profiles."""

    config: Mapping[str, str]
    devices: Devices


def users_of(profile: Json) -> list[InstanceName]:
    """The instances that use a profile as LXD's API gives it, those of other projects included."""
    users = []
    for path in profile.get("used_by") or ():
        parts = urlsplit(str(path))
        project = parse_qs(parts.query).get("project", ["default"])[0]
        users.append(InstanceName(parts.path.rsplit("/", 1)[1], project))
    return sorted(users)


def instances_of(lxd: LxdFacts) -> dict[InstanceName, Json]:
    """All instances of an LXD server."""
    own = {InstanceName(name): instance for name, instance in lxd.instances.items()}
    others = {InstanceName(i["name"], i["project"]): i for i in lxd.other_instances}
    return own | others


def is_live(instance: Json) -> bool:
    """Whether a changed device is carried into the instance at once."""
    return instance.get("status") in LIVE


def plugged_nics(instance: Json) -> dict[str, str]:
    """The ends on the host of an instance's NICs, by NIC, for as long as they are plugged in.

    LXD keeps them in ``volatile.NIC.host_name`` (its documentation of instance options).
    """
    found = {}
    for key, value in (instance.get("config") or {}).items():
        if key.startswith("volatile.") and key.endswith(".host_name") and value:
            found[key.removeprefix("volatile.").removesuffix(".host_name")] = str(value)
    return found


def is_bridged(device: Mapping[str, str]) -> bool:
    """Whether LXD plugs a device into a bridge."""
    return device.get("type") == "nic" and device.get("nictype") == "bridged"


def expanded(instance: Json, profiles: Mapping[str, Json]) -> Expanded:
    """What an instance has when the profiles are these; one that is not among them gives nothing.

    Arguments:
        instance: as LXD's API gives it.
        profiles: by name, as LXD's API gives them.
    """
    layers: list[Json] = [profiles.get(name, {}) for name in instance.get("profiles") or ()]
    layers.append(instance)
    config: dict[str, str] = {}
    devices: dict[str, Mapping[str, str]] = {}
    for layer in layers:
        config |= layer.get("config") or {}
        devices |= layer.get("devices") or {}
    return Expanded(config, devices)


def giver_of(instance: Json, device: str, profiles: Mapping[str, Json]) -> str | None:
    """The profile that gives an instance its device; None for a device of its own."""
    if device in (instance.get("devices") or {}):
        return None
    for name in reversed(instance.get("profiles") or ()):
        if device in (profiles.get(name, {}).get("devices") or {}):
            return str(name)
    return None


def plugs_anew(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether LXD unplugs a NIC and plugs it in again to change it so."""
    keys: Iterable[str] = before.keys() | after.keys()
    return any(before.get(k, "") != after.get(k, "") for k in keys if k not in CHANGED_IN_PLACE)
