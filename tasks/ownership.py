"""What this project created on an LXD server, told by a mark on the object itself.

The mark is set when an object is created and never again, so that what someone else made is never
taken for ours; ``--prune`` removes only what carries it. Profiles, instances and pools carry it as
a config key, images as a property.

A copy takes the mark along (``lxc copy``, ``lxc profile copy``, ``lxc image copy``), and a copy is
an operator's. So the mark's value is what the copy has not: the object's own name. An image has no
name of its own, its fingerprint and even its aliases are the same wherever it is copied to: its
mark is the LXD host that it was brought to. Where LXD itself brings a newer version of an image, it
drops the properties of the one before and keeps the alias: so what comes from a server has its mark
in the alias's description as well.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from tasks.actual import Json

CREATED_KEY = "user.nornir-lxd-fleet"
#: On a container in which an image is prepared, besides the mark: its name. Nothing else has it.
BUILDER_KEY = f"{CREATED_KEY}.builder"
IMAGE_PROPERTY = "nornir-lxd-fleet"
#: How the names begin under which LXD servers trust controllers: this, then the machine's name.
CONTROLLER = "nornir-lxd-fleet@"
#: What ends the mark in an alias's description, where more follows.
MARK_ENDS = ", "


def trust_line(name: str, fingerprint: str | None) -> str:
    """How an LXD host's list of what we created has a certificate that we had it trust: by its own
    fingerprint, since a name has many; None is one that is still to be made."""
    return f"trust {name} {fingerprint or '-'}"


def created_by_us(document: Json) -> bool:
    """Whether a profile, instance or pool, as LXD's API gives it, carries our mark for it."""
    return mark_of(document) == str(document["name"])


def image_created_by_us(image: Json, host: str) -> bool:
    """Whether an image, as the API of the LXD host of that name gives it, carries our mark."""
    if (image.get("properties") or {}).get(IMAGE_PROPERTY) == host:
        return True
    mark = alias_mark(host)
    descriptions = [str(alias.get("description", "")) for alias in image.get("aliases") or []]
    return any(said == mark or said.startswith(mark + MARK_ENDS) for said in descriptions)


def image_mark(host: str) -> dict[str, str]:
    """The properties with our mark, for an image that is about to be brought to that LXD host."""
    return {IMAGE_PROPERTY: host}


def alias_mark(host: str) -> str:
    """The description with our mark, for the alias of an image that LXD on a host keeps fresh."""
    return f"{IMAGE_PROPERTY}: {host}"


def mark_of(document: Json) -> str:
    """The mark on a profile, instance or pool, that of another object on a copy; else empty."""
    return str((document.get("config") or {}).get(CREATED_KEY, ""))


def marked(name: str, config: Mapping[str, str]) -> dict[str, str]:
    """A config with our mark, for the object of that name that is about to be created."""
    return {**config, CREATED_KEY: name}


def unmarked(config: Mapping[str, str]) -> dict[str, str]:
    """A config without our mark and what we remember beside it, for comparing and letting go."""
    return {
        key: value for key, value in config.items() if not f"{key}.".startswith(f"{CREATED_KEY}.")
    }


def trust_name_of(machine: str) -> str:
    """The name under which LXD servers trust the certificate of the controller on a machine."""
    return f"{CONTROLLER}{machine}"


def own_trust_name() -> str:
    """That of whoever runs here."""
    return trust_name_of(socket.gethostname())
