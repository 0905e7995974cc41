"""What can be written for the profiles of an LXD host: the profiles, and the NICs they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.actual import Json
from tasks.instances import InstanceName


@dataclass(frozen=True)
class ProfileWrite:
    """One write of a profile; ``body`` is what it becomes, without our mark."""

    method: Literal["create", "update", "delete"]
    profile: str
    body: Json


@dataclass(frozen=True)
class NicWrite:
    """One NIC of a running container to plug in, to plug into another bridge, or to unplug.

    ``link`` is its end on the host as it was read, "" where there is none.
    """

    method: Literal["plug", "replug", "unplug"]
    instance: InstanceName
    nic: str
    link: str = ""


Write = ProfileWrite | NicWrite
