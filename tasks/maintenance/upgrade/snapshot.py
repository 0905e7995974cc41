"""The snapshot that an upgrade may go back to: taken, gone back to, and let go of.

LXD 5.0 copies a ``dir`` pool file by file, and freezes a container that runs meanwhile, for as long
as that takes (its driver's ``RunningCopyFreeze``). Such a one is shut down for it instead: what it
has written is then whole. All other drivers take a snapshot at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tasks.actual import Json
from tasks.containers.restarting import see_that_it_is_up
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import change_state, stop, update, wait_until_idle
from tasks.errors import FleetError, LxdError, LxdNotFoundError
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.upgrade.stage import decided, kept_name
from tasks.run import Run
from tasks.transport import exec_shell_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Drivers whose snapshots take as long as the container is large.
COPYING = frozenset({"dir"})
#: Seconds for asking a container that does not shut down whether it is about to.
ASK_DEADLINE = 20.0


class Snapshot:
    """What an upgrade does with a container through LXD's API; each method raises as that does."""

    def __init__(self, run: Run, container: Container) -> None:
        self._run = run
        self._container = container
        self._name = container.name
        self._path = f"/1.0/instances/{container.name}"
        self._deadline = container.maintenance.deadline

    def instance(self) -> Json:
        """The instance as it is once LXD has ended what an earlier run had it begin."""
        return wait_until_idle(self._api, self._name)

    def remember(self, config: dict[str, str], forget: tuple[str, ...] = ()) -> None:
        """Set and unset config keys of the instance."""
        update(self._api, ContainerWrite("update", self._name, config, without_config=forget))

    def take(self, snapshot: str, *, stopped: bool) -> None:
        """Take it; ``stopped``, of a container that is shut down for it and then runs again."""
        if stopped:
            self._shut_down()
        body = {"name": snapshot, "stateful": False}
        self._api.post(f"{self._path}/snapshots", body, deadline=self._deadline)
        if stopped:
            self.start()

    def drop(self, snapshot: str) -> None:
        """Delete it, where it is there after all."""
        with suppress(LxdNotFoundError):
            self._api.delete(f"{self._path}/snapshots/{snapshot}", deadline=self._deadline)

    def start(self) -> None:
        """Have it run with its system up, where it is declared running."""
        if self._container.running:
            change_state(self._api, self._name, "start")
            see_that_it_is_up(self._run, self._container)

    def decide_to_go_back(self, snapshot: str) -> str:
        """The name from which on every run goes back."""
        name = decided(snapshot)
        if name != snapshot:
            self._api.post(f"{self._path}/snapshots/{snapshot}", {"name": name})
        return name

    def put_back(self, snapshot: str) -> None:
        """Stop the container, hard where it does not obey, and have it as it was; whole volumes
        besides its root disk stay.

        Raises :class:`LxdError` after it was started again as it is, where that can be done.
        """
        stop(self._api, self._name, force=True)
        try:
            self._api.put(self._path, {"restore": snapshot}, deadline=self._deadline)
        except FleetError as error:
            with suppress(FleetError):
                self.start()
            raise LxdError(
                f"going back to its snapshot {snapshot} failed: {error.what}",
                where=self._name,
                remedy=f"mend that, then run again, or: lxc restore {self._name} {snapshot}",
            ) from error

    def end(self, snapshot: str, *, keep: bool) -> None:
        """Let go of the snapshot, or keep it as one of ours like all others."""
        path = f"{self._path}/snapshots/{snapshot}"
        if keep:
            self._api.post(path, {"name": kept_name(snapshot)})
        else:
            self._api.delete(path, deadline=self._deadline)

    def _shut_down(self) -> None:
        """Stop it gracefully. One that is half down for too long is brought up again, hard."""
        try:
            stop(self._api, self._name)
        except LxdError as error:
            came = "it is left running"
            if self._is_half_down():
                stop(self._api, self._name, force=True)
                self.start()
                came = "it was stopped hard then and started again"
            raise LxdError(
                f"{error.what.split(':', 1)[0]}, which the snapshot needs; {came}",
                where=self._name,
                remedy="see what keeps it up: systemctl list-jobs, in it, while it shuts down",
            ) from error

    def _is_half_down(self) -> bool:
        """Whether its system is about to shut down, or cannot be asked any more."""
        shell = exec_shell_of(self._run.hosts[self._name])
        with suppress(FleetError):
            done = shell.run("systemctl is-system-running", deadline=ASK_DEADLINE)
            said = done.text.strip()
            return said == "stopping" or (not said and done.status != 0)
        return True

    @property
    def _api(self) -> LxdApi:
        return api_of(self._run.hosts[self._container.on])
