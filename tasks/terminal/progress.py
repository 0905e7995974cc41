"""Live progress of a run: a Nornir processor.

Phases are Nornir sub-tasks named after the phase, whose result is the phase's record. An
exception in a processor would end the whole run, so that each method is guarded: progress may get
lost, the run may not.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from tasks.outcome import Record
from tasks.terminal.words import STYLES, status_label

if TYPE_CHECKING:
    from tasks.terminal.live import LiveTable

logger = logging.getLogger(__name__)
Method = TypeVar("Method", bound=Callable[..., None])


def _guarded(method: Method) -> Method:
    @functools.wraps(method)
    def safe(*arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception:
            logger.debug("progress lost", exc_info=True)

    return safe  # type: ignore[return-value]  # same parameters, as wraps() promises


class Progress:
    """Shows which machine is busy with which phase: live on a terminal, else lines as they end.

    A context manager around the run; ``with_processors([progress])`` makes Nornir tell it::

        with Progress() as progress:
            provision(nr.with_processors([progress]))
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Show on ``stream``, standard output by default; with ``quiet`` nothing at all."""
        self._stream = stream or sys.stdout
        self._quiet = quiet
        #: The tasks within tasks that each machine is in, with when they began; the first counts.
        self._busy: dict[str, list[tuple[str, float]]] = {}
        self._lock = threading.Lock()
        self._live: LiveTable | None = None
        if self._stream.isatty() and not quiet:
            # cron and pipes need no rich, which takes its time to import
            from tasks.terminal.live import LiveTable  # noqa: PLC0415

            self._live = LiveTable(self._stream, self._at_work)

    def __enter__(self) -> Progress:
        """Start drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()

    @_guarded
    def task_started(self, task: Task) -> None:
        """Nothing to show yet: which hosts start when is up to the workers."""

    @_guarded
    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        """Nothing left to show: each host has told its end."""

    @_guarded
    def task_instance_started(self, task: Task, host: Host) -> None:
        """Nothing to show: a machine's phases follow at once."""

    @_guarded
    def task_instance_completed(self, task: Task, host: Host, results: MultiResult) -> None:
        """The machine is idle again, also where it raised."""
        with self._lock:
            self._busy.pop(host.name, None)

    @_guarded
    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """A machine begins a phase, or a part of one."""
        with self._lock:
            self._busy.setdefault(host.name, []).append((task.name, time.monotonic()))

    @_guarded
    def subtask_instance_completed(self, task: Task, host: Host, results: MultiResult) -> None:
        """A machine ends a phase, which is told, or a part of one."""
        with self._lock:
            phase, started = self._busy[host.name].pop()
            if self._busy[host.name]:
                return
            del self._busy[host.name]
        # outside the lock: Live holds its own while it asks for what is busy
        dry = task.is_dry_run()
        for name, entry in _booked_on_others(results).items():
            self._tell(name, phase, status_label(entry["status"], dry), entry["seconds"])
        status = status_label(_status(results), dry)
        self._tell(host.name, phase, status, time.monotonic() - started)

    def _tell(self, machine: str, phase: str, status: str, seconds: float) -> None:
        if self._live:
            if status != "ok":
                self._live.tell(machine, phase, status, seconds)
        elif not self._quiet:
            with self._lock:
                self._stream.write(f"{machine} {phase} {status} {seconds:.1f}s\n")
                self._stream.flush()

    def under_way(self) -> str:
        """What is being done now, in words; "" where nothing is.

        It takes no lock: a signal's handler may ask, which would wait for itself.
        """
        doing: dict[str, list[str]] = {}
        for machine, phases in sorted(self._busy.copy().items()):
            for phase, _ in phases[:1]:
                doing.setdefault(phase, []).append(machine)
        return "; ".join(f"{phase} of {', '.join(names)}" for phase, names in doing.items())

    def _at_work(self) -> list[tuple[str, str, float]]:
        """Each busy machine with its phase and the seconds it has taken so far."""
        with self._lock:
            busy = [(machine, *phases[0]) for machine, phases in self._busy.items()]
        now = time.monotonic()
        return sorted((machine, phase, now - started) for machine, phase, started in busy)


def _status(results: MultiResult) -> str:
    """How a phase ended: as its record says, or failed where it raised instead."""
    record: Record | Any = results[0].result
    if isinstance(record, dict) and record.get("status") in STYLES:
        return str(record["status"])
    return "failed" if results.failed else "ok"


def _booked_on_others(results: MultiResult) -> dict[str, Record]:
    """What an LXD host's phase did to its containers, by name."""
    record: Record | Any = results[0].result
    found: dict[str, Record] = record.get("containers", {}) if isinstance(record, dict) else {}
    return found
