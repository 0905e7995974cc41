"""How long certificates are valid, and which of those that are not ours end too soon: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from tasks.actual import HostFacts
from tasks.certificate import expiry_of
from tasks.ownership import CONTROLLER, trust_line

#: How the daemon alone starts anew, which makes what it lacks then (LXD, "Daemon behavior"); there
#: is no command for it (lxd#14465).
_RESTARTS = {"deb": "systemctl restart lxd", "snap": "systemctl reload snap.lxd.daemon"}


@dataclass(frozen=True)
class Lifetime:
    """A certificate's end as seen ``now``; ``least`` is how many days it has to have left."""

    now: datetime
    least: int

    def days(self, pem: str) -> int:
        """Whole days left, less than 0 for one that has expired."""
        return (expiry_of(pem) - self.now).days

    def expired(self, pem: str) -> bool:
        """Whether nobody takes it any more."""
        return expiry_of(pem) <= self.now

    def ends_soon(self, pem: str) -> bool:
        """Whether it has fewer days left than it has to have."""
        return self.days(pem) < self.least

    def told(self, pem: str) -> str:
        """Its end in words."""
        day = f"{expiry_of(pem):%Y-%m-%d}"
        if self.expired(pem):
            return f"expired on {day}"
        days = self.days(pem)
        return f"expires in {days} day{'' if days == 1 else 's'}, on {day}"


def foreign_flaws(actual: HostFacts, known: Collection[str], life: Lifetime) -> Iterator[str]:
    """What ends too soon on an LXD host and is not renewed from here.

    Arguments:
        known: the fingerprints of client certificates that are looked at where they are held.
    """
    server = actual.lxd.certificate
    if server and life.ends_soon(server):
        yield (
            f"the certificate of its LXD server {life.told(server)}; LXD makes a new one where it "
            f"has none: on the host, move server.crt and server.key out of {actual.lxd.folder}, "
            f"then {_RESTARTS[actual.lxd.client]} (containers go on), then run provision.py, which "
            "pins it everywhere"
        )
    for entry in actual.lxd.certificates:
        name, fingerprint = str(entry["name"]), str(entry["fingerprint"])
        ours = trust_line(name, fingerprint) in actual.created
        if not ours or not name.startswith(CONTROLLER) or fingerprint in known:
            continue
        pem = str(entry["certificate"])
        if life.ends_soon(pem):
            yield (
                f"certificate {name} ({fingerprint[:12]}), which it trusts, {life.told(pem)}; that "
                "controller renews it: run maintain.py certificates there, or if it is none any "
                "more: provision.py --prune"
            )
