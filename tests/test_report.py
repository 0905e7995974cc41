from __future__ import annotations

import io
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from nornir import InitNornir
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.inventory import InventoryPluginRegister
from nornir.core.task import Result, Task
from rich.console import Console

from tasks.intent.model import Intent
from tasks.outcome import Record, Status, record, result_of
from tasks.plan import Plan, Step
from tasks.report import Report, to_rows, write_json, write_private
from tasks.run import RUN_KEY, Run
from tasks.state import StateFolder
from tasks.terminal.present import present
from tasks.terminal.progress import Progress
from tasks.terminal.table import as_table
from tasks.terminal.words import as_text
from tasks.walk import Leg, walk

EMPTY = Intent(Path("none"), {}, {}, {}, {}, {}, {})
ANSI = re.compile(r"\x1b\[")
STEP = Step("create", "profile demo", None, "not there yet", "+++ profile demo\n+config: {}")


def entry(phase: str, status: Status, **options: Any) -> Record:
    plan: Plan[None] | None = Plan((STEP,)) if status == "changed" else None
    return record(phase, status, plan=options.pop("plan", plan), **options)


def report_of(**machines: list[Record]) -> Report:
    """One LXD host, its container, a plain machine; as many as have records."""
    report = Report("provision", "demo", started="2024-05-01T12:00:00+02:00")
    kinds = {"host": ("lxd", None), "web": ("container", "host"), "sbc": ("machine", None)}
    for name, records in machines.items():
        report.declare(name, *kinds[name])
        for each in records:
            report.add(name, each)
    return report


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ([], "ok"),
        (["ok", "ok"], "ok"),
        (["ok", "changed", "ok"], "changed"),
        (["changed", "skipped"], "skipped"),
        (["skipped", "unreachable"], "unreachable"),
        (["unreachable", "failed", "ok"], "failed"),
    ],
)
def test_a_machine_is_as_bad_as_its_worst_phase(statuses: list[Status], worst: str) -> None:
    report = report_of(host=[entry("check", status) for status in statuses])
    assert report.hosts["host"].status == worst


@pytest.mark.parametrize(
    ("options", "statuses", "status"),
    [
        ({}, ["ok"], 0),
        ({}, ["changed"], 0),
        ({}, ["ok", "skipped"], 0),
        ({}, ["failed"], 1),
        ({}, ["changed", "unreachable"], 1),
        ({"dry_run": True}, ["ok"], 0),
        ({"dry_run": True}, ["changed"], 3),
        ({"dry_run": True}, ["changed", "skipped"], 3),
        ({"dry_run": True}, ["changed", "failed"], 1),
        ({"dry_run": True}, ["skipped"], 0),
        ({"locked": True}, ["failed"], 4),
        ({"locked": True, "dry_run": True}, ["changed"], 4),
        ({"interrupted": 15}, ["failed"], 143),
        ({"interrupted": 2, "locked": True}, ["ok"], 130),
    ],
)
def test_exit_status(options: dict[str, Any], statuses: list[Status], status: int) -> None:
    report = report_of(host=[entry("check", each) for each in statuses])
    for name, value in options.items():
        setattr(report, name, value)
    assert report.exit_status() == status


def test_the_report_has_exactly_the_documented_shape() -> None:
    report = report_of(
        host=[entry("profiles", "changed", seconds=1.234)],
        web=[entry("containers", "skipped", message="its LXD host failed")],
    )
    report.hosts["host"].exchanges = {"execs": 2, "requests": 3}
    report.seconds = 2.3456
    assert report.to_dict() == {
        "runbook": "provision",
        "inventory": "demo",
        "dry_run": False,
        "started": "2024-05-01T12:00:00+02:00",
        "seconds": 2.35,
        "summary": {"ok": 0, "changed": 1, "failed": 0, "unreachable": 0, "skipped": 1},
        "hosts": {
            "host": {
                "status": "changed",
                "kind": "lxd",
                "on": None,
                "seconds": 1.23,
                "phases": [
                    {
                        "phase": "profiles",
                        "status": "changed",
                        "changed": True,
                        "steps": [
                            {
                                "action": "create",
                                "object": "profile demo",
                                "detail": "not there yet",
                            }
                        ],
                        "diff": "+++ profile demo\n+config: {}",
                        "seconds": 1.23,
                        "message": "",
                    }
                ],
                "exchanges": {"execs": 2, "requests": 3},
            },
            "web": {
                "status": "skipped",
                "kind": "container",
                "on": "host",
                "seconds": 0,
                "phases": [
                    {
                        "phase": "containers",
                        "status": "skipped",
                        "changed": False,
                        "steps": [],
                        "diff": "",
                        "seconds": 0.0,
                        "message": "its LXD host failed",
                    }
                ],
            },
        },
    }


