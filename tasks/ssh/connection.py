"""A shell over SSH: many commands over one connection, kept open for a whole run."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
from nornir.core.configuration import Config

from tasks.errors import DeadlineError, LoginError, UnreachableError
from tasks.shell import Completed
from tasks.ssh.channel import Execution
from tasks.ssh.host_keys import HostKeySources
from tasks.ssh.login import (
    BrokenConnectionError,
    SshTransport,
    log_in,
)

#: sshd allows ten sessions on a connection (MaxSessions); two are left to the operator's choice.
CHANNELS = 8


class SshShell:
    """POSIX shell scripts over one SSH connection, several at once.

    The script travels over standard input, its data behind it, so no process list shows it.
    ``dd`` takes exactly the script's bytes and leaves the data to the script.
    """

    def __init__(self, connection: SshTransport, where: str) -> None:
        self.connection = connection
        self.where = where
        self._free = threading.BoundedSemaphore(CHANNELS)
        self._sudo = "" if connection.username == "root" else "sudo -n -- "

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as is known without asking."""
        client = self.connection.remote_conn_pre
        transport = client.get_transport() if client else None
        return transport is not None and transport.is_active()

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run a script; see :meth:`tasks.shell.Shell.run`."""
        until = time.monotonic() + deadline
        self._take_channel(until)
        try:
            execution = self._execute(script, until)
            execution.feed(script.encode() + stdin)
            completed = execution.wait(until)
        finally:
            self._free.release()
        if self._sudo and completed.status == 1 and completed.stderr.startswith(b"sudo: "):
            raise LoginError(
                f"{self.connection.username} may not use sudo without a password there",
                where=self.where,
                remedy="allow it (NOPASSWD: ALL in /etc/sudoers.d) or log in as root",
            )
        return completed

    def hold(self, script: str, *, deadline: float = 60.0) -> Held:
        """Run a script that writes one line and then waits for the end of its standard input.

        Returns once the line is there (or the script ended), its channel open until closed.
        """
        until = time.monotonic() + deadline
        self._take_channel(until)
        try:
            execution = self._execute(script, until)
            execution.feed(script.encode(), end=False)
            return Held(execution, execution.first_line(until), self._free)
        except BaseException:
            self._free.release()
            raise

    def pour(
        self, script: str, into: SshShell, taking: str, *, deadline: float
    ) -> tuple[Completed | None, Completed, int]:
        """Run a script here whose standard output becomes, as it comes, the standard input of the
        script ``taking`` on another machine; little of it is here at any moment.

        Returns how each of the two ended, without what was poured, and how many bytes that was;
        None for the first where the other ended before it. Raises as :meth:`run` does.
        """
        until = time.monotonic() + deadline
        self._take_channel(until)
        try:
            into._take_channel(until)
            try:
                return self._pour(script, into._execute(taking, until), taking, until)
            finally:
                into._free.release()
        finally:
            self._free.release()

    def _pour(
        self, script: str, taker: Execution, taking: str, until: float
    ) -> tuple[Completed | None, Completed, int]:
        poured = 0

        def pour(piece: bytes) -> None:
            nonlocal poured
            poured += len(piece)
            taker.channel.sendall(piece)

        taker.channel.settimeout(max(0.1, until - time.monotonic()))
        gave: Completed | None = None
        try:
            with suppress(OSError):  # the taker has ended, and says why itself
                taker.channel.sendall(taking.encode())
                giver = self._execute(script, until, pour)
                giver.feed(script.encode())
                gave = giver.wait(until)
                taker.channel.shutdown_write()
            return gave, taker.wait(until), poured
        finally:
            taker.channel.close()  # where the giver is not well, nobody has waited for the taker

    def tunnel(self, hostname: str, port: int, *, deadline: float) -> paramiko.Channel:
        """A TCP connection from the machine onwards, over this connection (direct-tcpip).

        Raises paramiko's SSHException where the machine cannot or may not make it.
        """
        return self.connection.transport.open_channel(
            "direct-tcpip", (hostname, port), ("127.0.0.1", 0), timeout=deadline
        )

    def close(self) -> None:
        """End the connection and whatever still runs on it."""
        self.connection.disconnect()

    def _take_channel(self, until: float) -> None:
        if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
            raise DeadlineError(
                f"all {CHANNELS} channels of its SSH connection stayed busy", where=self.where
            )

    def _execute(
        self, script: str, until: float, to: Callable[[bytes], object] | None = None
    ) -> Execution:
        count = len(script.encode())
        command = (
            f"{self._sudo}sh -c 's=$(dd bs={count} count=1 iflag=fullblock 2>/dev/null); "
            'eval "$s"\''
        )
        try:
            channel = self.connection.transport.open_session(
                timeout=max(0.1, until - time.monotonic())
            )
            channel.settimeout(max(0.1, until - time.monotonic()))
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self.alive:
                raise UnreachableError(
                    f"its sshd opens no further session ({error})",
                    where=self.where,
                    remedy="raise MaxSessions in its sshd_config",
                ) from error
            raise BrokenConnectionError(
                "the SSH connection broke", where=self.where, remedy="run again"
            ) from error
        return Execution(channel, self.where, to)


class Held:
    """A script that holds something for as long as its channel is open; a context manager.

    ``line`` is the first line that it wrote.
    """

    def __init__(self, execution: Execution, line: str, free: threading.BoundedSemaphore) -> None:
        self.line = line
        self._execution = execution
        self._free: threading.BoundedSemaphore | None = free

    @property
    def complaint(self) -> str:
        """The last line that it wrote to standard error."""
        lines = self._execution.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"

    def send(self, data: bytes) -> bool:
        """Write to the script's standard input; whether the script was still there."""
        try:
            self._execution.channel.sendall(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the script's standard input and close its channel."""
        self._execution.channel.close()
        if self._free:
            self._free.release()
            self._free = None


def open_shell(
    hostname: str,
    port: int,
    username: str,
    *,
    sources: HostKeySources,
    key_file: Path | None = None,
    sock: socket.socket | paramiko.Channel | None = None,
) -> SshShell:
    """Log in and return the open shell; see :func:`tasks.ssh.login.log_in`."""
    connection = log_in(hostname, port, username, sources=sources, key_file=key_file, sock=sock)
    return SshShell(connection, sources.name)


class ShellConnection:
    """The Nornir connection plugin ``shell``; its ``connection`` is an :class:`SshShell`.

    ``extras`` may hold ``sources`` (HostKeySources), ``key_file`` (Path) and ``sock``; without
    them the user's own known_hosts and keys are used.
    """

    def __init__(self) -> None:
        self._shell: SshShell | None = None

    def open(  # noqa: PLR0917 - Nornir's signature
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        """Open the connection; called by Nornir."""
        options = extras or {}
        host = hostname or ""
        self._shell = open_shell(
            host,
            port or 22,
            username or "root",
            sources=options.get("sources") or HostKeySources(host),
            key_file=options.get("key_file"),
            sock=options.get("sock"),
        )

    def close(self) -> None:
        """Close the connection; called by Nornir."""
        if self._shell:
            self._shell.close()
            self._shell = None

    @property
    def connection(self) -> SshShell:
        """The open shell."""
        if self._shell is None:
            raise BrokenConnectionError("the SSH connection is closed")
        return self._shell
