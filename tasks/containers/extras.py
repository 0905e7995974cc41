"""What an instance has of its own and the inventory has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.actual import Json
from tasks.containers.remembered import CONFIG, DEVICES, FILLED_IN, set_by_us
from tasks.containers.wanted import wanted_config, wanted_devices
from tasks.intent.model import Container, Profile
from tasks.ownership import unmarked


@dataclass(frozen=True)
class Extras:
    """Names; ``root`` is its root disk, which says where it lies: it is never taken out."""

    config: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    root: tuple[str, ...] = ()

    def notes(self, container: str, *, ours: bool) -> Iterator[str]:
        """What is said of extras that stay; ``ours`` is an instance that we created."""
        what = "--prune takes it out" if ours else "we did not create the container, it stays"
        for extra in (
            *(f"config {k}" for k in self.config),
            *(f"device {n}" for n in self.devices),
        ):
            yield f"container {container} has {extra}, which is not in the inventory; {what}"
        for name in self.root:
            yield f"container {container} has a root disk of its own, device {name}; it stays"


def extras_of(
    container: Container, profiles: Mapping[str, Profile], actual: Json, *, everything: bool
) -> tuple[Extras, Extras]:
    """What is to be taken out of an instance, and what stays.

    What we set and the inventory has no longer is taken out, with ``everything`` the rest as well.
    """
    config, devices = wanted_config(container, profiles), wanted_devices(container)
    theirs = {n: d for n, d in (actual.get("devices") or {}).items() if n not in devices}
    root = tuple(n for n, d in theirs.items() if d.get("type") == "disk" and d.get("path") == "/")
    keys = [
        key
        for key in sorted(unmarked(actual.get("config") or {}))
        if key not in config and not key.startswith(FILLED_IN)
    ]
    names = sorted(theirs.keys() - set(root))
    our_keys, our_devices = set_by_us(actual, CONFIG), set_by_us(actual, DEVICES)
    removed = Extras(
        tuple(key for key in keys if everything or key in our_keys),
        tuple(name for name in names if everything or name in our_devices),
    )
    left = Extras(
        tuple(key for key in keys if key not in removed.config),
        tuple(name for name in names if name not in removed.devices),
        root,
    )
    return removed, left
