"""What a backup is: its moment, its files, and what is known of the container in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from tasks.actual import Json, LxdFacts
from tasks.maintenance.disks import custom_volumes, driver_of, root_pool

INSTANCE = "container"
#: The config key with what cloud-init knows an instance by.
INSTANCE_ID = "volatile.cloud-init.instance-id"
#: Storage drivers whose export LXD makes of a snapshot that it takes for it (LXD 5.0, BackupVolume
#: of these drivers); on any other it reads the files while the container writes them.
SNAPSHOTTING = frozenset({"btrfs", "zfs"})

#: In what state the files of a backup are: those of a container that was stopped, those of one
#: moment as after a power cut, or read one after the other while it ran.
State = Literal["stopped", "of one moment", "read while it ran"]


@dataclass(frozen=True)
class Part:
    """One file of a backup: the container itself, or with a ``volume`` a custom storage volume that
    was attached to it, from the storage pool ``pool``.

    ``size`` are the bytes of the files in it, as counted before; ``bytes`` and ``sha256`` are the
    file's own.
    """

    file: str
    pool: str
    size: int
    volume: str = ""
    bytes: int = 0
    sha256: str = ""

    @property
    def what(self) -> str:
        """What it holds, in words."""
        return f"volume {self.pool}/{self.volume}" if self.volume else "container"


@dataclass(frozen=True)
class StoredBackup:
    """A whole backup as its manifest has it; ``host`` is the LXD host that it was made on,
    ``profiles`` are those that the container had. ``instance_id`` is what cloud-init knows it by,
    which LXD changes with an instance's name: by another one cloud-init would make it a new
    machine, with SSH host keys of its own.
    """

    container: str
    moment: str
    host: str
    state: State
    profiles: tuple[str, ...] = ()
    instance_id: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(part.bytes for part in self.parts)

    @property
    def volumes(self) -> tuple[Part, ...]:
        """Its parts but for the container."""
        return tuple(part for part in self.parts if part.volume)

    @property
    def instance(self) -> Part:
        """The part that is the container."""
        return next(part for part in self.parts if not part.volume)


def as_manifest(backup: StoredBackup) -> bytes:
    """What the file ``manifest`` of a backup holds: JSON."""
    return (json.dumps({"version": 1, **asdict(backup)}, indent=2) + "\n").encode()


def from_manifest(text: str) -> StoredBackup | None:
    """The backup that a manifest describes; None where it is not one of ours."""
    try:
        document = json.loads(text)
        if document.pop("version") != 1:
            return None
        parts = tuple(Part(**part) for part in document.pop("parts"))
        profiles = tuple(document.pop("profiles"))
        backup = StoredBackup(**document, profiles=profiles, parts=parts)
        return backup if sum(not part.volume for part in parts) == 1 else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def parts_of(instance: Json, size_of: Mapping[tuple[str, str, str], int]) -> tuple[Part, ...]:
    """The files that a backup of an instance is to have, with the sizes that are known.

    Arguments:
        instance: as LXD has it.
        size_of: bytes by storage pool, type of the volume (container, custom) and its name.
    """
    name = str(instance["name"])
    pool = root_pool(instance)
    parts = [Part(INSTANCE, pool, size_of.get((pool, "container", name), 0))]
    for number, (place, volume) in enumerate(custom_volumes(instance), 1):
        size = size_of.get((place, "custom", volume), 0)
        parts.append(Part(f"volume-{number}", place, size, volume))
    return tuple(parts)


def state_of(instance: Json, facts: LxdFacts) -> State:
    """In what state an export of an instance has its files."""
    if instance.get("status") == "Stopped":
        return "stopped"
    pools = {root_pool(instance), *(pool for pool, _ in custom_volumes(instance))}
    drivers = {driver_of(pool, facts) for pool in pools}
    return "of one moment" if drivers <= SNAPSHOTTING else "read while it ran"
