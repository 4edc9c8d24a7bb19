"""The n most probable plates, summed over alignments, with a proof that none was missed or a bound on what was.

A search down the formats' trie, one level a character. Every prefix has an upper bound on what any plate below it
can reach; a prefix is dropped only if its bound cannot beat the n-th best plate found, or if the search is at its
width limit, and then the largest dropped bound is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from .constrained import best_path
from .ctc import clean, text_log_probs
from .trie import Trie, build_trie

#: Prefixes kept a level, from one attempt to the next: most tracks are proven at the first or second width.
WIDTHS = (8, 64, 512)

#: Sums of products in float64 differ by rounding; bounds within this share of a value count as equal to it.
SLACK = 1e-9

#: The search works with plain probabilities, which reach down to e^-745.
LOWEST_LOG_PROB = -600.0


@dataclass(frozen=True, slots=True)
class NBest:
    """Plates and the natural logs of their total probabilities, best first, ties by text.

    exact: proven to be the n best. missed: an upper bound on the probability of any plate that is not listed; where
    exact, it is not above that of the last one listed (or 0 where all plates are listed).
    """

    texts: tuple[tuple[str, float], ...]
    exact: bool
    missed: float


def n_best(
    log_probs: NDArray[np.floating],
    formats: Sequence[PlateFormat],
    alphabet: str,
    n: int,
    widths: Sequence[int] = WIDTHS,
) -> NBest:
    """The n (at least 1) plates of `formats` with the highest total probability under the (T, C) log-posteriors.

    Empty where T is too short for every template. `widths`: see WIDTHS; larger ones prove more and take longer.
    """
    safe = clean(log_probs, alphabet)
    path = best_path(safe, formats, alphabet)[0].log_prob
    if path == -np.inf:
        return NBest((), True, 0.0)
    # No plate is likely enough for float64: lift the least likely classes until one is. What is found is scored anew.
    lifted = path < LOWEST_LOG_PROB
    search = _Search(np.maximum(safe, LOWEST_LOG_PROB / len(safe)) if lifted else safe, build_trie(formats, alphabet))
    worst = 0.0
    for width in widths:
        leaves, missed = search.run(n, width, worst * (1 - SLACK))
        worst = leaves[n - 1][0] if len(leaves) >= n else 0.0
        exact = missed <= worst * (1 + SLACK)
        if exact:
            break
    found = [("".join(alphabet[code - 1] for code in codes), float(prob)) for prob, codes in leaves]
    if lifted:
        logs = text_log_probs(safe[None], [text for text, _ in found], alphabet)[0]
        exact = False
    else:
        logs = np.log([prob for _, prob in found])
    ranked = sorted(zip([text for text, _ in found], logs.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return NBest(tuple(ranked[:n]), exact, float(missed))


class _Search:
    """The tables of one sequence; `run` searches them at one width.

    Time is cut into segments. seg (C, T, T): [c, s, t] is the probability of class c from step s to step t, 0 for
    t < s. gap (T, T): [t, s] blanks between a character ending at t and one starting at s > t; touching characters
    (s = t + 1) have an empty gap. With n (T,) the probability of a prefix whose last character ends at t, `n @ gap`
    is that of the next character starting at s, and `n @ gap @ seg[c]` that of the longer prefix.
    """

    def __init__(self, log_probs: NDArray[np.float64], trie: Trie) -> None:
        steps, classes = log_probs.shape
        self.trie = trie
        prob = np.exp(log_probs)
        self.seg = np.zeros((classes, steps, steps))
        for s in range(steps - 1, -1, -1):
            if s + 1 < steps:
                np.multiply(self.seg[:, s + 1], prob[s, :, None], out=self.seg[:, s])
            self.seg[:, s, s] = prob[s]
        blanks = self.seg[0]
        self.gap = np.zeros((steps, steps))
        self.gap[:-2, 2:] = blanks[1:-1, 1:-1]
        # Equal neighbours need a blank between: their gap is never empty.
        self.gap_equal = self.gap.copy()
        self.gap[np.arange(steps - 1), np.arange(1, steps)] = 1.0
        self.start = np.concatenate([[1.0], blanks[0, :-1]])  # blanks before a first character starting at s
        self.tail = np.concatenate([blanks[1:, -1], [1.0]])  # blanks after a last character ending at t
        self.spell = self.seg @ self.tail  # (C, T): class c from step s on, then only blanks
        self.goes_on = trie.child.max(axis=1) >= 0  # (S,)
        self._bound()

    def _bound(self) -> None:
        """Fill `reach` (S, C, T): from node v, the most that any plate going on with class c from step s can reach.

        The best next class is chosen anew for every start step, and equal neighbours may touch; a plate has to do
        with one class and with gaps, so it can only fall short of the bound.
        """
        trie, (classes, steps, _) = self.trie, self.seg.shape
        flat = self.seg.reshape(classes * steps, steps)
        self.reach = np.zeros((len(trie.parent), classes, steps))
        # (S, T): the same bound for a prefix whose last character ends at step t. To stop here is one way to go on.
        beyond = np.where(trie.final[:, None], self.tail, 0.0)
        for level in reversed(trie.levels):
            for node in level:
                mask, parent = trie.mask[node], trie.parent[node]
                upper = (flat @ beyond[node]).reshape(classes, steps)[mask]
                self.reach[parent, mask] = upper
                np.maximum(beyond[parent], self.gap @ upper.max(axis=0), out=beyond[parent])

    def run(self, n: int, width: int, threshold: float) -> tuple[list[tuple[float, tuple[int, ...]]], float]:
        """The best n plates found (probability, classes), and a bound on the probability of any other plate.

        At most `width` prefixes a level go on, and none whose bound lies below `threshold`.
        """
        trie = self.trie
        leaves: list[tuple[float, tuple[int, ...]]] = []
        missed = 0.0
        # The prefixes of one level: trie node, classes so far, and `starts` (K, T): the next character starts at s.
        node: NDArray[np.intp] = np.zeros(1, np.intp)
        codes: NDArray[np.intp] = np.zeros((1, 0), np.intp)
        starts = starts_equal = self.start[None]
        for _ in trie.levels:
            child = trie.child[node]  # (K, C)
            last = codes[:, -1] if codes.shape[1] else np.zeros(1, np.intp)  # class 0 leads nowhere
            rows = np.arange(len(node))

            if (ends_here := (child >= 0) & trie.final[child]).any():
                value = starts @ self.spell.T
                value[rows, last] = (starts_equal * self.spell[last]).sum(axis=1)
                row, code = np.nonzero(ends_here)
                leaves += [(p, (*codes[r], c)) for p, r, c in _largest(value[row, code], row, code, n + 1) if p > 0]

            bound = np.empty(child.shape)
            for v in set(node.tolist()):
                rows_v = np.flatnonzero(node == v)
                bound[rows_v] = starts[rows_v] @ self.reach[v].T
            bound[rows, last] = (starts_equal * self.reach[node, last]).sum(axis=1)
            row, code = np.nonzero((child >= 0) & self.goes_on[child])
            value = bound[row, code]
            order = np.argsort(-value, kind="stable")
            keep = min(width, int((value >= threshold).sum()))
            if keep < len(order):
                missed = max(missed, float(value[order[keep]]))
            row, code = row[order[:keep]], code[order[:keep]]
            if not keep:
                break
            before = np.where((code == last[row])[:, None], starts_equal[row], starts[row])
            ends = np.matmul(before[:, None, :], self.seg[code])[:, 0]  # (K, T): the new last character ends at t
            node, codes = child[row, code], np.concatenate([codes[row], code[:, None]], axis=1)
            starts, starts_equal = ends @ self.gap, ends @ self.gap_equal
        leaves.sort(key=lambda leaf: (-leaf[0], leaf[1]))
        return leaves[:n], max([missed, *(p for p, _ in leaves[n : n + 1])])


def _largest(
    value: NDArray[np.float64], row: NDArray[np.intp], code: NDArray[np.intp], count: int
) -> list[tuple[float, int, int]]:
    """The `count` largest of a list of children (value, row, class), ties by position."""
    order = np.argsort(-value, kind="stable")[:count]
    return list(zip(value[order].tolist(), row[order].tolist(), code[order].tolist(), strict=True))
