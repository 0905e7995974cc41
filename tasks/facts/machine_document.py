"""What ``onhost/read_machine.sh`` prints, typed."""

from __future__ import annotations

import base64
import io
import json
import stat
import tarfile
from collections.abc import Sequence
from ipaddress import ip_interface
from itertools import pairwise

from tasks.actual import FileFacts, MachineFacts, UnitFacts, UserFacts
from tasks.errors import CommandError
from tasks.intent.model import Interface


def is_whole(text: str) -> bool:
    """Whether nothing is missing at the end of what it printed."""
    return text.splitlines()[-1:] == ["end"]


def parse_machine(name: str, text: str, *, units: Sequence[str]) -> MachineFacts:
    """The facts of the machine ``name``; ``units`` in the order they were asked for; those
    whose restart is pending follow.

    Raises :class:`CommandError` where the answer breaks off.
    """
    if not is_whole(text):
        raise CommandError("what the machine said of itself breaks off", where=name)
    lines = [line.partition(" ")[::2] for line in text.splitlines()]

    def all_of(kind: str) -> list[str]:
        return [value for found, value in lines if found == kind]

    def words_of(kind: str) -> list[list[str]]:
        return [value.split() for value in all_of(kind)]

    only = dict(lines)
    cloud_init = only.get("cloud_init", "absent").split()
    return MachineFacts(
        name=name,
        over="ssh",
        system=only["system"],
        cloud_init=cloud_init[0],
        cloud_init_errors=_errors(_text(cloud_init[1])) if len(cloud_init) > 1 else "",
        hostname=only["hostname"],
        host_key=only.get("host_key", ""),
        network_tool=only.get("network_tool", ""),
        addresses=_addresses(words_of("address")),
        default_routes=tuple(_route(words) for words in words_of("route")),
        timezone=only["timezone"],
        zone_known="zone_known" in only,
        lang=only.get("lang", ""),
        locale_known="locale_known" in only,
        packages={words[0]: words[1] for words in words_of("package")},
        files=_files(words_of("file"), only.get("contents", "")),
        groups={words[0]: int(words[1]) for words in words_of("group")},
        sysctl={words[0]: " ".join(words[1:]) for words in words_of("sysctl")},
        configured=tuple(all_of("configured")),
        added_keys=_by_first(words_of("added_key")),
        made_users=tuple(all_of("made_user")),
        made_groups={words[0]: tuple(words[1:]) for words in words_of("made_group")},
        gone_groups=tuple(all_of("gone_group")),
        network_files=tuple(all_of("network_file")),
        leaving=tuple((link, ip_interface(address)) for link, address in words_of("leaving")),
        users={words[0]: _user(words[1:]) for words in words_of("user")},
        units=_units(all_of("unit"), (*units, *all_of("pending"))),
        pending_restarts=tuple(all_of("pending")),
        pings={words[0]: words[1] == "yes" for words in words_of("ping") if words},
    )


def _bytes(encoded: str) -> bytes:
    return b"" if encoded == "-" else base64.b64decode(encoded)


def _text(encoded: str) -> str:
    return _bytes(encoded).decode(errors="replace")


def _errors(result: str) -> str:
    """What cloud-init's result.json says went wrong; its text where it cannot be understood."""
    try:
        return "; ".join(str(error) for error in json.loads(result)["v1"]["errors"])
    except (ValueError, KeyError, TypeError):
        return result.strip()


def _files(lines: Sequence[Sequence[str]], contents: str) -> dict[str, FileFacts]:
    """Files by their path: owner, group, raw mode (hexadecimal), unproven, sha256 or -, path."""
    read = _contents(contents)
    found = {}
    for owner, group, raw, unproven, sha256, path in lines:
        mode = int(raw, 16)
        kind = "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "other"
        found[path] = FileFacts(
            kind=kind,
            owner=owner,
            group=group,
            mode=f"{stat.S_IMODE(mode):04o}",
            content=read.get(path) if kind == "file" else None,
            sha256="" if sha256 == "-" else sha256,
            unproven=unproven == "yes",
        )
    return found


def _contents(encoded: str) -> dict[str, bytes]:
    """The files of a gzipped tar by their path."""
    if not encoded:
        return {}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(_bytes(encoded)), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file:
                found[f"/{member.name.lstrip('/')}"] = file.read()
    return found


def _by_first(lines: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The second words by the first."""
    found: dict[str, tuple[str, ...]] = {}
    for first, second in lines:
        found[first] = (*found.get(first, ()), second)
    return found


def _user(words: Sequence[str]) -> UserFacts:
    """Encoded is what may be empty or hold blanks."""
    shell, home, uid, keys, *groups = words
    lines = tuple(line for line in _text(keys).split("\n") if line)  # as sshd has them
    return UserFacts(_text(shell), _text(home), groups=tuple(groups), keys=lines, uid=int(uid))


def _units(lines: Sequence[str], names: Sequence[str]) -> dict[str, UnitFacts]:
    """Systemctl prints a block of properties for each unit, in the order asked for."""
    blocks: list[dict[str, str]] = [{}]
    for line in lines:
        key, _, value = line.partition("=")
        if key:
            blocks[-1][key] = value
        else:
            blocks.append({})
    found = [block for block in blocks if block]
    return {
        name: UnitFacts(
            block["LoadState"],
            block.get("UnitFileState", ""),
            block["ActiveState"],
            block.get("NeedDaemonReload") == "yes",
        )
        for name, block in zip(names, found, strict=False)
    }


def _addresses(lines: Sequence[Sequence[str]]) -> dict[str, tuple[Interface, ...]]:
    """``2: if-demo inet 192.168.56.161/24 brd ...`` as ``ip -o addr show`` prints it."""
    found: dict[str, tuple[Interface, ...]] = {}
    for words in lines:
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            found[words[1]] = (*found.get(words[1], ()), ip_interface(words[3]))
    return found


def _route(words: Sequence[str]) -> tuple[str, str]:
    """``default via GATEWAY dev INTERFACE ...``; a gateway may be missing."""
    named = dict(pairwise(words))
    return named.get("via", ""), named.get("dev", "")
