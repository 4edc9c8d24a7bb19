"""The probability of a format: of all its plates together, summed over texts and alignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from .bounds import Floats
from .nbest import lifted, padded
from .trie import Spelling, Trie, build_trie, trie_of, weighed_spellings


def frame_masses(
    arrays: Sequence[Floats], formats: Sequence[PlateFormat], alphabet: str, common: Sequence[float] = (0.0,)
) -> list[dict[str, NDArray[np.float64]]]:
    """Per format the share of each frame's probability that obeys it, (F,) in [0, 1]; arrays are cleaned, (T, C).

    `common`: a text's share counts by this power of how common its characters are, see `trie.weighed_spellings`; for
    each power the result has an entry.
    """
    if not arrays:
        return [{plate_format.name: np.zeros(0) for plate_format in formats} for _ in common]
    prob = padded([lifted(array) if len(arrays) > 1 else array for array in arrays], max(map(len, arrays)))
    build_trie(formats, alphabet)  # refuses a format that the alphabet cannot spell
    # Parted as finely as any power needs; the formats share the nodes of their common beginnings.
    most = max(common)
    found = weighed_spellings(formats, common=most)[0]
    ended = _ended(prob, trie_of(found, alphabet))
    result = []
    for power in common:
        counts = {
            one.name: _counts(found, alphabet, *weighed_spellings([one], common=most), power / (most or 1))
            for one in formats
        }
        result.append({name: np.minimum((ended * count).sum(axis=1), 1.0) for name, count in counts.items()})
    return result


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


def _ended(prob: Floats, trie: Trie) -> Floats:
    """(T, N, C) probabilities -> (N, S), those of all paths that end at a node: forward as in `constrained`."""
    steps, batch, classes = prob.shape
    on = np.zeros((batch, len(trie.parent), classes))  # paths that stand on a node's character
    after = np.zeros((batch, len(trie.parent)))  # ... on the blanks after it; the root's are those before all
    after[:, 0] = 1.0
    for t in range(steps):
        leave = after + on.sum(axis=2)
        # A character is entered from any other class of the parent: equal neighbours need a blank between.
        entered = np.maximum(leave[:, :, None] - on, 0.0).take(trie.parent, axis=1)
        on += entered
        on *= trie.mask
        on *= prob[t, :, None]
        after = leave * prob[t, :, :1]
    result: NDArray[np.float64] = after + on.sum(axis=2)
    return result


@lru_cache(maxsize=64)
def _counts(
    found: tuple[Spelling, ...], alphabet: str, own: tuple[Spelling, ...], logs: tuple[float, ...], power: float
) -> NDArray[np.float64]:
    """How much texts count that end at a node of the trie of `found`: (S,), 0 where none of `own` does.

    logs: of how common those of `own` are, counted by their power `power`.
    """
    weights = dict(zip(own, np.exp(power * np.array(logs)).tolist(), strict=True))
    ends = trie_of(found, alphabet).ends
    return np.array([max((weights.get(found[k], 0.0) for k in here), default=0.0) for here in ends])
