"""``migrate_lxd.sh`` and ``move_lxd.sh`` with stand-ins for all that they call, in every state that
they can be begun in.

A real LXD is moved on the lab, in test_lxd_move_lab.py.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import time
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
#: What lxd.migrate says on its way, up to the point of that name.
POINTS = (
    "Connecting to source server",
    "Moving the data",
    "Updating the storage backends",
    "Starting the destination LXD",
)


def said_until(point: str) -> str:
    return "".join(f"=> {said}\n" for said in POINTS[: POINTS.index(point) + 1])


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
            mkdir {self.new}/database.pre-migration && printf '{said_until(POINTS[-1])}'""",
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

    def script(self, name: str) -> str:
        """A script's text, with the folder for the machine."""
        script, count = PLACES.subn(f"{self.root}/\\1", script_of(name))
        assert count
        assert "\nPATH=" in script
        return script.replace("\nPATH=", f"\nPATH={self.bin}:")

    def run(self, *, migrate_seconds: int = 86400) -> tuple[int, str]:
        """The exit status, and what the log says last."""
        script = self.script("migrate_lxd")
        assert "migrate_seconds=86400" in script
        path = self.state / "mover"
        path.write_text(script.replace("_seconds=86400", f"_seconds={migrate_seconds}"))
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


def begun_and_moved(machine: Machine, point: str) -> None:
    has_moved(machine)
    (machine.state / "before").write_text("web-01\n")
    (machine.state / "begun").touch()
    (machine.state / "log").write_text(said_until(point))


def killed_and_woken(machine: Machine, point: str) -> None:
    """Killed there, then somebody's lxc has woken the old LXD, which has made a new database."""
    begun_and_moved(machine, point)
    (machine.old / "database").mkdir(parents=True)


def known_to_be_moved(machine: Machine) -> None:
    has_moved(machine)
    (machine.state / "moved").touch()


def moved_with_a_new_database_since(machine: Machine) -> None:
    has_moved(machine)
    (machine.old / "database").mkdir(parents=True)


def moved_from_a_file_system_of_its_own(machine: Machine) -> None:
    has_moved(machine)
    machine.old.mkdir()
    machine.program("mountpoint")


@pytest.mark.parametrize(
    ("prepare", "deeds", "aside"),
    [
        (has_snap, [MIGRATE, PURGE], 0),
        (lambda m: begun_and_moved(m, "Starting the destination LXD"), [PURGE], 0),
        (lambda m: begun_and_moved(m, "Moving the data"), [PURGE], 0),
        (lambda m: killed_and_woken(m, "Starting the destination LXD"), [PURGE], 1),
        (lambda m: killed_and_woken(m, "Updating the storage backends"), [PURGE], 1),
        (known_to_be_moved, [PURGE], 0),
        (has_moved, [PURGE], 0),
        (moved_with_a_new_database_since, [PURGE], 1),
        (moved_from_a_file_system_of_its_own, [PURGE], 0),
    ],
    ids=[
        "snap there",
        "killed after the move",
        "killed in the move",
        "killed after the move, old one woken",
        "killed before the paths, old one woken",
        "only to purge",
        "by hand",
        "by hand, rebooted",
        "by hand from a file system",
    ],
)
def test_it_goes_on_where_it_was(
    machine: Machine, prepare: Callable[[Machine], None], deeds: list[str], aside: int
) -> None:
    prepare(machine)
    assert machine.run()[0] == 0
    assert machine.deeds == deeds
    assert not (machine.old / "database").exists()  # purging would remove what is in it
    assert len(list(machine.state.parent.glob("lxd-package.*/database"))) == aside


def test_the_paths_of_what_was_moved_are_mended(machine: Machine) -> None:
    begun_and_moved(machine, "Moving the data")
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


@pytest.mark.parametrize("cut", range(5))
def test_a_client_whose_copy_was_cut_short_comes_along_whole(
    machine: Machine, tmp_path: Path, cut: int
) -> None:
    home = tmp_path / "home"
    old, new = home / ".config/lxc", home / "snap/lxd/common/config"
    (old / "servercerts").mkdir(parents=True)
    for name in ("client.crt", "client.key", "config.yml", "servercerts/web.crt"):
        (old / name).write_text(f"{name}\n")
    machine.program("getent", f"echo root:x:0:0::{home}:/bin/sh")
    machine.program("runuser", 'shift 3; "$@"')
    counted = f'echo >>{tmp_path}/copies; [ "$(wc -l <{tmp_path}/copies)" -le {cut} ] || exit 1'
    machine.program("cp", f'{counted}\nPATH=/bin:/usr/bin exec cp "$@"')
    assert machine.run()[0] == (0 if cut == 4 else 1)
    machine.program("cp", 'PATH=/bin:/usr/bin exec cp "$@"')
    (machine.root / "var/lib/dpkg/info/lxd.list").touch()
    assert machine.run()[0] == 0
    files = {str(file.relative_to(new)): file.read_text() for file in new.rglob("*.*")}
    assert files == {
        str(file.relative_to(old)): file.read_text() for file in old.rglob("*.*") if file.is_file()
    }


