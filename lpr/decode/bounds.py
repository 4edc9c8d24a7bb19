"""What the exact search stands on: bounds on what a prefix can still reach, and how a prefix grows by a character.

All arrays are plain probabilities, float64, time first: (T, N, ...) for N sequences at once. A prefix is known by its
`starts` (T,): the probability that its next character starts at step s, summed over all alignments so far. If that
character equals its last one a blank must lie between, and `equal` (T,) counts only alignments with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .trie import Spelling, trie_of

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Edges:
    """A trie as flat arrays: E edges (one character each) in G groups, in order of depth.

    An edge goes from a node by a class to the group's node, and either stops there (a plate) or goes on; a node where
    a template ends while others go on has a group for each. Per edge, (E,): code, its class; source, the inner node it
    comes from (V of them, numbered from the root); bonus, the log of the prior of the likeliest plate it leads to (at
    most 0); stops; beyond, the inner node it goes on to, V where it stops. first_edge: (G,) where each group begins
    in E. first_group: (V,) where each inner node's groups begin in G. levels: per depth the range of its edges.
    shortest: characters of the shortest plate.
    """

    code: Ints
    source: Ints
    bonus: Floats
    first_edge: Ints
    first_group: Ints
    beyond: Ints
    stops: NDArray[np.bool_]
    levels: tuple[tuple[int, int], ...]
    shortest: int


@lru_cache(maxsize=64)
def build_edges(templates: tuple[Spelling, ...], alphabet: str, log_priors: tuple[float, ...] = ()) -> Edges:
    """Flatten the trie of `templates`; `log_priors` (at most 0) weigh their plates, none is 0 for all."""
    trie = trie_of(templates, alphabet)
    priors = log_priors or (0.0,) * len(templates)
    children: list[list[int]] = [[] for _ in trie.parent]
    for node in range(1, len(trie.parent)):
        children[trie.parent[node]].append(node)
    stop_bonus = [max((priors[k] for k in ends), default=-np.inf) for ends in trie.ends]
    go_bonus = [-np.inf] * len(trie.parent)
    for node in range(len(trie.parent) - 1, -1, -1):
        for child in children[node]:
            go_bonus[node] = max(go_bonus[node], stop_bonus[child], go_bonus[child])
    inner = {node: at for at, node in enumerate(n for n in range(len(trie.parent)) if children[n])}
    code: list[int] = []
    source: list[int] = []
    bonus: list[float] = []
    beyond: list[int] = []
    stops: list[bool] = []
    first_edge: list[int] = []
    first_group: list[int] = []
    levels: list[tuple[int, int]] = []
    parents: Sequence[int] = (0,)
    for nodes in trie.levels:
        begin = len(code)
        for parent in parents:
            if children[parent]:
                first_group.append(len(first_edge))
            for child in children[parent]:
                kinds = [True] * bool(trie.final[child]) + [False] * bool(children[child])
                for stop in kinds:
                    first_edge.append(len(code))
                    for character in np.flatnonzero(trie.mask[child]).tolist():
                        code.append(character)
                        source.append(inner[parent])
                        bonus.append(stop_bonus[child] if stop else go_bonus[child])
                        beyond.append(len(inner) if stop else inner[child])
                        stops.append(stop)
        levels.append((begin, len(code)))
        parents = nodes
    return Edges(
        np.array(code, np.intp),
        np.array(source, np.intp),
        np.array(bonus, np.float64),
        np.array(first_edge, np.intp),
        np.array(first_group, np.intp),
        np.array(beyond, np.intp),
        np.array(stops, bool),
        tuple(levels),
        min(map(len, templates)),
    )


def reach(prob: Floats, edges: Edges, scale: Floats | None = None) -> Floats:
    """The most that any plate going on by an edge from step s can reach: prob (T, N, C) -> (T, N, E).

    The best next edge is chosen anew for every start step, and equal neighbours may touch; a plate has to do with one
    class and with gaps, so it can only fall short of the bound. For an edge that stops it is the value itself. With
    `scale` (N, E) the probability of each edge's character is multiplied by it.
    """
    steps, batch, _ = prob.shape
    inner = len(edges.first_group)
    emit = prob[:, :, edges.code]  # (T, N, E)
    result = np.empty((steps, batch, len(edges.code)))
    here = np.zeros((batch, len(edges.code)))  # the bound without `scale`
    # Per group, of the probabilities after its parent's character ended: its best edge one step on, or blanks first.
    after = np.zeros((batch, len(edges.first_edge)))
    beyond = np.empty((batch, inner + 1))  # per inner node; in the last column the blanks until the end
    beyond[:, -1] = 1.0
    for t in range(steps - 1, -1, -1):
        np.maximum.reduceat(after, edges.first_group, axis=1, out=beyond[:, :-1])
        here += beyond[:, edges.beyond]
        here *= emit[t]
        result[t] = here if scale is None else here * scale
        blank = prob[t, :, :1]
        after *= blank
        after += np.maximum.reduceat(result[t], edges.first_edge, axis=1)
        beyond[:, -1:] *= blank
    return result


def before_first(prob: Floats) -> Floats:
    """`starts` of the empty prefix: only blanks before step s; prob (T, N, C) -> (T, N, 1)."""
    blanks = np.cumprod(prob[:, :, 0], axis=0)
    return np.concatenate([np.ones((1, prob.shape[1])), blanks[:-1]])[:, :, None]


class Grower:
    """Adds characters to prefixes of a batch of sequences, prob (T, N, C)."""

    def __init__(self, prob: Floats) -> None:
        self.blank = prob[:, :, :1]
        self._blanks = _doubled(self.blank)

    def grow(self, before: Floats, emit: Floats) -> Floats:
        """Put a character behind prefixes: (T, N, K) their starts (or equal) and its probabilities -> (T, N, K) `ends`,
        the probability that the character ends at step t.
        """
        ends = emit * before
        _scan(ends, emit)  # ends[t] = emit[t] (before[t] + ends[t - 1])
        return ends

    def follow(self, ends: Floats) -> tuple[Floats, Floats]:
        """The `starts` and `equal` of prefixes whose last character ends as given, all (T, N, K)."""
        after = np.zeros_like(ends)
        np.multiply(ends[:-1], self.blank[1:], out=after[1:])
        _scan(after, self.blank, self._blanks)  # after[t] = blank[t] (ends[t - 1] + after[t - 1])
        equal = np.zeros_like(ends)
        equal[1:] = after[:-1]
        starts = equal.copy()
        starts[1:] += ends[:-1]
        return starts, equal


#: Elements a step from which T short passes beat log2 T full ones in spite of numpy's overhead, as measured (T = 32).
LARGE = 128


def _scan(value: Floats, factor: Floats, products: Sequence[Floats] | None = None) -> None:
    """x[t] = value[t] + factor[t] x[t - 1] in place; `products`: the factors' `_doubled`, if at hand."""
    if value[0].size >= LARGE:
        for t in range(1, len(value)):
            value[t] += factor[t] * value[t - 1]
        return
    # In log2 T passes instead of T (Hillis and Steele 1986).
    for k, product in enumerate(products or _doubled(factor)):
        lag = 1 << k
        if lag < len(value):
            value[lag:] += product[lag:] * value[:-lag]


def _doubled(factor: Floats) -> list[Floats]:
    """Products of the last 1, 2, 4, ... factors at each step, along the first axis."""
    result, lag = [factor], 1
    while 2 * lag < len(factor):
        product = result[-1].copy()
        product[lag:] *= result[-1][:-lag]
        result.append(product)
        lag *= 2
    return result
