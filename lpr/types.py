"""The nouns of the project: frozen dataclasses that every room may import. Imports nothing of ours.

Axes letters, the same everywhere: B batch, F frames, C channels or classes, H and W pixels, T CTC steps,
L characters. `log` is natural, `prob` is a probability, units stand in names (`_px`, `_ms`, `_deg`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: Class 0 is the CTC blank; class i + 1 is ALPHABET[i]. A checkpoint carries its own alphabet.
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

FrameKind = Literal["lr", "hr"]
Severity = Literal["error", "warning"]

#: One image's plate corners: name of the corner ("top-left", ...) -> (x_px, y_px).
Corners = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a track on disk. `index` counts from 1 within its kind, as in `lr-001.png`."""

    path: Path
    index: int
    kind: FrameKind = "lr"


@dataclass(frozen=True, slots=True)
class Track:
    """All frames of one passing plate, and what is known of it.

    `id` is the bare folder name (competition) or file stem (single images). `text` is the normalised label or
    None. `layout` is the name of a format in `configs/formats` ("brazilian", "mercosur") or None. `scenario` is
    "A", "B" or None. `corners` maps an image's file name to its four corners, where annotated. `label_at` is the
    file (and line) that the text was read from, so that messages about the label can name it. `source` is the name of
    the data source that a training run found it in, "" where sources have no names.
    """

    id: str
    frames: tuple[Frame, ...]
    text: str | None = None
    layout: str | None = None
    scenario: str | None = None
    corners: Mapping[str, Corners] = field(default_factory=dict)
    label_at: str = ""
    source: str = ""

    @property
    def lr(self) -> tuple[Frame, ...]:
        """The low-resolution frames: the only ones that reading and scoring may look at."""
        return tuple(f for f in self.frames if f.kind == "lr")

    @property
    def hr(self) -> tuple[Frame, ...]:
        """The high-resolution frames: training only. hr-001 and lr-001 are different moments."""
        return tuple(f for f in self.frames if f.kind == "hr")


def printable(name: str) -> str:
    """A file name that can be printed and written as UTF-8, whatever bytes the file system holds."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in the user's data: where it is, what it is, how to mend it.

    Texts are made `printable`: they name files, and end in JSON, CSV and on the terminal.
    """

    where: str
    what: str
    fix: str = ""
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        for name in ("where", "what", "fix"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.fix})" if self.fix else "")


class InputError(Exception):
    """An error a person can cause and mend. Commands print it without a traceback and exit with 1."""

    def __init__(self, what: str, *, where: object = "", fix: str = "") -> None:
        super().__init__(what)
        self.problem = Problem(str(where), what, fix, "error")

    def __str__(self) -> str:
        text = f"{self.problem.where}: {self.problem.what}" if self.problem.where else self.problem.what
        return text + (f"\n  {self.problem.fix}" if self.problem.fix else "")


class TooDemanding(InputError):
    """What the settings ask for cannot be had: the loss became no number, or the memory did not suffice."""


class UsageError(InputError):
    """The command was called wrongly. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Posteriors:
    """What the network half hands to the decision half: per frame (and model) one array of CTC log-posteriors.

    `log_probs`: one float32 array (T, C) a frame, natural log, each step's row sums to probability 1, class 0 is
    the blank. T and the order of frames may differ between arrays; C and `alphabet` (C - 1 symbols) may not.
    `files` names the image behind each array, "" what is made of several. `weights`: how much each array counts in
    sequence fusion, beside what it says itself (an ensemble's members); empty: all alike. `alone`: where there is more
    than one array a frame, or frames look at each other, what each frame gives as it is and without the others; empty:
    `log_probs` are that.
    """

    track_id: str
    log_probs: tuple[NDArray[np.float32], ...]
    alphabet: str = ALPHABET
    files: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    alone: tuple[NDArray[np.float32], ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One text read from one array of posteriors.

    `score`: mean over steps of the largest probability, in [0, 1]; not a confidence.
    `log_prob`: natural log of the probability that the decoder gave to the text (of its best path, or summed over
    alignments, as the decoder says). `char_probs`: per character, the probability at its peak step.
    `spans`: per character, first and last+1 CTC step. `file` is the image behind it.
    """

    text: str
    score: float
    log_prob: float
    char_probs: tuple[float, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The plate of one track. `confidence` is P(the whole plate is right), in [0, 1].

    `format` is the format whose template the text obeys, or None. `per_frame` holds every readable frame's own
    reading. `runners_up` are the next best texts with their probabilities, best first. `problems` names frames
    that could not be read, and says where the track does not look like a plate. `format_probs`: where several formats
    were searched, the probability of each, likeliest first, given that the plate obeys one of them.
    """

    track_id: str
    text: str
    confidence: float
    format: str | None = None
    per_frame: tuple[Reading, ...] = ()
    runners_up: tuple[tuple[str, float], ...] = ()
    problems: tuple[Problem, ...] = ()
    format_probs: tuple[tuple[str, float], ...] = ()
