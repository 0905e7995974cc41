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
    return f"set -- {shlex.join(arguments)}\n{_text(name)}"


@cache
def _text(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sh").read_text(encoding="utf-8")
