"""A maintenance that ends before it is done: by its time limit, or by a signal."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks import command
from tasks.actual import HostFacts, LxdFacts
from tasks.intent.maintenance import Maintenance
from tasks.maintenance.gate import in_minutes
from tasks.maintenance.jobs import JOBS, Job
from tasks.maintenance.maintain import maintain
from tasks.maintenance.runner import TurnRunner
from tasks.maintenance.turns import Turn
from tasks.maintenance.visit import visit
from tasks.options import maintain_options
from tasks.outcome import record
from tasks.plan import Plan, Step
from tasks.report import Report
from tasks.run import run_of
from tests.machines import HOST, container_of, fleet_of, host_of

NAMES = ("web-01", "web-02", "web-03")
UPGRADED = Plan((Step("upgrade", "package a", None, "1 -> 2"),))
Fleet = Callable[[Callable[[str], None]], Nornir]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Three containers, one at a time, whose upgrade does what the test says; none is contacted."""

    def answer(host: Host) -> HostFacts:
        lxd = LxdFacts(running=True, instances={name: {"status": "Running"} for name in NAMES})
        read = HostFacts(host.name, lxd=lxd)
        run_of(host).facts[host.name] = read
        return read

    def opened(during: Callable[[str], None]) -> Nornir:
        def upgrade(task: Task) -> Result:
            during(task.host.name)
            return Result(host=task.host, result=record("upgrade", "changed", plan=UPGRADED))

        def well(task: Task) -> Result:
            return Result(host=task.host, result=record("health", "ok"))

        module = sys.modules[maintain.__module__]  # its name is also the function's
        monkeypatch.setattr(module, "facts_of", answer)
        monkeypatch.setattr(module, "lock_host", lambda host: None)
        monkeypatch.setattr(sys.modules[visit.__module__], "check_health", well)
        monkeypatch.setitem(JOBS, "upgrade", Job(upgrade, changes=True, risky=True))
        monkeypatch.setitem(JOBS, "health", Job(well, changes=False))
        host = replace(host_of(), maintenance=Maintenance(batch=1))
        machines = [container_of(name, f"192.0.2.{n}") for n, name in enumerate(NAMES, 1)]
        return fleet_of(tmp_path, host, *machines)

    return opened


def booked(report: Report, name: str) -> list[tuple[str, str]]:
    return [(p["phase"], p["status"]) for p in report.hosts[name].phases]


def test_whoever_is_at_work_goes_through_all_its_jobs_and_nobody_else_begins(fleet: Fleet) -> None:
    report = maintain(fleet(lambda name: time.sleep(0.6)), ["upgrade", "health"], time_limit=0.5)
    assert booked(report, "web-01") == [("upgrade", "changed"), ("health", "ok")]
    for name in ("web-02", "web-03", HOST):
        phase = report.hosts[name].phases[-1]
        assert (phase["phase"], phase["status"]) == ("upgrade", "skipped")
        assert phase["message"] == "the time limit of 0.00833333 minutes was over"
    assert report.exit_status() == 1
    assert report.to_dict()["ended"] == "time limit"


def test_an_upgraded_machine_is_checked_also_when_only_upgrades_were_asked_for(
    fleet: Fleet,
) -> None:
    report = maintain(fleet(lambda name: time.sleep(0.6)), ["upgrade"], time_limit=0.5)
    assert booked(report, "web-01") == [("upgrade", "changed"), ("health", "ok")]


def test_a_run_that_is_done_in_time_is_as_any_other(fleet: Fleet) -> None:
    report = maintain(fleet(lambda name: None), time_limit=60)
    assert [report.hosts[name].status for name in NAMES] == ["changed"] * 3
    assert report.exit_status() == 0
    assert "ended" not in report.to_dict()


def test_a_time_limit_that_is_over_at_once_contacts_nobody(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    nr = fleet(lambda name: pytest.fail(f"{name} is at work"))
    module = sys.modules[maintain.__module__]
    monkeypatch.setattr(module, "facts_of", lambda host: pytest.fail(f"{host.name} is read"))
    report = maintain(nr, time_limit=0)
    assert [host.status for host in report.hosts.values()] == ["skipped"] * 4
    assert report.exit_status() == 1


def test_a_machine_that_cannot_be_worked_on_anyway_is_not_left_undone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    nr = fleet(lambda name: time.sleep(0.6))
    monkeypatch.setattr(run_of(nr), "selected", frozenset({"web-01"}))
    report = maintain(nr, ["upgrade"], time_limit=0.5)
    assert report.exit_status() == 0
    assert not report.out_of_time


def test_a_signal_is_told_apart_from_the_time_limit(fleet: Fleet) -> None:
    def stop(name: str) -> None:
        run_of(nr).stop.set()

    nr = fleet(stop)
    report = maintain(nr, ["upgrade", "health"], time_limit=3600)
    report.interrupted = signal.SIGTERM
    assert booked(report, "web-01") == [("upgrade", "changed"), ("health", "skipped")]
    for name in ("web-02", "web-03"):
        assert report.hosts[name].phases[-1]["message"] == "the run was asked to stop"
    assert report.exit_status() == 143
    assert report.ended == "signal 15"
    report.out_of_time = True
    assert (report.exit_status(), report.ended) == (143, "signal 15 and time limit")


def test_an_ending_run_is_done_with_a_large_fleet_at_once() -> None:
    turns = {f"ct-{n:04}": Turn(f"ct-{n:04}", f"host-{n % 3}") for n in range(2000)}
    ending = threading.Event()
    seen: list[str] = []

    class Work:
        """What the runner needs of a Nornir task."""

        name = "work"

        def copy(self) -> Work:
            return self

        def start(self, host: Host) -> list[str]:
            seen.append(host.name)
            ending.set()
            return []

    runner = TurnRunner(turns, 20, ending.is_set)
    began = time.monotonic()
    result = runner.run(Work(), [Host(name) for name in turns])  # type: ignore[arg-type]
    assert time.monotonic() - began < 20
    assert sorted(seen) == sorted(turns)
    assert set(result) == set(turns)


@pytest.mark.parametrize(
    ("seconds", "told"), [(60, "1 minute"), (3600, "60 minutes"), (90, "1.5 minutes")]
)
def test_minutes_in_words(seconds: float, told: str) -> None:
    assert in_minutes(seconds) == told


def test_the_command_takes_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "inventory" / "demo"
    folder.mkdir(parents=True)
    (folder / "hosts.yaml").write_text("sbc: {hostname: 192.0.2.1, data: {machine: true}}\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    asked: list[object] = []

    def stand_in(*_: object, **options: object) -> Report:
        asked.append(options["time_limit"])
        return Report("maintain", "demo")

    monkeypatch.setattr(command, "maintain", stand_in)
    arguments = ["--inventory", str(folder), "--quiet"]
    assert command.maintain_command([*arguments, "--time-limit", "90"]) == 0
    assert command.maintain_command(arguments) == 0
    assert asked == [5400, None]


@pytest.mark.parametrize("written", ["0", "-5", "1.5", "soon"])
def test_what_is_no_number_of_minutes_is_refused(
    written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        maintain_options().parse_args([f"--time-limit={written}"])
    assert ended.value.code == 2
    assert f"{written} is not a number from 1 up" in capsys.readouterr().err
