"""A change of a host's network that undoes itself unless a new connection confirms it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from nornir.core.inventory import Host

from tasks.actual import HostFacts
from tasks.bridges.compare import NetworkWrite
from tasks.bridges.render import member_of, render_netplan
from tasks.errors import DeadlineError, FleetError, UnreachableError
from tasks.intent.model import LxdHost
from tasks.onhost import on_host
from tasks.plan import Plan
from tasks.shell import Completed
from tasks.ssh.login import CONNECT_DEADLINE, tcp_socket
from tasks.transport import shell_of

#: Seconds between two attempts to connect anew.
PAUSE = 1.0
#: Seconds to wait for the script that makes the change, at most half of what it has until it is
#: undone: the connection to it may have fallen silent, and the rest is for connecting anew.
APPLY_DEADLINE = 20.0


def change_network(
    host: Host, wanted: LxdHost, actual: HostFacts, plan: Plan[NetworkWrite]
) -> None:
    """Apply our netplan file, then confirm over a new SSH connection.

    The host arms its own way back first, so that neither a lost connection nor a killed run
    leaves it without its network for more than ``wanted.netplan.confirm_seconds``.
    Raises :class:`FleetError` where the change was refused or has been undone.
    """
    script = on_host("apply_netplan", *_arguments(wanted, actual, plan))
    text = render_netplan(wanted).encode()
    seconds = wanted.netplan.confirm_seconds
    started = time.monotonic()
    try:
        done = shell_of(host).run(script, stdin=text, deadline=min(APPLY_DEADLINE, seconds / 2))
    except (UnreachableError, DeadlineError):
        pass  # the connection may well break or fall silent here; whether the host is back decides
    else:
        _check(done, wanted)
    _confirm(host, wanted, until=started + seconds)


def _arguments(wanted: LxdHost, actual: HostFacts, plan: Plan[NetworkWrite]) -> Iterable[str]:
    yield from (wanted.netplan.file, f"{wanted.netplan.confirm_seconds:.0f}")
    for step in plan.steps:
        if step.write == "take over":
            yield from ("replace", step.object)
        elif step.write == "unplug":
            yield from ("unplug", step.object)
        elif step.write == "strip":
            yield from ("strip", step.object, step.detail)
    for bridge in wanted.bridges:
        member = member_of(wanted, bridge)
        attachment = wanted.attachments.get(bridge.network)
        address = str(attachment.address) if attachment and attachment.address else "-"
        for link in (bridge.name, member):
            if link and link not in actual.links:
                yield from ("new", link)
        now = actual.links.get(member) if member else None
        if now and now.master != bridge.name:
            yield from ("plug", now.name)
        yield from ("await", bridge.name, member or "-", address)


def _check(done: Completed, wanted: LxdHost) -> None:
    """What the script's exit status means, for an operator."""
    if done.status == 0:
        return
    said = done.stderr.decode(errors="replace").strip()
    meaning = {
        10: ("netplan refuses the new configuration, nothing was touched", "mend the inventory"),
        11: (
            "an earlier change of the network is not confirmed yet, nothing was touched",
            f"it is undone within {wanted.netplan.confirm_seconds:.0f} s; run again after that",
        ),
        12: ("netplan could not apply the new configuration, the former one is back", ""),
    }
    what, remedy = meaning.get(done.status, ("changing the network failed", ""))
    raise FleetError(f"{what}: {said}" if said else what, where=wanted.name, remedy=remedy)


def _confirm(host: Host, wanted: LxdHost, until: float) -> None:
    """Connect anew, as whoever comes after us will, and disarm the way back."""
    script = on_host("confirm_netplan")
    address, port = host.hostname or wanted.ssh.hostname, host.port or wanted.ssh.port
    while True:
        if "shell" in host.connections:
            host.close_connection("shell")
        try:
            # shell_of may take the host's last known address instead: that would prove nothing
            left = max(PAUSE, min(CONNECT_DEADLINE, until - time.monotonic()))
            tcp_socket(address, port, where=host.name, deadline=left).close()
            done = shell_of(host).run(script, deadline=CONNECT_DEADLINE)
        except UnreachableError as error:
            if time.monotonic() + PAUSE < until:
                time.sleep(PAUSE)
                continue
            raise FleetError(
                f"not reachable at {address} after its network changed ({error.what}); "
                "the host goes back to its former network by itself",
                where=wanted.name,
                remedy="compare nics, vlans and addresses in the inventory with the cabling",
            ) from error
        if done.status == 13:
            raise FleetError(
                "the change of its network was not confirmed in time and has been undone",
                where=wanted.name,
                remedy="run again, with a longer netplan.confirm_seconds if the network is slow",
            )
        done.check(wanted.name, "confirming the change of its network")
        return
