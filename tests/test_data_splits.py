from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import SplitConfig
from lpr.data.splits import HeldOut, Split, split_tracks
from lpr.types import InputError, Track


def make(count: int, scenario: str | None, *, first: int = 0, repeats: int = 1) -> list[Track]:
    """`count` tracks; each text stands on `repeats` of them."""
    return [
        Track(f"track_{scenario}_{first + i}", (), f"P{(first + i) // repeats:05d}", scenario=scenario)
        for i in range(count)
    ]


def texts(tracks: tuple[Track, ...]) -> set[str | None]:
    return {t.text for t in tracks}


def test_validation_is_a_share_of_all_tracks_taken_from_scenario_b_in_two_equal_folds() -> None:
    tracks = make(500, "A") + make(500, None, first=9000) + make(1000, "B", first=5000)
    split = split_tracks(tracks, SplitConfig(val_share=0.05))
    assert len(split.select) + len(split.calibrate) == 100 and len(split.select) == len(split.calibrate)
    assert {t.scenario for t in split.select + split.calibrate} == {"B"}
    assert len(split.train) == 1900


def test_without_scenario_b_any_track_may_validate() -> None:
    for scenario in ("A", None):
        split = split_tracks(make(200, scenario), SplitConfig(val_share=0.1))
        assert len(split.select) + len(split.calibrate) == 20 and len(split.train) == 180


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["A", "B", None])), min_size=1, max_size=150),
       st.floats(0.01, 0.9), st.integers(0, 5))  # fmt: skip
def test_no_text_stands_on_two_sides(rows: list[tuple[int, str | None]], share: float, seed: int) -> None:
    tracks = [Track(str(i), (), f"P{text}", scenario=scenario) for i, (text, scenario) in enumerate(rows)]
    try:
        split = split_tracks(tracks, SplitConfig(val_share=share, seed=seed))
    except InputError:
        return
    sides = (split.train, split.select, split.calibrate)
    assert all(sides) and len({t.id for side in sides for t in side}) == sum(map(len, sides))
    assert not texts(split.train) & texts(split.select + split.calibrate)
    assert not texts(split.select) & texts(split.calibrate)
    # Only tracks of a held-out text that may not validate (another scenario) are on no side.
    lost = [t for t in tracks if t not in split.train + split.select + split.calibrate]
    assert all(t.text in texts(split.select + split.calibrate) and t.scenario != "B" for t in lost)


def test_held_out_plates_leave_scenario_a_too() -> None:
    tracks = make(100, "A") + make(100, "B")  # the same texts
    split = split_tracks(tracks, SplitConfig(val_share=0.1))
    held = texts(split.select + split.calibrate)
    assert len(held) == 20 and not texts(split.train) & held and len(split.train) == 160


def test_the_split_depends_on_seed_and_texts_not_on_order() -> None:
    tracks = make(300, "B", repeats=3)
    config = SplitConfig(val_share=0.1)
    expected = split_tracks(tracks, config).held_out()
    shuffled = random.Random(1).sample(tracks, len(tracks))
    assert split_tracks(shuffled, config).held_out() == expected
    assert split_tracks(tracks, SplitConfig(val_share=0.1, seed=1)).held_out() != expected


def test_a_later_phase_reuses_the_held_out_texts() -> None:
    config = SplitConfig(val_share=0.1)
    tracks = make(200, "A") + make(200, "B", first=1000)
    first = split_tracks(tracks, config)
    only_b = [t for t in tracks if t.scenario == "B"]
    second = split_tracks(only_b, config, first.held_out())
    assert (second.select, second.calibrate) == (first.select, first.calibrate)
    assert second.held_out() == first.held_out()
    # By itself the smaller set would be split otherwise.
    assert split_tracks(only_b, config).held_out() != first.held_out()


def test_another_data_set_gets_a_split_of_its_own() -> None:
    config = SplitConfig(val_share=0.1)
    first = split_tracks(make(100, "B"), config)
    other = make(100, "B", first=5000)
    assert split_tracks(other, config, first.held_out()) == split_tracks(other, config)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_fold_that_another_data_set_lacks_is_drawn_anew(fold: int) -> None:
    config = SplitConfig(val_share=0.1)
    tracks = make(100, "B")
    earlier = (frozenset({"P00007"}), frozenset({"P90000"}))
    split = split_tracks(tracks, config, HeldOut(*(earlier if fold == 0 else earlier[::-1])))
    kept, drawn = (split.select, split.calibrate) if fold == 0 else (split.calibrate, split.select)
    assert texts(kept) == {"P00007"} and len(drawn) == 5 and len(split.train) == 94
    assert not texts(split.train) & texts(kept + drawn)
    # A run that is resumed finds the same folds again.
    assert split_tracks(tracks, config, split.held_out()) == split


@pytest.mark.parametrize("size", [300, 900])
@pytest.mark.parametrize("seed", range(12))
def test_a_plate_on_very_many_tracks_is_not_held_out(size: int, seed: int) -> None:
    tracks = make(size, "B", first=0, repeats=size) + make(1000 - size, "B", first=5000)
    split = split_tracks(tracks, SplitConfig(val_share=0.05, seed=seed))
    assert len(split.select) == len(split.calibrate) == 25 and len(split.train) == 950


def test_train_on_all_trains_on_the_folds_too() -> None:
    tracks = make(100, "B")
    split = split_tracks(tracks, SplitConfig(val_share=0.1, train_on_all=True))
    assert split.train == tuple(tracks) and len(split.select) == len(split.calibrate) == 5
    assert not any(split.held_out()), "what was trained on is not held out"


def test_the_source_to_validate_on_gives_its_scenario_b() -> None:
    tracks = [replace(track, source="real") for track in make(500, "A") + make(500, "B", first=1000)]
    tracks += [replace(track, source="more") for track in make(300, "B", first=4000)]
    split = split_tracks(tracks, SplitConfig(val_share=0.1, validate_on="real"))
    held = (*split.select, *split.calibrate)
    assert len(held) == 100 and {(track.source, track.scenario) for track in held} == {("real", "B")}


def test_a_small_scenario_b_is_not_used_up_for_validation() -> None:
    tracks = make(1000, "A") + make(20, "B", first=5000)
    split = split_tracks(tracks, SplitConfig(val_share=0.05))
    assert sum(t.scenario == "B" for t in split.train) == 10


@pytest.mark.parametrize("tracks", [[], make(2, "B"), make(50, "B", repeats=50), make(50, "B", repeats=25)])
def test_too_few_plates_are_an_error(tracks: list[Track]) -> None:
    with pytest.raises(InputError, match="too few"):
        split_tracks(tracks, SplitConfig())


def test_three_plates_are_enough() -> None:
    split = split_tracks(make(4, "B"), SplitConfig())
    assert [len(side) for side in (split.train, split.select, split.calibrate)] == [2, 1, 1]


def test_a_track_without_label_cannot_be_split() -> None:
    with pytest.raises(InputError, match="no label"):
        split_tracks([*make(10, "B"), Track("x", ())], SplitConfig())


def test_split_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Split((), (), ()).train = ()  # type: ignore[misc]
