"""The certificates of controllers in an LXD host's trust store: a pure plan for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.actual import HostFacts
from tasks.certificate import fingerprint_of
from tasks.lxd_server.writes import LxdWrite, OnHost
from tasks.ownership import trust_line
from tasks.plan import Step


@dataclass(frozen=True)
class TrustedClient:
    """Who manages the fleet: the name and the client certificate that LXD shall trust.

    ``certificate`` is None where it is still to be made, as in a dry run before the first run;
    ``successor`` is one that is to follow it, and may be trusted already.
    """

    name: str
    certificate: str | None
    successor: str | None = None

    @property
    def fingerprint(self) -> str | None:
        """The certificate's fingerprint."""
        return fingerprint_of(self.certificate) if self.certificate else None


def plan_trust(actual: HostFacts, controller: TrustedClient) -> Iterator[Step[LxdWrite]]:
    """The step to trust a controller, where LXD does not yet."""
    fingerprint = controller.fingerprint
    if fingerprint not in actual.lxd.trusted:
        detail = fingerprint[:12] if fingerprint else "(certificate to be made)"
        yield Step(
            "trust", f"certificate {controller.name}", OnHost("trust", controller.name), detail
        )


def former_certificates(
    actual: HostFacts, controller: TrustedClient, prune: bool
) -> Iterator[Step[LxdWrite] | str]:
    """A step or a note for each certificate that a controller once had itself trusted with. One
    that was not remembered when it was trusted may be somebody else's."""
    what = f"certificate {controller.name}"
    successor = fingerprint_of(controller.successor) if controller.successor else None
    for fingerprint in sorted(actual.lxd.trusted):
        line = trust_line(controller.name, fingerprint)
        if fingerprint in (controller.fingerprint, successor) or line not in actual.created:
            continue
        if prune:
            detail = f"{fingerprint[:12]}, no longer this controller's"
            write = OnHost("distrust", f"{controller.name} {fingerprint}")
            yield Step("distrust", what, write, detail)
        else:
            yield (
                f"{what} ({fingerprint[:12]}) is trusted and no longer this controller's; "
                "--prune removes it"
            )


def departed_certificates(
    actual: HostFacts, departed: TrustedClient, prune: bool
) -> Iterator[Step[LxdWrite] | str]:
    """A step or a note for the certificate of a machine that is a controller no longer, where we
    had it trusted under another name than its last."""
    fingerprint = departed.fingerprint
    if fingerprint not in actual.lxd.trusted:
        return
    for line in sorted(actual.created):
        kind, _, rest = line.partition(" ")
        name, _, known = rest.rpartition(" ")
        if kind != "trust" or known != fingerprint or name == departed.name:
            continue
        what = f"certificate {name}"
        if prune:
            write = OnHost("distrust", f"{name} {fingerprint}")
            yield Step("distrust", what, write, f"{fingerprint[:12]}, of no controller any more")
        else:
            yield f"{what} ({fingerprint[:12]}) is trusted and no controller's; --prune removes it"
        return
