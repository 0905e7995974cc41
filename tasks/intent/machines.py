"""What all machines have but their configuration: SSH, networks, bootstrap, health."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tasks.intent.health_checks import health_of
from tasks.intent.maintenance_rules import maintenance_of
from tasks.intent.merge import Layers
from tasks.intent.model import (
    Attachment,
    Bootstrap,
    Machine,
    Ssh,
)
from tasks.intent.networks import attachments
from tasks.intent.scope import Scope


def machine_of(name: str, host: Layers, networks: Iterable[str], scope: Scope) -> Machine:
    """A machine with everything but its configuration, which may need the whole fleet."""
    data = host.data
    attached = attachments(host, networks, scope)
    ssh = _ssh(host, attached, scope)
    return Machine(
        name=name,
        ssh=ssh,
        site=data.get("site"),
        groups=host.groups,
        management=data.get("management"),
        attachments=attached,
        bootstrap=_bootstrap(host, ssh, scope),
        health=health_of(name, host, attached, scope),
        maintenance=maintenance_of(host, scope),
        apart=data.get("apart"),
        foreign=tuple(data.get("foreign", [])),
        data=data,
    )


def _ssh(host: Layers, attached: Mapping[str, Attachment], scope: Scope) -> Ssh:
    data, body = host.data, host.body
    address = _management_address(host, attached, scope)
    hostname = body.get("hostname") or address
    if not hostname and data.get("management") is None and not _by_exec_alone(host):
        here = host.layers[-1].place.at("data")
        if not scope.mistakes.within(here.at("management")):
            remedy = "write management: NETWORK and its address, or hostname"
            if "on" in data:
                remedy += "; or management: null, to work on it through its LXD host alone"
            scope.mistakes.add(here, "no way to reach it is declared", remedy)
    host_key = data.get("ssh_host_key")
    line = scope.key_line(host_key, host.place("ssh_host_key")) if host_key else None
    return Ssh(
        hostname=hostname or "",
        port=body.get("port", 22),
        username=body.get("username", "root"),
        key_file=_key_file(host, scope),
        host_key=" ".join(line.split()[:2]) if line else None,
    )


def _by_exec_alone(host: Layers) -> bool:
    """Whether a container says that it has no address to be managed at: ``management: null``."""
    return "on" in host.data and "management" in host.data


def _key_file(host: Layers, scope: Scope) -> Path | None:
    if scope.here.ssh_key or "ssh_key" not in host.data:
        return scope.here.ssh_key
    return scope.private_key(host.data["ssh_key"], host.place("ssh_key"))


def _management_address(
    host: Layers, attached: Mapping[str, Attachment], scope: Scope
) -> str | None:
    network: str | None = host.data.get("management")
    if network is None or not scope.bridge(network, host.place("management")):
        return None
    if network in attached and (address := attached[network].address):
        return str(address.ip)
    addresses = host.layers[-1].place.at("data", "addresses")
    if network not in host.data.get("addresses", {}) and not scope.mistakes.within(addresses):
        scope.mistakes.add(
            addresses,
            f"no address on the management network {network}",
            f"write addresses: {{{network}: ADDRESS}}",
        )
    return None


def _bootstrap(host: Layers, ssh: Ssh, scope: Scope) -> Bootstrap:
    data = dict(host.data.get("bootstrap", {}))
    if "packages" in data:
        data["packages"] = tuple(data["packages"])
    elif not ssh.hostname:
        data["packages"] = ()  # they are for SSH, which it is not reached by
    place = host.place("bootstrap", "authorized_keys")
    keys = [
        scope.key_line(key, place.at(n)) for n, key in enumerate(data.get("authorized_keys", []))
    ]
    return replace(
        Bootstrap(**{**data, "authorized_keys": ()}),
        authorized_keys=tuple(key for key in keys if key),
    )
