"""What was read of LXD on a host, for those who act upon it: an LXD that is silent is not empty."""

from __future__ import annotations

from nornir.core.inventory import Host

from tasks.actual import LxdFacts
from tasks.errors import LxdError
from tasks.facts.host import facts_of


def lxd_facts_of(host: Host, *, fresh: bool = False) -> LxdFacts:
    """The LXD of a host, read once a run, or again with ``fresh``; empty where there is none yet.

    Raises as :func:`tasks.facts.host.facts_of` does, and :class:`LxdError` where LXD is there and
    does not answer: what it has is then not known.
    """
    return answering(host.name, facts_of(host, fresh=fresh).lxd)


def answering(host: str, lxd: LxdFacts) -> LxdFacts:
    """The facts of the LXD host of that name.

    Raises :class:`LxdError` where its LXD does not answer.
    """
    if not lxd.problem:
        return lxd
    if lxd.move:
        raise LxdError(
            f"LXD does not answer ({lxd.problem}), its move to the snap is not over",
            where=host,
            remedy=f"run provision.py --phase lxd --limit {host}, which finishes it",
        )
    raise LxdError(
        f"LXD does not answer ({lxd.problem})",
        where=host,
        remedy=f"on that host: systemctl status {lxd.unit}; journalctl -u {lxd.unit}; "
        f"systemctl start {lxd.unit}",
    )
