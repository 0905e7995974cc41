"""One read of a machine from inside, for bootstrap, configure and prove alike.

Over SSH where it answers with a known host key; over exec on its LXD host where it does not yet,
or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nornir.core.inventory import Host

from tasks.actual import MachineFacts
from tasks.errors import DeadlineError, FleetError, UnreachableError
from tasks.facts.lxd import lxd_facts_of
from tasks.facts.machine_document import is_whole, parse_machine
from tasks.intent.model import Container, Machine
from tasks.machine.change import Clock
from tasks.machine.managed import HEADER
from tasks.machine.paths import read_packages, read_paths, read_units, secret_paths
from tasks.onhost import on_host
from tasks.run import run_of
from tasks.shell import Completed, Shell
from tasks.transport import exec_shell_of, shell_of, ssh_shell_of

logger = logging.getLogger(__name__)

#: Seconds for one read of a machine that is up.
DEADLINE = 60.0
#: Seconds that the machine has to say itself what it waited for in vain.
_GRACE = 5.0
#: The script's own exit status where it did.
_WAITED = 75
#: And where the machine is of another family.
_NOT_DEBIAN = 76


def machine_facts_of(
    host: Host, *, deadline: float = DEADLINE, over_exec: bool = False
) -> MachineFacts:
    """Read a machine, or take what the phase before has just read (``run.machines``).

    Arguments:
        deadline: seconds, in which a container may also wait until it is up.
        over_exec: read a container through its LXD host where SSH does not answer yet, or
            answers with a key that has to be learned first, or refuses the login.

    Raises :class:`UnreachableError`, :class:`DeadlineError` or :class:`CommandError`.
    """
    run = run_of(host)
    kept = run.machines.pop(host.name, None)  # who takes it may change what it says
    if kept is not None:
        return kept
    machine = run.intent.machine(host.name)
    if not isinstance(machine, Container):
        return read_machine(shell_of(host), machine, deadline=deadline)
    if not over_exec:
        facts = read_machine(shell_of(host), machine, deadline=deadline)
        if host.name in run.over_exec:
            return replace(facts, over="exec")
        _see_that_it_is_meant(host, machine, facts)
        return facts
    if _ssh_may_answer(host, machine):
        try:
            return read_machine(ssh_shell_of(host), machine, deadline=deadline)
        except UnreachableError:
            pass  # not bootstrapped yet, or made anew: its LXD host is asked instead
    return replace(read_machine(exec_shell_of(host), machine, deadline=deadline), over="exec")


def is_there(host: Host) -> bool:
    """Whether a machine can be read: a container that does not run yet cannot."""
    run = run_of(host)
    container = run.intent.containers.get(host.name)
    if container is None:
        return True
    return _runs(lxd_facts_of(run.hosts[container.on]).instances.get(container.name, {}))


def why_not_foreseen(host: Host) -> str:
    """Why nobody can say what is to be done inside a container: it is there and does not run, or it
    is on another host.

    Empty where it runs, and where there is none yet, which is planned from nothing.
    """
    run = run_of(host)
    container = run.intent.containers.get(host.name)
    if container is None:
        return ""
    instance = lxd_facts_of(run.hosts[container.on]).instances.get(container.name)
    if instance is None:
        places = [h for h, f in list(run.facts.items()) if container.name in f.lxd.instances]
        moved = "what there is to do inside is seen once it is moved"
        return f"it is on {', '.join(places)}: {moved}" if places else ""
    if _runs(instance):
        return ""
    state = str(instance.get("status", "")).lower() or "stopped"
    return f"it is {state} on {container.on}: what there is to do inside is seen when it runs"


def read_machine(
    shell: Shell, machine: Machine, *, deadline: float = DEADLINE, pings: Sequence[str] = ()
) -> MachineFacts:
    """Read a machine in one exchange; ``pings`` are addresses to try from there.

    Where it ended well and some of what it said is lost, as LXD 5.0 does to an exec now and then,
    it is read once more, within the same ``deadline`` (seconds).
    """
    clock = Clock(deadline)
    done = _asked(shell, machine, deadline=deadline, pings=pings)
    if not is_whole(done.text):
        logger.info("%s: what it said is lost, it is read once more", machine.name)
        done = _asked(shell, machine, deadline=clock.left, pings=pings)
    return parse_machine(machine.name, done.text, units=read_units(machine))


def _asked(shell: Shell, machine: Machine, *, deadline: float, pings: Sequence[str]) -> Completed:
    wanted = machine.configure
    asked: dict[str, Sequence[str]] = {
        "wait": (str(int(deadline)),) if isinstance(machine, Container) else (),
        "network": (HEADER.strip(),) if isinstance(machine, Container) else (),
        "path": read_paths(machine),
        "secret": secret_paths(machine),
        "package": read_packages(machine),
        "unit": read_units(machine),
        "user": [user.name for user in wanted.users],
        "group": [group.name for group in wanted.groups],
        "sysctl": list(wanted.sysctl),
        "zone": (wanted.timezone,) if wanted.timezone else (),
        "locale": (wanted.locale,) if wanted.locale else (),
        "ping": pings,
    }
    arguments = [
        word for kind, values in asked.items() for value in values for word in (kind, value)
    ]
    try:
        done = shell.run(on_host("read_machine", *arguments), deadline=deadline + _GRACE)
    except DeadlineError as error:
        raise DeadlineError(
            f"reading the machine did not end within its deadline of {deadline:.0f} s",
            where=machine.name,
            remedy="look for what hangs there: its load, its disk, a lock",
        ) from error
    if done.status == _WAITED:
        said = done.stderr.decode(errors="replace").strip()
        raise DeadlineError(said, where=machine.name, remedy="look at cloud-init status there")
    if done.status == _NOT_DEBIAN:
        system = done.stderr.decode(errors="replace").strip() or "a system without a name"
        raise FleetError(
            f"it runs {system}, and managed are Debian from 10 and Ubuntu from 18.04 on",
            where=machine.name,
            remedy="declare another image for it, or take it out of the inventory",
        )
    return done.check(
        machine.name, "reading the machine", "the phase containers makes and starts it"
    )


def is_known(host: Host, container: Container) -> bool:
    """Whether a container has an SSH host key of its own here, declared or by its name.

    A key that is known by an address alone says nothing of which container answers there.
    """
    name = container.name
    return container.ssh.host_key is not None or run_of(host).state.knows(name, name, 22)


def _see_that_it_is_meant(host: Host, container: Container, facts: MachineFacts) -> None:
    """What this user's own known_hosts has by address may be another machine than is meant."""
    if is_known(host, container) or facts.hostname.split(".")[0] == container.name:
        return
    raise FleetError(
        f"{container.ssh.hostname} answers as {facts.hostname}",
        where=container.name,
        remedy=f"stop {facts.hostname} or give one of the two another address, then run the phase "
        "bootstrap",
    )


def _ssh_may_answer(host: Host, container: Container) -> bool:
    """No key of its own is known, or it did not run a moment ago: it would only time out."""
    if not container.ssh.hostname:
        return False
    run = run_of(host)
    known = is_known(host, container)
    seen = run.facts.get(container.on)
    ran = seen is None or seen.lxd.problem or _runs(seen.lxd.instances.get(container.name, {}))
    return bool(known and ran)


def _runs(instance: Mapping[str, object]) -> bool:
    return instance.get("status") == "Running"
