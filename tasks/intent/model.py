"""The wanted state of a fleet, typed, merged and derived: what the inventory intends.

Plain dataclasses that know nothing of Nornir, files or the network. Addresses are
:mod:`ipaddress` objects, times are seconds, LXD config values are strings as LXD wants them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from pathlib import Path
from typing import Literal

from tasks.intent.controller import Controller
from tasks.intent.health import HealthCheck
from tasks.intent.maintenance import Maintenance
from tasks.intent.secret import Secret
from tasks.intent.system import Configure

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
#: LXD devices: name -> device, as LXD knows them.
Devices = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Route:
    """A static route: to a network (``0.0.0.0/0`` is everything) via a neighbour's address."""

    to: Network
    via: Address
    metric: int | None = None


@dataclass(frozen=True)
class Bridge:
    """A bridge that hosts have: the network that follows ``br-``, over a NIC, a vlan or nothing.

    ``forward_delay`` is in seconds, ``mtu`` in bytes; None leaves either to the kernel. ``dhcp4``,
    ``dhcp6`` and ``accept_ra`` are about the host's own address on it.
    """

    network: str
    nic: str | None = None
    vlan: int | None = None
    subnet: Network | None = None
    gateway: Address | None = None
    nameservers: tuple[Address, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    stp: bool = False
    forward_delay: int | None = None
    dhcp4: bool = False
    dhcp6: bool = False
    accept_ra: bool = False

    @property
    def name(self) -> str:
        """The bridge's interface name on an LXD host."""
        return f"br-{self.network}"


@dataclass(frozen=True)
class Attachment:
    """A machine's place in one network: br-X on an LXD host, if-X in a container.

    ``address`` is the first of its addresses there, at which others find it; ``further`` are the
    rest of them. ``routes`` are those of its own besides the default route.
    """

    network: str
    address: Interface | None = None
    gateway: Address | None = None
    nameservers: tuple[Address, ...] = ()
    search: tuple[str, ...] = ()
    mac: str | None = None
    further: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """All addresses, the first one first."""
        return (self.address, *self.further) if self.address else ()

    @property
    def all_routes(self) -> tuple[Route, ...]:
        """The default route, where there is a gateway, and the routes of its own."""
        if self.gateway is None:
            return self.routes
        everywhere = ip_network("::/0" if self.gateway.version == 6 else "0.0.0.0/0")
        return (Route(everywhere, self.gateway), *self.routes)

    @property
    def interface(self) -> str:
        """The interface's name inside a container."""
        return f"if-{self.network}"


@dataclass(frozen=True)
class Ssh:
    """How a machine is reached over SSH. ``host_key`` is a public key line without a host name."""

    hostname: str
    port: int = 22
    username: str = "root"
    key_file: Path | None = None
    host_key: str | None = None


@dataclass(frozen=True)
class Profile:
    """An LXD profile, whole: NIC devices from its bridges, root disk and own devices included."""

    name: str
    description: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Devices = field(default_factory=dict)
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image under its alias ``name``: from files here, from a simplestreams server, or one that
    an LXD host of the fleet has already (``local``, an alias or a fingerprint there).

    ``network_config`` is the instance config key that carries the static network for this image,
    or None where the image has no cloud-init and bootstrap writes the network itself. With
    ``prepare`` containers start from a copy of it that has been bootstrapped once, which is made
    anew when it is older than ``prepare_days``.
    """

    name: str
    metadata: Path | None = None
    rootfs: Path | None = None
    server: str | None = None
    alias: str | None = None
    local: str | None = None
    prepare: bool = False
    prepare_days: int | None = None
    network_config: Literal["cloud-init.network-config", "user.network-config"] | None = None


@dataclass(frozen=True)
class Pool:
    """An LXD storage pool."""

    name: str
    driver: str
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KernelSettings:
    """Kernel settings (sysctl) of an LXD host by name: the ``exact`` values that they have, and
    those that have ``least`` this value."""

    exact: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of all of them."""
        return (*self.exact, *self.least)


@dataclass(frozen=True)
class LxdServer:
    """The LXD server of a host. ``listen`` is ``core.https_address``, None means not declared.

    ``channel`` is what the snap follows (``5.0/stable``), ``refresh`` when snapd may refresh, as
    its ``refresh.timer`` has it; None leaves either as it is.
    """

    package: Literal["deb", "snap"] = "deb"
    channel: str | None = None
    refresh: str | None = None
    listen: str | None = None
    pools: tuple[Pool, ...] = ()
    config: Mapping[str, str | Secret] = field(default_factory=dict)
    kernel: KernelSettings = field(default_factory=KernelSettings)


@dataclass(frozen=True)
class Netplan:
    """Our netplan file on a host, and how its changes are made.

    ``replaces`` are the foreign files that the inventory lets us take over; ``confirm_seconds`` is
    how long a change has until it undoes itself; ``canary`` marks the host whose network is changed
    first, ``batch`` is how many hosts' networks are then changed at once, itself among them. The
    hosts' LXD is moved to the snap in the same order.
    """

    file: str = "/etc/netplan/60-nornir-lxd-fleet.yaml"
    replaces: tuple[str, ...] = ()
    confirm_seconds: float = 60.0
    canary: bool = False
    batch: int = 1


@dataclass(frozen=True)
class Bootstrap:
    """What makes a bare machine manageable.

    ``upgrade`` asks for one upgrade of all packages at the first run; ``packages`` are installed
    until SSH answers; ``authorized_keys`` are public key lines for root.
    """

    upgrade: bool = False
    packages: tuple[str, ...] = ("python3", "openssh-server")
    authorized_keys: tuple[str, ...] = ()
    deadline: float = 600.0


@dataclass(frozen=True)
class Machine:
    """Anything reached over SSH. ``data`` is the merged inventory data, for templates;
    ``controller`` is set where it manages the fleet itself, ``let_in`` are the public keys of the
    fleet's controllers, which it has besides those declared."""

    name: str
    ssh: Ssh
    site: str | None = None
    groups: tuple[str, ...] = ()
    management: str | None = None
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    configure: Configure = field(default_factory=Configure)
    health: tuple[HealthCheck, ...] = ()
    maintenance: Maintenance = field(default_factory=Maintenance)
    apart: str | None = None
    foreign: tuple[str, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict, repr=False)
    controller: Controller | None = None
    let_in: tuple[str, ...] = ()

    kind = "machine"

    @property
    def default_route(self) -> Attachment | None:
        """The attachment that carries the default route."""
        return next((a for a in self.attachments.values() if a.gateway), None)


@dataclass(frozen=True)
class LxdHost(Machine):
    """An LXD host. ``nics`` maps a NIC's role to its interface name on this host."""

    nics: Mapping[str, str] = field(default_factory=dict)
    bridges: tuple[Bridge, ...] = ()
    netplan: Netplan = field(default_factory=Netplan)
    lxd: LxdServer = field(default_factory=LxdServer)
    profiles: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    client_users: tuple[str, ...] = ("root",)

    kind = "lxd"

    def attachment_on(self, bridge: Bridge) -> Attachment:
        """What the host has on one of its bridges; nothing at all where it declares nothing."""
        return self.attachments.get(bridge.network, Attachment(bridge.network))

    @property
    def api_port(self) -> int:
        """The TCP port of the LXD API."""
        return int(self.lxd.listen.rsplit(":", 1)[1]) if self.lxd.listen else 8443

    @property
    def api_address(self) -> str:
        """``host:port`` at which peers and the controller reach the LXD API."""
        host = self.ssh.hostname
        return f"[{host}]:{self.api_port}" if ":" in host else f"{host}:{self.api_port}"


@dataclass(frozen=True)
class Container(Machine):
    """A container on the LXD host ``on``.

    ``config`` and ``devices`` are its own, network-config, own NICs and root disk included;
    ``networks`` are all that it has a NIC in, through profiles or devices of its own.
    """

    on: str = ""
    image: str = ""
    profiles: tuple[str, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Devices = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    running: bool = True

    kind = "container"


@dataclass(frozen=True)
class Intent:
    """The whole fleet as one inventory folder intends it."""

    folder: Path
    lxd_hosts: Mapping[str, LxdHost]
    containers: Mapping[str, Container]
    machines: Mapping[str, Machine]
    bridges: Mapping[str, Bridge]
    profiles: Mapping[str, Profile]
    images: Mapping[str, Image]

    @property
    def name(self) -> str:
        """The environment: the folder's name."""
        return self.folder.name

    def machine(self, name: str) -> Machine:
        """The host, container or plain machine of that name; KeyError where there is none."""
        for group in (self.lxd_hosts, self.containers, self.machines):
            if name in group:
                return group[name]
        raise KeyError(name)

    def names(self) -> tuple[str, ...]:
        """All machines: LXD hosts first, then containers, then plain machines."""
        return (*self.lxd_hosts, *self.containers, *self.machines)

    @property
    def controllers(self) -> tuple[Machine, ...]:
        """The machines that manage the fleet themselves."""
        return tuple(m for m in map(self.machine, self.names()) if m.controller)

    def containers_on(self, host: str) -> tuple[Container, ...]:
        """The containers declared on one LXD host, in the inventory's order."""
        return tuple(c for c in self.containers.values() if c.on == host)
