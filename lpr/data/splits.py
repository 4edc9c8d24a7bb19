"""Splitting tracks by plate text, so that no plate is both trained on and validated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ..config import SplitConfig
from ..types import InputError, Track


@dataclass(frozen=True, slots=True)
class Split:
    """`train`, and two validation folds: `select` chooses the checkpoint, `calibrate` fits the confidence."""

    train: tuple[Track, ...]
    select: tuple[Track, ...]
    calibrate: tuple[Track, ...]

    def held_out(self) -> tuple[frozenset[str], frozenset[str]]:
        """The texts of the two folds, for a later phase to reuse."""
        return frozenset(_text(t) for t in self.select), frozenset(_text(t) for t in self.calibrate)


def split_tracks(
    tracks: Sequence[Track],
    config: SplitConfig,
    held_out: tuple[frozenset[str], frozenset[str]] | None = None,
) -> Split:
    """Hold out `config.val_share` of all tracks for validation, in two folds of about equal size.

    Validation tracks come from Scenario B only, the test's domain, wherever there is a Scenario B. Plates are drawn by
    a hash of their text, so the order of tracks does not matter; a held-out text leaves every scenario's training
    tracks. `held_out` gives the texts of an earlier phase's folds, which are reused as they are. Where this data set
    has none of a fold's texts, that fold is drawn anew; where it has none of both (it is another one), the earlier
    folds play no part. With `train_on_all`, `train` is everything, the folds too.

    At most half of the candidates are held out, so that a small Scenario B is not lost to training, unless the plates
    are so few that two folds need more. Raises InputError when there are too few plates for a training set and two
    folds.
    """
    candidates = [track for track in tracks if track.scenario == "B"] or list(tracks)
    sizes = Counter(_text(track) for track in candidates)
    if held_out is None or not (sizes.keys() & (held_out[0] | held_out[1])):
        held_out = frozenset(), frozenset()
    held_out = _fill(held_out, sizes, config, len(tracks))
    select = tuple(track for track in candidates if _text(track) in held_out[0])
    calibrate = tuple(track for track in candidates if _text(track) in held_out[1])
    if config.train_on_all:
        train = tuple(tracks)
    else:
        train = tuple(track for track in tracks if _text(track) not in held_out[0] | held_out[1])
    if not (train and select and calibrate):
        raise InputError(
            f"{len(tracks)} tracks of {len(sizes)} plates that may validate are too few: {len(train)} to train on, "
            f"{len(select)} to select by, {len(calibrate)} to calibrate with",
            fix="add tracks with other plates, or raise split.val_share",
        )
    return Split(train, select, calibrate)


def _fill(
    held_out: tuple[frozenset[str], frozenset[str]], sizes: Counter[str], config: SplitConfig, total: int
) -> tuple[frozenset[str], frozenset[str]]:
    """Draw the folds of `held_out` of which no text is in `sizes` (tracks by text); the others stay as they are.

    Texts are taken in the order of their hash, each for the smaller fold, until enough tracks are held out. One that
    alone has more tracks than a fold should have comes last, and only into a fold that is empty still.
    """
    taken = [sum(sizes[text] for text in texts) for texts in held_out]
    drawn = [fold for fold in (0, 1) if not taken[fold]]
    if not drawn:
        return held_out
    half = sum(sizes.values()) // 2
    wanted = min(max(2, round(config.val_share * total)), half)
    fold_size = max(1, wanted // 2)
    folds = [set(texts) for texts in held_out]
    # A kept fold counts as if it had the wanted size: how large it is must not change the other.
    missing = wanted - (2 - len(drawn)) * fold_size
    order = [text for text in _by_hash(sizes, config.seed) if text not in folds[0] | folds[1]]
    large = sorted((text for text in order if sizes[text] > fold_size), key=lambda text: sizes[text])
    for text in [text for text in order if sizes[text] <= fold_size] + large:
        if all(taken) and (sizes[text] > fold_size or sum(taken) + sizes[text] > half):
            continue
        if all(taken) and sum(taken[fold] for fold in drawn) >= missing:
            break
        fold = min(drawn, key=lambda fold: taken[fold])
        folds[fold].add(text)
        taken[fold] += sizes[text]
    return frozenset(folds[0]), frozenset(folds[1])


def _by_hash(texts: Iterable[str], seed: int) -> list[str]:
    return sorted(texts, key=lambda text: blake2b(f"{seed}:{text}".encode(), digest_size=16).digest())


def _text(track: Track) -> str:
    if not track.text:
        raise InputError("has no label, so it cannot be split by plate", where=track.label_at or track.id)
    return track.text
