"""What a renewal writes: where a certificate is held, and on all LXD hosts that trust it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

from nornir.core.inventory import Host

from tasks.certificate import fingerprint_of
from tasks.errors import FleetError, LxdError, ProofError
from tasks.facts.host import facts_of
from tasks.lxd_api.connection import api_of
from tasks.maintenance.certificates.plan import Owned
from tasks.onhost import on_host
from tasks.ownership import trust_line
from tasks.remotes.edges import prove_edges
from tasks.remotes.writes import encoded
from tasks.run import Run
from tasks.transport import disconnect, lock_host, shell_of

#: Seconds for one exec on a host: a certificate is made in less than one of them.
DEADLINE = 60.0


def make_successors(host: Host, run: Run, owned: Iterable[Owned]) -> dict[str, str]:
    """The successor of each certificate (PEM) by its name, made where there is none yet."""
    made = {one.name: one.successor for one in owned if one.successor}
    users = {one.user: one.name for one in owned if one.user and one.name not in made}
    if users:
        words = [word for user in users for word in ("make", user)]
        for line in _renew_client(host, words).splitlines():
            user, _, pem = line.partition(" ")
            made[users[user]] = base64.b64decode(pem).decode()
    for one in owned:
        if one.name not in made:
            made[one.name] = run.state.make_next_certificate()
    return made


def use_successors(host: Host, run: Run, owned: Sequence[Owned]) -> None:
    """Have successors that are trusted take the place of what they follow, and prove them: by a
    request over each of the users' remotes, and to each LXD that this controller knows."""
    users = [one.user for one in owned if one.user]
    if users:
        _use_on_host(host, users)
        _, failures = prove_edges(host)
        if failures:
            raise ProofError(
                f"with the new certificate of {', '.join(users)}: {'; '.join(failures)}",
                where=host.name,
                remedy="the former one is still trusted; run again once this is mended",
            )
    if len(users) < len(owned):
        run.state.use_next_certificate()
        _prove_controller(run)


def trust(host: Host, successors: dict[str, str]) -> None:
    """Have an LXD host trust certificates (PEM) under these names, those that it does not yet."""
    trusted = facts_of(host).lxd.trusted
    lines = []
    for name, pem in successors.items():
        fingerprint = fingerprint_of(pem)
        if fingerprint not in trusted:  # remembered first, as in sync_remotes
            lines += [f"created {trust_line(name, fingerprint)}", f"trust {name} {encoded(pem)}"]
    _write(host, lines, "trusting new client certificates")


def let_go(host: Host, former: Iterable[tuple[str, str]]) -> None:
    """Have an LXD host trust former certificates no more, each a name and a fingerprint."""
    lines = []
    for name, fingerprint in former:
        lines += [f"untrust {fingerprint}", f"forget {trust_line(name, fingerprint)}"]
    _write(host, lines, "letting go of former client certificates")


def _write(host: Host, lines: Sequence[str], what: str) -> None:
    if not lines:
        return
    lock_host(host)
    script = on_host("sync_remotes", facts_of(host).lxd.client)
    stdin = "".join(f"{line}\n" for line in lines).encode()
    done = shell_of(host).run(script, stdin=stdin, deadline=DEADLINE)
    done.check(host.name, what, remedy="run again: it goes on from there")


def _renew_client(host: Host, words: Iterable[str]) -> str:
    lock_host(host)
    script = on_host("renew_client", facts_of(host).lxd.client, *words)
    done = shell_of(host).run(script, deadline=DEADLINE)
    done.check(host.name, "renewing client certificates", remedy="run again")
    return done.text


def _use_on_host(host: Host, users: Iterable[str]) -> None:
    _renew_client(host, [word for user in users for word in ("use", user)])


def _prove_controller(run: Run) -> None:
    """Ask each LXD whose API this controller knows, over a new connection."""
    failures = []
    for name in run.intent.lxd_hosts:
        host = run.hosts[name]
        disconnect(host, "lxd")
        if run.state.pin(name) is None or name in run.unreachable or name not in run.selected:
            continue
        try:
            server, _ = api_of(host).get("/1.0")
            if server.get("auth") != "trusted":
                failures.append(f"{name} does not trust it")
        except FleetError as error:
            failures.append(str(error))
    if failures:
        raise LxdError(
            f"with this controller's new certificate: {'; '.join(failures)}",
            remedy="the former one is still trusted; run again once this is mended",
        )
