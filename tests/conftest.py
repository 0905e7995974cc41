"""The lab for the tests that need real hosts, and the demo fleet provisioned on it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo import Demo
from tests.lab import HOST_NAMES, Lab, why_not
from tests.lab_files import write_lab_files
from tests.object_fleet import ObjectFleet, lab_objects
from tests.sshd import Sshd

pytest_plugins = ["tests.side_by_side", "tests.second_try"]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two real LXD hosts, up; taken down again if this session brought them up."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    machines = Lab()
    was_up = all(machines.is_up(name) for name in HOST_NAMES[:2])
    if not was_up:
        # What a run that was cut short left on the disks of its hosts may keep them from booting.
        machines.down()
    try:
        machines.up(hosts=2)
        yield machines
    finally:
        if not was_up:
            machines.down()


@pytest.fixture(scope="session")
def demo(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo fleet, raised from nothing by the runbook, after a dry run on bare hosts."""
    fleet = Demo(lab, tmp_path_factory.mktemp("state"))
    fleet.raise_from_nothing()
    return fleet


@pytest.fixture(scope="module")
def lab_hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectFleet]:
    """Two lab hosts for LXD's objects; a module's, since other modules may reset the lab."""
    yield from lab_objects(lab, tmp_path_factory.mktemp("objects"))


@pytest.fixture
def objects(lab_hosts: ObjectFleet) -> ObjectFleet:
    """The same without any object of these tests."""
    lab_hosts.clean()
    return lab_hosts


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd of this machine, on a port of its own."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A copy of the demo inventory to spoil."""
    return Demo.copy_inventory(tmp_path)


@pytest.fixture
def lab_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a lab that is not there, in another home folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return write_lab_files(home)
