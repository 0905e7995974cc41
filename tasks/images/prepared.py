"""Prepared images: an image after one bootstrap, from which the next containers start.

It is known by its alias, which follows from the image's name and from the recipe: what a bootstrap
installs, and what cloud-init does on the way. A property of it says from which version of the image
it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from tasks.actual import Json, LxdFacts
from tasks.images.targets import targets_of
from tasks.intent.model import Container, Image, Profile
from tasks.ownership import IMAGE_PROPERTY

#: Its properties: the alias that it was made for, the image's name, and the image's fingerprint.
PREPARED = f"{IMAGE_PROPERTY}.prepared"
BASE_NAME = f"{IMAGE_PROPERTY}.image"
BASE = f"{IMAGE_PROPERTY}.base"
#: What a bootstrap does besides the recipe; another number makes all prepared images anew.
VERSION = 1
#: Config keys by which cloud-init is told what to do, in old and new images.
TOLD_TO_CLOUD_INIT = (
    "cloud-init.user-data",
    "cloud-init.vendor-data",
    "user.user-data",
    "user.vendor-data",
)


def prepared_alias(container: Container, profiles: Mapping[str, Profile]) -> str:
    """The alias of the prepared image that a container starts from."""
    config: dict[str, str] = {}
    for name in container.profiles:
        config.update(profiles[name].config if name in profiles else {})
    config.update(container.config)
    bootstrap = container.bootstrap
    recipe = [
        VERSION,
        bootstrap.upgrade,
        sorted(bootstrap.packages),
        {key: config[key] for key in TOLD_TO_CLOUD_INIT if key in config},
    ]
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return f"{container.image}-prepared-{digest[:12]}"


def prepared_aliases(
    containers: Iterable[Container], images: Mapping[str, Image], profiles: Mapping[str, Profile]
) -> dict[str, Container]:
    """Alias -> the first of the containers that starts from that prepared image."""
    first: dict[str, Container] = {}
    for container in containers:
        if container.image in images and images[container.image].prepare:
            first.setdefault(prepared_alias(container, profiles), container)
    return first


def prepared_image(image: Image, alias: str, facts: LxdFacts, now: datetime) -> str:
    """The fingerprint of a host's prepared image of that alias, whether or not it bears it.

    It is "" where there is none that is made from the image as it is, or only one that is too old.
    """
    base = targets_of(facts).get(image.name)
    found = {
        fingerprint: made_at(document)
        for fingerprint, document in facts.images.items()
        if base
        and _property(document, PREPARED) == alias
        and _property(document, BASE) == base
        and _is_fresh(image, document, now)
    }
    return max(found, key=lambda fingerprint: found[fingerprint], default="")


def starts_from(
    container: Container,
    images: Mapping[str, Image],
    profiles: Mapping[str, Profile],
    facts: LxdFacts,
    now: datetime,
) -> str:
    """The alias that a container is created from: its prepared image's where the host has that."""
    image = images.get(container.image)
    if image and image.prepare:
        alias = prepared_alias(container, profiles)
        fingerprint = prepared_image(image, alias, facts, now)
        if fingerprint and targets_of(facts).get(alias) == fingerprint:
            return alias
    return container.image


def base_name(document: Json) -> str:
    """The name of the image that a prepared one was made from; "" for any other image."""
    return _property(document, BASE_NAME)


def made_at(document: Json) -> datetime:
    """When an image was made; a copy has the time of what it is a copy of."""
    return datetime.fromisoformat(str(document["created_at"])[:19] + "+00:00")


def _is_fresh(image: Image, document: Json, now: datetime) -> bool:
    days = image.prepare_days
    return days is None or now - made_at(document) <= timedelta(days=days)


def _property(document: Json, name: str) -> str:
    return str((document.get("properties") or {}).get(name, ""))
