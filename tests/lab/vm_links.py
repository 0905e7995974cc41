"""The virtual machine's links on this machine: a bridge and three taps."""

from __future__ import annotations

from pathlib import Path

from tests.lab.command import run
from tests.lab.links import exists
from tests.lab.vm_places import BRIDGE, GATEWAY, PREFIX_LENGTH, TAPS


def make() -> None:
    """Make what is missing: the bridge with this machine's address, and a tap for each NIC.

    Only the first tap is in the bridge. What comes out of the others is seen there and goes
    nowhere: they are the ends of cables without a switch.
    """
    if not exists(BRIDGE):
        run(["ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        _silence(BRIDGE)
        run(["ip", "link", "set", BRIDGE, "up"])
    run(["ip", "address", "replace", f"{GATEWAY}/{PREFIX_LENGTH}", "dev", BRIDGE])
    for tap in TAPS.values():
        if not exists(tap):
            run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"])
            _silence(tap)
            run(["ip", "link", "set", tap, "up"])
    run(["ip", "link", "set", TAPS["eno1"], "master", BRIDGE])


def remove() -> None:
    """Remove what is there of them."""
    for link in (*TAPS.values(), BRIDGE):
        if exists(link):
            run(["ip", "link", "delete", link])


def _silence(link: str) -> None:
    """Keep this machine's own IPv6 off the wire."""
    Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("1")
