"""Which client certificates of ours get a successor, and which former ones are let go: pure.

A certificate is renewed with the key that it has, so that one rename brings the new one into use:
nobody ever reads a certificate and a key that do not belong together. The new one lies beside the
one in use until every LXD host trusts it. Where a run was killed can be seen from that alone: a
new one that is there is brought into use, and one that is trusted under our name, is of the same
key and not in use any more is let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.actual import HostFacts
from tasks.certificate import fingerprint_of, same_key
from tasks.maintenance.certificates.expiry import Lifetime
from tasks.ownership import trust_line
from tasks.plan import Step


@dataclass(frozen=True)
class Owned:
    """A client certificate of ours, as PEM.

    ``name`` is the one under which LXD hosts trust it; ``user`` the Unix user of the LXD host that
    holds it, empty for this controller's; ``beside`` what lies beside it to follow it;
    ``elsewhere`` that user's remotes which are no LXD hosts of the fleet.
    """

    name: str
    pem: str
    user: str = ""
    beside: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Its fingerprint."""
        return fingerprint_of(self.pem)

    @property
    def successor(self) -> str | None:
        """The new one that an earlier run has made for it; None where there is none."""
        return self.beside if self.beside and same_key(self.beside, self.pem) else None

    @property
    def what(self) -> str:
        """What it is called in reports."""
        return f"client certificate {self.name}"


@dataclass(frozen=True)
class Peers:
    """All LXD hosts that have an LXD: those that were read, and why some cannot be written to."""

    facts: Mapping[str, HostFacts]
    closed: Mapping[str, str]

    def trusting(self, pem: str) -> set[str]:
        """Those that are known to trust a certificate."""
        fingerprint = fingerprint_of(pem)
        return {name for name, facts in self.facts.items() if fingerprint in facts.lxd.trusted}

    def open(self) -> list[str]:
        """Those that can be written to."""
        return [name for name in self.facts if name not in self.closed]


@dataclass(frozen=True)
class Renew:
    """Make a successor where there is none, have all hosts trust it, then ``use`` it."""

    owned: Owned
    use: bool


@dataclass(frozen=True)
class LetGo:
    """Have LXD hosts trust a former certificate no more: host -> its fingerprints."""

    name: str
    former: Mapping[str, Sequence[str]]


RenewalWrite = Renew | LetGo


def plan_renewal(
    owned: Sequence[Owned], peers: Peers, life: Lifetime
) -> tuple[list[Step[RenewalWrite]], list[str]]:
    """The steps for certificates of ours, and what is wrong with them and stays so for now.

    One that has expired is brought into use whatever hosts cannot be told of it: it is of no use to
    anybody as it is.
    """
    steps: list[Step[RenewalWrite]] = []
    flaws: list[str] = []
    for one in owned:
        step, wrong = _renewed(one, peers, life)
        steps += [step] if step else []
        flaws += wrong
        former = former_of(one, peers)
        if former and not (step and isinstance(step.write, Renew) and step.write.use):
            steps.append(_let_go(one, former))
    return steps, flaws


def former_of(one: Owned, peers: Peers) -> dict[str, list[str]]:
    """The certificates that this one has followed, by the hosts that still trust them because of
    us and can be told otherwise."""
    keep = {one.fingerprint, *([fingerprint_of(one.successor)] if one.successor else [])}
    found = {
        name: [
            entry["fingerprint"]
            for entry in peers.facts[name].lxd.certificates
            if entry["fingerprint"] not in keep
            and trust_line(one.name, entry["fingerprint"]) in peers.facts[name].created
            and same_key(str(entry["certificate"]), one.pem)
        ]
        for name in peers.open()
    }
    return {name: fingerprints for name, fingerprints in found.items() if fingerprints}


def _renewed(
    one: Owned, peers: Peers, life: Lifetime
) -> tuple[Step[RenewalWrite] | None, list[str]]:
    successor = one.successor
    if not successor and not life.ends_soon(one.pem):
        return None, []
    end = life.told(one.pem)
    if one.elsewhere and not successor:
        return None, [
            f"{one.what} {end} and is not renewed: {one.user} has remotes that are not of this "
            f"fleet ({', '.join(one.elsewhere)}), which would not know the new one; remove these "
            "remotes, or renew it by hand"
        ]
    expired = life.expired(one.pem)
    trusting = peers.trusting(successor) if successor else set()
    waits = {n: why for n, why in peers.closed.items() if n not in trusting and not expired}
    flaws = [f"{one.what} {end}: until it is renewed nobody takes it"] if expired else []
    if waits:
        told = ", ".join(f"{name} ({why})" for name, why in waits.items())
        flaws.append(f"{one.what} {end}; a new one is used once these trust it too: {told}")
        if successor and trusting >= set(peers.open()):
            return None, flaws
    return Step(
        "prepare" if waits else "renew",
        one.what,
        Renew(one, use=not waits),
        detail=end,
        diff=f"-{one.what}: {end}\n+{one.what}: a new one of the same key",
    ), flaws


def _let_go(one: Owned, former: Mapping[str, Sequence[str]]) -> Step[RenewalWrite]:
    fingerprints = sorted({f[:12] for found in former.values() for f in found})
    return Step(
        "distrust",
        f"former {one.what}",
        LetGo(one.name, former),
        detail=f"{', '.join(fingerprints)} on {', '.join(former)}",
    )


def first_to_end(named: Sequence[tuple[str, str]], life: Lifetime) -> str:
    """How many certificates were looked at and which of them ends first, in words."""
    if not named:
        return "no certificates"
    what, pem = min(named, key=lambda each: life.days(each[1]))
    many = f"{len(named)} certificate{'' if len(named) == 1 else 's'}"
    return f"{many} looked at, the first to end: {what}, which {life.told(pem)}"
