"""The disk of a host: a layer of its own over the root file system that all hosts share."""

from __future__ import annotations

from pathlib import Path

from tests.lab import mounts, rootfs
from tests.lab.command import run
from tests.lab.places import APART, CACHE, RUN

_GIB = 2**30
_ROOMY = 8 * _GIB
_ON_DISK = CACHE / f"disks{APART}"


def folder(name: str) -> Path:
    """Everything of a host that exists only while the lab is up."""
    return RUN / "hosts" / name


def root(name: str) -> Path:
    """The host's root file system as seen from this machine."""
    return folder(name) / "root"


def is_there(name: str) -> bool:
    """Whether the host has a disk."""
    return root(name) in mounts.below(root(name))


def make(name: str, lower: Path) -> None:
    """Give a host a fresh disk over the shared root, and mount both as its root."""
    wipe(name)
    layer = folder(name) / "disk"
    layer.mkdir(parents=True)
    memory = _memory()
    if memory >= _ROOMY:
        # LXD's dir pools write whole file systems: in memory that takes a fraction of the time.
        size = f"size={memory // 3},mode=755"
        run(["mount", "-t", "tmpfs", "-o", size, f"{name}-disk", layer])
    else:
        (_ON_DISK / name).mkdir(parents=True)
        run(["mount", "--bind", _ON_DISK / name, layer])
    upper, work, merged = layer / "upper", layer / "work", root(name)
    for path in (upper, work, merged):
        path.mkdir()
    # Without xino, folders have inode numbers that files have too, and LXD, which tells hard links
    # by these, skips some folders when it shifts a container's files to its user ids.
    layers = f"lowerdir={lower},upperdir={upper},workdir={work},xino=on"
    run(["mount", "-t", "overlay", "-o", layers, f"{name}-root", merged])


def wipe(name: str) -> None:
    """Remove a host's disk with all that is on it; the host is off."""
    mounts.unmount(folder(name))
    rootfs.remove_tree(folder(name))
    rootfs.remove_tree(_ON_DISK / name)


def wipe_all() -> None:
    """Remove all that the lab keeps while it is up."""
    mounts.unmount(RUN)
    rootfs.remove_tree(RUN)
    rootfs.remove_tree(_ON_DISK)


def _memory() -> int:
    """Bytes of memory that this machine has to spare."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
