"""The probability of a format: of all its plates together, summed over texts and alignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from .bounds import Floats
from .nbest import lifted, padded
from .trie import weighed_trie


def frame_masses(
    arrays: Sequence[Floats], formats: Sequence[PlateFormat], alphabet: str, common: float = 0.0
) -> dict[str, NDArray[np.float64]]:
    """Per format the share of each frame's probability that obeys it, (F,) in [0, 1]; arrays are cleaned, (T, C).

    `common`: a text's share counts by this power of how common its characters are, see `trie.weighed_spellings`.
    """
    if not arrays:
        return {plate_format.name: np.zeros(0) for plate_format in formats}
    prob = padded([lifted(array) if len(arrays) > 1 else array for array in arrays], max(map(len, arrays)))
    return {one.name: _masses(prob, one, alphabet, common) for one in formats}


def fused_masses(masses: Mapping[str, NDArray[np.float64]], weights: Sequence[float]) -> dict[str, float]:
    """Per format the weighted geometric mean of its `frame_masses`; in [0, 1]. Weights sum to 1; no frame gives 0.

    Formats without a text in common have masses that sum to at most 1; the rest obeys none of them. A plate's fused
    probability (`nbest`) is never above its format's mass, by Hölder's inequality.
    """
    shares = np.asarray(weights, np.float64)
    used = shares > 0
    if not used.any():
        return dict.fromkeys(masses, 0.0)
    with np.errstate(divide="ignore"):
        logs = {name: np.log(values[used]) * shares[used] for name, values in masses.items()}
    # Sorted, because the order of additions changes the last bit and the order of frames must not.
    return {name: float(np.exp(np.sort(log).sum())) for name, log in logs.items()}


def _masses(prob: Floats, plate_format: PlateFormat, alphabet: str, common: float) -> NDArray[np.float64]:
    """(T, N, C) probabilities -> (N,): forward over the CTC topology of the format's trie, as in `constrained`."""
    trie, logs = weighed_trie([plate_format], alphabet, common)
    counts = np.exp(logs)  # 0 where no text ends
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
    result: NDArray[np.float64] = np.minimum(((after + on.sum(axis=2)) * counts).sum(axis=1), 1.0)
    return result
