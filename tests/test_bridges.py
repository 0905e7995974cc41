from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import HostFacts, Link, LiveRoute, LxdFacts
from tasks.bridges.compare import plan_bridges
from tasks.bridges.naming import member_of
from tasks.bridges.render import render_netplan
from tasks.errors import FleetError
from tasks.intent.model import Attachment, Bridge, LxdHost, Netplan, Route, Ssh
from tasks.rolling import rolling_waves

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "bridges.yaml").read_text())


def lxd_host(
    *,
    nics: dict[str, str] | None = None,
    bridges: dict[str, dict[str, Any]] | None = None,
    addresses: dict[str, str | list[str]] | None = None,
    gateways: dict[str, str] | None = None,
    macs: dict[str, str] | None = None,
    routes: dict[str, list[dict[str, Any]]] | None = None,
    replaces: tuple[str, ...] = (),
    management: str | None = None,
    nameservers: tuple[str, ...] = (),
) -> LxdHost:
    """A host as an inventory would give it, every network that is named attached."""
    addresses, gateways, macs, routes = addresses or {}, gateways or {}, macs or {}, routes or {}
    attachments = {}
    for name in dict.fromkeys((*addresses, *macs)):
        written = addresses.get(name, [])
        own = [ip_interface(a) for a in ([written] if isinstance(written, str) else written)]
        attachments[name] = Attachment(
            name,
            own[0] if own else None,
            ip_address(gateways[name]) if name in gateways else None,
            tuple(ip_address(n) for n in nameservers) if name in gateways else (),
            mac=macs.get(name),
            further=tuple(own[1:]),
            routes=tuple(
                Route(ip_network(r["to"]), ip_address(r["via"]), r.get("metric"))
                for r in routes.get(name, [])
            ),
        )
    return LxdHost(
        name="host-01",
        ssh=Ssh("192.168.56.150"),
        management=management,
        nics=nics or {},
        bridges=tuple(Bridge(name, **body) for name, body in (bridges or {}).items()),
        attachments=attachments,
        netplan=Netplan(replaces=tuple(replaces)),
    )


def facts(  # noqa: PLR0917
    wanted: LxdHost,
    netplan: dict[str, str],
    links: dict[str, dict[str, Any]],
    routes: list[list[Any]] | None = None,
    instances: dict[str, dict[str, str]] | None = None,
    pending: bool = False,
    status: str = "Running",
    project: str = "default",
) -> HostFacts:
    """A read of a host. ``routes`` are [gateway, link] or [gateway, link, to, metric]; in
    ``instances`` a container's NIC maps to its end on the host, the bridge is the NIC's name; they
    have this ``status`` and are of this ``project``."""
    ours = render_netplan(wanted) if wanted.bridges else ""
    found = {
        name: {
            "name": name,
            "project": project,
            "status": status,
            "config": {f"volatile.{nic}.host_name": end for nic, end in nics.items()},
            "expanded_devices": {
                nic: {"type": "nic", "nictype": "bridged", "parent": nic.replace("if-", "br-")}
                for nic in nics
            },
        }
        for name, nics in (instances or {}).items()
    }
    own = project == "default"
    return HostFacts(
        name="host-01",
        netplan={path: ours if text == "OURS" else text for path, text in netplan.items()},
        links={
            name: Link(
                name,
                **{
                    **body,
                    "addresses": tuple(ip_interface(a) for a in body.get("addresses", ())),
                },
            )
            for name, body in links.items()
        },
        routes=tuple(live_route(*route) for route in routes or ()),
        network_pending=pending,
        lxd=LxdFacts(
            instances=found if own else {}, other_instances=() if own else tuple(found.values())
        ),
    )


def live_route(via: str, link: str, to: str = "", metric: int | None = None) -> LiveRoute:
    everywhere = "::/0" if ":" in via else "0.0.0.0/0"
    return LiveRoute(ip_network(to or everywhere), ip_address(via), link, metric)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_plan(case: dict[str, Any]) -> None:
    wanted = lxd_host(**case["host"])
    actual = facts(wanted, **case["facts"])
    if "error" in case:
        with pytest.raises(FleetError) as caught:
            plan_bridges(wanted, actual, prune=case.get("prune", False))
        assert case["error"] in str(caught.value)
        assert caught.value.remedy
        return
    plan = plan_bridges(wanted, actual, prune=case.get("prune", False))
    assert [[s.action, s.object, s.detail] for s in plan.steps] == case["steps"]
    assert list(plan.notes) == case.get("notes", [])
    for line in case.get("diff", []):
        assert line in plan.diff.splitlines()
    words = [" ".join(words) for step in plan.steps for words in step.write]
    for word in case.get("words", []):
        assert word in words
    assert plan.reason == case.get("reason", "" if plan.steps else "the bridges are as wanted")


