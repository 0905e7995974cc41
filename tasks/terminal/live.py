"""The lines of a run's progress that a terminal draws anew several times a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tasks.terminal.words import STYLES


class LiveTable:
    """One line for each busy machine; what ended is told above them."""

    def __init__(
        self, stream: TextIO, busy: Callable[[], Sequence[tuple[str, str, float]]]
    ) -> None:
        """``busy`` gives each busy machine, its phase and the seconds it has taken so far."""
        self._busy = busy
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render,
            console=Console(file=stream),
            transient=True,
            refresh_per_second=8,
        )

    def start(self) -> None:
        """Start drawing."""
        self._live.start()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def tell(self, machine: str, phase: str, status: str, seconds: float) -> None:
        """Write how a machine's phase ended, for good."""
        line = Text.assemble(f"{machine} {phase} ", (status, STYLES[status]))
        self._live.console.print(line.append(f" {seconds:.1f}s"))

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for machine, phase, seconds in self._busy():
            table.add_row(self._spinner, Text(machine), Text(phase), Text(f"{seconds:.0f}s"))
        return table
