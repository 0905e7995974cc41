"""A container as LXD has to have it: config and devices of its own, with its MACs in them."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.intent.model import Container, Profile

#: Config keys that LXD carries into a running container at once; all others act at its next start.
#: (LXD 5.0, reference "Instance options", column "Live update", and keys that concern no start.)
LIVE = (
    "boot.",
    "cluster.",
    "environment.",
    "limits.cpu",
    "limits.disk.",
    "limits.hugepages.",
    "limits.memory",
    "limits.network.",
    "limits.processes",
    "linux.kernel_modules",
    "migration.",
    "raw.apparmor",
    "security.protection.",
    "snapshots.",
    "user.",
)
#: Keys below a live prefix that cloud-init reads, which runs at a start only.
CLOUD_INIT = ("user.meta-data", "user.network-config", "user.user-data", "user.vendor-data")


def wanted_config(container: Container, profiles: Mapping[str, Profile]) -> dict[str, str]:
    """The config keys that the inventory declares for a container.

    The MAC of a NIC that comes from a profile is a key too, ``volatile.<device>.hwaddr``: a
    profile is shared, so that it cannot hold one.
    """
    config = dict(container.config)
    for attachment in container.attachments.values():
        if attachment.mac is None or _own_nic(container, attachment.interface):
            continue
        device = _profile_nic(container, profiles, attachment.interface)
        config.setdefault(f"volatile.{device}.hwaddr", attachment.mac)
    return config


def wanted_devices(container: Container) -> dict[str, dict[str, str]]:
    """The devices that the inventory declares for a container itself, with the MAC of each NIC."""
    devices = {name: dict(device) for name, device in container.devices.items()}
    for attachment in container.attachments.values():
        name = _own_nic(container, attachment.interface)
        if name and attachment.mac:
            devices[name].setdefault("hwaddr", attachment.mac)
    return devices


def acts_at_start(key: str) -> bool:
    """Whether a changed config key only acts at the container's next start."""
    return key in CLOUD_INIT or not key.startswith(LIVE)


def _own_nic(container: Container, interface: str) -> str | None:
    """The container's own device that is its NIC of that name."""
    return _nic(container.devices, interface)


def _profile_nic(container: Container, profiles: Mapping[str, Profile], interface: str) -> str:
    """The profile's device that is the container's NIC of that name; of several the last wins."""
    for name in reversed(container.profiles):
        device = _nic(profiles[name].devices, interface) if name in profiles else None
        if device:
            return device
    return interface


def _nic(devices: Mapping[str, Mapping[str, str]], interface: str) -> str | None:
    return next(
        (
            name
            for name, device in devices.items()
            if device.get("type") == "nic" and device.get("name", name) == interface
        ),
        None,
    )
