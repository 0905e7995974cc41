"""What this project created on an LXD server, told by a mark on the object itself.

The mark is set when an object is created and never again, so that what someone else made is never
taken for ours; ``--prune`` removes only what carries it. Profiles, instances and pools carry it as
a config key, images as a property.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.actual import Json

CREATED_KEY = "user.nornir-lxd-fleet"
CREATED = "created"
IMAGE_PROPERTY = "nornir-lxd-fleet"


def created_by_us(document: Json) -> bool:
    """Whether a profile, instance or pool, as LXD's API gives it, carries our mark."""
    return bool((document.get("config") or {}).get(CREATED_KEY) == CREATED)


def image_created_by_us(image: Json) -> bool:
    """Whether an image, as LXD's API gives it, carries our mark."""
    return bool((image.get("properties") or {}).get(IMAGE_PROPERTY) == CREATED)


def marked(config: Mapping[str, str]) -> dict[str, str]:
    """A config with our mark, for an object that is about to be created."""
    return {**config, CREATED_KEY: CREATED}


def unmarked(config: Mapping[str, str]) -> dict[str, str]:
    """A config without our mark, for comparing and for what is let go."""
    return {key: value for key, value in config.items() if key != CREATED_KEY}
