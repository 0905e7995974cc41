"""What we remember of an instance, in config keys of its own beside our mark.

The names of the config keys and devices that we set: what of them leaves the inventory is unset
again, and nothing else is. And the keys that wait for a restart, with the time of the start after
which they were set: any later start has done it. Each begins with the instance's name, which a copy
of the instance has not: what is remembered of the one says nothing of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tasks.actual import Json
from tasks.ownership import CREATED_KEY

#: What LXD itself puts into an instance's config.
FILLED_IN = ("volatile.", "image.")

CONFIG = f"{CREATED_KEY}.config"
DEVICES = f"{CREATED_KEY}.devices"
RESTART = f"{CREATED_KEY}.restart"
#: On the former instance of one that moves: its name, the LXD host that it moves to, its
#: boot.autostart before (``-`` for none), and whether it ran. A host that starts anew meanwhile
#: must not start what runs elsewhere by then.
MOVING = f"{CREATED_KEY}.moving"
#: On the copy, until it is whole: its name.
COPYING = f"{CREATED_KEY}.copying"
#: On a container that was restored: its name, the backup's moment, and ``begun`` until it is proven
#: to be up, then ``done``. On a volume that came with it: the container's name, the moment and the
#: LXD host that the backup was made on, and ``done`` from then on.
RESTORED = f"{CREATED_KEY}.restored"


def remembering(key: str, instance: str, *words: str) -> dict[str, str]:
    """The config key that remembers these words of an instance."""
    return {key: " ".join((instance, *words))}


def words_of(instance: Json, key: str) -> list[str]:
    """What a config key remembers of an instance; nothing where it is another one's."""
    name, *words = str((instance.get("config") or {}).get(key, "")).split() or [""]
    return words if name == instance.get("name") else []


def set_by_us(instance: Json, key: str) -> frozenset[str]:
    """The names that ``CONFIG`` or ``DEVICES`` remembers of an instance."""
    return frozenset(words_of(instance, key))


def waiting_for_restart(instance: Json) -> tuple[str, ...]:
    """The config keys that a running instance has and that act only once it is started again."""
    started, *keys = words_of(instance, RESTART) or ("",)
    running = instance.get("status") in ("Running", "Frozen")
    return tuple(keys) if running and started == _last_start(instance) else ()


def memory_of_names(instance: str, config: Iterable[str], devices: Iterable[str]) -> dict[str, str]:
    """The config keys that remember what is set by us; what LXD owns is not (``volatile.*``)."""
    names = {
        CONFIG: sorted(key for key in config if not key.startswith(FILLED_IN)),
        DEVICES: sorted(devices),
    }
    return {
        key: value
        for name, kept in names.items()
        if kept
        for key, value in remembering(name, instance, *kept).items()
    }


def memory_of_restart(instance: Json, keys: Collection[str]) -> dict[str, str]:
    """The config key that remembers what waits for the next start."""
    if not keys:
        return {}
    return remembering(RESTART, str(instance["name"]), _last_start(instance), *sorted(keys))


def _last_start(instance: Json) -> str:
    return str(instance.get("last_used_at") or "-")
