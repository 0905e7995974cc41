"""What has to be done to one container on its LXD host.

Compared is what the inventory declares: its config keys one by one, its own devices each as a
whole, its profiles as a list in their order. What LXD fills in (``volatile.*``, ``image.*``) stays
out of it. What we have set and left the inventory is taken out again; what others have set is
noted, and with ``--prune`` taken out of an instance that we created. A key that acts at a start
waits for one, and is noted until then; with ``--allow-restart`` the container is restarted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tasks.actual import Json, LxdFacts
from tasks.containers.extras import extras_of
from tasks.containers.mending import act, plan_mending, said_profiles, waiting_keys
from tasks.containers.remembered import memory_of_names
from tasks.containers.step import ContainerWrite, container_step
from tasks.containers.wanted import wanted_config, wanted_devices
from tasks.errors import FleetError
from tasks.intent.model import Container, LxdHost, Profile
from tasks.ownership import created_by_us, marked
from tasks.plan import Plan, Step, mapping_diff


def plan_container(
    container: Container,
    host: LxdHost,
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    *,
    others: Collection[str] = (),
    unread: Collection[str] = (),
    prune: bool = False,
    allow_restart: bool = False,
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
            has not, whoever set them.
        allow_restart: restart it where a change waits for that.

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
    ours = created_by_us(actual)
    removed, left = extras_of(container, profiles, actual, everything=prune and ours)
    notes += left.notes(container.name, ours=ours)
    steps = [*plan_mending(container, profiles, actual, removed)]
    waiting = waiting_keys(container, actual, steps)
    if waiting and allow_restart and actual.get("status") == "Running":
        steps.append(
            container_step(
                container,
                ContainerWrite("restart", container.name),
                detail=f"{', '.join(waiting)} {act(waiting)} only then",
            )
        )
    elif waiting:
        notes.append(
            f"container {container.name} runs without its new {', '.join(waiting)}, which "
            f"{act(waiting)} at its next start; --allow-restart restarts it"
        )
    state = "running" if container.running else "stopped"
    return Plan(tuple(steps), reason="" if steps else f"{state} as declared", notes=tuple(notes))


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
    yield container_step(
        container,
        ContainerWrite(
            "create",
            container.name,
            {**marked(container.name, config), **memory_of_names(container.name, config, devices)},
            devices,
            profiles=container.profiles,
            image=container.image,
        ),
        detail=f"from {container.image}, {said_profiles(container.profiles)}",
        diff=mapping_diff({}, shown, f"container {container.name}"),
    )
    if container.running:
        yield container_step(container, ContainerWrite("start", container.name))
