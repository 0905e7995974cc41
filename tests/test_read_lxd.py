"""What ``read_host.sh`` finds of LXD where its package, its snap or both are there.

A folder stands for the machine, and stand-ins for its LXD: the real one of this project's lab is
newer than the oldest that is read.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.actual import LxdFacts
from tasks.facts.host_document import parse_facts
from tasks.onhost import script_of

#: The paths in the script that stand in the folder instead.
PLACES = re.compile(r"(?<!\w)/(var/lib/|var/snap/|snap/|usr/bin/lxd|run/nornir)")
OLD, NEW = "var/lib/lxd", "var/snap/lxd/common/lxd"
MOVE = "var/lib/nornir-lxd-fleet/move"
INSTANCES = "/1.0/instances?recursion=1&all-projects=true"
CONTAINERS = "/1.0/containers?recursion=1&all-projects=true"


class Machine:
    """A folder that stands for a machine, and what its LXD was asked."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        (self.root / "run").mkdir(parents=True)
        self.answers(f'*"{INSTANCES}") echo \'{{"metadata": [{{"name": "web-01"}}]}}\' ;;')

    def answers(self, cases: str, lxc: str = "") -> None:
        """Have LXD answer to some paths, and to all others with nothing."""
        self.program(
            lxc or "lxc",
            f"""echo "$4" >>{self.calls}
            case $* in
            {cases}
            *" /1.0") echo '{{"metadata": {{"environment": {{"server_version": "3.0.3"}}}}}}' ;;
            *) echo '{{"metadata": []}}' ;;
            esac""",
        )

    def program(self, name: str, script: str = "") -> None:
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def put(self, *files: str) -> None:
        for name in files:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o755)

    def package(self) -> None:
        self.put("var/lib/dpkg/info/lxd.list", "usr/bin/lxd", f"{OLD}/server.crt")
        self.put(f"{OLD}/database/global")

    def snap(self) -> None:
        self.put("snap/lxd/current", f"{NEW}/server.crt")
        self.answers("", lxc=f"{self.root}/snap/bin/lxc")

    def read(self) -> LxdFacts:
        script = PLACES.sub(f"{self.root}/\\1", script_of("read_host"))
        assert "\nPATH=" in script
        path = self.root / "read_host.sh"
        path.write_text(script.replace("\nPATH=", f"\nPATH={self.bin}:"))
        done = subprocess.run(["sh", path], capture_output=True, timeout=60, check=True)
        return parse_facts("here", done.stdout).lxd


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_lxd_of_ubuntu_18_04_is_asked_for_its_containers(machine: Machine) -> None:
    """It has no /1.0/instances, and says so in these words."""
    machine.package()
    machine.answers(
        f"""*"{INSTANCES}") echo 'Error: not found' >&2; exit 1 ;;
        *"{CONTAINERS}") echo '{{"metadata": [{{"name": "web-01", "status": "Running"}}]}}' ;;"""
    )
    lxd = machine.read()
    assert (lxd.package, lxd.running, lxd.problem, lxd.version) == ("deb", True, "", "3.0.3")
    assert list(lxd.instances) == ["web-01"]


def test_an_lxd_that_only_failed_to_answer_is_not_asked_for_less(machine: Machine) -> None:
    """Its containers are not all that it has: there are virtual machines too."""
    machine.package()
    machine.answers(f"""*"{INSTANCES}") echo 'Error: database is locked' >&2; exit 1 ;;""")
    lxd = machine.read()
    assert (lxd.running, lxd.problem) == (False, "database is locked")
    assert CONTAINERS not in machine.calls.read_text().splitlines()


def side_by_side(machine: Machine) -> None:
    machine.package()
    machine.snap()


def begun(machine: Machine) -> None:
    side_by_side(machine)
    machine.put(f"{MOVE}/before", f"{MOVE}/begun")


def gone_over(machine: Machine) -> None:
    side_by_side(machine)
    (machine.root / OLD / "database/global").unlink()
    (machine.root / OLD / "database").rmdir()
    machine.put(f"{NEW}/database.pre-migration/global")


def gone_over_in_a_move_of_ours(machine: Machine) -> None:
    gone_over(machine)
    machine.put(f"{MOVE}/begun")


def gone_over_and_seen_to_be_whole(machine: Machine) -> None:
    gone_over(machine)
    machine.put(f"{MOVE}/begun", f"{MOVE}/moved")


@pytest.mark.parametrize(
    ("prepare", "package", "move"),
    [
        (lambda _: None, None, ""),
        (Machine.package, "deb", ""),
        (Machine.snap, "snap", ""),
        (side_by_side, "deb", ""),
        (begun, "deb", "begun"),
        (gone_over, "snap", "moved"),
        (gone_over_in_a_move_of_ours, "snap", "begun"),
        (gone_over_and_seen_to_be_whole, "snap", "moved"),
    ],
)
def test_which_lxd_has_the_data_and_how_far_a_move_is(
    machine: Machine, prepare: Callable[[Machine], None], package: str | None, move: str
) -> None:
    prepare(machine)
    lxd = machine.read()
    assert (lxd.package, lxd.move) == (package, move)


@pytest.mark.parametrize("mounted", [True, False])
def test_a_folder_that_is_a_file_system_of_its_own(machine: Machine, mounted: bool) -> None:
    machine.package()
    machine.program("mountpoint", f'[ "$*" = "-q {machine.root}/{OLD}" ] && {str(mounted).lower()}')
    assert machine.read().mounted == mounted
