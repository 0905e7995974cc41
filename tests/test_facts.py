"""Facts out of documents recorded on the lab: a bare host, and one that is set up."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from tasks.actual import HostFacts, Link, LiveRoute
from tasks.errors import FleetError
from tasks.facts.host_document import parse_facts
from tasks.intent.model import Bridge, LxdHost, Ssh
from tasks.obstacles import LEAST_FREE, obstacles_of
from tasks.onhost import on_host

CASES = Path(__file__).parent / "cases"
Document = dict[str, Any]


def recorded(name: str) -> Document:
    document: Document = json.loads((CASES / f"host_{name}.json").read_text())
    return document


def parsed(document: Document) -> HostFacts:
    return parse_facts("host-01", json.dumps(document).encode())


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def route(to: str, via: str, link: str, metric: int | None = None) -> LiveRoute:
    return LiveRoute(ip_network(to), ip_address(via), link, metric)


def test_a_bare_host() -> None:
    facts = parsed(recorded("bare"))
    assert (facts.name, facts.root, facts.systemd) == ("host-01", True, True)
    assert (facts.os_id, facts.os_version) == ("debian", "12")
    assert facts.netplan_version == "0.106-2+deb12u1"
    assert facts.free["/"] > LEAST_FREE
    assert list(facts.netplan) == ["/etc/netplan/00-installer-config.yaml"]
    assert "192.168.56.152/24" in facts.netplan["/etc/netplan/00-installer-config.yaml"]
    assert set(facts.links) == {"lo", "enp1s0", "eno2", "eno3"}
    assert facts.links["enp1s0"].addresses == (ip_interface("192.168.56.152/24"),)
    assert facts.links["enp1s0"].up
    assert not facts.links["eno2"].up
    assert facts.routes == (route("0.0.0.0/0", "192.168.56.1", "enp1s0"),)
    assert facts.created == frozenset()
    assert facts.clients["root"].path == "/root/.config/lxc"
    assert facts.clients["root"].certificate is None
    assert "ghost" not in facts.clients  # no such user there
    assert (facts.lxd.package, facts.lxd.running, facts.lxd.problem) == ("deb", False, "")
    assert facts.lxd.certificate is None


def test_a_host_that_is_set_up() -> None:
    facts = parsed(recorded("set_up"))
    bridge = facts.links["br-demo"]
    assert (bridge.kind, bridge.up) == ("bridge", True)
    # what IPv6 gives each link by itself is left out, what somebody gave it is not
    assert bridge.addresses == (ip_interface("192.168.56.152/24"), ip_interface("2001:db8::10/64"))
    assert facts.links["enp1s0"].master == "br-demo"
    assert facts.links["enp1s0"].addresses == ()
    assert facts.routes == (route("0.0.0.0/0", "192.168.56.1", "br-demo"),)
    assert (bridge.stp, bridge.forward_delay) == (False, 15.0)
    assert facts.created == {"trust sidn-demo-03", "remote root sidn-demo-03"}
    assert facts.lxd.running
    assert facts.lxd.server["config"]["core.https_address"] == "[::]:8443"
    assert (facts.lxd.certificate or "").startswith("-----BEGIN CERTIFICATE-----\n")
    names = {entry["name"] for entry in facts.lxd.certificates}
    assert {"sidn-demo-03"} < names
    assert facts.lxd.pools["default"]["driver"] == "dir"
    assert facts.lxd.profiles["demo"]["devices"]["if-demo"]["parent"] == "br-demo"
    (image,) = facts.lxd.images.values()
    assert image["aliases"][0]["name"] == "minimal"
    assert facts.lxd.images == {image["fingerprint"]: image}
    instance = facts.lxd.instances["web-01"]
    assert instance["status"] == "Running"
    assert instance["expanded_devices"]["if-demo"]["parent"] == "br-demo"
    root = facts.clients["root"]
    assert "sidn-demo-03" in root.config
    assert root.certificate is not None
    assert root.server_certificates["sidn-demo-03"] == facts.lxd.certificate


@pytest.mark.parametrize(
    ("tracking", "channel"),
    [
        ("5.0/stable", "5.0/stable"),
        ("latest/stable", "latest/stable"),
        ("5.0/stable/…", "5.0/stable"),
        ("4.0/stable/ubuntu-20.04", "4.0/stable"),
        ("stable", "latest/stable"),
        ("4.0", "4.0/stable"),
    ],
)
def test_the_snap_its_channel_and_when_it_refreshes(tracking: str, channel: str) -> None:
    document = recorded("bare")
    document["lxd"] |= {
        "package": "snap",
        "snap": encoded(
            "Name  Version        Rev    Tracking       Publisher   Notes\n"
            f"lxd   5.0.3-babaaf8  28373  {tracking}  canonical✓  -\n"
        ),
        "refresh": encoded("sat,02:00-04:00\n"),
    }
    lxd = parsed(document).lxd
    assert (lxd.package, lxd.channel, lxd.refresh) == ("snap", channel, "sat,02:00-04:00")


def test_kernel_settings_and_those_of_our_file() -> None:
    document = recorded("bare")
    document["kernel"] = {"vm.max_map_count": encoded("65530\n"), "a.b": encoded("4096\t87380 1\n")}
    document["kernel_file"] = encoded("# by hand\nvm.max_map_count = 262144\nvm.swappiness=10\n")
    facts = parsed(document)
    assert facts.kernel == {"vm.max_map_count": "65530", "a.b": "4096 87380 1"}
    assert facts.kernel_file == {"vm.max_map_count": "262144", "vm.swappiness": "10"}


def test_names_and_texts_with_quotes_and_backslashes_survive() -> None:
    facts = parsed(recorded("set_up"))
    assert facts.netplan['/run/netplan/99-with a "quote".yaml'] == "network: {version: 2}\n"
    assert facts.clients["root"].server_certificates["odd"] == 'a%b\\n"'


def test_instances_of_other_projects_are_apart() -> None:
    document = recorded("set_up")
    instances = document["lxd"]["answers"]["instances"]["body"]["metadata"]
    there = [instance["name"] for instance in instances]
    instances.append({**instances[0], "project": "lab"})
    lxd = parsed(document).lxd
    assert list(lxd.instances) == there
    assert lxd.instances[there[0]]["project"] == "default"
    assert [(i["name"], i["project"]) for i in lxd.other_instances] == [(there[0], "lab")]


def test_a_vlan() -> None:
    document = recorded("bare")
    document["links"].append({
        "ifname": "vlan.6", "link": "eno2", "flags": ["UP"], "mtu": 1500, "master": "br-sipcore",
        "linkinfo": {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 6}},
        "addr_info": [],
    })  # fmt: skip
    assert parsed(document).links["vlan.6"] == Link(
        "vlan.6", "vlan", master="br-sipcore", vlan_id=6, vlan_link="eno2"
    )


def test_a_bridge_that_is_not_the_root_shows_the_delay_of_the_root() -> None:
    document = recorded("bare")
    document["links"].append({
        "ifname": "br-sip", "flags": ["UP"], "mtu": 1500, "addr_info": [],
        "linkinfo": {"info_kind": "bridge", "info_data": {
            "stp_state": 1, "forward_delay": 1500,
            "root_id": "0001.aa:bb:cc:dd:ee:ff", "bridge_id": "8000.52:54:00:00:00:01",
        }},
    })  # fmt: skip
    bridge = parsed(document).links["br-sip"]
    assert (bridge.stp, bridge.forward_delay) == (True, None)


def test_a_client_certificate_that_is_none_is_as_good_as_none() -> None:
    document = recorded("set_up")
    document["clients"][0]["certificate"] = document["lxd"]["certificate"]
    assert parsed(document).clients["root"].certificate is not None
    document["clients"][0]["certificate"] = encoded("-----BEGIN CERTIFICATE-----\nx\n")
    assert parsed(document).clients["root"].certificate is None


def test_routes_of_both_kinds_and_those_without_a_gateway() -> None:
    document = recorded("bare")
    document["routes"] = encoded(
        "default via 10.0.0.1 dev br-demo proto static \ndefault dev wg0 scope link\n"
        "default via fe80::1 dev br-six proto ra metric 1024 pref medium\n"
        "10.0.0.0/24 dev br-demo proto kernel scope link src 10.0.0.10 \n"
        "10.64.0.0/10 via 10.0.0.9 dev br-demo proto static metric 50 linkdown\n"
    )
    assert parsed(document).routes == (
        route("0.0.0.0/0", "10.0.0.1", "br-demo"),
        route("::/0", "fe80::1", "br-six", 1024),
        route("10.64.0.0/10", "10.0.0.9", "br-demo", 50),
    )


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("installed 0.106-2+deb12u1", "0.106-2+deb12u1"),
        ("config-files 0.36", ""),
        ("", ""),
    ],
)
def test_the_version_of_netplan(package: str, version: str) -> None:
    document = recorded("bare")
    document["netplan_package"] = encoded(package)
    assert parsed(document).netplan_version == version


@pytest.mark.parametrize(
    ("status", "said", "problem"),
    [
        (124, "", "no answer to profiles within 8 s"),
        (137, "", "no answer to profiles within 8 s"),
        (1, "Error: dial unix /var/lib/lxd/unix.socket: connect: connection refused\n",
         "dial unix /var/lib/lxd/unix.socket: connect: connection refused"),
        (2, "", "exit status 2"),
    ],
)  # fmt: skip
def test_an_lxd_that_does_not_answer(status: int, said: str, problem: str) -> None:
    document = recorded("set_up")
    document["lxd"]["answers"]["profiles"] = {
        "status": status, "said": encoded(said), "body": None,
    }  # fmt: skip
    lxd = parsed(document).lxd
    assert (lxd.package, lxd.running, lxd.problem) == ("deb", False, problem)
    assert lxd.certificate is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"Welcome to host-01!\n" + text,
        lambda text: b"[]",
        lambda text: b'{"root": true}',
    ],
    ids=["half", "nothing", "banner", "another", "incomplete"],
)
def test_a_document_that_is_not_whole_is_said_to_be(spoil: Callable[[bytes], bytes]) -> None:
    document = (CASES / "host_set_up.json").read_bytes()
    with pytest.raises(FleetError, match=r"host-01: the read of the host did not give") as caught:
        parse_facts("host-01", spoil(document))
    assert caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="the script is for root: it writes in /run")
def test_the_script_reads_a_machine_without_lxd_and_netplan(tmp_path: Path) -> None:
    script = on_host(
        "read_host", "root", "no.such.user", "--", "vm.max_map_count", "no.such.setting"
    )
    done = subprocess.run(
        ["sh"], input=script.encode(), capture_output=True, timeout=60, check=True, cwd=tmp_path
    )
    facts = parse_facts("here", done.stdout)
    assert "lo" in facts.links
    assert list(facts.clients) == ["root"]
    live = Path("/proc/sys/vm/max_map_count").read_text().strip()
    assert facts.kernel == {"vm.max_map_count": live}
    assert done.stderr == b""


HOST = LxdHost(
    name="host-01",
    ssh=Ssh("192.168.56.152"),
    nics={"demo": "enp1s0"},
    bridges=(Bridge("demo", nic="demo"),),
)


def test_nothing_stands_in_the_way_of_a_bare_host() -> None:
    assert obstacles_of(HOST, parsed(recorded("bare"))) == []


@pytest.mark.parametrize(
    ("change", "obstacle"),
    [
        ({"root": False}, "commands there do not run as root, log in as root or allow sudo -n"),
        ({"systemd": False}, "it does not run systemd, which LXD hosts are managed with"),
        ({"os_id": "fedora"}, "it runs fedora, not Debian or Ubuntu"),
        ({"os_id": ""}, "it runs an unknown system, not Debian or Ubuntu"),
        ({"netplan_version": ""}, "netplan is missing, apt-get install netplan.io"),
        ({"free": {"/": 2**40, "/var/lib": 5 * 2**20}},
         "only 5 MB free on /var/lib, make room there"),
        ({"links": {"lo": Link("lo"), "eno1": Link("eno1"), "br-x": Link("br-x", "bridge"),
                    "veth1234": Link("veth1234", "veth")}},
         "there is no NIC enp1s0 for demo; its NICs are: eno1"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way(change: dict[str, Any], obstacle: str) -> None:
    facts = replace(parsed(recorded("bare")), **change)
    assert obstacles_of(HOST, facts) == [obstacle]
