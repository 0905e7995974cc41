"""The shell scripts that run on the machines: POSIX sh, nothing else needed there."""

from __future__ import annotations

import shlex
from functools import cache
from importlib.resources import files


def on_host(name: str, *arguments: str) -> str:
    """The text of one of these scripts, its positional parameters set to ``arguments``.

    ``name`` is the file's name without ``.sh``. Arguments are no place for a secret: those go
    over standard input.
    """
    return f"set -- {shlex.join(arguments)}\n{script_of(name)}"


@cache
def script_of(name: str) -> str:
    """The text of one of these scripts as it is, for a host that keeps it as a file."""
    return files(__name__).joinpath(f"{name}.sh").read_text(encoding="utf-8")
