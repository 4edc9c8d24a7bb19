"""Votes, sums of log-probabilities, confidence and whole tracks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from decode_cases import BRAZIL, decode_track, posteriors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import ReadConfig
from lpr.decode.confidence import LEAST_SLOPE, Calibration, Evidence, fit, method_name
from lpr.decode.ctc import text_log_prob
from lpr.decode.decode import TOGETHER, decode_tracks
from lpr.decode.fusion import METHODS, VOTES, confidence_vote, log_prob_sum, majority_vote, max_score
from lpr.formats import format_of
from lpr.types import ALPHABET, InputError, Posteriors, Reading

SUM = ReadConfig(fusion="log_prob_sum")


def readings(*pairs: tuple[str, float]) -> list[Reading]:
    return [Reading(text, score, 0.0) for text, score in pairs]


SEED_EXAMPLE = readings(("ABC1234", 0.92), ("ABC1234", 0.88), ("ABD1234", 0.65), ("ABC1234", 0.90), ("ABC1234", 0.89))
TWO_AGAINST_THREE = readings(("AAA1A11", 0.95), ("BBB2B22", 0.5), ("AAA1A11", 0.9), ("BBB2B22", 0.6), ("BBB2B22", 0.4))


# --- votes ------------------------------------------------------------------------------------------------------


def test_the_worked_example():
    text, score = confidence_vote(SEED_EXAMPLE)
    assert text == "ABC1234" and score == pytest.approx(0.8975)
    assert majority_vote(SEED_EXAMPLE) == ("ABC1234", 0.8)
    assert max_score(SEED_EXAMPLE) == ("ABC1234", 0.92)


def test_two_strong_frames_outvote_three_weak_ones():
    text, score = confidence_vote(TWO_AGAINST_THREE)  # 1.85 against 1.5
    assert text == "AAA1A11" and score == pytest.approx(0.925)
    assert majority_vote(TWO_AGAINST_THREE) == ("BBB2B22", 0.6)


def test_ties_go_to_the_best_score_then_to_the_text():
    # Two frames and a sum of 1.0 each: the .75 decides; then nothing but the text can.
    assert majority_vote(readings(("B", 0.25), ("A", 0.5), ("B", 0.75), ("A", 0.5)))[0] == "B"
    assert confidence_vote(readings(("A", 0.5), ("B", 0.25), ("B", 0.75), ("A", 0.5)))[0] == "B"
    for vote in VOTES.values():
        assert vote(readings(("B", 0.5), ("A", 0.5)))[0] == "A"
        assert vote([]) == ("", 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 1)), min_size=1, max_size=5))
def test_votes_do_not_see_the_order_of_frames(pairs):
    for vote in VOTES.values():
        results = {vote(readings(*order)) for order in itertools.islice(itertools.permutations(pairs), 24)}
        assert len(results) == 1
        text, score = results.pop()
        assert text in {t for t, _ in pairs} and 0 <= score <= 1


def test_the_methods_are_those_of_the_configuration():
    assert set(METHODS) == set(ReadConfig.model_fields["fusion"].annotation.__args__)


# --- sum of log-probabilities -------------------------------------------------------------------------------------


def test_log_prob_sum_by_hand():
    one, two = np.log([[0.8, 0.2]]), np.log([[0.5, 0.5]])
    assert np.exp(log_prob_sum([one, one])) == pytest.approx(np.array([[0.64, 0.04]]) / 0.68)
    assert np.exp(log_prob_sum([one, two])) == pytest.approx(np.array([[0.8, 0.2]]))
    assert np.exp(log_prob_sum([one, one], 1 / 2)) == pytest.approx(np.array([[0.8, 0.2]]))


def test_one_frame_cannot_veto():
    with np.errstate(divide="ignore"):
        never, always = np.log([[0.0, 1.0]]), np.log([[1.0, 0.0]])
    assert np.exp(log_prob_sum([never, always])) == pytest.approx(np.array([[0.5, 0.5]]))
    assert np.exp(log_prob_sum([never, always, always])) == pytest.approx(np.array([[1.0, 0.0]]))


def test_different_steps_are_refused():
    with pytest.raises(InputError, match="step by step"):
        log_prob_sum([np.zeros((32, 37)), np.zeros((16, 37))])
    with pytest.raises(InputError, match="no posteriors"):
        log_prob_sum([])


# --- calibration --------------------------------------------------------------------------------------------------


def test_fit_recovers_the_curve_that_made_the_data():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.01, 0.99, 20_000)
    truth = Calibration(0.5, 1.0)
    right = rng.random(len(raw)) < [truth.apply(Evidence(p)) for p in raw]
    found = fit([Evidence(p) for p in raw], right, "constrained/log_prob_sum")
    assert found.slope == pytest.approx(0.5, abs=0.05) and found.intercept == pytest.approx(1.0, abs=0.05)
    assert (found.tracks, found.right, found.method) == (20_000, right.sum(), "constrained/log_prob_sum")
    assert Calibration.from_dict(found.to_dict()) == found


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_any_fold_gives_a_rising_curve_within_0_and_1(pairs):
    curve = fit([Evidence(raw) for raw, _ in pairs], [right for _, right in pairs])
    assert curve.slope >= LEAST_SLOPE
    grid = [0.0, 1e-300, 1e-12, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-12, 1.0]
    values = [curve.apply(Evidence(p)) for p in grid]
    assert values == sorted(values) and values[0] == 0.0 and values[-1] <= 1.0


def test_fit_is_the_minimum_also_where_sure_readings_are_the_wrong_ones():
    assert fit([], []) == Calibration()
    backwards = fit([Evidence(p) for p in (0.9, 0.8, 0.7, 0.2, 0.1)] * 20, [False, False, False, True, True] * 20)
    assert backwards.slope == LEAST_SLOPE
    assert backwards.apply(Evidence(0.5)) == pytest.approx(0.4, abs=0.01)  # the share of right ones
    assert fit([Evidence(0.6)] * 50, [True] * 50).apply(Evidence(0.6)) > 0.9


@pytest.mark.parametrize("values", [{}, {"slope": 1}, {"slope": "x", "intercept": 0}, {"slope": -1, "intercept": 0},
                                    {"slope": float("nan"), "intercept": 0}])  # fmt: skip
def test_a_broken_calibration_is_refused(values):
    with pytest.raises(InputError):
        Calibration.from_dict(values)


def test_fit_refuses_what_is_no_probability():
    for raw, right in (([1.5], [True]), ([float("nan")], [True]), ([0.5], [])):
        with pytest.raises(InputError):
            fit([Evidence(p) for p in raw], right)


# --- a whole track ------------------------------------------------------------------------------------------------


def track(text: str = "ABC1D23", frames: int = 5, seed: int = 0, **how) -> Posteriors:
    rng = np.random.default_rng(seed)
    arrays = tuple(posteriors_of(text, rng, **how) for _ in range(frames))
    return Posteriors("t", arrays, ALPHABET, tuple(f"lr-{i + 1:03d}.png" for i in range(frames)))


def test_a_clear_track():
    prediction = decode_track(track(), SUM, BRAZIL, None)
    assert (prediction.text, prediction.format) == ("ABC1D23", "mercosur")
    assert 0.3 < prediction.confidence <= 1
    assert [r.file for r in prediction.per_frame] == [f"lr-{i}.png" for i in ("001", "002", "003", "004", "005")]
    assert len(prediction.runners_up) == 4 and prediction.runners_up[0][1] < prediction.confidence


def test_raw_confidence_is_the_probability_of_the_text_under_the_mean_of_logs():
    posteriors = track(peak=7.0)
    mean = np.mean(posteriors.log_probs, axis=0, dtype=np.float64)
    mean -= np.log(np.exp(mean).sum(axis=1, keepdims=True))
    for decoder in ("constrained", "greedy"):
        read = ReadConfig(decoder=decoder, fusion="log_prob_sum", common_characters=False)
        prediction = decode_track(posteriors, read, BRAZIL, None)
        wanted = np.exp(text_log_prob(mean, prediction.text, ALPHABET))
        assert prediction.confidence == pytest.approx(wanted, rel=1e-4)


def test_five_equal_frames_are_no_surer_than_one():
    one = track(frames=1, peak=7.0)
    five = Posteriors("t", one.log_probs * 5, ALPHABET)
    alone, together = (decode_track(p, SUM, BRAZIL, None) for p in (one, five))
    assert together.text == alone.text
    assert together.confidence == pytest.approx(alone.confidence)


def doubtful(fourth: dict[str, float]) -> Posteriors:
    """One frame that is sure of ABC?D23 and gives the fourth character these probabilities."""
    array = np.full((32, 37), -20.0)
    array[:, 0] = 0.0
    for step, character in zip(range(2, 30, 4), "ABC0D23", strict=True):
        array[step, 0], array[step, ALPHABET.index(character) + 1] = -20.0, 0.0
    for character, prob in fourth.items():
        array[14, ALPHABET.index(character) + 1] = np.log(prob)
    return Posteriors("t", (array.astype(np.float32),))


def test_the_format_takes_part_in_reading():
    # An O where a digit must be, a little more likely than the 0: greedy reads it, the format does not allow it.
    one = doubtful({"O": 0.6, "0": 0.4})
    assert decode_track(one, ReadConfig(decoder="greedy"), BRAZIL, None).text == "ABCOD23"
    assert decode_track(one, ReadConfig(decoder="greedy"), BRAZIL, None).format is None
    constrained = decode_track(one, SUM, BRAZIL, None)
    assert constrained.text == "ABC0D23"
    assert constrained.confidence == pytest.approx(0.4, abs=1e-3)  # most of the mass obeys no format, and it shows


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("decoder", ["constrained", "greedy"])
def test_frame_order_changes_nothing_but_the_list_of_frames(fusion, decoder):
    posteriors = track(peak=6.0, shift=1, seed=4)
    read = ReadConfig(fusion=fusion, decoder=decoder)
    seen = set()
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 17):
        moved = Posteriors("t", tuple(posteriors.log_probs[i] for i in order))
        prediction = decode_track(moved, read, BRAZIL, None)
        seen.add((prediction.text, prediction.confidence, prediction.runners_up))
        assert len(prediction.per_frame) == 5
    assert len(seen) == 1


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("decoder", ["constrained", "greedy"])
def test_tracks_read_together_are_read_as_one_by_one(fusion, decoder):
    rng = np.random.default_rng(5)
    tracks = [Posteriors("none", ()), Posteriors("short", (np.zeros((3, 37), np.float32),))]
    for number in range(TOGETHER + 8):
        frames, steps = int(rng.integers(1, 6)), 32 if fusion == "log_prob_sum" else int(rng.integers(30, 36))
        plate = BRAZIL[number % 2].sample(rng)
        arrays = tuple(posteriors_of(plate, rng, rng.uniform(2, 10), steps, 1) for _ in range(frames))
        tracks.append(Posteriors(f"t{number}", arrays, weights=tuple(rng.random(frames)) if number % 3 else ()))
    read = ReadConfig(fusion=fusion, decoder=decoder)
    together = decode_tracks(tracks, read, BRAZIL, None)
    assert [one.track_id for one in together] == [one.track_id for one in tracks]
    for one, alone in zip(together, (decode_track(some, read, BRAZIL, None) for some in tracks), strict=True):
        assert (one.text, one.format, one.per_frame, one.problems) == (
            alone.text, alone.format, alone.per_frame, alone.problems
        )  # fmt: skip
        assert one.confidence == pytest.approx(alone.confidence, rel=1e-9)
        assert [text for text, _ in one.runners_up] == [text for text, _ in alone.runners_up]


def test_votes_are_over_the_frames_own_readings():
    clear, blurred = track("ABC1D23", 2, peak=12.0), track("ABC1D28", 3, seed=1, peak=8.0)
    posteriors = Posteriors("t", clear.log_probs + blurred.log_probs)
    for fusion, vote in VOTES.items():
        prediction = decode_track(posteriors, ReadConfig(fusion=fusion), BRAZIL, None)
        assert (prediction.text, prediction.confidence) == vote(prediction.per_frame)
    assert {r.text for r in prediction.per_frame} == {"ABC1D23", "ABC1D28"}


def test_a_calibration_is_used_for_its_own_method_only():
    posteriors = track(peak=7.0)
    raw = decode_track(posteriors, SUM, BRAZIL, None)
    fitting = Calibration(0.7, 0.4, method_name(SUM, BRAZIL))
    used = decode_track(posteriors, SUM, BRAZIL, fitting)
    assert used.text == raw.text and used.confidence == pytest.approx(fitting.apply(Evidence(raw.confidence)))
    curve = Calibration(0.7, 0.4, method_name(ReadConfig(fusion="max_score"), BRAZIL))
    other = decode_track(posteriors, SUM, BRAZIL, curve)
    assert other.confidence == raw.confidence


@pytest.mark.parametrize("curve", [None, Calibration(1.0, 5.0), Calibration(0.3, -4.0)])
def test_probabilities_of_a_track_sum_to_at_most_one(curve):
    sixes_and_eights = doubtful({"6": 0.5, "8": 0.4, "0": 0.1})
    for posteriors in (track(peak=1.0), track(peak=5.0), track(peak=40.0), sixes_and_eights):
        prediction = decode_track(posteriors, SUM, BRAZIL, curve)
        probs = [prediction.confidence, *(prob for _, prob in prediction.runners_up)]
        assert sum(probs) <= 1 + 1e-9
        assert probs == sorted(probs, reverse=True) and min(probs) >= 0


def test_no_frame_gives_a_plate_of_the_likeliest_format_and_no_confidence():
    for fusion in METHODS:
        prediction = decode_track(Posteriors("t", ()), ReadConfig(fusion=fusion), BRAZIL, Calibration(1.0, 9.0))
        assert (prediction.text, prediction.format, prediction.confidence) == ("AAA0A00", "mercosur", 0.0)
        assert prediction.per_frame == ()


DAMAGED = {
    "flat": lambda a: np.full_like(a, -np.log(37)),
    "nan": lambda a: np.full_like(a, np.nan),
    "nan step": lambda a: np.where(np.arange(len(a))[:, None] % 3 == 0, np.nan, a),
    "-inf": lambda a: np.full_like(a, -np.inf),
    "+inf": lambda a: np.full_like(a, np.inf),
    "only blanks": lambda a: np.where(np.arange(37) == 0, 0.0, -np.inf) + np.zeros_like(a),
    "one class": lambda a: np.where(np.arange(37) == 5, 0.0, -np.inf) + np.zeros_like(a),
    "random": lambda a: np.random.default_rng(1).normal(0, 1, a.shape) - np.log(37),
    "T = 0": lambda a: a[:0],
    "T = 3": lambda a: a[:3],
}


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_nothing_readable_still_gives_a_plate_without_confidence(damage, fusion):
    arrays = tuple(DAMAGED[damage](a) for a in track(frames=3).log_probs)
    prediction = decode_track(Posteriors("t", arrays), ReadConfig(fusion=fusion), BRAZIL, None)
    assert format_of(prediction.text, BRAZIL).name == prediction.format
    assert len(prediction.per_frame) == 3 and all(format_of(r.text, BRAZIL) for r in prediction.per_frame)
    if fusion == "log_prob_sum" and damage != "nan step":
        assert prediction.confidence < 1e-3
    assert 0 <= prediction.confidence <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.integers(0, 34),
    st.sampled_from(METHODS),
    st.sampled_from(["constrained", "greedy"]),
    st.sampled_from([0.0, 0.02, 0.5]),
)
def test_decode_track_never_fails(seed, frames, steps, fusion, decoder, share):
    rng = np.random.default_rng(seed)
    arrays = []
    for _ in range(frames):
        array = np.log(rng.dirichlet(np.full(37, 0.05), size=steps) + 1e-300).astype(np.float32)
        for value in (np.nan, -np.inf, np.inf, 3.0):
            array[rng.random(array.shape) < share / 4] = value
        arrays.append(array)
    read = ReadConfig(fusion=fusion, decoder=decoder)
    prediction = decode_track(Posteriors("t", tuple(arrays)), read, BRAZIL, Calibration(0.8, 0.1))
    assert prediction.text and set(prediction.text) <= set(ALPHABET)
    assert 0 <= prediction.confidence <= 1 and len(prediction.per_frame) == frames
    assert all(0 <= r.score <= 1 + 1e-9 and not np.isnan(r.log_prob) for r in prediction.per_frame)
    if decoder == "constrained":
        assert format_of(prediction.text, BRAZIL).name == prediction.format


def test_one_broken_frame_of_five_does_not_break_the_track():
    good = track(peak=9.0)
    for damage in ("nan", "-inf", "flat"):
        arrays = (*good.log_probs[:4], DAMAGED[damage](good.log_probs[4]))
        assert decode_track(Posteriors("t", arrays), SUM, BRAZIL, None).text == "ABC1D23"


def test_posteriors_of_another_alphabet_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        decode_track(Posteriors("t", (np.zeros((32, 37), np.float32),), "0123456789"), SUM, BRAZIL, None)
