"""What must be true of an LXD host before any phase begins."""

from __future__ import annotations

from tasks.actual import HostFacts, Link
from tasks.intent.model import LxdHost

#: With less free space than this, in bytes, neither a file nor LXD's database is written safely.
LEAST_FREE = 50 * 1024**2


def obstacles_of(wanted: LxdHost, actual: HostFacts) -> list[str]:
    """What stands in the way of managing this host, each with its remedy; empty when nothing."""
    obstacles = []
    if not actual.root:
        obstacles.append("commands there do not run as root, log in as root or allow sudo -n")
    if not actual.systemd:
        obstacles.append("it does not run systemd, which LXD hosts are managed with")
    if actual.os_id not in ("debian", "ubuntu"):
        obstacles.append(f"it runs {actual.os_id or 'an unknown system'}, not Debian or Ubuntu")
    if wanted.bridges and not actual.netplan_version:
        obstacles.append("netplan is missing, apt-get install netplan.io")
    nics = sorted(link.name for link in actual.links.values() if _could_be_a_nic(link))
    for role, nic in wanted.nics.items():
        if nic not in actual.links:
            there = ", ".join(nics) or "none"
            obstacles.append(f"there is no NIC {nic} for {role}; its NICs are: {there}")
    for mount, free in actual.free.items():
        if free < LEAST_FREE:
            obstacles.append(f"only {free // 1024**2} MB free on {mount}, make room there")
    return obstacles


def _could_be_a_nic(link: Link) -> bool:
    """A bridge, a vlan or a container's end is none; a bond or a virtual machine's NIC may be."""
    made_by_us = link.kind in ("bridge", "vlan") or link.name.startswith("veth")
    return not made_by_us and link.name != "lo"
