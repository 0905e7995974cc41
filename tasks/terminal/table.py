"""A report as a table with colours, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from tasks.outcome import Record
from tasks.report import HostReport, Report
from tasks.terminal.words import (
    STYLES,
    clean,
    grouped,
    label,
    mesh,
    minutes,
    newsworthy,
    status_label,
    totals,
    undone,
    what_happened,
    worth_a_line,
)


def print_table(report: Report, stream: TextIO, *, quiet: bool = False) -> None:
    """Write a report to a terminal; with ``quiet`` without what is as wanted."""
    Console(file=stream).print(as_table(report, quiet=quiet))


def as_table(report: Report, *, quiet: bool = False) -> RenderableType:
    """A report for a terminal of any width: a row for each machine, what happened beneath it.

    In a dry run the diffs follow.
    """
    shown = [(d, h) for d, h in grouped(report) if newsworthy(h) or not quiet]
    names = max([7, *(len(host.name) + 2 * depth for depth, host in shown)])
    parts: list[RenderableType] = []
    if shown:
        parts.append(Text(f"{'machine':{names}}  {'status':11} {'time':>7}", style="bold"))
    for depth, host in shown:
        status = label(host, report.dry_run)
        name = f"{'  ' * depth}{host.name}"
        parts.append(
            Text.assemble(
                (f"{name:{names}}", "" if depth else "bold"),
                "  ",
                (f"{status:11}", STYLES[status]),
                f" {host.seconds:6.1f}s",
            )
        )
        told = [_line(host, phase, report.dry_run) for phase in host.phases if worth_a_line(phase)]
        parts += [Padding(line, (0, 0, 0, 2 * depth + 4)) for line in told]
    lines = [*undone(report), *mesh(report), *minutes(report)]
    footer = [Text(totals(report), style="bold"), *(Text(line) for line in lines)]
    return Group(*parts, *_diffs(report), Text(), *footer)


def _line(host: HostReport, phase: Record, dry_run: bool) -> Text:
    status = status_label(phase["status"], dry_run)
    said = what_happened(host, phase)
    head = Text.assemble((phase["phase"], "bold"), " ", (status, STYLES[status]))
    return head.append(f": {said}" if said else "")


def _diffs(report: Report) -> Iterator[RenderableType]:
    if not report.dry_run:
        return
    for _, host in grouped(report):
        for phase in host.phases:
            if phase["diff"]:
                yield Text(f"\n{host.name} {phase['phase']}", style="bold")
                diff = Syntax(
                    clean(phase["diff"]),
                    "diff",
                    theme="ansi_dark",
                    word_wrap=True,
                    background_color="default",
                )
                yield Padding(diff, (0, 0, 0, 2))
