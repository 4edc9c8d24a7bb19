"""Greedy CTC decoding: the best class of each step, collapsed. Free text, no format."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..types import Reading
from .ctc import clean


def greedy(log_probs: NDArray[np.floating], alphabet: str) -> Reading:
    """Read the best path through (T, C) log-posteriors; equal runs become one character, blanks vanish.

    `score` is the mean over steps of the largest probability (0.0 for T = 0), `log_prob` that of the best path.
    Ties go to the lower class.
    """
    safe = clean(log_probs, alphabet)
    return reading_of_path(safe, safe.argmax(axis=1).tolist(), alphabet)


def frame_score(safe: NDArray[np.float64]) -> float:
    """The score of a frame: mean over the steps of (T, C) of the largest probability; 0.0 for T = 0."""
    return float(np.exp(safe.max(axis=1)).mean()) if len(safe) else 0.0


def reading_of_path(safe: NDArray[np.float64], path: list[int], alphabet: str) -> Reading:
    """Collapse a path (one class a step) through cleaned log-posteriors (T, C) into a Reading."""
    text, char_probs, spans, start = "", [], [], 0
    for code, run in groupby(path):
        end = start + sum(1 for _ in run)
        if code:
            text += alphabet[code - 1]
            spans.append((start, end))
            char_probs.append(float(np.exp(safe[start:end, code].max())))
        start = end
    log_prob = float(safe[np.arange(len(path)), path].sum()) if path else 0.0
    return Reading(text, frame_score(safe), log_prob, tuple(char_probs), tuple(spans))
