"""One read of a machine from inside, for bootstrap, configure and prove alike.

Over SSH where it answers with a known host key; over exec on its LXD host where it does not yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nornir.core.inventory import Host

from tasks.actual import MachineFacts
from tasks.errors import DeadlineError, UnreachableError
from tasks.facts.host import facts_of
from tasks.facts.machine_document import parse_machine
from tasks.intent.model import Container, Machine
from tasks.machine.paths import read_packages, read_paths, read_units
from tasks.onhost import on_host
from tasks.run import run_of
from tasks.shell import Shell
from tasks.transport import exec_shell_of, shell_of

#: Seconds for one read of a machine that is up.
DEADLINE = 60.0
#: The script's own exit status where it waited in vain.
_WAITED = 75


def machine_facts_of(
    host: Host, *, deadline: float = DEADLINE, over_exec: bool = False
) -> MachineFacts:
    """Read a machine, or take what the phase before has just read (``run.machines``).

    Arguments:
        deadline: seconds, in which a container may also wait until it is up.
        over_exec: where SSH does not answer yet, read a container through its LXD host.

    Raises :class:`UnreachableError`, :class:`DeadlineError` or :class:`CommandError`.
    """
    run = run_of(host)
    kept = run.machines.pop(host.name, None)  # who takes it may change what it says
    if kept is not None:
        return kept
    machine = run.intent.machine(host.name)
    if not (over_exec and isinstance(machine, Container)):
        return read_machine(shell_of(host), machine, deadline=deadline)
    if _ssh_may_answer(host, machine):
        try:
            return read_machine(shell_of(host), machine, deadline=deadline)
        except UnreachableError:
            pass  # not bootstrapped yet, or made anew: its LXD host is asked instead
    return replace(read_machine(exec_shell_of(host), machine, deadline=deadline), over="exec")


def is_there(host: Host) -> bool:
    """Whether a machine can be read: a container that does not run yet cannot."""
    run = run_of(host)
    container = run.intent.containers.get(host.name)
    if container is None:
        return True
    return _runs(facts_of(run.hosts[container.on]).lxd.instances.get(container.name, {}))


def read_machine(
    shell: Shell, machine: Machine, *, deadline: float = DEADLINE, pings: Sequence[str] = ()
) -> MachineFacts:
    """Read a machine in one exchange; ``pings`` are addresses to try from there."""
    paths, units = read_paths(machine), read_units(machine)
    wanted = machine.configure
    asked: dict[str, Sequence[str]] = {
        "wait": (str(int(deadline)),) if isinstance(machine, Container) else (),
        "path": paths,
        "package": read_packages(machine),
        "unit": units,
        "user": [user.name for user in wanted.users],
        "zone": (wanted.timezone,) if wanted.timezone else (),
        "ping": pings,
    }
    arguments = [
        word for kind, values in asked.items() for value in values for word in (kind, value)
    ]
    try:
        done = shell.run(on_host("read_machine", *arguments), deadline=deadline)
    except DeadlineError as error:
        raise DeadlineError(
            f"reading the machine did not end within its deadline of {deadline:.0f} s",
            where=machine.name,
            remedy="look for what hangs there: its load, its disk, a lock",
        ) from error
    if done.status == _WAITED:
        said = done.stderr.decode(errors="replace").strip()
        raise DeadlineError(said, where=machine.name, remedy="look at cloud-init status there")
    done.check(machine.name, "reading the machine", "the phase containers makes and starts it")
    return parse_machine(machine.name, done.text, paths=paths, units=units)


def _ssh_may_answer(host: Host, container: Container) -> bool:
    """No key is known, or it did not run a moment ago: its address would only time out."""
    run = run_of(host)
    known = run.state.known_hosts
    learned = known.exists() and container.ssh.hostname in known.read_text()
    seen = run.facts.get(container.on)
    ran = seen is None or _runs(seen.lxd.instances.get(container.name, {}))
    return ran and (learned or container.ssh.host_key is not None)


def _runs(instance: Mapping[str, object]) -> bool:
    return instance.get("status") == "Running"
