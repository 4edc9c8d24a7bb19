"""Confidence: P(the whole plate is right).

Raw: the probability of the text, summed over alignments, under the track. The five frames of a track are correlated;
multiplied as if independent they make wrong plates 0.95 sure. So whatever multiplies them is tempered
so that one frame's worth of evidence is left:

    log_prob_sum   P(text) under the normalised mean of the frames' logs, step by step
    sequence       product over frames of P(text) under the frame ^ weight, weights summing to 1 (fusion.frame_weights)

Neither is renormalised to the texts that obey a format: it is the posterior within the formats times the share of the
mass that obeys them at all, so a picture that spells no plate gets little. Over all texts either sums to at most 1 (the
second by Hölder's inequality). Where priors of formats or characters count, it is the posterior with them, by Bayes'
rule. For votes the raw value is the vote's score.

Calibrated: a rising curve through the evidence and outcomes of the calibration fold, see `fit`. On 2,100 hard
synthetic tracks the margin to the runner-up raised the AUROC of right against wrong from .856 to .881; the agreement of
frames and the mass of the formats added nothing to it.

Not a plate: where the text or all plates together are less likely than for nearly every plate read rightly in the fold,
or even the surest frame is less sure, the confidence is at most NOT_A_PLATE. A network that knows plates alone spells
one in every picture, though it is seldom sure of it; one that was shown what is no plate (data.spoiled) gives its mass
to the blank there, so that the mass of all plates tells them best. `scripts/not_plates.py` says how well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..types import InputError

if TYPE_CHECKING:
    from ..config import ReadConfig
    from ..formats import PlateFormat

#: The slope stays above this, so that a surer reading never gets a lower confidence.
LEAST_SLOPE = 1e-3

#: Pull of the curve towards "raw is right already" (slope 1, rest 0), as a Gaussian prior with this precision:
#: felt with a handful of tracks or a fold without a single error, gone with a few hundred tracks.
RIDGE = 0.1

#: Log-odds beyond these count as these: flat posteriors reach e^-92 for a plate of 7 at T = 32; a vote of all frames
#: for one text has 1, which is as sure as a few hundred tracks can tell.
LEAST_LOGIT, MOST_LOGIT = -100.0, 12.0

#: A margin above this counts as this: e^12 is beyond what a few hundred tracks can tell apart.
MOST_MARGIN = 12.0

#: Highest confidence of what does not look like a plate.
NOT_A_PLATE = 0.05

#: Share of the plates read rightly that shall lie beyond each threshold of "not a plate", and the share of them whose
#: tail says where the lower ones are: the tails of log values were about exponential.
LOST, TAIL = 0.0025, 0.2

#: The best texts of a track, from which the probability of all others is estimated, see `Evidence.rest`: more make the
#: estimate better and the search slower.
RANKED = 16
#: Excess over 1 of the power of the rank with which their probabilities fall, at least: less has no finite sum.
LEAST_FALL = 0.25

#: Powers of raw values that are tried for the shares of the texts after the first, see `Calibration`; not below 1,
#: where the sum over all others has no bound.
POWERS = tuple(k / 20 for k in range(20, 61))
#: Least share of the rest that is taken to lie beyond the ranked texts: they never hold everything for sure.
BEYOND = 1e-3

#: Tracks and right readings from which other curves than Platt's are tried, and thresholds are set.
ENOUGH, ENOUGH_RIGHT = 60, 40

#: Tracks from which an isotonic curve is tried: through 113 photographs of Algerian plates, 105 of them read rightly,
#: it leapt from 0 to 1. Fewer do where each value stands for this many of them, as with votes of a few frames.
ENOUGH_ISOTONIC, ENOUGH_A_VALUE = 500, 20

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a reading before calibration.

    raw: see above, in [0, 1]. margin: natural log of its ratio to the runner-up's raw value, at least 0; 0 where the
    method names none. mass: probability of all plates of the formats together, in [0, 1]. entropy: of the surest
    frame's paths, in nats, at least 0. after: raw values of the next best plates, RANKED - 1 of them where there are so
    many, falling; () where the method names none.
    """

    raw: float
    margin: float = 0.0
    mass: float = 1.0
    entropy: float = 0.0
    after: tuple[float, ...] = ()

    def rest(self, power: float = 1.0) -> float:
        """Estimated sum of raw ** power over all plates but the best.

        The values fall about as a power of the rank, the same from one octave to the next.
        """
        values = np.array(self.after) ** power
        known = float(values.sum())
        if len(values) < RANKED - 1 or not values[-1] > 0:
            return known
        fall = float(np.log2(values[RANKED // 2 - 2]) - np.log2(values[-1]))
        beyond = RANKED * float(values[-1]) / max(fall - 1, LEAST_FALL)
        # What all plates have together is known, and none of those beyond has more than the last one.
        most: float = max(self.mass - self.raw - sum(self.after), 0.0) * self.after[-1] ** (power - 1)
        return known + float(min(beyond, most))


@dataclass(frozen=True, slots=True)
class Calibration:
    """confidence = sigmoid(slope * logit(raw) + margin * sqrt(its margin) + intercept); the defaults change nothing.

    `knots`: where the sigmoid does not fit, points (sum, confidence) of a rising line that stands in its place.
    `least_raw`, `least_mass`: below either it is not a plate, nor above `most_entropy` (0: no limit). `method` names
    what the raw values came from, as `method_name` spells it: a curve fits one method only. `formats` names the plates
    that could be read then, none where that was not noted. `tracks` and `right` say what it was fitted on.
    """

    slope: float = 1.0
    intercept: float = 0.0
    method: str = ""
    tracks: int = 0
    right: int = 0
    margin: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    least_raw: float = 0.0
    least_mass: float = 0.0
    most_entropy: float = 0.0
    formats: tuple[str, ...] = ()
    power: float = 1.0

    def apply(self, evidence: Evidence) -> float:
        """Confidence in [0, 1]; never falls with raw, margin or mass, nor rises with entropy.

        Raw 0: nothing was read, and it stays 0.
        """
        if not evidence.raw > 0:
            return 0.0
        found = float(self._curve(_features([evidence]))[0])
        return found if self.is_plate(evidence) else min(found, NOT_A_PLATE)

    def is_plate(self, evidence: Evidence) -> bool:
        """Whether the track looks like a plate of the formats at all."""
        sure = not self.most_entropy or evidence.entropy <= self.most_entropy
        return sure and evidence.raw >= self.least_raw and evidence.mass >= self.least_mass

    def _curve(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        total = x @ np.array([self.slope, self.margin, self.intercept])
        if not self.knots:
            return _sigmoid(total)
        at, values = np.array(self.knots).T
        line: NDArray[np.float64] = np.interp(total, at, values)
        return line

    def fingerprint(self) -> str:
        """12 hexadecimal digits that tell one calibration from another."""
        return _fingerprint(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The reverse of `to_dict`, which version 0.1.0 wrote up to `right`; InputError where it cannot be one."""
        try:
            found = cls(
                float(values["slope"]),
                float(values["intercept"]),
                str(values.get("method", "")),
                int(values.get("tracks", 0)),
                int(values.get("right", 0)),
                float(values.get("margin", 0.0)),
                tuple((float(at), float(value)) for at, value in values.get("knots", ())),
                float(values.get("least_raw", 0.0)),
                float(values.get("least_mass", 0.0)),
                float(values.get("most_entropy", 0.0)),
                tuple(map(str, values.get("formats", ()))),
                float(values.get("power", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"calibration {dict(values)!r} is not readable: {error!r}") from error
        if not (np.isfinite([found.slope, found.intercept, found.margin]).all() and found.slope > 0 <= found.margin):
            raise InputError(f"calibration needs finite values, a slope above 0 and a margin not below it: {values!r}")
        if not POWERS[0] <= found.power <= POWERS[-1]:
            raise InputError(f"calibration needs a power from {POWERS[0]:g} to {POWERS[-1]:g}, not {found.power:g}")
        knots = np.array(found.knots).reshape(-1, 2)
        inside = ((knots[:, 1] >= 0) & (knots[:, 1] <= 1)).all()
        if not (np.isfinite(knots).all() and (np.diff(knots, axis=0) >= 0).all() and inside):
            raise InputError(f"calibration needs rising knots with values in [0, 1], not {values!r}")
        return found


def method_name(read: ReadConfig, formats: Sequence[PlateFormat]) -> str:
    """The name of a way to read, which a calibration carries: `constrained/sequence/0.5/common`, `greedy/max_score`."""
    focus = f"/{read.focus:g}" if read.fusion == "sequence" and read.focus else ""
    weighed = read.common_characters and read.decoder == "constrained" and any(one.common for one in formats)
    common = "/common" if weighed else ""
    views = f"/{read.views} views" if read.views > 1 else ""
    merged = f"/{read.merged} merged" if read.merged else ""
    return f"{read.decoder}/{read.fusion}{focus}{common}{views}{merged}"


def sharpened(confidence: float, power: float, calibration: Calibration | None) -> float:
    """Log-odds times `power` around the share of right readings in the calibration fold (1/2 without one).

    The competition breaks ties by the mean confidence of right readings less that of wrong ones. That gap grows when
    whatever is likelier than the average reading goes to 1 and the rest to 0. The result is no probability any more.
    """
    if power == 1 or not 0 < confidence < 1:
        return confidence
    known = calibration is not None and 0 < calibration.right < calibration.tracks
    share = calibration.right / calibration.tracks if calibration is not None and known else 0.5
    logits = _logit(np.array([confidence, share]))
    return float(_sigmoid(np.array([power * (logits[0] - logits[1])]))[0])


def fit(
    evidence: Sequence[Evidence],
    right: Sequence[bool],
    method: str = "",
    formats: Sequence[str] = (),
    ranks: Sequence[int] = (),
) -> Calibration:
    """Fit a calibration on N tracks' evidence and whether each plate was right; no tracks give the identity.

    ranks: where each right text stands, 0 for the best, k for the k-th of `Evidence.after`, -1 for none of them; the
    power of the texts after the first is fitted with it.
    Of three curves the one with the least cross-validated log loss is taken: logistic in raw (Platt 1999), logistic in
    raw and margin, and isotonic (with scikit-learn) over the better of the two. With few tracks it is Platt's.

    Raises:
        InputError: the two differ in length or a raw value is not in [0, 1].
    """
    raw, target = np.array([one.raw for one in evidence]), np.asarray(right, dtype=np.float64)
    if raw.shape != target.shape or not ((raw >= 0) & (raw <= 1)).all():
        raise InputError("calibration needs one raw value in [0, 1] and one right or wrong for each track")
    tracks, number = len(target), int(target.sum())
    gate = _gate([one for one, hit in zip(evidence, right, strict=True) if hit and one.raw > 0])
    # What is not taken for a plate has a confidence of its own and shall not bend the curve of the others.
    kept = np.array([gate.is_plate(one) for one in evidence], bool)
    x, target = _features(evidence)[kept], target[kept]
    best = _logistic(x, target, use_margin=False)
    if len(target) >= ENOUGH and 0 < target.sum() < len(target):
        fold = np.random.default_rng(0).permutation(len(target)) % FOLDS
        losses = [_cross_loss(x, target, fold, use_margin, isotonic=False) for use_margin in (False, True)]
        use_margin = losses[1] < losses[0]
        best = _logistic(x, target, use_margin)
        values = len(np.unique(x, axis=0))
        isotonic = len(target) >= min(ENOUGH_ISOTONIC, ENOUGH_A_VALUE * values)
        if isotonic and _cross_loss(x, target, fold, use_margin, isotonic=True) < min(losses):
            best = _isotonic(best, x, target)
    return replace(
        best,
        method=method,
        tracks=tracks,
        right=number,
        least_raw=gate.least_raw,
        least_mass=gate.least_mass,
        most_entropy=gate.most_entropy,
        formats=tuple(formats),
        power=_power([(one, rank) for one, rank in zip(evidence, ranks, strict=False) if gate.is_plate(one)]),
    )


@lru_cache(maxsize=8)
def _fingerprint(calibration: Calibration) -> str:
    # Every record of a run asks for it.
    return hashlib.sha256(json.dumps(calibration.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _power(ranked: Sequence[tuple[Evidence, int]]) -> float:
    """The power under which the right texts that are not the best are likeliest where they stand; 1 with few."""
    others = [(one, rank) for one, rank in ranked if rank and len(one.after) == RANKED - 1 and one.after[-1] > 0]
    if len(others) < ENOUGH:
        return POWERS[0]

    def likelihood(power: float) -> float:
        total = 0.0
        for one, rank in others:
            shares = np.array(one.after) ** power / one.rest(power)
            total += float(np.log(shares[rank - 1] if rank > 0 else max(1 - shares.sum(), BEYOND)))
        return total

    return max(POWERS, key=likelihood)


def without_limits(calibration: Calibration) -> Calibration:
    """The same curve, which takes anything for a plate."""
    return replace(calibration, least_raw=0.0, least_mass=0.0, most_entropy=0.0)


def curve_loss(curve: Calibration, evidence: Sequence[Evidence], right: Sequence[bool]) -> float:
    """Mean log loss of a calibration's curve on N > 0 tracks, whatever it takes for no plate.

    Values of 0 and 1, which so few cannot prove, are drawn in.
    """
    bare = without_limits(curve)
    prob = np.clip([bare.apply(one) for one in evidence], 1 / (2 * len(right)), 1 - 1 / (2 * len(right)))
    return float(-np.mean(np.where(right, np.log(prob), np.log1p(-prob))))


def held_out_loss(evidence: Sequence[Evidence], right: Sequence[bool]) -> float:
    """`curve_loss` of `fit` on tracks that it was not fitted on: the mean over FOLDS parts of N > 1 tracks."""
    fold = np.random.default_rng(0).permutation(len(right)) % min(FOLDS, len(right))
    total = 0.0
    for k in sorted(set(fold.tolist())):
        rest, held = np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold == k).tolist()
        curve = fit([evidence[i] for i in rest], [right[i] for i in rest])
        total += len(held) * curve_loss(curve, [evidence[i] for i in held], [right[i] for i in held])
    return total / len(right)


def _gate(good: Sequence[Evidence]) -> Calibration:
    """A calibration with the thresholds of "not a plate" alone, from plates read rightly; with few of them none."""
    if len(good) < ENOUGH_RIGHT:
        return Calibration()
    return Calibration(
        least_raw=_least([one.raw for one in good]),
        least_mass=_least([max(one.mass, one.raw) for one in good]),
        most_entropy=-float(np.log(_least([np.exp(-one.entropy) for one in good]))),
    )


def _least(values: Sequence[float]) -> float:
    """Where all but a share LOST of such values lie above: from the mean excess of their lower tail (peaks over
    threshold), since a few dozen values do not reach that far down themselves, but never above where these lie.

    Tails may be heavier than exponential: of 222 photographs of Algerian plates the least likely ones were far below.
    """
    logs = np.log(values)
    start = float(np.quantile(logs, TAIL))
    tail = logs[logs <= start]
    estimated = start - float(np.mean(start - tail)) * float(np.log(TAIL / LOST))
    seen = float(np.quantile(logs, LOST, method="lower"))
    # A hair lower, so that rounding does not shut out values that are all alike.
    return float(np.exp(min(estimated, seen)) * (1 - 1e-9))


def _cross_loss(
    x: NDArray[np.float64], target: NDArray[np.float64], fold: NDArray[np.intp], use_margin: bool, isotonic: bool
) -> float:
    """Mean log loss on tracks that a curve was not fitted on; x (N, 3), target (N,), fold (N,) from 0 to FOLDS - 1."""
    prob = np.empty(len(target))
    for k in range(FOLDS):
        rest, held = fold != k, fold == k
        curve = _logistic(x[rest], target[rest], use_margin)
        if isotonic:
            curve = _isotonic(curve, x[rest], target[rest])
        prob[held] = curve._curve(x[held])
    # An isotonic curve may say 0 or 1, which no fold of this size can prove.
    prob = np.clip(prob, 1 / (2 * len(target)), 1 - 1 / (2 * len(target)))
    return float(-np.mean(np.where(target > 0, np.log(prob), np.log1p(-prob))))


def _features(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """(N, 3): log-odds of raw, root of the margin (it fitted wide margins better than the margin itself), 1."""
    raw = _logit(np.array([one.raw for one in evidence], np.float64))
    margin = np.sqrt(np.clip([one.margin for one in evidence], 0.0, MOST_MARGIN)) if len(evidence) else np.empty(0)
    return np.stack([raw, margin, np.ones_like(raw)], axis=1)


def _logistic(x: NDArray[np.float64], target: NDArray[np.float64], use_margin: bool) -> Calibration:
    """Newton's method with lower bounds on the slopes, so that confidence never rises against the evidence."""
    columns = [0, 1, 2] if use_margin else [0, 2]
    x = x[:, columns]
    prior = np.array([1.0, 0.0, 0.0])[columns]
    least = np.array([LEAST_SLOPE, 0.0, -np.inf])[columns]

    def loss(w: NDArray[np.float64]) -> float:
        z = x @ w
        return float((np.logaddexp(0, z) - target * z).sum() + RIDGE / 2 * ((w - prior) ** 2).sum())

    w = prior
    for _ in range(100):
        p = _sigmoid(x @ w)
        gradient = x.T @ (p - target) + RIDGE * (w - prior)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(len(w))
        # What stands on its bound and would go below stays there; the others move.
        free = (w > least) | (gradient < 0)
        step = np.zeros_like(w)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        scale, here = 1.0, loss(w)
        while scale > 1e-6 and loss(np.maximum(w - scale * step, least)) > here:
            scale /= 2
        moved = np.maximum(w - scale * step, least)
        if np.abs(moved - w).max() < 1e-10:
            break
        w = moved
    return Calibration(float(w[0]), float(w[-1]), margin=float(w[1]) if use_margin else 0.0)


def _isotonic(curve: Calibration, x: NDArray[np.float64], target: NDArray[np.float64]) -> Calibration:
    """The same with a rising line through its sums and the outcomes, fitted by pooling neighbours."""
    from sklearn.isotonic import IsotonicRegression

    total = x @ np.array([curve.slope, curve.margin, curve.intercept])
    line = IsotonicRegression().fit(total, target)
    knots = zip(line.X_thresholds_.tolist(), line.y_thresholds_.tolist(), strict=True)
    return replace(curve, knots=tuple(knots))


def _logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        logit: NDArray[np.float64] = np.clip(np.log(prob) - np.log1p(-prob), LEAST_LOGIT, MOST_LOGIT)
    return logit


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written with tanh, which neither overflows nor leaves [0, 1].
    return 0.5 * (1 + np.tanh(z / 2))