def test_started_has_a_zone() -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", Report("provision", "demo").started
    )


def test_threads_may_book_at_the_same_time() -> None:
    report = report_of(host=[])

    def book() -> None:
        for _ in range(200):
            report.declare("web", "container", "host")
            report.add("web", entry("check", "ok", seconds=0.01))

    threads = [threading.Thread(target=book) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(report.hosts["web"].phases) == 1600
    assert report.seconds_by_phase() == {"check": 16.0}


def test_rows_are_flat_one_for_each_machine_and_phase() -> None:
    rows = to_rows(
        report_of(host=[entry("check", "ok"), entry("profiles", "changed")], web=[entry("a", "ok")])
    )
    assert [(r["host"], r["phase"], r["changed"], r["steps"]) for r in rows] == [
        ("host", "check", False, 0),
        ("host", "profiles", True, 1),
        ("web", "a", False, 0),
    ]
    assert all(not isinstance(value, list | dict) for row in rows for value in row.values())


def test_json_is_private_and_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o644)
    write_json({"a": "é"}, path)
    assert json.loads(path.read_text()) == {"a": "é"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_to_a_pipe_is_written_into_it_not_over_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_json({"a": 1}, pipe)
    reader.join(5)
    assert json.loads(read[0]) == {"a": 1}
    assert pipe.is_fifo()


def test_json_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "report.json")
    write_private(link, "{}")
    assert link.is_symlink()
    assert (tmp_path / "real" / "report.json").read_text() == "{}"


def test_json_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"a": 1}, "-")
    assert json.loads(capsys.readouterr().out) == {"a": 1}


FAILED = entry("images", "failed", message="host: no space left\non the disk; make room")
LONG = "x" * 300


def test_plain_lines_group_containers_under_their_host() -> None:
    report = report_of(
        host=[entry("check", "ok"), entry("profiles", "changed", seconds=1.2), FAILED],
        web=[entry("containers", "skipped", message="its LXD host failed")],
        sbc=[entry("configure", "ok", message="as wanted")],
    )
    report.seconds = 3
    assert as_text(report).splitlines() == [
        "host failed 1.2s",
        "  profiles changed: create profile demo (not there yet)",
        "  images failed: no space left",
        "      on the disk; make room",
        "  web skipped 0.0s",
        "    containers skipped: its LXD host failed",
        "sbc ok 0.0s",
        "provision demo: 1 ok, 1 failed, 1 skipped; 3.0s",
        "by phase, over all machines: profiles 1.2s",
    ]


@pytest.mark.parametrize(
    ("edges", "line"),
    [
        (
            {"host": {"host": "ok"}, "peer": {"host": "ok"}},
            "remotes: 2 of 2 edges proven",
        ),
        (
            {"host": {"host": "ok", "peer": "ok"}},
            "remotes: 2 of 2 edges proven; those from peer were not asked",
        ),
        (
            {
                "host": {"away": "unreachable", "host": "ok", "peer": "untrusted"},
                "peer": {"away": "unreachable", "host": "ok", "peer": "ok"},
            },
            "remotes: 3 of 6 edges proven; unreachable: host to away, peer to away; "
            "untrusted: host to peer",
        ),
    ],
)
def test_the_mesh_is_one_line_that_names_what_is_not_proven(
    edges: dict[str, dict[str, str]], line: str
) -> None:
    report = report_of(host=[entry("prove", "ok")])
    report.declare("peer", "lxd")
    for name, found in edges.items():
        report.hosts[name].edges = found
    assert as_text(report).splitlines()[3] == line
    assert line in " ".join(on_terminal(report, width=200).split())


def test_what_was_left_undone_is_a_line_of_its_own() -> None:
    report = report_of(host=[entry("upgrade", "skipped")], web=[entry("upgrade", "skipped")])
    report.undone = {"upgrade": ["host", "web"], "tidy": ["web"]}
    line = "left undone, first in the next run: upgrade on host, web; tidy on web"
    assert line in as_text(report).splitlines()
    assert line in on_terminal(report, width=200)
    assert report.to_dict()["undone"] == report.undone