def test_what_was_there_is_looked_up_anew_at_each_try(machine: Machine) -> None:
    """Deleted in between, a container is not missed, and an added one is."""
    lxc, moves = machine.root / "usr/bin/lxc", (machine.bin / "lxd.migrate").read_text()
    pools = 'echo "default,zfs"'
    machine.program(lxc, f'[ "$1" = storage ] && {pools} && exit; echo web-03', record=False)
    machine.program("lxd.migrate", "exit 1")
    assert machine.run() == (1, "lxd.migrate failed")
    assert (machine.state / "before").read_text() == "web-03\n"
    assert (machine.state / "zfs").exists()
    machine.program(lxc, '[ "$1" = storage ] || echo web-01', record=False)
    (machine.bin / "lxd.migrate").write_text(moves)
    assert machine.run()[0] == 0
    assert (machine.state / "before").read_text() == "web-01\n"
    assert not (machine.state / "zfs").exists()


def test_an_lxd_migrate_that_hangs_is_ended(machine: Machine) -> None:
    machine.program("lxd.migrate", "exec sleep 20")
    assert machine.run(migrate_seconds=1) == (
        1,
        "lxd.migrate was killed, or not done within 1 s",
    )


def others_depend_on_it(machine: Machine) -> None:
    machine.program("apt-get", 'echo "Remv nova-lxd [1]"; echo "Purg lxd [1]"')


def no_migrate_in_the_snap(machine: Machine) -> None:
    (machine.root / "snap/bin/lxd.migrate").unlink()


def an_instance_is_missing(machine: Machine) -> None:
    machine.program(machine.root / "snap/bin/lxc", "echo web-02", record=False)


def on_a_file_system_of_its_own(machine: Machine) -> None:
    machine.program("mountpoint")


def torn_with_zfs(machine: Machine) -> None:
    begun_and_moved(machine, "Moving the data")
    (machine.state / "zfs").touch()


def half_copied(machine: Machine) -> None:
    killed_and_woken(machine, "Moving the data")


def half_copied_at_the_second_try(machine: Machine) -> None:
    half_copied(machine)
    log = machine.state / "log"
    log.write_text(said_until("Starting the destination LXD") + log.read_text())


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
        (
            on_a_file_system_of_its_own,
            [],
            "{old} is a file system of its own: move LXD by hand (snap install lxd "
            f"--channel={CHANNEL}; lxd.migrate), have /etc/fstab mount it at {{new}}",
        ),
        (torn_with_zfs, [], "lxd.migrate was ended before it set the mountpoints of the zfs pools"),
        (half_copied, [], "lxd.migrate was ended while it copied"),
        (half_copied_at_the_second_try, [], "lxd.migrate was ended while it copied"),
        (instances_in_both, [], "there are instances in"),
    ],
)
def test_it_stops_before_anything_could_be_lost(
    machine: Machine, prepare: Callable[[Machine], None], deeds: list[str], said: str
) -> None:
    prepare(machine)
    status, last = machine.run()
    assert status == 1
    assert last.startswith(said.format(old=machine.old, new=machine.new))
    assert machine.deeds == deeds


def test_what_is_advised_for_a_move_that_was_torn_with_zfs_ends_it(machine: Machine) -> None:
    torn_with_zfs(machine)
    status, last = machine.run()
    advice = re.fullmatch(r".*, then remove (\S+) and run again", last)
    assert status == 1
    assert advice
    Path(advice[1]).unlink()
    machine.program(machine.root / "snap/bin/lxc", "echo web-02", record=False)
    assert "the snap's LXD does not have: web-01" in machine.run()[1]
    machine.program(machine.root / "snap/bin/lxc", "echo web-01", record=False)
    assert machine.run()[0] == 0
    assert machine.deeds == [PURGE]
    assert (machine.new / "database/patch.global.sql").exists()


@pytest.mark.parametrize("program", ["snap", "lxd.migrate", "apt-get"])
def test_a_program_that_fails_ends_it(machine: Machine, program: str) -> None:
    machine.program(program, '[ "$1" = -s ] || { echo no network; exit 7; }')
    status, last = machine.run()
    assert status == 1
    assert "fail" in last or "could not" in last
    assert machine.deeds[-1].startswith(program)


@pytest.mark.parametrize(("status", "stderr"), [(0, ""), (7, "no network\n")])
def test_each_of_two_that_wait_for_the_end_hears_of_it(
    machine: Machine, tmp_path: Path, status: int, stderr: str
) -> None:
    """The waiter of a run that was killed lives on beside that of the next run."""
    running, go = tmp_path / "running", tmp_path / "go"
    machine.program("systemctl", f"[ -e {running} ]")
    machine.program("systemd-run", f'touch {running}; shift 5; exec "$@"')
    machine.program("flock", 'PATH=/bin:/usr/bin exec flock "$@"')
    path = tmp_path / "move_lxd.sh"
    path.write_text(machine.script("move_lxd"))
    mover = f"""
        for try in $(seq 400); do [ ! -e {go} ] || break; sleep 0.05; done
        echo no network >{machine.state}/log
        echo {status} >{machine.state}/status
    """
    given = tmp_path / "mover"
    given.write_text(mover)
    waiters = []
    for number in (1, 2):
        with given.open() as stdin:
            waiters.append(
                subprocess.Popen(
                    ["sh", path, "20", CHANNEL], stdin=stdin, stderr=subprocess.PIPE, text=True
                )
            )
        wait_for_calls(machine, "flock -w 20 9", number)
    go.touch()
    said = [waiter.communicate(timeout=20)[1] for waiter in waiters]
    assert said == [stderr] * 2
    assert [waiter.returncode for waiter in waiters] == [status] * 2
    assert machine.state.exists() == (status != 0)


def wait_for_calls(machine: Machine, call: str, number: int) -> None:
    deadline = time.monotonic() + 20
    while machine.calls.read_text().splitlines().count(call) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)
