"""Changes of the network on the whole demo fleet: another address, one host after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo import ADDRESSES, CONTAINERS, HOSTS, Demo, change, messages, statuses

pytestmark = pytest.mark.lab

NEW = "192.168.56.159"
MACS = {"web-03": "00:16:3e:00:aa:{}3", "web-04": "00:16:3e:00:aa:{}4"}


def phase(report: dict[str, Any], host: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in report["hosts"][host]["phases"] if p["phase"] == name)
    return found


def network(demo: Demo) -> list[str]:
    """Files, addresses and members on each host."""
    look = "cat /etc/netplan/*; ip -o -4 addr show; ls -d /sys/class/net/*/brif/*"
    return [demo.lab.exec(host, look).stdout for host in HOSTS]


@pytest.fixture(scope="class")
def moved(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory in which the second host has another address and listens there only."""
    inventory = Demo.copy_inventory(tmp_path_factory.mktemp("moved"))

    def another(hosts: dict[str, Any]) -> None:
        hosts[HOSTS[1]]["data"]["addresses"]["demo"] = NEW
        hosts[HOSTS[1]]["data"]["lxd"] = {"listen": "demo"}

    change(inventory, "hosts.yaml", another)
    yield inventory
    back = demo.report()
    assert back["exit"] == 0, messages(back, HOSTS[1])


class TestAnotherManagementAddress:
    """One run, remotes and all; the fixture goes back in another."""

    def test_one_run_moves_the_host_its_lxd_and_every_remote(self, demo: Demo, moved: Path) -> None:
        report = demo.report(inventory=moved)
        assert report["exit"] == 0, messages(report, HOSTS[1])
        assert statuses(report)[HOSTS[1]] == "changed"
        done = [step["object"] for step in phase(report, HOSTS[1], "bridges")["steps"]]
        assert "bridge br-demo" in done
        assert "core.https_address" in [
            step["object"] for step in phase(report, HOSTS[1], "lxd")["steps"]
        ]
        assert report["hosts"][HOSTS[0]]["edges"] == {HOSTS[0]: "ok", HOSTS[1]: "ok"}
        listen = demo.lab.exec(HOSTS[1], "lxc config get core.https_address").stdout.strip()
        assert listen == f"{NEW}:8443"
        remotes = demo.lab.exec(HOSTS[0], "lxc remote list --format csv").stdout
        assert f"{HOSTS[1]},https://{NEW}:8443" in remotes
        shown = demo.lab.exec(HOSTS[1], "ip -o -4 addr show dev br-demo").stdout
        assert NEW in shown
        assert "192.168.56.151" not in shown

    def test_nothing_is_left_to_do(self, demo: Demo, moved: Path) -> None:
        report = demo.report(inventory=moved)
        assert report["summary"]["changed"] == report["summary"]["failed"] == 0
        assert (demo.state / "addresses" / HOSTS[1]).read_text() == f"{NEW}\n"


class TestRolling:
    @pytest.fixture
    def further(self, inventory: Path) -> Path:
        """An inventory with one more bridge on both hosts, to be undone after 8 seconds."""

        def more(groups: dict[str, Any]) -> None:
            groups["br-more"] = {"data": {"bridge": {"subnet": "10.99.8.0/24"}}}
            groups["lxd-host"]["groups"].append("br-more")
            groups["lxd-host"]["data"]["netplan"]["confirm_seconds"] = 8

        change(inventory, "groups.yaml", more)
        return inventory

    def test_a_failure_on_the_canary_leaves_the_others_as_they_are(
        self, demo: Demo, further: Path
    ) -> None:
        nowhere = {"gateways": {"demo": "192.168.56.99"}, "netplan": {"canary": True}}
        change(further, "hosts.yaml", lambda hosts: hosts[HOSTS[1]]["data"].update(nowhere))
        before = network(demo)
        report = demo.report("--phase", "bridges", inventory=further)
        assert report["exit"] == 1
        assert statuses(report)[HOSTS[1]] == "failed"
        assert "does not answer on br-demo: it was rolled back" in messages(report, HOSTS[1])
        assert statuses(report)[HOSTS[0]] == "skipped"
        after = f"its network was to be changed after {HOSTS[1]}, which failed"
        assert after in messages(report, HOSTS[0])
        assert {statuses(report)[name] for name in CONTAINERS} == {"skipped"}
        assert network(demo) == before

    def test_one_after_the_other(self, demo: Demo, further: Path) -> None:
        began = {}
        log = demo.state / "logs" / "provision.log"
        report = demo.report("--phase", "bridges", inventory=further)
        assert report["exit"] == 0, json.dumps(report)[:2000]
        for line in log.read_text().splitlines():
            for host in HOSTS:
                for stage in ("planned", "confirmed"):
                    if f"{host}: change of its network: {stage}" in line:
                        began[host, stage] = line[:23]
        assert began[HOSTS[0], "confirmed"] <= began[HOSTS[1], "planned"]
        report = demo.report("--phase", "bridges", "--prune")
        assert report["exit"] == 0
        for host in HOSTS:
            assert "br-more" not in demo.lab.exec(host, "ls /sys/class/net").stdout


