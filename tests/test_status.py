from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from rich.console import Console

from tasks.actual import ClientFolder, HostFacts, Link, LxdFacts
from tasks.command import status_command
from tasks.intent.model import Intent
from tasks.load import load_intent
from tasks.ownership import marked
from tasks.picture.canvas import width_of
from tasks.picture.drawing import fleet_picture
from tasks.profiles.across import compare_across
from tasks.run import run_of
from tasks.status.compare import host_status
from tasks.status.report import StatusReport
from tasks.status.view import as_plain, as_view, show_status
from tests.lab import Lab

INVENTORIES = Path(__file__).parent.parent / "inventory"
FINGERPRINT = "0123456789abcdef" * 4
REMOTES = """
default-remote: local
remotes:
  images: {addr: "https://images.example.net", protocol: simplestreams}
  local: {addr: "unix://"}
  sidn-demo-01: {addr: "https://192.168.56.150:8443", protocol: lxd}
  sidn-demo-02: {addr: "https://192.168.56.151:8443"}
"""


@pytest.fixture(autouse=True)
def _without_the_lab(request: pytest.FixtureRequest) -> None:
    if "lab" not in request.fixturenames:
        request.getfixturevalue("lab_files")


@pytest.fixture
def demo() -> Intent:
    return load_intent(INVENTORIES / "demo")


@pytest.fixture(scope="module")
def voice() -> Intent:
    return load_intent(INVENTORIES / "voice")


def profile(name: str, config: dict[str, str] | None = None, used: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "config": config or {},
        "description": "",
        "devices": {},
        "used_by": [f"/1.0/instances/{number}" for number in range(used)],
    }


def facts(name: str = "sidn-demo-01", **lxd: Any) -> HostFacts:
    """A host with br-demo, one declared container that runs, one that is stopped, a foreign one."""
    instances = {
        "control": {"name": "control", "status": "Running"},
        "web-01": {"name": "web-01", "status": "Stopped"},
        "by<hand>": {
            "name": "by<hand>",
            "status": "Running",
            "profiles": ["default"],
            "config": {"volatile.base_image": FINGERPRINT},
            "expanded_devices": {"eth0": {"type": "nic", "parent": "br-demo", "name": "eth0"}},
        },
    }
    values: dict[str, Any] = {
        "package": "deb",
        "running": True,
        "server": {
            "environment": {"server_version": "5.0.2"},
            "config": {"core.https_address": "[::]:8443"},
        },
        "pools": {"default": {"name": "default", "driver": "dir"}},
        "images": {FINGERPRINT: {"aliases": [{"name": "minimal"}]}, "f" * 64: {"aliases": []}},
        "profiles": {"default": profile("default")},
        "instances": instances,
    }
    links = [
        Link("enp1s0", master="br-demo"),
        Link("br-demo", "bridge", addresses=(ip_interface("192.168.56.150/24"),)),
        Link("veth1234", "veth", master="br-demo"),
        Link("docker0", "bridge"),
    ]
    return HostFacts(
        name,
        os_id="debian",
        os_version="12",
        links={link.name: link for link in links},
        clients={"root": ClientFolder("root", "/root/.config/lxc", REMOTES)},
        lxd=LxdFacts(**{**values, **lxd}),
    )


def report_of(demo: Intent, *read: HostFacts) -> StatusReport:
    by_name = {f.name: f for f in read}
    return StatusReport(
        "demo",
        "2024-05-01T12:00:00+02:00",
        1.0,
        tuple(
            host_status(
                demo, name, by_name.get(name), "" if name in by_name else f"{name}: no route"
            )
            for name in demo.lxd_hosts
        ),
        compare_across(demo, by_name),
        {"sbc-01": "192.0.2.1"},
    )