def test_a_dry_run_says_pending_and_shows_the_diffs() -> None:
    report = report_of(
        host=[entry("profiles", "changed"), entry("prove", "skipped", message="dry run")]
    )
    report.dry_run = True
    text = as_text(report)
    assert text.splitlines()[:4] == [
        "host pending 0.0s",
        "  profiles pending: create profile demo (not there yet)",
        "    +++ profile demo",
        "    +config: {}",
    ]
    assert text.splitlines()[-1] == "provision demo: 1 pending; dry run, nothing was changed; 0.0s"
    assert "1 changed" not in text


def test_a_machine_that_no_phase_has_to_do_with_is_skipped_with_the_reason(
    nornir: Nornir,
) -> None:
    report = Report("provision", "demo")
    report.declare("one", "machine")
    nornir.inventory.hosts["one"].defaults.data[RUN_KEY] = Run(EMPTY, StateFolder(Path("none")))
    nornir.filter(name="one").run(task=lambda task: walk(task, [], report))
    assert report.exit_status() == 0
    assert as_text(report).splitlines()[:2] == [
        "one skipped 0.0s",
        "  check skipped: none of these phases has to do with it",
    ]


@pytest.mark.parametrize(
    ("status", "blocks", "passable", "phases"),
    [
        ("failed", True, False, ["images failed"]),
        ("failed", False, False, ["images failed", "containers ok"]),
        ("failed", True, True, ["images failed", "containers ok"]),
        ("unreachable", False, False, ["images unreachable"]),
    ],
)
def test_a_failure_that_does_not_block_is_booked_and_the_way_goes_on(
    nornir: Nornir, status: Status, phases: list[str], *, blocks: bool, passable: bool
) -> None:
    def leg(phase: str, status: Status, *, blocks: bool = True) -> Leg:
        booked = {**entry(phase, status), "passable": passable}
        return Leg(phase, lambda task: result_of(task, booked), blocks=blocks)

    report = Report("provision", "demo")
    report.declare("one", "lxd")
    nornir.inventory.hosts["one"].defaults.data[RUN_KEY] = Run(EMPTY, StateFolder(Path("none")))
    legs = [leg("images", status, blocks=blocks), leg("containers", "ok")]
    nornir.filter(name="one").run(task=lambda task: walk(task, legs, report))
    assert [f"{p['phase']} {p['status']}" for p in report.hosts["one"].phases] == phases
    assert report.hosts["one"].status == status
    assert report.lost("one") is not passable
    assert report.lost("one", despite=["images"]) is (status == "unreachable")


def test_a_note_is_shown_though_nothing_changed() -> None:
    plan: Plan[None] = Plan(reason="as wanted", notes=("web-09 left the inventory",))
    report = report_of(host=[entry("containers", "ok", plan=plan)])
    assert "  containers ok: as wanted; web-09 left the inventory" in as_text(report).splitlines()


@pytest.mark.parametrize(
    ("statuses", "silent"),
    [(["ok"], True), (["ok", "skipped"], True), (["changed"], False), (["unreachable"], False)],
)
def test_quiet_is_silent_when_nothing_happened(statuses: list[Status], silent: bool) -> None:
    stream = io.StringIO()
    report = report_of(host=[entry("check", s) for s in statuses], sbc=[entry("check", "ok")])
    present(report, quiet=True, stream=stream)
    assert (stream.getvalue() == "") is silent
    assert "sbc" not in stream.getvalue()


def test_a_pipe_gets_neither_colours_nor_what_a_machine_wants_to_do_to_a_terminal() -> None:
    stream = io.StringIO()
    evil = "\x1b]0;owned\x07 [bold]not markup[/bold]"
    report = report_of(host=[entry("check", "failed", message=evil)])
    present(report, stream=stream)
    assert "\x1b" not in stream.getvalue()
    assert "[bold]not markup[/bold]" in stream.getvalue()


def test_a_pipe_that_knows_no_unicode_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    present(report_of(host=[entry("check", "failed", message="naïve")]), stream=stream)
    assert rb"na\xefve" in raw.getvalue()


