"""An LXD host of the fleet as another one sees it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.actual import HostFacts
from tasks.intent.model import LxdHost


@dataclass(frozen=True)
class Peer:
    """An LXD host and what this run has read of it; without ``facts`` it could not be read."""

    host: LxdHost
    facts: HostFacts | None

    @property
    def name(self) -> str:
        """Its inventory name, which is the remote's."""
        return self.host.name


def trust_name(peer: LxdHost, user: str) -> str:
    """The name under which a peer's user is trusted: the host's for root, else HOST-USER."""
    return peer.name if user == "root" else f"{peer.name}-{user}"


def owner_of(user: str) -> str:
    """Whose remote it is, after its name: nothing for root's, else `` of USER``."""
    return "" if user == "root" else f" of {user}"
