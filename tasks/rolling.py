"""The order in which the hosts of a fleet get their networks changed or their LXD moved, decided
purely."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tasks.intent.model import LxdHost


def rolling_waves(hosts: Sequence[LxdHost], last: Collection[str] = ()) -> list[list[str]]:
    """The hosts in waves, each of which begins when the one before it has ended well.

    First the canaries (``netplan.canary``), or the first host where none is one; then batches as
    large as every host in them allows (``netplan.batch``); then, one by one, those in ``last``:
    the machines that the run itself depends on.

    Arguments:
        hosts: those whose network changes or whose LXD moves, in the inventory's order.
        last: names of hosts.
    """
    names = [host.name for host in hosts if host.name not in last]
    canaries = [h.name for h in hosts if h.netplan.canary and h.name in names] or names[:1]
    allowed = {host.name: host.netplan.batch for host in hosts}
    waves = [canaries] if canaries else []
    batch: list[str] = []
    for name in (n for n in names if n not in canaries):
        if batch and len(batch) >= min(allowed[n] for n in (*batch, name)):
            waves.append(batch)
            batch = []
        batch.append(name)
    waves += [batch] if batch else []
    return [*waves, *([host.name] for host in hosts if host.name in last)]
