"""The proof from inside each machine that what was declared is there. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from nornir.core.task import Result, Task

from tasks.actual import MachineFacts, UnitFacts
from tasks.configure.services import ACTIVE
from tasks.facts.machine import read_machine
from tasks.intent.model import Attachment, Container, Intent, LxdHost, Machine
from tasks.outcome import Attempt, record, result_of
from tasks.plan import Plan
from tasks.remotes.edges import prove_edges
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of


@dataclass(frozen=True)
class Target:
    """An address that a machine must reach, and what it is to it."""

    address: str
    what: str


def prove_machine(task: Task) -> Result:
    """Look from inside a machine whether what was declared is there.

    A container pings its gateways and its LXD host on every network they share, LXD hosts ping
    each other; addresses, default route, timezone and running services are as declared, and so is
    that SSH answers, unless a container has no address for it: then all this is seen through its
    LXD host. LXD hosts also ask every one of their remotes. One exec, and one more for the remotes.

    ``Result.result`` is the phase's record (see :func:`tasks.outcome.record`), for an LXD host
    with ``edges``: what came of each peer by name. In a dry run nothing is proven.
    """
    host = task.host
    run = run_of(task)
    machine = run.intent.machine(host.name)
    if task.is_dry_run():
        return result_of(task, record("prove", "skipped", message="not proven in a dry run"))
    if isinstance(machine, Container) and not machine.running:
        return result_of(task, record("prove", "skipped", message="declared as not running"))
    edges: dict[str, str] = {}
    with Attempt("prove") as attempt:
        targets = targets_of(machine, run.intent)
        reachable = [t for t in targets if t.what not in run.unreachable]
        facts = read_machine(
            shell_of(host), machine, pings=list(dict.fromkeys(t.address for t in reachable))
        )
        failures = [*unanswered(reachable, facts), *not_as_declared(machine, facts)]
        if machine.ssh.hostname and host.name in run.over_exec:
            failures.insert(0, f"SSH does not answer: {run.over_exec[host.name]}")
        if isinstance(machine, LxdHost):
            edges, broken = prove_edges(host)
            failures += broken
    if attempt.error:
        return attempt.result(task)
    entry = record(
        "prove",
        "failed" if failures else "ok",
        plan=Plan(notes=(*_not_asked(targets, run.unreachable), *exec_notes(host))),
        seconds=attempt.seconds,
        message="; ".join(failures) or _well(reachable),
    )
    if isinstance(machine, LxdHost):
        entry["edges"] = edges
    return result_of(task, entry)


def targets_of(machine: Machine, intent: Intent) -> tuple[Target, ...]:
    """What has to answer: a container's gateways and LXD host, an LXD host's peers."""
    targets: list[Target] = []
    peers: list[Machine] = []
    if isinstance(machine, Container):
        gateways = (a.gateway for a in machine.attachments.values() if a.gateway)
        targets = [Target(str(gateway), "its gateway") for gateway in gateways]
        peers = [intent.lxd_hosts[machine.on]]
    elif isinstance(machine, LxdHost):
        peers = [peer for name, peer in intent.lxd_hosts.items() if name != machine.name]
    for peer in peers:
        targets += [
            Target(str(theirs.address.ip), peer.name)
            for network, theirs in peer.attachments.items()
            if theirs.address and _is_in(machine.attachments.get(network))
        ]
    return tuple(dict.fromkeys(targets))


def _is_in(attachment: Attachment | None) -> bool:
    return attachment is not None and attachment.address is not None


def unanswered(targets: Collection[Target], actual: MachineFacts) -> Iterator[str]:
    """A line for each address that does not answer."""
    if targets and not actual.pings:
        yield "there is no ping to prove its network with, declare the package iputils-ping"
        return
    for target in targets:
        if not actual.pings.get(target.address, False):
            yield f"no answer to ping from {target.address} ({target.what})"


def not_as_declared(machine: Machine, actual: MachineFacts) -> Iterator[str]:
    """A line for each thing declared that is not so inside the machine."""
    everywhere = {address for found in actual.addresses.values() for address in found}
    for network, attachment in machine.attachments.items():
        link = interface_of(machine, attachment)
        found = everywhere if link is None else actual.addresses.get(link, ())
        for address in attachment.addresses:
            if address not in found:
                yield f"{address} is not on {link or f'any interface ({network})'}"
    routed = machine.default_route
    if routed and routed.gateway:
        gateways = [ip_address(gateway) for gateway, _ in actual.default_routes if gateway]
        if routed.gateway not in gateways:
            now = ", ".join(str(gateway) for gateway in gateways) or "nothing"
            yield f"the default route goes to {now}, not to {routed.gateway}"
    wanted = machine.configure
    if wanted.timezone and wanted.timezone != actual.timezone:
        yield f"the timezone is {actual.timezone}, not {wanted.timezone}"
    for service in wanted.services:
        state = actual.units.get(service.name, UnitFacts()).active
        if service.running is not None and service.running != (state in ACTIVE):
            yield f"the service {service.name} is {state}"


def interface_of(machine: Machine, attachment: Attachment) -> str | None:
    """Where an attachment's address lies; None where the inventory does not say."""
    if isinstance(machine, Container):
        return attachment.interface
    if isinstance(machine, LxdHost):
        return f"br-{attachment.network}"
    return None


def _well(targets: Collection[Target]) -> str:
    answered = ", ".join(dict.fromkeys(target.address for target in targets))
    return f"all as declared, answers from {answered}" if answered else "all as declared"


def _not_asked(targets: Collection[Target], unreachable: Collection[str]) -> Iterator[str]:
    for peer in dict.fromkeys(t.what for t in targets if t.what in unreachable):
        yield f"peer {peer} is unreachable, its addresses were not tried"
