"""Mounts on this machine, as the kernel lists them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.lab.command import run


def below(folder: Path) -> list[Path]:
    """The mount points in a folder, itself included, the last mounted first."""
    points = [
        Path(line.split()[4].encode().decode("unicode_escape"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def everywhere() -> str:
    """What is mounted in any mount namespace, as the kernel lists it: a lab apart has its own."""
    lists = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            namespace = (process / "ns/mnt").readlink()
            if namespace not in lists:
                lists[namespace] = (process / "mountinfo").read_text()
    return "".join(lists.values())


def unmount(folder: Path) -> None:
    """Unmount everything in a folder.

    What is busy is detached at once and goes when its last user does; by then all processes
    of the lab are dead, so that is somebody's shell standing in there.
    """
    for point in below(folder):
        run(["umount", "--lazy", point])
