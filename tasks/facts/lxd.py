"""What was read of LXD on a host, for those who act upon it: an LXD that is silent is not empty."""

from __future__ import annotations

from nornir.core.inventory import Host

from tasks.actual import LxdFacts
from tasks.answering import answering
from tasks.facts.host import facts_of


def lxd_facts_of(host: Host, *, fresh: bool = False) -> LxdFacts:
    """The LXD of a host, read once a run, or again with ``fresh``; empty where there is none yet.

    Raises as :func:`tasks.facts.host.facts_of` does, and :class:`LxdError` where LXD is there and
    does not answer: what it has is then not known.
    """
    return answering(host.name, facts_of(host, fresh=fresh).lxd)
