"""Changes of the network on the whole demo fleet: another address, one host after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo import CONTAINERS, HOSTS, Demo, change, messages, statuses

pytestmark = pytest.mark.lab

NEW = "192.168.56.159"


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
