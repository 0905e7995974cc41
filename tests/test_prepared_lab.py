"""Prepared images on the demo fleet: bootstrapped once, started from everywhere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.bootstrap.plan import plan_bootstrap
from tasks.facts.machine import read_machine
from tasks.images.prepared import BASE_NAME, PREPARED
from tasks.intent.model import Bootstrap
from tasks.machine.change import Clock, apply_calls
from tasks.machine.paths import RESOLV_CONF
from tasks.ownership import IMAGE_PROPERTY
from tasks.prepared.builder import _clean
from tasks.transport import instance_shell
from tests.demo import HOSTS, WEBS, Demo, change, messages, statuses
from tests.lab import Lab
from tests.machines import HOST, IMAGES, LabContainer, container_of, fleet_of, lab_container

pytestmark = pytest.mark.lab

#: What may not be the same on two machines.
IDENTITY = "cat /etc/machine-id /sys/class/net/if-demo/address; cut -d' ' -f2 /etc/ssh/*_key.pub"


def prepare(groups: dict[str, Any]) -> None:
    groups["lxd-host"]["data"]["images"]["minimal"]["prepare"] = True
    groups["lxd-host"]["data"]["images"]["cloud-init"]["prepare"] = {"days": 30}


def images(demo: Demo, host: str) -> dict[str, dict[str, Any]]:
    """The prepared images of a host by their alias."""
    listed = json.loads(demo.lab.exec(host, "lxc query /1.0/images?recursion=1").stdout)
    return {
        document["aliases"][0]["name"] if document["aliases"] else "": document
        for document in listed
        if PREPARED in document["properties"]
    }


def instances(demo: Demo, host: str) -> set[str]:
    listed = json.loads(demo.lab.exec(host, "lxc query /1.0/instances?recursion=1").stdout)
    return {document["name"] for document in listed}


def delete_webs(demo: Demo) -> None:
    for host, names in zip(HOSTS, ("web-01 web-02", "web-03 web-04"), strict=True):
        demo.lab.exec(host, f"lxc delete -f {names}", timeout=120)


def delete_images(demo: Demo, *made_from: str) -> None:
    for host in HOSTS:
        for document in images(demo, host).values():
            if document["properties"][BASE_NAME] in made_from:
                demo.lab.exec(host, f"lxc image delete {document['fingerprint']}", timeout=60)


@pytest.fixture(scope="module")
def prepared(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's inventory with prepared images; what they left behind is deleted after it."""
    inventory = Demo.copy_inventory(tmp_path_factory.mktemp("prepared"))
    change(inventory, "groups.yaml", prepare)
    yield inventory
    delete_images(demo, "minimal", "cloud-init")
    back = demo.report()
    assert back["exit"] == 0, back


def test_raised_from_prepared_images(demo: Demo, prepared: Path) -> None:
    delete_webs(demo)
    dry = demo.report("--dry-run", inventory=prepared)
    assert dry["exit"] == 3
    started = time.monotonic()
    report = demo.report(inventory=prepared, timeout=600)
    print(f"raised in {time.monotonic() - started:.0f} s, images prepared on the way")
    assert report["exit"] == 0, [messages(report, name) for name in (*HOSTS, *WEBS)]
    for host in HOSTS:
        told = [
            [(s["action"], s["object"]) for p in r["hosts"][host]["phases"] for s in p["steps"]]
            for r in (dry, report)
        ]
        assert told[0] == told[1]
        assert len([object_ for _, object_ in told[1] if "-prepared-" in object_]) == 2

    # one of each image and recipe for both hosts, made by one and copied by the other
    first, second = (images(demo, host) for host in HOSTS)
    assert {a: d["fingerprint"] for a, d in first.items()} == {
        a: d["fingerprint"] for a, d in second.items()
    }
    assert sorted(d["properties"][BASE_NAME] for d in first.values()) == ["cloud-init", "minimal"]
    assert {d["properties"][IMAGE_PROPERTY] for d in second.values()} == {HOSTS[1]}
    bases = {d["fingerprint"]: d["properties"][BASE_NAME] for d in first.values()}
    for host, names in zip(HOSTS, (WEBS[:2], WEBS[2:]), strict=True):
        for name in names:
            instance = json.loads(demo.lab.exec(host, f"lxc query /1.0/instances/{name}").stdout)
            wanted = "minimal" if name in ("web-01", "web-03") else "cloud-init"
            assert bases[instance["config"]["volatile.base_image"]] == wanted
        assert not [name for name in instances(demo, host) if name.startswith("prepare-")]

    identities = [line for name in WEBS for line in demo.inside(name, IDENTITY).splitlines()]
    assert len(identities) == len(set(identities)) >= 4 * len(WEBS), identities
    again = demo.report(inventory=prepared)
    assert (again["exit"], again["summary"]["changed"]) == (0, 0)
    assert {p["message"] for h in HOSTS for p in again["hosts"][h]["phases"]
            if p["phase"] == "images"} == {"as declared: minimal, cloud-init",
                                           "no image has to be prepared"}  # fmt: skip
    shown = demo.runbook("status", inventory=prepared)
    assert "-prepared-" not in shown.stdout


def test_with_the_images_there_containers_come_faster_and_are_as_declared(
    demo: Demo, prepared: Path
) -> None:
    delete_webs(demo)
    started = time.monotonic()
    report = demo.report(inventory=prepared)
    print(f"raised in {time.monotonic() - started:.0f} s from images that were there")
    assert report["exit"] == 0, [messages(report, name) for name in WEBS]
    assert [s for h in HOSTS for p in report["hosts"][h]["phases"] for s in p["steps"]] == []
    installed = [
        step["object"]
        for name in WEBS
        for phase in report["hosts"][name]["phases"]
        if phase["phase"] == "bootstrap"
        for step in phase["steps"]
    ]
    assert not [step for step in installed if "package" in step]


