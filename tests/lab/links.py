"""The lab's links on this machine: three bridges, and the NICs of the hosts in them."""

from __future__ import annotations

from pathlib import Path

from tests.lab.command import run
from tests.lab.places import BRIDGES, GATEWAY, HOST_NAMES, LAB_BRIDGE, NICS, PREFIX, PREFIX_LENGTH


def exists(link: str) -> bool:
    """Whether this machine has such a link."""
    return Path("/sys/class/net", link).exists()


def make_bridges() -> None:
    """Make what is missing of the three bridges, and give the first the gateway's address."""
    for bridge in BRIDGES.values():
        if exists(bridge):
            continue
        # Without an IPv6 address and without STP the bridge itself says nothing on the wire.
        run(["ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6").write_text("1")
        # This machine is the gateway on the first one only; Linux would answer for it on all.
        if bridge != LAB_BRIDGE:
            Path(f"/proc/sys/net/ipv4/conf/{bridge}/arp_ignore").write_text("8")
        run(["ip", "link", "set", bridge, "up"])
    run(["ip", "address", "replace", f"{GATEWAY}/{PREFIX_LENGTH}", "dev", LAB_BRIDGE])


def plug_in(name: str, netns: Path) -> None:
    """Make the network namespace of a host, with its three NICs, each in its bridge.

    The NICs have their final names before the host boots, as real ones have: nothing is
    renamed under udev or networkd.
    """
    netns.touch()
    run(["unshare", f"--net={netns}", "true"])
    number = HOST_NAMES.index(name) + 1
    for n, nic in enumerate(NICS):
        outer = f"{PREFIX}{number}-{nic}"
        # A real NIC keeps its MAC over reboots and reinstallations.
        mac = f"52:54:00:38:{number:02x}:{n:02x}"
        peer = ["peer", "name", nic, "address", mac, "netns", str(netns)]
        run(["ip", "link", "add", outer, "type", "veth", *peer])
        Path(f"/proc/sys/net/ipv6/conf/{outer}/disable_ipv6").write_text("1")
        run(["ip", "link", "set", outer, "master", BRIDGES[nic], "up"])


def unplug(name: str) -> None:
    """Remove the NICs of a host; it is the machine's end that is deleted, at once."""
    number = HOST_NAMES.index(name) + 1
    for nic in NICS:
        outer = f"{PREFIX}{number}-{nic}"
        if exists(outer):
            run(["ip", "link", "delete", outer], check=False)


def remove_all() -> None:
    """Remove every link of the lab, found by its name."""
    # Listed anew each time: with one end of a cable the other one is gone as well.
    while names := [path.name for path in Path("/sys/class/net").glob(f"{PREFIX}*")]:
        run(["ip", "link", "delete", names[0]])


def forget_neighbours() -> None:
    """Forget who had which MAC: a fresh host's address is on another link than before."""
    if exists(LAB_BRIDGE):
        run(["ip", "neigh", "flush", "dev", LAB_BRIDGE], check=False)
