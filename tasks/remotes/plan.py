"""The mesh of remotes as one host has it: whom it trusts, and which remotes its users have."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.actual import ClientFolder, HostFacts
from tasks.certificate import fingerprint_of
from tasks.errors import FleetError
from tasks.intent.model import LxdHost
from tasks.plan import Plan, Step, text_diff

TO_BE_MADE = "(certificate to be made)"
#: What ``lxc`` takes where an entry of config.yml does not say (its shared/cliconfig).
ENTRY_DEFAULTS = {"protocol": "lxd", "auth_type": "tls", "project": "default", "public": False}


@dataclass(frozen=True)
class Peer:
    """An LXD host of the fleet as another one sees it; without ``facts`` it is unreachable."""

    host: LxdHost
    facts: HostFacts | None

    @property
    def name(self) -> str:
        """Its inventory name, which is the remote's."""
        return self.host.name


@dataclass(frozen=True)
class RemotesWrite:
    """Lines for ``onhost/sync_remotes.sh``, and the entry that a user's config.yml gets."""

    lines: tuple[str, ...]
    user: str = ""
    remote: str = ""
    entry: Mapping[str, Any] | None = None


def plan_remotes(
    wanted: LxdHost, actual: HostFacts, peers: Sequence[Peer], *, dry: bool
) -> Plan[RemotesWrite]:
    """The steps to trust every peer's users, and to give each user here a remote for every peer.

    Arguments:
        peers: all LXD hosts of the fleet, this one among them.
        dry: a peer's certificates may still be to be made; the step is planned all the same.
    """
    steps: list[Step[RemotesWrite]] = []
    notes: list[str] = []
    for peer in peers:
        if peer.facts is None:
            notes.append(f"peer {peer.name} unreachable, its remote is left as it is")
            continue
        missing = _missing(peer.host, peer.facts)
        if missing and not dry:
            notes.append(f"peer {peer.name} has no {missing}, its remote is left as it is")
            continue
        steps += _trust(actual, peer, peer.facts)
        notes += _namesakes(actual, peer, peer.facts)
        for user in wanted.client_users:
            if user in actual.clients:
                steps += _remote(actual.clients[user], peer, peer.facts, wanted.name)
    notes += _left(actual, wanted, {peer.name for peer in peers})
    return Plan(
        tuple(steps), reason="" if steps else "remotes and trust are as wanted", notes=tuple(notes)
    )


def trust_name(peer: LxdHost, user: str) -> str:
    """The name under which a peer's user is trusted: the host's for root, else HOST-USER."""
    return peer.name if user == "root" else f"{peer.name}-{user}"


def _missing(peer: LxdHost, facts: HostFacts) -> str:
    """What a peer that is not set up yet has not got, and the mesh needs of it."""
    if not facts.lxd.certificate:
        return "LXD certificate"
    folders = (facts.clients.get(user) for user in peer.client_users)
    without = [folder.user for folder in folders if folder and not folder.certificate]
    return f"client certificate of {without[0]}" if without else ""


def _trust(actual: HostFacts, peer: Peer, facts: HostFacts) -> Iterable[Step[RemotesWrite]]:
    """Trust the certificates of a peer's users; no more a former one of that name of ours."""
    entries = {entry["fingerprint"]: entry["name"] for entry in actual.lxd.certificates}
    for user in peer.host.client_users:
        folder = facts.clients.get(user)
        if folder is None:
            continue
        name = trust_name(peer.host, user)
        fingerprint = fingerprint_of(folder.certificate) if folder.certificate else None
        if fingerprint not in entries:
            line = f"trust {name} {_encoded(folder.certificate or '')}"
            yield Step(
                "trust",
                f"certificate {name}",
                RemotesWrite((line, f"created {_trusted(name, fingerprint)}")),
                detail=fingerprint[:12] if fingerprint else TO_BE_MADE,
            )
        for old in _former(actual, name, fingerprint):
            if _trusted(name, old) in actual.created:
                yield Step(
                    "distrust",
                    f"certificate {name}",
                    RemotesWrite((f"untrust {old}",)),
                    detail=f"{old[:12]}, the former one of that name",
                )


def _namesakes(actual: HostFacts, peer: Peer, facts: HostFacts) -> Iterable[str]:
    """Certificates that are trusted under a name of ours and that we have not brought there."""
    for user in peer.host.client_users:
        name = trust_name(peer.host, user)
        folder = facts.clients.get(user)
        fingerprint = fingerprint_of(folder.certificate) if folder and folder.certificate else None
        for old in _former(actual, name, fingerprint):
            if _trusted(name, old) not in actual.created:
                yield (
                    f"another certificate is trusted as {name}, not by us, and stays; if it is no "
                    f"longer wanted: lxc config trust remove {old[:12]}"
                )


