"""A run as people see it, on stderr: where it is, what it has done, what is failing at the moment."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Display:
    """One line that is redrawn on a terminal; plain lines of the steps elsewhere."""

    def __init__(self, console: Console, *, seed: str) -> None:
        self._console = console
        columns = (
            TextColumn(f"seed {seed}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bar = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def step(self, words: str, *, total_s: float | None = None) -> None:
        """A new part of the run begins."""
        self._progress.reset(self._bar, total=total_s, description=words)
        if not self._console.is_terminal:
            self._console.print(words, highlight=False)

    def note(self, words: str, *, done_s: float) -> None:
        """What stands at the moment."""
        self._progress.update(self._bar, completed=done_s, description=words)
