"""A report shown to whoever looks: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from tasks.report import Report
from tasks.terminal.words import as_text


def present(report: Report, *, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Write a report to ``stream`` or standard output: a table with colours when a terminal.

    With ``quiet`` nothing at all is written when nothing changed and nothing failed, and what is
    as wanted is left out otherwise.
    """
    if quiet and not report.changed and not report.failed:
        return
    stream = stream or sys.stdout
    if stream.isatty():
        # cron and pipes need no rich, which takes its time to import
        from tasks.terminal.table import print_table  # noqa: PLC0415

        print_table(report, stream, quiet=quiet)
    else:
        text = as_text(report, quiet=quiet) + "\n"
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
