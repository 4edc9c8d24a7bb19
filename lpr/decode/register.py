"""Ranking a register of known plates by their probability under a track: exact, without scoring most of them.

A plate is cut into a head and a tail. Heads form a tree, tails (read backwards) another, and a plate's probability
under a frame is its head's `starts` times its tail's beginnings, summed over time: a million plates cost as much as
their distinct halves, some 50,000. Heads are grown down the tree and dropped where a bound on what any
registered tail can add, the same as in `nbest`, cannot beat the n-th best plate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import InputError
from .bounds import Edges, Floats, Grower, Ints, before_first, build_edges, reach
from .ctc import clean
from .nbest import SLACK, fused_weights, lifted, padded

#: Branches a level of the first, narrow descent, which finds a threshold.
FIRST_WIDTH = 64

#: Plates scored at once.
CHUNK = 8192

#: Characters of the longest plate: its classes are packed into one 64-bit number (37^12 < 2^64).
MOST_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Tree:
    """Rows of classes as a tree: per depth, each node's parent (one depth up) and class; leaves are the rows."""

    parent: tuple[Ints, ...]
    code: tuple[Ints, ...]


class Register:
    """Plates, distinct and sorted, prepared for `rank`.

    Args:
        texts: plates of at most MOST_CHARACTERS characters of `alphabet`; repeated ones count once.
        alphabet: of the posteriors.

    Raises:
        InputError: no plate, an empty or too long one, or a character outside the alphabet.
    """

    def __init__(self, texts: Sequence[str], alphabet: str) -> None:
        if not len(texts):
            raise InputError("the register holds no plate")
        codes, first = _coded(texts, alphabet)
        self.alphabet = alphabet
        #: Per plate, where in `texts` it stands first.
        self.first: Ints = first
        self.codes = codes  # (N, L) classes, 0 behind the last character
        length = codes.shape[1]
        cuts = [_halves(codes, cut) for cut in range(1, max(2, length))] if length > 1 else [_halves(codes, 1)]
        # The cheapest cut: fewest nodes to grow.
        heads, self.head_of, tails, self.tail_of = min(cuts, key=lambda cut: len(cut[0]) + len(cut[2]))
        self.heads, self.tails = _tree(heads), _tree(tails[:, ::-1])
        last, behind = heads[:, -1][self.head_of], tails[:, 0][self.tail_of] if tails.shape[1] else 0
        #: Whether tail and head meet in equal characters, which need a blank between.
        self.doubled: NDArray[np.bool_] = (last == behind) & (last > 0)
        self.edges = self._edges()

    def __len__(self) -> int:
        return len(self.codes)

    def text(self, index: int) -> str:
        """The plate of an index into the register."""
        return "".join(self.alphabet[code - 1] for code in self.codes[index] if code)

    def _edges(self) -> Edges:
        """Per length, which characters stand where: what bounds the rest of a plate."""
        lengths = (self.codes > 0).sum(axis=1)
        templates = []
        for length in np.unique(lengths).tolist():
            alike = self.codes[lengths == length, :length]
            seen = [np.flatnonzero(np.bincount(column, minlength=1)) for column in alike.T]
            templates.append(tuple("".join(self.alphabet[code - 1] for code in codes.tolist()) for codes in seen))
        return build_edges(tuple(templates), self.alphabet)

    def rank(
        self, arrays: Sequence[NDArray[np.floating]], n: int, weights: Sequence[float] | None = None
    ) -> list[tuple[int, float]]:
        """The n plates with the highest fused probability (see `nbest.n_best_fused`) under arrays (T, C).

        Returns (index, natural log) pairs, best first, ties by text; fewer where the register holds fewer. A plate
        that a frame is too short to spell has -inf.
        """
        shares = fused_weights(weights, len(arrays)) if arrays else []
        safe = [(w, clean(array, self.alphabet)) for w, array in zip(shares, arrays, strict=True) if w]
        safe = [(w, array) for w, array in safe if len(array) >= self.edges.shortest]
        # Sorted, because the order of additions changes the last bit and the order of frames must not.
        safe.sort(key=lambda pair: (pair[0], len(pair[1]), pair[1].tobytes()))
        if not safe:
            return []
        weight = np.array([w for w, _ in safe])
        weight /= weight.sum()
        # One more step, a sure blank, on which a plate that has ended stands: then no half is a special case.
        steps = 1 + max(len(array) for _, array in safe)
        prob = padded([lifted(array) if len(safe) > 1 else array for _, array in safe], steps)
        descent = _Descent(prob, weight, self)
        best = descent.plates(descent.heads(FIRST_WIDTH, -np.inf), n)
        if len(best) < min(n, len(self)) or not descent.dropped <= best[-1][1] + SLACK:
            best = descent.plates(descent.heads(None, best[-1][1] if len(best) == n else -np.inf), n)
        return best


