"""LXD hosts: bridges, netplan, the LXD server, which profiles and images belong on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_address
from typing import Any

from tasks.intent.kernel import kernel_of
from tasks.intent.lxd_objects import pools_of, setting
from tasks.intent.machines import machine_of
from tasks.intent.merge import Layers
from tasks.intent.model import (
    Attachment,
    Bridge,
    LxdHost,
    LxdServer,
    Machine,
    Netplan,
)
from tasks.intent.scope import Scope, secret
from tasks.intent.secret import Secret
from tasks.mistakes import nearest


def lxd_host_of(name: str, host: Layers, scope: Scope) -> LxdHost:
    """An LXD host; its profiles follow when all profiles are known."""
    data = host.data
    bridges = tuple(
        bridge for group in host.groups if (bridge := _bridge(group, scope)) is not None
    )
    machine = machine_of(name, host, [bridge.network for bridge in bridges], scope)
    netplan: Mapping[str, Any] = data.get("netplan", {})
    return LxdHost(
        **common_fields(machine),
        nics=data.get("nics", {}),
        bridges=bridges,
        netplan=Netplan(**{**netplan, "replaces": tuple(netplan.get("replaces", []))}),
        lxd=_server(host, machine.attachments, scope),
        images=tuple(data.get("images", {})),
        client_users=tuple(data.get("lxd", {}).get("users", ["root"])),
    )


def common_fields(machine: Machine) -> dict[str, Any]:
    """What a machine hands to the special kind of machine that it is."""
    return {field.name: getattr(machine, field.name) for field in fields(Machine)}


def _bridge(group: str, scope: Scope) -> Bridge | None:
    bridge = scope.bridges.get(group.removeprefix("br-"))
    return bridge if bridge and bridge.name == group else None


def _server(host: Layers, attached: Mapping[str, Attachment], scope: Scope) -> LxdServer:
    data: Mapping[str, Any] = host.data.get("lxd", {})
    config = {
        key: secret(value, scope) if isinstance(value, Secret) else setting(value)
        for key, value in data.get("config", {}).items()
    }
    return LxdServer(
        package=data.get("package", "deb"),
        channel=data.get("channel"),
        refresh=data.get("refresh"),
        listen=_listen(data["listen"], host, attached, scope) if "listen" in data else None,
        pools=pools_of(data.get("pools", {}), host.place("lxd", "pools"), scope),
        config=config,
        kernel=kernel_of(data.get("kernel", {})),
    )


def _listen(
    written: str, host: Layers, attached: Mapping[str, Attachment], scope: Scope
) -> str | None:
    """``core.https_address`` from a network's name, ``all``, or an address with or without port."""
    if written == "all":
        return "[::]:8443"
    place = host.place("lxd", "listen")
    if written in scope.bridges:
        address = attached[written].address if written in attached else None
        # A written address that did not come through has its own mistake.
        if written not in host.data.get("addresses", {}):
            scope.mistakes.add(
                place,
                f"no address on the network {written}",
                f"write addresses: {{{written}: ADDRESS}}",
            )
        return _with_port(str(address.ip), 8443) if address else None
    text, port = written, "8443"
    if written.startswith("[") or written.count(":") == 1:
        text, _, port = written.rpartition(":")
    try:
        found = ip_address(text.strip("[]"))
        return _with_port(str(found), int(port))
    except ValueError:
        scope.mistakes.add(
            place,
            f"{written} is neither a network nor an address",
            nearest(written, [*scope.bridges, "all"]),
        )
        return None


def _with_port(address: str, port: int) -> str:
    if not 0 < port < 65536:
        raise ValueError(port)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
