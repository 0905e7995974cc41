"""A change of a host's network that an earlier run has begun and does not confirm any more."""

from __future__ import annotations

import time
from contextlib import suppress

from nornir.core.inventory import Host

from tasks.actual import HostFacts
from tasks.errors import DeadlineError, UnreachableError
from tasks.facts.host import facts_of
from tasks.onhost import on_host
from tasks.transport import lock_host, shell_of

#: Seconds that a host needs beyond the time for a confirmation, to be back as it was.
GRACE = 15.0


def facts_when_settled(host: Host, confirm_seconds: float) -> HostFacts:
    """Wait until such a change is decided, and read the host again.

    The host takes it back by itself, unless who made it confirms it after all. The host's lock is
    taken first, so that a run at work is not waited for: it holds that. One exec waits on the host;
    a second one where the first broke with the network that it came over. Where it is not decided
    in time, the facts say so.

    Arguments:
        confirm_seconds: what a change has at most until it is taken back.

    Raises :class:`LockedError`, and as :func:`tasks.facts.host.facts_of` does.
    """
    lock_host(host)
    until = time.monotonic() + confirm_seconds + GRACE
    for _ in range(2):
        left = max(1.0, until - time.monotonic())
        with suppress(UnreachableError, DeadlineError):
            shell_of(host).run(on_host("await_network", f"{left:.0f}"), deadline=left + GRACE)
            break
    return facts_of(host, fresh=True)
