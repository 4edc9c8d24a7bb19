"""A test fold, a source to validate on, and strata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_samples import write_image
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import SplitConfig, load_config
from lpr.data.scan import scan
from lpr.data.splits import HeldOut, Split, split_tracks
from lpr.data.strata import background, stratum
from lpr.model.recogniser import build_recogniser
from lpr.report.outcomes import read_truth
from lpr.training.run import RunFolder
from lpr.training.setup import prepare
from lpr.types import Frame, InputError, Track

THIRDS = SplitConfig(val_share=0.15, test_share=0.15)


def make(count: int, source: str = "", *, first: int = 0, repeats: int = 1) -> list[Track]:
    return [Track(f"{source}{first + i}", (), f"P{(first + i) // repeats:05d}", source=source) for i in range(count)]


def texts(tracks: Iterable[Track]) -> set[str | None]:
    return {t.text for t in tracks}


def test_seventy_fifteen_fifteen() -> None:
    split = split_tracks(make(1000), THIRDS)
    assert [len(fold) for fold in (split.train, split.select, split.calibrate, split.test)] == [700, 75, 75, 150]
    # The folds to validate on are those of a run without a test fold.
    assert split_tracks(make(1000), SplitConfig(val_share=0.15)).held_out() == (*split.held_out()[:2], frozenset())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["real", "synthetic"])), min_size=1, max_size=150),
       st.floats(0.01, 0.6), st.floats(0.01, 0.6), st.integers(0, 5), st.booleans())  # fmt: skip
def test_no_text_stands_on_two_sides(
    rows: list[tuple[int, str]], val: float, test: float, seed: int, stratify: bool
) -> None:
    tracks = [Track(str(i), (), f"P{text}", source=source) for i, (text, source) in enumerate(rows)]
    config = SplitConfig(val_share=val, test_share=test, seed=seed, stratify=stratify, validate_on="real")
    try:
        split = split_tracks(tracks, config)
    except InputError:
        return
    folds = (split.select, split.calibrate, split.test)
    assert all(folds) and {t.source for fold in folds for t in fold} == {"real"}
    for i, side in enumerate((split.train, *folds)):
        assert not any(texts(side) & texts(other) for j, other in enumerate((split.train, *folds)) if j != i)
    # Whatever stands nowhere is a synthetic track of a plate held out.
    placed = {t.id for side in (split.train, *folds) for t in side}
    lost = [t for t in tracks if t.id not in placed]
    assert all(t.source == "synthetic" and t.text in frozenset().union(*split.held_out()) for t in lost)
    assert split_tracks(tracks[::-1], config).held_out() == split.held_out()
    assert split_tracks(tracks, config, split.held_out()) == split


def test_shares_are_of_the_source_that_is_validated_on() -> None:
    tracks = make(200, "real") + make(5000, "synthetic", first=100)
    config = SplitConfig(val_share=0.15, test_share=0.15, validate_on="real")
    split = split_tracks(tracks, config)
    assert (len(split.select), len(split.calibrate), len(split.test)) == (15, 15, 30)
    assert texts(split.select) <= texts(make(200)) and not texts(split.train) & frozenset().union(*split.held_out())
    assert Counter(t.source for t in split.train)["real"] == 140


def test_a_later_phase_keeps_the_test_fold_whatever_it_asks_for() -> None:
    tracks = make(400)
    first = split_tracks(tracks, THIRDS)
    for config in (THIRDS, SplitConfig(val_share=0.15), SplitConfig(val_share=0.3, test_share=0.05, seed=3)):
        assert split_tracks(tracks, config, first.held_out()) == first
    # A run from before there was a test fold may have trained on any plate.
    earlier = split_tracks(tracks, SplitConfig(val_share=0.15)).held_out()
    with pytest.raises(InputError, match="held out no test plates"):
        split_tracks(tracks, THIRDS, earlier)
    # Other data get folds of their own.
    other = make(400, first=9000)
    assert split_tracks(other, THIRDS, earlier) == split_tracks(other, THIRDS)


def test_train_on_all_leaves_nothing_to_test() -> None:
    split = split_tracks(make(100), SplitConfig(val_share=0.1, test_share=0.1, train_on_all=True))
    assert len(split.train) == 100 and split.test == () and len(split.select) == 5


@pytest.mark.parametrize("count", [0, 2, 3])
def test_too_few_plates_for_a_test_fold(count: int) -> None:
    with pytest.raises(InputError, match="too few"):
        split_tracks(make(count), THIRDS)


def test_held_out_texts_as_json() -> None:
    held_out = HeldOut(frozenset({"B", "A"}), frozenset({"00420"}), frozenset({"1E10"}))
    assert held_out.to_dict() == {"select": ["A", "B"], "calibrate": ["00420"], "test": ["1E10"]}
    assert HeldOut.from_dict(held_out.to_dict()) == held_out
    assert HeldOut.from_dict({"select": ["A"], "calibrate": ["B"]}) == HeldOut(frozenset("A"), frozenset("B"))


def plate(ground: tuple[int, int, int], ink: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    image = np.full((40, 150, 3), (40, 45, 60), np.uint8)
    image[4:36, 8:142] = ground
    cv2.putText(image, "0123456", (12, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 3)
    return image


@pytest.mark.parametrize(
    ("ground", "colour"),
    [
        ((240, 240, 235), "white"), ((90, 92, 90), "white"), ((250, 205, 20), "yellow"), ((180, 110, 20), "yellow"),
        ((70, 80, 130), "white"), ((200, 195, 170), "white"), ((90, 75, 5), "yellow"),
    ],
)  # fmt: skip
def test_background_colour(ground: tuple[int, int, int], colour: str) -> None:
    assert background(plate(ground)) == colour


def test_stratum(tmp_path: Path) -> None:
    frame = Frame(write_image(tmp_path / "a.png", plate((250, 205, 20))), 1)
    assert stratum(Track("a", (frame,), "0042011616")) == (10, "yellow", "0")
    broken = Frame(tmp_path / "b.png", 1)
    assert stratum(Track("b", (broken,), "12345")) == (5, "unreadable", "1")


def test_stratified_folds_have_the_shares_of_all(tmp_path: Path) -> None:
    """Length, first character and colour, alone, agree to 2 % of a fold; by hash alone they would not."""
    rng = np.random.default_rng(0)
    frames = [
        Frame(write_image(tmp_path / name, plate(ground)), 1)
        for name, ground in (("white.png", (240, 240, 235)), ("yellow.png", (250, 205, 20)))
    ]
    tracks = []
    for number in range(1200):
        text = str(rng.choice(list("0000111122345678"))) + f"{number:05d}" + "316" + "0" * int(rng.integers(2))
        tracks.append(Track(str(number), (frames[int(rng.random() < 0.3)],), text))
    # Some plates twice, as byte-identical photographs: of one text, so of one side.
    tracks += [Track(f"{track.id}_2", track.frames, track.text) for track in tracks[::10]]

    def furthest(split: Split) -> float:
        sides = (split.train, split.select, split.calibrate, split.test)
        keys: list[Callable[[Track], object]] = [
            lambda t: len(t.text or ""), lambda t: (t.text or "")[0], lambda t: t.frames[0].path.name
        ]  # fmt: skip
        return max(
            abs(sum(key(t) == value for t in side) / len(side) - sum(key(t) == value for t in tracks) / len(tracks))
            for key in keys for value in set(map(key, tracks)) for side in sides
        )  # fmt: skip

    config = SplitConfig(val_share=0.15, test_share=0.15, stratify=True)
    split = split_tracks(tracks, config)
    assert [len(fold) for fold in (split.select, split.calibrate, split.test)] == pytest.approx([99, 99, 198], abs=2)
    assert furthest(split) < 0.03
    plain = [split_tracks(tracks, SplitConfig(val_share=0.15, test_share=0.15, seed=seed)) for seed in range(3)]
    assert min(furthest(one) for one in plain) > furthest(split)
    assert split_tracks(tracks, config.model_copy(update={"seed": 1})).held_out() != split.held_out()


def test_the_test_fold_travels_and_can_be_read_from_its_list(tmp_path: Path) -> None:
    for number in range(24):
        write_image(tmp_path / "real" / f"ABC10{number:02d}.png")
        write_image(tmp_path / "synthetic" / f"ABC10{number + 12:02d}.png")
    config = load_config(
        ["cpu"],
        [
            "data.mix={synthetic: 1, real: 0}", "split.validate_on=real", "split.val_share=0.15",
            "split.test_share=0.2", "model.hidden=8",
        ],
    )  # fmt: skip
    sources = {"real": tmp_path / "real", "synthetic": tmp_path / "synthetic"}
    model = build_recogniser(config)
    first = prepare(config, sources, model, None)
    assert {t.source for t in first.split.train} == {"synthetic"} and len(first.split.test) == 5
    assert not texts(first.split.train) & texts(first.split.test)
    later = config.model_copy(update={"data": config.data.model_copy(update={"mix": {"synthetic": 1, "real": 1}})})
    second = prepare(later, sources, model, HeldOut.from_dict(first.facts["split"]))
    assert second.split.test == first.split.test and second.facts == first.facts
    assert {t.source for t in second.split.train} == {"synthetic", "real"}

    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_test_tracks(first.split.test)
    found = scan(run.test_tracks)
    assert not found.problems
    assert {(t.frames, t.text) for t in found.tracks} == {(t.frames, t.text) for t in first.split.test}
    assert [t.text for t in read_truth(run.test_tracks)[0]] == [t.text for t in found.tracks]


def test_texts_in_common_by_chance_do_not_make_the_folds() -> None:
    config = SplitConfig(val_share=0.2)
    earlier = split_tracks(make(2000), config).held_out()
    # 300 other plates, of which two happen to have been held out.
    common = [*sorted(earlier.select)[:1], *sorted(earlier.calibrate)[:1]]
    mine = make(298, first=90_000) + [Track(text, (), text) for text in common]
    split = split_tracks(mine, config, earlier)
    assert len(split.select) == len(split.calibrate) == 30
    # A part of the same data keeps its folds.
    part = make(400)
    assert texts(split_tracks(part, config, earlier).select) == earlier.select & texts(part)
