"""``maintain.py install-cron``: what is planned, and what it does in a temporary root."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import command
from tasks.errors import FleetError, UsageError
from tasks.intent.cron import maintain_words
from tasks.intent.system import CronJob
from tasks.machine.managed import cron_file
from tasks.plan import Plan
from tasks.schedule import install
from tasks.schedule.crontab import with_block
from tasks.schedule.entry import Entry, program_of
from tasks.schedule.install import install_schedule
from tasks.schedule.places import Places
from tasks.schedule.plan import Actual, FileThere, Write, WriteCrontab, plan_removal, plan_schedule
from tasks.schedule.texts import cron_text, crontab_line, service_text, timer_text

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "schedule.yaml").read_text())
WORDS = ("/opt/fleet-maintain", "--inventory", "/srv/demo", "--quiet")
ENTRY = Entry("demo", "30 4 * * *", WORDS)
CALENDAR = "*-*-* 04:30"

# crontab(1) and systemctl(1), as far as they are asked.
CRONTAB = """#!/bin/sh
echo "crontab $*" >>"$STAND_IN/calls"
case $1 in
-l) [ -e "$STAND_IN/crontab" ] || { echo "no crontab for olga" >&2; exit 1; }
    cat "$STAND_IN/crontab" ;;
-) cat >"$STAND_IN/crontab" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$STAND_IN/calls"
[ "$1" = --user ] && shift
case $1 in
enable) touch "$STAND_IN/enabled" ;;
restart) touch "$STAND_IN/active" ;;
disable) rm "$STAND_IN/enabled" "$STAND_IN/active" ;;
show)
    echo UnitFileState=$([ -e "$STAND_IN/enabled" ] && echo enabled)
    echo ActiveState=$([ -e "$STAND_IN/active" ] && echo active || echo inactive)
    echo NeedDaemonReload=no ;;
