"""What has to be done to one container on its LXD host.

Compared is what the inventory declares: its config keys one by one, its own devices each as a
whole, its profiles as a list in their order. What LXD fills in (``volatile.*``, ``image.*``) stays
out of it. What we have set and left the inventory is taken out again; what others have set is
noted, and with ``--prune`` taken out of an instance that we created. A key that acts at a start
waits for one, and is noted until then; with ``--allow-restart`` the container is restarted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any

from tasks.actual import Json, LxdFacts
from tasks.containers.extras import extras_of
from tasks.containers.mending import act, plan_mending, said_profiles, waiting_keys
from tasks.containers.moving import (
    Elsewhere,
    begun_to_move,
    copy_of,
    find_elsewhere,
    given_up,
    is_half,
    move_step,
    retirement,
    see_that_it_can_move,
)
from tasks.containers.remembered import memory_of_names
from tasks.containers.step import ContainerWrite, container_step
from tasks.containers.wanted import wanted_config, wanted_devices
from tasks.errors import FleetError
from tasks.images.prepared import base_name
from tasks.intent.model import Container, Profile
from tasks.ownership import created_by_us, marked
from tasks.plan import Plan, Step, mapping_diff


def plan_container(
    container: Container,
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    *,
    others: Mapping[str, LxdFacts] | None = None,
    unread: Collection[str] = (),
    known_in: str = "",
    start_from: str = "",
    move: bool = False,
    today: date | None = None,
    prune: bool = False,
    allow_restart: bool = False,
) -> Plan[ContainerWrite]:
    """Compare a container with the instance of its name on its LXD host.

    Arguments:
        container: what the inventory declares.
        profiles: all profiles of the inventory, by name.
        facts: what was read of LXD on that host; empty for a host that has no LXD yet.
        others: what was read of the other LXD hosts, by name.
        unread: the other LXD hosts that could not be read, where it could be too.
        known_in: the file that has its SSH host key from an earlier bootstrap; "" for one that was
            never seen.
        move: move it here where another host has it.
        today: the date for the new name of what is left there.
        start_from: the alias of the image that it is created from; the declared one's without it.
        prune: take config keys and devices out of an instance that we created, which the inventory
            has not, whoever set them.
        allow_restart: restart it where a change waits for that.

    Raises :class:`FleetError` for a container that is on another host than it is declared on, or
    that was there before and may be on one that could not be read.
    """
    actual = facts.instances.get(container.name)
    found = find_elsewhere(container, others or {}, asked=move)
    if actual is None or is_half(actual):
        if found.source:
            return _move(container, profiles, found, today or date.today(), prune=prune)
        if actual or found.names:
            raise _not_here(container, found)
        if unread and known_in:
            raise _not_found(container, sorted(unread), known_in)
        unseen = f"not looked for on {', '.join(sorted(unread))}, which could not be read"
        creation = _creation(container, profiles, start_from or container.image)
        return Plan(tuple(creation), notes=(unseen,) if unread else ())
    notes = []
    if found.names and not found.source:
        notes.append(f"container {container.name} is on {', '.join(found.names)} too")
    notes += _another_image(container, actual, facts)
    back: tuple[Step[ContainerWrite], ...] = ()
    if begun_to_move(actual):
        step, actual = given_up(container, actual)
        back = (step,)
    ours = created_by_us(actual)
    removed, left = extras_of(container, profiles, actual, everything=prune and ours)
    notes += left.notes(container.name, ours=ours)
    steps = [*back, *plan_mending(container, profiles, actual, removed)]
    if found.source:  # what a killed run did not come to
        steps.append(retirement(container, found, today or date.today()))
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


def _not_here(container: Container, found: Elsewhere) -> FleetError:
    name, host, places = container.name, container.on, ", ".join(found.names)
    if not places:
        return FleetError(
            f"container {name} is half a copy, and no host that could be read has the whole",
            where=host,
            remedy="bring back the host that it was to be moved from, then run again; if there is "
            f"none, delete the copy: lxc delete {host}:{name}",
        )
    return FleetError(
        f"container {name} is declared on {host} and found on {places}; nothing is created",
        where=host,
        remedy=f"correct its 'on', or have it moved: --move {name}"
        if len(found.names) == 1
        else "look which of them is the right one, and rename the others",
    )


def _not_found(container: Container, unread: list[str], known_in: str) -> FleetError:
    """It would come into being a second time, empty."""
    name, places = container.name, ", ".join(unread)
    return FleetError(
        f"container {name} was raised before, is on no LXD host that could be read, and may be on "
        f"{places}, which could not be read; nothing is created",
        where=container.on,
        remedy=f"bring {places} back; or restore its backup: maintain.py restore --limit {name} "
        f"--to {container.on}; or, to have it made anew and empty, forget it: ssh-keygen -f "
        f"{known_in} -R {name}",
    )


def _move(
    container: Container,
    profiles: Mapping[str, Profile],
    found: Elsewhere,
    today: date,
    *,
    prune: bool,
) -> Plan[ContainerWrite]:
    """From the instance on another host to what is declared here: moved, then mended."""
    see_that_it_can_move(container, found)
    copy = copy_of(container, found.instance)
    ours = created_by_us(found.instance)
    removed, left = extras_of(container, profiles, copy, everything=prune and ours)
    steps = (
        move_step(container, found),
        *plan_mending(container, profiles, copy, removed),
        retirement(container, found, today),
    )
    return Plan(steps, notes=tuple(left.notes(container.name, ours=ours)))


def _another_image(container: Container, actual: Json, facts: LxdFacts) -> Iterator[str]:
    """A note where it was made from an image that has another name than the declared one.

    One without any name is an earlier one of the same name, which need not be told in every run.
    """
    fingerprint = (actual.get("config") or {}).get("volatile.base_image", "")
    document = facts.images.get(fingerprint, {})
    names = [str(alias["name"]) for alias in document.get("aliases") or ()]
    if names and container.image not in (*names, base_name(document)):
        yield (
            f"container {container.name} was made from {names[0]}, and {container.image} is "
            "declared; it is made from that only after you have deleted it"
        )


def _creation(
    container: Container, profiles: Mapping[str, Profile], image: str
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
            image=image,
        ),
        detail=f"from {container.image}, {said_profiles(container.profiles)}",
        diff=mapping_diff({}, shown, f"container {container.name}"),
    )
    if container.running:
        yield container_step(container, ContainerWrite("start", container.name))
