"""The static network inside a container, as its image's own tool wants it.

Sources: systemd.network(5), netplan(5), interfaces(5), resolv.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from pathlib import PurePosixPath
from typing import Any

import yaml

from tasks.intent.model import Attachment, Interface
from tasks.intent.system import File
from tasks.machine.managed import HEADER
from tasks.machine.paths import NETPLAN, ifupdown_file, networkd_file

#: In a .network file, and in one of ifupdown's.
_ADDRESS = re.compile(r"^(?:Address=|\s*address )\s*(\S+)", re.MULTILINE)


def network_files(tool: str, attachments: Sequence[Attachment]) -> tuple[File, ...]:
    """The files that give a container its addresses, for netplan, ifupdown or networkd."""
    if tool == "netplan":
        text = HEADER + yaml.safe_dump(_netplan(attachments), sort_keys=False)
        return (File(NETPLAN, text, mode="0600"),)
    if tool == "ifupdown":
        return tuple(File(ifupdown_file(a), HEADER + _ifupdown(a)) for a in attachments)
    return tuple(File(networkd_file(a), HEADER + _networkd(a)) for a in attachments)


def network_paths(attachments: Sequence[Attachment]) -> frozenset[str]:
    """Where a file of ours may be that gives one of these its addresses, by whatever tool."""
    own = (path for a in attachments for path in (networkd_file(a), ifupdown_file(a)))
    return frozenset([*own, *([NETPLAN] if attachments else ())])


def tool_of(path: str) -> str:
    """The tool that reads a file of ours."""
    folders = {"/etc/netplan": "netplan", "/etc/network/interfaces.d": "ifupdown"}
    return folders.get(str(PurePosixPath(path).parent), "networkd")


def addresses_in(path: str, text: str) -> dict[str, tuple[Interface, ...]]:
    """What a file of ours gives to which interface; an interface without any where it has none.

    What somebody else has made of it since is left out where it cannot be understood.
    """
    tool = tool_of(path)
    if tool == "netplan":
        return _netplan_addresses(text)
    name = PurePosixPath(path).name
    interface = name if tool == "ifupdown" else name.removeprefix("10-").removesuffix(".network")
    found = _ADDRESS.findall(text)
    return {interface: tuple(address for word in found if (address := _address(word)))}


def _netplan_addresses(text: str) -> dict[str, tuple[Interface, ...]]:
    try:
        ethernets = yaml.safe_load(text)["network"]["ethernets"]
        listed = {str(name): list(keys["addresses"]) for name, keys in ethernets.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}
    return {
        name: tuple(address for word in words if (address := _address(str(word))))
        for name, words in listed.items()
    }


def _address(word: str) -> Interface | None:
    try:
        return ip_interface(word)
    except ValueError:
        return None


def resolv_conf(attachments: Sequence[Attachment]) -> str:
    """The nameservers of all networks, those of the default route first; empty without any."""
    routed_first = sorted(attachments, key=lambda a: a.gateway is None)
    servers = dict.fromkeys(str(server) for a in routed_first for server in a.nameservers)
    search = dict.fromkeys(domain for a in routed_first for domain in a.search)
    if not servers:
        return ""
    lines = [f"search {' '.join(search)}"] if search else []
    return HEADER + "".join(f"{line}\n" for line in [*lines, *(f"nameserver {s}" for s in servers)])


def someone_in(attachment: Attachment) -> str:
    """An address beside its own in a machine's network: the gateway, or whoever may be there."""
    if attachment.gateway:
        return str(attachment.gateway)
    assert attachment.address is not None  # there is no network without one
    network, own = attachment.address.network, attachment.address.ip
    first = network.network_address + 1
    return str(first + 1 if first == own else first)


def _networkd(attachment: Attachment) -> str:
    lines = ["[Match]", f"Name={attachment.interface}", "", "[Network]"]
    lines += [f"Address={address}" for address in attachment.addresses]
    lines.append("IPv6AcceptRA=no")
    if attachment.gateway:
        lines.append(f"Gateway={attachment.gateway}")
    lines += [f"DNS={server}" for server in attachment.nameservers]
    if attachment.search:
        lines.append(f"Domains={' '.join(attachment.search)}")
    return "\n".join([*lines, ""])


def _ifupdown(attachment: Attachment) -> str:
    lines = [f"auto {attachment.interface}"]
    for address in attachment.addresses:
        family = "inet6" if address.version == 6 else "inet"
        lines.append(f"iface {attachment.interface} {family} static")
        lines.append(f"    address {address}")
        if attachment.gateway and address == attachment.address:
            lines.append(f"    gateway {attachment.gateway}")
    return "\n".join([*lines, ""])


def _netplan(attachments: Sequence[Attachment]) -> Mapping[str, Any]:
    return {
        "network": {
            "version": 2,
            "ethernets": {a.interface: _ethernet(a) for a in attachments},
        }
    }


def _ethernet(attachment: Attachment) -> Mapping[str, Any]:
    ethernet: dict[str, Any] = {
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": False,
        "addresses": [str(address) for address in attachment.addresses],
    }
    if attachment.gateway:
        anywhere = "::/0" if attachment.gateway.version == 6 else "0.0.0.0/0"
        ethernet["routes"] = [{"to": anywhere, "via": str(attachment.gateway)}]
    names = {
        "addresses": [str(server) for server in attachment.nameservers],
        "search": list(attachment.search),
    }
    if any(names.values()):
        ethernet["nameservers"] = {key: value for key, value in names.items() if value}
    return ethernet
