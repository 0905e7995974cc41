"""The commands behind the runbooks: signals, and what is kept of a run."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import command
from tasks.errors import FleetError
from tasks.report import Report
from tasks.state import KEPT_REPORTS, StateFolder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of the environment that the tests' inventory is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "nornir-lxd-fleet" / "demo"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """The demo's machines without its containers, whose images are made by the lab."""
    folder = tmp_path / "inventory" / "demo"
    folder.mkdir(parents=True)
    (folder / "hosts.yaml").write_text("sbc: {hostname: 192.0.2.1, data: {machine: true}}\n")
    return folder


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signal handlers are the whole process's."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stub(monkeypatch: pytest.MonkeyPatch, report: Report, during: Any = None) -> None:
    """A provision that only gives this report."""

    def provision(*_: Any, **__: Any) -> Report:
        if during:
            during()
        return report

    monkeypatch.setattr(command, "provision", provision)


def run(inventory: Path, *arguments: str) -> int:
    return command.provision_command(["--inventory", str(inventory), "--quiet", *arguments])


class TestSignals:
    def test_one_that_is_ignored_at_the_start_stays_so(
        self, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        stub(monkeypatch, Report("provision", "demo"), lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert run(inventory) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def test_one_that_is_not_ends_the_run(
        self, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        stub(monkeypatch, Report("provision", "demo"), lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert run(inventory) == 128 + signal.SIGHUP

    @pytest.mark.parametrize("runbook", ["provision", "maintain", "status"])
    def test_interrupted_before_the_run_it_says_so_in_one_line(
        self,
        inventory: Path,
        runbook: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(command, "open_fleet", interrupted)
        start = getattr(command, f"{runbook}_command")
        assert start(["--inventory", str(inventory)]) == 130
        assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize(("options", "now"), [((), False), (("--now",), True)])
def test_maintain_heeds_windows_unless_an_operator_says_now(
    inventory: Path,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    now: bool,
) -> None:
    asked: list[dict[str, Any]] = []

    def maintain(*_: Any, **given: Any) -> Report:
        asked.append(given)
        return Report("maintain", "demo")

    monkeypatch.setattr(command, "maintain", maintain)
    arguments = ["--inventory", str(inventory), "--quiet", *options]
    assert command.maintain_command(arguments) == 0
    assert [given["now"] for given in asked] == [now]


class TestReports:
    def test_that_of_a_real_run_is_kept_for_this_user_only(
        self, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report = Report("provision", "demo", started="2024-05-01T12:00:00+02:00")
        stub(monkeypatch, report)
        for _ in range(2):
            assert run(inventory) == 0
        kept = sorted((state / "reports").iterdir())
        assert [path.name for path in kept] == [
            "provision-20240501T120000-2.json",
            "provision-20240501T120000.json",
        ]
        assert json.loads(kept[0].read_text()) == report.to_dict()
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}

    def test_that_of_a_dry_run_is_not(
        self, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stub(monkeypatch, Report("provision", "demo", dry_run=True))
        assert run(inventory, "--dry-run") == 0
        assert not (state / "reports").exists()

    def test_a_run_ends_as_it_ended_also_where_its_report_cannot_be_kept(
        self,
        inventory: Path,
        state: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def full(*_: Any) -> None:
            raise FleetError("cannot be written (No space left on device)", where="reports")

        monkeypatch.setattr(StateFolder, "keep_report", full)
        stub(monkeypatch, Report("provision", "demo"))
        assert run(inventory) == 0
        assert capsys.readouterr().err == (
            "the report is not kept: reports: cannot be written (No space left on device)\n"
        )

    def test_the_newest_are_kept(self, tmp_path: Path) -> None:
        state = StateFolder(tmp_path / "state")
        for number in range(KEPT_REPORTS + 3):
            path = state.keep_report(f"maintain-{number:03}", "{}\n")
            os.utime(path, (number, number))
        names = sorted(path.name for path in state.reports.iterdir())
        assert len(names) == KEPT_REPORTS
        assert names[0] == "maintain-003.json"


class TestRestoring:
    def test_its_options_are_for_it_alone(
        self, inventory: Path, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for words in (["--to", "lxd-1"], ["--replace", "backup"], ["upgrade", "--backup", "x"]):
            with pytest.raises(SystemExit, match="2"):
                command.maintain_command(["--inventory", str(inventory), *words])
            assert "are for the job restore" in capsys.readouterr().err

    def test_they_reach_it(
        self, inventory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Any] = []

        def maintain(nr: Any, jobs: Any, *, options: Any, **_: Any) -> Report:
            seen.append((jobs, options))
            return Report("maintain", "demo")

        monkeypatch.setattr(command, "maintain", maintain)
        words = ["restore", "--replace", "--backup", "20261124T030000Z"]
        assert command.maintain_command(["--inventory", str(inventory), "--quiet", *words]) == 0
        assert seen == [
            (["restore"], {"restore": {"moment": "20261124T030000Z", "replace_it": True}})
        ]

    def test_another_host_has_to_be_there(
        self, inventory: Path, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["restore", "--to", "sbc"]
        assert command.maintain_command(["--inventory", str(inventory), *words]) == 2
        assert "--to sbc: there is no such LXD host in the inventory" in capsys.readouterr().err