esac
"""
ANALYZE = """#!/bin/sh
[ "$1 $2" = "calendar --" ] || exit 3
case $3 in *:*) ;; *) exit 1 ;; esac
"""


def places_of(user: str, root: Path) -> Places:
    home = root / "root" if user == "root" else root / "home" / user
    return Places(user, user == "root", home, root)


def actual_of(case: dict[str, Any], places: Places, root: str) -> Actual:
    def text(kind: str, schedule: str) -> str:
        entry = replace(ENTRY, schedule=schedule)
        if kind == "service":
            return service_text(entry, places.user, system=places.system)
        return timer_text(entry) if kind == "timer" else cron_text(entry, places.user)

    files = {Path(p.replace("ROOT", root)): FileThere(t) for p, t in case.get("files", {}).items()}
    for kind, schedule in case.get("there", {}).items():
        path = places.cron_file("demo") if kind == "cron" else places.unit("demo", kind)
        mode = int(str(case["mode"]), 8) if "mode" in case else 0o644
        files[path] = FileThere(text(kind, schedule), mode)
    return Actual(
        files=files,
        crontab=case.get("crontab", "").replace("LINE", " ".join(WORDS)),
        timer=case.get("enabled", False),
        lingers=case.get("lingers", False),
        controller=places.cron_d / "nornir-lxd-fleet-maintain-demo"
        if "controller" in case
        else None,
    )


@pytest.mark.parametrize("case", CASES["plans"], ids=lambda case: case["name"])
def test_plan(case: dict[str, Any]) -> None:
    root = "/somewhere"
    places = places_of(case["user"], Path(root))
    actual = actual_of(case, places, root)
    entry = replace(ENTRY, name=case.get("called", ""))
    planned: Callable[[Entry, Places, Actual], Plan[Write]] = partial(
        plan_schedule, systemd=case.get("systemd", False)
    )
    if case.get("remove"):
        planned = plan_removal
    if "error" in case:
        with pytest.raises(FleetError) as refused:
            planned(entry, places, actual)
        assert str(refused.value) == case["error"].replace("ROOT", root)
        return
    plan = planned(entry, places, actual)
    told = [f"{s.action} {s.object}" + (f" ({s.detail})" if s.detail else "") for s in plan.steps]
    assert told == [step.replace("ROOT", root) for step in case["steps"]]
    assert plan.reason == case.get("reason", "").replace("ROOT", root)
    assert list(plan.notes) == case.get("notes", [])
    written = [step.write.text for step in plan.steps if isinstance(step.write, WriteCrontab)]
    assert written == [w.replace("LINE", " ".join(WORDS)) for w in [case.get("writes")] if w]


@pytest.mark.parametrize("case", CASES["lines"], ids=lambda case: case["name"])
def test_the_command_is_taken_literally(case: dict[str, Any]) -> None:
    entry = Entry("demo", "@daily", tuple(case["words"]), case.get("variables", {}))
    assert crontab_line(entry) == f"@daily {case['cron']}"
    assert cron_text(entry, "root").splitlines()[-1] == f"@daily root {case['cron']}"
    service = service_text(entry, "root", system=True).splitlines()
    assert service[-len(case["systemd"]) :] == case["systemd"]


def test_what_cron_has_is_what_the_shell_gets() -> None:
    words = ("printf", "<%s>", "a b", "c'd", "%F", "$HOME", "\\")
    line = crontab_line(Entry("demo", "@daily", words)).removeprefix("@daily ")
    unescaped = line.replace(r"\%", "%")  # as cron does before it calls the shell
    done = subprocess.run(
        ["sh", "-c", unescaped], capture_output=True, text=True, timeout=10, check=True
    )
    assert done.stdout == "<a b><c'd><%F><$HOME><\\>"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("system", [True, False])
def test_systemd_takes_the_units(tmp_path: Path, system: bool) -> None:
    entry = Entry("demo", CALENDAR, (sys.executable, "a b", "%F", "$x"), {"XDG_STATE_HOME": "/a b"})
    (tmp_path / "f.service").write_text(service_text(entry, "root", system=system))
    (tmp_path / "f.timer").write_text(timer_text(entry))
    verify = ["systemd-analyze", *([] if system else ["--user"]), "verify", "--man=no"]
    done = subprocess.run(
        [*verify, str(tmp_path / "f.timer"), str(tmp_path / "f.service")],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze does not work here")
    assert [line for line in done.stderr.splitlines() if "f.timer" in line or "f.service" in line] \
        == []  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_starts_it_anew_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    python = "/srv/.venv/bin/python"
    script = f"{tmp_path}/runbooks/maintain.py"
    assert program_of("runbooks/maintain.py", python) == (python, script)
    link = tmp_path / "fleet-maintain"
    link.symlink_to("/opt/v1/fleet-maintain")
    assert program_of("./fleet-maintain", python) == (str(link),)


def test_the_words() -> None:
    assert maintain_words(["/x"], "/srv/demo", ["health"], time_limit=90) == (
        "/x", "--inventory", "/srv/demo", "--quiet", "--time-limit", "90", "health",
    )  # fmt: skip


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for cron's and systemd's programs, and the folder of what they keep."""
    folder, kept = tmp_path / "bin", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    programs = {"crontab": CRONTAB, "systemctl": SYSTEMCTL, "systemd-analyze": ANALYZE}
    for name, script in programs.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN", str(kept))
    return kept


