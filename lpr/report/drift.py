"""Whether the confidences of two sets of predictions come from one distribution (Kolmogorov-Smirnov, two samples)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

#: Drift is a distance that chance seldom gives and that is large enough to matter: among many thousands of tracks
#: chance alone gives next to none, and a distance of 0.02 would count.
MOST_P, LEAST_DISTANCE = 0.01, 0.1


@dataclass(frozen=True, slots=True)
class Drift:
    """distance: the largest difference of the two cumulative shares, in [0, 1]. p: how often chance gives more.

    at: the confidence where they differ most. means: of the two sets. counts: tracks in each.
    """

    distance: float
    p: float
    at: float
    means: tuple[float, float]
    counts: tuple[int, int]

    @property
    def drifted(self) -> bool:
        """Whether the two differ by more than chance and by enough to matter."""
        return self.p < MOST_P and self.distance >= LEAST_DISTANCE


def drift(before: ArrayLike, after: ArrayLike) -> Drift:
    """Compare confidences, float (N,) and (M,), neither empty.

    p is that of the limiting distribution (Kolmogorov 1933) with the correction of Stephens (1970) for small sets.
    """
    one, two = np.sort(np.asarray(before, float)), np.sort(np.asarray(after, float))
    places = np.concatenate([one, two])
    gaps = np.abs(np.searchsorted(one, places, "right") / len(one) - np.searchsorted(two, places, "right") / len(two))
    at = int(gaps.argmax())
    distance = float(gaps[at])
    size = sqrt(len(one) * len(two) / (len(one) + len(two)))
    scaled = (size + 0.12 + 0.11 / size) * distance
    # The series does not converge near 0, where p is 1.
    p = 1.0 if scaled < 0.3 else 2 * sum((-1) ** (k - 1) * exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    means = float(one.mean()), float(two.mean())
    return Drift(distance, min(1.0, max(0.0, p)), float(places[at]), means, (len(one), len(two)))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Names and both values of what two audit records (`decode.records`) do not share, beside their times and paths;
    nothing where one is empty.

    Confidences of other weights, settings or calibrations differ for that reason already.
    """

    def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in record.items():
            found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
        return found

    one, other = flat(before), flat(after)
    if not (one and other):
        return []
    return [
        (name.removeprefix("config."), one.get(name), other.get(name))
        for name in sorted(one | other)
        if name not in ("time", "checkpoint") and one.get(name) != other.get(name)
    ]
