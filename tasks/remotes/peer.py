"""An LXD host of the fleet as another one sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.actual import HostFacts
from tasks.certificate import fingerprint_of
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
    """The name under which a peer's user is trusted: the host's for root, else USER@HOST, which is
    no other host's."""
    return peer.name if user == "root" else f"{user}@{peer.name}"


def present_certificates(peers: Iterable[Peer]) -> frozenset[str]:
    """The fingerprints of the certificates that the users of those peers have that were read."""
    return frozenset(
        fingerprint_of(folder.certificate)
        for peer in peers
        if peer.facts
        for user, folder in peer.facts.clients.items()
        if folder.certificate and user in peer.host.client_users
    )


def owner_of(user: str) -> str:
    """Whose remote it is, after its name: nothing for root's, else `` of USER``."""
    return "" if user == "root" else f" of {user}"
