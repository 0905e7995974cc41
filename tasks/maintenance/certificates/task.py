"""The Nornir task that looks at certificates and renews those that are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts
from tasks.answering import answering
from tasks.certificate import fingerprint_of
from tasks.errors import FleetError
from tasks.facts.host import facts_of
from tasks.intent.model import LxdHost
from tasks.maintenance.certificates.expiry import Lifetime, foreign_flaws
from tasks.maintenance.certificates.plan import (
    LetGo,
    Owned,
    Peers,
    Renew,
    RenewalWrite,
    first_to_end,
    former_of,
    plan_renewal,
)
from tasks.maintenance.certificates.writes import (
    let_go,
    make_successors,
    trust,
    use_successors,
)
from tasks.maintenance.moments import clock
from tasks.outcome import converge, result_of
from tasks.ownership import own_trust_name
from tasks.plan import Plan
from tasks.remotes.client_config import remotes_of
from tasks.remotes.peer import trust_name
from tasks.run import Run, run_of
from tasks.transport import lock_host

PHASE = "certificates"


def renew_certificates(task: Task, dry_run: bool | None = None) -> Result:
    """See how many days the certificates of an LXD host have left, and renew the clients' of ours.

    Ours are the client certificates of its users (``lxd.users``), and this controller's, which the
    first LXD host sees to that was read. With fewer days left than ``maintenance.certificates`` a
    new one of the same key is made beside it, trusted by every LXD host of the fleet, then brought
    into use and proven by requests; then the former one is no longer trusted. So there is no
    moment without access, and a run that is killed is finished by the next one. While an LXD host
    cannot be told, the one in use stays, unless it has expired.

    LXD's own certificate and those of other controllers are only looked at. All of it is in the one
    read of each LXD host.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``certificates``; failed with everything that ends too
    soon, or has expired, and was not, or too late, renewed. Errors are in it, never raised.
    """
    with run_of(task).renewing():  # it writes on the other hosts as well
        return _Certificates(task.host).result(task, dry_run)


class _Certificates:
    """The certificates that one LXD host sees to."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.run = run_of(host)
        self.wanted = self.run.intent.lxd_hosts[host.name]
        self.life = Lifetime(clock(), self.wanted.maintenance.certificates)
        self.flaws: list[str] | None = None

    def result(self, task: Task, dry_run: bool | None) -> Result:
        """Renew what ends soon; failed with all that is wrong besides."""
        done = converge(
            task,
            PHASE,
            plan=self._plan,
            apply=self._apply,
            dry_run=dry_run,
            ready=lambda: lock_host(self.host),
        )
        entry = done.result
        if self.flaws:
            error = [entry["message"]] if entry["status"] == "failed" else []
            said = "; ".join((*error, *self.flaws))
            entry = {**entry, "status": "failed", "message": said}
        return result_of(task, entry)

    def _plan(self, fresh: bool) -> Plan[RenewalWrite]:
        actual = facts_of(self.host, fresh=fresh)
        answering(self.host.name, actual.lxd)
        if not actual.lxd.running:
            return Plan(reason="its LXD is not set up")
        peers = self._peers(fresh=fresh)
        owned = list(self._owned(peers))
        steps, wrong = plan_renewal(owned, peers, self.life)
        flaws = [*foreign_flaws(actual, _looked_at(self.run, peers), self.life), *wrong]
        if self.flaws is None:  # as they were before anything was done about them
            self.flaws = flaws
        seen = [(one.what, one.pem) for one in owned]
        if actual.lxd.certificate:
            seen.append(("its server's", actual.lxd.certificate))
        reason = "" if steps else first_to_end(seen, self.life)
        return Plan(tuple(steps), reason=reason)

    def _peers(self, *, fresh: bool = False) -> Peers:
        """The fleet's LXD hosts as read, or read again; those that were not yet are read only where
        there is something to renew, which they have to know of."""
        run = self.run
        candidates = (*_of_users(run, self.wanted), *_of_controller(run))
        renews = any(one.successor or self.life.ends_soon(one.pem) for one in candidates)
        facts: dict[str, HostFacts] = {}
        closed: dict[str, str] = {}
        for name in run.intent.lxd_hosts:
            if not renews and name not in run.facts:
                continue
            again = fresh and name in run.facts and name != self.host.name
            with suppress(FleetError):  # its own failure; it is not in the facts then
                facts[name] = facts_of(run.hosts[name], fresh=again)
            if name not in facts:
                closed[name] = "unreachable" if name in run.unreachable else "not read"
            elif not facts[name].lxd.running:
                lxd = facts.pop(name).lxd
                if lxd.problem:  # where LXD was never started nobody is let in yet
                    closed[name] = "its LXD does not answer"
            elif name not in run.selected:
                closed[name] = "not among what was selected"
        return Peers(facts, closed)

    def _owned(self, peers: Peers) -> Iterator[Owned]:
        yield from _of_users(self.run, self.wanted)
        first = next((h for h in self.run.intent.lxd_hosts if h in peers.open()), None)
        if first == self.host.name:
            yield from _of_controller(self.run)

    def _apply(self, planned: Plan[RenewalWrite]) -> None:
        writes = [step.write for step in planned.steps]
        renewals = [write for write in writes if isinstance(write, Renew)]
        owned = [renewal.owned for renewal in renewals]
        peers = self._peers()
        successors = make_successors(self.host, self.run, owned)
        for name in peers.open() if successors else ():
            trust(self.run.hosts[name], successors)
        used = [renewal.owned for renewal in renewals if renewal.use]
        if used:
            use_successors(self.host, self.run, used)
        # what was in use until now is a former one of what is in use now
        now = [replace(one, pem=successors[one.name], beside=None) for one in used]
        going = [LetGo(one.name, former_of(one, peers)) for one in now]
        going += [write for write in writes if isinstance(write, LetGo)]
        for name in peers.open():
            former = [(go.name, fp) for go in going for fp in go.former.get(name, ())]
            let_go(self.run.hosts[name], former)


def _of_users(run: Run, wanted: LxdHost) -> Iterator[Owned]:
    actual = run.facts[wanted.name]
    for user in wanted.client_users:
        folder = actual.clients.get(user)
        if folder is None or folder.certificate is None:
            continue
        elsewhere = tuple(
            name
            for name, entry in remotes_of(folder, actual.name).items()
            if name not in run.intent.lxd_hosts and _knows_its_clients(entry or {})
        )
        yield Owned(
            trust_name(wanted, user),
            folder.certificate,
            user,
            folder.next_certificate,
            elsewhere,
        )


def _knows_its_clients(entry: dict[str, object]) -> bool:
    """Whether a remote is an LXD server that trusts certificates: no image server, no socket."""
    address, protocol = str(entry.get("addr") or ""), entry.get("protocol") or "lxd"
    return protocol == "lxd" and not entry.get("public") and not address.startswith("unix:")


def _of_controller(run: Run) -> Iterator[Owned]:
    certificate = run.state.client_certificate(create=False)
    if certificate:
        yield Owned(own_trust_name(), certificate.pem, beside=run.state.next_certificate())


def _looked_at(run: Run, peers: Peers) -> set[str]:
    """The fingerprints of this controller's certificates, those that it had before among them."""
    found: set[str] = set()
    for one in _of_controller(run):
        found |= {fingerprint_of(pem) for pem in (one.pem, one.successor) if pem}
        found |= {f for former in former_of(one, peers).values() for f in former}
    return found
