"""A cgroup for each part of the lab, and so a sure way to find all of its processes.

Whatever is in one of these cgroups is the lab's, with or without a record of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.places import CGROUP


def join_script(part: str) -> str:
    """A line of shell that moves its shell into the cgroup of a part of the lab.

    Two systemds in one cgroup would share its children and fight, so each host has its own.
    """
    files = [top / part / "cgroup.procs" for top in _tops()]
    return "".join(f"echo $$ > '{file}'; " for file in files)


def make(part: str) -> None:
    """Make the cgroup of a part of the lab, in every hierarchy that systemd uses."""
    for top in _tops():
        (top / part).mkdir(parents=True, exist_ok=True)
        # On a machine that has cgroup v2 alone, the hosts pass the controllers on to LXD.
        for folder in (top.parent, top):
            _delegate(folder)


def processes(part: str = "", *, lab: str = CGROUP) -> set[int]:
    """The ids of the processes in a part of the lab, or in all of it."""
    found: set[int] = set()
    for folder in _folders(part, lab):
        try:
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        except OSError:
            continue  # gone since it was listed, or not of a type that lists processes
    # 0 stands for a process outside of our process namespace
    return found - {0}


def kill(part: str = "", *, lab: str = CGROUP, seconds: float = 10) -> None:
    """Kill every process of a part of the lab and wait for their ends.

    Raises:
        LabError: some are still there after that many seconds
    """
    deadline = time.monotonic() + seconds
    while alive := processes(part, lab=lab) - {os.getpid()}:
        if time.monotonic() > deadline:
            raise LabError(f"processes of {part or 'the lab'} do not die: {sorted(alive)}")
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def remove(part: str = "", *, lab: str = CGROUP) -> None:
    """Remove the cgroups of a part of the lab, which has no processes any more."""
    deadline = time.monotonic() + 3
    for folder in _folders(part, lab):
        while folder.exists():
            try:
                folder.rmdir()
            except OSError as error:
                # The kernel lets go of a dead process's cgroup a moment after its end.
                if time.monotonic() > deadline:
                    raise LabError(f"{folder}: not removed: {error.strerror}") from error
                time.sleep(0.02)


def join(pid: int) -> str:
    """A line of shell that moves its shell into the cgroups of a running process."""
    lines = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):
            lines += [
                f"echo $$ > '{root}{path}/cgroup.procs'; "
                for name, root in _hierarchies()
                if name == controllers
            ]
    return "".join(lines)


def _folders(part: str, lab: str) -> Iterator[Path]:
    """All cgroups of a part of the lab, the deepest first."""
    for top in _tops(lab):
        for folder, _, _ in os.walk(top / part, topdown=False):
            yield Path(folder)


def _tops(lab: str = CGROUP) -> list[Path]:
    return [root / lab for _, root in _hierarchies()]


def _hierarchies() -> list[tuple[str, Path]]:
    """The hierarchies that systemd keeps processes in: cgroup v2, and name=systemd of v1."""
    found: list[tuple[str, Path]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        point = Path(fields[4])
        if not point.is_relative_to("/sys/fs/cgroup"):
            continue
        if kind == "cgroup2":
            found.append(("", point))
        elif kind == "cgroup" and "name=systemd" in options:
            found.append(("name=systemd", point))
    return found


def _delegate(folder: Path) -> None:
    offered = folder / "cgroup.controllers"
    if not offered.exists():
        return
    for controller in offered.read_text().split():
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            continue  # a controller that cannot be had here is not had there either
