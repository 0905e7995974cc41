"""``python runbooks/maintain.py`` on the whole demo fleet, LXD hosts included."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.demo import CONTAINERS, HOSTS, Demo
from tests.packages import package

pytestmark = pytest.mark.lab

MACHINES = (*HOSTS, *CONTAINERS)
KEEP = "cp -a /etc/apt /root/apt.kept"
RESTORE = """
apt-get -q -y purge fleet-tool; rm -r /etc/apt /srv/rep; mv /root/apt.kept /etc/apt
apt-get -q update
"""


def on(demo: Demo, name: str, script: str) -> str:
    """What a script prints on an LXD host or in a container."""
    if name in CONTAINERS:
        return demo.inside(name, script)
    done = demo.lab.exec(name, script, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packaged(demo: Demo) -> Iterator[Demo]:
    """The fleet with fleet-tool 1.0 on each machine, from a source that has nothing else."""
    install = "apt-get -q update && apt-get -q -y install fleet-tool && apt-get -q -y autoremove"
    for name in MACHINES:
        on(demo, name, f"{KEEP}\n{package('fleet-tool', '1.0')}\n{install}")
    yield demo
    for name in MACHINES:
        on(demo, name, RESTORE)


def maintain(demo: Demo, *arguments: str) -> subprocess.CompletedProcess[str]:
    return demo.runbook("maintain", *arguments)


@pytest.mark.once
def test_with_nothing_to_upgrade_it_is_silent(packaged: Demo) -> None:
    done = maintain(packaged, "upgrade", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_dry_run_foresees_an_upgrade_and_makes_none(packaged: Demo) -> None:
    for name in MACHINES:
        on(packaged, name, package("fleet-tool", "2.0") + "\napt-get -q update")
    done = maintain(packaged, "upgrade", "--dry-run", "--json", "-")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["summary"]["changed"] == len(MACHINES)
    assert {version(packaged, name) for name in MACHINES} == {"1.0"}


def test_a_new_version_is_upgraded_everywhere_and_told(packaged: Demo) -> None:
    done = maintain(packaged, "upgrade", "--quiet", "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["changed"] == len(MACHINES)
    for name in MACHINES:
        upgrades = [p for p in report["hosts"][name]["phases"] if p["phase"] == "upgrade"]
        assert [step["detail"] for p in upgrades for step in p["steps"]] == ["1.0 -> 2.0"], name
        assert version(packaged, name) == "2.0"


def test_cron_hears_of_an_upgrade_once(packaged: Demo) -> None:
    for name in MACHINES:
        on(packaged, name, package("fleet-tool", "3.0"))
    told = maintain(packaged, "upgrade", "--quiet")
    assert told.returncode == 0, told.stderr
    for name in MACHINES:
        assert name in told.stdout
    again = maintain(packaged, "upgrade", "--quiet")
    assert (again.returncode, again.stdout) == (0, "")


def version(demo: Demo, name: str) -> str:
    return on(demo, name, "dpkg-query -W -f '${Version}' fleet-tool")
