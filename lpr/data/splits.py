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
    tracks. `held_out` gives the texts of an earlier phase's folds, which are reused as they are; if this data set has
    none of them (it is another one), a new split is drawn. With `train_on_all`, `train` is everything, the folds too.

    At most half of the candidates are held out, so that a small Scenario B is not lost to training. Raises InputError
    when there are too few plates for a training set and two folds.
    """
    candidates = [track for track in tracks if track.scenario == "B"] or list(tracks)
    sizes = Counter(_text(track) for track in candidates)
    if held_out is None or not (sizes.keys() & (held_out[0] | held_out[1])):
        held_out = _draw(sizes, config, len(tracks))
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


def _draw(sizes: Counter[str], config: SplitConfig, total: int) -> tuple[frozenset[str], frozenset[str]]:
    """Take texts in the order of their hash, each for the smaller fold, until enough tracks are held out."""
    wanted = min(max(2, round(config.val_share * total)), sum(sizes.values()) // 2)
    folds: tuple[set[str], set[str]] = (set(), set())
    taken = [0, 0]
    for text in _by_hash(sizes, config.seed):
        # The last condition fills both folds even where one plate has many tracks.
        if sum(taken) >= wanted and all(taken):
            break
        fold = int(taken[1] < taken[0])
        folds[fold].add(text)
        taken[fold] += sizes[text]
    return frozenset(folds[0]), frozenset(folds[1])


def _by_hash(texts: Iterable[str], seed: int) -> list[str]:
    return sorted(texts, key=lambda text: blake2b(f"{seed}:{text}".encode(), digest_size=16).digest())


def _text(track: Track) -> str:
    if not track.text:
        raise InputError("has no label, so it cannot be split by plate", where=track.label_at or track.id)
    return track.text
