"""Mounts on this machine, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path

from tests.lab.command import run


def below(folder: Path) -> list[Path]:
    """The mount points in a folder, itself included, the last mounted first."""
    points = [
        Path(line.split()[4].encode().decode("unicode_escape"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def unmount(folder: Path) -> None:
    """Unmount everything in a folder.

    What is busy is detached at once and goes when its last user does; by then all processes
    of the lab are dead, so that is somebody's shell standing in there.
    """
    for point in below(folder):
        run(["umount", "--lazy", point])