def on_terminal(report: Report, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(as_table(report, **options))
    return captured.get()


def test_a_terminal_gets_a_table_of_its_width_that_loses_nothing() -> None:
    name = "a-host-with-a-name-of-sixty-three-letters-which-is-the-most-one-"
    report = Report("provision", "demo")
    report.declare(name, "lxd")
    report.declare("web", "container", name)
    report.add(name, entry("check", "failed", message=LONG))
    report.add(name, entry("bridges", "changed"))
    report.add("web", entry("containers", "changed", plan=Plan((Step("update", LONG, None),))))
    text = on_terminal(report)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert ANSI.search(text)
    assert max(map(len, plain.splitlines())) <= 80
    assert plain.replace("sixty", "").count("x") == 600
    assert "bridges changed: create profile demo (not there yet)" in re.sub(r"\s+", " ", plain)
    assert name in plain


def test_a_terminal_shows_diffs_and_markup_as_they_are() -> None:
    step = Step("update", "file /etc/[motd]", None, diff="-[red]a[/red]\n+b")
    report = report_of(host=[entry("configure", "changed", plan=Plan((step,)))])
    report.dry_run = True
    plain = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(report))
    assert "file /etc/[motd]" in plain
    assert "-[red]a[/red]" in plain
    assert "pending" in plain


class _Names:
    """An inventory plug-in with two hosts, as plain Nornir knows them."""

    def load(self) -> Inventory:
        hosts = Hosts({name: Host(name) for name in ("one", "two")})
        return Inventory(hosts=hosts, groups=Groups(), defaults=Defaults())


@pytest.fixture
def nornir() -> Nornir:
    InventoryPluginRegister.auto_register()
    InventoryPluginRegister.register("two-names", _Names)
    try:
        return InitNornir(
            inventory={"plugin": "two-names"},
            logging={"enabled": False},
            runner={"plugin": "serial"},
        )
    finally:
        InventoryPluginRegister.deregister("two-names")


def part(task: Task) -> Result:
    return Result(host=task.host)


def containers(task: Task) -> Result:
    mine = {"web": entry("containers", "changed", seconds=2.5), "db": entry("containers", "ok")}
    return Result(host=task.host, result={**entry("containers", "ok"), "containers": mine})


def bridges(task: Task) -> Result:
    task.run(task=part, name="a part of it")
    return Result(host=task.host, result=entry("bridges", "changed"))


def broken(task: Task) -> Result:
    raise ValueError("broken")


def phases(task: Task) -> Result:
    task.run(task=bridges, name="bridges")
    if task.host.name == "two":
        task.run(task=broken, name="lxd")
    return Result(host=task.host)


def test_progress_tells_a_pipe_each_phase_as_it_ends(nornir: Nornir) -> None:
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        nornir.with_processors([progress]).run(task=phases)
    assert re.sub(r"\d+\.\d", "N", stream.getvalue()).splitlines() == [
        "one bridges changed Ns",
        "two bridges changed Ns",
        "two lxd failed Ns",
    ]


def test_progress_tells_what_became_of_each_container(nornir: Nornir) -> None:
    def raising(task: Task) -> Result:
        task.run(task=containers, name="containers")
        return Result(host=task.host)

    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        nornir.filter(name="one").with_processors([progress]).run(task=raising)
    assert stream.getvalue().splitlines() == [
        "web containers changed 2.5s",
        "db containers ok 0.0s",
        "one containers ok 0.0s",
    ]


def test_progress_is_silent_when_quiet(nornir: Nornir) -> None:
    stream = io.StringIO()
    with Progress(quiet=True, stream=stream) as progress:
        nornir.with_processors([progress]).run(task=phases)
    assert stream.getvalue() == ""


def test_progress_that_fails_does_not_end_the_run(nornir: Nornir) -> None:
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        stream.close()
        results = nornir.with_processors([progress]).run(task=phases)
    assert not results["one"].failed


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_live_and_leaves_it_clean(
    nornir: Nornir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()

    def slow(task: Task) -> Result:
        threading.Event().wait(0.4)
        return Result(host=task.host, result=entry("slow", "ok"))

    def one(task: Task) -> Result:
        task.run(task=slow, name="slow phase")
        task.run(task=bridges, name="bridges")
        return Result(host=task.host)

    with Progress(stream=stream) as progress:
        nornir.with_processors([progress]).run(task=one)
    text = stream.getvalue()
    assert "slow phase" in text
    assert "bridges" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again
