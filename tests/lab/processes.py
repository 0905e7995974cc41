"""Long-running processes of the lab, recorded so that an id is never taken for another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import cgroups
from tests.lab.command import process_environment, run
from tests.lab.errors import LabError


@dataclass(frozen=True)
class Process:
    """A process, told from later ones with the same id by its start time."""

    pid: int
    started: int
    """In clock ticks since the machine's boot, as in /proc/PID/stat."""

    @staticmethod
    def of(pid: int) -> Process | None:
        """The live process with this id."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The second field is the name in parentheses and may hold anything.
        fields = stat.rpartition(")")[2].split()
        state, started = fields[0], int(fields[19])
        return None if state in "ZX" else Process(pid, started)

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self


def read(record: Path) -> Process | None:
    """The recorded process, if it is alive."""
    try:
        process = Process(**json.loads(record.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return process if process.is_alive() else None


def write(record: Path, process: Process) -> None:
    """Record a process, in one step."""
    half = record.with_suffix(".new")
    half.write_text(json.dumps(asdict(process)))
    half.rename(record)


def start(command: Sequence[str | Path], *, part: str, log: Path) -> Process:
    """Start a program in the cgroup of a part of the lab, in a session of its own.

    It outlives us and is not our child. Its output is added to the log.

    Raises:
        LabError: it ended at once; the message has what it wrote
    """
    cgroups.make(part)
    script = f'cd /; {cgroups.join_script(part)}setsid "$@" >>"$LOG" 2>&1 & echo $!'
    shell = ["sh", "-ec", script, "sh", *map(str, command)]
    pid = int(run(shell, env={**process_environment(), "LOG": str(log)}))
    process = Process.of(pid)
    if process is None:
        raise LabError(f"{command[0]} ended at once: {log.read_text(errors='replace')[-1000:]}")
    return process
