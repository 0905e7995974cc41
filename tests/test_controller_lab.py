"""The management container: the demo fleet, managed from inside ``control``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.certificate import fingerprint_of
from tasks.intent.controller import COMPLETE, CURRENT, KEY, PROGRAM, SETTINGS, STATES
from tests.demo import CONTAINERS, HOSTS, Demo, change, messages, statuses
from tests.lab import CLIENT_KEY
from tests.wheels import make_wheels

pytestmark = pytest.mark.lab

MACHINES = (*HOSTS, *CONTAINERS)
FLEET = "/opt/nornir-lxd-fleet/current/venv/bin/fleet-"
INSIDE = f"{SETTINGS}/demo"
NAME = "nornir-lxd-fleet@control"


@dataclass
class Controlled:
    """The fleet, and the inventory that makes ``control`` a controller."""

    demo: Demo
    inventory: Path
    dry: dict[str, Any]
    first: dict[str, Any]

    def inside(self, *arguments: str, timeout: float = 300) -> tuple[int, str]:
        """``fleet-provision`` in the container: its exit status and what it printed."""
        words = " ".join(arguments)
        command = f'{FLEET}provision --inventory {INSIDE} {words} 2>&1; echo "exit $?"'
        said = self.demo.inside("control", command, timeout=timeout)
        text, _, status = said.rpartition("exit ")
        return int(status), text

    def reported_inside(self) -> dict[str, Any]:
        """The report of a provision in the container; it must end well."""
        status, said = self.inside("--json", "-")
        report: dict[str, Any] = json.loads(said)
        told = [
            messages(report, m) for m, s in statuses(report).items() if s not in ("ok", "changed")
        ]
        assert status == 0, told
        return report

    def trusted(self, host: str) -> dict[str, str]:
        """The names of the certificates that an LXD host trusts, by their fingerprints."""
        listed = json.loads(self.on(host, "lxc query /1.0/certificates?recursion=1"))
        return {entry["fingerprint"]: entry["name"] for entry in listed}

    def on(self, machine: str, script: str, timeout: float = 60) -> str:
        if machine in CONTAINERS:
            return self.demo.inside(machine, script, timeout=timeout)
        done = self.demo.lab.exec(machine, script, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def fleet(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    folder = tmp_path_factory.mktemp("controlled")
    inventory = Demo.copy_inventory(folder)
    wheels = make_wheels(folder / "wheels")
    controller = {"wheels": str(wheels), "maintain": "30 4 * * *", "jobs": ["upgrade", "health"]}
    change(
        inventory,
        "hosts.yaml",
        lambda hosts: hosts["control"]["data"].update(controller=controller),
    )
    dry = demo.report("--dry-run", inventory=inventory)
    yield Controlled(demo, inventory, dry, demo.report(inventory=inventory, timeout=400))
    back = demo.report("--prune")
    assert back["exit"] == 0, back


def test_one_run_makes_a_controller_and_lets_it_in_everywhere(fleet: Controlled) -> None:
    report = fleet.first
    assert report["exit"] == 0, {m: messages(report, m) for m in MACHINES}
    assert statuses(report) == dict.fromkeys(MACHINES, "changed")
    public = fleet.on("control", f"cat {KEY}.pub").split()[1]
    for machine in MACHINES:
        assert public in fleet.on(machine, "cat /root/.ssh/authorized_keys"), machine
    pem = fleet.on("control", f"cat {STATES}/demo/client.crt")
    for host in HOSTS:
        assert fleet.trusted(host)[fingerprint_of(pem)] == NAME


def test_the_dry_run_foresaw_it(fleet: Controlled) -> None:
    assert fleet.dry["exit"] == 3
    for machine in MACHINES:
        assert steps(fleet.dry, machine) == steps(fleet.first, machine)


@pytest.mark.once
def test_a_second_run_from_outside_changes_nothing(fleet: Controlled) -> None:
    report = fleet.demo.report(inventory=fleet.inventory)
    assert statuses(report) == dict.fromkeys(MACHINES, "ok"), messages(report, "control")
    assert report["hosts"]["control"]["exchanges"]["execs"] <= 2


def test_what_it_has_is_roots_alone_and_the_operators_key_is_not_among_it(
    fleet: Controlled,
) -> None:
    for path, mode in ((KEY, "600"), (f"{STATES}/demo/client.key", "600"), (SETTINGS, "700")):
        assert fleet.on("control", f"stat -c '%U %a' {path}").split() == ["root", mode]
    secret = CLIENT_KEY.read_text().splitlines()[3]  # those before it say what kind of key
    found = fleet.on(
        "control", f"grep -rlF -e {secret!r} /etc /root /opt /var/lib /home /tmp || true"
    )
    assert found == ""
    loose = f"find {SETTINGS}/files {STATES} -type f -perm /077"
    assert fleet.on("control", loose) == ""


def test_cron_maintains_from_inside(fleet: Controlled) -> None:
    entry = fleet.on("control", "cat /etc/cron.d/nornir-lxd-fleet-maintain-demo").splitlines()[-1]
    assert entry == (f"30 4 * * * root {FLEET}maintain --inventory {INSIDE} --quiet upgrade health")
    command = entry.partition("root ")[2]
    said = fleet.on("control", f"env -i PATH=/usr/bin:/bin HOME=/root {command} || :", timeout=300)
    assert said == ""


@pytest.mark.once
def test_a_provision_inside_finds_nothing_to_change(fleet: Controlled) -> None:
    assert fleet.inside("--dry-run", "--quiet") == (0, "")
    assert statuses(fleet.reported_inside()) == dict.fromkeys(MACHINES, "ok")
    assert fleet.inside("--quiet") == (0, "")


def test_one_file_changed_in_the_inventory_inside_reaches_every_container(
    fleet: Controlled,
) -> None:
    template = f"{INSIDE}/templates/motd.j2"
    fleet.on("control", f"echo 'Greetings from control, {{{{ name }}}}' >>{template}")
    assert statuses(fleet.reported_inside()) == dict.fromkeys(MACHINES, "changed")
    for machine in MACHINES:
        assert f"Greetings from control, {machine}\n" in fleet.on(machine, "cat /etc/motd")
    assert fleet.inside("--quiet") == (0, "")
    # from outside it is drift, shown as any other
    pending = fleet.demo.report("--dry-run", inventory=fleet.inventory)
    diffs = "".join(phase["diff"] for phase in pending["hosts"]["control"]["phases"])
    assert "-Greetings from control, {{ name }}" in diffs.splitlines()
    assert fleet.demo.report(inventory=fleet.inventory)["exit"] == 0
    assert "Greetings" not in fleet.on("control", f"cat {template}")
    assert fleet.inside("--quiet") == (0, "")


def test_a_machine_alone_lets_it_in_as_well(fleet: Controlled) -> None:
    """Also when nothing is remembered of the controller here."""
    (fleet.demo.state / "controllers" / "control").unlink()
    fleet.on("web-03", f"sed -i '/{NAME}/d' /root/.ssh/authorized_keys")
    report = fleet.demo.report("--limit", "web-03", inventory=fleet.inventory)
    assert statuses(report) == {HOSTS[1]: "ok", "web-03": "changed"}, report
    assert NAME in fleet.on("web-03", "cat /root/.ssh/authorized_keys")


def test_half_an_installation_is_finished(fleet: Controlled) -> None:
    """As a kill leaves it: the folder is there, and what says that it is whole is not."""
    fleet.on("control", f"rm {COMPLETE} {CURRENT}/venv/bin/python3 {KEY}.pub")
    report = fleet.demo.report("--limit", "control", inventory=fleet.inventory)
    assert (report["exit"], statuses(report)["control"]) == (0, "changed")
    assert "install nornir-lxd-fleet 0.1.0" in steps(report, "control")
    installed = fleet.on("control", f"ls {PROGRAM}").split()
    assert "current" in installed
    assert len(installed) == 2
    assert fleet.inside("--quiet") == (0, "")


def test_one_that_is_no_controller_any_more_is_told_and_pruned(fleet: Controlled) -> None:
    report = fleet.demo.report()
    assert statuses(report) == dict.fromkeys(MACHINES, "ok")
    for machine in MACHINES:
        assert "authorized key of control is let in" in messages(report, machine)
    pruned = fleet.demo.report("--prune")
    assert (pruned["exit"], statuses(pruned)) == (0, dict.fromkeys(MACHINES, "changed"))
    for machine in MACHINES:
        assert NAME not in fleet.on(machine, "cat /root/.ssh/authorized_keys")
    for host in HOSTS:
        assert NAME not in fleet.trusted(host).values()
    assert statuses(fleet.demo.report()) == dict.fromkeys(MACHINES, "ok")


def steps(report: dict[str, Any], machine: str) -> list[str]:
    """What was done on a machine, or would be."""
    phases = report["hosts"][machine]["phases"]
    return [f"{s['action']} {s['object']}" for phase in phases for s in phase["steps"]]
