"""What we write for netplan, as its versions take it.

Of 0.99 (Ubuntu 18.04) the keys are recorded; 0.106 and a newer one are run.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.actual import HostFacts
from tasks.bridges.former import Departed, Former, departed_of, former_of
from tasks.bridges.naming import member_of
from tasks.bridges.render import render_netplan
from tasks.intent.model import Attachment, Bridge, LxdHost, Route, Ssh
from tasks.load import load_intent
from tests.lab import netplan as netplans
from tests.lab import why_not
from tests.lab.netplan import Generated, Netplan

CASES = Path(__file__).parent / "cases"
VOICE = Path(__file__).parent.parent / "inventory" / "voice"
BY_HAND = (CASES / "netplan_production.yaml").read_text()
OURS = "/etc/netplan/60-nornir-lxd-fleet.yaml"
RECORDED: dict[str, Any] = yaml.safe_load((CASES / "netplan_0.99_keys.yaml").read_text())

#: One host with every key that there is, each with a value that is not its default.
EVERYTHING = LxdHost(
    name="host-01",
    ssh=Ssh("192.0.2.10"),
    management="mgmt",
    nics={"mgmt": "eno1", "sip": "eno2", "backup": "eno4"},
    bridges=(
        Bridge(
            "mgmt",
            nic="mgmt",
            subnet=ip_network("192.0.2.0/24"),
            gateway=ip_address("192.0.2.1"),
            nameservers=(ip_address("192.0.2.53"),),
            search=("example.net",),
            mtu=9000,
            stp=True,
            forward_delay=4,
            dhcp4=True,
            dhcp6=True,
            accept_ra=True,
        ),
        Bridge("sipcore", nic="sip", vlan=6),
        Bridge("backup", nic="backup", vlan=6),
        Bridge("local"),
    ),
    attachments={
        "mgmt": Attachment(
            "mgmt",
            address=ip_interface("192.0.2.10/24"),
            gateway=ip_address("192.0.2.1"),
            nameservers=(ip_address("192.0.2.53"), ip_address("2001:db8::53")),
            search=("example.net",),
            mac="00:16:3e:00:00:a0",
            further=(ip_interface("2001:db8::10/64"),),
            routes=(
                Route(ip_network("::/0"), ip_address("fe80::1"), metric=100),
                Route(ip_network("198.51.100.0/24"), ip_address("192.0.2.2")),
            ),
        )
    },
)
DEPARTED = Departed(
    bridges={"br-old": {"interfaces": ["vlan.7"], "addresses": ["203.0.113.1/24"]}},
    vlans={"vlan.7": {"id": 7, "link": "eno3"}},
    ethernets={"eno3": {"optional": True}},
)


# --- hosts of all kinds ----------------------------------------------------------------------

ROLES = ("mgmt", "sip", "public")
NICS = ("eno1", "enp130s0f0", "ens2f0np0", "123", "on")
NETWORKS = ("mgmt", "sipcore", "sipapp", "public", "local", "on", "0123456789ab")


@st.composite
def hosts(draw: st.DrawFn) -> LxdHost:
    """LXD hosts as an inventory can intend them, with every key."""
    names = dict(zip(ROLES, draw(st.permutations(NICS)), strict=False))
    bridges: list[Bridge] = []
    ports: set[tuple[str | None, int | None]] = set()
    for network in draw(st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=5, unique=True)):
        nic = draw(st.none() | st.sampled_from(ROLES))
        vlan = draw(st.none() | st.sampled_from((6, 9)) | st.integers(1, 4094)) if nic else None
        if (nic, vlan) in ports:
            nic = vlan = None
        ports.add((nic, vlan))
        bridges.append(
            Bridge(
                network,
                nic=nic,
                vlan=vlan,
                mtu=draw(st.none() | st.integers(68, 65535)),
                stp=draw(st.booleans()),
                forward_delay=draw(st.none() | st.integers(0, 30)),
                dhcp4=draw(st.booleans()),
                dhcp6=draw(st.booleans()),
                accept_ra=draw(st.booleans()),
            )
        )
    networks = [bridge.network for bridge in bridges]
    return LxdHost(
        name="host-01",
        ssh=Ssh("192.0.2.10"),
        management=draw(st.none() | st.sampled_from(networks)),
        nics={role: names[role] for role in ROLES if any(b.nic == role for b in bridges)},
        bridges=tuple(bridges),
        attachments=draw(attachments(networks)),
    )


@st.composite
def attachments(draw: st.DrawFn, networks: list[str]) -> dict[str, Attachment]:
    """A host's places in some of its networks; of each IP version one default route at most."""
    everywhere = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
    targets = set(everywhere.values())
    found = {}
    for network in networks:
        if not draw(st.booleans()):
            continue
        number = NETWORKS.index(network)
        own = draw(st.lists(addresses(number), max_size=3, unique_by=lambda a: a.ip))
        gateway = None
        if own and everywhere and draw(st.booleans()):
            version = draw(st.sampled_from(sorted(everywhere)))
            gateway = draw(neighbours(version))
            del everywhere[version]
        routes = []
        for _ in range(draw(st.integers(0, 3))):
            version = draw(st.sampled_from((4, 6)))
            to = draw(destinations(version))
            if version in everywhere and draw(st.booleans()):
                to = everywhere.pop(version)
            elif to in targets:
                continue
            targets.add(to)
            metric = draw(st.none() | st.integers(1, 2**31 - 1))
            routes.append(Route(to, draw(neighbours(version)), metric))
        servers = st.lists(neighbours(4) | neighbours(6), max_size=3, unique=True)
        domains = st.sampled_from(("voice.example.net", "example.net", "on", "1e3"))
        found[network] = Attachment(
            network,
            address=own[0] if own else None,
            gateway=gateway,
            nameservers=tuple(draw(servers)) if own else (),
            search=tuple(draw(st.lists(domains, unique=True))) if own else (),
            mac=draw(
                st.none() | st.from_regex(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", fullmatch=True)
            ),
            further=tuple(own[1:]),
            routes=tuple(routes),
        )
    return found


def addresses(number: int) -> st.SearchStrategy[IPv4Interface | IPv6Interface]:
    old = st.ip_addresses(v=4, network=f"10.{number}.0.0/16")
    new = st.ip_addresses(v=6, network=f"2001:db8:{number}::/48")
    return st.builds(lambda ip, n: IPv4Interface((int(ip), n)), old, st.integers(1, 32)) | (
        st.builds(lambda ip, n: IPv6Interface((int(ip), n)), new, st.integers(1, 128))
    )


def neighbours(version: int) -> st.SearchStrategy[Any]:
    if version == 4:
        return st.ip_addresses(v=4, network="192.0.2.0/24")
    return st.ip_addresses(v=6, network="fe80::/64") | st.ip_addresses(v=6)


def destinations(version: int) -> st.SearchStrategy[Any]:
    lengths = st.integers(1, 32 if version == 4 else 128)
    ips = st.ip_addresses(v=4) if version == 4 else st.ip_addresses(v=6)
    return st.builds(lambda ip, length: ip_interface(f"{ip}/{length}").network, ips, lengths)


def former(wanted: LxdHost, before: LxdHost) -> Former:
    text = render_netplan(before)
    return former_of(wanted, HostFacts("host-01", netplan={wanted.netplan.file: text}))


@st.composite
def hosts_with_a_past(draw: st.DrawFn) -> tuple[LxdHost, Departed]:
    """A host, and what of its file before is no longer in the inventory."""
    wanted = draw(hosts())
    before = draw(st.none() | hosts())
    return wanted, departed_of(wanted, former(wanted, before) if before else Former())


# --- netplan 0.99, as recorded ----------------------------------------------------------------


@dataclass
class Reading:
    """What netplan 0.99 makes of a file, by the recorded tables."""

    definitions: frozenset[str]
    taken: set[tuple[str, str]] = field(default_factory=set)
    """``table.key`` and value of the single values that it takes."""
    refused: list[str] = field(default_factory=list)

    def mapping(self, node: yaml.Node, table: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.refused.append(f"{table}: not a mapping")
            return
        missing = set(RECORDED["needs"].get(table, ())) - {key.value for key, _ in node.value}
        self.refused += [f"{table}: no {key}" for key in sorted(missing)]
        for key, value in node.value:
            form = RECORDED["tables"][table].get(key.value)
            if form is None:
                self.refused.append(f"{table}: unknown key {key.value}")
            else:
                self.value(value, form, f"{table}.{key.value}")

    def value(self, node: yaml.Node, form: Any, key: str) -> None:
        if isinstance(form, str):
            text = node.value
            if isinstance(node, yaml.ScalarNode) and self.fits(text, form):
                self.taken.add((key, text))
            else:
                self.refused.append(f"{key}: {text} is no {form}")
        elif "table" in form:
            self.mapping(node, form["table"])
        elif "list" in form:
            items = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for item in items:
                self.value(item, form["list"], key)
        else:
            for name, body in node.value:
                self.value(name, "name", f"{key} name")
                self.mapping(body, form["each"])

    def fits(self, text: str, form: str) -> bool:
        if form == "defined":
            return text in self.definitions
        if form in KINDS:
            return KINDS[form](text)
        return re.fullmatch(RECORDED["forms"][form], text) is not None


def is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def is_interface(text: str) -> bool:
    address, _, length = text.partition("/")
    return is_address(address) and length.isdecimal() and 0 < int(length) <= 128


def is_number(text: str, largest: int = 2**32 - 1) -> bool:
    return text.isascii() and text.isdecimal() and int(text) <= largest


KINDS: dict[str, Callable[[str], bool]] = {
    "address": is_address,
    "interface": is_interface,
    "destination": lambda text: is_address(text.rpartition("/")[0] or text),
    "number": is_number,
    "metric": lambda text: is_number(text, 2**31 - 1),
}


def read_by_0_99(text: str) -> Reading:
    network = yaml.safe_load(text)["network"]
    kinds = ("ethernets", "vlans", "bridges")
    names = frozenset(str(name) for kind in kinds for name in network.get(kind, {}))
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None
    reading = Reading(names)
    reading.mapping(root, "root")
    return reading


def test_netplan_0_99_has_every_key_that_we_write() -> None:
    reading = read_by_0_99(render_netplan(EVERYTHING, DEPARTED))
    assert reading.refused == []
    assert reading.taken >= {
        ("network.version", "2"),
        ("network.renderer", "networkd"),
        ("ethernet.dhcp4", "false"),
        ("ethernet.optional", "true"),
        ("vlan.id", "6"),
        ("vlan.link", "eno2"),
        ("bridge.interfaces", "vlan.6"),
        ("bridge.interfaces", "eno4.6"),
        ("bridge.macaddress", "00:16:3e:00:00:a0"),
        ("bridge.addresses", "2001:db8::10/64"),
        ("bridge.mtu", "9000"),
        ("bridge.dhcp6", "true"),
        ("bridge.accept-ra", "true"),
        ("route.to", "0.0.0.0/0"),
        ("route.to", "::/0"),
        ("route.via", "fe80::1"),
        ("route.metric", "100"),
        ("nameservers.search", "example.net"),
        ("nameservers.addresses", "2001:db8::53"),
        ("parameters.stp", "true"),
        ("parameters.stp", "false"),
        ("parameters.forward-delay", "4"),
    }


def test_there_is_no_key_that_everything_lacks() -> None:
    """A new one has to be given a value there, and is tried on every version with it."""
    attachment = EVERYTHING.attachments["mgmt"]
    for whole in (EVERYTHING.bridges[0], attachment, attachment.routes[0]):
        default = [f.name for f in fields(whole) if getattr(whole, f.name) == f.default]
        assert set(default) <= {"vlan"}  # the second bridge's


@settings(derandomize=True, deadline=None, max_examples=40)
@given(hosts_with_a_past())
def test_netplan_0_99_takes_whatever_we_write(host: tuple[LxdHost, Departed]) -> None:
    assert read_by_0_99(render_netplan(*host)).refused == []


@pytest.mark.parametrize(
    ("bridge", "refused"),
    [
        ("{routes: [{to: default, via: 192.0.2.1}]}", "route.to: default is no destination"),
        ("{routes: [{to: 192.0.2.0/24}]}", "route: no via"),
        ('{routes: [{to: "::/0", via: "::1", metric: 4294967295}]}', "4294967295 is no metric"),
        ("{addresses: [192.0.2.10]}", "bridge.addresses: 192.0.2.10 is no interface"),
        ("{addresses: [192.0.2.10/0]}", "192.0.2.10/0 is no interface"),
        ("{addresses: [{192.0.2.10/24: {label: x}}]}", "is no interface"),
        ("{interfaces: [eno9]}", "bridge.interfaces: eno9 is no defined"),
        ("{mtu: 9k}", "bridge.mtu: 9k is no number"),
        ("{dhcp4: maybe}", "bridge.dhcp4: maybe is no boolean"),
        ("{macaddress: 00163e0000a0}", "bridge.macaddress: 00163e0000a0 is no mac"),
        ("{ignore-carrier: true}", "bridge: unknown key ignore-carrier"),
        ("{parameters: {vlan-filtering: true}}", "parameters: unknown key vlan-filtering"),
    ],
)
def test_what_netplan_0_99_refuses_is_known(bridge: str, refused: str) -> None:
    reading = read_by_0_99(f"network: {{version: 2, bridges: {{br-x: {bridge}}}}}")
    assert refused in "\n".join(reading.refused)


# --- netplans that are run --------------------------------------------------------------------

#: ``(section, line)`` of one file for networkd; a route is one line, whatever it has.
Lines = set[tuple[str, str]]
NETWORKD = "run/systemd/network/10-netplan-"
#: What newer ones write instead of RequiredForOnline= in each link's file.
WAIT_ONLINE = "run/systemd/system/systemd-networkd-wait-online.service.d/10-netplan.conf"


@pytest.fixture(scope="module", params=["lab", "newer"])
def netplan(request: pytest.FixtureRequest) -> Netplan:
    """The netplan of the lab's hosts, and a newer one; no host is up for them."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    return netplans.of_the_lab() if request.param == "lab" else netplans.newer()


def networkd_of(generated: Generated) -> dict[str, Lines]:
    """What networkd reads of each link, but for whether the boot waits for it: see `waited`."""
    return {
        path.removeprefix(NETWORKD): set(lines_of(text)) - {("Link", "RequiredForOnline=no")}
        for path, text in generated.files.items()
        if path.startswith(NETWORKD)
    }


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        section, *lines = part.strip().splitlines()
        section = section.rstrip("]")
        yield from (
            (section, line) for line in ([" ".join(lines)] if section == "Route" else lines)
        )


def waited(netplan: Netplan, generated: Generated) -> set[str]:
    """The links that the boot waits for."""
    if not netplan.version.startswith("0."):
        return set(re.findall(r" -i (\S+):[a-z]+", generated.files.get(WAIT_ONLINE, "")))
    return {
        path.removeprefix(NETWORKD).removesuffix(".network")
        for path, text in generated.files.items()
        if path.endswith(".network") and "RequiredForOnline=no" not in text
    }


@pytest.mark.lab
def test_one_is_the_lab_s_and_one_is_newer(netplan: Netplan, request: Any) -> None:
    assert netplan.version.startswith("0.106" if "lab" in request.node.callspec.id else "1.")


BRIDGES = ("br-mgmt", "br-public", "br-sipcore", "br-sipapp")
LINKS = ("eno1", "eno2", "eno3", "vlan.6", "vlan.9", *BRIDGES)
#: What we write otherwise than it was written by hand, all of it, and why.
ONLY_OURS = {
    "no spanning tree: a container would wait for it at each start": {
        (f"{bridge}.netdev", "Bridge", "STP=false") for bridge in BRIDGES
    },
    "no address and no route from the wire": {
        (f"{link}.network", "Network", "IPv6AcceptRA=no") for link in LINKS
    },
    "gateway4 is deprecated": {
        ("br-public.network", "Route", "Destination=0.0.0.0/0 Gateway=194.109.16.129")
    },
}
ONLY_BY_HAND = {
    "gateway4 is deprecated": {("br-public.network", "Network", "Gateway=194.109.16.129")},
}


@pytest.mark.lab
def test_the_voice_inventory_gives_the_network_that_was_written_by_hand(netplan: Netplan) -> None:
    by_hand = netplan.generate({OURS: BY_HAND})
    ours = netplan.generate({OURS: render_netplan(load_intent(VOICE).lxd_hosts["voice-01"])})
    assert (by_hand.status, ours.status, ours.said) == (0, 0, "")
    assert "`gateway4` has been deprecated" in by_hand.said  # and so a warning is heard

    there, here = networkd_of(by_hand), networkd_of(ours)
    local = {name: here.pop(name) for name in ("br-local.netdev", "br-local.network")}
    assert ("Network", "Address=10.99.0.1/24") in local["br-local.network"]
    assert set(here) == set(there)
    flat_there = {(name, *line) for name, lines in there.items() for line in lines}
    flat_here = {(name, *line) for name, lines in here.items() for line in lines}
    assert flat_here - flat_there == set().union(*ONLY_OURS.values())
    assert flat_there - flat_here == set().union(*ONLY_BY_HAND.values())

    # An unplugged cable of another network keeps no boot, and so LXD, waiting.
    assert waited(netplan, ours) & {*BRIDGES, "br-local"} == {"br-mgmt"}
    for path in set(by_hand.files) | set(ours.files):
        if not path.startswith(NETWORKD) and path != WAIT_ONLINE:
            mine = {line for line in ours.files[path].splitlines() if "br-local" not in line}
            assert mine == set(by_hand.files[path].splitlines())


def link_lines(name: str, *, mtu: int | None, bridge: str | None, vlans: set[str]) -> Lines:
    """Of a NIC's or vlan's .network file."""
    local = "no" if bridge else "ipv6"
    return {
        ("Match", f"Name={name}"),
        ("Network", "IPv6AcceptRA=no"),
        ("Network", f"LinkLocalAddressing={local}"),
        *([("Network", f"Bridge={bridge}")] if bridge else []),
        *(("Network", f"VLAN={vlan}") for vlan in vlans),
        *([("Link", f"MTUBytes={mtu}")] if mtu else []),
    }


def nic_lines(host: LxdHost, role: str, document: dict[str, Any]) -> dict[str, Lines]:
    nic = host.nics[role]
    mtu = document["ethernets"][nic].get("mtu")
    plugged = [n for n, body in document["bridges"].items() if nic in body.get("interfaces", ())]
    vlans = {n for n, body in document.get("vlans", {}).items() if body["link"] == nic}
    found = {
        f"{nic}.network": link_lines(nic, mtu=mtu, bridge=next(iter(plugged), None), vlans=vlans)
    }
    if mtu:
        found[f"{nic}.link"] = {
            ("Match", f"OriginalName={nic}"),
            ("Link", "WakeOnLan=off"),
            ("Link", f"MTUBytes={mtu}"),
        }
    return found


def vlan_lines(host: LxdHost, bridge: Bridge) -> dict[str, Lines]:
    name = member_of(host, bridge)
    assert name
    # said of every vlan on a NIC with any: it would take over its NIC's MTU otherwise
    said = any(other.mtu for other in host.bridges if other.nic == bridge.nic)
    mtu = bridge.mtu or 1500 if said else None
    return {
        f"{name}.netdev": {
            ("NetDev", f"Name={name}"),
            ("NetDev", "Kind=vlan"),
            ("VLAN", f"Id={bridge.vlan}"),
            *([("NetDev", f"MTUBytes={mtu}")] if mtu else []),
        },
        f"{name}.network": link_lines(name, mtu=mtu, bridge=bridge.name, vlans=set())
        | {("Network", "ConfigureWithoutCarrier=yes")},
    }


def bridge_lines(host: LxdHost, bridge: Bridge) -> dict[str, Lines]:
    attachment = host.attachments.get(bridge.network, Attachment(bridge.network))
    device: Lines = {
        ("NetDev", f"Name={bridge.name}"),
        ("NetDev", "Kind=bridge"),
        ("Bridge", "STP=true" if bridge.stp else "STP=false"),
    }
    network: Lines = {
        ("Match", f"Name={bridge.name}"),
        ("Network", "ConfigureWithoutCarrier=yes"),
        ("Network", "LinkLocalAddressing=ipv6"),
        ("Network", "IPv6AcceptRA=yes" if bridge.accept_ra else "IPv6AcceptRA=no"),
    }
    if bridge.forward_delay is not None:
        device.add(("Bridge", f"ForwardDelaySec={bridge.forward_delay}"))
    for key, value in (("MTUBytes", bridge.mtu), ("MACAddress", attachment.mac)):
        if value:
            device.add(("NetDev", f"{key}={value}"))
            network.add(("Link", f"{key}={value}"))
    if bridge.dhcp4 or bridge.dhcp6:
        which = "yes" if bridge.dhcp4 and bridge.dhcp6 else "ipv4" if bridge.dhcp4 else "ipv6"
        network |= {
            ("Network", f"DHCP={which}"),
            ("DHCP", "RouteMetric=100"),
            ("DHCP", "UseMTU=true"),
        }
    network |= {("Network", f"Address={address}") for address in attachment.addresses}
    network |= {("Network", f"DNS={server}") for server in attachment.nameservers}
    if attachment.search:
        network.add(("Network", "Domains=" + " ".join(attachment.search)))
    for route in attachment.all_routes:
        metric = f" Metric={route.metric}" if route.metric else ""
        network.add(("Route", f"Destination={route.to} Gateway={route.via}{metric}"))
    return {f"{bridge.name}.netdev": device, f"{bridge.name}.network": network}


def departed_lines(departed: Departed) -> dict[str, Lines]:
    """What is left of them: their addresses, and the links between them."""
    found: dict[str, Lines] = {}
    for name, body in departed.bridges.items():
        found[f"{name}.netdev"] = {("NetDev", f"Name={name}"), ("NetDev", "Kind=bridge")}
        found[f"{name}.network"] = {
            ("Network", f"Address={address}") for address in body.get("addresses", ())
        }
    for name, body in departed.vlans.items():
        found[f"{name}.netdev"] = {("NetDev", "Kind=vlan"), ("VLAN", f"Id={body['id']}")}
        found[f"{name}.network"] = set()
    for name, body in departed.ethernets.items():
        found[f"{name}.network"] = {
            ("Network", f"VLAN={vlan}")
            for vlan, other in departed.vlans.items()
            if other["link"] == name
        }
        if "mtu" in body:
            found[f"{name}.link"] = {("Link", f"MTUBytes={body['mtu']}")}
    for name, body in departed.bridges.items():
        for member in body.get("interfaces", ()):
            if f"{member}.network" in found:
                found[f"{member}.network"].add(("Network", f"Bridge={name}"))
    return found


@pytest.mark.lab
@settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(hosts_with_a_past())
def test_netplan_takes_whatever_we_write(
    netplan: Netplan, with_a_past: tuple[LxdHost, Departed]
) -> None:
    """Everything declared arrives at networkd, and nothing else does."""
    host, departed = with_a_past
    text = render_netplan(host, departed)
    generated = netplan.generate({OURS: text})
    assert (generated.status, generated.said) == (0, ""), text

    document = yaml.safe_load(text)["network"]
    wanted: dict[str, Lines] = {}
    for role in host.nics:
        wanted |= nic_lines(host, role, document)
    for bridge in host.bridges:
        wanted |= bridge_lines(host, bridge)
        if bridge.vlan is not None:
            wanted |= vlan_lines(host, bridge)
    found, kept = networkd_of(generated), departed_lines(departed)
    assert set(found) == set(wanted) | set(kept)
    assert {name: found[name] for name in wanted} == wanted
    assert {name: kept[name] - found[name] for name in kept} == {name: set() for name in kept}

    default = host.default_route
    needed = host.management or (default.network if default else None)
    for bridge in host.bridges:
        assert (bridge.name in waited(netplan, generated)) is (bridge.network == needed)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(hosts())
def test_no_network_has_a_smaller_mtu_for_another_on_its_nic(host: LxdHost) -> None:
    """What carries a vlan takes frames as large as the vlan's, without an MTU of its own 1500."""
    document = yaml.safe_load(render_netplan(host))["network"]
    for bridge in host.bridges:
        if bridge.nic:
            of_nic = document["ethernets"][host.nics[bridge.nic]].get("mtu", 1500)
            assert of_nic >= (bridge.mtu or 1500)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(hosts(), hosts())
def test_the_boot_waits_for_no_bridge_that_lost_its_nic(wanted: LxdHost, before: LxdHost) -> None:
    """Without its member, which another bridge has now, it never comes online."""
    there = former(wanted, before)
    departed = departed_of(wanted, there)
    document = yaml.safe_load(render_netplan(wanted, departed))["network"]["bridges"]
    for name in departed.bridges:
        if len(document[name].get("interfaces", ())) < len(there.members(name)):
            assert document[name].get("optional"), name


@pytest.mark.lab
def test_netplan_takes_every_key_that_we_write(netplan: Netplan) -> None:
    generated = netplan.generate({OURS: render_netplan(EVERYTHING, DEPARTED)})
    assert (generated.status, generated.said) == (0, "")


@pytest.mark.lab
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("macaddress:", "mac-address:", "unknown key 'mac-address'"),
        ("metric: 100", "metric: low", "invalid unsigned int value 'low'"),
        ("stp: true", "stp: perhaps", "invalid boolean value 'perhaps'"),
        ("link: eno2", "link: eno9", "eno9"),
        ("192.0.2.10/24", "192.0.2.10", "missing /prefixlength"),
    ],
)
def test_netplan_refuses_what_is_wrong(netplan: Netplan, right: str, wrong: str, said: str) -> None:
    text = render_netplan(EVERYTHING, DEPARTED)
    assert text.count(right) == 1
    spoilt = netplan.generate({OURS: text.replace(right, wrong)})
    assert spoilt.status != 0
    assert said in spoilt.said
    assert OURS in spoilt.said
