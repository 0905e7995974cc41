"""Which shell reaches which machine: SSH, SSH through the LXD host, or exec into a container."""

from __future__ import annotations

import shlex
import socket
import time
from functools import partial
from pathlib import Path

import paramiko
from nornir.core.configuration import Config
from nornir.core.inventory import Host

from tasks.errors import DeadlineError, FleetError, UnreachableError, UsageError
from tasks.intent.model import Container, Machine
from tasks.run import Run, run_of
from tasks.shell import Completed, Shell
from tasks.ssh.connection import SshShell
from tasks.ssh.host_keys import HostKeySources
from tasks.ssh.host_lock import take_lock
from tasks.ssh.login import CONNECT_DEADLINE, BrokenConnectionError, reason_of, tcp_socket

#: Seconds until a container's network counts as not reachable from here, or an address that is
#: tried again and again: TCP's own repetitions come later and later.
DIRECT_DEADLINE = 3.0
#: Seconds that a command in a container gets to end by itself once its deadline has passed.
GRACE = 5


def shell_of(host: Host) -> Shell:
    """The SSH shell of an LXD host, container or plain machine, opened once a run.

    A container whose network cannot be reached from here is reached through its LXD host's open
    connection. Raises :class:`UnreachableError`, :class:`HostKeyError` or :class:`LoginError`.
    """
    _live(host)
    return MachineShell(host)


def exec_shell_of(host: Host) -> Shell:
    """A container's shell by ``lxc exec`` over its LXD host's SSH: it needs nothing inside.

    Raises as :func:`shell_of` does for the LXD host, and :class:`UsageError` for a machine that
    is no container.
    """
    return ExecShell(host, _lxd_host_of(host))


def instance_shell(lxd_host: Host, instance: str) -> Shell:
    """The same for an instance on an LXD host that is no machine of the inventory."""
    return ExecShell(Host(name=instance, defaults=lxd_host.defaults), lxd_host)


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
    if "shell" in host.connections:
        host.close_connection("shell")
    return shell_of(host)


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
        self.execs = 0
        self._host = host

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run a script; see :meth:`tasks.shell.Shell.run`."""
        self.execs += 1
        run = run_of(self._host)
        run.count(self.where, "execs", sent=len(script.encode()) + len(stdin))
        done = _run(self._host, script, stdin, deadline)
        run.carried(self.where, received=len(done.stdout) + len(done.stderr))
        return done


class ExecShell:
    """Scripts inside a container by ``lxc exec``, bounded on the LXD host itself.

    The client's folder is a temporary one: a first ``lxc`` call makes it, and a dry run leaves
    nothing behind.
    """

    def __init__(self, container: Host, lxd_host: Host) -> None:
        self.where = container.name
        self.execs = 0
        self._container = container
        self._lxd_host = lxd_host

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run a script; see :meth:`tasks.shell.Shell.run`."""
        self.execs += 1
        started = time.monotonic()
        outer = EXEC_SCRIPT.format(
            grace=GRACE,
            seconds=f"{deadline:g}",
            more=f"{deadline + GRACE:g}",
            instance=shlex.quote(self.where),
            count=len(script.encode()),
        )
        inner = script.encode() + stdin
        run = run_of(self._container)
        run.count(self.where, "execs", sent=len(outer.encode()) + len(inner))
        done = _run(self._lxd_host, outer, inner, deadline + 3 * GRACE)
        run.carried(self.where, received=len(done.stdout) + len(done.stderr))
        if done.status in (124, 137) and time.monotonic() - started >= deadline:
            raise DeadlineError(
                f"the command inside did not end within its deadline of {deadline:g} s "
                "and was ended",
                where=self.where,
                remedy="look at the container's load and processes, then run again",
            )
        said = done.stderr.decode(errors="replace").strip()
        if done.status and not done.stdout and said.startswith("Error: "):
            raise UnreachableError(
                f"lxc exec on {self._lxd_host.name} failed ({said.removeprefix('Error: ')})",
                where=self.where,
                remedy="see whether the container exists and runs there: lxc list",
            )
        return done


# The timeout inside ends the command with all its children, the one outside an lxc client whose
# LXD or container no longer answers.
EXEC_SCRIPT = """
PATH=$PATH:/snap/bin
LXD_CONF=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
export LXD_CONF
trap 'rm -rf "$LXD_CONF"' EXIT
: >"$LXD_CONF/config.yml"
timeout -k {grace} {more} lxc exec {instance} -- timeout -k {grace} {seconds} sh -c \
  's=$(dd bs={count} count=1 iflag=fullblock 2>/dev/null); eval "$s"'
"""


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
            host.close_connection("shell")
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
        host.close_connection("shell")  # so that whoever comes next has to take it as well
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
        raise UnreachableError(
            f"{error.what}, and not through {container.on} either ({reason_of(refusal)})",
            where=container.name,
            remedy=f"see whether it runs and its sshd listens; {container.on} must have an "
            "address in its network and allow TCP forwarding",
        ) from refusal


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


def _lxd_host_of(host: Host) -> Host:
    run = run_of(host)
    machine = run.intent.machine(host.name)
    if not isinstance(machine, Container):
        raise UsageError("only containers are reached by lxc exec", where=host.name)
    return run.hosts[machine.on]
