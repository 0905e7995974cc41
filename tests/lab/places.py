"""Names, addresses and paths of the lab: everything that others may rely on."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

HOST_NAMES = tuple(f"sidn-demo-{n:02}" for n in range(1, 7))
HOST_ADDRESSES = {name: f"192.168.56.{150 + n}" for n, name in enumerate(HOST_NAMES)}

GATEWAY = "192.168.56.1"
SUBNET = "192.168.56.0/24"
PREFIX_LENGTH = 24

PREFIX = "nlfl-"
"""Every link and network namespace of the lab on this machine starts with it."""

NICS = ("enp1s0", "eno2", "eno3")
"""The NICs of each host, by the names they have inside; the first is for management."""

BRIDGES = {nic: f"{PREFIX}{nic}" for nic in NICS}
"""NIC name inside the hosts -> the bridge on this machine that all of these NICs are plugged in."""

LAB_BRIDGE = BRIDGES["enp1s0"]
"""The bridge that carries the gateway's address; without it no lab address may be talked to."""

NFT_TABLE = "nornir_lxd_fleet_lab"

APART_RECORD = Path("/run/nornir-lxd-fleet-lab-apart")
APART = APART_RECORD.read_text().strip() if APART_RECORD.exists() else ""
"""The number of the lab that this process is in, where that is one apart; else empty."""


def cgroup(apart: str) -> str:
    """The cgroup of the lab with that number, or of the machine's own."""
    return f"nornir-lxd-fleet-lab-{apart}" if apart else "nornir-lxd-fleet-lab"


CGROUP = cgroup(APART)

# The cache does not follow $XDG_CACHE_HOME or $HOME, which sudo and cron set differently:
# one machine has one lab and one cache.
CACHE = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "nornir-lxd-fleet-lab"
ROOTS = CACHE / "roots"
IMAGES = CACHE / "images"
IMAGE_NAMES = ("minimal", "cloud-init")
CLIENT_KEY = CACHE / "id_ed25519"

RUN = Path("/run/nornir-lxd-fleet-lab")
LOCK = Path("/run/nornir-lxd-fleet-lab.lock")
NETNS = Path("/run/netns")


def client_public_key() -> Path:
    """The public half of the key that root on every host accepts."""
    return CLIENT_KEY.with_name(CLIENT_KEY.name + ".pub")


def host_key(name: str) -> Path:
    """The private SSH host key of a host, stable over resets; `.pub` lies beside it."""
    return CACHE / "hosts" / name / "ssh_host_ed25519_key"


def image(name: str) -> tuple[Path, Path]:
    """The two files of a container image, "minimal" or "cloud-init": metadata and root."""
    return IMAGES / name / "metadata.tar.xz", IMAGES / name / "rootfs.squashfs"
