"""A provision killed at every boundary between its steps; the next run always finishes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.killed import IMAGE_STAGES, INSIDE_STAGES, STAGES
from tests.lab import Lab
from tests.ten import HOSTS, Ten, ten_on

pytestmark = pytest.mark.lab

#: One of each image, each on a host of its own.
PAIR = ("ten-01", "ten-07")
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


@pytest.fixture(scope="module")
def pair(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ten]:
    """The hosts as they are when all but images and containers is there."""
    for fleet in ten_on(lab, tmp_path_factory.mktemp("killed")):
        fleet.declare((), with_ssh=True)
        assert fleet.provision()["exit"] == 0
        fleet.declare(PAIR, with_ssh=True)
        yield fleet


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
    killed = subprocess.run(
        [sys.executable, "-m", "tests.killed", stage, container, "--inventory",
         str(pair.inventory)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    finished = pair.provision()
    assert finished["exit"] == 0, troubles(finished)
    again = pair.provision()
    assert (again["exit"], again["summary"]["ok"]) == (0, 4), again["hosts"]
    for host, name in zip(HOSTS, PAIR, strict=True):
        left = pair.left(host)
        assert {n: i["status"] for n, i in left.instances.items()} == {name: "Running"}
        assert not left.instances[name]["snapshots"]
        assert [len(image["aliases"]) for image in left.images] == [1]
        assert left.operations == []


def troubles(report: dict[str, Any]) -> dict[str, str]:
    """What the machines say that did not end well."""
    return {
        name: "; ".join(phase["message"] for phase in machine["phases"])
        for name, machine in report["hosts"].items()
        if machine["status"] not in ("ok", "changed")
    }
