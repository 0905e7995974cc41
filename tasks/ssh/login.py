"""Logging in over SSH: netmiko's connection without its terminal, every refusal made clear."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import paramiko
from netmiko.linux.linux_ssh import LinuxSSH

from tasks.errors import LoginError, NoAnswerError, UnreachableError
from tasks.private_key import flaw_of
from tasks.ssh.host_keys import HostKeySources, Verification

#: Seconds for each of: TCP connection, SSH banner, key exchange, login.
CONNECT_DEADLINE = 10.0
#: Seconds after which a connection whose other end is silent is given up (keepalives included).
SILENCE = 30
KEEPALIVE = 15


class BrokenConnectionError(UnreachableError):
    """The open connection is dead; nothing has been run on it, so it can be opened again."""


class SshTransport(LinuxSSH):
    """netmiko's Linux connection, up to the login and no further: no pseudo-terminal, no prompt.

    The commands go over channels of their own, with exit status and both outputs.
    """

    remote_conn_pre: paramiko.SSHClient | None

    def __init__(
        self,
        hostname: str,
        port: int,
        username: str,
        *,
        key_file: str | None,
        verification: Verification,
        sock: socket.socket | paramiko.Channel,
    ) -> None:
        super().__init__(
            host=hostname,
            port=port,
            username=username,
            key_file=key_file,
            device_type="linux",
            conn_timeout=CONNECT_DEADLINE,
            banner_timeout=CONNECT_DEADLINE,
            auth_timeout=CONNECT_DEADLINE,
            keepalive=KEEPALIVE,
            allow_agent=True,
            ssh_strict=True,
            sock=cast(socket.socket, sock),  # paramiko takes its own channels as well
            auto_connect=False,
        )
        self.key_policy = self.verification = verification

    def establish_connection(self, width: int = 511, height: int = 1000) -> None:
        """Connect, verify the host key and log in; paramiko's errors come through as they are."""
        self.remote_conn_pre = client = self._build_ssh_client()
        try:
            client.connect(**self._connect_params_dict(), transport_factory=self._transport_factory)
            self.transport.set_keepalive(self.keepalive)
        except BaseException:
            self.disconnect()
            raise

    def cleanup(self, command: str = "") -> None:
        """Nothing to type before the end: there is no terminal."""

    @property
    def transport(self) -> paramiko.Transport:
        """paramiko's authenticated transport."""
        transport = self.remote_conn_pre.get_transport() if self.remote_conn_pre else None
        if transport is None:
            raise BrokenConnectionError("the SSH connection is closed", where=self.host)
        return transport

    def _connect_params_dict(self) -> dict[str, Any]:
        # without a key file of its own the user's default keys are tried, as ssh does
        return {**super()._connect_params_dict(), "look_for_keys": self.key_file is None}

    def _transport_factory(self, sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        security.key_types = self.verification.prefer(security.key_types)
        return transport


def reason_of(error: BaseException) -> str:
    """What paramiko or the system says of an error, in one line."""
    said = getattr(error, "text", "") or str(error) or type(error).__name__
    return " ".join(said.split())


def tcp_socket(hostname: str, port: int, *, where: str, deadline: float) -> socket.socket:
    """A TCP connection made for SSH: no delay, given up when the other end falls silent.

    Raises :class:`UnreachableError`, out of it :class:`NoAnswerError` but for a host name that
    does not resolve; its ``__cause__`` is the OSError.
    """
    try:
        sock = socket.create_connection((hostname, port), timeout=deadline)
    except socket.gaierror as error:
        raise UnreachableError(
            f"its host name {hostname} does not resolve ({error.strerror})",
            where=where,
            remedy="correct hostname in the inventory, or the name server",
        ) from error
    except TimeoutError as error:
        raise NoAnswerError(
            f"no answer from {hostname} port {port} within {deadline:g} s",
            where=where,
            remedy="see whether it is powered on and the network in between lets SSH through",
        ) from error
    except ConnectionRefusedError as error:
        raise NoAnswerError(
            f"{hostname} refuses connections to port {port}",
            where=where,
            remedy="see whether sshd runs there and listens on this port",
        ) from error
    except OSError as error:
        raise NoAnswerError(
            f"no connection to {hostname} port {port} ({error.strerror or error})",
            where=where,
            remedy="see whether it is powered on and the network in between lets SSH through",
        ) from error
    # without it each small packet waits for the one before: 48 ms for a command instead of 4
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return sock


@dataclass(frozen=True)
class Answer:
    """That somebody answers at an address: the SSH host key shown, unverified, if there is one."""

    key: paramiko.PKey | None = None


def who_answers(hostname: str, port: int, *, deadline: float) -> Answer | None:
    """Who answers at an address, on the port of SSH; None where nobody does, or not in time.

    A machine that refuses the connection answers too, and has no key.

    Arguments:
        deadline: seconds for the connection, and as many again for the key.
    """
    try:
        sock = tcp_socket(hostname, port, where=hostname, deadline=deadline)
    except UnreachableError as error:
        return Answer() if isinstance(error.__cause__, ConnectionRefusedError) else None
    with sock:
        try:
            transport = paramiko.Transport(sock)
            try:
                transport.start_client(timeout=deadline)
                return Answer(transport.get_remote_server_key())
            finally:
                transport.close()
        except (paramiko.SSHException, EOFError, OSError):
            return None


def log_in(
    hostname: str,
    port: int,
    username: str,
    *,
    sources: HostKeySources,
    key_file: Path | None = None,
    sock: socket.socket | paramiko.Channel | None = None,
) -> SshTransport:
    """Log in over ``sock``, or over a TCP connection of its own.

    Raises :class:`UnreachableError`, :class:`HostKeyError` or :class:`LoginError`.
    """
    where = sources.name
    verification = Verification(sources, hostname, port)
    if key_file:
        flaw, remedy = flaw_of(key_file.expanduser())
        if flaw:
            raise LoginError(f"ssh_key in the inventory: {flaw}", where=where, remedy=remedy)
    if sock is None:
        sock = tcp_socket(hostname, port, where=where, deadline=CONNECT_DEADLINE)
    key = str(key_file.expanduser()) if key_file else None
    connection = SshTransport(
        hostname, port, username, key_file=key, verification=verification, sock=sock
    )
    try:
        connection.establish_connection()
    except paramiko.PasswordRequiredException as error:
        raise LoginError(
            f"the SSH key {key or 'of this user'} is protected by a passphrase",
            where=where,
            remedy=f"load it into an agent first: ssh-add {key or ''}".rstrip(),
        ) from error
    except paramiko.AuthenticationException as error:
        tried = f"the key {key}" if key else "the agent's and this user's default keys"
        raise LoginError(
            f"it refused the login as {username} with {tried} ({reason_of(error)})",
            where=where,
            remedy=f"add the public key to ~{username}/.ssh/authorized_keys there",
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if "No authentication methods" in str(error):
            raise LoginError(
                "there is no SSH key to log in with",
                where=where,
                remedy="set ssh_key in the inventory, load an agent, or make a key: ssh-keygen",
            ) from error
        raise UnreachableError(
            f"no SSH session with {hostname} port {port} ({reason_of(error)})",
            where=where,
            remedy=f"see whether an SSH server answers there: ssh-keyscan -p {port} {hostname}",
        ) from error
    finally:
        if not (connection.remote_conn_pre and connection.remote_conn_pre.get_transport()):
            sock.close()
    return connection