def test_killed_while_it_prepares_the_next_run_finishes(demo: Demo, prepared: Path) -> None:
    for host, name in zip(HOSTS, ("web-01", "web-03"), strict=True):
        demo.lab.exec(host, f"lxc delete -f {name}", timeout=60)
    delete_images(demo, "minimal")
    run = demo.start("provision", "--quiet", inventory=prepared)
    deadline = time.monotonic() + 60
    while not any(n.startswith("prepare-") for h in HOSTS for n in instances(demo, h)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(3)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    report = demo.report(inventory=prepared, timeout=600)
    assert report["exit"] == 0, [messages(report, name) for name in (*HOSTS, *WEBS)]
    for host in HOSTS:
        assert not [name for name in instances(demo, host) if name.startswith("prepare-")]
        assert "" not in images(demo, host)
    assert demo.report(inventory=prepared)["summary"]["changed"] == 0


def test_who_needs_none_that_is_missing_does_not_wait_until_it_is_prepared(
    demo: Demo, prepared: Path
) -> None:
    host = HOSTS[1]
    demo.lab.exec(host, "lxc delete -f web-03 web-04", timeout=60)
    delete_images(demo, "minimal")
    report = demo.report("--limit", host, "--limit", "web-*", inventory=prepared, timeout=600)
    assert report["exit"] == 0, [messages(report, name) for name in (host, *WEBS)]
    phases = report["hosts"][host]["phases"]
    assert [p["phase"] for p in phases if p["phase"] in ("images", "containers")] == [
        "images", "containers", "images", "containers",
    ]  # fmt: skip
    made = [d for d in images(demo, host).values() if d["properties"][BASE_NAME] == "minimal"]
    created = {
        name: json.loads(demo.lab.exec(host, f"lxc query /1.0/instances/{name}").stdout)
        for name in ("web-03", "web-04")
    }
    moments = [created["web-04"]["created_at"], made[0]["uploaded_at"]]
    assert [*moments, created["web-03"]["created_at"]] == sorted(
        [*moments, created["web-03"]["created_at"]]
    )
    assert created["web-03"]["config"]["volatile.base_image"] == made[0]["fingerprint"]
    for name in ("web-03", "web-04"):
        (entry,) = [p for p in report["hosts"][name]["phases"] if p["phase"] == "containers"]
        assert [step["action"] for step in entry["steps"]] == ["create", "start"]
    assert demo.report(inventory=prepared)["summary"]["changed"] == 0


def test_what_cannot_be_prepared_is_said_and_the_container_starts_from_the_image_itself(
    demo: Demo, prepared: Path
) -> None:
    demo.lab.exec(HOSTS[1], "lxc delete -f web-03", timeout=60)

    def another_recipe(hosts: dict[str, Any]) -> None:
        hosts["web-03"]["data"]["bootstrap"] = {
            "packages": ["python3", "openssh-server", "no-such-package"]
        }

    change(prepared, "hosts.yaml", another_recipe)
    report = demo.report(inventory=prepared)
    assert report["exit"] == 1
    assert statuses(report)[HOSTS[1]] == "ok"
    assert "is not prepared: " in messages(report, HOSTS[1])
    assert "no-such-package" in messages(report, HOSTS[1])
    assert "no-such-package" in messages(report, "web-03")
    assert {n: s for n, s in statuses(report).items() if n.startswith("web")} == {
        **dict.fromkeys(WEBS, "ok"), "web-03": "failed",
    }  # fmt: skip
    assert not [name for name in instances(demo, HOSTS[1]) if name.startswith("prepare-")]
    change(prepared, "hosts.yaml", lambda hosts: hosts["web-03"]["data"].pop("bootstrap"))
    assert demo.report(inventory=prepared)["exit"] == 0


@pytest.mark.parametrize(
    ("brought", "foreign", "ours"),
    [
        ("ln -s ../run/somewhere/resolv.conf {}", (), False),
        ("echo 'nameserver 192.168.56.1 # of the image' >{}", (RESOLV_CONF,), False),
        ("echo 'nameserver 192.168.56.1 # of the image' >{}", (), True),
        (":", (), True),
    ],
)
def test_what_the_image_resolves_with_is_as_the_image_had_it(
    cleaned: LabContainer, tmp_path: Path, brought: str, foreign: tuple[str, ...], *, ours: bool
) -> None:
    look = f"stat -c '%F %a %N' {RESOLV_CONF}; cat {RESOLV_CONF}; :"
    cleaned.inside(f"rm -f {RESOLV_CONF}; {brought.format(RESOLV_CONF)}")
    before = cleaned.inside(look)
    wanted = container_of(
        cleaned.name, "192.168.56.236", bootstrap=Bootstrap(packages=()), foreign=foreign
    )
    nr = fleet_of(tmp_path, wanted)
    shell = instance_shell(nr.inventory.hosts[HOST], cleaned.name)
    facts = read_machine(shell, wanted)
    apply_calls(shell, "bootstrap", plan_bootstrap(wanted, IMAGES["minimal"], facts), Clock(60))
    assert (cleaned.inside(look) != before) is ours
    _clean(shell, wanted, facts, Clock(60))
    nr.close_connections()
    assert cleaned.inside(look) == before
    assert cleaned.inside("ls /etc/systemd/network").split() == []


@pytest.fixture(scope="module")
def cleaned(lab: Lab) -> Iterator[LabContainer]:
    """A container of the minimal image that is cleaned as often as needed."""
    with lab_container(lab, "mach-clean") as container:
        container.launch()
        yield container
