"""What the lab needs of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.lab.command import SANE, run
from tests.lab.errors import LabError
from tests.lab.locking import cache_locked

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
    "mksquashfs": "squashfs-tools",
    "xz": "xz-utils",
    "tar": "tar",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
}
"""Program -> the Debian package that has it."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


# Made and forgotten in namespaces of its own: whether the kernel and our rights suffice.
_TRIAL = """
mount -t tmpfs tmpfs /tmp
mkdir /tmp/lower /tmp/upper /tmp/work /tmp/merged
mount -t overlay -o lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work overlay /tmp/merged
! command -v ip >/dev/null || {
    ip link add nlfl-trial type bridge
    ip link add nlfl-trial-a type veth peer name nlfl-trial-b
}
"""


def has(program: str) -> bool:
    """Whether a program is installed on this machine."""
    return shutil.which(program, path=SANE["PATH"]) is not None


def missing_packages() -> list[str]:
    """The Debian packages that `up` would install first."""
    packages = [package for program, package in PROGRAMS.items() if not has(program)]
    return packages if KEYRING.exists() else [*packages, "debian-archive-keyring"]


def why_not() -> str | None:
    """Why this machine cannot host the lab, in one line, or None if it can. Changes nothing."""
    if not sys.platform.startswith("linux"):
        return f"the lab needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "the lab needs root"
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "the lab needs a writable /sys/fs/cgroup"
    missing = missing_packages()
    if missing and not has("apt-get"):
        return "the lab needs " + ", ".join(missing)
    try:
        run(["unshare", "--mount", "--net", "sh", "-ec", _TRIAL], timeout=10)
    except LabError as error:
        cause = str(error).splitlines()[-1]
        return f"the lab needs to make mounts, bridges and namespaces: {cause}"
    return None


def install_missing() -> None:
    """Install the missing packages.

    Raises:
        LabError: the machine cannot host the lab, or the packages cannot be installed
    """
    reason = why_not()
    if reason:
        raise LabError(reason)
    install(missing_packages(), "the lab")


def install(packages: list[str], what_for: str) -> None:
    """Install Debian packages; nothing is done without any.

    Raises:
        LabError: they cannot be installed
    """
    if not packages:
        return
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        with cache_locked():
            run([*apt, "update"], timeout=300, env=env)
            run([*apt, "install", "-y", "--no-install-recommends", *packages], timeout=600, env=env)
    except LabError as error:
        wanted = " ".join(packages)
        raise LabError(
            f"could not install what {what_for} needs: apt-get install {wanted}\n{error}"
        ) from error
