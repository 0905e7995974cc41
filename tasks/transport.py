"""Which shell reaches which machine: SSH, SSH through the LXD host, or exec into a container.

A container is worked on over SSH where it answers, else through its LXD host's exec. Only where
nothing answers, or no address is declared: a host key that is unknown or changed and a login that
is refused are errors, since somebody does answer there.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import paramiko
from nornir.core.configuration import Config
from nornir.core.inventory import Host

from tasks.errors import FleetError, NoAnswerError, UnreachableError, UsageError
from tasks.exec_shell import ExecShell
from tasks.intent.model import Container, Machine
from tasks.run import Run, run_of
from tasks.shell import Completed, Shell
from tasks.ssh.connection import SshShell
from tasks.ssh.host_keys import HostKeySources
from tasks.ssh.host_lock import take_lock
from tasks.ssh.login import CONNECT_DEADLINE, BrokenConnectionError, reason_of, tcp_socket
from tasks.ssh.tunnel import as_socket
from tasks.state import known_host

#: Seconds until a container's network counts as not reachable from here, or an address that is
#: tried again and again: TCP's own repetitions come later and later.
DIRECT_DEADLINE = 3.0


#: Why a container without an address to manage it at is reached by exec.
NO_ADDRESS = "no address to reach it at is declared"


def shell_of(host: Host) -> Shell:
    """The shell of an LXD host, container or plain machine: SSH, opened once a run.

    A container whose network cannot be reached from here is reached through its LXD host's open
    connection. Where nothing answers there either, or it has no address to be managed at, it is
    :func:`exec_shell_of` for the rest of the run, which :func:`exec_notes` tells. Raises
    :class:`UnreachableError`, :class:`HostKeyError` or :class:`LoginError`.
    """
    run = run_of(host)
    if host.name in run.intent.containers and host.name not in run.over_exec:
        try:
            return ssh_shell_of(host)
        except NoAnswerError as error:
            if error.where != host.name:
                raise  # it is its LXD host that does not answer
            run.over_exec[host.name] = error.what
    if host.name in run.over_exec:
        _live(_lxd_host_of(host))
        return exec_shell_of(host)
    return ssh_shell_of(host)


def ssh_shell_of(host: Host) -> Shell:
    """The SSH shell of a machine, where nothing else will do.

    Raises as :func:`shell_of` does, and :class:`NoAnswerError` where nothing answers.
    """
    run = run_of(host)
    if host.name in run.intent.containers and not run.intent.machine(host.name).ssh.hostname:
        raise NoAnswerError(NO_ADDRESS, where=host.name, remedy="declare one on its management")
    _live(host)
    run.over_exec.pop(host.name, None)
    return MachineShell(host)


def exec_notes(host: Host) -> tuple[str, ...]:
    """What a record says of a container that is worked on through exec; nothing of any other."""
    run = run_of(host)
    reason = run.over_exec.get(host.name)
    if reason is None:
        return ()
    return (f"through lxc exec on {_lxd_host_of(host).name}: {reason}",)


def exec_shell_of(host: Host) -> Shell:
    """A container's shell by ``lxc exec`` over its LXD host's SSH: it needs nothing inside.

    Raises as :func:`shell_of` does for the LXD host, and :class:`UsageError` for a machine that
    is no container.
    """
    return ExecShell(host, _lxd_host_of(host), _run)


def instance_shell(lxd_host: Host, instance: str) -> Shell:
    """The same for an instance on an LXD host that is no machine of the inventory."""
    return ExecShell(Host(name=instance, defaults=lxd_host.defaults), lxd_host, _run)


def pour(
    giver: Host, script: str, taker: Host, taking: str, *, deadline: float
) -> tuple[Completed | None, Completed]:
    """Run a script on a machine whose output is the input of another one on another machine.

    It comes and goes over their open SSH connections, as fast as both take it; ``deadline`` is in
    seconds. Returns how both ended, None for the first where the other ended before it. Raises as
    :func:`shell_of` and :meth:`Shell.run` do.
    """
    run = run_of(giver)
    gave, took, poured = _live(giver).pour(script, _live(taker), taking, deadline=deadline)
    run.count(giver.name, "execs", sent=len(script.encode()), received=poured)
    run.count(taker.name, "execs", sent=len(taking.encode()) + poured, received=len(took.stdout))
    return gave, took


def lock_host(host: Host) -> None:
    """Take the lock on an LXD host, held until its connection closes.

    Taken once a run; a connection opened anew takes it again. Raises :class:`LockedError`
    naming the host where another run holds it.
    """
    run = run_of(host)
    shell = _live(host)
    with run.opening(host.name):
        if host.name not in run.locks:
            run.count(host.name, "execs")
            run.locks[host.name] = take_lock(shell)


def reconnect(host: Host, address: str) -> Shell:
    """A machine's shell over a new connection to exactly this address; the open one is closed.

    The address is not remembered as good, and holds until :func:`settle`. Raises as
    :func:`shell_of` does.
    """
    run = run_of(host)
    run.addresses[host.name] = address
    disconnect(host)
    return shell_of(host)


def disconnect(host: Host, *names: Literal["shell", "lxd"]) -> None:
    """Close a machine's open connections, by default its shell; what comes next opens them anew."""
    for name in names or ("shell",):
        if name in host.connections:
            host.close_connection(name)


