"""What has to be done to one container on its LXD host.

Compared is what the inventory declares: its config keys one by one, its own devices each as a
whole, its profiles as a list in their order. What LXD fills in (``volatile.*``, ``image.*``) stays
out of it. What is there besides, because it left the inventory or others have set it, is noted;
with ``--prune`` it is taken out of an instance that we created.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tasks.actual import Json, LxdFacts
from tasks.containers.wanted import acts_at_start, wanted_config, wanted_devices
from tasks.errors import FleetError
from tasks.intent.model import Container, LxdHost, Profile
from tasks.ownership import created_by_us, marked, unmarked
from tasks.plan import Plan, Step, mapping_diff

#: What LXD itself puts into an instance's config.
FILLED_IN = ("volatile.", "image.")


@dataclass(frozen=True)
class ContainerWrite:
    """One write of the container of that name.

    ``config`` and ``devices`` of an update are what is set, ``without_config`` and
    ``without_devices`` the names of what is taken out, nothing else is touched; ``profiles`` is
    None where they stay. ``image`` is the alias that a create starts from, ``rename`` the new name
    of a retired one.
    """

    action: Literal["create", "update", "start", "unfreeze", "stop", "retire"]
    container: str
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    without_config: tuple[str, ...] = ()
    without_devices: tuple[str, ...] = ()
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
    prune: bool = False,
) -> Plan[ContainerWrite]:
    """Compare a container with the instance of its name on its LXD host.

    Arguments:
        container: what the inventory declares.
        host: the LXD host that it is declared on.
        profiles: all profiles of the inventory, by name.
        facts: what was read of LXD on that host; empty for a host that has no LXD yet.
        others: the other LXD hosts that have an instance of that name.
        unread: the other LXD hosts that could not be read, where it could be too.
        prune: take config keys and devices out of an instance that we created, which the inventory
            has not.

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
        return Plan(tuple(_creation(container, profiles)), notes=(unseen,) if unread else ())
    notes = [f"container {container.name} is on {found} too"] if others else []
    notes += _another_image(container, actual, facts)
    extras = _extras(container, profiles, actual)
    ours = created_by_us(actual)
    removed = _Extras()
    if prune and ours:
        removed, extras = replace(extras, root=()), _Extras(root=extras.root)
    notes += extras.notes(container.name, ours=ours)
    steps = tuple(_mending(container, profiles, actual, removed))
    state = "running" if container.running else "stopped"
    return Plan(steps, reason="" if steps else f"{state} as declared", notes=tuple(notes))


def _another_image(container: Container, actual: Json, facts: LxdFacts) -> Iterator[str]:
    """A note where it was made from an image that has another name than the declared one.

    One without any name is an earlier one of the same name, which need not be told in every run.
    """
    fingerprint = (actual.get("config") or {}).get("volatile.base_image", "")
    aliases = facts.images.get(fingerprint, {}).get("aliases") or ()
    names = [str(alias["name"]) for alias in aliases]
    if names and container.image not in names:
        yield (
            f"container {container.name} was made from {names[0]}, and {container.image} is "
            "declared; it is made from that only after you have deleted it"
        )


@dataclass(frozen=True)
class _Extras:
    """The names of what an instance has of its own and the inventory has not.

    ``root`` is its root disk, which says where it lies: it is never taken out.
    """

    config: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    root: tuple[str, ...] = ()

    def notes(self, container: str, *, ours: bool) -> Iterator[str]:
        what = "--prune takes it out" if ours else "we did not create the container, it stays"
        for extra in (
            *(f"config {k}" for k in self.config),
            *(f"device {n}" for n in self.devices),
        ):
            yield f"container {container} has {extra}, which is not in the inventory; {what}"
        for name in self.root:
            yield f"container {container} has a root disk of its own, device {name}; it stays"


def _extras(container: Container, profiles: Mapping[str, Profile], actual: Json) -> _Extras:
    config, devices = wanted_config(container, profiles), wanted_devices(container)
    theirs = {n: d for n, d in (actual.get("devices") or {}).items() if n not in devices}
    root = tuple(n for n, d in theirs.items() if d.get("type") == "disk" and d.get("path") == "/")
    return _Extras(
        config=tuple(
            key
            for key in sorted(unmarked(actual.get("config") or {}))
            if key not in config and not key.startswith(FILLED_IN)
        ),
        devices=tuple(sorted(theirs.keys() - set(root))),
        root=root,
    )


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
            marked(container.name, config),
            devices,
            profiles=container.profiles,
            image=container.image,
        ),
        detail=f"from {container.image}, {_profiles(container.profiles)}",
        diff=mapping_diff({}, shown, f"container {container.name}"),
    )
    if container.running:
        yield _step(container, ContainerWrite("start", container.name))


def _mending(
    container: Container, profiles: Mapping[str, Profile], actual: Json, removed: _Extras
) -> Iterator[Step[ContainerWrite]]:
    status = str(actual.get("status", ""))
    update = _update(container, profiles, actual, removed, running=status in ("Running", "Frozen"))
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
    container: Container,
    profiles: Mapping[str, Profile],
    actual: Json,
    removed: _Extras,
    *,
    running: bool,
) -> Step[ContainerWrite] | None:
    """The step that sets what differs and takes out what is ``removed``, or None."""
    config = _differing(wanted_config(container, profiles), actual.get("config") or {})
    devices = _differing(wanted_devices(container), actual.get("devices") or {})
    before_profiles = tuple(actual.get("profiles") or ())
    reordered = before_profiles != container.profiles
    write = ContainerWrite(
        "update",
        container.name,
        config,
        devices,
        without_config=removed.config,
        without_devices=removed.devices,
        profiles=container.profiles if reordered else None,
    )
    if not (config or devices or reordered or removed.config or removed.devices):
        return None
    before: dict[str, Any] = {
        "config": _present(actual.get("config") or {}, (*config, *removed.config)),
        "devices": _present(actual.get("devices") or {}, (*devices, *removed.devices)),
    }
    after: dict[str, Any] = {"config": dict(config), "devices": dict(devices)}
    if reordered:
        before["profiles"], after["profiles"] = list(before_profiles), list(container.profiles)
    return _step(
        container,
        write,
        detail="; ".join(_said(write, running)),
        diff=mapping_diff(before, after, f"container {container.name}"),
    )


def _said(write: ContainerWrite, running: bool) -> Iterator[str]:
    """What an update changes, in few words."""
    names = [f"config {key}" for key in sorted(write.config)]
    names += [f"device {name}" for name in sorted(write.devices)]
    names += [f"no config {key}" for key in write.without_config]
    names += [f"no device {name}" for name in write.without_devices]
    if write.profiles is not None:
        names.append(_profiles(write.profiles))
    yield ", ".join(names)
    late = sorted(key for key in (*write.config, *write.without_config) if acts_at_start(key))
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
