"""Which tracks a synthetic set holds: texts, formats and scenarios in the competition's proportions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..formats import PlateFormat, allowed
from ..types import InputError

Split = Literal["train", "test"]
Letters = Literal["series", "any"]

#: Every possible text belongs to one group, so that A, B and test sets share no plate, whatever their seeds.
#: 8 buckets: A holds more tracks than plates, B as many, a test set far fewer.
_BUCKETS = {"A": (0, 1, 2), "B": (3, 4, 5, 6), "test": (7,)}

#: Share of A's tracks whose plate was on an earlier track: LRLPR-26 has 10,000 tracks of 6,947 plates.
_REPEATED = 0.3053

_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """One track to be made. `folder` is its place below the set's root, with forward slashes."""

    index: int
    id: str
    folder: str
    scenario: str
    format: str
    text: str


def bucket(text: str) -> str:
    """The group that `text` belongs to: "A", "B" or "test"."""
    number = zlib.crc32(text.encode()) % 8
    return next(name for name, numbers in _BUCKETS.items() if number in numbers)


def sample_text(rng: np.random.Generator, plate_format: PlateFormat) -> str:
    """Draw a text as it is met on the road, by the format's `common` and these fields of its drawing, all optional.

    `template_weights` weigh the templates; `first_letters` and `letters` weigh characters beside `common`, by position
    from 1 or, from the end, from -1; `prefixes` are what templates that begin with two letters begin with; `digits:
    {bounds: {-2: [1, 58]}, often: {-2: {16: 0.3}}}` bounds the number at a position, and says how often it is a certain
    one.
    """
    spec = plate_format.drawing
    weights = spec.get("template_weights")
    if weights:
        shares = np.array(weights, float) / sum(weights)
        template = plate_format.templates[int(rng.choice(len(shares), p=shares))]
    else:
        template = plate_format.templates[int(rng.integers(len(plate_format.templates)))]
    favoured: dict[int, Mapping[str, float]] = {
        _index(int(position), template): group
        for position, group in {**plate_format.common, **spec.get("letters", {})}.items()
    }
    if first := spec.get("first_letters"):
        favoured[0] = first
    text = "".join(_character(rng, allowed(symbol), favoured.get(i, {})) for i, symbol in enumerate(template))
    if template.startswith("LL") and (prefixes := spec.get("prefixes")):
        prefix = str(prefixes[int(rng.integers(len(prefixes)))])
        text = prefix + text[len(prefix) :]
    often = spec.get("digits", {}).get("often", {})
    for place, (low, high) in spec.get("digits", {}).get("bounds", {}).items():
        width = len(str(high))
        start = _index(place, text)
        number = int(rng.integers(low, high + 1))
        if common := often.get(place):
            ends = np.cumsum([*common.values()])
            number = [*common, number][int(np.searchsorted(ends, rng.random(), side="right"))]
        text = text[:start] + f"{number:0{width}d}" + text[start + width :]
    return text


def _index(position: int, text: str) -> int:
    """Where in `text` a position from 1, or from -1 at its end, lies."""
    return len(text) + position if position < 0 else position - 1


def with_letters(plate_format: PlateFormat, kind: Letters) -> PlateFormat:
    """The format as it is ("series"), or with all letters alike ("any").

    A reader that only ever saw one state's series takes the first letter of another state's plate for one of them.
    """
    if kind == "series":
        return plate_format
    drawing = {name: value for name, value in plate_format.drawing.items() if name != "first_letters"}
    common, letters = (
        {at: groups for at, groups in weighed.items() if "".join(groups).isdigit()}
        for weighed in (plate_format.common, drawing.get("letters", {}))
    )
    return replace(plate_format, common=common, drawing={**drawing, "letters": letters})


def _character(rng: np.random.Generator, characters: str, favoured: Mapping[str, float]) -> str:
    """Uniform among the groups of `favoured` with their probabilities, else among all others."""
    draw = rng.random()
    rest = characters
    for wanted, probability in favoured.items():
        # A format's first letter means nothing where a template begins with a digit.
        group = "".join(c for c in wanted if c in characters)
        if not group:
            continue
        draw -= probability
        if draw < 0:
            return group[int(rng.integers(len(group)))]
        rest = "".join(c for c in rest if c not in group)
    return rest[int(rng.integers(len(rest)))]


def plan_tracks(n: int, seed: int, split: Split, formats: Sequence[PlateFormat]) -> list[TrackPlan]:
    """Plan `n` tracks: train is half Scenario A, formats alike, and half B by the formats' priors; test is all B.

    Numbers run through the whole tree (from 1; test sets from 10001, as in the competition). A's plates repeat,
    those of B are unique, and no plate is in two of A, B and test.
    """
    rng = np.random.default_rng([seed, 0])
    plans: list[TrackPlan] = []
    seen: set[str] = set()
    start = 10_001 if split == "test" else 1
    shares = {"B": n} if split == "test" else {"A": n // 2, "B": n - n // 2}
    for scenario, count in shares.items():
        weights = [1.0 if scenario == "A" else f.prior for f in formats]
        for plate_format, quota in zip(formats, _quotas(count, weights), strict=True):
            earlier: list[str] = []
            for _ in range(quota):
                if scenario == "A" and earlier and rng.random() < _REPEATED:
                    text = earlier[int(rng.integers(len(earlier)))]
                else:
                    text = fresh_text(rng, plate_format, ("test" if split == "test" else scenario,), seen)
                earlier.append(text)
                number = start + len(plans)
                name = f"track_{number:05d}"
                folder = name if split == "test" else f"Scenario-{scenario}/{plate_format.layout}/{name}"
                plans.append(TrackPlan(number, name, folder, scenario, plate_format.name, text))
    if split == "test":
        # In blocks by format, a track's number would give its format away.
        order = rng.permutation(n)
        plans = [_swap(plans[i], plans[int(j)]) for i, j in enumerate(order)]
    return plans


def _swap(place: TrackPlan, content: TrackPlan) -> TrackPlan:
    return TrackPlan(place.index, place.id, place.folder, content.scenario, content.format, content.text)


def fresh_text(rng: np.random.Generator, plate_format: PlateFormat, groups: Sequence[str], seen: set[str]) -> str:
    """A text of one of the groups that is not in `seen`; it is added there. InputError when they run out."""
    for _ in range(_ATTEMPTS):
        text = sample_text(rng, plate_format)
        if bucket(text) in groups and text not in seen:
            seen.add(text)
            return text
    raise InputError(
        f"format {plate_format.name} has too few texts for so many different plates", fix="ask for fewer tracks"
    )


def _quotas(count: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `weights` that sum to `count` (largest remainders)."""
    exact = np.array(weights) / sum(weights) * count
    quotas = np.floor(exact).astype(int)
    for i in np.argsort(quotas - exact, kind="stable")[: count - int(quotas.sum())]:
        quotas[i] += 1
    return [int(q) for q in quotas]
