"""Actual against intended state of LXD hosts, as their status; pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tasks.actual import ClientFolder, HostFacts, Json, Link, LxdFacts
from tasks.errors import FleetError
from tasks.images.prepared import base_name
from tasks.intent.model import Bridge, Container, Intent, LxdHost
from tasks.remotes.client_config import remotes_of
from tasks.status.report import BridgeStatus, ContainerStatus, HostStatus


def host_status(
    intent: Intent,
    name: str,
    facts: HostFacts | None,
    problem: str = "",
    selected: Collection[str] | None = None,
) -> HostStatus:
    """One LXD host as its facts have it, None where it could not be read.

    ``selected`` limits the containers that are told of; the foreign ones belong to the host.
    """
    host = intent.lxd_hosts[name]
    declared = [c for c in intent.containers_on(name) if selected is None or c.name in selected]
    if facts is None:
        containers = tuple(container_status(c, "unknown") for c in declared)
        return HostStatus(
            name, host.ssh.hostname, reachable=False, problem=problem, containers=containers
        )
    lxd = facts.lxd
    remotes = {user: _remotes(folder, name) for user, folder in facts.clients.items()}
    foreign = [i for i in lxd.instances if i not in {c.name for c in intent.containers_on(name)}]
    return HostStatus(
        name=name,
        address=host.ssh.hostname,
        problem=problem or (f"LXD does not answer: {lxd.problem}" if lxd.problem else ""),
        system=f"{facts.os_id} {facts.os_version}".strip(),
        lxd_package=lxd.package,
        lxd_version=lxd.version,
        listen=str(lxd.server.get("config", {}).get("core.https_address", "")),
        bridges=_bridges(intent, facts),
        pools={pool: str(found.get("driver", "")) for pool, found in lxd.pools.items()},
        images=tuple(image_name(lxd.images, fingerprint) for fingerprint in lxd.images),
        profiles=tuple(lxd.profiles),
        remotes=remotes,
        lost_remotes={
            user: lost
            for user in host.client_users
            if (lost := tuple(n for n in intent.lxd_hosts if n not in remotes.get(user, ())))
        },
        containers=(
            *(_declared(c, facts) for c in declared),
            *(
                _foreign(lxd.instances[i], lxd.images)
                for i in foreign
                if selected is None or name in selected
            ),
        ),
    )


def container_status(
    container: Container, state: str, image: str = "", profiles: Sequence[str] | None = None
) -> ContainerStatus:
    """A declared container as its host told; ``image`` is what it was made from, ``profiles`` are
    those that it has, None where it is not there."""
    addresses = {
        network: str(attachment.address)
        for network, attachment in container.attachments.items()
        if attachment.address
    }
    return ContainerStatus(
        container.name,
        state,
        True,
        addresses,
        image or container.image,
        container.profiles if profiles is None else tuple(profiles),
        wanted_profiles=container.profiles,
        wanted="running" if container.running else "stopped",
    )


def _declared(container: Container, facts: HostFacts) -> ContainerStatus:
    instance = facts.lxd.instances.get(container.name)
    return container_status(
        container,
        _state(container.name, facts),
        _image(container, facts.lxd),
        instance.get("profiles") or () if instance else None,
    )


def image_name(images: Mapping[str, Json], fingerprint: str) -> str:
    """An image's first alias, of a prepared one the name of what it was made from, else the start
    of its fingerprint as LXD's own lists show it."""
    document = images.get(fingerprint, {})
    names = [base_name(document), *(str(alias["name"]) for alias in document.get("aliases") or ())]
    return next(filter(None, names), fingerprint[:12])


def _image(container: Container, lxd: LxdFacts) -> str:
    """What a container was made from, by the name it is declared with where that is still it."""
    config = lxd.instances.get(container.name, {}).get("config") or {}
    fingerprint = str(config.get("volatile.base_image", ""))
    aliases = lxd.images.get(fingerprint, {}).get("aliases") or ()
    if not fingerprint or container.image in {alias["name"] for alias in aliases}:
        return container.image
    return image_name(lxd.images, fingerprint)


def _state(container: str, facts: HostFacts) -> str:
    if not facts.lxd.running:
        return "unknown" if facts.lxd.problem else "missing"
    instance = facts.lxd.instances.get(container)
    return str(instance.get("status", "")).lower() if instance else "missing"


def _foreign(instance: Json, images: Mapping[str, Json]) -> ContainerStatus:
    """An instance that the inventory does not have on this host, as LXD describes it."""
    config = instance.get("config") or {}
    fingerprint = str(config.get("volatile.base_image", ""))
    return ContainerStatus(
        name=str(instance["name"]),
        state=str(instance.get("status", "")).lower(),
        declared=False,
        image=image_name(images, fingerprint) if fingerprint else "",
        profiles=tuple(instance.get("profiles") or ()),
    )


def _bridges(intent: Intent, facts: HostFacts) -> tuple[BridgeStatus, ...]:
    """The declared bridges in their order, then those that are there as well."""
    host = intent.lxd_hosts[facts.name]
    declared = {bridge.name: bridge for bridge in host.bridges}
    actual = [link.name for link in facts.links.values() if link.kind == "bridge"]
    found = []
    for name in dict.fromkeys([*declared, *actual]):
        link = facts.links.get(name)
        members = tuple(
            other.name
            for other in facts.links.values()
            if other.master == name and not other.name.startswith("veth")
        )
        addresses = tuple(map(str, link.addresses)) if link else ()
        bridge = declared.get(name)
        lost, extra = _astray(host, bridge, link) if bridge and link else ((), ())
        present = link is not None
        found.append(
            BridgeStatus(name, members, addresses, present, bridge is not None, lost, extra)
        )
    return tuple(found)


def _astray(host: LxdHost, bridge: Bridge, link: Link) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses that a bridge lacks, and those that nobody declared."""
    attachment = host.attachment_on(bridge)
    wanted = attachment.addresses
    dynamic = bridge.dhcp4 or bridge.dhcp6 or bridge.accept_ra
    extra = [a for a in link.addresses if a not in wanted and not a.is_link_local and not dynamic]
    lost = [address for address in wanted if address not in link.addresses]
    return tuple(map(str, lost)), tuple(map(str, extra))


def _remotes(folder: ClientFolder, where: str) -> tuple[str, ...]:
    """The remotes in an LXD client's config.yml that are LXD servers, not image servers."""
    try:
        remotes = remotes_of(folder, where)
    except FleetError:
        return ()
    return tuple(
        str(name)
        for name, remote in remotes.items()
        if isinstance(remote, dict)
        and str(remote.get("addr", "")).startswith("https://")
        and remote.get("protocol", "lxd") == "lxd"
    )
