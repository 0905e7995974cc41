"""The public keys that this run may log in with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paramiko

from tasks.intent.model import Ssh

#: Private keys that are tried where none is declared; those of a token are in an agent.
_DEFAULTS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")


def public_keys_of(ssh: Ssh) -> tuple[str, ...]:
    """The public key lines of the declared private key, else of this user's default ones, and of
    all that an agent has. What cannot be read is left out."""
    home = Path.home() / ".ssh"
    files = [ssh.key_file.expanduser()] if ssh.key_file else [home / name for name in _DEFAULTS]
    lines = (line for file in files for line in _in_file(file))
    return tuple(dict.fromkeys([*lines, *_in_agent()]))


def _in_file(file: Path) -> Iterator[str]:
    with suppress(OSError, UnicodeDecodeError):
        yield file.with_name(f"{file.name}.pub").read_text().strip()
    # The file beside it may be missing, or of another key. Whatever makes the private one
    # unreadable (a passphrase, say, where an agent has it), it is only one key less that is known.
    with suppress(Exception):
        yield _line_of(paramiko.PKey.from_path(file))


def _in_agent() -> Iterator[str]:
    with suppress(Exception):  # as above
        agent = paramiko.Agent()
        try:
            yield from [_line_of(key) for key in agent.get_keys()]
        finally:
            agent.close()


def _line_of(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"
