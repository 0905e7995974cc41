"""What a drawing of the fleet tells: its networks' order, the containers' boxes, the labels."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.actual import HostFacts, Json
from tasks.intent.model import Bridge, Intent, LxdHost
from tasks.picture.canvas import width_of
from tasks.status.compare import host_status
from tasks.status.report import ContainerStatus

LINE = 16.0  # from one line of text to the next


@dataclass(frozen=True)
class Plug:
    """An interface of a container or plain machine: the network it is in, and its label."""

    network: str
    label: str


@dataclass(frozen=True)
class Box:
    """A container as it is drawn."""

    lines: tuple[str, ...]
    plugs: tuple[Plug, ...]
    state: str
    declared: bool = True

    @property
    def width(self) -> float:
        """Room for its longest line."""
        texts = [*self.lines, *(plug.label for plug in self.plugs)]
        return max(width_of(text, 11) for text in texts) + 24

    @property
    def height(self) -> float:
        """Room for all its lines."""
        return LINE * (len(self.lines) + len(self.plugs)) + 12


def networks_in_order(intent: Intent) -> list[str]:
    """All networks: those behind one NIC together, those that stay inside a host last."""
    bridges = [b for host in intent.lxd_hosts.values() for b in host.bridges]
    nics = list(dict.fromkeys(b.nic for b in bridges if b.nic))
    groups = [*nics, None]
    return list(dict.fromkeys(b.network for nic in groups for b in bridges if b.nic == nic))


def boxes_on(intent: Intent, host: LxdHost, facts: HostFacts | None) -> list[Box]:
    """The containers of a host as they are drawn, foreign ones that were found included."""
    found = host_status(intent, host.name, facts).containers
    instances = facts.lxd.instances if facts else {}
    return [_box(intent, status, instances.get(status.name, {})) for status in found]


def _box(intent: Intent, status: ContainerStatus, instance: Json) -> Box:
    if status.declared:
        networks = intent.containers[status.name].networks
        labels = [(n, f"if-{n} {status.addresses.get(n, '')}".strip()) for n in networks]
        plugs = tuple(Plug(network, label) for network, label in labels)
    else:
        devices = instance.get("expanded_devices") or {}
        plugs = tuple(
            Plug(str(device["parent"]).removeprefix("br-"), str(device.get("name", name)))
            for name, device in devices.items()
            if device.get("type") == "nic" and device.get("parent")
        )
    told = [status.state] if status.state not in ("running", "unknown") else []
    told += [] if status.declared else ["not in the inventory"]
    head = f"{status.name} ({', '.join(told)})" if told else status.name
    profiles = ", ".join(status.profiles) or "no profile"
    made_of = f"{status.image}, {profiles}" if status.image else profiles
    return Box((head, made_of), plugs, status.state, status.declared)


def bar_label(host: LxdHost, bridge: Bridge) -> str:
    """A bridge's name and the host's address on it."""
    address = host.attachment_on(bridge).address
    return f"{bridge.name} {address}" if address else bridge.name


def told_of(host: LxdHost, facts: HostFacts | None, *, read: bool) -> str:
    """The line under a host's name; ``read`` says whether any host was read."""
    told = [host.site] if host.site else []
    told.append(host.ssh.hostname)
    if facts:
        version = facts.lxd.version
        told.append(f"LXD {version}" if version else "LXD does not answer")
    elif read:
        told.append("not read")
    return ", ".join(told)
