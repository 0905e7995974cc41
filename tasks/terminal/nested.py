"""The nested results of Nornir's runs, as ``-v`` shows them: in colours on a terminal only."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import TextIO

from nornir.core.task import AggregatedResult

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: print_result begins a line with its colour and leaves the end of it to colorama.
COLOURED_LINE = re.compile(r"^(\x1b\[.*)$", re.MULTILINE)


def show_nested(results: Iterable[AggregatedResult], stream: TextIO | None = None) -> None:
    """Write Nornir's results to ``stream`` or standard output, but of no run over no machine."""
    stream = stream or sys.stdout
    streams = sys.stdout, sys.stderr
    # only here: its import wraps both streams so that colours reach files and pipes
    from nornir_utils.plugins.functions import print_result  # noqa: PLC0415

    sys.stdout, sys.stderr = streams
    for result in results:
        if result:
            with redirect_stdout(io.StringIO()) as text:
                print_result(result)
            shown = text.getvalue()
            if stream.isatty():
                shown = COLOURED_LINE.sub("\\1\x1b[0m", shown)
            else:
                shown = COLOUR.sub("", shown)
            stream.write(shown)
