"""The call of ``maintain`` that cron or a timer makes, here or on a controller."""

from __future__ import annotations

import re
from collections.abc import Sequence


def maintain_words(
    program: Sequence[str], inventory: str, jobs: Sequence[str], *, time_limit: int | None = None
) -> tuple[str, ...]:
    """The command as words: silent when nothing changed and nothing failed.

    Arguments:
        program: what starts ``maintain``, with absolute paths.
        inventory: the absolute path of the inventory folder.
        jobs: the jobs by name, none for all.
        time_limit: minutes after which no other machine is begun with.
    """
    limit = ("--time-limit", str(time_limit)) if time_limit else ()
    return (*program, "--inventory", inventory, "--quiet", *limit, *jobs)


def file_name(environment: str) -> str:
    """An environment's name in that of a file: cron.d ignores names with anything else."""
    return re.sub("[^A-Za-z0-9_-]", "-", environment)
