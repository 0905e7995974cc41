"""What has to be done to one container on its LXD host.

Compared is what the inventory declares: its config keys one by one, its own devices each as a
whole, its profiles as a list in their order. What LXD fills in (``volatile.*``, ``image.*``) and
what others have set stays out of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.actual import Json, LxdFacts
from tasks.containers.wanted import acts_at_start, wanted_config, wanted_devices
from tasks.errors import FleetError
from tasks.intent.model import Container, LxdHost, Profile
from tasks.ownership import marked
from tasks.plan import Plan, Step, mapping_diff


@dataclass(frozen=True)
class ContainerWrite:
    """One write of the container of that name.

    ``config`` and ``devices`` of an update are what is set, nothing else is touched; ``profiles``
    is None where they stay. ``image`` is the alias that a create starts from, ``rename`` the new
    name of a retired one.
    """

    action: Literal["create", "update", "start", "unfreeze", "stop", "retire"]
    container: str
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    profiles: tuple[str, ...] | None = None
    image: str = ""
    rename: str = ""


def plan_container(
    container: Container,
    host: LxdHost,
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    *,
    others: Collection[str] = (),
    unread: Collection[str] = (),
) -> Plan[ContainerWrite]:
    """Compare a container with the instance of its name on its LXD host.

    Arguments:
        container: what the inventory declares.
        host: the LXD host that it is declared on.
        profiles: all profiles of the inventory, by name.
        facts: what was read of LXD on that host; empty for a host that has no LXD yet.
        others: the other LXD hosts that have an instance of that name.
        unread: the other LXD hosts that could not be read, where it could be too.

    Raises :class:`FleetError` for a container that is on another host than it is declared on.
    """
    actual = facts.instances.get(container.name)
    found = ", ".join(sorted(others))
    if actual is None and others:
        raise FleetError(
            f"container {container.name} is declared on {host.name} and found on {found}; nothing "
            "is created",
            where=host.name,
            remedy=f"correct its 'on', or move it (lxc move {found}:{container.name} "
            f"{host.name}:{container.name})",
        )
    if actual is None:
        unseen = f"not looked for on {', '.join(sorted(unread))}, which could not be read"
        notes = (unseen,) if unread else ()
        return Plan(tuple(_creation(container, profiles)), notes=notes)
    notes = (f"container {container.name} is on {found} too",) if others else ()
    steps = tuple(_mending(container, profiles, actual))
    state = "running" if container.running else "stopped"
    return Plan(steps, reason="" if steps else f"{state} as declared", notes=notes)


def _creation(
    container: Container, profiles: Mapping[str, Profile]
) -> Iterator[Step[ContainerWrite]]:
    config, devices = wanted_config(container, profiles), wanted_devices(container)
    shown: dict[str, Any] = {
        "image": container.image,
        "profiles": list(container.profiles),
        "config": config,
        "devices": devices,
    }
    yield _step(
        container,
        ContainerWrite(
            "create",
            container.name,
            marked(config),
            devices,
            container.profiles,
            container.image,
        ),
        detail=f"from {container.image}, {_profiles(container.profiles)}",
        diff=mapping_diff({}, shown, f"container {container.name}"),
    )
    if container.running:
        yield _step(container, ContainerWrite("start", container.name))


def _mending(
    container: Container, profiles: Mapping[str, Profile], actual: Json
) -> Iterator[Step[ContainerWrite]]:
    status = str(actual.get("status", ""))
    update = _update(container, profiles, actual, running=status in ("Running", "Frozen"))
    if update:
        yield update
    if container.running and status == "Frozen":
        yield _step(
            container,
            ContainerWrite("unfreeze", container.name),
            detail="declared running, but frozen",
        )
    elif container.running and status != "Running":
        was = status.lower() or "stopped"
        yield _step(
            container,
            ContainerWrite("start", container.name),
            detail=f"declared running, but {was}",
        )
    elif not container.running and status in ("Running", "Frozen"):
        yield _step(
            container,
            ContainerWrite("stop", container.name),
            detail=f"declared stopped, but {status.lower()}",
        )


def _update(
    container: Container, profiles: Mapping[str, Profile], actual: Json, *, running: bool
) -> Step[ContainerWrite] | None:
    """The step that sets what differs, or None."""
    config = _differing(wanted_config(container, profiles), actual.get("config") or {})
    devices = _differing(wanted_devices(container), actual.get("devices") or {})
    before_profiles = tuple(actual.get("profiles") or ())
    reordered = before_profiles != container.profiles
    if not (config or devices or reordered):
        return None
    before: dict[str, Any] = {
        "config": _present(actual.get("config") or {}, config),
        "devices": _present(actual.get("devices") or {}, devices),
    }
    after: dict[str, Any] = {"config": dict(config), "devices": dict(devices)}
    if reordered:
        before["profiles"], after["profiles"] = list(before_profiles), list(container.profiles)
    return _step(
        container,
        ContainerWrite(
            "update", container.name, config, devices, container.profiles if reordered else None
        ),
        detail="; ".join(
            _said(config, devices, container.profiles if reordered else None, running)
        ),
        diff=mapping_diff(before, after, f"container {container.name}"),
    )


def _said(
    config: Mapping[str, str],
    devices: Mapping[str, Mapping[str, str]],
    profiles: tuple[str, ...] | None,
    running: bool,
) -> Iterator[str]:
    """What an update changes, in few words."""
    names = [f"config {key}" for key in sorted(config)]
    names += [f"device {name}" for name in sorted(devices)]
    if profiles is not None:
        names.append(_profiles(profiles))
    yield ", ".join(names)
    late = sorted(key for key in config if acts_at_start(key))
    if late and running:
        yield f"{', '.join(late)} {'acts' if len(late) == 1 else 'act'} at the next start"


def _differing(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if actual.get(key) != value}


def _present(actual: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: actual[key] for key in keys if key in actual}


def _profiles(names: tuple[str, ...]) -> str:
    return f"profiles {', '.join(names)}" if names else "no profiles"


def _step(
    container: Container, write: ContainerWrite, *, detail: str = "", diff: str = ""
) -> Step[ContainerWrite]:
    return Step(write.action, f"container {container.name}", write, detail, diff)
