"""The actual state of an LXD host, typed: what one read of it found.

LXD's own objects are kept as the API gives them (its REST documentation, ``/1.0/...``), keyed by
name; comparing normalises them, reading does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.intent.model import Address, Interface, Network

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Link:
    """A network interface. ``kind`` is "" (physical), bridge, vlan, veth, ...

    ``stp`` and ``forward_delay`` (seconds, None where it cannot be known) are a bridge's.
    """

    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 1500
    master: str | None = None
    up: bool = True
    addresses: tuple[Interface, ...] = ()
    vlan_id: int | None = None
    vlan_link: str | None = None
    stp: bool = False
    forward_delay: float | None = 15.0


@dataclass(frozen=True)
class LiveRoute:
    """A route via a neighbour, as the kernel has it."""

    to: Network
    via: Address
    link: str
    metric: int | None = None


@dataclass(frozen=True)
class ClientFolder:
    """The folder of one Unix user's LXD client: remotes, pinned certificates, own certificate.

    ``next_certificate`` is one beside its own, which is to follow it (see
    :mod:`tasks.maintenance.certificates.plan`).
    """

    user: str
    path: str
    config: str = ""
    certificate: str | None = None
    next_certificate: str | None = None
    server_certificates: Mapping[str, str] = field(default_factory=dict)


#: By package.
LXD_FOLDERS = {"deb": "/var/lib/lxd", "snap": "/var/snap/lxd/common/lxd"}


@dataclass(frozen=True)
class LxdFacts:
    """LXD on a host. ``package`` is deb, snap or None; ``problem`` says why it does not answer.

    ``instances`` are those of the project default, which is the one that is managed, by name;
    ``other_instances`` are those of all other projects, which may use its profiles.

    ``deb`` is the version of the Debian package where it is installed, ``channel`` what the snap
    follows, ``refresh`` snapd's refresh.timer. Where both are installed, ``package`` is the one
    with the data, and ``move`` says how far it has been moved to the other: ``begun``, ``moved`` or
    not at all.
    ``mounted`` says that the folder of the Debian package's LXD is a file system of its own.
    """

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
    other_instances: tuple[Json, ...] = ()
    deb: str = ""
    move: str = ""
    mounted: bool = False
    channel: str = ""
    refresh: str = ""

    @property
    def version(self) -> str:
        """The version of the server that answered, ``5.0.2``; empty where none did."""
        return str(self._environment.get("server_version", ""))

    @property
    def client(self) -> str:
        """Whose ``lxc`` it has, deb or snap; before there is any, the one that is installed."""
        return self.package or "deb"

    @property
    def folder(self) -> str:
        """Where it keeps what is its own."""
        return LXD_FOLDERS[self.client]

    @property
    def unit(self) -> str:
        """The systemd unit of its server."""
        return "snap.lxd.daemon" if self.package == "snap" else "lxd"

    @property
    def trusted(self) -> frozenset[str]:
        """The fingerprints of the client certificates that it trusts."""
        return frozenset(str(entry["fingerprint"]) for entry in self.certificates)

    @property
    def clustered(self) -> bool:
        """Whether it is a member of a cluster."""
        return bool(self._environment.get("server_clustered", False))

    @property
    def extensions(self) -> frozenset[str]:
        """The API extensions that the server has: what it can is asked of it by these."""
        return frozenset(self.server.get("api_extensions") or ())

    @property
    def _environment(self) -> Json:
        environment: Json = self.server.get("environment") or {}
        return environment


@dataclass(frozen=True)
class HostFacts:
    """One read of an LXD host.

    ``netplan`` maps the path of every netplan file (/etc, /run, /lib) to its text, ``images`` of
    ``lxd`` are keyed by fingerprint, ``network_pending`` says that a change of the network waits
    for its confirmation, ``free`` are
    the bytes free by mount point, ``created`` the lines of our own list of what we made there that
    can carry no mark (remotes, trust). ``kernel`` are the kernel settings that were asked for and
    that it has, ``kernel_file`` those in our own file in /etc/sysctl.d.
    """

    name: str
    root: bool = True
    systemd: bool = True
    free: Mapping[str, int] = field(default_factory=dict)
    created: frozenset[str] = frozenset()
    os_id: str = ""
    os_version: str = ""
    netplan_version: str = ""
    netplan: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
    routes: tuple[LiveRoute, ...] = ()
    network_pending: bool = False
    clients: Mapping[str, ClientFolder] = field(default_factory=dict)
    kernel: Mapping[str, str] = field(default_factory=dict)
    kernel_file: Mapping[str, str] = field(default_factory=dict)
    lxd: LxdFacts = field(default_factory=LxdFacts)


@dataclass(frozen=True)
class FileFacts:
    """A path on a machine. ``kind`` is "" where there is none, else file, link or other.

    ``content`` is None for what is no regular file; of a file too large to be sent, ``sha256``
    alone is known. ``unproven`` marks a file whose validation an earlier run did not finish.
    """

    kind: str = ""
    owner: str = ""
    group: str = ""
    mode: str = ""
    content: bytes | None = field(default=None, repr=False)
    sha256: str = ""
    unproven: bool = False

    @property
    def text(self) -> str:
        """The content as text; empty where it is not known."""
        return (self.content or b"").decode(errors="replace")


@dataclass(frozen=True)
class UserFacts:
    """A Unix user. ``keys`` are the lines of its authorized_keys."""

    shell: str
    home: str
    groups: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    uid: int = -1


@dataclass(frozen=True)
class UnitFacts:
    """A systemd unit as ``systemctl show`` has it: LoadState, UnitFileState, ActiveState.

    ``stale`` is its NeedDaemonReload: its file changed since systemd read it.
    """

    load: str = "not-found"
    enabled: str = ""
    active: str = "inactive"
    stale: bool = False


@dataclass(frozen=True)
class MachineFacts:
    """One read of a machine from inside: what its bootstrap, configuration and proof need.

    ``over`` is how it was read: ssh, exec, or "" for a machine that does not run yet, of which
    everything else is empty. ``system`` is systemd's state, ``cloud_init`` is absent, done or
    error; ``network_tool`` is what configures its network: netplan, ifupdown or networkd.
    ``packages`` holds the installed versions of those asked for, ``pending_restarts`` the
    services whose restart an earlier run did not come to, ``pings`` the answers by address, empty
    on a machine without ping. ``lang`` is the system's locale, ``locale_known`` whether the one
    that was asked for is generated. ``groups`` has the numbers of the groups asked for, ``sysctl``
    the kernel settings, ``configured`` the files that a configuration of ours has written.
    ``added_keys`` are the keys that we added to a user's, by the user; ``made_users`` and
    ``made_groups`` are those that we made, the groups with all who are in them now; ``gone_groups``
    are noted too, and are not there any more. Keys and users that are noted may be gone as well.
    ``network_files`` are the files of ours that give a container its network, ``leaving`` the
    interfaces and addresses that a run began to take away and did not come to the end of.
    """

    name: str
    over: str = ""
    system: str = ""
    cloud_init: str = "absent"
    cloud_init_errors: str = ""
    hostname: str = ""
    host_key: str = ""
    network_tool: str = ""
    addresses: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)
    default_routes: tuple[tuple[str, str], ...] = ()
    timezone: str = ""
    zone_known: bool = False
    lang: str = ""
    locale_known: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    users: Mapping[str, UserFacts] = field(default_factory=dict)
    sysctl: Mapping[str, str] = field(default_factory=dict)
    configured: tuple[str, ...] = ()
    added_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    made_users: tuple[str, ...] = ()
    made_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gone_groups: tuple[str, ...] = ()
    network_files: tuple[str, ...] = ()
    leaving: tuple[tuple[str, Interface], ...] = ()
    units: Mapping[str, UnitFacts] = field(default_factory=dict)
    pending_restarts: tuple[str, ...] = ()
    pings: Mapping[str, bool] = field(default_factory=dict)
