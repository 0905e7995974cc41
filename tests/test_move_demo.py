"""A container of the demo fleet, moved to the other host and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.demo import HOSTS, Demo, change, messages, statuses

pytestmark = pytest.mark.lab


def test_on_the_demo_fleet_with_its_address_and_proven(demo: Demo, inventory: Path) -> None:
    change(inventory, "hosts.yaml", lambda hosts: hosts["web-01"]["data"].update(on=HOSTS[1]))
    unknown = demo.runbook("provision", "--move", "web-1", inventory=inventory)
    assert (unknown.returncode, "did you mean web-01" in unknown.stderr) == (2, True)
    before = demo.inside("web-01", "cat /etc/machine-id /sys/class/net/if-demo/address")
    report = demo.report("--move", "web-01", inventory=inventory)
    assert report["exit"] == 0, messages(report, "web-01")
    assert statuses(report)["web-01"] == "changed"
    assert [p["phase"] for p in report["hosts"]["web-01"]["phases"]][-1] == "prove"
    moved = demo.lab.exec(
        HOSTS[1],
        "lxc exec web-01 -- cat /etc/machine-id /sys/class/net/if-demo/address",
        timeout=60,
    )
    assert moved.stdout == before
    assert demo.report(inventory=inventory)["summary"]["changed"] == 0
    back = demo.report("--move", "web-01")
    assert back["exit"] == 0, messages(back, "web-01")
    for host in HOSTS:
        listed = json.loads(demo.lab.exec(host, "lxc query /1.0/instances?recursion=1").stdout)
        for name in (document["name"] for document in listed):
            if "-moved-" in name:
                demo.lab.exec(host, f"lxc delete {name}", timeout=60)
    assert demo.report()["summary"]["changed"] == 0
