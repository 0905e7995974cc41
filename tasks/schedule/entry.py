"""What is to be called when."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import UsageError
from tasks.intent.scalars import CRON_SCHEDULE


@dataclass(frozen=True)
class Entry:
    """One environment's ``maintain``, called at a schedule.

    ``schedule`` is crontab(5)'s or, for a timer, OnCalendar of systemd.timer(5); ``words`` are the
    command, ``variables`` the environment that it needs besides. ``name`` tells apart the schedules
    of an environment; one of them may have none.
    """

    environment: str
    schedule: str = ""
    words: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def title(self) -> str:
        """What our files and blocks say that they are for; no two schedules have the same."""
        return f"{self.environment}, {self.name}" if self.name else self.environment

    @property
    def file(self) -> str:
        """The end of the names of its files; what they say tells who has such a name already."""
        return f"{self.environment}-{self.name}" if self.name else self.environment

    def check(self, *, systemd: bool) -> None:
        """Raises :class:`UsageError` for what neither cron nor a timer could be given.

        What a timer's schedule means only systemd itself knows.
        """
        for text in (self.environment, self.schedule, *self.words, *self.variables.values()):
            if not text.isprintable():
                raise UsageError(f"{text!r} does not go into one line", remedy="rename it")
        if not systemd and not CRON_SCHEDULE.accept(self.schedule):
            raise UsageError(
                f"{self.schedule!r} is not {CRON_SCHEDULE.a}",
                where="--schedule",
                remedy=CRON_SCHEDULE.write,
            )


def program_of(started_as: str, python: str) -> tuple[str, ...]:
    """What starts this program anew from any folder: a script with its Python, else a command.

    Links stay as they are: a virtual environment's Python is one.
    """
    path = str(Path(os.path.abspath(started_as)))  # noqa: PTH100 - resolve() follows links
    return (python, path) if path.endswith(".py") else (path,)
