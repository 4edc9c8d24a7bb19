"""The best path that spells a plate: Viterbi over the CTC topology of the formats' templates, exact.

Forcing a greedy string into the pattern afterwards destroys accuracy; here the format takes part in
the search. `nbest` sums over alignments instead and gives probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, format_of
from ..types import Reading
from .ctc import clean
from .greedy import reading_of_path
from .trie import Trie, fallback_text, weighed_trie


def best_path(
    log_probs: NDArray[np.floating], formats: Sequence[PlateFormat], alphabet: str
) -> tuple[Reading, PlateFormat]:
    """The most probable single path through (T, C) whose text obeys one of `formats`, and the format it obeys.

    `log_prob` is that path's; `score` is the frame's score (see `greedy`). Where T is too short for every template
    the text is a made-up valid one and `log_prob` is -inf. Ties are broken the same way each time.
    """
    return best_paths([log_probs], formats, alphabet)[0]


def best_paths(
    arrays: Sequence[NDArray[np.floating]], formats: Sequence[PlateFormat], alphabet: str, common: float = 0.0
) -> list[tuple[Reading, PlateFormat]]:
    """`best_path` for several arrays (T, C) at once; those of equal T share the work.

    `common`: paths are chosen by their probability times this power of how common their text's characters are, see
    `trie.weighed_spellings`; `log_prob` is the probability alone.
    """
    trie, bonus = weighed_trie(formats, alphabet, common)
    safe = [clean(array, alphabet) for array in arrays]
    by_steps: dict[int, list[int]] = {}
    paths: dict[int, list[int] | None] = {}
    most = bonus.max()
    for index, array in enumerate(safe):
        # No path is more probable than the one of the most probable class at each step: where that spells one of the
        # commonest plates there is nothing to search.
        free = array.argmax(axis=1).tolist()
        if bonus[_walk(free, trie)] == most:
            paths[index] = free
        else:
            by_steps.setdefault(len(array), []).append(index)
    for indices in by_steps.values():
        paths.update(zip(indices, _viterbi(np.stack([safe[i] for i in indices]), trie, bonus), strict=True))
    return [_reading(array, paths[index], formats, alphabet) for index, array in enumerate(safe)]


def _walk(path: list[int], trie: Trie) -> int:
    """The node that the text of a path ends at; the root where it leaves the trie."""
    node = 0
    for code, _ in groupby(path):
        if code:
            node = int(trie.child[node, code])
            if node < 0:
                return 0
    return node


def _reading(
    safe: NDArray[np.float64], path: list[int] | None, formats: Sequence[PlateFormat], alphabet: str
) -> tuple[Reading, PlateFormat]:
    if path is None:
        text, likeliest = fallback_text(formats, alphabet)
        return Reading(text, reading_of_path(safe, [0] * len(safe), alphabet).score, -np.inf), likeliest
    reading = reading_of_path(safe, path, alphabet)
    obeyed = format_of(reading.text, formats)
    assert obeyed is not None, "the trie lets no other text through"
    return reading, obeyed


def _viterbi(log_probs: NDArray[np.float64], trie: Trie, bonus: NDArray[np.float64]) -> list[list[int] | None]:
    """Best path of each sequence of a batch, (B, T, C) cleaned -> one class a step, or None where T is too short.

    bonus: (S,) what is added to the log of a path that ends at a node.

    Two kinds of state a node of the trie: on its character of class c, and on the blanks after it. A character is
    entered from its own previous step, from the blanks of its parent, or straight from the parent's character if
    that is of another class.
    """
    batch, steps, classes = log_probs.shape
    nodes, parent = len(trie.parent), trie.parent
    # log_prob where a node takes the class, else -inf: (T, B, S, C)
    emit = np.where(trie.mask, log_probs.transpose(1, 0, 2)[:, :, None, :], -np.inf)
    on = np.full((steps + 1, batch, nodes, classes), -np.inf)  # best path that stands on a node's character
    after = np.full((steps + 1, batch, nodes), -np.inf)  # ... on the blanks after it; the root's are those before all
    after[0, :, 0] = 0.0
    row = np.arange(batch * nodes)
    for t in range(steps):
        stay = on[t].reshape(-1, classes)  # (B S, C)
        best_class = stay.argmax(axis=1)
        best = stay[row, best_class]
        # The best predecessor of another class: the best, and for the best's own class the second.
        rest = stay.copy()
        rest[row, best_class] = -np.inf
        blank = after[t].reshape(-1)
        leave = np.repeat(np.maximum(best, blank), classes).reshape(-1, classes)
        leave[row, best_class] = np.maximum(rest.max(axis=1), blank)
        entered = leave.reshape(batch, nodes, classes)[:, parent]
        np.add(np.maximum(on[t], entered), emit[t], out=on[t + 1])
        after[t + 1] = np.maximum(blank, best).reshape(batch, nodes) + log_probs[:, t, :1]
    return [_trace(on[:, b], after[:, b], trie, bonus) for b in range(batch)]


def _trace(
    on: NDArray[np.float64], after: NDArray[np.float64], trie: Trie, bonus: NDArray[np.float64]
) -> list[int] | None:
    """Walk back from the best final state through `on` (T+1, S, C) and `after` (T+1, S)."""
    ends = np.flatnonzero(trie.final)
    finish = np.concatenate([after[-1, ends], on[-1, ends].max(axis=1)]) + np.tile(bonus[ends], 2)
    best = int(finish.argmax())
    if finish[best] == -np.inf:
        return None
    node = int(ends[best % len(ends)])
    code = 0 if best < len(ends) else int(on[-1, node].argmax())
    path = []
    for t in range(len(on) - 2, -1, -1):  # the state at step t is (node, code); look at what came before it
        path.append(code)
        if code == 0:
            top = int(on[t, node].argmax())
            if on[t, node, top] > after[t, node]:
                code = top
            continue
        above = int(trie.parent[node])
        others = on[t, above].copy()
        others[code] = -np.inf
        top = int(others.argmax())
        stay, blank = on[t, node, code], after[t, above]
        if stay >= blank and stay >= others[top]:
            continue
        node, code = above, 0 if blank >= others[top] else top
    return path[::-1]