def test_the_diff_shows_our_whole_new_file() -> None:
    wanted = lxd_host(nics={"mgmt": "enp1s0"}, bridges={"demo": {"nic": "mgmt"}})
    plan = plan_bridges(wanted, facts(wanted, {}, {"enp1s0": {}}))
    added = [line[1:] for line in plan.diff.splitlines()[3:-1]]
    assert added == render_netplan(wanted).splitlines()
    assert plan.diff.splitlines()[-1] == "+ bridge br-demo: over enp1s0"


def test_rendering_a_bridge_with_everything() -> None:
    host = lxd_host(
        nics={"public": "eno3"},
        bridges={"public": {"nic": "public", "mtu": 9000}},
        addresses={"public": "194.109.16.132/26"},
        gateways={"public": "194.109.16.129"},
        nameservers=("194.109.6.66", "194.109.9.99"),
        management="public",
    )
    member = {"dhcp4": False, "dhcp6": False, "accept-ra": False}
    assert yaml.safe_load(render_netplan(host)) == {
        "network": {
            "version": 2,
            "renderer": "networkd",
            "ethernets": {"eno3": {**member, "mtu": 9000}},
            "bridges": {
                "br-public": {
                    **member,
                    "interfaces": ["eno3"],
                    "addresses": ["194.109.16.132/26"],
                    "routes": [{"to": "0.0.0.0/0", "via": "194.109.16.129"}],
                    "nameservers": {"addresses": ["194.109.6.66", "194.109.9.99"]},
                    "mtu": 9000,
                    "parameters": {"stp": False},
                }
            },
        }
    }


def test_only_the_management_network_is_waited_for_at_boot() -> None:
    host = lxd_host(
        nics={"mgmt": "eno1", "sip": "eno2"},
        bridges={"mgmt": {"nic": "mgmt"}, "sipcore": {"nic": "sip", "vlan": 6}, "local": {}},
        addresses={"mgmt": "172.17.4.10/24", "local": "10.99.0.1/24"},
        management="mgmt",
    )
    network = yaml.safe_load(render_netplan(host))["network"]
    optional = {
        name: body.get("optional", False)
        for kind in ("ethernets", "vlans", "bridges")
        for name, body in network[kind].items()
    }
    assert optional == {
        "eno1": False,
        "eno2": True,
        "vlan.6": True,
        "br-mgmt": False,
        "br-sipcore": True,
        "br-local": True,
    }


def test_an_ipv6_default_route() -> None:
    host = lxd_host(
        bridges={"six": {}},
        addresses={"six": "2001:db8::10/64"},
        gateways={"six": "2001:db8::1"},
    )
    routes = yaml.safe_load(render_netplan(host))["network"]["bridges"]["br-six"]["routes"]
    assert routes == [{"to": "::/0", "via": "2001:db8::1"}]


def test_one_vlan_id_on_two_nics_gives_two_names() -> None:
    host = lxd_host(
        nics={"sip": "eno2", "backup": "eno4"},
        bridges={"sipcore": {"nic": "sip", "vlan": 6}, "backup": {"nic": "backup", "vlan": 6}},
    )
    assert [member_of(host, bridge) for bridge in host.bridges] == ["vlan.6", "eno4.6"]
    vlans = yaml.safe_load(render_netplan(host))["network"]["vlans"]
    assert {name: body["link"] for name, body in vlans.items()} == {
        "vlan.6": "eno2",
        "eno4.6": "eno4",
    }


def test_a_vlan_name_that_no_interface_can_have_is_refused() -> None:
    host = lxd_host(
        nics={"sip": "eno2", "backup": "enp130s0f0np0"},
        bridges={"sipcore": {"nic": "sip", "vlan": 61}, "backup": {"nic": "backup", "vlan": 61}},
    )
    with pytest.raises(FleetError, match=r"enp130s0f0np0\.61: an interface name has at most 15"):
        render_netplan(host)


@pytest.mark.parametrize(
    ("hosts", "last", "waves"),
    [
        ({}, (), []),
        ({"a": {}}, (), [["a"]]),
        ({"a": {}, "b": {}, "c": {}}, (), [["a"], ["b"], ["c"]]),
        ({"a": {"batch": 2}, "b": {"batch": 2}, "c": {"batch": 2}}, (), [["a"], ["b", "c"]]),
        ({"a": {"batch": 3}, "b": {"batch": 3}, "c": {}}, (), [["a"], ["b"], ["c"]]),
        ({"a": {"batch": 9}, "b": {"canary": True}, "c": {"batch": 9}}, (), [["b"], ["a", "c"]]),
        ({"a": {}, "b": {}, "c": {}}, ("a",), [["b"], ["c"], ["a"]]),
        ({"a": {"canary": True}, "b": {}}, ("a",), [["b"], ["a"]]),
    ],
)
def test_the_order_in_which_networks_change(
    hosts: dict[str, dict[str, Any]], last: tuple[str, ...], waves: list[list[str]]
) -> None:
    fleet = [
        LxdHost(name=name, ssh=Ssh(name), netplan=Netplan(**keys)) for name, keys in hosts.items()
    ]
    assert rolling_waves(fleet, last) == waves
