"""How the history of a fleet looks to a person: the last runs, then who changed when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from tasks.status.history import History, PastRun
from tasks.terminal.words import STYLES, clean


def runs_of(history: History) -> Iterator[Text]:
    """A line for each run; beneath it what it did, those together to which the same happened."""
    for run in history.runs:
        yield _head(run)
        alike: dict[tuple[str, str], list[str]] = {}
        for name, machine in run.machines.items():
            if machine.what:
                told = _timed(name, machine.seconds)
                alike.setdefault((machine.status, machine.what), []).append(told)
        for (status, what), names in alike.items():
            style = STYLES.get(status, "")
            yield Text.assemble(
                f"  {', '.join(names)} ", (clean(status), style), f": {clean(what)}"
            )
    for note in history.notes:
        yield Text(clean(note), style="yellow")


def changes_of(history: History) -> Iterator[Text]:
    """A line for each last change, with the machines that it was the last one of.

    What a run did that is told of above is not told again.
    """
    above = {(run.started, run.runbook) for run in history.runs}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, last in history.last_changed.items():
        again = (last.started, last.runbook) in above
        told = name if again else _timed(name, last.seconds)
        what = "" if again else f": {last.what}"
        alike.setdefault((last.started, last.runbook, what), []).append(told)
    for (started, runbook, what), names in sorted(alike.items(), reverse=True):
        yield Text(clean(f"{_when(started)} {runbook}: {', '.join(names)}{what}"))


def _head(run: PastRun) -> Text:
    found = [machine.status for machine in run.machines.values()]
    counts = [f"{found.count(status)} {status}" for status in STYLES if status in found]
    told = ", ".join(counts) or "none of these machines"
    ended = f", ended by {run.ended}" if run.ended else ""
    return Text(clean(f"{_when(run.started)} {run.runbook} {run.seconds:.1f}s: {told}{ended}"))


def _timed(name: str, seconds: float) -> str:
    """A machine and how long it took, where it took any time."""
    return f"{name} ({seconds:.1f}s)" if seconds >= 0.05 else name


def _when(started: str) -> str:
    return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M}"