def test_what_there_is_is_held_against_the_inventory(demo: Intent) -> None:
    host = report_of(demo, facts()).to_dict()["hosts"]["sidn-demo-01"]
    assert {name: c["state"] for name, c in host["containers"].items()} == {
        "control": "running",
        "web-01": "stopped",
        "web-02": "missing",
        "by<hand>": "running",
    }
    assert {name for name, c in host["containers"].items() if not c["declared"]} == {"by<hand>"}
    assert host["containers"]["by<hand>"]["image"] == "minimal"
    assert host["containers"]["control"]["addresses"] == {"demo": "192.168.56.160/24"}
    assert host["bridges"]["br-demo"] == {
        "members": ("enp1s0",),
        "addresses": ("192.168.56.150/24",),
        "present": True,
        "declared": True,
        "lost": (),
        "extra": (),
    }
    assert host["bridges"]["docker0"]["declared"] is False
    assert host["bridges"]["br-sip"]["present"] is False
    assert host["remotes"] == {"root": ("sidn-demo-01", "sidn-demo-02")}
    assert host["lost_remotes"] == {}
    assert host["images"] == ("minimal", "f" * 12)
    assert (host["lxd_version"], host["listen"], host["pools"]) == (
        "5.0.2",
        "[::]:8443",
        {"default": "dir"},
    )


def test_a_host_that_does_not_answer_knows_nothing_of_its_containers(demo: Intent) -> None:
    report = report_of(demo, facts())
    host = report.to_dict()["hosts"]["sidn-demo-02"]
    assert (host["reachable"], host["problem"]) == (False, "sidn-demo-02: no route")
    assert {c["state"] for c in host["containers"].values()} == {"unknown"}
    assert report.exit_status() == 1


def test_an_lxd_that_does_not_answer_is_told_and_no_container_is_called_missing(
    demo: Intent,
) -> None:
    silent = facts(running=False, problem="no answer to server within 8 s", instances={})
    status = host_status(demo, "sidn-demo-01", silent)
    assert status.problem == "LXD does not answer: no answer to server within 8 s"
    assert {c.state for c in status.containers} == {"unknown"}


def test_a_bare_host_is_no_failure_its_containers_are_missing(demo: Intent) -> None:
    bare = replace(facts(), lxd=LxdFacts(), clients={})
    report = report_of(demo, bare, replace(bare, name="sidn-demo-02"))
    assert report.exit_status() == 0
    assert {c.state for c in report.hosts[0].containers} == {"missing"}
    assert "LXD not installed" in as_plain(report)


def test_a_limit_shows_the_selected_containers_only(demo: Intent) -> None:
    status = host_status(demo, "sidn-demo-01", facts(), selected={"web-01"})
    assert [c.name for c in status.containers] == ["web-01"]


