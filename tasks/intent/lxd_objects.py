"""What LXD gets from us: profiles, images, pools, instance config and devices, as it wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tasks.intent.documents import as_document
from tasks.intent.model import Devices, Image, Pool, Profile
from tasks.intent.scope import Scope
from tasks.mistakes import Place

NETWORK_CONFIG_KEYS = ("cloud-init.network-config", "user.network-config")
NetworkConfigKey = Literal["cloud-init.network-config", "user.network-config"]
_NETWORK_CONFIG: Mapping[str, NetworkConfigKey | None] = {
    "cloud-init": "cloud-init.network-config",
    "user": "user.network-config",
    "none": None,
}
_IMAGE_SOURCES = "metadata (and rootfs), or server and alias, or local"


def setting(value: object) -> str:
    """A config value as LXD keeps it: text; a boolean is true or false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings(values: Mapping[str, object]) -> dict[str, str]:
    """Config values as LXD keeps them."""
    return {key: setting(value) for key, value in values.items()}


def devices_of(
    networks: Iterable[str],
    root: str | None,
    written: Mapping[str, Mapping[str, object]],
    place: Place,
    scope: Scope,
) -> dict[str, dict[str, str]]:
    """NICs named if-X in the bridges br-X, the root disk in a pool, and devices written out, which
    win key by key. ``place`` is where the devices are written."""
    devices: dict[str, dict[str, str]] = {}
    for network in networks:
        name = f"if-{network}"
        devices[name] = {
            "type": "nic",
            "nictype": "bridged",
            "parent": f"br-{network}",
            "name": name,
        }
    if root:
        devices["root"] = {"type": "disk", "path": "/", "pool": root}
    for name, device in written.items():
        devices[name] = devices.get(name, {}) | settings(device)
        if "type" not in devices[name]:
            scope.mistakes.add(
                place.at(name),
                "a device without a type",
                "write type: nic, disk, proxy, unix-char, ...",
            )
    return devices


def networks_of(devices: Devices) -> tuple[str, ...]:
    """The networks that NICs among the devices are plugged into."""
    return tuple(
        device["parent"].removeprefix("br-")
        for device in devices.values()
        if device.get("type") == "nic" and device.get("parent", "").startswith("br-")
    )


def user_data(written: str | Mapping[str, Any]) -> str:
    """cloud-init's user-data: text as it is, a mapping under the first line that it wants."""
    if isinstance(written, str):
        return written
    return "#cloud-config\n" + as_document(written)


def profile_of(
    name: str, data: Mapping[str, Any], images: Iterable[Image | None], place: Place, scope: Scope
) -> Profile:
    """The profile that a group declares; ``images`` are those of its containers, which say where
    its user-data go."""
    devices = devices_of(
        scope.networks(data.get("bridges", []), place.at("bridges")),
        data.get("root"),
        data.get("devices", {}),
        place.at("devices"),
        scope,
    )
    config = settings(data.get("config", {}))
    if "user_data" in data:
        images = list(images)
        if "user_data_key" not in data:
            _refuse_mixed(images, place.at("user_data"), scope)
        key = data.get("user_data_key", user_data_key(images))
        config[key] = user_data(data["user_data"])
    return Profile(
        name=name,
        description=data.get("description", ""),
        config=config,
        devices=devices,
        networks=networks_of(devices),
    )


def user_data_key(images: Iterable[Image | None]) -> str:
    """Where user-data go for containers of these images: ``user.user-data`` is read by images old
    and new, the newer ``cloud-init.user-data`` wherever all of them know it."""
    old = any(image and image.network_config == "user.network-config" for image in images)
    return "user.user-data" if old else "cloud-init.user-data"


def _refuse_mixed(images: Iterable[Image | None], place: Place, scope: Scope) -> None:
    """One container with an old image would move the user-data of all others to the old key, which
    makes cloud-init run there once more as on a first boot: that is said, never done by itself."""
    by_key = {image.network_config: image.name for image in images if image}
    old, new = (by_key.get(key) for key in ("user.network-config", "cloud-init.network-config"))
    if old and new:
        scope.mistakes.add(
            place,
            f"its containers have images that read user-data under different keys ({old}, {new})",
            "write user_data_key: user.user-data, which all of them read, or give containers with "
            f"{old} a profile of their own",
        )


def image_of(name: str, data: Mapping[str, Any], place: Place, scope: Scope) -> Image | None:
    """One declared image; None with a mistake where it does not come from exactly one place."""
    files = "metadata" in data or "rootfs" in data
    remote = "server" in data or "alias" in data
    whole = "metadata" in data or "local" in data or ("server" in data and "alias" in data)
    if files + remote + ("local" in data) > 1:
        said = ["files"] * files + ["a server"] * remote + ["local"] * ("local" in data)
        scope.mistakes.add(place, f"has {' and '.join(said)}", f"write {_IMAGE_SOURCES}")
        return None
    if not whole and not scope.mistakes.within(place):
        scope.mistakes.add(
            place,
            "does not say where it comes from",
            f"write {_IMAGE_SOURCES}",
        )
    if "network_config" not in data and not scope.mistakes.within(place):
        scope.mistakes.add(
            place,
            "does not say how it takes its network",
            "write network_config: cloud-init, user (20.04 and older) or none",
        )
    if not whole:
        return None
    prepare = data.get("prepare")
    return Image(
        name=name,
        metadata=scope.existing(data["metadata"], place.at("metadata")) if files else None,
        rootfs=scope.existing(data["rootfs"], place.at("rootfs")) if "rootfs" in data else None,
        server=data.get("server"),
        alias=data.get("alias"),
        local=data.get("local"),
        prepare=bool(data.get("prepare", False)),
        prepare_days=prepare.get("days") if isinstance(prepare, Mapping) else None,
        network_config=_NETWORK_CONFIG[data.get("network_config", "none")],
    )


def pools_of(data: Mapping[str, Any], place: Place, scope: Scope) -> tuple[Pool, ...]:
    """The declared storage pools."""
    pools = []
    for name, pool in data.items():
        if "driver" in pool:
            config = settings({k: v for k, v in pool.items() if k != "driver"})
            pools.append(Pool(name=name, driver=pool["driver"], config=config))
        elif not scope.mistakes.within(place.at(name)):
            scope.mistakes.add(
                place.at(name),
                "a pool without a driver",
                "write driver: dir, zfs, btrfs, lvm or ceph",
            )
    return tuple(pools)
