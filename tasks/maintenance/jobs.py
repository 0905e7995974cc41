"""The jobs that maintenance knows, in the order in which a machine goes through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from nornir.core.task import Result

from tasks.errors import UsageError
from tasks.maintenance.health import check_health
from tasks.maintenance.upgrade import upgrade_packages


@dataclass(frozen=True)
class Job:
    """A job: its Nornir task, and whether it changes machines."""

    task: Callable[..., Result]
    changes: bool


JOBS: Mapping[str, Job] = {
    "upgrade": Job(upgrade_packages, changes=True),
    "health": Job(check_health, changes=False),
}


def chosen(names: Collection[str]) -> dict[str, Job]:
    """The jobs of these names in their order, all of them without any.

    Raises :class:`UsageError` for an unknown one, with the nearest names.
    """
    for name in names:
        if name not in JOBS:
            near = get_close_matches(name, JOBS) or list(JOBS)
            raise UsageError(f"unknown job {name}", remedy=f"did you mean {' or '.join(near)}?")
    return {name: job for name, job in JOBS.items() if not names or name in names}