@pytest.fixture(scope="class")
def pinned(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory with MACs; afterwards the containers have those of before, and networkd."""
    inventory = Demo.copy_inventory(tmp_path_factory.mktemp("pinned"))
    pin(inventory, 0)
    yield inventory
    demo.lab.exec(HOSTS[1], "lxc delete -f web-03 web-04", timeout=60)
    back = demo.report()
    assert back["exit"] == 0, back


def pin(inventory: Path, number: int) -> None:
    """Declare MACs with this number in them."""

    def macs(hosts: dict[str, Any]) -> None:
        for name, mac in MACS.items():
            hosts[name]["data"]["macs"] = {"demo": mac.format(number)}

    change(inventory, "hosts.yaml", macs)


def has(demo: Demo, name: str) -> list[str]:
    """The MAC of a container, and what address it has."""
    look = "cat /sys/class/net/if-demo/address; ip -o -4 address show dev if-demo"
    return [
        word for word in demo.inside(name, look).split() if word.startswith(("00:", "192.168.56.1"))
    ]


class TestAnotherMac:
    """Of running containers, whose NIC LXD plugs in anew for it."""

    def test_is_said_and_the_addresses_come_back_by_themselves(
        self, demo: Demo, pinned: Path
    ) -> None:
        """With networkd alone, and as cloud-init has set it up; made anew with it as well."""
        dry = demo.report("--dry-run", inventory=pinned)
        report = demo.report(inventory=pinned)
        assert report["exit"] == 0, [messages(report, name) for name in MACS]
        for name, mac in MACS.items():
            told = [phase(each, name, "containers")["steps"] for each in (dry, report)]
            assert told[0] == told[1]
            assert told[0][0]["detail"] == "device if-demo; if-demo is plugged in anew at once"
            assert "did not come back" not in messages(report, name)
            # over SSH, to the new MAC
            assert "lxc exec" not in messages(report, name)
            assert has(demo, name)[:2] == [mac.format(0), f"{ADDRESSES[name]}/24"]
        assert demo.report(inventory=pinned)["summary"]["changed"] == 0
        demo.lab.exec(HOSTS[1], "lxc delete -f web-04", timeout=60)
        anew = demo.report(inventory=pinned)
        assert anew["exit"] == 0, messages(anew, "web-04")
        wanted = [MACS["web-04"].format(0), f"{ADDRESSES['web-04']}/24"]
        assert has(demo, "web-04")[:2] == wanted

    def test_where_ifupdown_has_them_bootstrap_or_a_restart_brings_them_back(
        self, demo: Demo, pinned: Path
    ) -> None:
        name, address = "web-03", f"{ADDRESSES['web-03']}/24"
        demo.inside(name, "apt-get -q update && apt-get -q -y install ifupdown", timeout=120)
        demo.inside(
            name,
            "systemctl disable --now systemd-networkd.socket systemd-networkd.service; "
            "rm /etc/systemd/network/*; ip address flush dev if-demo",
        )
        assert demo.report("--limit", name, inventory=pinned)["exit"] == 0
        for number, options in ((3, ()), (4, ("--allow-restart", "--phase", "containers"))):
            pin(pinned, number)
            report = demo.report("--limit", name, *options, inventory=pinned)
            assert report["exit"] == 0, messages(report, name)
            said = phase(report, name, "containers")["message"]
            assert f"{address} on if-demo did not come back by itself after that" in said
            assert ("so it was restarted" in said) is bool(options)
            assert has(demo, name)[:2] == [MACS[name].format(number), address]