def status_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                 *limit: str) -> list[str]:  # fmt: skip
    """What status.py prints of hosts that answer as :func:`facts` has them."""

    def answer(host: Host) -> HostFacts:
        first = host.name == "sidn-demo-01"
        read = facts() if first else facts(host.name, instances={})
        run_of(host).facts[host.name] = read
        return read

    monkeypatch.setattr("tasks.status.read.facts_of", answer)
    arguments = [word for selector in limit for word in ("--limit", selector)]
    assert status_command(["--inventory", str(INVENTORIES / "demo"), *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("limit", "hosts", "containers"),
    [
        ((), "2 LXD hosts", {"control", "web-01", "web-02", "web-03", "web-04"}),
        (("sidn-demo-01",), "1 LXD host", {"control", "web-01", "web-02"}),
        (("sidn-demo-01", "!web-01"), "1 LXD host", {"control", "web-02"}),
        (("sidn-demo-01", "web-03"), "2 LXD hosts", {"control", "web-01", "web-02", "web-03"}),
        (("web-01",), "1 LXD host", {"web-01"}),
        (("!web-*",), "2 LXD hosts", {"control"}),
    ],
)
def test_a_host_selected_shows_its_containers(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: tuple[str, ...],
    hosts: str,
    containers: set[str],
) -> None:
    lines = status_lines(capsys, monkeypatch, *limit)
    shown = {line.split()[0] for line in lines if line.startswith(("  web-", "  control"))}
    assert shown == containers
    assert re.search(f": {hosts};", lines[-1])


def test_what_is_not_as_declared_is_marked(demo: Intent) -> None:
    stray = {"control": {"name": "control", "status": "Frozen"},
             "web-01": {"name": "web-01", "status": "Running", "profiles": ["other"]}}  # fmt: skip
    stopped = replace(demo.containers["web-01"], running=False)
    intent = replace(demo, containers={**demo.containers, "web-01": stopped})
    text = as_plain(report_of(intent, facts(instances=stray)))
    assert re.search(r"^  control +frozen, declared running ", text, re.MULTILINE)
    assert re.search(r"^  web-01 +running, declared stopped ", text, re.MULTILINE)
    assert re.search(r"^  web-01 .* other, declared demo$", text, re.MULTILINE)
    assert re.search(r"^  web-02 +missing  .* demo$", text, re.MULTILINE)
    assert (
        report_of(intent, facts(instances=stray)).to_dict()["hosts"]["sidn-demo-01"]["containers"][
            "web-01"
        ]["wanted"]
        == "stopped"
    )


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        ({}, "cloud-init"),  # nothing is known of it
        ({"volatile.base_image": FINGERPRINT}, "minimal"),
        ({"volatile.base_image": "f" * 64}, "also"),
        ({"volatile.base_image": "d" * 64}, "d" * 12),
        ({"volatile.base_image": "e" * 64}, "cloud-init"),
    ],
)
def test_the_image_is_the_one_that_a_container_was_made_from(
    demo: Intent, base: dict[str, str], shown: str
) -> None:
    images = {
        FINGERPRINT: {"aliases": [{"name": "minimal"}]},
        "f" * 64: {"aliases": [{"name": "also"}]},
        "e" * 64: {"aliases": [{"name": "other"}, {"name": "cloud-init"}]},
    }
    instances = {"control": {"name": "control", "status": "Running", "config": base}}
    read = facts(images=images, instances=instances)
    status = host_status(demo, "sidn-demo-01", read, selected={"control"})
    assert [c.image for c in status.containers] == [shown]


def declared_demo(demo: Intent, **config: str) -> dict[str, Any]:
    """The profile demo as LXD has it when it is as declared, but for these config keys."""
    wanted = demo.profiles["demo"]
    return {
        "name": "demo",
        "description": wanted.description,
        "config": marked("demo", {**wanted.config, **config}),
        "devices": dict(wanted.devices),
        "used_by": ["/1.0/instances/web-01"],
    }


def test_profiles_are_held_host_against_host(demo: Intent) -> None:
    first = {
        "default": profile("default", used=3),
        "demo": declared_demo(demo),
        "mine": profile("mine"),
        "theirs": profile("theirs", {"limits.cpu": "1"}),
    }
    second = {
        "default": profile("default"),
        "demo": declared_demo(demo, **{"limits.cpu": "2"}),
        "theirs": profile("theirs", {"limits.cpu": "2"}),
    }
    read = {
        "sidn-demo-01": facts(profiles=first),
        "sidn-demo-02": facts("sidn-demo-02", profiles=second),
    }
    found = {p.name: p for p in compare_across(demo, read)}
    assert {n: (p.against, p.same, p.differing, p.missing) for n, p in found.items()} == {
        "demo": ("the inventory", ("sidn-demo-01",), ("sidn-demo-02",), ()),
        "default": ("sidn-demo-01", ("sidn-demo-01", "sidn-demo-02"), (), ()),
        "mine": ("sidn-demo-01", ("sidn-demo-01",), (), ()),
        "theirs": ("sidn-demo-01", ("sidn-demo-01",), ("sidn-demo-02",), ()),
    }
    assert found["theirs"].diffs["sidn-demo-02"].splitlines() == [
        "--- profile theirs on sidn-demo-02",
        "+++ profile theirs on sidn-demo-01",
        "@@ -1,4 +1,4 @@",
        " config:",
        "-  limits.cpu: '2'",
        "+  limits.cpu: '1'",
        " description: ''",
        " devices: {}",
    ]
    assert "-  limits.cpu: '2'" in found["demo"].diffs["sidn-demo-02"].splitlines()
    report = replace(report_of(demo, *read.values()), profiles=tuple(found.values()))
    told = as_plain(report).split("profiles ", 4)[-1].splitlines()
    assert [line.strip() for line in told[:8]] == [
        "default: the same on 2 hosts",
        "mine: on sidn-demo-01",
        "demo: differs on sidn-demo-02 from the inventory",
        "on sidn-demo-02:",
        *[line.strip() for line in found["demo"].diffs["sidn-demo-02"].splitlines()[3:7]],
    ]
    assert told[-1].startswith("demo: 2 LXD hosts")


