"""Splitting tracks by plate text, so that no plate is both trained on and validated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from ..config import SplitConfig
from ..types import InputError, Track
from .strata import stratum


class HeldOut(NamedTuple):
    """The texts that are not trained on, by what they are held out for."""

    select: frozenset[str]
    calibrate: frozenset[str]
    test: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, list[str]]:
        """As JSON values, sorted."""
        return {name: sorted(texts) for name, texts in self._asdict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeldOut:
        """What `to_dict` gave; runs from before there was a test fold have none."""
        return cls(*(frozenset(values.get(name, ())) for name in cls._fields))


@dataclass(frozen=True, slots=True)
class Split:
    """`train`, two validation folds (`select` chooses the checkpoint, `calibrate` fits the confidence), and `test`."""

    train: tuple[Track, ...]
    select: tuple[Track, ...]
    calibrate: tuple[Track, ...]
    test: tuple[Track, ...] = ()

    def folds(self) -> HeldOut:
        """The texts of the folds, trained on (`train_on_all`) or not: for the same run to go on with."""
        return HeldOut(*(frozenset(map(_text, fold)) for fold in (self.select, self.calibrate, self.test)))

    def held_out(self) -> HeldOut:
        """The texts of the folds that are not trained on, for a later phase to reuse; with `train_on_all` none."""
        trained = frozenset(map(_text, self.train))
        return HeldOut(*(fold - trained for fold in self.folds()))


def split_tracks(tracks: Sequence[Track], config: SplitConfig, held_out: HeldOut | None = None) -> Split:
    """Hold out `config.val_share` of the tracks in two folds of about equal size, and `config.test_share` to test.

    They come from the source `config.validate_on`, of whose tracks the shares are; without one from all tracks. Where
    there is a Scenario B, the test's domain, they come from it alone. Plates are drawn by a hash of their text, so the
    order of tracks does not matter; with `config.stratify` every fold has about the same shares of lengths, first
    characters and background colours. A held-out text leaves every scenario's and source's training tracks. `held_out`
    gives the texts of an earlier phase's folds, which are reused as they are. Where this data set has none of a fold's
    texts, that fold is drawn anew; where it has none of all, or hardly any (it is another one), the earlier folds play
    no part. With `train_on_all`, `train` is everything, the folds too, and nothing is left to test.

    At most half of the candidates are held out, so that a small Scenario B is not lost to training, unless the plates
    are so few that two folds need more. Raises InputError when there are too few plates for a training set and the
    folds, and for a test fold wanted of plates that an earlier phase may have trained on.
    """
    own = [track for track in tracks if not config.validate_on or track.source == config.validate_on]
    candidates = [track for track in own if track.scenario == "B"] or own
    sizes = Counter(map(_text, candidates))
    if held_out is None or _are_other_data(held_out, sizes, config.val_share * len(own)):
        held_out = HeldOut(frozenset(), frozenset())
    elif config.test_share and not config.train_on_all and not sizes.keys() & held_out.test:
        raise InputError(
            "the run that this one starts from held out no test plates of these data: it may have trained on any",
            where="split.test_share",
            fix="set it from the first phase on, or to 0",
        )
    test_share = 0.0 if config.train_on_all else config.test_share
    folds = _draw(held_out, candidates, sizes, config, len(own))
    select, calibrate, test = (tuple(track for track in candidates if _text(track) in fold) for fold in folds)
    if config.train_on_all:
        train, test = tuple(tracks), ()
    else:
        train = tuple(track for track in tracks if _text(track) not in frozenset().union(*folds))
    if not (train and select and calibrate and (test or not test_share)):
        raise InputError(
            f"{len(tracks)} tracks of {len(sizes)} plates that may validate are too few: {len(train)} to train on, "
            f"{len(select)} to select by, {len(calibrate)} to calibrate with"
            + (f", {len(test)} to test" if test_share else ""),
            fix="add tracks with other plates, or raise split.val_share" + (" or split.test_share" * bool(test_share)),
        )
    return Split(train, select, calibrate, test)


def _are_other_data(held_out: HeldOut, sizes: Counter[str], wanted: float) -> bool:
    """Whether these data (`sizes`: tracks by text) have no text of the earlier folds, or as few as chance may bring."""
    earlier = frozenset().union(*held_out)
    common = sizes.keys() & earlier
    return len(common) <= len(earlier) / 20 and sum(sizes[text] for text in common) <= wanted / 4


def _draw(
    held_out: HeldOut, candidates: Sequence[Track], sizes: Counter[str], config: SplitConfig, total: int
) -> HeldOut:
    """Draw the folds of `held_out` that these data have no text of (`sizes`: tracks by text) from the candidates."""
    wants_test = config.test_share > 0 and not config.train_on_all
    if all(sizes.keys() & fold for fold in held_out[: 3 if wants_test else 2]):
        return held_out
    half = sum(sizes.values()) // 2
    wanted = min(max(2, round(config.val_share * total)), half)
    wanted_test = min(round(config.test_share * total), half - wanted) if wants_test else 0
    order = [text for text in _by_hash(sizes, config.seed) if text not in frozenset().union(*held_out)]
    if config.stratify:
        return _spread(held_out, candidates, sizes, order, (wanted / 2, wanted / 2, wanted_test))
    select, calibrate = _fill(held_out[:2], sizes, order, wanted, half)
    test = held_out.test
    if wants_test:
        free = [text for text in order if text not in select | calibrate]
        left = max(0, half - sum(sizes[text] for text in select | calibrate))
        (test,) = _fill((test,), sizes, free, wanted_test, left)
    return HeldOut(select, calibrate, test)


def _fill(
    folds: Sequence[frozenset[str]], sizes: Counter[str], free: Sequence[str], wanted: int, limit: int
) -> list[frozenset[str]]:
    """Fill those of `folds` of which no text is in `sizes` from the `free` texts; the others stay as they are.

    Texts are taken in their order, each for the smaller fold, until `wanted` tracks are held out, at most `limit`. One
    that alone has more tracks than a fold should have comes last, and only into a fold that is empty still.
    """
    taken = [sum(sizes[text] for text in texts) for texts in folds]
    drawn = [fold for fold in range(len(folds)) if not taken[fold]]
    if not drawn:
        return list(folds)
    fold_size = max(1, wanted // len(folds))
    filled = [set(texts) for texts in folds]
    # A kept fold counts as if it had the wanted size: how large it is must not change the others.
    missing = wanted - (len(folds) - len(drawn)) * fold_size
    large = sorted((text for text in free if sizes[text] > fold_size), key=lambda text: sizes[text])
    for text in [text for text in free if sizes[text] <= fold_size] + large:
        if all(taken) and (sizes[text] > fold_size or sum(taken) + sizes[text] > limit):
            continue
        if all(taken) and sum(taken[fold] for fold in drawn) >= missing:
            break
        fold = min(drawn, key=lambda fold: taken[fold])
        filled[fold].add(text)
        taken[fold] += sizes[text]
    return [frozenset(texts) for texts in filled]


def _spread(
    held_out: HeldOut,
    candidates: Sequence[Track],
    sizes: Counter[str],
    order: Sequence[str],
    wanted: Sequence[float],
) -> HeldOut:
    """Fill those folds of `held_out` of which no text is in `sizes`, every stratum giving its share to each.

    The texts are dealt out stratum by stratum, each to the part (a fold, or training) that is furthest behind what it
    should have by now, in tracks: so no part is ever more than a text or two ahead, within any stratum.
    """
    first = {_text(track): track for track in sorted(candidates, key=lambda track: track.id, reverse=True)}
    strata = {text: stratum(first[text]) for text in order}
    missing = [0.0 if sizes.keys() & fold else size for fold, size in zip(held_out, wanted, strict=True)]
    total = sum(sizes[text] for text in order)
    goals = [*missing, total - sum(missing)]
    parts = [set(fold) for fold in (*held_out, ())]
    behind = [0.0] * len(goals)
    for text in sorted(order, key=lambda text: strata[text]):
        behind = [much + goal * sizes[text] / total for much, goal in zip(behind, goals, strict=True)]
        # A plate on more tracks than a fold should have is trained on.
        able = [part for part, goal in enumerate(goals) if part == 3 or (goal > 0 and sizes[text] <= max(1, goal))]
        part = max(able, key=lambda part: behind[part])
        parts[part].add(text)
        behind[part] -= sizes[text]
    return HeldOut(*map(frozenset, parts[:3]))


def _by_hash(texts: Iterable[str], seed: int) -> list[str]:
    return sorted(texts, key=lambda text: blake2b(f"{seed}:{text}".encode(), digest_size=16).digest())


def _text(track: Track) -> str:
    if not track.text:
        raise InputError("has no label, so it cannot be split by plate", where=track.label_at or track.id)
    return track.text
