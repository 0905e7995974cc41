"""What a machine's health is judged by: the checks that its inventory declares, typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: Percent of a file system, and of its inodes, that may be in use where nothing is declared.
FULL = 90


@dataclass(frozen=True)
class ServiceCheck:
    """A systemd unit that is active."""

    name: str


@dataclass(frozen=True)
class PortCheck:
    """A TCP port that something listens on, on the machine itself."""

    number: int


@dataclass(frozen=True)
class DiskCheck:
    """How full the file system at a mount point may be, in percent of its space and its inodes."""

    percent: int = FULL
    path: str = "/"


@dataclass(frozen=True)
class CommandCheck:
    """A command for ``sh`` that ends with exit status 0 within ``seconds``."""

    run: str
    seconds: int = 10


@dataclass(frozen=True)
class MemoryCheck:
    """How much of the machine's memory may be in use, in percent."""

    percent: int


@dataclass(frozen=True)
class ClockCheck:
    """By how many seconds the machine's clock may differ from the controller's."""

    seconds: float


@dataclass(frozen=True)
class HttpCheck:
    """A page that answers a GET with one of these statuses.

    ``ca`` holds the certificates (PEM) that alone are trusted then; without it, it is the
    system's trust store.
    """

    url: str
    status: tuple[int, ...] = (200,)
    ca: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SipCheck:
    """A SIP server that answers OPTIONS with 2xx, or with one of the statuses named besides."""

    address: str
    port: int = 5060
    transport: Literal["udp", "tcp"] = "udp"
    status: tuple[int, ...] = ()


#: Looked at on the machine itself, all in one exchange.
InsideCheck = ServiceCheck | PortCheck | DiskCheck | CommandCheck | MemoryCheck | ClockCheck
#: Asked from the controller.
OutsideCheck = HttpCheck | SipCheck
HealthCheck = InsideCheck | OutsideCheck