def test_hosts_that_differ_in_the_same_way_are_shown_once(demo: Intent) -> None:
    many = {f"user.key-{number:02}": "x" for number in range(20)}
    read = {
        name: facts(name, profiles={"demo": declared_demo(demo, **many)})
        for name in ("sidn-demo-01", "sidn-demo-02")
    }
    text = as_plain(report_of(demo, *read.values()))
    assert "demo: differs on sidn-demo-01, sidn-demo-02 from the inventory" in text
    assert text.count("-  user.key-00: x") == 1
    assert "-  user.key-19: x" not in text
    assert re.search(r"and \d+ lines more \(--json has them\)", text)
    diffs = report_of(demo, *read.values()).to_dict()["profiles"]["demo"]["diffs"]
    assert diffs
    assert all("-  user.key-19: x" in diff for diff in diffs.values())


def test_lost_remotes_and_addresses_and_those_nobody_declared_are_marked(demo: Intent) -> None:
    read = facts()
    addresses = (ip_interface("192.168.56.99/24"), ip_interface("fe80::1/64"))
    links = {**read.links, "br-demo": replace(read.links["br-demo"], addresses=addresses)}
    one = ClientFolder("root", "/root/.config/lxc", REMOTES.replace("  sidn-demo-02", "  other"))
    shown = report_of(demo, replace(read, links=links, clients={"root": one}))
    host = shown.hosts[0]
    (bridge,) = (b for b in host.bridges if b.name == "br-demo")
    assert (bridge.lost, bridge.extra) == (("192.168.56.150/24",), ("192.168.56.99/24",))
    assert host.lost_remotes == {"root": ("sidn-demo-02",)}
    text = as_plain(shown)
    assert ", without 192.168.56.150/24, 192.168.56.99/24 not declared" in text
    assert "remotes of root sidn-demo-01, other\n" in text
    assert " without sidn-demo-02\n" in text
    nobody = report_of(demo, replace(read, clients={})).hosts[0]
    assert nobody.lost_remotes == {"root": ("sidn-demo-01", "sidn-demo-02")}


def test_our_mark_is_no_difference_between_profiles(demo: Intent) -> None:
    read = {
        name: facts(name, profiles={"other": profile("other", config)})
        for name, config in (("sidn-demo-01", marked("other", {})), ("sidn-demo-02", {}))
    }
    compared = {p.name: p.differing for p in compare_across(demo, read)}
    assert "other" in compared
    assert not any(compared.values())


def test_the_status_is_plain_data(demo: Intent) -> None:
    text = json.dumps(report_of(demo, facts()).to_dict())
    assert json.loads(text)["runbook"] == "status"


