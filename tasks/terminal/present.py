"""A report shown to whoever looks: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tasks.plan import Plan
from tasks.report import Report
from tasks.terminal.mail import as_mail
from tasks.terminal.words import as_text, clean


def present(report: Report, *, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Write a report to ``stream`` or standard output: a table with colours when a terminal.

    With ``quiet`` nothing at all is written when nothing changed and nothing failed, and nothing
    ended the run before it was done; otherwise what is as wanted is left out, and a pipe gets the
    body of a mail.
    """
    if quiet and not (report.changed or report.failed or report.ended):
        return
    stream = stream or sys.stdout
    if stream.isatty():
        # cron and pipes need no rich, which takes its time to import
        from tasks.terminal.table import print_table  # noqa: PLC0415

        print_table(report, stream, quiet=quiet)
    else:
        text = (as_mail(report) if quiet else as_text(report)) + "\n"
        _write(text, stream)


def show_plan(plan: Plan[Any], *, dry_run: bool, stream: TextIO | None = None) -> None:
    """Write what was done on this machine, or in a dry run would be, as plain lines."""
    stream = stream or sys.stdout
    lines = []
    for step in plan.steps:
        lines.append(step.what + (f" ({step.detail})" if step.detail else ""))
        lines += [f"  {line}" for line in step.diff.splitlines()]
    if not plan.changed:
        lines.append(f"nothing to change: {plan.reason}")
    elif dry_run:
        lines.append("dry run, nothing was changed")
    _write("".join(f"{clean(line)}\n" for line in [*lines, *plan.notes]), stream)


def _write(text: str, stream: TextIO) -> None:
    """Write text to a stream that may not know all of its characters."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
