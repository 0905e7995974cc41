"""What the job `drift` makes of a dry run of provision, and when maintain comes to it."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts, LxdFacts
from tasks.errors import UnreachableError
from tasks.intent.maintenance import Maintenance
from tasks.intent.windows import Calendar, Freeze
from tasks.maintenance.drift import FEW, find_drift, summary_of
from tasks.maintenance.jobs import JOBS, Job
from tasks.maintenance.maintain import maintain
from tasks.outcome import Status, record
from tasks.plan import Plan, Step
from tasks.report import HostReport, Report
from tasks.run import run_of
from tests.machines import HOST, container_of, fleet_of, host_of, run_on

drift = sys.modules["tasks.maintenance.drift"]


def phase(name: str, status: Status, *steps: str, message: str = "") -> dict[str, Any]:
    made = tuple(Step("update", step, None, diff=f"+{step}") for step in steps)
    return record(name, status, plan=Plan(made), seconds=1, message=message)


def summary(*phases: dict[str, Any]) -> tuple[str, str]:
    entry = summary_of(HostReport("box", "machine", phases=list(phases)))
    assert (entry["phase"], entry["changed"], entry["steps"]) == ("drift", False, [])
    assert entry["seconds"] == len(phases)
    return entry["status"], entry["message"]


def test_a_machine_as_the_inventory_has_it() -> None:
    assert summary(phase("check", "ok"), phase("configure", "ok")) == (
        "ok",
        "as the inventory has it",
    )


def test_one_that_is_declared_as_stopped_is_left_out() -> None:
    assert summary(phase("bootstrap", "skipped", message="not running")) == (
        "skipped",
        "not running",
    )


def test_steps_are_told_by_phase_and_the_first_few_of_many() -> None:
    found = summary(
        phase("lxd", "ok"),
        phase("profiles", "changed", "profile web"),
        phase("configure", "changed", "file /a", "file /b"),
    )
    assert found == (
        "failed",
        "differs from the inventory in profiles: update profile web; configure: update file /a, "
        "update file /b; provision.py --dry-run shows how",
    )
    many = summary(phase("configure", "changed", *(f"file /{n}" for n in range(FEW + 3))))[1]
    assert f"update file /{FEW - 1} and 3 more; provision.py" in many
    assert f"/{FEW}" not in many


def test_what_cannot_be_seen_is_told_beside_what_differs() -> None:
    found = summary(
        phase("profiles", "changed", "profile web"),
        phase("images", "failed", message="box: no server"),
    )
    assert found == (
        "failed",
        "differs from the inventory in profiles: update profile web; images: box: no server",
    )
    assert summary(phase("check", "unreachable", message="no answer")) == (
        "unreachable",
        "check: no answer",
    )


def test_the_diffs_of_all_phases_are_kept() -> None:
    phases = [phase("profiles", "changed", "profile web"), phase("configure", "changed", "file /a")]
    entry = summary_of(HostReport("box", "machine", phases=phases))
    assert entry["diff"] == "+profile web\n+file /a"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """Dry runs of provision that were made, which find that the container differs."""
    made: list[Report] = []

    def provision(nr: Any) -> Report:
        run = run_of(nr)
        assert run.dry_run
        assert nr.data.dry_run
        report = Report("provision", "box", dry_run=True)
        report.declare_fleet(run.intent, run.selected)
        for name in report.hosts:
            differs = name == "web"
            report.add(
                name, phase("configure", "changed", "file /a") if differs else phase("check", "ok")
            )
        made.append(report)
        return report

    monkeypatch.setattr(drift, "provision", provision)
    module = sys.modules[maintain.__module__]

    def answer(host: Host) -> HostFacts:
        lxd = LxdFacts(running=True, instances={"web": {"status": "Running"}})
        run_of(host).facts[host.name] = HostFacts(host.name, lxd=lxd)
        return run_of(host).facts[host.name]

    monkeypatch.setattr(module, "facts_of", answer)
    monkeypatch.setattr(module, "lock_host", lambda host: None)
    return made


def booked(report: Report) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(p["phase"], p["status"]) for p in host.phases]
        for name, host in report.hosts.items()
    }


def test_one_dry_run_for_all_machines_and_no_lock(answers: list[Report], tmp_path: Path) -> None:
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1"))
    report = maintain(nr, ["drift"])
    assert booked(report) == {
        HOST: [("check", "ok"), ("drift", "ok")],
        "web": [("drift", "failed")],
    }
    assert (len(answers), report.exit_status(), report.changed) == (1, 1, False)
    assert run_of(nr).locks == {}


def test_it_comes_after_the_turns_of_all_machines(
    answers: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def health(task: Task) -> Result:
        seen.append(len(answers))
        failed = task.host.name == "web"
        entry = record("health", "failed" if failed else "ok")
        return Result(host=task.host, result=entry, failed=failed)

    monkeypatch.setitem(JOBS, "health", Job(health, changes=False))
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1"))
    report = maintain(nr, ["drift", "health"])
    assert seen == [0, 0]
    assert booked(report)["web"] == [("health", "failed"), ("drift", "failed")]


def test_machines_of_a_host_that_is_not_read_are_skipped(
    answers: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(host: Host) -> HostFacts:
        raise UnreachableError("no answer", where=host.name)

    monkeypatch.setattr(sys.modules[maintain.__module__], "facts_of", silent)
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1"))
    report = maintain(nr, ["drift"])
    assert booked(report) == {HOST: [("check", "unreachable")], "web": [("drift", "skipped")]}
    assert answers == []


def test_a_machine_that_no_job_has_to_do_with_is_left_out(
    answers: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(task: Task) -> Result:
        return Result(host=task.host, result=record("certificates", "ok"))

    kinds = JOBS["certificates"].kinds
    monkeypatch.setitem(JOBS, "certificates", Job(found, changes=False, kinds=kinds, after=True))
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1"))
    assert booked(maintain(nr, ["certificates"])) == {
        HOST: [("check", "ok"), ("certificates", "ok")],
        "web": [("check", "skipped")],
    }
    both = maintain(fleet_of(tmp_path, container_of("web", "192.0.2.1")), ["certificates", "drift"])
    assert booked(both)["web"] == [("drift", "failed")]


def test_what_comes_after_the_turns_keeps_to_the_calendar_and_is_remembered(
    answers: list[Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewed(task: Task) -> Result:
        return Result(host=task.host, result=record("certificates", "ok"))

    kinds = JOBS["certificates"].kinds
    monkeypatch.setitem(JOBS, "certificates", Job(renewed, changes=True, kinds=kinds, after=True))
    frozen = Maintenance(calendar=Calendar(freezes=(Freeze(date(2000, 1, 1), date(2100, 1, 1)),)))
    nr = fleet_of(tmp_path, host_of(maintenance=frozen))
    report = maintain(nr, ["certificates", "drift"])
    assert booked(report)[HOST] == [("check", "ok"), ("certificates", "skipped"), ("drift", "ok")]
    assert report.undone == run_of(nr).state.undone() == {"certificates": [HOST]}
    again = maintain(fleet_of(tmp_path, host_of(maintenance=frozen)), ["certificates"], now=True)
    assert booked(again)[HOST] == [("check", "ok"), ("certificates", "ok")]
    assert run_of(nr).state.undone() == {}


def test_after_the_time_limit_it_is_left_out(answers: list[Report], tmp_path: Path) -> None:
    report = maintain(fleet_of(tmp_path, host_of()), ["drift"], time_limit=0)
    assert (report.out_of_time, report.exit_status(), answers) == (True, 1, [])


def test_the_twin_shares_connections_facts_and_the_count_of_exchanges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nr = fleet_of(tmp_path, host_of())
    run = run_of(nr)
    run.facts[HOST] = HostFacts(HOST)
    run.count(HOST, "execs")
    twins: list[Any] = []

    def provision(twin: Any) -> Report:
        twins.append(twin)
        report = Report("provision", "box", dry_run=True)
        report.declare_fleet(run_of(twin).intent, run_of(twin).selected)
        return report

    monkeypatch.setattr(drift, "provision", provision)
    assert run_on(nr, HOST, find_drift)["status"] == "ok"
    twin, dry = twins[0], run_of(twins[0])
    assert dry is not run
    assert (dry.facts, dry.exchanges[HOST]["execs"], dry.state) == (run.facts, 1, run.state)
    assert dry.hosts[HOST] is not run.hosts[HOST]
    assert dry.hosts[HOST].connections is run.hosts[HOST].connections
    assert run_of(twin.inventory.hosts[HOST]) is dry
    assert run_of(nr.inventory.hosts[HOST]) is run
    assert nr.data.dry_run is False


def test_what_this_run_may_have_changed_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lock:
        alive = True

        def close(self) -> None: ...

    nr = fleet_of(tmp_path, host_of())
    run = run_of(nr)
    run.facts[HOST] = HostFacts(HOST)
    run.locks[HOST] = Lock()
    read: list[Any] = []

    def provision(twin: Any) -> Report:
        read.append(dict(run_of(twin).facts))
        report = Report("provision", "box", dry_run=True)
        report.declare_fleet(run_of(twin).intent, run_of(twin).selected)
        return report

    monkeypatch.setattr(drift, "provision", provision)
    run_on(nr, HOST, find_drift)
    assert read == [{}]


def test_a_machine_that_was_not_selected_is_refused(tmp_path: Path) -> None:
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1"))
    run_of(nr).selected = frozenset({"web"})
    entry = run_on(nr, HOST, find_drift)
    assert entry["status"] == "failed"
    assert "not among what was selected" in entry["message"]
    assert run_of(nr).drift is None
