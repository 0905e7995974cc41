"""Which machines a maintenance changes, which it leaves, and with which the next one begins."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts, LxdFacts
from tasks.errors import FleetError, UsageError
from tasks.intent.maintenance import Backup, Maintenance
from tasks.intent.windows import Calendar, freeze_of
from tasks.maintenance.jobs import JOBS, Job
from tasks.maintenance.maintain import maintain
from tasks.outcome import record, result_of
from tasks.run import Run, run_of
from tasks.state import StateFolder
from tests.machines import HOST, fleet_of, host_of
from tests.pretended import ASKED, NIGHTLY, OUTSIDE, WEDNESDAY, Pretended, booked, module


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended.of_four(tmp_path / "state", monkeypatch)


@pytest.mark.parametrize("fails", [True, False])
def test_a_canary_that_fails_is_the_last_that_is_begun(fleet: Pretended, fails: bool) -> None:
    fleet.machines[3] = replace(fleet.machines[3], maintenance=Maintenance(canary=True))
    fleet.fails = ("c",) if fails else ()
    report = fleet.run("upgrade", "health", workers=4)
    assert fleet.begun[0] == "upgrade c"
    others = dict.fromkeys((HOST, "a", "b", "d"), "the canary c failed" if fails else "ok")
    assert booked(report, "upgrade") == {**others, "c": "failed" if fails else "ok"}
    assert fleet.undone == ({"upgrade": [HOST, "a", "b", "d"]} if fails else {})


def test_an_upgrade_that_was_killed_is_finished_where_it_left_its_container_stopped(
    fleet: Pretended,
) -> None:
    fleet.stopped, fleet.upgrading = ("a", "b"), ("b",)
    report = fleet.run("upgrade")
    assert booked(report, "check")["a"] == f"it is stopped on {HOST}"
    assert booked(report, "upgrade")["b"] == "ok"
    for jobs, dry_run in ((("health",), False), (("upgrade",), True)):
        assert "b" not in {job.split()[1] for job in fleet.begun_in(*jobs, dry_run=dry_run)}


def test_so_many_failures_end_the_run_and_the_next_begins_with_the_rest(fleet: Pretended) -> None:
    fleet.declare(maintenance=Maintenance(failures=2))
    fleet.fails = ("a", "b")
    report = fleet.run("upgrade", "health")
    left = dict.fromkeys((HOST, "c", "d"), "2 machines failed: a, b")
    assert booked(report, "upgrade") == {"a": "failed", "b": "failed", **left}
    assert booked(report, "health") == {HOST: "ok", "c": "ok", "d": "ok"}
    assert report.undone == fleet.undone == {"upgrade": [HOST, "c", "d"]}
    assert report.to_dict()["undone"] == report.undone
    assert report.exit_status() == 1

    fleet.fails = ()
    report = fleet.run("upgrade")
    assert fleet.begun == [f"upgrade {name}" for name in ("c", "d", "a", "b", HOST)]
    assert (report.undone, fleet.undone) == ({}, {})
    assert "undone" not in report.to_dict()
    fleet.run("upgrade")
    assert fleet.begun == [f"upgrade {name}" for name in ("a", "b", "c", "d", HOST)]


def test_one_that_has_begun_ends_its_changing_jobs_whatever_fails_elsewhere(
    fleet: Pretended,
) -> None:
    fleet.declare(maintenance=Maintenance(failures=1, batch=2))
    fleet.fails = ("a",)
    both, skipped = threading.Barrier(2, timeout=10), threading.Event()

    def during(job: str, run: Run) -> None:
        if job in ("upgrade a", "upgrade b"):
            both.wait()
        if job == "upgrade b":  # until another was refused, so that the limit is surely reached
            skipped.wait(timeout=10)
        if job == "health c":
            skipped.set()

    fleet.during = during
    report = fleet.run("upgrade", "tidy", "health", workers=2)
    assert skipped.is_set()
    assert {job for job in fleet.begun if "health" not in job} == {
        "upgrade a",
        "upgrade b",
        "tidy b",
    }
    assert set(fleet.undone) == {"upgrade", "tidy"}
    assert fleet.undone["upgrade"] == fleet.undone["tidy"] == [HOST, "c", "d"]
    assert booked(report, "tidy")["c"] == "1 machine failed: a"


def test_only_machines_that_were_begun_count_as_failures(
    fleet: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.declare(maintenance=replace(NIGHTLY, failures=1))
    fleet.machines[2:] = [
        replace(m, maintenance=Maintenance(failures=1)) for m in fleet.machines[2:]
    ]

    def health(task: Task) -> Result:
        return result_of(task, record("health", "failed" if task.host.name == "a" else "ok"))

    monkeypatch.setitem(JOBS, "health", Job(health, changes=False))
    report = fleet.run("upgrade", "health")
    assert booked(report, "health")["a"] == "failed"
    assert booked(report, "upgrade") == {
        HOST: OUTSIDE,
        "a": OUTSIDE,
        "b": "ok",
        "c": "ok",
        "d": "ok",
    }


def test_outside_its_window_a_machine_is_only_read(fleet: Pretended) -> None:
    fleet.machines[2] = replace(fleet.machines[2], maintenance=NIGHTLY)
    report = fleet.run("upgrade", "health", "tidy")
    expected = {HOST: "ok", "a": "ok", "b": OUTSIDE, "c": "ok", "d": "ok"}
    assert booked(report, "upgrade") == booked(report, "tidy") == expected
    assert booked(report, "health") == dict.fromkeys(expected, "ok")
    assert fleet.undone == {"upgrade": ["b"], "tidy": ["b"]}
    assert report.exit_status() == 0

    fleet.now += timedelta(hours=15)
    fleet.run("upgrade")
    assert fleet.begun[0] == "upgrade b"
    assert fleet.undone == {"tidy": ["b"]}


def test_an_operator_overrides_windows_and_freezes(fleet: Pretended) -> None:
    frozen = replace(NIGHTLY.calendar, freezes=(freeze_of("2026-01-01..2026-12-31"),))
    fleet.declare(maintenance=Maintenance(calendar=frozen))
    report = fleet.run("upgrade")
    assert set(booked(report, "upgrade").values()) == {
        "frozen from 2026-01-01 to 2026-12-31, it may be changed from fri 2027-01-01 02:00 UTC"
    }
    assert fleet.begun == []
    assert set(booked(fleet.run("upgrade", now=True), "upgrade").values()) == {"ok"}
    assert fleet.undone == {}


@pytest.mark.parametrize("hour", [4, 1])
def test_no_changing_job_begins_when_its_window_has_closed_or_without_those_before_it(
    fleet: Pretended, hour: int
) -> None:
    fleet.machines = fleet.machines[:2]
    fleet.machines[1] = replace(fleet.machines[1], maintenance=NIGHTLY)
    fleet.now = WEDNESDAY.replace(hour=hour, minute=59)
    ticking = fleet.now
    opens = "thu 2026-03-05" if hour == 4 else "wed 2026-03-04"

    def during(job: str, run: Run) -> None:
        if job in ("upgrade a", "health a"):
            fleet.now = ticking + timedelta(minutes=1)

    fleet.during = during
    report = fleet.run("upgrade", "health", "tidy")
    closed = f"outside its window, which opens {opens} 02:00 UTC"
    assert booked(report, "upgrade")["a"] == ("ok" if hour == 4 else closed)
    assert booked(report, "tidy")["a"] == closed
    assert booked(report, "health")["a"] == "ok"
    assert fleet.undone == {"tidy": ["a"]} if hour == 4 else {"upgrade": ["a"], "tidy": ["a"]}


def test_a_dry_run_plans_what_a_real_one_would_leave_and_remembers_nothing(
    fleet: Pretended,
) -> None:
    fleet.machines[2] = replace(fleet.machines[2], maintenance=NIGHTLY)
    StateFolder(fleet.folder).remember_undone({"upgrade": ["d"]})
    before = (fleet.folder / "undone.json").stat().st_mtime_ns
    report = fleet.run("upgrade", "health", dry_run=True)
    assert "upgrade b" in fleet.begun
    said = {host.name: [p["message"] for p in host.phases] for host in report.hosts.values()}
    assert said["b"] == [f"a real run would not begin it now: {OUTSIDE}", ""]
    assert said["a"] == ["", ""]
    assert report.undone == {}
    assert (fleet.folder / "undone.json").stat().st_mtime_ns == before


def test_what_a_stop_leaves_is_first_in_the_next_run(fleet: Pretended) -> None:
    fleet.during = lambda job, run: run.stop.set() if job == "upgrade b" else None
    fleet.machines[4] = replace(fleet.machines[4], maintenance=NIGHTLY)
    report = fleet.run("upgrade", "tidy", "health")
    assert fleet.begun == ["upgrade a", "health a", "tidy a", "upgrade b"]
    assert len(report.hosts["d"].phases) == 1
    assert booked(report, "upgrade") == {HOST: ASKED, "a": "ok", "b": "ok", "c": ASKED, "d": ASKED}
    assert (
        report.undone
        == fleet.undone
        == {"upgrade": [HOST, "c", "d"], "tidy": [HOST, "b", "c", "d"]}
    )

    fleet.during = lambda job, run: None
    fleet.run("tidy", "upgrade", now=True)
    order = [job.split()[1] for job in fleet.begun if job.startswith("upgrade")]
    assert order == ["c", "d", "b", "a", HOST]


@pytest.mark.parametrize("limit", [["a", "sidn-demo-01", "e"], [HOST, "a", "e"]])
def test_a_stop_before_a_host_is_read_leaves_all_that_is_selected_of_it(
    fleet: Pretended, limit: list[str]
) -> None:
    fleet.machines.insert(1, host_of("sidn-demo-01"))
    fleet.add("e", on="sidn-demo-01")
    fleet.on_read = lambda run: run.stop.set()
    fleet.run("upgrade", "later", limit=limit)
    assert fleet.begun == []
    assert fleet.undone == {"upgrade": limit, "later": limit}


def test_what_only_reads_neither_waits_for_a_window_nor_changes_what_is_undone(
    fleet: Pretended,
) -> None:
    fleet.declare(maintenance=NIGHTLY)
    StateFolder(fleet.folder).remember_undone({"upgrade": ["d"]})
    report = fleet.run("health")
    assert set(booked(report, "health").values()) == {"ok"}
    assert (report.undone, fleet.undone) == ({}, {"upgrade": ["d"]})


def test_who_was_not_selected_or_could_not_be_worked_on_stays_undone(
    fleet: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"upgrade": ["gone", "d", "c", "a"], "no-longer-a-job": ["a"]}
    StateFolder(fleet.folder).remember_undone(before)
    found = LxdFacts(
        running=True, instances={"a": {"status": "Running"}, "c": {"status": "Stopped"}}
    )

    def read(host: Host) -> HostFacts:
        run_of(host).facts[host.name] = HostFacts(host.name, lxd=found)
        return run_of(host).facts[host.name]

    monkeypatch.setattr(module, "facts_of", read)
    fleet.run("upgrade", limit=["a", "b", "c"])
    assert fleet.begun == ["upgrade a"]
    assert fleet.undone == {"upgrade": ["d", "c"]}


def test_the_report_is_given_also_where_nothing_can_be_remembered(
    fleet: Pretended, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise FleetError("cannot be written (No space left on device)")

    monkeypatch.setattr(StateFolder, "_write", full)
    fleet.machines[2] = replace(fleet.machines[2], maintenance=NIGHTLY)
    assert fleet.run("upgrade").undone == {"upgrade": ["b"]}
    assert "No space left on device" in caplog.text


def test_a_time_zone_that_is_unknown_here_is_said_before_anything_is_contacted(
    fleet: Pretended,
) -> None:
    fleet.declare(maintenance=Maintenance(calendar=Calendar(timezone="Europe/Nowhere")))
    contacted: list[Run] = []
    fleet.on_read = contacted.append
    with pytest.raises(UsageError, match="Europe/Nowhere"):
        fleet.run("upgrade")
    assert contacted == []
    assert set(booked(fleet.run("health"), "health").values()) == {"ok"}


def test_a_job_that_concerns_no_service_is_done_to_containers_that_do_not_run(
    fleet: Pretended,
) -> None:
    fleet.declare(maintenance=Maintenance(backup=Backup("sidn-demo-01")))
    fleet.stopped = ("a",)
    report = fleet.run("backup", "upgrade", limit=("a", "b"))
    stopped = f"it is stopped on {HOST}"
    assert booked(report, "backup") == {"a": "ok", "b": "ok"}
    assert booked(report, "upgrade") == {"a": stopped, "b": "ok"}
    assert report.undone == {}
    report = fleet.run("backup", "health", limit=("a",))
    assert [(p["phase"], p["status"]) for p in report.hosts["a"].phases] == [
        ("health", "failed"),
        ("backup", "ok"),
    ]


def test_a_job_that_would_do_nothing_is_wrong_usage(
    fleet: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended = replace(JOBS["restore"], kinds=frozenset({"container"}))
    monkeypatch.setitem(JOBS, "restore", pretended)
    with pytest.raises(UsageError, match="backup: no selected container says where"):
        fleet.run("backup", limit=("a", "b"))
    with pytest.raises(UsageError, match="restore is for containers, and none is selected"):
        fleet.run("restore", limit=(HOST,))


def test_what_is_done_by_hand_is_alone_of_chosen_machines_and_at_any_time(fleet: Pretended) -> None:
    fleet.declare(maintenance=replace(NIGHTLY, failures=1))
    fleet.fails = ("a",)
    report = fleet.run("restore", limit=("a", "b"))
    assert booked(report, "restore") == {"a": "failed", "b": "ok"}
    with pytest.raises(UsageError, match="restore is for chosen machines"):
        fleet.run("restore")
    with pytest.raises(UsageError, match="restore is a job of its own"):
        fleet.run("restore", "upgrade", limit=("a",))


def test_a_job_gets_its_options(fleet: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[dict[str, Any]] = []

    def work(task: Task, **options: Any) -> Result:
        got.append(options)
        return result_of(task, record("restore", "ok"))

    monkeypatch.setitem(JOBS, "restore", replace(JOBS["restore"], task=work))
    nr = fleet_of(fleet.folder, *fleet.machines)
    run_of(nr).selected = frozenset({"a"})
    maintain(nr, ["restore"], options={"restore": {"moment": "m"}, "upgrade": {"x": 1}})
    assert got == [{"moment": "m"}]
