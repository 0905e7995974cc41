"""Run programs, always with a time limit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.errors import LabError

SANE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
"""The environment of everything the lab runs: nothing of the caller's gets in."""


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 30,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> str:
    """Run a program and return its standard output.

    Arguments:
        command: the program and its arguments
        timeout: seconds
        check: raise when the exit status is not 0
        env: added to a small, fixed environment
        log: write standard output and error there; nothing is returned then

    Raises:
        LabError: not found, too slow, or (with `check`) failed
    """
    words = [str(word) for word in command]
    environment = {**SANE, **(env or {})}
    try:
        if log is not None:
            with log.open("ab") as stream:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    env=environment,
                    check=False,
                )
            output, errors = "", ""
        else:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                env=environment,
                check=False,
            )
            output = done.stdout.decode(errors="replace")
            errors = done.stderr.decode(errors="replace")
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:g} s: {shlex.join(words)}") from error
    if check and done.returncode != 0:
        tail = log.read_text(errors="replace")[-2000:] if log else (errors or output)
        raise LabError(f"exit status {done.returncode}: {shlex.join(words)}\n{tail.strip()}")
    return output


def process_environment() -> dict[str, str]:
    """The environment for the lab's own long-running Python processes."""
    here = Path(__file__).resolve().parents[2]
    return {**SANE, "PYTHONPATH": str(here), "PYTHONDONTWRITEBYTECODE": "1", "PWD": os.sep}
