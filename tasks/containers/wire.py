"""Who has the addresses of containers on the wire, as an LXD host hears it in its own networks.

It asks at layer 2, so that it finds those too that answer neither a ping nor SSH, also in networks
that cannot be reached from here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from nornir.core.inventory import Host

from tasks.actual import HostFacts, Json
from tasks.containers.holder import lets_go, remedy_for
from tasks.errors import FleetError
from tasks.instances import instances_of
from tasks.intent.model import Address, Container, LxdHost
from tasks.onhost import on_host
from tasks.run import Run
from tasks.transport import shell_of

#: Seconds for asking who has addresses, all of them at once.
DEADLINE = 15.0
#: What the script says in a MAC's place: of the machine that asks itself, and where it knows none.
SELF, UNKNOWN = "self", "-"


@dataclass(frozen=True)
class Holder:
    """Who has an address: its MAC ("" where it is not known), and what machine that is.

    ``instance`` is an instance that the fleet's LXD hosts were read to have, ``host`` the LXD host
    that has it, or that has the address itself.
    """

    mac: str = ""
    instance: str = ""
    host: str = ""

    def __str__(self) -> str:
        """In words."""
        shown = f" ({self.mac})" if self.mac else ""
        if self.instance:
            return f"{self.instance} on {self.host}{shown}"
        if self.host:
            return f"the LXD host {self.host}{shown}"
        return f"another machine, with the MAC {self.mac}," if self.mac else "another machine"


def addresses_in_reach(container: Container, host: LxdHost) -> dict[Address, str]:
    """A container's own addresses in the networks in which its LXD host has an address of that
    version itself; address -> network."""
    return {
        found.ip: network
        for network, attachment in container.attachments.items()
        for found in attachment.addresses
        if network in host.attachments
        and any(own.version == found.version for own in host.attachments[network].addresses)
    }


def who_has(host: Host, addresses: Collection[Address]) -> dict[Address, str]:
    """Have an LXD host ask who has addresses, in one exec; address -> MAC of those that somebody
    has (or ``SELF``, or ``UNKNOWN``). Raises what :func:`~tasks.transport.shell_of` does, and
    :class:`~tasks.errors.CommandError`."""
    if not addresses:
        return {}
    script = on_host("ask_addresses", *(str(address) for address in sorted(addresses, key=str)))
    done = shell_of(host).run(script, deadline=DEADLINE)
    done.check(host.name, "asking who has the containers' addresses")
    lines = (line.split() for line in done.text.splitlines())
    return {ip_address(words[1]): words[2] for words in lines if words[:1] == ["held"]}


def see_that_nobody_has(container: Container, held: Mapping[Address, str], run: Run) -> None:
    """See that nobody but the container itself has one of its addresses.

    Arguments:
        container: what the inventory declares; it does not run yet.
        held: what :func:`who_has` found on its LXD host.
        run: has the facts by which a MAC is known, and what becomes of its machine in this run.

    A machine that this run takes the address from is in nobody's way. Raises :class:`FleetError`
    naming the address, the network, and who has it.
    """
    reach = addresses_in_reach(container, run.intent.lxd_hosts[container.on])
    for address, network in reach.items():
        if address not in held:
            continue
        holder = holder_of(held[address], container.on, dict(run.facts))
        if (holder.instance, holder.host) == (container.name, container.on):
            continue  # somebody else has started it meanwhile
        if holder.instance != container.name and lets_go(holder.instance, str(address), run):
            continue
        raise FleetError(
            f"{address} in the network {network} is in use: {holder} has it",
            where=container.name,
            remedy=remedy_for(holder.instance, run.intent),
        )


def holder_of(mac: str, asked: str, facts: Mapping[str, HostFacts]) -> Holder:
    """Whose a MAC is, by what was read of the LXD hosts; ``asked`` is the one that heard it."""
    if mac == SELF:
        return Holder(host=asked)
    if mac == UNKNOWN:
        return Holder()
    for host, read in facts.items():
        if any(link.mac == mac and link.addresses for link in read.links.values()):
            return Holder(mac, host=host)
    having = [
        (instance.get("status") != "Running", host, name)
        for host, read in facts.items()
        for name, instance in instances_of(read.lxd).items()
        if mac in _macs(instance)
    ]
    if not having:
        return Holder(mac)
    _, host, name = min(having, key=lambda each: each[0])  # a copy that is stopped may have it too
    return Holder(mac, str(name), host)


def _macs(instance: Json) -> Iterator[str]:
    for key, value in (instance.get("config") or {}).items():
        if key.endswith(".hwaddr"):
            yield str(value).lower()
    for device in (instance.get("expanded_devices") or {}).values():
        yield str(device.get("hwaddr", "")).lower()
