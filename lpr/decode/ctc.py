"""CTC arithmetic: making posteriors safe, and the probability of a text summed over its alignments.

The CTC topology (Graves et al. 2006): a path is one class a step; runs of one class collapse to one character,
then blanks (class 0) vanish. Two equal neighbours therefore need a blank between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..types import InputError

#: Nothing is rarer than e^-100. Far below what float32 networks tell apart, yet finite: every plate stays spellable,
#: sums stay free of -inf - -inf, and one frame cannot veto what the others read.
FLOOR = -100.0


def clean(log_probs: NDArray[np.floating], alphabet: str) -> NDArray[np.float64]:
    """Make any log-posteriors safe to decode: (T, C) in, float64 (T, C) out, each row normalised, no entry below FLOOR.

    A step holding NaN or +inf, or nothing but -inf, says nothing and becomes uniform.

    Raises:
        InputError: the array is not (T, C) with one class per character of `alphabet` and the blank.
    """
    raw = np.asarray(log_probs, dtype=np.float64)
    classes = len(alphabet) + 1
    if raw.ndim != 2 or raw.shape[1] != classes:
        raise InputError(
            f"posteriors of shape {raw.shape} do not fit {len(alphabet)} characters and the blank: not (T, {classes})",
            fix="use the alphabet of the checkpoint that made them",
        )
    if not len(raw):
        return raw
    peak = raw.max(axis=1, keepdims=True)
    silent = ~np.isfinite(peak[:, 0])
    if silent.any():
        raw = np.where(silent[:, None], 0.0, raw)
        peak = np.where(silent[:, None], 0.0, peak)
    total = np.exp(raw - peak).sum(axis=1, keepdims=True)
    normalised: NDArray[np.float64] = np.maximum(raw - peak - np.log(total), FLOOR)
    return normalised


def text_log_prob(log_probs: NDArray[np.floating], text: str, alphabet: str) -> float:
    """Natural log of the probability of `text`, summed over all alignments; log_probs (T, C).

    -inf where T is too short for the text, where a needed class has probability 0, or where a character is not in
    the alphabet.
    """
    return float(text_log_probs(np.asarray(log_probs)[None], [text], alphabet)[0, 0])


def text_log_probs(log_probs: NDArray[np.floating], texts: Sequence[str], alphabet: str) -> NDArray[np.float64]:
    """Log-probabilities of N texts under each of F arrays: log_probs (F, T, C) -> float64 (F, N).

    The forward algorithm in log space over the states blank, c1, blank, c2, ..., blank; texts may differ in length.
    """
    raw = np.asarray(log_probs, dtype=np.float64)
    frames, steps, _ = raw.shape
    codes = [[alphabet.find(character) + 1 for character in text] for text in texts]
    longest = max(map(len, codes), default=0)
    states = np.zeros((len(texts), 2 * longest + 1), dtype=np.intp)  # (N, S) class of each state, 0 between and after
    for row, code in zip(states, codes, strict=True):
        row[1 : 2 * len(code) : 2] = code
    # A state is entered from the one before it, and from the character before that if it is another character.
    skip = np.full(states.shape, -np.inf)
    skip[:, 3::2][states[:, 3::2] != states[:, 1:-2:2]] = 0.0

    alpha = np.full((frames, *states.shape), -np.inf)  # (F, N, S)
    # Before the first step, a path stands on the first blank, from where the first character is one step away.
    alpha[:, :, 0] = 0.0
    for step in range(steps):
        before = alpha.copy()
        alpha[:, :, 1:] = np.logaddexp(alpha[:, :, 1:], before[:, :, :-1])
        alpha[:, :, 2:] = np.logaddexp(alpha[:, :, 2:], before[:, :, :-2] + skip[:, 2:])
        alpha += raw[:, step][:, states]
    last = 2 * np.array([len(code) for code in codes], dtype=np.intp)  # the state after the last character
    rows = np.arange(len(texts))
    # A path ends on the last blank or on the last character; the empty text has no character.
    total = alpha[:, rows, last]
    total = np.where(last > 0, np.logaddexp(total, alpha[:, rows, last - 1]), total)
    unknown = np.array([0 in code for code in codes], dtype=bool)
    return np.where(unknown, -np.inf, total)
