"""Reboots of the demo fleet: of those that need one, and of a host that stays away too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.demo import HOSTS, WEBS, Demo, change, messages, statuses

pytestmark = pytest.mark.lab

NEEDED = "touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def maintain(demo: Demo, inventory: Path, *arguments: str) -> dict[str, Any]:
    done = demo.runbook("maintain", *arguments, "--json", "-", inventory=inventory)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode}


def boots(demo: Demo) -> dict[str, str]:
    hosts = {host: demo.lab.exec(host, BOOT_ID).stdout for host in HOSTS}
    return {**hosts, **{web: demo.inside(web, BOOT_ID) for web in WEBS}}


def test_only_those_that_need_it_and_with_a_new_boot_id(demo: Demo, inventory: Path) -> None:
    before = boots(demo)
    demo.inside("web-01", NEEDED)
    demo.lab.exec(HOSTS[1], NEEDED)
    dry = maintain(demo, inventory, "reboot", "--dry-run")
    assert dry["exit"] == 3
    assert {n for n, s in statuses(dry).items() if s == "changed"} == {"web-01", HOSTS[1]}
    assert boots(demo) == before

    report = maintain(demo, inventory, "reboot")
    assert report["exit"] == 0, [messages(report, name) for name in report["hosts"]]
    assert {n for n, s in statuses(report).items() if s == "changed"} == {"web-01", HOSTS[1]}
    after = boots(demo)  # what ran on the host runs again
    anew = {"web-01", HOSTS[1], "web-03", "web-04"}
    assert {name for name in before if after[name] != before[name]} == anew
    quiet = demo.runbook("maintain", "reboot", "--quiet", inventory=inventory)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert demo.report()["summary"]["changed"] == 0


def test_a_host_that_stays_away_fails_in_time_and_the_others_go_on(
    demo: Demo, inventory: Path
) -> None:
    def hurry(hosts: dict[str, Any]) -> None:
        hosts[HOSTS[1]]["data"]["maintenance"] = {"deadline": 1}

    change(inventory, "hosts.yaml", hurry)
    demo.inside("web-01", NEEDED)
    demo.lab.exec(HOSTS[1], NEEDED)
    before = boots(demo)
    (pid,) = (host.pid for host in demo.lab.status() if host.name == HOSTS[1])
    report = maintain(demo, inventory, "reboot")
    demo.lab.wait_ready(HOSTS[1], after=pid)
    assert report["exit"] == 1
    assert "it does not answer 1 s after it was told to reboot" in messages(report, HOSTS[1])
    assert statuses(report)["web-01"] == "changed"
    assert boots(demo)["web-01"] != before["web-01"]
    assert demo.report()["exit"] == 0