class _Descent:
    """One track's way through a register."""

    def __init__(self, prob: Floats, weight: Floats, register: Register) -> None:
        self.prob, self.weight, self.register = prob, weight, register
        self.grower = Grower(prob)
        # (T, F) per depth: the most that whatever follows can add from step s on. On the last step nothing follows.
        table = reach(prob, register.edges)
        depth = len(register.heads.code)
        self.most = []
        for begin, end in register.edges.levels[1 : depth + 1]:
            self.most.append(table[:, :, begin:end].max(axis=2))
        self.most += [np.zeros(prob.shape[:2])] * (depth - len(self.most))
        for most in self.most:
            most[-1] = 1.0
        self.dropped = -np.inf

    def heads(self, width: int | None, threshold: float) -> tuple[Ints, Floats, Floats]:
        """Heads that may lead to a plate above `threshold`, at most `width` a level: ids, starts and equal
        (K, F, T).
        """
        tree = self.register.heads
        alive = np.zeros(1, np.intp)
        starts = before_first(self.prob)
        equal, last = starts, np.zeros(1, np.intp)
        self.dropped = -np.inf
        for depth, (parent, code) in enumerate(zip(tree.parent, tree.code, strict=True)):
            row = np.full(len(tree.code[depth - 1]) if depth else 1, -1)
            row[alive] = np.arange(len(alive))
            nodes = np.flatnonzero(row[parent] >= 0)
            row, code = row[parent[nodes]], code[nodes]
            ended = code == 0  # the plate was shorter: it stays as it is
            before = np.where(code == last[row], equal[:, :, row], starts[:, :, row])
            grown, grown_equal = self.grower.follow(self.grower.grow(before, self.prob[:, :, code]))
            starts = np.where(ended, starts[:, :, row], grown)
            equal = np.where(ended, equal[:, :, row], grown_equal)
            with np.errstate(divide="ignore"):
                reached = np.log((starts * self.most[depth][:, :, None]).sum(axis=0))  # (F, K)
            bound = (reached * self.weight[:, None]).sum(axis=0)
            keep = np.flatnonzero(bound >= threshold - SLACK)
            if width is not None and len(keep) > width:
                order = keep[np.argsort(-bound[keep], kind="stable")]
                self.dropped = max(self.dropped, float(bound[order[width]]))
                keep = np.sort(order[:width])
            alive, starts, equal, last = nodes[keep], starts[:, :, keep], equal[:, :, keep], code[keep]
        return alive, _by_row(starts), _by_row(equal)

    def tails(self, wanted: Ints) -> tuple[Ints, Floats]:
        """Some tails: the row of each tail's id, and the probability (K, F, T) that it begins at step s and is all that
        follows.
        """
        tree = self.register.tails
        needed = [wanted]
        for parent in tree.parent[:0:-1]:
            needed.append(np.unique(parent[needed[-1]]))
        backwards = self.prob[::-1]
        grower = Grower(backwards)
        # Backwards, the sure blank comes first, and on it stands the end of a plate.
        ends = np.zeros((*self.prob.shape[:2], 1))
        ends[0] = 1.0
        alive, last = np.zeros(1, np.intp), np.zeros(1, np.intp)
        for depth, nodes in enumerate(needed[::-1] if tree.code else []):
            row = np.full(len(tree.code[depth - 1]) if depth else 1, -1)
            row[alive] = np.arange(len(alive))
            row, code = row[tree.parent[depth][nodes]], tree.code[depth][nodes]
            starts, equal = grower.follow(ends)
            before = np.where((code == last[row]) & (code > 0), equal[:, :, row], starts[:, :, row])
            grown = grower.grow(before, backwards[:, :, code])
            ends = np.where(code == 0, ends[:, :, row], grown)
            alive, last = nodes, code
        rows = np.full(len(tree.code[-1]) if tree.code else 1, -1)
        rows[wanted] = np.arange(len(wanted))
        return rows, _by_row(ends[::-1])

    def plates(self, heads: tuple[Ints, Floats, Floats], n: int) -> list[tuple[int, float]]:
        """The n best plates of some heads."""
        register, (alive, starts, equal) = self.register, heads
        row = np.full(len(register.heads.code[-1]), -1)
        row[alive] = np.arange(len(alive))
        plates = np.flatnonzero(row[register.head_of] >= 0)
        rows, tails = self.tails(np.unique(register.tail_of[plates]))
        logs = np.empty(len(plates))
        for begin in range(0, len(plates), CHUNK):
            some = plates[begin : begin + CHUNK]
            head, tail = row[register.head_of[some]], tails[rows[register.tail_of[some]]]
            value = np.einsum("kft,kft->kf", starts[head], tail)
            if (doubled := register.doubled[some]).any():
                value[doubled] = np.einsum("kft,kft->kf", equal[head[doubled]], tail[doubled])
            with np.errstate(divide="ignore"):
                logs[begin : begin + CHUNK] = (np.log(value) * self.weight).sum(axis=1)
        best = np.argsort(-logs, kind="stable")[:n] if len(logs) <= n else _best(logs, n)
        return [(int(plates[at]), float(logs[at])) for at in best]


