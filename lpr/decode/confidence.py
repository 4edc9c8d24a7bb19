"""Confidence: P(the whole plate is right).

Raw: the probability of the text, summed over alignments, under the track. The five frames of a track are correlated;
multiplied as if independent they make wrong plates 0.95 sure (FACTS.md 4.10). So whatever multiplies them is tempered
by 1 / F, which leaves one frame's worth of evidence:

    log_prob_sum   P(text) under the normalised mean of the frames' logs, step by step
    sequence       (product over frames of P(text) under the frame) ^ (1 / F)

Neither is renormalised to the texts that obey a format: it is the posterior within the formats times the share of the
mass that obeys them at all, so a picture that spells no plate gets little. Over all texts either sums to at most 1 (the
second by Hölder's inequality). For votes the raw value is the vote's score.

Calibrated: a logistic curve through (raw, right) of the calibration fold (Platt 1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import InputError

#: The slope stays above this, so that a surer reading never gets a lower confidence.
LEAST_SLOPE = 1e-3

#: Pull of the curve towards "raw is right already" (slope 1, intercept 0), as a Gaussian prior with this precision:
#: felt with a handful of tracks or a fold without a single error, gone with a few hundred tracks.
RIDGE = 0.1

#: Log-odds beyond this count as this: flat posteriors reach e^-92 for a plate of 7 at T = 32.
MOST_LOGIT = 100.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """confidence = sigmoid(slope * logit(raw) + intercept); the defaults change nothing.

    `method` names what the raw values came from, as `method_name` spells it: a curve fits one method only.
    `tracks` and `right` say what it was fitted on.
    """

    slope: float = 1.0
    intercept: float = 0.0
    method: str = ""
    tracks: int = 0
    right: int = 0

    def apply(self, raw: float) -> float:
        """Raw value in [0, 1] -> confidence in [0, 1]; rises with raw. 0, which means nothing was read, stays 0."""
        if not raw > 0:
            return 0.0
        return float(_sigmoid(self.slope * _logit(np.array([raw])) + self.intercept)[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The reverse of `to_dict`; InputError where it cannot be one."""
        try:
            found = cls(
                float(values["slope"]),
                float(values["intercept"]),
                str(values.get("method", "")),
                int(values.get("tracks", 0)),
                int(values.get("right", 0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"calibration {dict(values)!r} is not readable: {error!r}") from error
        if not (np.isfinite([found.slope, found.intercept]).all() and found.slope > 0):
            raise InputError(f"calibration needs a slope above 0 and a finite intercept, not {dict(values)!r}")
        return found


def method_name(decoder: str, fusion: str) -> str:
    """The name of a way to read, which a calibration carries: `constrained/log_prob_sum`."""
    return f"{decoder}/{fusion}"


def fit(raw: Sequence[float], right: Sequence[bool], method: str = "") -> Calibration:
    """Fit the curve by Newton's method on raw values in [0, 1] and whether each plate was right.

    `raw` is what `decode_track` gives as confidence without a calibration. No tracks give the identity.

    Raises:
        InputError: the two differ in length or a raw value is not in [0, 1].
    """
    value, target = np.asarray(raw, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if value.shape != target.shape or value.ndim != 1 or not ((value >= 0) & (value <= 1)).all():
        raise InputError("calibration needs one raw value in [0, 1] and one right or wrong for each track")
    x = np.stack([_logit(value), np.ones_like(value)], axis=1)  # (N, 2)
    prior = np.array([1.0, 0.0])

    def loss(w: NDArray[np.float64]) -> float:
        z = x @ w
        return float((np.logaddexp(0, z) - target * z).sum() + RIDGE / 2 * ((w - prior) ** 2).sum())

    w = prior
    for _ in range(100):
        p = _sigmoid(x @ w)
        gradient = x.T @ (p - target) + RIDGE * (w - prior)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # On the border of the allowed slopes only the intercept moves.
        if w[0] <= LEAST_SLOPE and step[0] >= 0:
            step = np.array([0.0, gradient[1] / hessian[1, 1]])
        scale, here = 1.0, loss(w)
        while scale > 1e-6 and loss(_allowed(w - scale * step)) > here:
            scale /= 2
        moved = _allowed(w - scale * step)
        if np.abs(moved - w).max() < 1e-10:
            break
        w = moved
    return Calibration(float(w[0]), float(w[1]), method, len(value), int(target.sum()))


def _allowed(w: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([max(w[0], LEAST_SLOPE), w[1]])


def _logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        logit: NDArray[np.float64] = np.clip(np.log(prob) - np.log1p(-prob), -MOST_LOGIT, MOST_LOGIT)
    return logit


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written with tanh, which neither overflows nor leaves [0, 1].
    return 0.5 * (1 + np.tanh(z / 2))
