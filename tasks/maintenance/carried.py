"""The containers that an LXD host carries: how they were before its upkeep they are after it."""

from __future__ import annotations

from functools import partial

from nornir.core.inventory import Host

from tasks.errors import FleetError, ProofError
from tasks.facts.lxd import lxd_facts_of
from tasks.maintenance.look import last_look, look_at, wrong_in
from tasks.run import run_of


class Carried:
    """What runs on an LXD host now, and which of its declared containers are well.

    Raises as :func:`running_on` does.
    """

    def __init__(self, host: Host) -> None:
        run = run_of(host)
        self.host = host
        self.hosts = run.hosts
        self.ran = running_on(host)
        declared = [c.name for c in run.intent.containers_on(host.name) if c.name in self.ran]
        self.well = [name for name in declared if not wrong_in(look_at(self.hosts[name]))]

    def see_that_all_is_as_before(self, what: str) -> None:
        """Raise :class:`ProofError` where something does not run any more, or is not well any more,
        after ``what`` was done to the host, by the last of some looks; :class:`LxdError` where its
        LXD does not answer then."""
        if wrong := last_look(partial(self._wrong, what)):
            raise wrong

    def _wrong(self, what: str) -> FleetError | None:
        try:
            missing = self.ran - running_on(self.host, fresh=True)
        except FleetError as silent:  # it may just be starting anew
            return silent
        if missing:
            return not_running(self.host, missing, f"after {what}")
        ill = {n: said for n in self.well if (said := wrong_in(look_at(self.hosts[n])))}
        self.well = list(ill)  # those seen well again are not asked once more
        if ill:
            said = "; ".join(f"{name}: {why}" for name, why in ill.items())
            return ProofError(f"not well any more after {what}: {said}", where=self.host.name)
        return None


def running_on(host: Host, *, fresh: bool = False) -> frozenset[str]:
    """The instances that run on a machine, declared or not; none where it is no LXD host.

    Arguments:
        fresh: read again, in one exchange, instead of using what this run has read.

    Raises what reading the host raises, and :class:`LxdError` where its LXD does not answer: what
    it carries is then not known.
    """
    if host.name not in run_of(host).intent.lxd_hosts:
        return frozenset()
    instances = lxd_facts_of(host, fresh=fresh).instances
    return frozenset(n for n, each in instances.items() if each.get("status") == "Running")


def not_running(host: Host, missing: frozenset[str], after: str) -> ProofError:
    """The error that says which of them do not run any more, ``after`` what."""
    return ProofError(
        f"these ran before and do not {after}: {', '.join(sorted(missing))}",
        where=host.name,
        remedy="look at: lxc list, and journalctl -u lxd or snap.lxd.daemon",
    )
