"""``migrate_lxd.sh`` with stand-ins for all that it calls, in every state that it can be begun in.

A real LXD is moved on the lab, in test_lxd_move_lab.py.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.onhost import script_of

CHANNEL = "5.0/stable"
INSTALL = f"snap install lxd --channel={CHANNEL}"
MIGRATE = "lxd.migrate -yes LXD_PREINST=1"
PURGE = "apt-get -q -y -o DPkg::Lock::Timeout=300 purge lxd lxd-client"
#: The paths in the script that stand in the folder instead.
PLACES = re.compile(r"(?<!\w)/(var/lib/|var/snap/|snap/|usr/bin/lx[cd])")


class Machine:
    """A folder that stands for a machine with the Debian package of LXD and one container."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.bin = folder / "bin"
        self.old = self.root / "var/lib/lxd"
        self.new = self.root / "var/snap/lxd/common/lxd"
        self.state = self.root / "var/lib/nornir-lxd-fleet/move"
        self.calls = folder / "calls"
        for path in (self.bin, self.old / "database", self.state, self.root / "snap/bin"):
            path.mkdir(parents=True)
        self.calls.touch()
        (self.root / "var/lib/dpkg/info").mkdir(parents=True)
        (self.root / "var/lib/dpkg/info/lxd.list").touch()
        self.program("systemctl")
        self.program("apt-get", '[ "$1" != -s ] || echo "Purg lxd [1]"')
        self.program("snap", f'[ "$1" != install ] || mkdir -p {self.root}/snap/lxd/current')
        self.program("runuser")
        for lxc in (self.root / "usr/bin/lxc", self.root / "snap/bin/lxc"):
            self.program(lxc, "printf 'web-01\\n'", record=False)
        for lxd in (self.root / "usr/bin/lxd", self.root / "snap/bin/lxd"):
            self.program(lxd, record=False)
        self.program(self.root / "snap/bin/lxd.migrate")
        self.program(
            "lxd.migrate",
            f"""mkdir -p {self.new.parent} && mv {self.old} {self.new} &&
            mkdir {self.new}/database.pre-migration && echo '=> Starting the destination LXD'""",
            shown="LXD_PREINST=$LXD_PREINST",
        )

    def program(
        self, name: str | Path, script: str = "", *, record: bool = True, shown: str = ""
    ) -> None:
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(filter(None, (path.name, "$*", shown)))
        line = f'echo "{words}" >>{self.calls}\n' if record else ""
        path.write_text(f"#!/bin/sh\n{line}{script}\n")
        path.chmod(0o755)

    def run(self) -> tuple[int, str]:
        """The exit status, and what the log says last."""
        script, count = PLACES.subn(f"{self.root}/\\1", script_of("migrate_lxd"))
        assert count > 10
        script = script.replace("\nPATH=", f"\nPATH={self.bin}:")
        path = self.state / "mover"
        path.write_text(script)
        done = subprocess.run(
            ["sh", path, CHANNEL, "root"], capture_output=True, text=True, timeout=30, check=False
        )
        assert (self.state / "status").read_text() == f"{done.returncode}\n"
        lines = (self.state / "log").read_text().splitlines()
        return done.returncode, lines[-1] if lines else ""

    def called(self, *names: str) -> list[str]:
        """What was called of these programs, simulations left out."""
        lines = self.calls.read_text().splitlines()
        return [line for line in lines if line.split()[0] in names and " -s " not in line]

    @property
    def deeds(self) -> list[str]:
        return self.called("snap", "lxd.migrate", "apt-get")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_whole_way(machine: Machine) -> None:
    assert machine.run()[0] == 0
    assert machine.deeds == ["snap refresh", INSTALL, MIGRATE, PURGE]
    assert (machine.new / "database").is_dir()


def test_it_is_over_where_the_package_is_gone(machine: Machine) -> None:
    (machine.root / "var/lib/dpkg/info/lxd.list").unlink()
    assert machine.run()[0] == 0
    assert machine.deeds == []


def has_snap(machine: Machine) -> None:
    (machine.root / "snap/lxd/current").mkdir(parents=True)


def has_moved(machine: Machine) -> None:
    has_snap(machine)
    machine.new.parent.mkdir(parents=True)
    machine.old.rename(machine.new)
    (machine.new / "database.pre-migration").mkdir()


def begun_and_moved(machine: Machine, said: str) -> None:
    has_moved(machine)
    (machine.state / "before").write_text("web-01\n")
    (machine.state / "begun").touch()
    (machine.state / "log").write_text(said)


def known_to_be_moved(machine: Machine) -> None:
    has_moved(machine)
    (machine.state / "moved").touch()


