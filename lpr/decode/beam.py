"""Prefix beam search: the most probable free text, summed over alignments, without a format.

Greedy decoding reads the best path; here paths that spell the same text are added up (Graves and Jaitly 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import Reading
from .ctc import clean, text_log_probs
from .greedy import frame_score

#: Prefixes kept a step; twice as many changed no reading of 200 blurred plates.
WIDTH = 16


def prefix_beam(
    log_probs: NDArray[np.floating], alphabet: str, n: int = 1, width: int = WIDTH
) -> tuple[tuple[str, float], ...]:
    """At most n texts with the highest probabilities found, (T, C) -> (text, natural log), best first, ties by text.

    The empty text may be among them. The probabilities are exact; that no better text exists is sure only where
    `width` is at least the number of possible texts.
    """
    safe = clean(log_probs, alphabet)
    prefixes: list[tuple[int, ...]] = [()]
    last = np.zeros(1, np.intp)  # class of a prefix's last character; 0 of the empty prefix, which has none
    on, blank = np.zeros(1), np.ones(1)  # probability of a prefix with its last character, or a blank, at this step
    for prob in np.exp(safe):
        total = on + blank
        longer = total[:, None] * prob  # (K, C)
        rows = np.arange(len(prefixes))
        longer[rows, last] = blank * prob[last]
        longer[:, 0] = 0.0
        stay = on * prob[last]
        stay[last == 0] = 0.0
        # A longer prefix that is in the beam already is one and the same.
        place = {prefix: at for at, prefix in enumerate(prefixes)}
        for at, prefix in enumerate(prefixes):
            if prefix and (parent := place.get(prefix[:-1])) is not None:
                stay[at] += longer[parent, prefix[-1]]
                longer[parent, prefix[-1]] = 0.0
        blank = total * prob[0]
        value = np.concatenate([stay + blank, longer.ravel()])
        best = np.argsort(-value, kind="stable")[:width]
        best = best[value[best] > 0]
        # Scaled so that long inputs do not underflow: only the order matters here.
        scale = 1 / value[best[0]]
        kept, grown = best[best < len(prefixes)], best[best >= len(prefixes)] - len(prefixes)
        parent_of, code = np.divmod(grown, longer.shape[1])
        prefixes = [prefixes[k] for k in kept] + [
            (*prefixes[k], c) for k, c in zip(parent_of.tolist(), code.tolist(), strict=True)
        ]
        on = np.concatenate([stay[kept], longer[parent_of, code]]) * scale
        blank = np.concatenate([blank[kept], np.zeros(len(grown))]) * scale
        last = np.concatenate([last[kept], code])
    texts = ["".join(alphabet[c - 1] for c in prefix) for prefix in prefixes]
    logs = text_log_probs(safe[None], texts, alphabet)[0].tolist()
    return tuple(sorted(zip(texts, logs, strict=True), key=lambda pair: (-pair[1], pair[0]))[:n])


def beam(log_probs: NDArray[np.floating], alphabet: str) -> Reading:
    """The first text of `prefix_beam` as a Reading: `log_prob` is its total, `score` the frame's (see `greedy`)."""
    text, log_prob = prefix_beam(log_probs, alphabet)[0]
    return Reading(text, frame_score(clean(log_probs, alphabet)), log_prob)
