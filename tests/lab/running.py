"""What a running host has on this machine, beside its disk."""

from __future__ import annotations

from pathlib import Path

from tests.lab import cgroups, disk, links, mounts, rootfs

_PROPAGATE = Path("/run/systemd/nspawn/propagate")


def part(name: str) -> str:
    """The cgroup of a host's own processes."""
    return f"host-{name}"


def keeper_part(name: str) -> str:
    """The cgroup of the host's supervisor."""
    return f"keeper-{name}"


def netns(name: str) -> Path:
    """The file that holds the host's network namespace."""
    return disk.folder(name) / "netns"


def init_record(name: str) -> Path:
    """The record of the host's first process."""
    return disk.folder(name) / "init.json"


def clear(name: str) -> None:
    """Remove what a run of the host leaves on this machine, but for its disk."""
    init_record(name).unlink(missing_ok=True)
    cgroups.kill(part(name))
    cgroups.remove(part(name))
    links.unplug(name)
    mounts.unmount(netns(name))
    netns(name).unlink(missing_ok=True)
    # systemd-nspawn refuses to remove its own folder where /run is not a tmpfs.
    rootfs.remove_tree(_PROPAGATE / name)
    for folder in (_PROPAGATE, _PROPAGATE.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
