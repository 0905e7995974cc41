"""What a shell on a machine can do, whatever carries it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tasks.errors import CommandError

#: Lines of a failed command's output that are worth an operator's time.
TAIL_LINES = 12


@dataclass(frozen=True)
class Completed:
    """A command that ended: its exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")

    def check(self, where: str, what: str, remedy: str = "") -> Completed:
        """Itself, or a :class:`CommandError` with the end of the output when it failed."""
        if self.status == 0:
            return self
        output = (self.stderr or self.stdout).decode(errors="replace").strip()
        tail = "\n".join(output.splitlines()[-TAIL_LINES:])
        said = f": {tail}" if tail else ""
        raise CommandError(
            f"{what} failed with exit status {self.status}{said}", where=where, remedy=remedy
        )


class Shell(Protocol):
    """Runs POSIX shell scripts on one machine, as root."""

    where: str
    """The machine's inventory name, for errors."""

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run ``script`` with ``sh``, feed it ``stdin``, wait at most ``deadline`` seconds.

        The script's text never appears on a command line on the machine, so it may hold what no
        process list should show. Raises :class:`~tasks.errors.DeadlineError` when the deadline
        passed (the command may then still run) and
        :class:`~tasks.errors.UnreachableError` when the connection broke.
        """
        ...
