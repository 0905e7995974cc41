"""The containers that an LXD host carries: how they were before its upkeep they are after it."""

from __future__ import annotations

import time

from nornir.core.task import Task

from tasks.errors import ProofError
from tasks.maintenance.carried import not_running, running_on
from tasks.maintenance.health import look_at
from tasks.run import run_of

#: How often a container's health is looked at afterwards, and the seconds between.
LOOKS = 4
PAUSE = 3.0


class Carried:
    """What runs on an LXD host now, and which of its declared containers are well.

    Raises what reading the host raises.
    """

    def __init__(self, task: Task) -> None:
        run = run_of(task)
        self.host = task.host
        self.hosts = run.hosts
        self.ran = running_on(task.host)
        declared = [c.name for c in run.intent.containers_on(self.host.name) if c.name in self.ran]
        self.well = [name for name in declared if not self._what_is_wrong(name)]

    def see_that_all_is_as_before(self, what: str) -> None:
        """Raise :class:`ProofError` where something does not run any more, or is not well any more,
        ``after`` what was done to the host."""
        if missing := self.ran - running_on(self.host, fresh=True):
            raise not_running(self.host, missing, f"after {what}")
        ill: dict[str, str] = dict.fromkeys(self.well, "")
        for look in range(LOOKS):
            if look:
                time.sleep(PAUSE)
            ill = {name: said for name in ill if (said := self._what_is_wrong(name))}
            if not ill:
                return
        said = "; ".join(f"{name}: {why}" for name, why in ill.items())
        raise ProofError(f"not well any more after {what}: {said}", where=self.host.name)

    def _what_is_wrong(self, name: str) -> str:
        entry = look_at(self.hosts[name])
        message = str(entry["message"]).removeprefix(f"{name}: ")
        return "" if entry["status"] == "ok" else message
