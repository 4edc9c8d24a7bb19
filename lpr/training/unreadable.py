"""What training says about frames that it cannot read: a few named, all counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..types import InputError, Problem
from .setup import SHOWN_PROBLEMS


class UnreadableFrames:
    """Prints by `line`: each frame once, the first few by name, and counts; nothing twice."""

    def __init__(self, line: Callable[[str], None], *, strict: bool) -> None:
        self._line, self._strict = line, strict
        self._named: set[str] = set()
        self._counts: set[str] = set()

    def name(self, problems: Sequence[Problem]) -> None:
        """Name frames that were left out; InputError at the first if strict."""
        for problem in problems:
            if self._strict:
                raise InputError(problem.what, where=problem.where, fix="mend it, or train without data.strict")
            if problem.where in self._named:
                continue
            self._named.add(problem.where)
            if len(self._named) <= SHOWN_PROBLEMS:
                self._line(f"warning: left out: {problem}")
            elif len(self._named) == SHOWN_PROBLEMS + 1:
                self._line("other frames that cannot be read are only counted; python -m lpr.check --images names all")

    def count(self, unreadable: int, frames: int, which: str) -> None:
        """Say how many of `frames` were left out, if any: `which` says of what, as in "frames of epoch 3"."""
        text = f"warning: {unreadable} of {frames} {which} ({unreadable / max(frames, 1):.1%}) cannot be read"
        if unreadable and text not in self._counts:
            self._counts.add(text)
            self._line(text)
