"""A change to a machine in one exchange: calls of the on-host functions, their contents as a tar.

The functions are those of ``onhost/change_machine.sh`` and of the phase's own script.
"""

from __future__ import annotations

import io
import shlex
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.errors import CommandError, DeadlineError, FleetError, PassableError
from tasks.onhost import on_host, script_of
from tasks.plan import Plan
from tasks.shell import TAIL_LINES, Shell

#: Calls of these that follow each other are one: apt is asked once for all packages.
_JOINED = ("install_packages", "remove_packages")
#: Seconds that the machine has to say itself that the deadline passed, and where.
_GRACE = 5.0
#: The scripts' exit status where only that is missing which does not hinder the phases to come.
_PASSABLE = 77


@dataclass(frozen=True)
class Call:
    """One function of the on-host scripts with its arguments.

    ``content`` travels over standard input and becomes the function's first argument, by the
    name under which it lies there. ``arguments`` are no place for a secret.
    """

    function: str
    arguments: tuple[str, ...] = ()
    content: bytes | None = field(default=None, repr=False)


#: What applying one step of a plan needs.
Calls = tuple[Call, ...]


@dataclass(frozen=True)
class Clock:
    """One deadline (seconds) that several exchanges share."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left, at least one: an exchange that comes too late says so by itself."""
        return max(self.started + self.seconds - time.monotonic(), 1.0)


def apply_calls(
    shell: Shell,
    phase: str,
    plan: Plan[Calls],
    clock: Clock,
    *,
    last: Calls = (),
    scripts: Sequence[str] = (),
) -> str:
    """Carry out a plan's steps on a machine, then ``last``, all in one exchange.

    ``scripts`` are the on-host scripts whose functions they call; by default the phase's own.
    Returns what the calls printed for the controller. Raises :class:`CommandError` naming the
    step that failed, with the end of its output, :class:`PassableError` where that one alone failed
    and does not stand in the way of the phases to come, and :class:`DeadlineError`.
    """
    steps = [(step.what, step.write) for step in plan.steps]
    script, contents = _assemble(scripts or (phase,), [*steps, ("start service ssh", last)], clock)
    try:
        done = shell.run(script, stdin=_tar(contents), deadline=clock.left + _GRACE)
    except DeadlineError as error:
        raise DeadlineError(
            f"{phase} did not end within its deadline of {clock.seconds:g} s ({error.what})",
            where=shell.where,
            remedy="run again: what is done stays done",
        ) from error
    if done.status == 0:
        return done.text
    output = (done.stderr or done.stdout).decode(errors="replace")
    raise _failure(shell.where, phase, output, passable=done.status == _PASSABLE)


def _failure(where: str, phase: str, output: str, *, passable: bool) -> FleetError:
    """The step comes first, then what it said; the machine has sent no more than its end."""
    lines = output.strip().splitlines()[-TAIL_LINES:] or ["it said nothing"]
    said = "\n".join([f"{phase} stopped: {lines[0]}", *lines[1:]])
    late = "within the deadline" in lines[0]
    kind = DeadlineError if late else PassableError if passable else CommandError
    return kind(said, where=where)


def _assemble(
    scripts: Sequence[str], steps: Iterable[tuple[str, Calls]], clock: Clock
) -> tuple[str, list[bytes]]:
    contents: list[bytes] = []
    lines = [
        script_of("apt_locks"),
        on_host("change_machine", str(int(clock.left))),
        *map(on_host, scripts),
    ]
    for what, calls in _joined(steps):
        if calls:
            lines.append(f"step {shlex.quote(what)}")
        for call in calls:
            arguments = call.arguments
            if call.content is not None:
                arguments = (str(len(contents)), *arguments)
                contents.append(call.content)
            lines.append(shlex.join((call.function, *arguments)))
    return "\n".join([*lines, ""]), contents


def _joined(steps: Iterable[tuple[str, Calls]]) -> list[tuple[str, Calls]]:
    joined: list[tuple[str, Calls]] = []
    for what, calls in steps:
        if joined and len(calls) == 1 and calls[0].function in _JOINED:
            before, earlier = joined[-1]
            if len(earlier) == 1 and earlier[0].function == calls[0].function:
                both = (*earlier[0].arguments, *calls[0].arguments)
                joined[-1] = (f"{before}, {what}", (Call(calls[0].function, both),))
                continue
        joined.append((what, calls))
    return joined


def _tar(contents: list[bytes]) -> bytes:
    """The contents, each named by its place in the list."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number, content in enumerate(contents):
            entry = tarfile.TarInfo(str(number))
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
