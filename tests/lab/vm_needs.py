"""What the virtual machine needs of this machine, beyond what the lab does."""

from __future__ import annotations

import platform

from tests.lab import needs
from tests.lab.command import run
from tests.lab.errors import LabError

PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
}
"""Program -> the Debian package that has it."""


def why_not() -> str | None:
    """Why this machine cannot run it, in one line, or None if it can. Changes nothing."""
    if platform.machine() != "x86_64":
        # Emulation could do that too, but the root file system is built by running it.
        return f"the virtual machine needs x86_64, this is {platform.machine()}"
    reason = needs.why_not()
    if reason:
        return reason
    missing = _missing_packages()
    if missing and not needs.has("apt-get"):
        return "the virtual machine needs " + ", ".join(missing)
    if not needs.has("ip"):
        return None  # installed by `install_missing`, whose caller then sees whether taps can be
    try:
        # Forgotten with the namespace, as it is no device of this machine's.
        trial = ["ip", "tuntap", "add", "dev", "nlfl-trial", "mode", "tap"]
        run(["unshare", "--net", *trial], timeout=10)
    except LabError as error:
        return f"the virtual machine needs tap devices: {str(error).splitlines()[-1]}"
    return None


def install_missing() -> None:
    """Install the missing packages, the lab's own among them.

    Raises:
        LabError: this machine cannot run it, or the packages cannot be installed
    """
    reason = why_not()
    if reason:
        raise LabError(reason)
    needs.install_missing()
    needs.install(_missing_packages(), "the virtual machine")


def _missing_packages() -> list[str]:
    return [package for program, package in PROGRAMS.items() if not needs.has(program)]
