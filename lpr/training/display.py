"""Progress on stderr: a bar with figures on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

#: Seconds between two plain lines: a log file stays short, and a person sees within a breath that it goes on.
LINE_EVERY_S = 10.0


def time_to_go(seconds: float) -> str:
    """An estimate as people say it."""
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} minute{'s' if minutes > 1 else ''} to go"


class Display:
    """Shows one epoch at a time; used as a context manager around the whole run. Of several processes one speaks."""

    def __init__(self, epochs: int, *, silent: bool = False) -> None:
        self.epochs = epochs
        self._silent = silent
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown = time.monotonic()
        if self._console.is_terminal and not silent:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                transient=True,
            )

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def start_epoch(self, epoch: int, batches: int, done: int) -> None:
        """Begin epoch number `epoch` (from 1) of `batches` batches, `done` of which a resumed run has behind it."""
        self._label, self._batches = f"epoch {epoch}/{self.epochs}", batches
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(self._label, total=batches, completed=done, figures="")

    def step(self, done: int, figures: str) -> None:
        """Show that `done` batches of the epoch are finished."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif time.monotonic() - self._shown >= LINE_EVERY_S:
            self.line(f"{self._label}, batch {done}/{self._batches}: {figures}")

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._shown = time.monotonic()
        if self._bar:
            self._bar.console.print(text, markup=False)
        elif not self._silent:
            print(text, file=sys.stderr, flush=True)
