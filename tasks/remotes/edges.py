"""Every edge of the mesh, proven by a real request over it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from nornir.core.inventory import Host

from tasks.facts.host import facts_of
from tasks.onhost import on_host
from tasks.remotes.peer import owner_of
from tasks.run import Run, run_of
from tasks.transport import shell_of

#: Seconds for all edges of a host; each of them has 10.
DEADLINE = 30.0
#: What can come of an edge, from the worst to the best.
OUTCOMES = ("certificate mismatch", "untrusted", "failed", "unreachable", "ok")
#: The words in which Go's network library says that nobody answers.
_UNREACHABLE = re.compile(
    r"i/o timeout|no route to host|connection refused|network is unreachable|deadline exceeded"
)


def prove_edges(host: Host) -> tuple[dict[str, str], list[str]]:
    """Ask every remote of an LXD host for its server, as each of the host's client users.

    One exec, all requests at once. Returns what came of each peer (one of :data:`OUTCOMES`, the
    worst over the users), and the failures as lines for an operator. A peer that this run could
    not reach either, or whose LXD it saw not running, is no failure of the host that asks.
    """
    run = run_of(host)
    facts = facts_of(host)
    users = [
        user
        for user in run.intent.lxd_hosts[host.name].client_users
        if user in facts.clients  # one that does not exist there has no remotes
    ]
    pairs = [word for user in users for peer in run.intent.lxd_hosts for word in (user, peer)]
    if not pairs:
        return {}, []
    script = on_host("ask_remotes", facts.lxd.client, *pairs)
    done = shell_of(host).run(script, deadline=DEADLINE)
    done.check(host.name, "asking its remotes")
    heard = []
    failures = []
    for line in done.text.splitlines():
        user, peer, status, auth, *said = line.split(" ")
        text = base64.b64decode("".join(said)).decode(errors="replace").strip()
        outcome = outcome_of(int(status), auth, text)
        excused = outcome in ("failed", "unreachable") and _is_down(run, peer)
        if excused:
            outcome = "unreachable"  # failed: it never had a remote to it, say
        heard.append((peer, outcome))
        if outcome != "ok" and not excused:
            failures.append(_line(user, peer, outcome, text))
    return worst_by_peer(heard), failures


def worst_by_peer(heard: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Peers and outcomes as several users have heard them -> the worst of each peer, by name."""
    edges: dict[str, str] = {}
    for peer, outcome in sorted(heard):
        edges[peer] = min(outcome, edges.get(peer, outcome), key=OUTCOMES.index)
    return edges


def _is_down(run: Run, peer: str) -> bool:
    return peer in run.unreachable or (peer in run.facts and not run.facts[peer].lxd.running)


def outcome_of(status: int, auth: str, said: str) -> str:
    """What a request over a remote came to: the client's exit status, LXD's ``auth``, its words."""
    if status == 0:
        return "ok" if auth == "trusted" else "untrusted"
    if status in (124, 137) or _UNREACHABLE.search(said):
        return "unreachable"
    if "x509" in said or "certificate" in said.lower():
        return "certificate mismatch"
    return "failed"


def _line(user: str, peer: str, outcome: str, said: str) -> str:
    remedies = {
        "unreachable": f"see on {peer} whether LXD listens: lxc config get core.https_address",
        "untrusted": "run the phase remotes, which makes the peer trust this user again",
        "certificate mismatch": "see what answers at that address; if it is the peer, the phase "
        "remotes pins what SSH reads there",
        "failed": f"try it there: lxc query {peer}:/1.0",
    }
    what = {
        "certificate mismatch": "presents another certificate than the pinned one",
        "failed": "failed",
    }.get(outcome, f"is {outcome}")
    why = f" ({said.splitlines()[-1].removeprefix('Error: ')})" if said else ""
    return f"remote {peer}{owner_of(user)} {what}{why}; {remedies[outcome]}"