def settle(host: Host, *, good: bool) -> None:
    """End what :func:`reconnect` began; a ``good`` address is remembered from now on."""
    run = run_of(host)
    address = run.addresses.pop(host.name, None)
    if good and address:
        run.state.write_last_address(host.name, address)


class MachineShell:
    """A machine's SSH connection, opened again where it turns out to be dead before a command."""

    def __init__(self, host: Host) -> None:
        self.where = host.name
        self._host = host

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run a script; see :meth:`tasks.shell.Shell.run`."""
        run = run_of(self._host)
        run.count(self.where, "execs", sent=len(script.encode()) + len(stdin))
        done = _run(self._host, script, stdin, deadline)
        run.carried(self.where, received=len(done.stdout) + len(done.stderr))
        return done


def _run(host: Host, script: str, stdin: bytes, deadline: float) -> Completed:
    try:
        return _live(host).run(script, stdin=stdin, deadline=deadline)
    except BrokenConnectionError:  # nothing was run
        return _live(host).run(script, stdin=stdin, deadline=deadline)


def _live(host: Host) -> SshShell:
    """The machine's open SSH shell; a dead one is closed and opened once more."""
    run = run_of(host)
    with run.opening(host.name):
        if "shell" in host.connections:
            shell: SshShell = host.connections["shell"].connection
            if shell.alive:
                if not run.locks.get(host.name, shell).alive:
                    _lock_again(host, run, shell)
                return shell
            disconnect(host)
        shell = _open(host, run)
        _lock_again(host, run, shell)
        return shell


def _lock_again(host: Host, run: Run, shell: SshShell) -> None:
    """Take a lock anew that this run held and lost; without it, it goes no further there."""
    if host.name not in run.locks:
        return
    run.locks[host.name].close()
    run.count(host.name, "execs")
    try:
        run.locks[host.name] = take_lock(shell)
    except FleetError:
        disconnect(host)  # so that whoever comes next has to take it as well
        raise


def _open(host: Host, run: Run) -> SshShell:
    machine = run.intent.machine(host.name)
    hostname = run.addresses.get(host.name) or host.hostname or machine.ssh.hostname
    port = host.port or machine.ssh.port
    try:
        hostname, sock = _connect(run, machine, hostname, port)
    except UnreachableError as error:
        if machine.kind == "lxd" and machine.name not in run.addresses:
            run.unreachable[machine.name] = str(error)
        raise
    extras = {
        "sources": _host_keys(run, machine, hostname, port),
        "key_file": machine.ssh.key_file,
        "sock": sock,
    }
    plugin = host.open_connection("shell", Config(), hostname=hostname, port=port, extras=extras)
    if machine.kind == "lxd" and not run.dry_run and machine.name not in run.addresses:
        run.state.write_last_address(machine.name, hostname)
    shell: SshShell = plugin.connection
    return shell


def _connect(
    run: Run, machine: Machine, hostname: str, port: int
) -> tuple[str, socket.socket | paramiko.Channel]:
    """A connection to the machine's SSH port, and the address at which it was made."""
    container = isinstance(machine, Container)
    deadline = DIRECT_DEADLINE if container or machine.name in run.addresses else CONNECT_DEADLINE
    try:
        return hostname, tcp_socket(hostname, port, where=machine.name, deadline=deadline)
    except UnreachableError as error:
        if isinstance(error.__cause__, ConnectionRefusedError | socket.gaierror):
            raise
        if isinstance(machine, Container):
            return hostname, _tunnel(run, machine, hostname, port, error)
        last = run.state.last_address(machine.name)
        if last in (None, hostname) or machine.name in run.addresses:
            raise
        return last, tcp_socket(last, port, where=machine.name, deadline=deadline)


