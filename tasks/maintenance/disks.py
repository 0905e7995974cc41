"""The disks of an instance, and the storage they are on, as LXD has them."""

from __future__ import annotations

from typing import Any

from tasks.actual import Json, LxdFacts


def root_pool(instance: Json) -> str:
    """The storage pool of an instance's root disk."""
    return next((str(d.get("pool", "")) for _, d in _disks(instance) if d.get("path") == "/"), "")


def custom_volumes(instance: Json) -> list[tuple[str, str]]:
    """The custom storage volumes that are attached to an instance, each once: pool and name."""
    found = [
        (str(disk["pool"]), str(disk["source"]))
        for _, disk in _disks(instance)
        if disk.get("pool") and disk.get("source") and disk.get("path") != "/"
    ]
    return sorted(set(found))


def disks_left_out(instance: Json) -> list[str]:
    """The names of an instance's disks that are no volumes: folders and devices of its host."""
    return sorted(
        name for name, disk in _disks(instance) if disk.get("source") and not disk.get("pool")
    )


def driver_of(pool: str, facts: LxdFacts) -> str:
    """The driver of a storage pool; empty where it is not known."""
    return str((facts.pools.get(pool) or {}).get("driver", ""))


def _disks(instance: Json) -> list[tuple[str, dict[str, Any]]]:
    devices = instance.get("expanded_devices") or instance.get("devices") or {}
    return [(name, device) for name, device in devices.items() if device.get("type") == "disk"]
