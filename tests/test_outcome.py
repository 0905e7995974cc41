"""A phase on its way: what its record says however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from nornir.core.task import Result, Task

from tasks.errors import FleetError, LockedError, UnchangedError, UnreachableError
from tasks.outcome import Attempt
from tasks.plan import Plan, Step
from tasks.report import Report
from tasks.walk import Leg, run_over, walk
from tests.machines import HOST, fleet_of, host_of

PLAN = Plan((Step("update", "file /etc/app.conf", None, diff="-a\n+b"),))


@pytest.mark.parametrize(
    ("error", "begun", "status", "changed"),
    [
        (None, True, "changed", True),
        (FleetError("no"), False, "failed", False),
        (FleetError("no"), True, "failed", True),
        (UnchangedError("no"), True, "failed", False),
        (UnreachableError("no"), True, "unreachable", True),
        (LockedError("no"), True, "failed", True),
        (ValueError("no"), True, "failed", True),
    ],
)
def test_how_a_phase_ended(
    error: Exception | None, begun: bool, status: str, changed: bool
) -> None:
    with Attempt("configure") as attempt:
        attempt.plan = PLAN
        attempt.begun = begun
        if error:
            raise error
    entry = attempt.entry()
    assert (entry["status"], entry["changed"], entry["diff"]) == (status, changed, "-a\n+b")
    assert [step["object"] for step in entry["steps"]] == ["file /etc/app.conf"] * changed
    unchanged = "no; nothing was changed, planned was: update file /etc/app.conf"
    assert entry["message"] == (
        "" if not error
        else unchanged if not changed
        else "internal error: ValueError: no" if isinstance(error, ValueError)
        else "no"
    )  # fmt: skip


def test_with_nothing_planned_all_is_as_wanted() -> None:
    with Attempt("configure") as attempt:
        attempt.plan = Plan(reason="all is there")
    assert (attempt.entry()["status"], attempt.entry()["message"]) == ("ok", "all is there")


def test_an_interrupt_is_nobodys_failure() -> None:
    with pytest.raises(KeyboardInterrupt), Attempt("configure"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("within_a_phase", [True, False])
def test_what_a_machine_raises_is_booked_on_it(tmp_path: Path, within_a_phase: bool) -> None:
    nr = fleet_of(tmp_path, host_of())
    report = Report("provision", "demo")
    report.declare(HOST, "lxd")

    def broken(task: Task) -> Result:
        raise ValueError("broken")

    def go(task: Task) -> Result:
        return walk(task, [Leg("lxd", broken)], report) if within_a_phase else broken(task)

    run_over(nr, [HOST], go, report, name="provision")
    phase = "lxd" if within_a_phase else "check"
    assert [(p["phase"], p["status"], p["message"]) for p in report.hosts[HOST].phases] == [
        (phase, "failed", "internal error: ValueError: broken")
    ]
    assert report.exit_status() == 1
