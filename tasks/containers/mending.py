"""What has to be done to an instance that is there: set, take out, start, stop."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tasks.actual import Json
from tasks.containers.extras import Extras
from tasks.containers.remembered import (
    CONFIG,
    DEVICES,
    RESTART,
    memory_of_names,
    memory_of_restart,
    set_by_us,
    waiting_for_restart,
)
from tasks.containers.step import ContainerWrite, container_step
from tasks.containers.wanted import acts_at_start, wanted_config, wanted_devices
from tasks.instances import expanded, is_live, plugs_anew
from tasks.intent.model import Container, Profile
from tasks.plan import Step, mapping_diff


def plan_mending(
    container: Container, profiles: Mapping[str, Profile], actual: Json, removed: Extras
) -> Iterator[Step[ContainerWrite]]:
    """The steps from an instance to what is declared; ``removed`` is taken out of it."""
    status = str(actual.get("status", ""))
    update = _update(container, profiles, actual, removed)
    if update:
        yield update
    if container.running and status == "Frozen":
        yield container_step(
            container,
            ContainerWrite("unfreeze", container.name),
            detail="declared running, but frozen",
        )
    elif container.running and status != "Running":
        was = status.lower() or "stopped"
        yield container_step(
            container,
            ContainerWrite("start", container.name),
            detail=f"declared running, but {was}",
        )
    elif not container.running and status in ("Running", "Frozen"):
        yield container_step(
            container,
            ContainerWrite("stop", container.name),
            detail=f"declared stopped, but {status.lower()}",
        )


def waiting_keys(
    container: Container, actual: Json, steps: Collection[Step[ContainerWrite]]
) -> list[str]:
    """The keys that wait for a restart once the steps are done; a stop makes it unnecessary."""
    if not container.running:
        return []
    remembered = waiting_for_restart(actual)
    now = (key for step in steps for key in step.write.waiting)
    return sorted({*remembered, *now})


def _update(
    container: Container,
    profiles: Mapping[str, Profile],
    actual: Json,
    removed: Extras,
) -> Step[ContainerWrite] | None:
    """The step that sets what differs and takes out what is ``removed``, or None.

    What we set, and what waits for a restart, is remembered in the same write.
    """
    wanted, own = wanted_config(container, profiles), wanted_devices(container)
    config = _differing(wanted, actual.get("config") or {})
    devices = _differing(own, actual.get("devices") or {})
    before_profiles = tuple(actual.get("profiles") or ())
    reordered = before_profiles != container.profiles
    if not (config or devices or reordered or removed.config or removed.devices):
        return None
    late = _late(actual, (*config, *removed.config))
    after_it = {
        "profiles": container.profiles,
        "devices": {**_without(actual.get("devices") or {}, removed.devices), **devices},
    }
    given = {name: {"devices": profile.devices} for name, profile in profiles.items()}
    then = expanded(after_it, given).devices
    touched = then if reordered else then.keys() & {*devices, *removed.devices}
    plugged = _plugged_anew(actual, {name: then[name] for name in touched})
    memory = {
        **memory_of_names(
            container.name,
            set_by_us(actual, CONFIG).union(config) & wanted.keys(),
            set_by_us(actual, DEVICES).union(devices) & own.keys(),
        ),
        **memory_of_restart(actual, {*waiting_for_restart(actual), *late}),
    }
    forgotten = {CONFIG, DEVICES, RESTART}.intersection(actual.get("config") or {}) - memory.keys()
    write = ContainerWrite(
        "update",
        container.name,
        {**config, **memory},
        devices,
        without_config=(*removed.config, *sorted(forgotten)),
        without_devices=removed.devices,
        profiles=container.profiles if reordered else None,
        waiting=tuple(late),
        plugged=plugged,
    )
    before: dict[str, Any] = {
        "config": _present(actual.get("config") or {}, (*config, *removed.config)),
        "devices": _present(actual.get("devices") or {}, (*devices, *removed.devices)),
    }
    after: dict[str, Any] = {"config": dict(config), "devices": dict(devices)}
    if reordered:
        before["profiles"], after["profiles"] = list(before_profiles), list(container.profiles)
    return container_step(
        container,
        write,
        detail="; ".join(_said(write, config, removed)),
        diff=mapping_diff(before, after, f"container {container.name}"),
    )


def _said(write: ContainerWrite, config: Collection[str], removed: Extras) -> Iterator[str]:
    """What an update changes, in few words; ``config`` is without what we remember beside it."""
    names = [f"config {key}" for key in sorted(config)]
    names += [f"device {name}" for name in sorted(write.devices)]
    names += [f"no config {key}" for key in removed.config]
    names += [f"no device {name}" for name in removed.devices]
    if write.profiles is not None:
        names.append(said_profiles(write.profiles))
    yield ", ".join(names)
    if write.waiting:
        yield f"{', '.join(write.waiting)} {act(write.waiting)} at the next start"
    if write.plugged:
        are = "is" if len(write.plugged) == 1 else "are"
        yield f"{', '.join(write.plugged)} {are} plugged in anew at once"


def _without(devices: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: device for name, device in devices.items() if name not in names}


def _plugged_anew(actual: Json, devices: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The interfaces inside a running instance that LXD takes away and gives again, so that it has
    these devices, whoever gives them."""
    if not is_live(actual):
        return ()
    before = actual.get("expanded_devices") or {}
    return tuple(
        str(device.get("name", name))
        for name, device in sorted(devices.items())
        if device.get("type") == "nic"
        and before.get(name, {}).get("type") == "nic"
        and plugs_anew(before[name], device)
    )


def _late(actual: Json, keys: Collection[str]) -> list[str]:
    """Which of these config keys a container does not take up while it runs."""
    running = actual.get("status") in ("Running", "Frozen")
    return sorted(key for key in keys if acts_at_start(key)) if running else []


def act(keys: Collection[str]) -> str:
    """The verb for these keys."""
    return "acts" if len(keys) == 1 else "act"


def _differing(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if actual.get(key) != value}


def _present(actual: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: actual[key] for key in keys if key in actual}


def said_profiles(names: tuple[str, ...]) -> str:
    """A container's profiles, in words."""
    return f"profiles {', '.join(names)}" if names else "no profiles"