@pytest.fixture
def root(tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where / begins; a stand-in for cron's daemon is there."""
    (tmp_path / "root/etc/cron.d").mkdir(parents=True)
    daemon = tmp_path / "root/cron"
    daemon.touch(0o755)
    monkeypatch.setattr(install, "DAEMONS", str(daemon.parent))
    return tmp_path / "root"


def test_roots_is_a_file_that_cron_reads(root: Path) -> None:
    places = places_of("root", root)
    old = os.umask(0o077)
    try:
        plan = install_schedule(ENTRY, places)
    finally:
        os.umask(old)
    path = root / "etc/cron.d/nornir-lxd-fleet-demo"
    assert plan.changed
    assert path.read_text() == (
        "# Managed by nornir-lxd-fleet.\n"
        "# It maintains the fleet demo.\n"
        "30 4 * * * root /opt/fleet-maintain --inventory /srv/demo --quiet\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.stat().st_uid == os.getuid()
    assert list(path.parent.iterdir()) == [path]
    assert not install_schedule(ENTRY, places).changed
    (root / "cron").unlink()
    assert "no cron daemon" in "".join(install_schedule(ENTRY, places).notes)
    path.chmod(0o664)
    assert install_schedule(ENTRY, places).changed
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_job_of_configure_of_the_same_name_is_left_alone(root: Path) -> None:
    """They share the folder and the first line of their files."""
    path = root / "etc/cron.d/nornir-lxd-fleet-demo"
    job = CronJob("demo", "5 3 * * *", "tidy", "app")
    path.write_text(cron_file(job).content)
    with pytest.raises(FleetError, match="is not ours"):
        install_schedule(ENTRY, places_of("root", root))
    assert path.read_text() == cron_file(job).content


def test_other_lines_of_a_crontab_stay_to_the_byte() -> None:
    odd = "0 5 * * * printf 'a\x0cb\u2028c\x85d\r'\n"
    with_ours = with_block(odd, "demo", "1 1 * * * x")
    assert with_ours.startswith(odd)
    assert with_block(with_ours, "demo", None) == odd


def test_a_users_goes_through_crontab(root: Path, stand_ins: Path) -> None:
    (stand_ins / "crontab").write_text("1 2 * * * tidy")
    places = places_of("olga", root)
    dry = install_schedule(ENTRY, places, dry_run=True)
    assert dry.changed
    assert "+30 4 * * * /opt/fleet-maintain" in dry.diff
    assert (stand_ins / "crontab").read_text() == "1 2 * * * tidy"
    assert install_schedule(ENTRY, places).diff == dry.diff
    assert (stand_ins / "crontab").read_text().splitlines()[0] == "1 2 * * * tidy"
    assert not install_schedule(ENTRY, places).changed
    assert (stand_ins / "calls").read_text().count("crontab -\n") == 1


def test_a_user_without_a_crontab_gets_one(root: Path, stand_ins: Path) -> None:
    install_schedule(ENTRY, places_of("olga", root))
    assert len((stand_ins / "crontab").read_text().splitlines()) == 3


def test_a_crontab_that_cannot_be_read_is_not_taken_for_an_empty_one(
    root: Path, stand_ins: Path
) -> None:
    refusing = "#!/bin/sh\necho 'You (olga) are not allowed to use this program' >&2\nexit 1\n"
    (stand_ins.parent / "bin/crontab").write_text(refusing)
    with pytest.raises(FleetError, match=r"crontab -l: You \(olga\) are not allowed"):
        install_schedule(ENTRY, places_of("olga", root))


@pytest.mark.parametrize("user", ["root", "olga"])
def test_a_timer_and_back_to_cron(root: Path, stand_ins: Path, user: str) -> None:
    places = places_of(user, root)
    entry = replace(ENTRY, schedule=CALENDAR)
    install_schedule(ENTRY, places)
    install_schedule(entry, places, systemd=True)
    assert f"OnCalendar={CALENDAR}\n" in places.unit("demo", "timer").read_text()
    assert stat.S_IMODE(places.unit("demo", "service").stat().st_mode) == 0o644
    assert ("User=root\n" in places.unit("demo", "service").read_text()) is (user == "root")
    called = (stand_ins / "calls").read_text().splitlines()
    made = [call for call in called if call.startswith("systemctl")]
    timer, who = "nornir-lxd-fleet-demo.timer", "" if user == "root" else "--user "
    assert made[:3] == [
        f"systemctl {who}daemon-reload",
        f"systemctl {who}enable {timer}",
        f"systemctl {who}restart {timer}",
    ]
    assert not places.cron_file("demo").exists()
    assert user == "root" or (stand_ins / "crontab").read_text() == ""
    assert not install_schedule(entry, places, systemd=True).changed
    install_schedule(ENTRY, places)
    assert not places.unit("demo", "timer").exists()
    assert not places.unit("demo", "service").exists()
    assert not (stand_ins / "enabled").exists()
    assert not install_schedule(ENTRY, places).changed


def test_a_timer_that_was_written_and_never_started_is_started(root: Path, stand_ins: Path) -> None:
    entry, places = replace(ENTRY, schedule=CALENDAR), places_of("root", root)
    install_schedule(entry, places, systemd=True)
    (stand_ins / "active").unlink()
    plan = install_schedule(entry, places, systemd=True)
    assert [step.action for step in plan.steps] == ["start"]


@pytest.mark.parametrize(
    ("schedule", "systemd", "said"),
    [
        ("30 4 * *", False, "'30 4 * *' is not a schedule of cron; write minute, hour"),
        ("*-*-* 04:30", False, "is not a schedule of cron"),
        ("30 4 * * *\n* * * * * x", False, "does not go into one line"),
        ("30 4 * * *", True, "is no calendar event of systemd; write it as systemd.time(7)"),
        ("04:30\nExecStart=x", True, "does not go into one line"),
    ],
)
def test_a_schedule_that_is_none(root: Path, schedule: str, systemd: bool, said: str) -> None:
    entry = replace(ENTRY, schedule=schedule)
    with pytest.raises(UsageError, match=re.escape(said)):
        install_schedule(entry, places_of("root", root), systemd=systemd)
    assert list((root / "etc/cron.d").iterdir()) == []


@pytest.mark.parametrize(
    ("user", "systemd", "said"),
    [
        ("root", False, "there is no cron here; install cron, or give --systemd"),
        ("olga", False, "there is no cron here; install cron, or give --systemd"),
        ("root", True, "there is no systemctl here; leave --systemd out, for cron"),
    ],
)
def test_without_what_would_call_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, user: str, systemd: bool, said: str
) -> None:
    (root / "etc/cron.d").rmdir()
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(UsageError, match=re.escape(said)):
        install_schedule(ENTRY, places_of(user, root), systemd=systemd)


class TestCommand:
    """The command, as root of a temporary machine."""

    @pytest.fixture
    def inventory(self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "inventory" / "demo"
        folder.mkdir(parents=True)
        (folder / "hosts.yaml").write_text("sbc: {hostname: 192.0.2.1, data: {machine: true}}\n")
        monkeypatch.setattr(command, "places_of_this_user", lambda: places_of("root", root))
        monkeypatch.setattr(sys, "argv", ["runbooks/maintain.py"])
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.chdir(tmp_path)
        return folder

    def install(self, *arguments: str) -> int:
        return command.maintain_command(
            [
                "install-cron",
                "--schedule",
                "30 4 * * *",
                "--inventory",
                "inventory/demo",
                *arguments,
            ]
        )

    def line(self, root: Path) -> str:
        return (root / "etc/cron.d/nornir-lxd-fleet-demo").read_text().splitlines()[-1]

    def test_dry_then_real_then_nothing(
        self, inventory: Path, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.install("--dry-run") == 3
        dry = capsys.readouterr().out
        assert list((root / "etc/cron.d").iterdir()) == []
        assert self.install() == 0
        real = capsys.readouterr().out
        assert dry == real + "dry run, nothing was changed\n"
        assert f"  +{self.line(root)}" in real.splitlines()
        for arguments in ((), ("--dry-run",)):
            assert self.install(*arguments) == 0
            assert capsys.readouterr().out == "nothing to change: it is called so already\n"

    def test_what_is_done_by_hand_is_nothing_for_cron(
        self, inventory: Path, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.install("restore") == 2
        assert "restore is done by hand; leave it out" in capsys.readouterr().err
        assert list((root / "etc/cron.d").iterdir()) == []

    def test_every_path_is_absolute(
        self, inventory: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.install("--time-limit", "90", "health") == 0
        program = f"{sys.executable} {tmp_path}/runbooks/maintain.py"
        rest = f"--inventory {inventory} --quiet --time-limit 90 health"
        assert self.line(root) == f"30 4 * * * root {program} {rest}"
        monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
        assert self.install("health") == 0
        assert self.line(root).startswith("30 4 * * * root XDG_STATE_HOME=/srv/state /")
        (inventory.parent / "config.yaml").write_text("user_defined: {state_dir: /srv/fleet}\n")
        assert self.install("health") == 0
        assert "XDG_STATE_HOME" not in self.line(root)

    def test_several_schedules_and_each_removed(
        self, inventory: Path, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.install("health") == 0
        assert self.install("--name", "weekly", "reboot") == 0
        files = ["nornir-lxd-fleet-demo", "nornir-lxd-fleet-demo-weekly"]
        cron_d = root / "etc/cron.d"
        assert sorted(path.name for path in cron_d.iterdir()) == files
        assert self.line(root).endswith(" health")
        words = ["install-cron", "--remove", "--inventory", "inventory/demo"]
        assert command.maintain_command([*words, "--dry-run"]) == 3
        assert sorted(path.name for path in cron_d.iterdir()) == files
        assert command.maintain_command(words) == 0
        assert [path.name for path in cron_d.iterdir()] == files[1:]
        assert command.maintain_command([*words, "--name", "weekly"]) == 0
        assert list(cron_d.iterdir()) == []
        capsys.readouterr()
        assert command.maintain_command(words) == 0
        assert capsys.readouterr().out == ("nothing to change: nothing calls it by this schedule\n")

    @pytest.mark.parametrize(
        ("environment", "status"), [("demo", 2), ("demo-x", 0)], ids=["its own", "another one's"]
    )
    def test_a_controllers_entry(
        self,
        inventory: Path,
        root: Path,
        capsys: pytest.CaptureFixture[str],
        environment: str,
        status: int,
    ) -> None:
        words = maintain_words(["fleet-maintain"], f"/etc/nornir-lxd-fleet/{environment}", [])
        job = CronJob(f"maintain-{environment}-nightly", "5 3 * * *", shlex.join(words))
        path = root / f"etc/cron.d/nornir-lxd-fleet-{job.name}"
        path.write_text(cron_file(job).content)
        assert self.install("--name", "nightly") == status
        if status:
            assert f"{path}: cron calls maintain for demo already" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["instal-cron", "--schedule", "x"], "unknown job instal-cron; did you mean install"),
            (["install-cron"], "one of the arguments --schedule --remove is required"),
            (["install-cron", "--remove", "health"], "--remove needs no JOB"),
            (["install-cron", "--remove", "--name", "a b"], "'a b' is not made of letters"),
        ],
    )
    def test_wrong_options(
        self,
        inventory: Path,
        arguments: list[str],
        said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            command.maintain_command(arguments)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["upgarde"], "unknown job upgarde; did you mean upgrade?\n"),
            (["--inventory", "inventory/prod"], "there is no inventory folder inventory/prod"),
            (["--schedule", "daily"], "--schedule: 'daily' is not a schedule of cron"),
        ],
    )
    def test_wrong_usage_writes_nothing(
        self,
        inventory: Path,
        root: Path,
        arguments: list[str],
        said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert self.install(*arguments) == 2
        assert said in capsys.readouterr().err
        assert list((root / "etc/cron.d").iterdir()) == []

    def test_it_is_the_first_word(
        self, inventory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            command.maintain_command(["--inventory", "inventory/demo", "install-cron"])
        assert ended.value.code == 2
        assert "install-cron is the first word, its options follow" in capsys.readouterr().err
