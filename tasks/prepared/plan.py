"""Which prepared images an LXD host lacks for the containers that are about to be created on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.actual import LxdFacts
from tasks.images.prepared import prepared_alias, prepared_aliases, prepared_image
from tasks.images.targets import targets_of
from tasks.intent.model import Container, Image, Profile
from tasks.ownership import BUILDER_KEY
from tasks.plan import Plan, Step, mapping_diff

#: How the containers are called in which images are prepared.
BUILDER = "prepare-"


@dataclass(frozen=True)
class PreparedWrite:
    """One write: make the prepared image of that ``alias`` in a container of its own, or copy it
    from the host that has made it (``prepare``); point the alias at what a killed run has made;
    or delete the container ``builder`` that one has left.

    ``container`` is the one whose profiles, network and recipe the builder has.
    """

    method: Literal["prepare", "alias", "delete"]
    alias: str = ""
    container: Container | None = None
    fingerprint: str = ""
    source: str = ""
    builder: str = ""


def plan_prepared(
    containers: Collection[Container],
    images: Mapping[str, Image],
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    *,
    others: Mapping[str, LxdFacts],
    now: datetime,
) -> Plan[PreparedWrite]:
    """The steps to have every prepared image that a container to be created starts from.

    Arguments:
        containers: those of this run that are declared on the host, in the inventory's order.
        images: all images of the inventory, by name.
        profiles: all profiles of the inventory, by name.
        facts: what was read of LXD on the host; empty for a host that has no LXD yet.
        others: the same of the fleet's other LXD hosts that could be read, in its order.
        now: the time, by which an image may be too old.

    Nothing is prepared where every container is there: it is for those that are created.
    """
    steps = [*_left(facts)]
    new = _new(containers, facts, others)
    for alias, container in prepared_aliases(new, images, profiles).items():
        image = images[container.image]
        there = prepared_image(image, alias, facts, now)
        if there and targets_of(facts).get(alias) == there:
            continue
        steps.append(_step(alias, container, there, _elsewhere(image, alias, facts, others, now)))
    reason = "" if steps else "no image has to be prepared"
    return Plan(tuple(steps), reason=reason)


def waiting_for(
    plan: Plan[PreparedWrite],
    containers: Iterable[Container],
    images: Mapping[str, Image],
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    *,
    others: Mapping[str, LxdFacts],
) -> frozenset[str]:
    """The containers to be created that start from an image which the plan is to prepare; the
    arguments are those of :func:`plan_prepared`."""
    coming = {step.write.alias for step in plan.steps if step.write.alias}
    return frozenset(
        container.name
        for container in _new(containers, facts, others)
        if images[container.image].prepare and prepared_alias(container, profiles) in coming
    )


def _new(
    containers: Iterable[Container], facts: LxdFacts, others: Mapping[str, LxdFacts]
) -> list[Container]:
    everywhere = {name for lxd in (facts, *others.values()) for name in lxd.instances}
    return [container for container in containers if container.name not in everywhere]


def _left(facts: LxdFacts) -> Iterator[Step[PreparedWrite]]:
    for name, instance in facts.instances.items():
        if (instance.get("config") or {}).get(BUILDER_KEY) == name:
            yield Step(
                "delete",
                f"container {name}",
                PreparedWrite("delete", builder=name),
                detail="in which an earlier run, which was killed, prepared an image",
                diff=mapping_diff({"container": name}, {}, f"container {name}"),
            )


def _elsewhere(
    image: Image, alias: str, facts: LxdFacts, others: Mapping[str, LxdFacts], now: datetime
) -> tuple[str, str]:
    """Another host that has it, made from the very image that this host has, and which it is."""
    base = targets_of(facts).get(image.name)
    for name, lxd in others.items():
        there = prepared_image(image, alias, lxd, now)
        if there and base == targets_of(lxd).get(image.name):
            return name, there
    return "", ""


def _step(
    alias: str, container: Container, there: str, elsewhere: tuple[str, str]
) -> Step[PreparedWrite]:
    source, fingerprint = elsewhere
    method: Literal["prepare", "alias"] = "alias" if there else "prepare"
    if there:
        detail = "made by an earlier run, which was killed"
    elif source:
        detail = f"copied from {source}"
    else:
        detail = f"{container.image} bootstrapped once, with the network of {container.name}"
    return Step(
        "create",
        f"image {alias}",
        PreparedWrite(method, alias, container, there or fingerprint, source),
        detail=detail,
        diff=mapping_diff({}, {"alias": alias, "image": container.image}, f"image {alias}"),
    )
