"""Containers: their own config and devices, on top of their profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.intent.lxd_hosts import common_fields
from tasks.intent.lxd_objects import (
    NETWORK_CONFIG_KEYS,
    devices_of,
    networks_of,
    settings,
    user_data,
    user_data_key,
)
from tasks.intent.machines import machine_of
from tasks.intent.merge import Layers
from tasks.intent.model import Container, Image, Profile
from tasks.intent.networks import network_config
from tasks.intent.scope import Scope


def container_of(
    name: str,
    host: Layers,
    profiles: Mapping[str, Profile],
    images: Mapping[str, Image],
    scope: Scope,
) -> Container:
    """A container; ``profiles`` are all that there are, ``images`` those of its LXD host."""
    data = host.data
    used = [profiles[group] for group in host.groups if group in profiles]
    own = devices_of(
        scope.networks(data.get("bridges", []), host.place("bridges")),
        data.get("root"),
        data.get("devices", {}),
        host.place("devices"),
        scope,
    )
    _pin_macs(own, used, data.get("macs", {}))
    inherited: dict[str, Mapping[str, str]] = {}
    for profile in used:
        inherited |= profile.devices  # LXD takes a device from the last profile that has it
    networks = networks_of(inherited | own)
    machine = machine_of(name, host, networks, scope)
    image = images.get(data.get("image", ""))
    config = settings(data.get("config", {}))
    if "user_data" in data:
        config.setdefault(user_data_key([image]), user_data(data["user_data"]))
    attached = [machine.attachments[n] for n in networks if n in machine.attachments]
    key = image.network_config if image else None
    inherited_keys = {key for profile in used for key in profile.config}
    written_out = (config.keys() | inherited_keys) & set(NETWORK_CONFIG_KEYS)
    if key and not written_out and any(a.address for a in attached):
        config[key] = network_config(attached)
    return Container(
        **common_fields(machine),
        on=data.get("on", ""),
        image=data.get("image", ""),
        profiles=tuple(profile.name for profile in used),
        config=config,
        devices=own,
        networks=networks,
        running=data.get("state", "running") == "running",
    )


def _pin_macs(
    own: dict[str, dict[str, str]], profiles: list[Profile], macs: Mapping[str, Any]
) -> None:
    """Give NICs their MAC addresses. A profile's NIC becomes a device of the container's own,
    because LXD takes a device whole from where it stands last."""
    for network, mac in macs.items():
        name = f"if-{network}"
        for profile in profiles:
            if name in profile.devices:
                own[name] = dict(profile.devices[name]) | own.get(name, {})
        if name in own:
            own[name].setdefault("hwaddr", mac.lower())
