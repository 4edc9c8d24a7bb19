"""The probability of a format: of all its plates together, summed over texts and alignments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from .bounds import Floats
from .nbest import fused_weights, lifted, padded
from .trie import build_trie


def format_masses(
    arrays: Sequence[Floats],
    formats: Sequence[PlateFormat],
    alphabet: str,
    weights: Sequence[float] | None = None,
) -> dict[str, float]:
    """Per format the weighted geometric mean, over cleaned arrays (T, C), of the mass that obeys it; in [0, 1].

    Formats without a text in common have masses that sum to at most 1; the rest obeys none of them. A plate's fused
    probability (`nbest`) is never above its format's mass, by Hölder's inequality.
    """
    if not arrays:
        return {plate_format.name: 0.0 for plate_format in formats}
    prob = padded([lifted(array) if len(arrays) > 1 else array for array in arrays], max(map(len, arrays)))
    shares = np.array(fused_weights(weights, len(arrays)))
    with np.errstate(divide="ignore"):
        logs = {one.name: (np.log(_masses(prob, one, alphabet)) * shares)[shares > 0] for one in formats}
    # Sorted, because the order of additions changes the last bit and the order of frames must not.
    return {name: float(np.exp(np.sort(log).sum())) for name, log in logs.items()}


def _masses(prob: Floats, plate_format: PlateFormat, alphabet: str) -> NDArray[np.float64]:
    """(T, N, C) probabilities -> (N,): forward over the CTC topology of the format's trie, as in `constrained`."""
    trie = build_trie([plate_format], alphabet)
    steps, batch, classes = prob.shape
    on = np.zeros((batch, len(trie.parent), classes))  # paths that stand on a node's character
    after = np.zeros((batch, len(trie.parent)))  # ... on the blanks after it; the root's are those before all
    after[:, 0] = 1.0
    for t in range(steps):
        total = on.sum(axis=2)
        leave = after + total
        # A character is entered from any other class of the parent: equal neighbours need a blank between.
        entered = np.maximum((leave[:, :, None] - on)[:, trie.parent], 0.0)
        on += entered
        on *= trie.mask
        on *= prob[t, :, None]
        after = leave * prob[t, :, :1]
    result: NDArray[np.float64] = np.minimum((after + on.sum(axis=2))[:, trie.final].sum(axis=1), 1.0)
    return result
