"""How far the change of a profile reaches: what it does to the instances that use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.actual import Json, LxdFacts
from tasks.instances import Expanded, InstanceName, expanded, instances_of, is_live, plugs_anew
from tasks.intent.model import Devices, Intent

#: Any of these changed gives an instance a new instance-id, at which cloud-init runs as on a first
#: boot; so do other NIC names (LXD 5.0, driver_common.go, needsNewInstanceID; lxd#17063).
CLOUD_INIT_KEYS = tuple(
    f"{prefix}.{what}"
    for prefix in ("cloud-init", "user")
    for what in ("vendor-data", "user-data", "network-config")
)
#: Newer versions: keys for SSH, which are any below this.
CLOUD_INIT_PREFIX = "cloud-init.ssh-keys."
INSTANCE_ID = "volatile.cloud-init.instance-id"


@dataclass(frozen=True)
class Effect:
    """What a change of a profile does to one instance.

    ``nics`` are what happens to its NICs right now ("gains if-sip"), none while it does not run;
    ``cloud_init`` says that cloud-init runs anew at its next start, ``certain`` that its image is
    known to have one.
    """

    instance: InstanceName
    nics: tuple[str, ...] = ()
    cloud_init: bool = False
    certain: bool = True

    def __str__(self) -> str:
        """In one line."""
        parts = [f"now {', '.join(self.nics)}"] if self.nics else []
        if self.cloud_init:
            unless = "" if self.certain else ", if it has cloud-init"
            parts.append(f"runs cloud-init anew at its next start{unless}")
        return f"{self.instance}: {'; '.join(parts)}"


class Reach:
    """Foretells effects on the instances of one LXD host.

    Arguments:
        intent: its images say which instances have cloud-init.
        host: the LXD host's name.
        lxd: what was read of LXD there.
    """

    def __init__(self, intent: Intent, host: str, lxd: LxdFacts) -> None:
        self._intent = intent
        self._host = host
        self._images = lxd.images
        self.instances = instances_of(lxd)
        # Before LXD 5.0 the instance-id was the name, and cloud-init never ran anew.
        self._has_ids = any(INSTANCE_ID in (i.get("config") or {}) for i in self.instances.values())

    def effects(
        self, users: list[InstanceName], before: Mapping[str, Json], after: Mapping[str, Json]
    ) -> Iterator[Effect]:
        """What happens to those who use a profile when the profiles are no longer as ``before`` but
        as ``after``; those to whom nothing of this happens are left out."""
        for name in users:
            instance = self.instances.get(name)
            if instance is None:  # it came after the instances were read
                continue
            old, new = expanded(instance, before), expanded(instance, after)
            nics = tuple(_on_nics(old.devices, new.devices)) if is_live(instance) else ()
            has_cloud_init = self._has_cloud_init(name, instance)
            anew = has_cloud_init is not False and self._has_ids and _new_id(instance, old, new)
            if nics or anew:
                yield Effect(name, nics, anew, certain=has_cloud_init is True)

    def _has_cloud_init(self, name: InstanceName, instance: Json) -> bool | None:
        """None where its image is none that the inventory declares."""
        fingerprint = (instance.get("config") or {}).get("volatile.base_image", "")
        found = self._images.get(fingerprint, {}).get("aliases") or ()
        names = [str(alias["name"]) for alias in found]
        declared = self._intent.containers.get(name.instance)
        if declared and declared.on == self._host and name == InstanceName(declared.name):
            names.append(declared.image)
        for image in names:
            if image in self._intent.images:
                return self._intent.images[image].network_config is not None
        return None


def _on_nics(before: Devices, after: Devices) -> Iterator[str]:
    old, new = _nics(before), _nics(after)
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"gains {name}"
        elif name not in new:
            yield f"loses {name}"
        elif old[name].get("parent") != new[name].get("parent"):
            yield f"moves {name} to {new[name].get('parent')}"
        elif plugs_anew(old[name], new[name]):
            yield f"plugs {name} in anew"


def _new_id(instance: Json, before: Expanded, after: Expanded) -> bool:
    keys = {
        key
        for key in before.config.keys() | after.config.keys()
        if key in CLOUD_INIT_KEYS or key.startswith(CLOUD_INIT_PREFIX)
    }
    if any(before.config.get(key, "") != after.config.get(key, "") for key in keys):
        return True
    return _inside(instance, before.devices) != _inside(instance, after.devices)


def _inside(instance: Json, devices: Devices) -> set[str]:
    """The names of the NICs inside."""
    config = instance.get("config") or {}
    return {
        device.get("name") or config.get(f"volatile.{name}.name") or name
        for name, device in _nics(devices).items()
    }


def _nics(devices: Devices) -> dict[str, Mapping[str, str]]:
    return {name: device for name, device in devices.items() if device.get("type") == "nic"}
