"""Standard output and error, which may be closed, full, or gone before the run has ended.

A run is as it was also where nobody can be told of it: what cannot be written is said once, and is
no failure of the run.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make standard output and error usable for as long as the context lasts, whatever they are.

    At its end nothing is left in them that could fail when the process exits.
    """
    _occupy()
    if sys.stderr is None:  # as Python has it where the descriptor is closed
        sys.stderr = _nowhere()
    if sys.stdout is None:
        sys.stdout = _Closed()
    try:
        yield
    finally:
        tell(lambda: None)


def tell(write: Callable[[], object]) -> None:
    """Write to standard output; where it does not take it, say so on standard error instead."""
    try:
        write()
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        complain(f"not everything is told: {reason} (standard output)")
        sys.stdout = _silenced(sys.stdout)


def complain(*lines: object) -> None:
    """Write lines to standard error, as far as it takes them."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = _silenced(sys.stderr)


class _Closed(io.TextIOBase):
    """A standard output that is not there."""

    def write(self, text: str) -> NoReturn:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _occupy() -> None:
    """Nothing that is opened later may get the number of a standard stream."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _silenced(stream: TextIO) -> TextIO:
    """A stream in place of one that takes no more.

    What is left in that one goes nowhere, so that Python has nothing to say of it at its exit.
    """
    nowhere = _nowhere()
    with suppress(OSError, ValueError):
        os.dup2(nowhere.fileno(), stream.fileno())
        stream.flush()
    return nowhere


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
