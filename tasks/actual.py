"""The actual state of an LXD host, typed: what one read of it found.

LXD's own objects are kept as the API gives them (its REST documentation, ``/1.0/...``), keyed by
name; comparing normalises them, reading does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.intent.model import Interface

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """A network interface. ``kind`` is "" (physical), bridge, vlan, veth, ..."""

    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 1500
    master: str | None = None
    up: bool = True
    addresses: tuple[Interface, ...] = ()
    vlan_id: int | None = None
    vlan_link: str | None = None


@dataclass(frozen=True)
class ClientFolder:
    """The folder of one Unix user's LXD client: remotes, pinned certificates, own certificate."""

    user: str
    path: str
    config: str = ""
    certificate: str | None = None
    server_certificates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LxdFacts:
    """LXD on a host. ``package`` is deb, snap or None; ``problem`` says why it does not answer."""

    package: str | None = None
    running: bool = False
    problem: str = ""
    certificate: str | None = None
    server: Json = field(default_factory=dict)
    certificates: tuple[Json, ...] = ()
    pools: Mapping[str, Json] = field(default_factory=dict)
    profiles: Mapping[str, Json] = field(default_factory=dict)
    images: Mapping[str, Json] = field(default_factory=dict)
    instances: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class HostFacts:
    """One read of an LXD host.

    ``netplan`` maps the path of every netplan file (/etc, /run, /lib) to its text, ``images`` of
    ``lxd`` are keyed by fingerprint, ``default_routes`` are ``(gateway, interface)``.
    """

    name: str
    os_id: str = ""
    os_version: str = ""
    boot_id: str = ""
    netplan_version: str = ""
    netplan: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
    default_routes: tuple[tuple[str, str], ...] = ()
    clients: Mapping[str, ClientFolder] = field(default_factory=dict)
    lxd: LxdFacts = field(default_factory=LxdFacts)