def moved_with_a_new_database_since(machine: Machine) -> None:
    has_moved(machine)
    (machine.old / "database").mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "deeds"),
    [
        (has_snap, [MIGRATE, PURGE]),
        (lambda m: begun_and_moved(m, "=> Starting the destination LXD\n"), [PURGE]),
        (lambda m: begun_and_moved(m, "=> Moving the data\n"), [PURGE]),
        (known_to_be_moved, [PURGE]),
        (has_moved, [PURGE]),
        (moved_with_a_new_database_since, [PURGE]),
    ],
    ids=[
        "snap there",
        "killed after the move",
        "killed in the move",
        "only to purge",
        "by hand",
        "by hand, rebooted",
    ],
)
def test_it_goes_on_where_it_was(
    machine: Machine, prepare: Callable[[Machine], None], deeds: list[str]
) -> None:
    prepare(machine)
    assert machine.run()[0] == 0
    assert machine.deeds == deeds
    assert not machine.old.exists()  # purging would remove what is in it
    aside = list(machine.state.parent.glob("lxd-package.*/database"))
    assert len(aside) == (prepare is moved_with_a_new_database_since)


def test_the_paths_of_what_was_moved_are_mended(machine: Machine) -> None:
    begun_and_moved(machine, "=> Moving the data\n")
    links: dict[str, tuple[Path | str, Path | str]] = {
        "containers/web-01": (machine.old / "containers/x", machine.new / "containers/x"),
        "containers/done": (machine.new / "containers/x", machine.new / "containers/x"),
        "storage-pools/far": ("/srv/lxd", f"{machine.root}/var/lib/snapd/hostfs/srv/lxd"),
        "storage-pools/disk": ("/dev/sdb", "/dev/sdb"),
    }
    for name, (target, _) in links.items():
        (machine.new / name).parent.mkdir(exist_ok=True)
        (machine.new / name).symlink_to(target)
    assert machine.run()[0] == 0
    assert {name: str((machine.new / name).readlink()) for name in links} == {
        name: str(target) for name, (_, target) in links.items()
    }
    sources = sqlite3.connect(":memory:")
    sources.execute("CREATE TABLE storage_pools_config (key TEXT, value TEXT)")
    rows = {
        f"{machine.old}/storage-pools/default": f"{machine.new}/storage-pools/default",
        f"{machine.new}/disks/loop.img": f"{machine.new}/disks/loop.img",
        "/srv/lxd": f"{machine.root}/var/lib/snapd/hostfs/srv/lxd",
        "/dev/sdb": "/dev/sdb",
        "vg0": "vg0",
    }
    sources.executemany("INSERT INTO storage_pools_config VALUES ('source', ?)", zip(rows))
    patch = (machine.new / "database/patch.global.sql").read_text()
    for _ in range(2):
        sources.executescript(patch)
        found = sources.execute("SELECT value FROM storage_pools_config ORDER BY rowid").fetchall()
        assert [value for (value,) in found] == list(rows.values())


def test_the_client_of_a_user_comes_along(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".config/lxc").mkdir(parents=True)
    (home / ".config/lxc/config.yml").write_text("remotes: {}\n")
    machine.program("getent", f"echo root:x:0:0::{home}:/bin/sh")
    machine.program("runuser", 'shift 3; "$@"')
    machine.run()
    assert (home / "snap/lxd/common/config/config.yml").read_text() == "remotes: {}\n"
    assert (home / ".config/lxc/config.yml").exists()


def others_depend_on_it(machine: Machine) -> None:
    machine.program("apt-get", 'echo "Remv nova-lxd [1]"; echo "Purg lxd [1]"')


def no_migrate_in_the_snap(machine: Machine) -> None:
    (machine.root / "snap/bin/lxd.migrate").unlink()


def an_instance_is_missing(machine: Machine) -> None:
    machine.program(machine.root / "snap/bin/lxc", "echo web-02", record=False)


def torn_with_zfs(machine: Machine) -> None:
    begun_and_moved(machine, "=> Moving the data\n")
    (machine.state / "zfs").touch()


def half_copied(machine: Machine) -> None:
    begun_and_moved(machine, "=> Moving the data\n")
    (machine.old / "database").mkdir(parents=True)


def instances_in_both(machine: Machine) -> None:
    moved_with_a_new_database_since(machine)
    (machine.old / "containers/new").mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "deeds", "said"),
    [
        (
            others_depend_on_it,
            [],
            "purging lxd would remove others too: nova-lxd; remove them first",
        ),
        (
            no_migrate_in_the_snap,
            ["snap refresh", INSTALL],
            f"the snap of {CHANNEL} has no lxd.migrate",
        ),
        (
            an_instance_is_missing,
            ["snap refresh", INSTALL, MIGRATE],
            "the snap's LXD does not have: web-01; the Debian package stays",
        ),
        (torn_with_zfs, [], "lxd.migrate was ended before it set the mountpoints of the zfs pools"),
        (half_copied, [], "lxd.migrate was ended while it copied"),
        (instances_in_both, [], "there are instances in"),
    ],
)
def test_it_stops_before_anything_could_be_lost(
    machine: Machine, prepare: Callable[[Machine], None], deeds: list[str], said: str
) -> None:
    prepare(machine)
    status, last = machine.run()
    assert status == 1
    assert last.startswith(said)
    assert machine.deeds == deeds


@pytest.mark.parametrize("program", ["snap", "lxd.migrate", "apt-get"])
def test_a_program_that_fails_ends_it(machine: Machine, program: str) -> None:
    machine.program(program, '[ "$1" = -s ] || { echo no network; exit 7; }')
    status, last = machine.run()
    assert status == 1
    assert "fail" in last or "could not" in last
    assert machine.deeds[-1].startswith(program)
