"""What cron mails of a run: who failed, who changed, who was left out, and nothing else."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tasks.maintenance.upgrade.packages import happened
from tasks.outcome import Record, record
from tasks.plan import Plan, Step
from tasks.report import Report
from tasks.terminal.mail import WIDTH, as_mail
from tasks.terminal.present import present

BEFORE = {"libc6": "2.36-9", "openssl": "3.0.11-1", "old": "1"}
UPGRADED = record("upgrade", "changed", plan=happened(BEFORE, {"libc6": "2.36-10", "new": "1"}))
WELL = record("health", "ok", message="disk 20 %")
ILL = record("health", "failed", message="db: failed units: postgresql.service")
STOPPED = record("check", "skipped", message="it is stopped on host")
LATE = record("upgrade", "skipped", message="the time limit of 60 minutes was over")


def report_of(machines: dict[str, list[Record]], **values: Any) -> Report:
    report = Report("maintain", "demo", started="2024-05-01T04:30:00+02:00", seconds=321.2)
    report.declare("host", "lxd")
    for name, records in machines.items():
        report.declare(name, "container", "host")
        for each in records:
            report.add(name, each)
    for name, value in values.items():
        setattr(report, name, value)
    return report


def mailed(report: Report) -> str:
    stream = io.StringIO()
    present(report, quiet=True, stream=stream)
    return stream.getvalue()


def test_failures_come_first_and_those_alike_together() -> None:
    report = report_of(
        {
            "web-01": [UPGRADED, WELL],
            "web-02": [UPGRADED, WELL],
            "fine": [record("upgrade", "ok", message="nothing to upgrade"), WELL],
            "db": [UPGRADED, ILL],
            "gone": [STOPPED],
            "away": [STOPPED],
        }
    )
    assert mailed(report).splitlines() == [
        "maintain demo: of 7 machines 1 failed, 2 changed, 2 skipped, 2 as wanted.",
        "",
        "db: failed, and changed",
        "  upgrade changed: 4 packages",
        "    libc6 2.36-9 -> 2.36-10",
        "    install new 1",
        "    remove old 1",
        "    remove openssl 3.0.11-1",
        "  health failed",
        "    failed units: postgresql.service",
        "",
        "web-01, web-02: changed",
        "  upgrade changed: 4 packages",
        "    libc6 2.36-9 -> 2.36-10",
        "    install new 1",
        "    remove old 1",
        "    remove openssl 3.0.11-1",
        "",
        "Skipped:",
        "  gone, away: it is stopped on host",
        "",
        "Started 2024-05-01 04:30, took 5 min 21 s.",
    ]


def test_what_the_time_limit_left_undone_is_told_though_nothing_changed() -> None:
    report = report_of({"web-01": [LATE], "web-02": [LATE]}, out_of_time=True, seconds=42)
    assert mailed(report).splitlines() == [
        "maintain demo ended by time limit: of 3 machines 2 skipped, 1 as wanted.",
        "",
        "Skipped:",
        "  web-01, web-02: the time limit of 60 minutes was over",
        "",
        "Started 2024-05-01 04:30, took 42 s.",
    ]


def test_a_signal_is_named() -> None:
    text = mailed(report_of({"web-01": [WELL]}, interrupted=15))
    assert text.startswith("maintain demo ended by signal 15: of 2 machines 2 as wanted.\n")


@pytest.mark.parametrize("records", [[], [WELL], [STOPPED], [WELL, STOPPED]])
def test_when_nothing_changed_and_nothing_failed_there_is_no_mail(records: list[Record]) -> None:
    assert mailed(report_of({"web-01": records})) == ""


def test_lines_fit_a_mail_and_no_word_is_cut() -> None:
    name, version = "linux-image-" + "x" * 60, "6.1.76-" + "1" * 60
    upgraded = record("upgrade", "changed", plan=happened({}, {name: version}))
    message = "web: " + "a word and another one " * 20 + "\n" + "y" * 100
    failed = record("health", "failed", message=message)
    lines = mailed(report_of({"web": [upgraded, failed]})).splitlines()
    assert f"      {version}" in lines
    assert f"    {'y' * 100}" in lines
    assert all(len(line) <= WIDTH or " " not in line.strip() for line in lines)
    assert " ".join(" ".join(lines).split()).count("a word and another one") == 20


def test_a_dry_run_shows_the_diffs_but_packages_once() -> None:
    step = Step("update", "file /etc/motd", None, "content", diff="-a\n+b")
    configured = record("configure", "changed", plan=Plan((step,)))
    text = mailed(report_of({"web": [UPGRADED, configured]}, dry_run=True))
    assert text.splitlines()[:1] == [
        "maintain demo: of 2 machines 1 pending, 1 as wanted; dry run, nothing was"
    ]
    assert "    update file /etc/motd (content)\n      -a\n      +b\n" in text
    assert "+libc6" not in text


def test_what_a_machine_says_drives_no_terminal() -> None:
    failed = record("health", "failed", message="\x1b]0;owned\x07 bad")
    assert "\x1b" not in as_mail(report_of({"web": [failed]}))


def test_edges_are_told_only_where_one_is_not_proven() -> None:
    report = report_of({"web": [UPGRADED]})
    report.hosts["host"].edges = {"host": "ok", "peer": "ok"}
    assert "edges" not in mailed(report)
    report.hosts["host"].edges = {"host": "ok", "peer": "untrusted"}
    assert "remotes: 1 of 2 edges proven; untrusted: host to peer" in mailed(report)