def test_a_pipe_gets_plain_lines(demo: Intent) -> None:
    stream = io.StringIO()
    show_status(report_of(demo, facts()), stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "sidn-demo-01 192.168.56.150  debian 12, LXD 5.0.2 (deb) on [::]:8443"
    assert "sidn-demo-02 192.168.56.151  unreachable" in lines
    assert any(re.match(r"  by<hand> +running, foreign +minimal +default$", line) for line in lines)
    assert any(re.match(r"  web-02 +missing", line) for line in lines)
    assert any(line.endswith("demo: missing on sidn-demo-01") for line in lines)
    assert lines[-1].startswith("demo: 2 LXD hosts, 1 unreachable; containers: 1 running")
    assert "\x1b" not in stream.getvalue()
    assert all(line == line.rstrip() for line in lines)


def test_a_terminal_of_80_columns_loses_nothing(voice: Intent) -> None:
    name = next(iter(voice.lxd_hosts))
    report = StatusReport("voice", "", 1.0, (host_status(voice, name, None, "x" * 200),))
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(as_view(report))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert max(map(len, plain.splitlines())) <= 80
    assert plain.count("x") >= 200
    squeezed = re.sub(r"\s", "", plain)
    for container in voice.containers_on(name):
        assert container.name in squeezed


def texts(svg: str) -> list[ET.Element]:
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return list(root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("inventory", ["demo", "voice"])
def test_the_picture_has_every_machine_bridge_and_nic(inventory: str) -> None:
    intent = load_intent(INVENTORIES / inventory)
    labels = [element.text or "" for element in texts(fleet_picture(intent))]
    for name in intent.names():
        assert name in labels
    for host in intent.lxd_hosts.values():
        for nic in host.nics.values():
            assert nic in labels
        for bridge in host.bridges:
            assert any(label.split()[0] == bridge.name for label in labels if label)
    for container in intent.containers.values():
        for network in container.networks:
            address = container.attachments[network].address
            assert f"if-{network} {address}" in labels


@pytest.mark.parametrize("inventory", ["demo", "voice"])
def test_no_two_labels_of_the_picture_overlap(inventory: str) -> None:
    boxes = []
    for element in texts(fleet_picture(load_intent(INVENTORIES / inventory))):
        x, y, size = (float(element.attrib[key]) for key in ("x", "y", "font-size"))
        width = width_of(element.text or "", size)
        middle = element.attrib["text-anchor"] == "middle"
        if "transform" in element.attrib:
            boxes.append((x - size, y - width / 2, x, y + width / 2, element.text))
        else:
            left = x - width / 2 if middle else x
            boxes.append((left, y - size * 0.8, left + width, y + size * 0.2, element.text))
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
            assert apart, f"{one} and {other}"


def test_the_picture_shows_what_is_really_there(demo: Intent) -> None:
    svg = fleet_picture(demo, {"sidn-demo-01": facts()})
    labels = [element.text or "" for element in texts(svg)]
    assert "web-01 (stopped)" in labels
    assert "web-02 (missing)" in labels
    assert "by<hand> (not in the inventory)" in labels
    assert "192.168.56.150, LXD 5.0.2" in labels
    assert "192.168.56.151, not read" in labels
    assert "stroke-dasharray" in svg


def test_a_fleet_of_nothing_can_be_drawn(demo: Intent) -> None:
    empty = replace(demo, lxd_hosts={}, containers={}, machines={})
    assert [element.text for element in texts(fleet_picture(empty))] == ["demo"]


@pytest.mark.lab
def test_status_of_the_lab(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, data = tmp_path / "fleet.svg", tmp_path / "status.json"
    arguments = ["--inventory", str(INVENTORIES / "demo"), "--picture", str(picture)]
    assert status_command([*arguments, "--json", str(data)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "sidn-demo-02 192.168.56.151  debian 12" in shown.out
    hosts = json.loads(data.read_text())["hosts"]
    assert all(host["reachable"] for host in hosts.values())
    assert {"control", "web-01", "web-02"} <= set(hosts["sidn-demo-01"]["containers"])
    assert texts(picture.read_text())
    assert status_command(["--inventory", str(INVENTORIES / "demo"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["inventory"] == "demo"


def test_a_picture_is_svg_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        status_command(["--picture", str(tmp_path / "fleet.png")])
    assert refused.value.code == 2
    assert "fleet.png does not end in .svg, and SVG is what is drawn" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_selector_that_matches_nothing_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_command(["--inventory", str(INVENTORIES / "demo"), "--limit", "web-0l"]) == 2
    assert "web-01" in capsys.readouterr().err
