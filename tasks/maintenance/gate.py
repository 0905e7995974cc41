"""Whether a run may still begin to change a machine: by what failed so far, and by the calendar."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from tasks.intent.model import Container, Intent
from tasks.maintenance.calendar import why_closed
from tasks.maintenance.moments import clock
from tasks.maintenance.turns import Turn


class Gate:
    """What one run's machines have to pass; any thread may ask and tell."""

    def __init__(
        self, intent: Intent, *, now: bool = False, time_limit: float | None = None
    ) -> None:
        """With ``now`` windows and freezes do not count; after ``time_limit`` seconds from here on
        no machine is begun with, whatever for."""
        self.intent = intent
        self.now = now
        self.time_limit = time_limit
        self._started = time.monotonic()
        #: The machines that are not well, by the apart groups that they weaken.
        self._broken: dict[str, list[str]] = {}
        #: The machines that this run began to change and that failed, with their ``failures``.
        self._failed: dict[str, int | None] = {}
        #: The canary that failed, after which nothing else is begun.
        self._canary = ""
        self._telling = threading.Lock()

    def failed(self, turn: Turn, *, begun: bool) -> None:
        """Take note of a machine that failed; ``begun`` says that a changing job had begun. An LXD
        host that was begun may have left what it carries in any state."""
        with self._telling:
            self._break(turn.apart, turn.name)
            if begun:
                for container in self.intent.containers_on(turn.name):
                    if container.running:
                        self._break(container.apart, turn.name)
                self._failed[turn.name] = self.intent.machine(turn.name).maintenance.failures
                if turn.canary:
                    self._canary = turn.name

    def is_down(self, container: Container) -> None:
        """Take note of a container that should run and does not: its partners have its work."""
        with self._telling:
            self._break(container.apart, container.name)

    def is_well_again(self, container: Container) -> None:
        """Take note of a container that was said to be down, and has its work again."""
        with self._telling:
            names = self._broken.get(container.apart or "", [])
            if container.name in names:
                names.remove(container.name)

    def why_left_alone(self, name: str, *apart: str | None) -> str:
        """Why a machine of these ``apart`` groups is not changed: another one of them is not well;
        empty where it may be."""
        for group in apart:
            others = [other for other in self._broken.get(group or "", []) if other != name]
            if others:
                return f"{others[0]} of its group {group} has failed or is down: left alone"
        return ""

    def _break(self, apart: str | None, name: str) -> None:
        if apart:
            self._broken.setdefault(apart, []).append(name)

    def why_late(self) -> str:
        """Why no machine is begun with any more, whatever for; empty where it may be."""
        if self.time_limit is None or time.monotonic() - self._started < self.time_limit:
            return ""
        return f"the time limit of {in_minutes(self.time_limit)} was over"

    def why_not_begin(self, name: str) -> str:
        """Why no machine is begun to be changed any more; empty where it may be."""
        with self._telling:
            ended = f"the canary {self._canary} failed" if self._canary else ""
            ended = ended or why_ended(self._failed)
        return ended or self.why_not_now(name)

    def why_not_now(self, name: str) -> str:
        """Why the calendar of a machine does not let it be changed now; empty where it does."""
        return (
            "" if self.now else why_closed(self.intent.machine(name).maintenance.calendar, clock())
        )


def why_ended(failed: Mapping[str, int | None]) -> str:
    """Why so many failures end the run; empty where they do not.

    Arguments:
        failed: the failed machines in the order of their failing, with the number of failures
            that each of them declares to be too many, None for no number. The smallest counts.
    """
    enough = min((number for number in failed.values() if number is not None), default=None)
    if enough is None or len(failed) < enough:
        return ""
    return f"{len(failed)} machine{'s' * (len(failed) > 1)} failed: {', '.join(failed)}"


def in_minutes(seconds: float) -> str:
    """Seconds as minutes, in words."""
    minutes = seconds / 60
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"
