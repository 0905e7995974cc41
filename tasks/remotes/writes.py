"""What is written on a host for the mesh: lines for ``onhost/sync_remotes.sh``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.actual import ClientFolder, HostFacts
from tasks.plan import Plan
from tasks.remotes.client_config import config_of, remotes_of


@dataclass(frozen=True)
class RemotesWrite:
    """One step's part of the script's input.

    ``lines`` come before any config.yml is written, ``last`` after all of them. ``entry`` is what
    the ``remote`` gets in the ``user``'s config.yml; with ``gone`` it leaves that file.
    """

    lines: tuple[str, ...] = ()
    user: str = ""
    remote: str = ""
    entry: Mapping[str, Any] | None = None
    gone: bool = False
    last: tuple[str, ...] = ()


def script_input(actual: HostFacts, plan: Plan[RemotesWrite]) -> bytes:
    """What ``onhost/sync_remotes.sh`` reads: all lines, each changed config.yml whole, the last.

    Foreign remotes, the default remote and aliases are kept as they are.
    """
    writes = [step.write for step in plan.steps]
    lines = [line for write in writes for line in write.lines]
    for user, folder in actual.clients.items():
        changed = {write.remote: write.entry for write in writes if write.user == user}
        gone = {write.remote for write in writes if write.user == user and write.gone}
        entries = {name: entry for name, entry in changed.items() if entry}
        if entries or gone:
            text = _config(folder, entries, gone, actual.name)
            before = hashlib.sha256(folder.config.encode()).hexdigest() if folder.config else "-"
            lines.append(f"config {user} {before} {encoded(text)}")
    lines += [line for write in writes for line in write.last]
    return "".join(f"{line}\n" for line in lines).encode()


def encoded(text: str) -> str:
    """A text as one word of a line."""
    return base64.b64encode(text.encode()).decode()


def _config(
    folder: ClientFolder, entries: Mapping[str, Mapping[str, Any]], gone: set[str], where: str
) -> str:
    document = config_of(folder, where) or {"default-remote": "local", "aliases": {}}
    remotes = remotes_of(folder, where)
    merged = {name: {**(remotes.get(name) or {}), **entry} for name, entry in entries.items()}
    kept = {name: entry for name, entry in {**remotes, **merged}.items() if name not in gone}
    return yaml.safe_dump({**document, "remotes": kept}, sort_keys=False)
