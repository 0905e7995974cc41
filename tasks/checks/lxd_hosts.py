"""Rules on LXD hosts: every NIC in exactly one bridge, a listen address that can work, a package
and pools whose settings fit together."""

from __future__ import annotations

from ipaddress import ip_address

from tasks.intent.inventory import Inventory
from tasks.intent.model import Bridge, Intent, LxdHost
from tasks.mistakes import Mistakes, nearest


def check_lxd_hosts(
    intent: Intent, inventory: Inventory, unsure: frozenset[str], mistakes: Mistakes
) -> None:
    """Check every LXD host; which bridges those ``unsure`` have is an open question."""
    for host in intent.lxd_hosts.values():
        if host.name not in unsure:
            _check_nics(host, inventory, mistakes)
            _check_addresses(host, inventory, mistakes)
        _check_bridge_ports(host, inventory, mistakes)
        _check_listen(host, inventory, mistakes)
        _check_package(host, inventory, mistakes)
        _check_pools(host, inventory, mistakes)


def _check_nics(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """Roles that bridges name and the host lacks; NICs in no bridge; one NIC in two roles."""
    place = inventory.host_place(host.name, "nics")
    for bridge in host.bridges:
        if bridge.nic and bridge.nic not in host.nics and not mistakes.within(place.at(bridge.nic)):
            mistakes.add(
                place,
                f"no NIC in the role {bridge.nic}, which {bridge.name} needs",
                nearest(bridge.nic, host.nics, f"write nics: {{{bridge.nic}: NAME}}"),
                host=host.name,
            )
    used = {bridge.nic for bridge in host.bridges}
    first: dict[str, str] = {}
    for role, nic in host.nics.items():
        place = inventory.host_place(host.name, "nics", role)
        if role not in used:
            mistakes.add(
                place,
                f"the NIC {nic} is in no bridge",
                f"add a bridge with nic: {role} to the host's groups, or leave the NIC out",
                host=host.name,
            )
        other = first.setdefault(nic, role)
        if other != role:
            mistakes.add(
                place,
                f"the NIC {nic} is {other} and {role} at once",
                "give it one role",
                host=host.name,
            )


def _check_bridge_ports(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """A NIC, or a vlan on it, is a port of one bridge only."""
    ports: dict[tuple[str, int | None], Bridge] = {}
    for bridge in host.bridges:
        if bridge.nic is None:
            continue
        other = ports.setdefault((bridge.nic, bridge.vlan), bridge)
        if other is not bridge:
            place = inventory.group_place(bridge.name, "bridge")
            what, key = (
                ("the NIC", "nic")
                if bridge.vlan is None
                else (f"vlan {bridge.vlan} on the NIC", "vlan")
            )
            mistakes.add(
                place.at(key),
                f"{what} {bridge.nic} is in {other.name} and {bridge.name}",
                "it belongs to one bridge: take another NIC, or another vlan",
                host=host.name,
            )


def _check_addresses(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    networks = {bridge.network for bridge in host.bridges}
    for network in host.attachments:
        if network not in networks:
            mistakes.add(
                inventory.host_place(host.name, "addresses", network),
                f"there is no bridge br-{network} on the host",
                f"add br-{network} to its groups, or leave the address out",
                host=host.name,
            )


def _check_listen(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """LXD has to listen where the controller and the other hosts look for it."""
    if host.lxd.listen is None:
        return
    listen = ip_address(host.lxd.listen.rpartition(":")[0].strip("[]"))
    own = [address.ip for a in host.attachments.values() for address in a.addresses]
    place = inventory.host_place(host.name, "lxd", "listen")
    if listen.is_unspecified:
        return
    if own and listen not in own:
        mistakes.add(
            place,
            f"{listen} is no address of the host",
            "write the name of one of its networks",
            host=host.name,
        )
    elif host.management and str(listen) != host.ssh.hostname and _is_address(host.ssh.hostname):
        mistakes.add(
            place,
            f"LXD would listen on {listen} only, and is looked for at {host.ssh.hostname}",
            f"write listen: {host.management}",
            host=host.name,
        )


def _check_package(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """The Debian package has neither a channel nor refreshes."""
    if host.lxd.package == "snap":
        return
    for key, value in (("channel", host.lxd.channel), ("refresh", host.lxd.refresh)):
        if value:
            mistakes.add(
                inventory.host_place(host.name, "lxd", key),
                "only the snap has it, and the package is deb",
                "leave it out, or write package: snap",
                host=host.name,
            )


def _check_pools(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """A size is that of a file of LXD's own: LXD drops it where the pool has a source."""
    for pool in host.lxd.pools:
        if "size" in pool.config and "source" in pool.config:
            mistakes.add(
                inventory.host_place(host.name, "lxd", "pools", pool.name, "size"),
                "a pool with a source has no size of its own",
                "leave out the size, or the source for a pool on a file of LXD's own",
                host=host.name,
            )


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