def _best(logs: Floats, n: int) -> Ints:
    """Where the n largest stand, best first, ties by position."""
    worst = -np.partition(-logs, n - 1)[n - 1]
    some = np.flatnonzero(logs >= worst)
    return some[np.argsort(-logs[some], kind="stable")][:n]


def _by_row(states: Floats) -> Floats:
    """(T, F, K) -> (K, F, T), contiguous: a plate reads one row."""
    return np.ascontiguousarray(states.transpose(2, 1, 0))


def _coded(texts: Sequence[str], alphabet: str) -> tuple[NDArray[np.uint8], Ints]:
    """Distinct texts as sorted rows of classes (N, L) with 0 behind the last character, and where each stood first."""
    table = np.zeros(256, np.uint8)
    try:
        table[np.frombuffer(alphabet.encode("latin-1"), np.uint8)] = np.arange(1, len(alphabet) + 1)
        raw = np.array([text.encode("latin-1") for text in texts])
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object!r:.60} has a character outside {alphabet}") from error
    if raw.dtype.itemsize > MOST_CHARACTERS:
        raise InputError(f"a plate has more than {MOST_CHARACTERS} characters")
    raw_bytes = raw.view(np.uint8).reshape(len(raw), -1)
    codes = table[raw_bytes]
    bad = ((codes == 0) & (raw_bytes > 0)).any(axis=1) | (codes[:, 0] == 0)
    if bad.any():
        raise InputError(f"plate {texts[int(bad.argmax())]!r:.60} is empty or has a character outside {alphabet}")
    _, first = np.unique(_packed(codes), return_index=True)
    return codes[first], first


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Rows of classes (N, L) as one number each, in the same order."""
    key = np.zeros(len(codes), np.uint64)
    base = np.uint64(int(codes.max(initial=0)) + 1)
    for column in codes.T:
        key = key * base + column
    return key


def _halves(
    codes: NDArray[np.uint8], cut: int
) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.uint8], NDArray[np.intp]]:
    """Distinct heads and tails of sorted rows cut behind `cut` characters, and which ones each row has.

    Tails are in the order of their reversed rows, so that both are trees for `_tree`.
    """
    _, first, head_of = np.unique(_packed(codes[:, :cut]), return_index=True, return_inverse=True)
    heads = codes[first, :cut]
    _, first, tail_of = np.unique(_packed(codes[:, cut:][:, ::-1]), return_index=True, return_inverse=True)
    return heads, head_of, codes[first, cut:], tail_of


def _tree(rows: NDArray[np.uint8]) -> Tree:
    """Distinct sorted rows (K, D) as a tree; those with zeros (the end of a shorter plate) go on with zeros."""
    parents, codes = [], []
    node_of = np.zeros(len(rows), np.intp)  # node of each row at the depth before
    for depth in range(rows.shape[1]):
        new = np.ones(len(rows), bool)
        new[1:] = (node_of[1:] != node_of[:-1]) | (rows[1:, depth] != rows[:-1, depth])
        first = np.flatnonzero(new)
        parents.append(node_of[first])
        codes.append(rows[first, depth].astype(np.intp))
        node_of = np.cumsum(new) - 1
    return Tree(tuple(parents), tuple(codes))
