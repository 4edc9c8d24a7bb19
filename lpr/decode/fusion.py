"""Fusion of the frames of a track: votes over their readings, or the sum of their log-probabilities step by step.

The product of the frames' probabilities of whole texts (`sequence`) is a search of its own, `nbest.n_best_fused`, in
which sure frames count for more, see `frame_weights`.
Every method gives the same result for any order of the frames. A vote's score is no probability until calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from math import fsum

import numpy as np
from numpy.typing import NDArray

from ..types import InputError, Reading
from .ctc import FLOOR

#: Entropy of a frame, nats, far below which it makes no difference. Ratios of entropies count above it, not differences
#: (e^-entropy read synthetic tracks as well): where every frame is a blur, none shall silence the others.
EVEN = 2.0

#: Power of a frame's mass in its weight. A frame of nothing but sure blanks (mass e^-50) counts e^-5; among blurs,
#: whose masses of e^-5 to e^-9 are chance, the whole mass would let one silence the others.
BLIND = 0.1

#: Where one frame has more than the first, those with less than the second share of the largest mass have no say: they
#: are black or white, and a geometric mean would take the whole track for that. With 0.5 and 0.1 more half covered
#: plates and signs passed for plates (scripts/not_plates.py).
SHOWN, BARE = 0.8, 0.02


def majority_vote(readings: Sequence[Reading]) -> tuple[str, float]:
    """The text that most frames read, and the share of the frames that read it.

    Ties go to the text with the highest single score, then to the first in the alphabet; ("", 0.0) without readings.
    """
    text, scores = _winner(readings, len)
    return text, len(scores) / max(1, len(readings))


def max_score(readings: Sequence[Reading]) -> tuple[str, float]:
    """The text of the frame with the highest score, and that score; ties go to the first text in the alphabet."""
    text, scores = _winner(readings, max)
    return text, max(scores, default=0.0)


def confidence_vote(readings: Sequence[Reading]) -> tuple[str, float]:
    """The text with the largest sum of its frames' scores, and the mean of those scores.

    Two sure frames thus outvote three unsure ones. Ties as in `majority_vote`.
    """
    text, scores = _winner(readings, fsum)
    return text, fsum(scores) / max(1, len(scores))


def position_vote(readings: Sequence[Reading]) -> tuple[str, float]:
    """The text whose every character won its position, and the mean over positions of the winners' shares of weight.

    A frame's weight at a position is the probability of its character there (its score where the reading has none).
    Only readings of one shape, which letters and digits in which order, are put together, those whose scores sum to
    the most: a mixture of two formats would obey neither. Ties go to the first character in the alphabet.
    """
    shapes: dict[str, list[Reading]] = {}
    for reading in readings:
        shapes.setdefault("".join("D" if c.isdigit() else "L" for c in reading.text), []).append(reading)
    if not shapes:
        return "", 0.0
    shape, alike = min(shapes.items(), key=lambda item: (-fsum(r.score for r in item[1]), item[0]))
    text, shares = "", []
    for position in range(len(shape)):
        weights: dict[str, list[float]] = {}
        for reading in alike:
            weight = reading.char_probs[position] if reading.char_probs else reading.score
            weights.setdefault(reading.text[position], []).append(weight)
        character, best = min(weights.items(), key=lambda item: (-fsum(item[1]), item[0]))
        text += character
        total = fsum(weight for values in weights.values() for weight in values)
        # Readings of other shapes spoke against every position.
        shares.append(fsum(best) / total * len(alike) / len(readings) if total else 0.0)
    return text, fsum(shares) / len(shares) if shares else 0.0


#: The votes by their name in `read.fusion`.
VOTES: dict[str, Callable[[Sequence[Reading]], tuple[str, float]]] = {
    "confidence_vote": confidence_vote,
    "majority_vote": majority_vote,
    "max_score": max_score,
    "position_vote": position_vote,
}

#: Every value of `read.fusion`.
METHODS = ("log_prob_sum", "sequence", *VOTES)


def path_entropy(log_probs: NDArray[np.float64]) -> float:
    """Entropy in nats of the paths through cleaned (T, C) log-posteriors: the sum over the steps; at least 0."""
    return max(0.0, -float((np.exp(log_probs) * log_probs).sum()))


def frame_weights(
    log_probs: Sequence[NDArray[np.float64]], masses: Sequence[float], focus: float, merged: Sequence[bool] = ()
) -> list[float]:
    """Weights of F frames in the product of their likelihoods: mass^BLIND / (1 + entropy / EVEN)^focus, summing to 1;
    0 for frames without a plate beside others with one.

    log_probs: cleaned, (T, C) each; the entropy of a frame is that of its paths, the sum over its steps, in nats.
    masses: (F,) share of each frame's probability that spells plates at all, so that a frame which is sure to see
    nothing has hardly a say. A frame's likelihoods already tell less the less sure it is, but an unsure frame is more
    often wrong than it says. merged: (F,) which of them are no frames, but made of several: by these no frame is found
    to be without a plate; empty: none. Where focus is 0, or no frame has any mass, all weigh alike.
    """
    if focus == 0 or not any(masses):
        return [1 / max(1, len(log_probs))] * len(log_probs)
    entropies = map(path_entropy, log_probs)
    shown = max((mass for mass, no_frame in zip_longest(masses, merged, fillvalue=False) if not no_frame), default=0.0)
    least = BARE * shown if shown > SHOWN else 0.0
    kept = [mass if mass >= least else 0.0 for mass in masses]
    shares = [mass**BLIND / (1 + entropy / EVEN) ** focus for mass, entropy in zip(kept, entropies, strict=True)]
    total = fsum(shares)
    return [share / total for share in shares]


def _winner(readings: Sequence[Reading], weight: Callable[[list[float]], float]) -> tuple[str, list[float]]:
    """The text whose list of scores weighs most, and its scores in falling order."""
    scores: dict[str, list[float]] = {}
    for reading in readings:
        scores.setdefault(reading.text, []).append(reading.score)
    ordered = sorted(scores.items(), key=lambda item: (-weight(item[1]), -max(item[1]), item[0]))
    text, best = ordered[0] if ordered else ("", [])
    return text, sorted(best, reverse=True)


def log_prob_sum(log_probs: Sequence[NDArray[np.floating]], temper: float = 1.0) -> NDArray[np.float64]:
    """The product of the frames' posteriors step by step: (T, C) each -> float64 (T, C), rows normalised.

    The sum of logs is multiplied by `temper` before it is normalised; 1 / F gives the mean of the logs, for frames
    that are not independent (see `confidence`). Entries below `ctc.FLOOR` count as FLOOR, so that no frame can veto.

    Raises:
        InputError: no array, or shapes that differ. Frames of one model have one T; posteriors of models that differ
            in T share no time axis and cannot be added step by step.
    """
    shapes = sorted({array.shape for array in log_probs})
    if len(shapes) != 1:
        raise InputError(
            f"posteriors of shapes {shapes} cannot be added step by step" if shapes else "no posteriors to add",
            fix="posteriors of different T share no time axis: read.fusion=sequence",
        )
    # Sorted, because the order of additions changes the last bit and the order of frames must not.
    stack = np.sort(np.maximum(np.asarray(log_probs, dtype=np.float64), FLOOR), axis=0)  # (F, T, C)
    total = stack.sum(axis=0) * temper
    total -= total.max(axis=1, keepdims=True, initial=-np.inf)
    normalised: NDArray[np.float64] = total - np.log(np.exp(total).sum(axis=1, keepdims=True))
    return normalised
