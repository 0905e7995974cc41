"""A container on another LXD host than it is declared on: moved where that is asked for by name.

It is stopped where it is, copied whole to where it is declared, mended and started there; only when
it is up again the former one is renamed and let go of. What has begun is remembered on both: the
former instance names the host that it moves to, the copy that it is not whole yet. So a run that is
killed is finished by the next one, without being asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from tasks.actual import Json, LxdFacts
from tasks.containers.departed import free_name
from tasks.containers.remembered import COPYING, MOVING
from tasks.containers.step import ContainerWrite, container_step
from tasks.containers.wanted import wanted_devices
from tasks.errors import FleetError
from tasks.intent.model import Container
from tasks.plan import Step, mapping_diff

AUTOSTART = "boot.autostart"


@dataclass(frozen=True)
class Elsewhere:
    """Where an instance of a container's name is besides its own host.

    ``names`` are those LXD hosts. ``source`` is the one that it moves from, "" for none, with the
    ``instance`` there and the names that are ``taken`` there.
    """

    names: tuple[str, ...] = ()
    source: str = ""
    instance: Json = field(default_factory=dict)
    taken: frozenset[str] = frozenset()


def find_elsewhere(
    container: Container, others: Mapping[str, LxdFacts], *, asked: bool
) -> Elsewhere:
    """Look for a container on the other LXD hosts; it moves from one where a run has begun to, or
    where that is ``asked`` for and there is only one."""
    name = container.name
    names = tuple(sorted(host for host, lxd in others.items() if name in lxd.instances))
    source = next((h for h in names if _moves(others[h].instances[name], container.on)), "")
    if not source and asked and len(names) == 1:
        source = names[0]
    if not source:
        return Elsewhere(names)
    there = others[source].instances
    return Elsewhere(names, source, there[name], frozenset(there))


def _moves(instance: Json, host: str) -> bool:
    return _remembered(instance, MOVING)[:2] == [str(instance["name"]), host]


def begun_to_move(instance: Json) -> bool:
    """Whether a run has begun to move an instance away, wherever to."""
    return _remembered(instance, MOVING)[:1] == [str(instance["name"])]


def is_half(instance: Json) -> bool:
    """Whether an instance is a copy that is not whole yet."""
    return _remembered(instance, COPYING) == [str(instance["name"])]


def move_step(container: Container, found: Elsewhere) -> Step[ContainerWrite]:
    """The step that brings a container here from the LXD host that has it."""
    return container_step(
        container,
        ContainerWrite("move", container.name, host=found.source),
        detail=f"from {found.source}, where it is stopped",
        diff=mapping_diff(
            {"host": found.source}, {"host": container.on}, f"container {container.name}"
        ),
    )


def retirement(container: Container, found: Elsewhere, today: date) -> Step[ContainerWrite]:
    """The step that lets go of the former instance on the host that had it."""
    new = free_name(container.name, found.taken, today, why="moved")
    return container_step(
        container,
        ContainerWrite("retire", container.name, rename=new, host=found.source),
        detail=f"on {found.source}, kept as {new}",
    )


def copy_of(container: Container, instance: Json) -> Json:
    """What LXD has right after the copy: stopped, with the declared profiles and devices."""
    config = {key: value for key, value in config_of_copy(instance).items() if key != COPYING}
    return {
        **instance,
        "status": "Stopped",
        "profiles": list(container.profiles),
        "config": config,
        "devices": devices_of_copy(container, instance),
    }


def devices_of_copy(container: Container, instance: Json) -> dict[str, dict[str, str]]:
    """The instance's own devices, with those that are declared: another host, another pool."""
    return {**(instance.get("devices") or {}), **wanted_devices(container)}


def see_that_it_can_move(container: Container, found: Elsewhere) -> None:
    """See that all that a container works on comes along.

    Raises :class:`FleetError` for a disk besides its root disk: a folder of the host or a volume
    stays where it is, and the container would start with an empty one or not at all.
    """
    for name, device in devices_of_copy(container, found.instance).items():
        if device.get("type") == "disk" and device.get("path") != "/" and device.get("source"):
            raise FleetError(
                f"container {container.name} is not moved from {found.source}: its disk {name} "
                f"({device['source']}) stays there",
                where=container.on,
                remedy=f"bring what is in it to {container.on}, take the device out of the "
                "inventory for the move, and declare it again",
            )


def config_while_moving(instance: Json, host: str) -> dict[str, str]:
    """The config keys that the former instance gets before it is stopped."""
    ran = "running" if ran_before(instance) else "stopped"
    words = (str(instance["name"]), host, autostart_of(instance) or "-", ran)
    return {MOVING: " ".join(words), AUTOSTART: "false"}


def autostart_of(instance: Json) -> str:
    """Its ``boot.autostart`` before it was to be moved; "" where it had none."""
    words = _remembered(instance, MOVING)
    before = words[2] if words else str((instance.get("config") or {}).get(AUTOSTART, "-"))
    return "" if before == "-" else before


def ran_before(instance: Json) -> bool:
    """Whether it ran before it was to be moved."""
    words = _remembered(instance, MOVING)
    return words[3] == "running" if words else instance.get("status") != "Stopped"


def write_back(instance: Json) -> ContainerWrite:
    """The write after which an instance is as it was before it was to be moved."""
    autostart = autostart_of(instance)
    kept = {AUTOSTART: autostart} if autostart else {}
    gone = (MOVING,) if autostart else (MOVING, AUTOSTART)
    return ContainerWrite("update", str(instance["name"]), kept, without_config=gone)


def given_up(container: Container, instance: Json) -> tuple[Step[ContainerWrite], Json]:
    """The step for one that is declared again where a move of it had begun, and what it is then."""
    write = write_back(instance)
    config = {**(instance.get("config") or {}), **write.config}
    after = {key: value for key, value in config.items() if key not in write.without_config}
    step = container_step(
        container,
        write,
        detail="a move of it had begun, and it is declared here",
        diff=mapping_diff(instance.get("config") or {}, after, f"container {container.name}"),
    )
    return step, {**instance, "config": after}


def config_of_copy(instance: Json) -> dict[str, str]:
    """What a copy has from the start: all that is the container's own, its MACs, and that it is not
    whole yet. The rest of ``volatile.*`` is about the former host."""
    config = dict(_carried(instance))
    if before := autostart_of(instance):
        config[AUTOSTART] = before
    return {**config, COPYING: str(instance["name"])}


def _carried(instance: Json) -> Iterator[tuple[str, str]]:
    for key, value in (instance.get("config") or {}).items():
        volatile = key.startswith("volatile.") and not key.endswith((".hwaddr", ".base_image"))
        if not volatile and key not in (MOVING, COPYING, AUTOSTART):
            yield key, str(value)


def _remembered(instance: Json, key: str) -> list[str]:
    """The words of what is remembered; none where somebody has changed them."""
    words = str((instance.get("config") or {}).get(key, "")).split()
    return words if len(words) == _WORDS[key] else []


_WORDS = {MOVING: 4, COPYING: 1}
