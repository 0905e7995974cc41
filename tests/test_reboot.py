"""Which machines are rebooted, and which are left running; the script that says so."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.actual import HostFacts, LxdFacts
from tasks.containers.remembered import remembering
from tasks.errors import CommandError, FleetError
from tasks.intent.model import Intent
from tasks.maintenance import reboot
from tasks.maintenance.boot import (
    DRAINED,
    Boot,
    apart_obstacles,
    interrupted,
    parse_boot,
    plan_reboot,
    starts_with_host,
)
from tasks.maintenance.reboot import reboot_machine
from tasks.maintenance.upgrade.stage import UPGRADING
from tasks.onhost import on_host
from tasks.run import run_of
from tests.machines import container_of, fleet_of, host_of, run_on

BOOT = "6d1ad9f1-9cc2-4fa4-9d2a-2a2a4c5e0f11-24"


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        ([], ()),
        (["needed libc6 linux-image-6.1.0-22 "], ("libc6 linux-image-6.1.0-22",)),
        (["needed a", "needed kernel 2, running is 1"], ("a", "kernel 2, running is 1")),
    ],
)
def test_a_machine_is_rebooted_where_something_asks_for_it(
    lines: list[str], needed: tuple[str, ...]
) -> None:
    boot = parse_boot("web", "\n".join((f"boot {BOOT}", *lines)))
    assert boot == Boot(BOOT, needed)
    plan = plan_reboot("web", boot, notes=("through lxc exec",))
    assert [(s.action, s.object, s.detail) for s in plan.steps] == [
        ("reboot", "machine web", "; ".join(needed))
    ] * bool(needed)
    assert (plan.reason, plan.notes) == (
        "" if needed else "no reboot needed", ("through lxc exec",),
    )  # fmt: skip


def test_a_machine_that_does_not_say_which_boot_it_is_in_is_not_judged() -> None:
    with pytest.raises(CommandError, match="web: it does not say which boot this is"):
        parse_boot("web", "needed libc6\n")


@pytest.mark.parametrize(
    ("lines", "obstacles", "told"),
    [
        (["busy packages are being installed there"], [], "packages are being installed there"),
        ([], ["this run is controlled from it"], "this run is controlled from it"),
        (["busy a"], ["b"], "a; b"),
    ],
)
def test_what_must_not_be_interrupted_is_left_running(
    lines: list[str], obstacles: list[str], told: str
) -> None:
    wanted = parse_boot("web", "\n".join((f"boot {BOOT}", "needed libc6", *lines)))
    with pytest.raises(FleetError) as refused:
        plan_reboot("web", wanted, obstacles)
    assert str(refused.value).startswith(
        f"web: it needs a reboot (libc6) and is left running: {told};"
    )
    content = parse_boot("web", "\n".join((f"boot {BOOT}", *lines)))
    assert not plan_reboot("web", content, obstacles).changed


#: The inventory's containers as NAME: (host, group, declared running), and who is down.
PAIR = {"a": ("h", "sip", True), "b": ("i", "sip", True), "x": ("h", None, True)}
TOGETHER = {"a": ("h", "sip", True), "b": ("h", "sip", True)}


@pytest.mark.parametrize(
    ("declared", "down", "machine", "told"),
    [
        (PAIR, [], "h", []),
        (PAIR, [], "a", []),
        (PAIR, ["b"], "h", ["b of the group sip does not run"]),
        (PAIR, ["b"], "a", ["b of the group sip does not run"]),
        (PAIR, ["b"], "x", []),
        (PAIR, ["b"], "i", []),  # it takes nothing of the group out of service
        ({**PAIR, "b": ("i", "sip", False)}, ["b"], "h", []),  # alone anyway
        (TOGETHER, [], "h", ["it carries all of the group sip: a, b"]),
        (TOGETHER, [], "a", []),
        ({**TOGETHER, "c": ("i", "sip", True)}, [], "h", []),
        ({**TOGETHER, "c": ("i", "sip", True)}, ["c"], "h", ["c of the group sip does not run"]),
        (TOGETHER, ["b"], "h", ["b of the group sip does not run"]),
    ],
)
def test_of_a_pair_one_stays_in_service(
    declared: dict[str, tuple[str, str | None, bool]],
    down: Sequence[str],
    machine: str,
    told: list[str],
) -> None:
    containers = {
        name: container_of(name, "192.0.2.1", on=on, apart=apart, running=running)
        for name, (on, apart, running) in declared.items()
    }
    intent = Intent(Path(), {}, containers, {}, {}, {}, {})
    instances = {
        host: {
            name: {"status": "Stopped" if name in down else "Running"}
            for name, (on, _, _) in declared.items()
            if on == host
        }
        for host in "hi"
    }
    running = [name for name in instances.get(machine, {}) if name not in down]
    groups = interrupted(intent, machine, running)
    assert apart_obstacles(intent, groups, instances) == told
    unread = {on: found for on, found in instances.items() if on != "i"}
    elsewhere = [name for name in declared if declared[name][0] == "i" and declared[name][2]]
    if "sip" in groups and "b" in elsewhere:
        assert "b of the group sip does not run" in apart_obstacles(intent, groups, unread)


def test_whose_partner_has_not_its_work_stays_in_service() -> None:
    containers = {
        name: container_of(name, "192.0.2.1", on=on, apart="sip") for name, on in ("ah", "bi")
    }
    intent = Intent(Path(), {}, containers, {}, {}, {}, {})
    for key, told in (
        (DRAINED, "b of the group sip is drained"),
        (UPGRADING, "an upgrade of b of the group sip has not ended"),
    ):
        config = remembering(key, "b", "20261124T030000Z", "-")
        instances = {"i": {"b": {"name": "b", "status": "Running", "config": config}}}
        assert apart_obstacles(intent, {"sip": ["a"]}, instances) == [told]
    copied = remembering(DRAINED, "other", "20261124T030000Z")
    instances = {"i": {"b": {"name": "b", "status": "Running", "config": copied}}}
    assert apart_obstacles(intent, {"sip": ["a"]}, instances) == []


@pytest.mark.parametrize(
    ("config", "starts"),
    [({}, True), ({"boot.autostart": "true"}, True), ({"boot.autostart": "false"}, False)],
)
def test_what_lxd_starts_with_its_host(config: dict[str, str], starts: bool) -> None:
    assert starts_with_host({"expanded_config": config}) == starts


@pytest.mark.parametrize(
    ("controlled", "config", "told"),
    [
        ({"rep-1"}, {}, "this run is controlled from it"),
        (set(), {UPGRADING: "rep-1 abc"}, "an upgrade that was killed has to be finished first"),
    ],
)
def test_a_container_that_must_stay_up_is_left_running(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    controlled: set[str],
    config: dict[str, str],
    told: str,
) -> None:
    monkeypatch.setattr(reboot, "controlling", lambda intent: controlled)
    monkeypatch.setattr(reboot, "shell_of", lambda host: None)
    monkeypatch.setattr(reboot, "boot_of", lambda name, shell: Boot(BOOT, ("libc6",)))
    nr = fleet_of(tmp_path, host_of(), container_of("rep-1", "192.0.2.1"))
    instance = {"name": "rep-1", "status": "Running", "config": config}
    lxd = LxdFacts(running=True, instances={"rep-1": instance})
    run_of(nr).facts["sidn-demo-02"] = HostFacts("sidn-demo-02", lxd=lxd)
    for dry_run in (True, False):
        entry = run_on(nr, "rep-1", reboot_machine, dry_run=dry_run)
        assert (entry["status"], entry["changed"]) == ("failed", False)
        assert f"it needs a reboot (libc6) and is left running: {told};" in entry["message"]


#: Commands and files that say what the script is to find, on whatever machine the test runs.
STAND_INS = {
    "systemd-detect-virt": "exit 1",
    "uname": "echo 6.1.0-22-amd64",
}
#: Seconds since 1970, before any machine's boot.
LONG_AGO = 10**9


class Machine:
    """The script with another root folder, where its paths do not begin with /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, body in STAND_INS.items():
            self.file(f"bin/{name}", f"#!/bin/sh\n{body}\n").chmod(0o755)

    def file(self, path: str, content: str = "", *, moment: float | None = None) -> Path:
        """A file that is new, or as old as it says."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        if moment:
            os.utime(file, (moment, moment))
        return file

    def boot(self) -> Boot:
        script = on_host("reboot_needed")
        for folder in ("/run/", "/boot/", "/var/lib/"):
            script = script.replace(f" {folder}", f" {self.root}{folder}")
            script = script.replace(f"#{folder}", f"#{self.root}{folder}")
        script = script.replace("PATH=", f"PATH={self.root}/bin:")
        script = script.replace("%Z", "%Y")  # no test sets the time of a change of status
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20
        )
        assert done.stderr == ""
        return parse_boot("here", done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_script_with_stand_ins_finds_nothing_on_a_machine_that_needs_none(
    machine: Machine,
) -> None:
    machine.file("boot/vmlinuz-6.1.0-22-amd64", moment=LONG_AGO)
    machine.file("boot/vmlinuz-6.1.0-23-amd64", moment=LONG_AGO)  # there and not chosen
    machine.file("boot/vmlinuz-6.1.0-21-amd64")  # older than what runs
    machine.file("var/lib/dpkg/info/libc6:amd64.list", moment=LONG_AGO)
    machine.file("var/lib/dpkg/lock-frontend")
    boot = machine.boot()
    assert (boot.needed, boot.busy) == ((), ())
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot.id.startswith(f"{here}-")


@pytest.mark.parametrize(
    ("path", "content", "needed"),
    [
        ("run/reboot-required", "", "/run/reboot-required is there"),
        ("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n", "dbus libc6"),
        ("boot/vmlinuz-6.1.0-23-amd64", "", "kernel 6.1.0-23-amd64, running is 6.1.0-22-amd64"),
        ("boot/vmlinuz-6.1.0-22-amd64", "", "kernel 6.1.0-22-amd64, running is 6.1.0-22-amd64"),
        ("var/lib/dpkg/info/libc6:amd64.list", "", "libc6, upgraded since it booted"),
        ("var/lib/dpkg/info/libc6.list", "", "libc6, upgraded since it booted"),
    ],
)
def test_the_script_with_stand_ins_says_what_asks_for_a_reboot(
    machine: Machine, path: str, content: str, needed: str
) -> None:
    if path.endswith(".pkgs"):
        machine.file("run/reboot-required")
    machine.file(path, content)
    assert machine.boot().needed == (needed,)


def test_the_script_with_stand_ins_judges_no_kernel_in_a_container(machine: Machine) -> None:
    machine.file("boot/vmlinuz-6.1.0-23-amd64")
    machine.file("bin/systemd-detect-virt", "#!/bin/sh\nexit 0\n").chmod(0o755)
    assert machine.boot().needed == ()


def test_the_script_with_stand_ins_believes_no_file_of_the_future(machine: Machine) -> None:
    """It would be one after the next boot as well."""
    machine.file("var/lib/dpkg/info/libc6.list", moment=time.time() + 1000)
    assert machine.boot().needed == ()


def test_the_script_with_stand_ins_sees_who_has_the_lock_of_dpkg_open(machine: Machine) -> None:
    with machine.file("var/lib/dpkg/lock-frontend").open("w"):
        assert machine.boot().busy == ("packages are being installed there",)
    assert machine.boot().busy == ()
