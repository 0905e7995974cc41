"""SSH host keys: which keys a machine is known by, and whether the one it shows is among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from tasks.errors import HostKeyError
from tasks.state import known_host

#: The file on the machine's console whose fingerprint to compare, by type of key.
CONSOLE_FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}
#: paramiko names an RSA key ssh-rsa and asks for it by the signatures that are still accepted.
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class KnownKeys:
    """The keys a machine is known by; ``source`` says where from, ``remedy`` how to mend it."""

    keys: tuple[paramiko.PKey, ...] = ()
    source: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class HostKeySources:
    """Where the known keys of one machine come from; the first source that has any decides.

    Arguments:
        name: the machine's inventory name.
        declared: the inventory's ``ssh_host_key``, a public key line without a host name.
        state: the state folder's known_hosts, asked by name, then by address; a key that it has
            of another machine at that address is not this one's.
        user: the user's own known_hosts, asked by address.
        accepted: the fingerprint (``SHA256:...``) under which an unknown key may be learned.
        learn: called with a public key line when a key was accepted by fingerprint.
    """

    name: str
    declared: str | None = None
    state: Path | None = None
    user: Path | None = field(default_factory=lambda: Path.home() / ".ssh" / "known_hosts")
    accepted: str | None = None
    learn: Callable[[str], None] | None = None

    def known(self, host: str, port: int) -> KnownKeys:
        """The keys by which the machine at ``host`` and ``port`` is known."""
        if self.declared:
            return KnownKeys(
                (parse_key(self.declared, self.name),),
                "the inventory's ssh_host_key",
                f"correct ssh_host_key of {self.name} in the inventory",
            )
        address = known_host(host, port)
        places = ((self.state, self.name, ""), (self.state, address, self.name),
                  (self.user, address, ""))  # fmt: skip
        for file, pattern, of in places:
            keys = tuple(_keys_in(file, pattern, of)) if file else ()
            if keys:
                return KnownKeys(
                    keys, str(file), f"remove it with: ssh-keygen -f {file} -R '{pattern}'"
                )
        return KnownKeys()


def machine_of(key: paramiko.PKey, state: Path) -> str:
    """The machine by whose name a state folder's known_hosts has a key; "" where there is none."""
    for names, known in _entries(state):
        if known.asbytes() == key.asbytes():
            return names[0]
    return ""


def parse_key(line: str, where: str) -> paramiko.PKey:
    """The key in a public key line without a host name. Raises :class:`HostKeyError`."""
    key = _parse(f"x {' '.join(line.split()[:2])}")
    if key is None:
        raise HostKeyError(
            "its ssh_host_key is no public key line",
            where=where,
            remedy="write it as in /etc/ssh/ssh_host_ed25519_key.pub: TYPE BASE64",
        )
    return key[1]


class Verification(paramiko.MissingHostKeyPolicy):
    """The verdict on the key a machine shows, before any login is tried.

    paramiko asks a policy only about hosts it knows no key of, so it is given none: all verdicts
    fall here. ``prefer`` orders the key types asked for, so that the machine shows the key that
    is known instead of one that happens to be first in paramiko's list.
    """

    def __init__(self, sources: HostKeySources, host: str, port: int) -> None:
        self.sources = sources
        self.known = sources.known(host, port)

    def prefer(self, types: Iterable[str]) -> list[str]:
        """The key types to ask for, those of the known keys first."""
        wanted: list[str] = []
        for key in self.known.keys:
            wanted += RSA_SIGNATURES if key.get_name() == "ssh-rsa" else (key.get_name(),)
        offered = list(types)
        first = [kind for kind in wanted if kind in offered]
        return first + [kind for kind in offered if kind not in first]

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Accept the key or raise :class:`HostKeyError`."""
        name, accepted = self.sources.name, self.sources.accepted
        if self.known.keys:
            if all(key.asbytes() != one.asbytes() for one in self.known.keys):
                known = ", ".join(one.fingerprint for one in self.known.keys)
                raise HostKeyError(
                    f"its SSH host key has changed: known is {known} ({self.known.source}), "
                    f"it shows {key.fingerprint} ({key.get_name()})",
                    where=name,
                    remedy="do not go on unless the machine was reinstalled; "
                    f"then {self.known.remedy}",
                )
        elif accepted is None and (other := self._other(key)):
            raise HostKeyError(
                f"{hostname} answers as {other}, by its SSH host key {key.fingerprint}",
                where=name,
                remedy=f"stop {other}, or give one of the two another address; if {other} is what "
                f"{name} was called before, run provision.py with --host-key "
                f"{name}={key.fingerprint}",
            )
        elif accepted is None:
            kind = CONSOLE_FILES.get(key.get_name(), "ecdsa")
            raise HostKeyError(
                f"its SSH host key is unknown, it shows {key.fingerprint} ({key.get_name()})",
                where=name,
                remedy="compare it on the host's console (ssh-keygen -lf "
                f"/etc/ssh/ssh_host_{kind}_key.pub), then run provision.py with "
                f"--host-key {name}={key.fingerprint}",
            )
        elif accepted.rstrip("=") != key.fingerprint:
            raise HostKeyError(
                f"its SSH host key is {key.fingerprint} ({key.get_name()}), "
                f"not the given {accepted}",
                where=name,
                remedy="do not go on unless the host's console shows the former",
            )
        elif self.sources.learn:
            self.sources.learn(f"{key.get_name()} {key.get_base64()}")

    def _other(self, key: paramiko.PKey) -> str:
        state = self.sources.state
        return machine_of(key, state) if state else ""


def _keys_in(file: Path, pattern: str, of: str = "") -> Iterable[paramiko.PKey]:
    """The keys of a host, plain or hashed; with ``of`` none that is another machine's by name."""
    for names, key in _entries(file):
        if any(_is(pattern, name) for name in names):
            others = [name for name in names if name not in (pattern, of)]
            if not (of and others):
                yield key


def _entries(file: Path) -> Iterable[tuple[list[str], paramiko.PKey]]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        entry = _parse(line.strip())
        if entry:
            yield entry


def _parse(line: str) -> tuple[list[str], paramiko.PKey] | None:
    """The names and the key of a known_hosts line; None for comments, markers, unknown types."""
    if not line or line[0] in "#@":
        return None
    try:
        entry = HostKeyEntry.from_line(line)
    except (InvalidHostKey, paramiko.SSHException, ValueError):
        return None
    if entry is None or entry.key is None or entry.hostnames is None:
        return None
    return list(entry.hostnames), entry.key


def _is(host: str, name: str) -> bool:
    """Whether a name in known_hosts, plain or hashed, is this host."""
    return HostKeys.hash_host(host, name) == name if name.startswith("|1|") else name == host
