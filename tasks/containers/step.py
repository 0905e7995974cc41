"""One step of a container, and the write that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tasks.intent.model import Container
from tasks.plan import Step


@dataclass(frozen=True)
class ContainerWrite:
    """One write of the container of that name.

    ``config`` and ``devices`` of an update are what is set, ``without_config`` and
    ``without_devices`` the names of what is taken out, nothing else is touched; ``profiles`` is
    None where they stay. ``image`` is the alias that a create starts from, ``rename`` the new name
    of a retired one, ``waiting`` are the keys of an update that act at the next start, ``plugged``
    the interfaces inside that LXD unplugs and plugs in anew for it. ``host`` is the LXD host that a
    move comes from, or that has what is retired after it.
    """

    action: Literal["create", "update", "start", "restart", "unfreeze", "stop", "retire", "move"]
    container: str
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    without_config: tuple[str, ...] = ()
    without_devices: tuple[str, ...] = ()
    profiles: tuple[str, ...] | None = None
    image: str = ""
    rename: str = ""
    waiting: tuple[str, ...] = ()
    plugged: tuple[str, ...] = ()
    host: str = ""


def container_step(
    container: Container, write: ContainerWrite, *, detail: str = "", diff: str = ""
) -> Step[ContainerWrite]:
    """The step of a declared container that carries out one write."""
    return Step(write.action, f"container {container.name}", write, detail, diff)
