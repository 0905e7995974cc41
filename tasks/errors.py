"""The errors of this project: what went wrong, where, and what to do about it."""

from __future__ import annotations


class FleetError(Exception):
    """Something an operator can act upon.

    ``where`` names the host, file or key, ``what`` says what is wrong, ``remedy`` what to do.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        """Where, what and remedy in one text."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.remedy}" if self.remedy else text


class UsageError(FleetError):
    """The command line or the call asks for something that cannot be."""


class InventoryError(FleetError):
    """The inventory holds mistakes; each is a line of its own in ``mistakes``."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class SecretError(FleetError):
    """A secret's source (environment variable or file) cannot be read."""


class LockedError(FleetError):
    """Another run holds the lock, of the state folder or of an LXD host."""


class UnreachableError(FleetError):
    """No connection to a machine could be made, or it broke."""


class NoAnswerError(UnreachableError):
    """Nothing answers at a machine's address: no connection was made, so nobody was refused."""


class HostKeyError(UnreachableError):
    """The machine's SSH host key is unknown or not the known one."""


class LoginError(UnreachableError):
    """The machine refused the login."""


class DeadlineError(FleetError):
    """Something did not end within its deadline; it may still be running."""


class CommandError(FleetError):
    """A command on a machine ended with a status that means failure."""


class PassableError(CommandError):
    """All of a phase is done but what does not stand in the way of those after it, and what they
    may mend."""


class UnchangedError(FleetError):
    """A change was refused, or tried and undone: nothing of it is left."""


class ProofError(FleetError):
    """What was changed is, read again, not as it was planned."""


class LxdError(FleetError):
    """LXD refused or failed a request."""


class LxdStalledError(LxdError):
    """What LXD had begun made no progress any more, and was given up.

    ``began`` says whether there had been any progress before.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", began: bool) -> None:
        self.began = began
        super().__init__(what, where=where, remedy=remedy)


class LxdUnreachableError(LxdError, UnreachableError):
    """The LXD API does not answer."""


class LxdUntrustedError(LxdError):
    """LXD does not trust the controller's client certificate."""


class LxdCertificateError(LxdError):
    """LXD presents a certificate that is not the pinned one."""


class LxdNotFoundError(LxdError):
    """LXD does not know the object."""


class LxdConflictError(LxdError):
    """Someone else changed the object in between (ETag), twice."""
