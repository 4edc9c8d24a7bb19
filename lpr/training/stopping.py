"""Ending a run early without losing it: Ctrl-C, SIGTERM (how queues and containers say stop), a time limit."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Literal

Reason = Literal["", "interrupted", "time"]


class StopRequest:
    """Notes the request; the loop asks `reason` between two steps. Used as a context manager around the loop.

    A second Ctrl-C or SIGTERM acts at once, as without us.
    """

    def __init__(self, max_minutes: float) -> None:
        # The limit counts this call's time: a resumed run gets it anew.
        self._deadline = time.monotonic() + 60 * max_minutes if max_minutes else None
        self._interrupted = False
        self._before: dict[int, Any] = {}

    @property
    def reason(self) -> Reason:
        """Why to stop now, or ""."""
        if self._interrupted:
            return "interrupted"
        if self.seconds_left <= 0:
            return "time"
        return ""

    @property
    def seconds_left(self) -> float:
        """Until the time limit; infinite without one."""
        return math.inf if self._deadline is None else self._deadline - time.monotonic()

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def leave_signals_to_parent() -> None:
    """For a loader's worker: a Ctrl-C reaches the whole process group, but the loop still needs its samples.

    Workers end by themselves when their parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
