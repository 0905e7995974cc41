"""The lab: real LXD hosts on this machine, for tests and demonstrations.

Each host is a systemd-nspawn machine with a disk, NICs, an sshd and an LXD of its own. All of
it goes by the names in `tests.lab.places` and leaves nothing behind after `Lab.down`.
"""

from __future__ import annotations

from tests.lab.errors import LabError
from tests.lab.fresh import make_keys
from tests.lab.lab import HostStatus, Lab
from tests.lab.needs import why_not
from tests.lab.places import (
    BRIDGES,
    CACHE,
    CLIENT_KEY,
    GATEWAY,
    HOST_ADDRESSES,
    HOST_NAMES,
    IMAGE_NAMES,
    LAB_BRIDGE,
    NICS,
    SUBNET,
    client_public_key,
    host_key,
    image,
)

__all__ = [
    "BRIDGES",
    "CACHE",
    "CLIENT_KEY",
    "GATEWAY",
    "HOST_ADDRESSES",
    "HOST_NAMES",
    "IMAGE_NAMES",
    "LAB_BRIDGE",
    "NICS",
    "SUBNET",
    "HostStatus",
    "Lab",
    "LabError",
    "client_public_key",
    "host_key",
    "image",
    "make_keys",
    "why_not",
]
