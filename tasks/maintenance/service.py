"""A container's work: taken off it before an upgrade and given back; whether it is well."""

from __future__ import annotations

import shlex

from nornir.core.inventory import Host

from tasks.errors import DeadlineError, ProofError
from tasks.intent.maintenance import BoundedCommand
from tasks.intent.model import Container
from tasks.maintenance.look import LOOKS, last_look, look_at, wrong_in
from tasks.run import run_of
from tasks.transport import disconnect, shell_of

#: Seconds between asking a command to end and killing it.
GRACE = 5


class Service:
    """The work of a container, which is ``host`` to Nornir."""

    def __init__(self, host: Host, container: Container) -> None:
        self.host = host
        self.container = container

    def drain(self) -> None:
        """Take its work off it; raises what the shell raises, or :class:`CommandError`."""
        self._command(self.container.maintenance.drain, "draining it")

    def undrain(self) -> None:
        """Give it its work again; raises as :meth:`drain` does."""
        self._command(self.container.maintenance.undrain, "giving it its work again")

    def see_that_it_is_well(self, when: str, looks: int = LOOKS) -> None:
        """Raise :class:`ProofError` where it is not well by the last look; ``when`` is said."""
        if ill := self.what_is_wrong(looks):
            raise ProofError(f"not well {when}: {ill}", where=self.container.name)

    def what_is_wrong(self, looks: int = LOOKS) -> str:
        """What its health check says in the end; empty where it is well."""

        def look() -> str:
            self.forget_connection()
            return wrong_in(look_at(self.host))

        return last_look(look, looks)

    def forget_connection(self) -> None:
        """An open one would answer also where nobody can log in any more."""
        disconnect(self.host)
        run_of(self.host).over_exec.pop(self.container.name, None)

    def _command(self, command: BoundedCommand | None, what: str) -> None:
        if not command:
            return
        # The machine ends it itself: what went on here would take work off it that it has again.
        bounded = f"timeout -k {GRACE} {command.seconds:g} sh -c {shlex.quote(command.run)}"
        done = shell_of(self.host).run(bounded, deadline=command.seconds + 3 * GRACE)
        if done.status in (124, 137):
            raise DeadlineError(
                f"{what} did not end within {command.seconds:g} s, and was ended",
                where=self.container.name,
                remedy="give it more (seconds, of maintenance.drain or undrain), or see what it "
                "waits for",
            )
        done.check(self.container.name, what)
