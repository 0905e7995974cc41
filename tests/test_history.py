"""What ``status.py`` tells of the last runs, from reports that may be broken."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.fleet import open_fleet
from tasks.outcome import Record, record
from tasks.plan import Plan, Step
from tasks.report import Report, as_json
from tasks.run import run_of
from tasks.state import KEPT_REPORTS, StateFolder
from tasks.status.history import SHOWN, History, past_run, read_history
from tasks.status.history_view import changes_of, runs_of
from tasks.status.read import status
from tasks.status.report import StatusReport
from tasks.status.view import as_plain, show_status

MACHINES = ("host", "web", "db")
OK = record("health", "ok")
ILL = record("health", "failed", message="web: failed units:\n  x.service " + "y" * 200)


def changed(*steps: tuple[str, str], seconds: float = 2.0) -> Record:
    plan = Plan(tuple(Step(action, object_, None) for action, object_ in steps))
    return record("upgrade", "changed", plan=plan, seconds=seconds)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state" / "demo")


def keep(state: StateFolder, number: int, machines: dict[str, list[Record]], **values: Any) -> Path:
    """Keep the report of a run on this day of May."""
    report = Report("maintain", "demo", started=f"2024-05-{number:02}T04:30:00+02:00", seconds=9)
    for name, records in machines.items():
        report.declare(name, "container", "host")
        for each in records:
            report.add(name, each)
    for name, value in values.items():
        setattr(report, name, value)
    path = state.keep_report(f"maintain-{number:03}", as_json(report.to_dict()))
    os.utime(path, (number, number))
    return path


def plain(history: History) -> list[str]:
    return [line.plain for line in (*runs_of(history), *changes_of(history))]


def test_the_last_runs_and_further_back_each_machines_last_change(state: StateFolder) -> None:
    keep(state, 1, {"host": [changed(("upgrade", "package a"))], "web": [OK], "gone": [OK]})
    keep(state, 2, {"web": [changed(("create", "file /a"), ("create", "file /b"))], "host": [OK]})
    keep(state, 3, {"web": [OK], "host": [OK]}, out_of_time=True)
    keep(state, 4, {"web": [changed(("restart", "service app"), seconds=5), ILL], "host": [OK]})
    keep(state, 5, {"web": [OK], "host": [OK]}, interrupted=15)
    history = read_history(state.reports, MACHINES)
    assert [run.started[:10] for run in history.runs] == ["2024-05-05", "2024-05-04", "2024-05-03"]
    assert list(history.last_changed) == ["host", "web"]
    assert plain(history) == [
        "2024-05-05 04:30 maintain 9.0s: 2 ok, ended by signal 15",
        "2024-05-04 04:30 maintain 9.0s: 1 ok, 1 failed",
        "  web (5.0s) failed: restart service app; health failed: failed units: x.service "
        + "y" * 76
        + "...",
        "2024-05-03 04:30 maintain 9.0s: 2 ok, ended by time limit",
        "2024-05-04 04:30 maintain: web",
        "2024-05-01 04:30 maintain: host (2.0s): upgrade package a",
    ]
    assert history.to_dict()["last_changed"]["host"] == {
        "started": "2024-05-01T04:30:00+02:00",
        "runbook": "maintain",
        "seconds": 2.0,
        "what": "upgrade package a",
    }


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([("upgrade", "package a")], "upgrade package a"),
        ([("upgrade", f"package {n}") for n in "abc"], "upgrade package (3)"),
        (
            [("upgrade", "package a"), ("install", "package b"), ("upgrade", "package c")],
            "upgrade package (2), install package b",
        ),
        ([("a", "w"), ("b", "x"), ("c", "y"), ("d", "z")], "a w, b x, c y, ..."),
    ],
)
def test_what_changed_in_few_words(
    state: StateFolder, steps: list[tuple[str, str]], what: str
) -> None:
    keep(state, 1, {"web": [changed(*steps)], "db": [changed(*steps)]})
    history = read_history(state.reports, MACHINES)
    assert history.runs[0].machines["web"].what == what
    assert plain(history)[1] == f"  web (2.0s), db (2.0s) changed: {what}"


def test_no_reports_no_history(state: StateFolder) -> None:
    assert read_history(state.reports, MACHINES) == History()
    assert plain(History()) == []


GOOD: dict[str, Any] = {
    "runbook": "maintain",
    "started": "2024-05-01T04:30:00+02:00",
    "seconds": 1,
    "hosts": {},
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no JSON"),
        ('{"runbook": "main', "it is no JSON"),
        ("\xff", "it is no JSON"),
        ("[1, 2]", "it has list where a mapping belongs"),
        (json.dumps({**GOOD, "hosts": None}), "it has NoneType where a mapping belongs"),
        (json.dumps({**GOOD, "hosts": {"web": []}}), "it has list where a mapping belongs"),
        (json.dumps({**GOOD, "started": "yesterday"}), "Invalid isoformat string: 'yesterday'"),
        (json.dumps({**GOOD, "seconds": "long"}), "it has str where a number belongs"),
        (json.dumps({**GOOD, "seconds": 10**400}), "int too large to convert to float"),
        (
            json.dumps({**GOOD, "hosts": {"web": {"status": 1, "phases": [], "seconds": 1}}}),
            "it has int where a text belongs",
        ),
        (
            json.dumps({**GOOD, "hosts": {"web": {"status": "ok", "phases": {}, "seconds": 1}}}),
            "it has dict where a list belongs",
        ),
        (
            json.dumps(
                {
                    **GOOD,
                    "hosts": {
                        "web": {
                            "status": "ok",
                            "seconds": 1,
                            "phases": [{"changed": True, "steps": ["x"]}],
                        }
                    },
                }
            ),
            "it has str where a mapping belongs",
        ),
    ],
)
def test_a_broken_report_is_left_out_with_a_note(
    state: StateFolder, text: str, reason: str
) -> None:
    keep(state, 1, {"web": [changed(("upgrade", "package a"))]})
    (state.reports / "broken.json").write_bytes(text.encode("latin-1"))
    history = read_history(state.reports, MACHINES)
    assert [run.started[:10] for run in history.runs] == ["2024-05-01"]
    assert history.notes == (f"the report broken.json is left out: {reason}",)


def test_what_is_no_file_is_no_report(state: StateFolder) -> None:
    keep(state, 1, {"web": [OK]})
    os.mkfifo(state.reports / "pipe.json")
    (state.reports / "folder.json").mkdir()
    (state.reports / "gone.json").symlink_to("nowhere")
    history = read_history(state.reports, MACHINES)
    assert (len(history.runs), history.notes) == (1, ())


def test_deeply_nested_junk_is_left_out(state: StateFolder) -> None:
    keep(state, 1, {"web": [OK]})
    (state.reports / "deep.json").write_text("[" * 200_000)
    history = read_history(state.reports, MACHINES)
    assert (len(history.runs), len(history.notes)) == (1, 1)


def test_an_older_report_without_what_came_later_is_read() -> None:
    host = {"status": "ok", "seconds": 1, "phases": [{"phase": "check", "status": "ok"}]}
    assert past_run({**GOOD, "hosts": {"web": host}}, MACHINES).machines["web"].status == "ok"


def test_it_reads_no_further_than_it_must_and_is_fast(state: StateFolder) -> None:
    many = [(f"upgrade{n}", f"package a-package-with-a-long-name-{n}") for n in range(10)]
    fleet = {f"web-{n}": [changed(*many)] for n in range(200)}
    for day in range(1, 21):
        keep(state, day, fleet)
    (state.reports / "maintain-001.json").write_text("broken, and never looked at")
    os.utime(state.reports / "maintain-001.json", (1, 1))
    history = read_history(state.reports, list(fleet))
    assert (len(history.runs), history.notes) == (SHOWN, ())
    began = time.monotonic()
    assert read_history(state.reports, [*fleet, "never changed"]).notes
    assert time.monotonic() - began < 3 * KEPT_REPORTS / 20  # for all that are kept


def test_status_shows_it_and_has_it_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "inventory" / "demo"
    folder.mkdir(parents=True)
    (folder / "hosts.yaml").write_text("sbc: {hostname: 192.0.2.1, data: {machine: true}}\n")
    nr = open_fleet(folder, dry_run=True)
    keep(run_of(nr).state, 1, {"sbc": [changed(("upgrade", "package a"))], "left": [OK]})

    report = status(nr)
    history = json.loads(as_json(report.to_dict()))["history"]
    assert list(history["runs"][0]["machines"]) == ["sbc"]
    assert history["last_changed"]["sbc"]["what"] == "upgrade package a"
    stream = io.StringIO()
    show_status(report, stream)
    lines = stream.getvalue().splitlines()
    assert "last runs    2024-05-01 04:30 maintain 9.0s: 1 changed" in lines
    assert "               sbc (2.0s) changed: upgrade package a" in lines
    assert "last changed 2024-05-01 04:30 maintain: sbc" in lines


def test_what_a_machine_said_drives_no_terminal(state: StateFolder) -> None:
    ill = record("health", "failed", message="\x1b]0;owned\x07 [red]bad")
    keep(state, 1, {"web": [ill]})
    history = read_history(state.reports, MACHINES)
    text = as_plain(replace(StatusReport("demo", "", 1.0), history=history))
    assert "\x1b" not in text
    assert "[red]bad" in text
