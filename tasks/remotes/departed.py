"""Remotes and trust that we made and that the inventory no longer has.

They are reported. With ``--prune`` they are removed, and the host forgets that they were ours; a
user's default remote stays, since its client would do nothing without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.actual import HostFacts
from tasks.intent.model import LxdHost
from tasks.ownership import CONTROLLER
from tasks.plan import Step, text_diff
from tasks.remotes.client_config import default_remote_of, remotes_of
from tasks.remotes.peer import Peer, owner_of, present_certificates, trust_name
from tasks.remotes.show import shown_entry
from tasks.remotes.writes import RemotesWrite

WHY = "no longer in the inventory"


def plan_departed(
    wanted: LxdHost, actual: HostFacts, peers: Sequence[Peer], *, prune: bool
) -> Iterator[Step[RemotesWrite] | str]:
    """A step for each that is removed, a note for each that stays.

    Arguments:
        peers: all LXD hosts of the fleet; what an unreachable one of them has here stays as it is.
        prune: remove them, instead of only telling.
    """
    names = {peer.name for peer in peers}
    trusted = {trust_name(peer.host, user) for peer in peers for user in peer.host.client_users}
    present = present_certificates(peers)  # a renamed host's is trusted under its former name
    for line in sorted(actual.created):
        word, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        if word == "remote" and not (second in names and first in wanted.client_users):
            yield from _remote(actual, line, first, second, prune)
        elif word == "trust" and not (
            first in trusted or second in present or first.startswith(CONTROLLER)
        ):
            yield from _trust(actual, line, first, second, prune)


def _remote(
    actual: HostFacts, line: str, user: str, remote: str, prune: bool
) -> Iterator[Step[RemotesWrite] | str]:
    what = f"remote {remote}{owner_of(user)}"
    folder = actual.clients.get(user)
    entry = remotes_of(folder, actual.name).get(remote) if folder else None
    pinned = folder.server_certificates.get(remote) if folder else None
    if folder is None or (entry is None and pinned is None):
        yield from _forgotten(what, line, prune)
    elif default_remote_of(folder, actual.name) == remote:
        yield (
            f"{what} is {WHY} and stays, since it is the default remote; "
            "give another one with lxc remote switch"
        )
    elif not prune:
        yield f"{what} is {WHY}; --prune removes it"
    else:
        yield Step(
            "delete",
            what,
            RemotesWrite(
                (f"unpin {user} {remote}",) if pinned else (),
                user,
                remote,
                gone=entry is not None,
                last=(f"forget {line}",),
            ),
            detail=WHY,
            diff=text_diff(shown_entry(entry, pinned), "", what),
        )


def _trust(
    actual: HostFacts, line: str, name: str, fingerprint: str, prune: bool
) -> Iterator[Step[RemotesWrite] | str]:
    what = f"certificate {name}"
    if fingerprint not in actual.lxd.trusted:
        yield from _forgotten(what, line, prune)
    elif not prune:
        yield f"{what} ({fingerprint[:12]}) is trusted and {WHY}; --prune removes it"
    else:
        write = RemotesWrite((f"untrust {fingerprint}",), last=(f"forget {line}",))
        yield Step("distrust", what, write, detail=f"{fingerprint[:12]}, {WHY}")


def _forgotten(what: str, line: str, prune: bool) -> Iterator[Step[RemotesWrite]]:
    """Somebody has removed it already; what may come there under its name is no longer ours."""
    if prune:
        yield Step("forget", what, RemotesWrite(last=(f"forget {line}",)), detail="it is gone")
