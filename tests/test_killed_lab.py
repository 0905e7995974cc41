"""A provision killed at every boundary between its steps; the next run always finishes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.containers.remembered import waiting_for_restart
from tests.killed import (
    CHANGE_STAGES,
    DEPARTED_STAGES,
    HOST_STAGES,
    IMAGE_STAGES,
    INSIDE_STAGES,
    PREPARED_STAGES,
    STAGES,
)
from tests.lab import Lab
from tests.ten import HOSTS, Ten, ten_on

pytestmark = pytest.mark.lab

#: One of each image, each on a host of its own.
PAIR = ("ten-01", "ten-07")
#: Both of one image, which the one host makes and the other copies.
TWINS = ("ten-01", "ten-06")
#: Seconds, no longer than a loaded machine needs: the run after the killed one waits so long.
CONFIRM = 20
#: As it was before the containers were made, or their images.
UNMADE = """
export LXD_CONF=/run/unmade
lxc delete -f $(lxc list -f csv -c n) 2>/dev/null
"""
#: As it was before anything was done inside a container, and it runs.
BARE = """
systemctl stop ssh.service
rm -rf /root/.ssh /root/.hushlogin /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d/10-fleet.conf \\
    /etc/motd /etc/systemd/network/* /var/lib/nornir-lxd-fleet
userdel -r operator
[ -e /run/cloud-init ] || ip address flush dev if-demo
"""
WITHOUT_IMAGES = "lxc image delete $(lxc image list -f csv -c f) 2>/dev/null\n"
ONLY_MINIMAL = """
lxc image delete $(lxc image list -f csv -c lf | awk -F, '$1 != "minimal" { print $2 }') 2>/dev/null
"""


@pytest.fixture(scope="module")
def pair(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ten]:
    """The hosts as they are when all but images and containers is there."""
    for fleet in ten_on(lab, tmp_path_factory.mktemp("killed")):
        fleet.declare((), with_ssh=True)
        assert fleet.provision()["exit"] == 0
        fleet.declare(PAIR, with_ssh=True)
        yield fleet


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("stage", "container"),
    [(stage, PAIR[number % 2]) for number, stage in enumerate(STAGES)],
    ids=list(STAGES),
)
def test_the_next_run_finishes_and_leaves_nothing_behind(
    pair: Ten, stage: str, container: str
) -> None:
    with ThreadPoolExecutor() as pool:
        if stage in INSIDE_STAGES:
            list(pool.map(lambda name: pair.inside(name, BARE + "true"), PAIR))
        else:
            unmade = UNMADE + WITHOUT_IMAGES * (stage in IMAGE_STAGES) + "true"
            list(pool.map(lambda host: pair.sh(host, unmade), HOSTS))
    (pair.folder / "state" / "ten" / "known_hosts").unlink(missing_ok=True)
    die(pair, stage, container)
    finish(pair, PAIR)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", CHANGE_STAGES)
def test_killed_while_a_container_is_changed_the_next_run_finishes(pair: Ten, stage: str) -> None:
    pair.declare(PAIR, with_ssh=True)
    assert pair.provision("--allow-restart")["exit"] == 0
    nesting = {"config": {"security.nesting": "true"}}
    pair.declare(PAIR, with_ssh=True, containers={PAIR[0]: nesting})
    die(pair, stage, PAIR[0], "--allow-restart")
    finish(pair, PAIR, "--allow-restart")
    changed = pair.left(HOSTS[0]).instances[PAIR[0]]
    assert changed["config"]["security.nesting"] == "true"
    assert waiting_for_restart(changed) == ()


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", DEPARTED_STAGES)
def test_killed_while_a_container_departs_the_next_run_finishes(pair: Ten, stage: str) -> None:
    stays, goes = PAIR
    pair.sh(HOSTS[1], UNMADE + "true")
    pair.declare(PAIR, with_ssh=True)
    assert pair.provision()["exit"] == 0
    pair.declare((stays,), with_ssh=True)
    die(pair, stage, goes, "--prune", "--phase", "containers")
    finished = pair.provision("--prune", "--phase", "containers")
    assert finished["exit"] == 0, troubles(finished)
    left = pair.left(HOSTS[1])
    assert {name.rpartition("-")[0]: i["status"] for name, i in left.instances.items()} == {
        f"{goes}-pruned": "Stopped"
    }
    assert left.operations == []
    assert pair.provision("--prune", "--phase", "containers")["summary"]["changed"] == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", PREPARED_STAGES)
def test_killed_while_an_image_is_prepared_the_next_run_finishes(pair: Ten, stage: str) -> None:
    minimal = {"minimal": {**pair.image_files("minimal", with_ssh=True), "prepare": True}}
    pair.declare(TWINS, with_ssh=True, images=dict.fromkeys(HOSTS, minimal))
    for host in HOSTS:
        pair.sh(host, UNMADE + ONLY_MINIMAL + "true")
    die(pair, stage, HOSTS[0])
    finish(pair, TWINS, prepared=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", HOST_STAGES)
def test_killed_while_a_bare_host_is_set_up_the_next_run_finishes(pair: Ten, stage: str) -> None:
    for host in HOSTS:
        pair.lab.reset(host)
    shutil.rmtree(pair.folder / "state")
    pair.declare(PAIR, with_ssh=True, confirm=CONFIRM)
    die(pair, stage, HOSTS[0])
    finish(pair, PAIR)
    for host in HOSTS:
        assert pair.sh(host, "ls /run/netplan") == ""
        trusted = pair.sh(host, "lxc config trust list -f csv | sort").splitlines()
        assert len(trusted) == len({line.split(",")[1] for line in trusted}) == 1 + len(HOSTS)
        assert pair.sh(host, "lxc profile list -f csv | cut -d, -f1").split() == ["default", "web"]


def die(fleet: Ten, stage: str, machine: str, *arguments: str) -> None:
    """A provision that SIGKILL ends at a stage."""
    killed = subprocess.run(
        [sys.executable, "-m", "tests.killed", stage, machine, "--inventory",
         str(fleet.inventory), *arguments],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr


def finish(fleet: Ten, names: tuple[str, str], *arguments: str, prepared: bool = False) -> None:
    """The next run does the rest, the one after it nothing, and nothing else is there."""
    finished = fleet.provision(*arguments)
    assert finished["exit"] == 0, troubles(finished)
    again = fleet.provision()
    assert (again["exit"], again["summary"]["ok"]) == (0, 4), again["hosts"]
    for host, name in zip(HOSTS, names, strict=True):
        left = fleet.left(host)
        assert {n: i["status"] for n, i in left.instances.items()} == {name: "Running"}
        assert not left.instances[name]["snapshots"]
        aliases = {image["fingerprint"]: image["aliases"] for image in left.images}
        assert [len(found) for found in aliases.values()] == [1] * (1 + prepared)
        base = left.instances[name]["config"]["volatile.base_image"]
        assert ("-prepared-" in aliases[base][0]["name"]) == prepared
        assert left.operations == []


def troubles(report: dict[str, Any]) -> dict[str, str]:
    """What the machines say that did not end well."""
    return {
        name: "; ".join(phase["message"] for phase in machine["phases"])
        for name, machine in report["hosts"].items()
        if machine["status"] not in ("ok", "changed")
    }