def _former(actual: HostFacts, name: str, fingerprint: str | None) -> list[str]:
    """The fingerprints that are trusted under a name besides the one that shall be."""
    return [
        entry["fingerprint"]
        for entry in actual.lxd.certificates
        if fingerprint and entry["name"] == name and entry["fingerprint"] != fingerprint
    ]


def _trusted(name: str, fingerprint: str | None) -> str:
    """How the host's list of what we created has a certificate: by itself, a name has many."""
    return f"trust {name} {fingerprint or '-'}"


def _remote(
    folder: ClientFolder, peer: Peer, facts: HostFacts, where: str
) -> Iterable[Step[RemotesWrite]]:
    """One user's remote for one peer: entry in config.yml, pinned server certificate."""
    now = remotes_of(folder, where).get(peer.name)
    address = f"https://{peer.host.api_address}"
    entry = {"addr": address, **ENTRY_DEFAULTS}
    pinned = folder.server_certificates.get(peer.name)
    certificate = facts.lxd.certificate
    lines = []
    if certificate is None or pinned != certificate:
        lines.append(f"pin {folder.user} {peer.name} {_encoded(certificate or '')}")
    entry_differs = now is None or {**ENTRY_DEFAULTS, **now} != {**(now or {}), **entry}
    if not lines and not entry_differs:
        return
    owner = "" if folder.user == "root" else f" of {folder.user}"
    yield Step(
        "create" if now is None else "update",
        f"remote {peer.name}{owner}",
        RemotesWrite(
            (*lines, f"created remote {folder.user} {peer.name}"),
            folder.user,
            peer.name,
            entry if entry_differs else None,
        ),
        detail=address if certificate else TO_BE_MADE,
        diff=text_diff(
            _shown(now, pinned), _shown(entry, certificate or TO_BE_MADE), f"remote {peer.name}"
        ),
    )


def remotes_of(folder: ClientFolder, where: str) -> dict[str, Any]:
    """The remotes in a user's config.yml. Raises :class:`FleetError` where it is none."""
    try:
        document = yaml.safe_load(folder.config) or {}
        return dict(document.get("remotes") or {})
    except (yaml.YAMLError, AttributeError, ValueError) as error:
        raise FleetError(
            f"{folder.path}/config.yml is no LXD client configuration ({type(error).__name__})",
            where=where,
            remedy="mend or remove it; lxc makes a new one",
        ) from error


def script_input(actual: HostFacts, plan: Plan[RemotesWrite]) -> bytes:
    """What ``onhost/sync_remotes.sh`` reads: all lines, then each changed config.yml whole.

    Foreign remotes, the default remote and aliases are kept as they are.
    """
    lines = [line for step in plan.steps for line in step.write.lines]
    for user, folder in actual.clients.items():
        changes = {
            step.write.remote: step.write.entry
            for step in plan.steps
            if step.write.user == user and step.write.entry
        }
        if not changes:
            continue
        document = yaml.safe_load(folder.config) or {"default-remote": "local", "aliases": {}}
        remotes = remotes_of(folder, actual.name)
        merged = {name: {**remotes.get(name, {}), **entry} for name, entry in changes.items()}
        document["remotes"] = {**remotes, **merged}
        text = yaml.safe_dump(document, sort_keys=False)
        before = hashlib.sha256(folder.config.encode()).hexdigest() if folder.config else "-"
        lines.append(f"config {user} {before} {_encoded(text)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _left(actual: HostFacts, wanted: LxdHost, names: set[str]) -> Iterable[str]:
    """Remotes that we once made and the inventory no longer has."""
    for line in sorted(actual.created):
        word, _, rest = line.partition(" ")
        user, _, remote = rest.partition(" ")
        folder = actual.clients.get(user)
        if word != "remote" or remote in names or folder is None:
            continue
        if remote in remotes_of(folder, wanted.name):
            yield f"remote {remote} of {user} is no longer in the inventory, left as it is"


def _shown(entry: Mapping[str, Any] | None, certificate: str | None) -> str:
    if entry is None:
        return ""
    if certificate and certificate != TO_BE_MADE:
        certificate = fingerprint_of(certificate)
    shown = {**ENTRY_DEFAULTS, **entry, "server certificate": certificate or "none"}
    return yaml.safe_dump(shown, sort_keys=True)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
