"""Who has the address that a container is to get: nobody else, or it is neither made, started nor
bootstrapped."""

from __future__ import annotations

import paramiko

from tasks.actual import MachineFacts
from tasks.errors import FleetError
from tasks.intent.model import Container, Intent
from tasks.run import Run
from tasks.ssh.host_keys import machine_of
from tasks.ssh.login import Answer, who_answers

#: Seconds for a connection to an address that should be nobody's yet.
PROBE_DEADLINE = 1.0


def who_has_address_of(container: Container) -> Answer | None:
    """Who answers at a container's address; None where nobody does, not in time, or it has none."""
    ssh = container.ssh
    if not ssh.hostname:
        return None
    return who_answers(ssh.hostname, ssh.port, deadline=PROBE_DEADLINE)


def see_that_it_is_free(
    container: Container, actual: MachineFacts, answer: Answer, run: Run
) -> None:
    """See that who answers at a container's address is that container itself.

    By the SSH host key that is shown there. Who shows none is another machine where the container
    has not got the address yet.

    Arguments:
        container: what the inventory declares.
        actual: what was read of it over exec; nothing for one that does not exist yet.
        answer: of its address.
        run: knows other machines by their keys, and what becomes of them in this run.

    A machine that this run takes the address from is in nobody's way. Raises :class:`FleetError`
    naming the machine that has the address.
    """
    address = container.ssh.hostname
    if address not in _addresses(container):
        return
    shown = answer.key
    if shown is None:
        if _has_it(container, actual):
            return
        raise FleetError(
            f"{address} is in use: another machine answers there, without SSH",
            where=container.name,
            remedy=remedy_for("", run.intent),
        )
    if _is_its_own(container, actual, shown):
        return
    holder = machine_of(shown, run.state.known_hosts)
    if holder == container.name or lets_go(holder, address, run):
        return
    raise FleetError(
        f"{address} answers as {holder or 'another machine'}, by its SSH host key "
        f"{shown.fingerprint}",
        where=container.name,
        remedy=remedy_for(holder, run.intent),
    )


def _addresses(container: Container) -> set[str]:
    """Its own ones: a host name, or what forwards to it, may well answer before it does."""
    return {str(a.ip) for found in container.attachments.values() for a in found.addresses}


def _has_it(container: Container, actual: MachineFacts) -> bool:
    there = {str(a.ip) for found in actual.addresses.values() for a in found}
    return container.ssh.hostname in there


def _is_its_own(container: Container, actual: MachineFacts, shown: paramiko.PKey) -> bool:
    kind, _, key = actual.host_key.partition(" ")
    if not _has_it(container, actual):
        return False
    return kind != shown.get_name() or key == shown.get_base64()  # of another kind it has more


def lets_go(holder: str, address: str, run: Run) -> bool:
    """Whether this run retires a machine, or gives it another address than this one."""
    if holder in run.leaving:
        return True
    if holder not in run.selected:
        return False
    declared = run.intent.machine(holder).attachments.values()
    return all(str(a.ip) != address for found in declared for a in found.addresses)


def remedy_for(holder: str, intent: Intent) -> str:
    """What to do about who has an address; ``holder`` is "" where that is not known by name."""
    if not holder:
        return "find that machine and give one of the two another address"
    remedy = f"stop {holder}, or give one of the two another address"
    if holder in intent.names():
        return remedy
    return f"{remedy}; --prune stops and renames a container that left the inventory"
