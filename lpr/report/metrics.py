"""What "right" means: every measure of the project defined once, in plain numpy.

All functions take texts and plain arrays. `right` is bool (N,), one entry a track; `confidence` is float (N,),
P(the whole plate is right). A measure over nothing is NaN, never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: 97.5 % point of the standard normal distribution: all intervals of the report are 95 % intervals.
Z_95 = 1.959963984540054

#: Equal-width bands of confidence, for the calibration error and its table alike. Ten is the usual number; more
#: would leave bands of a 1,000-track validation set almost empty.
BANDS = 10

#: Resamples of a bootstrap. Its interval's ends then move by about 0.1 standard errors from seed to seed.
RESAMPLES = 1000

#: Cells of a bootstrap's table of counts, 8 bytes each: beyond 20,000 tracks it takes fewer resamples, not more memory.
MAX_CELLS = 20_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval and the number of tracks (or characters) behind it. NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Band:
    """One band of confidence, [start, stop) and the last one closed: mean confidence against share right."""

    start: float
    stop: float
    mean_confidence: float
    right: Estimate


def edit_distance(truth: str, text: str) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions that turn one into the other."""
    if truth == text:
        return 0
    row = list(range(len(text) + 1))
    for i, a in enumerate(truth, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(text, start=1):
            diagonal, row[j] = row[j], min(diagonal + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def align(truth: str, text: str) -> list[tuple[str | None, str | None]]:
    """Pair the characters of a truth with those that were read, in order.

    Equal lengths pair position by position, since a plate's positions are fixed: a shifted reading is wrong in
    every shifted position. Otherwise the pairs are those of a shortest edit script; (c, None) is a character of
    the truth that was not read, (None, c) one that was read too much. Among equally short scripts a pair of
    characters goes before a gap, from the right end on.
    """
    if len(truth) == len(text):
        return list(zip(truth, text, strict=True))
    cost = np.zeros((len(truth) + 1, len(text) + 1), dtype=int)
    cost[:, 0] = range(len(truth) + 1)
    cost[0, :] = range(len(text) + 1)
    for i, a in enumerate(truth, start=1):
        for j, b in enumerate(text, start=1):
            cost[i, j] = min(cost[i - 1, j - 1] + (a != b), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs: list[tuple[str | None, str | None]] = []
    i, j = len(truth), len(text)
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (truth[i - 1] != text[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((truth[i], text[j]))
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            pairs.append((truth[i], None))
        else:
            j -= 1
            pairs.append((None, text[j]))
    return pairs[::-1]


def character_accuracy(truth: str, text: str) -> float:
    """Share of characters read right, in [0, 1]: (longer length - wrong pairs of `align`) / longer length.

    For equal lengths, which is nearly always, this is the field's "right characters / all characters", position
    by position. For unequal lengths it is 1 - edit distance / longer length, so that characters too much count
    as wrong like missing ones. Two empty texts agree: 1.
    """
    longer = max(len(truth), len(text))
    return _characters_right(truth, text) / longer if longer else 1.0


def is_partial(truth: str, text: str) -> bool:
    """Whether at least 80 % of the characters are right; of seven characters, six."""
    # In whole numbers, so that 4 of 5 counts for certain.
    return 5 * _characters_right(truth, text) >= 4 * max(len(truth), len(text))


def _characters_right(truth: str, text: str) -> int:
    longer = max(len(truth), len(text))
    if len(truth) == len(text):
        return sum(a == b for a, b in zip(truth, text, strict=True))
    return longer - edit_distance(truth, text)


def wilson(successes: int, n: int) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927), which stays in [0, 1] and holds at 0 and at n too."""
    if not n:
        return Estimate(nan, nan, nan, 0)
    share = successes / n
    centre = share + Z_95**2 / (2 * n)
    half = Z_95 * sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    scale = 1 + Z_95**2 / n
    # Rounding may push an end a hair past the share at 0 and n of n.
    low, high = min(share, (centre - half) / scale), max(share, (centre + half) / scale)
    return Estimate(share, max(0.0, low), min(1.0, high), n)


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int = 0,
    bounds: tuple[float, float] = (-inf, inf),
) -> Estimate:
    """A statistic of sums over tracks with its bootstrap interval; tracks are what is resampled.

    `values`: float (N, K), K numbers a track. `statistic` maps sums over tracks (R, K) to (R,); it may give NaN
    where a resample leaves it undefined, and such resamples are left out. The interval is that of the percentiles,
    moved so that the resamples' mean falls on the value: a calibration error only grows by resampling, and its plain
    percentiles may not even hold the value. It is cut to `bounds`, the values that the statistic can take: moving it
    may carry an end past them. Deterministic for a seed.
    """
    table = np.asarray(values, dtype=float)
    n = len(table)
    if not n:
        return Estimate(nan, nan, nan, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(table.sum(axis=0, keepdims=True))[0])
        resampled = statistic(_draw_counts(n, seed) @ table)
    defined = resampled[np.isfinite(resampled)]
    low, high = np.quantile(defined, [0.025, 0.975]) - defined.mean() if len(defined) else (nan, nan)
    least, most = bounds
    # In this order, so that NaN, which compares false, stays NaN.
    return Estimate(value, max(value + float(low), least), min(value + float(high), most), n)


@lru_cache(maxsize=1)  # All measures of one group of tracks use the same draw, and drawing is what takes the time.
def _draw_counts(n: int, seed: int) -> NDArray[np.float64]:
    """How often each resample holds each track: float (R, n), rows sum to n, read-only."""
    resamples = max(min(RESAMPLES, MAX_CELLS // n), 100)
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    drawn += np.arange(resamples)[:, None] * n  # One bin for each resample and track: a single bincount counts all.
    counts = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(float)
    counts.setflags(write=False)
    return counts


def mean(values: ArrayLike, bounds: tuple[float, float]) -> Estimate:
    """The mean over tracks with its bootstrap interval; `values` float (N,), each within `bounds`."""
    column = np.asarray(values, dtype=float)
    columns = np.stack([column, np.ones_like(column)], axis=1)
    return bootstrap(columns, lambda sums: sums[:, 0] / sums[:, 1], bounds=bounds)


def confidence_gap(confidence: ArrayLike, right: ArrayLike) -> Estimate:
    """The competition's tie-break: mean confidence of the right tracks - mean confidence of the wrong ones.

    In [-1, 1], higher is better; NaN when all tracks are right or all are wrong.
    """
    sure, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    columns = [sure * good, good, sure * ~good, ~good]
    return bootstrap(np.stack(columns, axis=1), lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], bounds=(-1, 1))


def auroc(confidence: ArrayLike, right: ArrayLike) -> float:
    """How well confidence tells right from wrong: the probability that a right track has the higher one, ties by half.

    In [0, 1], 0.5 is chance; NaN when all tracks are right or all are wrong.
    """
    sure, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    right_ones, wrong_ones = sure[good], np.sort(sure[~good])
    if not (len(right_ones) and len(wrong_ones)):
        return nan
    below = np.searchsorted(wrong_ones, right_ones, "left") + np.searchsorted(wrong_ones, right_ones, "right")
    return float(below.mean() / (2 * len(wrong_ones)))


def calibration_error(confidence: ArrayLike, right: ArrayLike) -> Estimate:
    """Expected calibration error, in [0, 1], lower is better: over `BANDS` equal-width bands, the mean of
    |share right - mean confidence|, weighted by the tracks in the band (Naeini et al. 2015).

    For small n the value itself leans upwards, since noise in a band can only add to it.
    """
    sure, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    member = np.eye(BANDS)[band_index(sure)]  # (N, BANDS) one-hot
    # |share - mean| * n_band is |sum of right - sum of confidence|: one column a band is enough.
    columns = np.concatenate([member * (good - sure)[:, None], np.ones((len(sure), 1))], axis=1)
    return bootstrap(columns, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1], bounds=(0, 1))


def bands(confidence: ArrayLike, right: ArrayLike) -> tuple[Band, ...]:
    """The table behind `calibration_error`: per band the mean confidence and the share right (Wilson interval)."""
    sure, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    index = band_index(sure)
    table = []
    for band in range(BANDS):
        inside = index == band
        n = int(inside.sum())
        average = float(sure[inside].mean()) if n else nan
        table.append(Band(band / BANDS, (band + 1) / BANDS, average, wilson(int(good[inside].sum()), n)))
    return tuple(table)


def band_index(confidence: NDArray[np.float64]) -> NDArray[np.int_]:
    """Band of each confidence, int (N,): band b is [b / BANDS, (b + 1) / BANDS), the last one includes 1."""
    index: NDArray[np.int_] = np.minimum((confidence * BANDS).astype(int), BANDS - 1)
    return index


def confusions(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, int, int]]:
    """How often a character was read as another: (truth, read, times, times the truth occurred), most often first.

    `pairs`: (truth, read) texts. Only aligned pairs of two different characters count; gaps are no confusion.
    """
    seen: dict[str, int] = {}
    counts: dict[tuple[str, str], int] = {}
    for truth, text in pairs:
        for a in truth:
            seen[a] = seen.get(a, 0) + 1
        if truth == text:
            continue
        for expected, got in align(truth, text):
            if expected and got and expected != got:
                counts[expected, got] = counts.get((expected, got), 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(expected, got, times, seen[expected]) for (expected, got), times in ordered]
