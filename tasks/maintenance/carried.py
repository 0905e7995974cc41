"""The containers that an LXD host carries: what ran before its upkeep has to run after it."""

from __future__ import annotations

from nornir.core.inventory import Host

from tasks.errors import ProofError
from tasks.facts.host import facts_of
from tasks.run import run_of


def running_on(host: Host, *, fresh: bool = False) -> frozenset[str]:
    """The instances that run on a machine, declared or not; none where it is no LXD host.

    Arguments:
        fresh: read again, in one exchange, instead of using what this run has read.

    Raises what reading the host raises.
    """
    if host.name not in run_of(host).intent.lxd_hosts:
        return frozenset()
    instances = facts_of(host, fresh=fresh).lxd.instances
    return frozenset(n for n, each in instances.items() if each.get("status") == "Running")


def not_running(host: Host, missing: frozenset[str], after: str) -> ProofError:
    """The error that says which of them do not run any more, ``after`` what."""
    return ProofError(
        f"these ran before and do not {after}: {', '.join(sorted(missing))}",
        where=host.name,
        remedy="look at: lxc list, and journalctl -u lxd or snap.lxd.daemon",
    )
