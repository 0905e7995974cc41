"""The mesh of remotes as one host has it: whom it trusts, and which remotes its users have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.actual import ClientFolder, HostFacts, Json
from tasks.certificate import fingerprint_of
from tasks.intent.model import LxdHost
from tasks.ownership import trust_line
from tasks.plan import Plan, Step, text_diff
from tasks.remotes.client_config import remotes_of
from tasks.remotes.departed import plan_departed
from tasks.remotes.peer import Peer, owner_of, trust_name
from tasks.remotes.show import ENTRY_DEFAULTS, TO_BE_MADE, shown_entry
from tasks.remotes.writes import RemotesWrite, encoded


def plan_remotes(
    wanted: LxdHost, actual: HostFacts, peers: Sequence[Peer], *, dry: bool, prune: bool = False
) -> Plan[RemotesWrite]:
    """The steps to trust every peer's users, and to give each user here a remote for every peer.

    Arguments:
        peers: all LXD hosts of the fleet, this one among them.
        dry: a peer's certificates may still be to be made; the step is planned all the same.
        prune: remove what we made here and the inventory no longer has.
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
    for departed in plan_departed(wanted, actual, peers, prune=prune):
        if isinstance(departed, Step):
            steps.append(departed)
        else:
            notes.append(departed)
    return Plan(
        tuple(steps), reason="" if steps else "remotes and trust are as wanted", notes=tuple(notes)
    )


def _missing(peer: LxdHost, facts: HostFacts) -> str:
    """What a peer that is not set up yet has not got, and the mesh needs of it."""
    if not facts.lxd.certificate:
        return "LXD certificate"
    folders = (facts.clients.get(user) for user in peer.client_users)
    without = [folder.user for folder in folders if folder and not folder.certificate]
    return f"client certificate of {without[0]}" if without else ""


def _trust(actual: HostFacts, peer: Peer, facts: HostFacts) -> Iterable[Step[RemotesWrite]]:
    """Trust the certificates of a peer's users; no more a former one of that name of ours."""
    entries = {entry["fingerprint"]: entry for entry in actual.lxd.certificates}
    for user in peer.host.client_users:
        folder = facts.clients.get(user)
        if folder is None:
            continue
        name = trust_name(peer.host, user)
        fingerprint = fingerprint_of(folder.certificate) if folder.certificate else None
        limits = _limits(entries.get(fingerprint or "", {}))
        if fingerprint not in entries or limits:
            # remembered first: killed in between, it would never be known as ours
            lines = (
                *((f"untrust {fingerprint}",) if limits else ()),
                f"created {trust_line(name, fingerprint)}",
                f"trust {name} {encoded(folder.certificate or '')}",
            )
            detail = fingerprint[:12] if fingerprint else TO_BE_MADE
            yield Step(
                "trust",
                f"certificate {name}",
                RemotesWrite(lines),
                detail=f"{detail}, which is {limits} now" if limits else detail,
            )
        for old in _former(actual, name, folder):
            if trust_line(name, old) in actual.created:
                yield Step(
                    "distrust",
                    f"certificate {name}",
                    RemotesWrite((f"untrust {old}",), last=(f"forget {trust_line(name, old)}",)),
                    detail=f"{old[:12]}, the former one of that name",
                )


def _limits(entry: Json) -> str:
    """What keeps a trusted certificate from all that a remote is for; "" for nothing."""
    kind = str(entry.get("type") or "client")
    restricted = "restricted to projects" if entry.get("restricted") else ""
    return restricted if kind == "client" else f"of the type {kind}"


def _namesakes(actual: HostFacts, peer: Peer, facts: HostFacts) -> Iterable[str]:
    """Certificates that are trusted under a name of ours and that we have not brought there."""
    for user in peer.host.client_users:
        name = trust_name(peer.host, user)
        for old in _former(actual, name, facts.clients.get(user)):
            if trust_line(name, old) not in actual.created:
                yield (
                    f"another certificate is trusted as {name}, not by us, and stays; if it is no "
                    f"longer wanted: lxc config trust remove {old[:12]}"
                )


def _former(actual: HostFacts, name: str, folder: ClientFolder | None) -> list[str]:
    """The fingerprints that are trusted under a name besides the one that shall be, and the one
    that shall follow it."""
    if folder is None or not folder.certificate:
        return []
    shall_be = [pem for pem in (folder.certificate, folder.next_certificate) if pem]
    keep = {fingerprint_of(pem) for pem in shall_be}
    return [
        entry["fingerprint"]
        for entry in actual.lxd.certificates
        if entry["name"] == name and entry["fingerprint"] not in keep
    ]


def _remote(
    folder: ClientFolder, peer: Peer, facts: HostFacts, where: str
) -> Iterable[Step[RemotesWrite]]:
    """One user's remote for one peer: entry in config.yml, pinned server certificate."""
    now = remotes_of(folder, where).get(peer.name)
    address = f"https://{peer.host.api_address}"
    entry = {"addr": address, **ENTRY_DEFAULTS}
    if now and now.get("project"):
        entry["project"] = now["project"]  # lxc project switch: the user's own business
    pinned = folder.server_certificates.get(peer.name)
    certificate = facts.lxd.certificate
    lines = [f"created remote {folder.user} {peer.name}"]
    # but for what an editor adds to its end
    pin_differs = certificate is None or (pinned or "").strip() != certificate.strip()
    if pin_differs:
        lines.append(f"pin {folder.user} {peer.name} {encoded(certificate or '')}")
    entry_differs = now is None or {**ENTRY_DEFAULTS, **now} != {**(now or {}), **entry}
    if not pin_differs and not entry_differs:
        return
    yield Step(
        "create" if now is None else "update",
        f"remote {peer.name}{owner_of(folder.user)}",
        RemotesWrite(
            tuple(lines),
            folder.user,
            peer.name,
            entry if entry_differs else None,
        ),
        detail=address if certificate else TO_BE_MADE,
        diff=text_diff(
            shown_entry(now, pinned),
            shown_entry(entry, certificate or TO_BE_MADE),
            f"remote {peer.name}{owner_of(folder.user)}",
        ),
    )