def _tunnel(
    run: Run, container: Container, hostname: str, port: int, error: UnreachableError
) -> paramiko.Channel:
    """Through the container's LXD host, since its network cannot be reached from here."""
    through = _live(run.hosts[container.on])
    try:
        return through.tunnel(hostname, port, deadline=CONNECT_DEADLINE)
    except (paramiko.SSHException, EOFError, OSError) as refusal:
        raise NoAnswerError(
            f"{error.what}, and not through {container.on} either ({reason_of(refusal)})",
            where=container.name,
            remedy=f"see whether it runs and its sshd listens; {container.on} must have an "
            "address in its network and allow TCP forwarding",
        ) from refusal


def connection_to(
    host: Host, address: str, port: int, *, deadline: float, over_ssh: bool = True
) -> socket.socket:
    """A TCP connection to an address that a machine can reach: a service on it, say.

    It is made from here, and where the address cannot be reached from here, over the machine's
    open SSH connection; so it always is to a loopback address, which is the machine's own. A
    container that is worked on through exec lends its LXD host's. ``deadline`` is for all of it,
    in seconds; from here it tries no longer than for a container's SSH. Without ``over_ssh`` it
    stays at that.

    Raises :class:`NoAnswerError` where nothing answers, and as :func:`shell_of` does.
    """
    until = time.monotonic() + deadline
    try:
        if _is_loopback(address):
            raise NoAnswerError(f"{address} is the machine's own", where=host.name)
        limit = min(deadline, DIRECT_DEADLINE)
        return tcp_socket(address, port, where=host.name, deadline=limit)
    except UnreachableError as error:
        if isinstance(error.__cause__, ConnectionRefusedError) or not over_ssh:
            raise
        return _over_ssh(host, address, port, until, error)


def _over_ssh(
    host: Host, address: str, port: int, until: float, error: UnreachableError
) -> socket.socket:
    run = run_of(host)
    machine = run.intent.machine(host.name)
    through = host
    if host.name in run.over_exec or (isinstance(machine, Container) and not machine.ssh.hostname):
        if _is_loopback(address):
            raise NoAnswerError(f"{error.what}, which has no SSH", where=host.name) from error
        through = _lxd_host_of(host)
    try:
        shell = _live(through)
        left = max(0.1, until - time.monotonic())
        return as_socket(shell.tunnel(address, port, deadline=left))
    except (paramiko.SSHException, EOFError, OSError) as refusal:
        raise NoAnswerError(
            f"{error.what}, and through the SSH of {through.name} there is no connection to "
            f"port {port} either ({reason_of(refusal)})",
            where=host.name,
        ) from refusal


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _host_keys(run: Run, machine: Machine, hostname: str, port: int) -> HostKeySources:
    learn = partial(run.state.learn_host_key, machine.name, hostname, port)
    return HostKeySources(
        name=machine.name,
        declared=machine.ssh.host_key,
        state=run.state.known_hosts,
        user=Path.home() / ".ssh" / "known_hosts",
        accepted=run.host_keys.get(machine.name),
        learn=None if run.dry_run else learn,
    )


def known_host_keys(host: Host) -> dict[str, list[str]]:
    """The SSH host keys that a machine is known by here, by its names in known_hosts.

    Empty where the inventory declares its key, or none is known.
    """
    run = run_of(host)
    machine = run.intent.machine(host.name)
    port = host.port or machine.ssh.port
    hostname = host.hostname or machine.ssh.hostname
    keys = _host_keys(run, machine, hostname, port).known(hostname, port).keys
    if machine.ssh.host_key or not keys:
        return {}
    lines = [f"{key.get_name()} {key.get_base64()}" for key in keys]
    return {f"{machine.name},{known_host(hostname, port)}": lines}


def _lxd_host_of(host: Host) -> Host:
    run = run_of(host)
    machine = run.intent.machine(host.name)
    if not isinstance(machine, Container):
        raise UsageError("only containers are reached by lxc exec", where=host.name)
    return run.hosts[machine.on]
