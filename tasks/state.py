"""The state folder of one environment: lock, host keys, certificates, addresses, logs, reports.

Nothing in it is needed to understand the fleet; it is what lets this controller reach it. Files
are written to a temporary name and renamed, so a killed run leaves the old or the new one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.atomic_file import replace_text
from tasks.certificate import ClientCertificate, make_client_certificate, read_client_certificate
from tasks.errors import FleetError, LockedError, UsageError

logger = logging.getLogger(__name__)
#: How many runs' reports are kept.
KEPT_REPORTS = 50


def default_state_folder(name: str) -> Path:
    """``$XDG_STATE_HOME/nornir-lxd-fleet/NAME``, by default under ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "nornir-lxd-fleet" / name


def known_host(host: str, port: int) -> str:
    """A host as OpenSSH's known_hosts names it (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host if port == 22 else f"[{host}]:{port}"


class StateFolder:
    """The state of one environment on this controller, readable for its user only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known_hosts = path / "known_hosts"
        self.logs = path / "logs"
        self.reports = path / "reports"
        self._undone = path / "undone.json"
        self._next = path / "client.crt.next"
        self._writing = threading.RLock()
        self._locked = False

    def prepare(self) -> None:
        """Make the folder, 0700. Raises :class:`UsageError` where it cannot be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise UsageError(
                f"the state folder cannot be made ({error.strerror})",
                where=str(self.path),
                remedy="make it writable for this user, or set user_defined.state_dir in "
                "the inventory's config.yaml",
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's lock. Raises :class:`LockedError` at once where another run holds it.

        The kernel releases it when the process ends, however it ends. Held already through this
        object, it is simply held on.
        """
        if self._locked:
            yield
            return
        self.prepare()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                raise LockedError(
                    f"another run{f' (process {holder})' if holder else ''} holds the lock",
                    where=str(self.path),
                    remedy="wait until it has ended",
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._locked = True
            yield
            os.ftruncate(descriptor, 0)
        finally:
            self._locked = False
            os.close(descriptor)

    def client_certificate(self, create: bool) -> ClientCertificate | None:
        """The controller's client certificate for LXD; None where there is none.

        Arguments:
            create: make one where there is none; never in a dry run.
        """
        certificate, key = self.path / "client.crt", self.path / "client.key"
        with self._writing:
            if certificate.exists() and key.exists():
                return read_client_certificate(certificate, key)
            if not create:
                return None
            certificate_pem, key_pem = make_client_certificate()
            certificate.unlink(missing_ok=True)  # half a pair of an earlier, killed run
            self._write(key, key_pem)
            self._write(certificate, certificate_pem)
            return read_client_certificate(certificate, key)

    def next_certificate(self) -> str | None:
        """The certificate (PEM) that is to follow the one in use; None where there is none."""
        with suppress(FileNotFoundError):
            return self._next.read_text()
        return None

    def make_next_certificate(self) -> str:
        """Make one for the same key, beside the one in use; its PEM.

        Raises :class:`FleetError` where the key is none.
        """
        key = self.path / "client.key"
        try:
            pem, _ = make_client_certificate(key.read_text())
        except (OSError, ValueError, TypeError):  # its words could have the key in them
            raise FleetError(
                f"{key} is no private key",
                remedy="restore it, or remove it and client.crt: the next run makes new ones",
            ) from None
        self._write(self._next, pem)
        return pem

    def use_next_certificate(self) -> None:
        """Have the next certificate take the place of the one in use, in one rename."""
        with self._writing:
            self._next.replace(self.path / "client.crt")

    def pin(self, host: str) -> Path | None:
        """The pinned certificate of an LXD host's API, None where none is pinned yet."""
        path = self.path / "servers" / f"{host}.crt"
        return path if path.exists() else None

    def write_pin(self, host: str, pem: str) -> None:
        """Pin the certificate of an LXD host's API, read over a connection we trust."""
        self._write(self.path / "servers" / f"{host}.crt", pem)

    def last_address(self, host: str) -> str | None:
        """The last management address at which a host answered, None where none is known."""
        with suppress(FileNotFoundError):
            return (self.path / "addresses" / host).read_text().strip() or None
        return None

    def write_last_address(self, host: str, address: str) -> None:
        """Remember the management address at which a host answered."""
        if self.last_address(host) != address:
            self._write(self.path / "addresses" / host, f"{address}\n")

    def controller(self, name: str) -> str | None:
        """What is remembered of a controller of the fleet, None where nothing is."""
        with suppress(FileNotFoundError):
            return (self.path / "controllers" / name).read_text()
        return None

    def controllers(self) -> tuple[str, ...]:
        """The controllers of the fleet that something is remembered of."""
        return tuple(sorted(path.name for path in (self.path / "controllers").glob("[!.]*")))

    def remember_controller(self, name: str, text: str) -> None:
        """Remember what is public of a controller of the fleet, for runs that cannot read it."""
        if self.controller(name) != text:
            self._write(self.path / "controllers" / name, text)

    def undone(self) -> dict[str, list[str]]:
        """What maintenance left undone: machines by job, as :meth:`remember_undone` was given it.

        A file that holds something else counts as none: all it decides is who is first.
        """
        try:
            found = json.loads(self._undone.read_text())
            lists = {str(job): [str(name) for name in names] for job, names in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            logger.warning("%s is not read: %s", self._undone, error)
            return {}
        return lists

    def remember_undone(self, undone: Mapping[str, Sequence[str]]) -> None:
        """Remember what maintenance left undone, instead of all that it did before."""
        if self.undone() != undone:
            self._write(self._undone, json.dumps(undone, indent=2) + "\n")

    def learn_host_key(self, name: str, host: str, port: int, key: str) -> None:
        """Make ``key`` the machine's SSH host key, instead of all that was known of it.

        Arguments:
            name: the machine's inventory name, which stays when its address changes.
            host: its host name or address.
            port: its SSH port.
            key: its public key line without a host name; several lines for several keys.
        """
        names = f"{name},{known_host(host, port)}" if name != host else known_host(host, port)
        new = [f"{names} {' '.join(line.split()[:2])}" for line in key.splitlines() if line.strip()]
        with self._writing:
            old = self.known_hosts.read_text().splitlines() if self.known_hosts.exists() else []
            kept = [line for line in old if not set(names.split(",")) & _names(line)]
            if kept + new != old:
                self._write(self.known_hosts, "\n".join([*kept, *new]) + "\n")

    def knows(self, name: str, host: str, port: int) -> bool:
        """Whether an SSH host key of a machine is known here, by its name or by its address."""
        try:
            lines = self.known_hosts.read_text().splitlines()
        except FileNotFoundError:
            return False
        return any({name, known_host(host, port)} & _names(line) for line in lines)

    def keep_report(self, name: str, text: str) -> Path:
        """Keep the report of a run as NAME.json, or NAME-2.json where there is one; its path.

        The newest ``KEPT_REPORTS`` stay.
        """
        path, number = self.reports / f"{name}.json", 2
        while path.exists():
            path, number = self.reports / f"{name}-{number}.json", number + 1
        self._write(path, text)
        reports = sorted(self.reports.glob("*.json"), key=lambda kept: kept.stat().st_mtime_ns)
        for old in reports[:-KEPT_REPORTS]:
            old.unlink(missing_ok=True)
        return path

    def _write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, 0600 (as mkstemp makes it)."""
        with self._writing:
            self.prepare()
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                replace_text(path, text)
            except OSError as error:
                raise FleetError(
                    f"cannot be written ({error.strerror})",
                    where=str(path),
                    remedy="make room there, writable for this user, and run again",
                ) from None


def _names(line: str) -> set[str]:
    return set(line.split(" ", 1)[0].split(","))
