"""How the fleet is at one moment, as data and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.profiles.across import ProfileComparison
from tasks.report import EXIT_FAILED, EXIT_OK
from tasks.status.history import History


@dataclass(frozen=True)
class ContainerStatus:
    """A container on an LXD host.

    ``state`` is what LXD says (running, stopped, ...), missing where the inventory has it and the
    host has not, unknown where the host could not be asked. ``declared`` says whether the
    inventory has it on this host, ``wanted`` in which state (running or stopped); ``addresses``
    are the declared ones, ``image`` is what it was made from, the declared one where that is not
    known, ``profiles`` those that it has, ``wanted_profiles`` those declared.
    """

    name: str
    state: str
    declared: bool = True
    addresses: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    profiles: tuple[str, ...] = ()
    wanted_profiles: tuple[str, ...] = ()
    wanted: str = ""

    @property
    def astray(self) -> bool:
        """Whether it is there, and in another state than the declared one."""
        return self.declared and self.state not in (self.wanted, "missing", "unknown")


@dataclass(frozen=True)
class BridgeStatus:
    """A bridge as it is; ``declared`` says whether the inventory has it.

    ``lost`` are declared addresses that it has not, ``extra`` those that it has and the inventory
    has not; none of one that gets addresses from elsewhere, or that is not declared.
    """

    name: str
    members: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    present: bool = True
    declared: bool = True
    lost: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostStatus:
    """An LXD host; ``problem`` says why it, or LXD on it, does not answer.

    ``remotes`` are those of users, ``lost_remotes`` the LXD hosts of the fleet that are none of
    them and that the inventory has be some.
    """

    name: str
    address: str
    reachable: bool = True
    problem: str = ""
    system: str = ""
    lxd_package: str | None = None
    lxd_version: str = ""
    listen: str = ""
    bridges: tuple[BridgeStatus, ...] = ()
    pools: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    remotes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lost_remotes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    containers: tuple[ContainerStatus, ...] = ()


@dataclass(frozen=True)
class StatusReport:
    """The fleet at one moment; ``seconds`` is how long reading it took."""

    inventory: str
    started: str
    seconds: float
    hosts: tuple[HostStatus, ...] = ()
    profiles: tuple[ProfileComparison, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    history: History = field(default_factory=History)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts and lists; hosts, profiles and containers by name."""
        hosts = {host.name: asdict(host) for host in self.hosts}
        for host in hosts.values():
            for part in ("bridges", "containers"):
                host[part] = {item.pop("name"): item for item in host[part]}
            del host["name"]
        profiles = {profile.name: asdict(profile) for profile in self.profiles}
        for profile in profiles.values():
            del profile["name"]
        return {
            "runbook": "status",
            "inventory": self.inventory,
            "started": self.started,
            "seconds": round(self.seconds, 2),
            "hosts": hosts,
            "profiles": profiles,
            "machines": dict(self.machines),
            "history": self.history.to_dict(),
        }

    def exit_status(self) -> int:
        """1 where a host, or LXD on it, does not answer, else 0."""
        return EXIT_FAILED if any(host.problem for host in self.hosts) else EXIT_OK
