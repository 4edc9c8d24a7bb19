"""Sequence-level fusion: the joint search against brute force, its laws, and what it is worth on shifted frames."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from decode_cases import BRAZIL, by_brute_force, decode_track, normalised, obeying, shifted_track
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import ReadConfig
from lpr.decode.bounds import build_edges, reach
from lpr.decode.ctc import clean, text_log_probs
from lpr.decode.decode import BARE_FRAME, weigh_track
from lpr.decode.fusion import METHODS, VOTES, frame_weights, position_vote
from lpr.decode.mass import frame_masses, fused_masses
from lpr.decode.nbest import LOWEST_LOG_PROB, fused_weights, n_best, n_best_fused, n_best_tracks
from lpr.decode.trie import spellings
from lpr.formats import PlateFormat
from lpr.types import ALPHABET, InputError, Posteriors, Reading

TEMPLATES = ["LD", "LL", "DD", "XD", "LXL", "DXD", "X", "XX", "LLL"]


@st.composite
def small_tracks(draw):
    """Alphabet, formats and one to three arrays of different T, small enough to walk every path."""
    alphabet = draw(st.sampled_from(["0A", "01AB", "A01"]))
    names = draw(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=3, unique=True))
    formats = tuple(PlateFormat(f"f{i}", (name,), f"f{i}", prior=1.0 + i) for i, name in enumerate(names))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 10.0]))
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.integers(3, 5))
        array = normalised(np.log(rng.dirichlet(np.full(len(alphabet) + 1, spread), size=steps) + 1e-9))
        arrays.append(array)
    return alphabet, formats, arrays


def fused_by_brute_force(arrays, alphabet, formats, weights) -> dict[str, float]:
    """text -> weighted geometric mean of its probabilities, over the texts that obey a format and any frame spells."""
    totals = [obeying(by_brute_force(array, alphabet)[0], formats) for array in arrays]
    texts = set().union(*totals)
    powers = {t: [total.get(t, 0.0) ** w for total, w in zip(totals, weights, strict=True)] for t in texts}
    return {text: float(np.prod(values)) for text, values in powers.items()}


@settings(max_examples=120, deadline=None)
@given(small_tracks(), st.integers(1, 5), st.booleans())
def test_the_joint_search_equals_brute_force(case, n, weighted):
    alphabet, formats, arrays = case
    weights = [1.0, 2.5, 0.5][: len(arrays)] if weighted else None
    wanted = fused_by_brute_force(arrays, alphabet, formats, fused_weights(weights, len(arrays)))
    # A frame too short for every template has no say; here each has 3 steps and no template more than 3 characters.
    ranked = sorted((p for p in wanted.values() if p > 1e-15), reverse=True)
    result = n_best_fused(arrays, formats, alphabet, n, (8, 64), weights)
    probs = np.exp([log_prob for _, log_prob in result.texts])
    assert result.exact
    assert probs[: len(ranked)] == pytest.approx(ranked[:n], rel=1e-5)
    for text, log_prob in result.texts[: len(ranked)]:
        assert np.exp(log_prob) == pytest.approx(wanted[text], rel=1e-5)
    if len(ranked) > n:
        assert result.missed >= ranked[n] * (1 - 1e-5)


@settings(max_examples=60, deadline=None)
@given(small_tracks())
def test_bounds_are_never_below_what_a_plate_reaches(case):
    alphabet, formats, arrays = case
    edges = build_edges(spellings(formats), alphabet)
    table = reach(np.exp(arrays[0])[:, None, :], edges)  # (T, 1, E)
    totals = obeying(by_brute_force(arrays[0], alphabet)[0], formats)
    blanks = np.concatenate([[1.0], np.cumprod(np.exp(arrays[0][:-1, 0]))])
    begin, end = edges.levels[0]
    bound = blanks @ table[:, 0, begin:end]
    for text, prob in totals.items():
        fitting = edges.code[begin:end] == alphabet.index(text[0]) + 1
        stops = edges.stops[begin:end] == (len(text) == 1)
        assert bound[fitting & stops].max() >= prob * (1 - 1e-9)
        if len(text) == 1:  # where a plate ends the bound is its probability
            assert bound[fitting & stops].max() == pytest.approx(prob)


def test_fused_by_hand():
    # T = 1: A .6 and .1, B .3 and .8. Products .06 and .24: B, with the geometric mean sqrt(.24).
    one, two = np.log([[0.1, 0.6, 0.3]]), np.log([[0.1, 0.1, 0.8]])
    letter = (PlateFormat("letter", ("L",), "letter"),)
    (first, log_first), (second, log_second) = n_best_fused([one, two], letter, "AB", 2).texts
    assert (first, second) == ("B", "A")
    assert np.exp([log_first, log_second]) == pytest.approx(np.sqrt([0.24, 0.06]))
    # With nine tenths of the weight the first frame decides.
    heavy = n_best_fused([one, two], letter, "AB", 1, weights=[9, 1]).texts[0]
    assert heavy[0] == "A" and np.exp(heavy[1]) == pytest.approx(0.6**0.9 * 0.1**0.1)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan], [np.inf, 1.0]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(InputError, match="weights"):
        n_best_fused([np.zeros((8, 37))] * 2, BRAZIL, ALPHABET, 1, weights=weights)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3.0, 6.0, 9.0]), st.integers(0, 2))
def test_laws_of_fusion(seed, peak, shift):
    rng = np.random.default_rng(seed)
    text = BRAZIL[seed % 2].sample(rng)
    arrays = shifted_track(text, rng, peak, shift, frames=3)
    result = n_best_fused(arrays, BRAZIL, ALPHABET, 3)
    # Frame order, frames repeated, and weights scaled: nothing changes.
    assert n_best_fused(arrays[::-1], BRAZIL, ALPHABET, 3) == result
    repeated = n_best_fused(arrays * 2, BRAZIL, ALPHABET, 3)
    for same in (repeated, n_best_fused(arrays, BRAZIL, ALPHABET, 3, weights=[7] * 3)):
        if same.exact and result.exact:
            assert [t for t, _ in same.texts] == [t for t, _ in result.texts]
            assert [p for _, p in same.texts] == pytest.approx([p for _, p in result.texts])
    # One array is n_best; sure blanks behind it and constants added to its rows change nothing.
    alone = n_best(arrays[0], BRAZIL, ALPHABET, 3)
    longer = np.vstack([arrays[0] + 5, np.where(np.arange(37) == 0, 0.0, -np.inf)[None].repeat(9, 0)])
    if alone.exact:
        padded = n_best(longer, BRAZIL, ALPHABET, 3)
        assert [t for t, _ in padded.texts] == [t for t, _ in alone.texts]
        assert [p for _, p in padded.texts] == pytest.approx([p for _, p in alone.texts], abs=1e-6)
    # Found values are what the forward algorithm says of posteriors with the search's floor, e^(-600 / T).
    texts = [text for text, _ in result.texts]
    floored = [np.maximum(clean(array, ALPHABET), LOWEST_LOG_PROB / len(array)) for array in arrays]
    scores = np.mean([text_log_probs(array[None], texts, ALPHABET)[0] for array in floored], axis=0)
    assert [p for _, p in result.texts] == pytest.approx(scores, abs=1e-6)


def test_a_batch_finds_what_its_members_find():
    rng = np.random.default_rng(1)
    tracks = []
    for i in range(12):
        text = BRAZIL[i % 2].sample(rng)
        tracks.append(shifted_track(text, rng, 7.0, 1, frames=1 + i % 3, steps=32 + i % 2))
    tracks += [[], [np.zeros((3, 37))], [np.zeros((3, 37)), tracks[0][0]]]
    together = n_best_tracks(tracks, BRAZIL, ALPHABET, 3)
    for track, one in zip(tracks, together, strict=True):
        (alone,) = n_best_tracks([track], BRAZIL, ALPHABET, 3)
        assert [t for t, _ in one.texts] == [t for t, _ in alone.texts]
        assert [p for _, p in one.texts] == pytest.approx([p for _, p in alone.texts])
    assert together[-3].texts == together[-2].texts == ()
    assert together[-1].texts == together[0].texts  # a frame too short for every template has no say


def test_one_frame_cannot_veto():
    rng = np.random.default_rng(2)
    good = shifted_track("ABC1D23", rng, 9.0)
    blind = np.full((32, 37), -np.inf)
    blind[:, 0] = 0.0
    result = n_best_fused([*good[:4], blind], BRAZIL, ALPHABET, 2)
    assert result.texts[0][0] == "ABC1D23" and result.texts[0][1] >= LOWEST_LOG_PROB / 5 - 20


def test_noise_is_not_proven_but_bounded_and_in_time():
    rng = np.random.default_rng(3)
    noise = [np.log(rng.dirichlet(np.full(37, 1.0), size=32)) for _ in range(5)]
    started = time.perf_counter()
    result = n_best_fused(noise, BRAZIL, ALPHABET, 5)
    assert time.perf_counter() - started < 0.5  # 4 ms on an idle core
    wide = n_best_fused(noise, BRAZIL, ALPHABET, 5, (8, 400))
    assert not result.exact and wide.texts[0][1] >= result.texts[0][1] - 1e-9
    listed = {text for text, _ in result.texts}
    assert all(np.exp(log_prob) <= result.missed * (1 + 1e-9) for text, log_prob in wide.texts if text not in listed)


@pytest.mark.parametrize(("peak", "shift"), [(9.0, 0), (7.0, 1), (5.0, 2)])
def test_readable_tracks_are_proven_and_no_single_change_is_better(peak, shift):
    rng = np.random.default_rng(4)
    for _ in range(6):
        arrays = shifted_track(BRAZIL[rng.integers(2)].sample(rng), rng, peak, shift)
        result = n_best_fused(arrays, BRAZIL, ALPHABET, 5)
        assert result.exact
        first = result.texts[0][0]
        near = {first[:i] + c + first[i + 1 :] for i in range(7) for c in ALPHABET} - {t for t, _ in result.texts}
        near = sorted(text for text in near if any(f.matches(text) for f in BRAZIL))
        floored = [np.maximum(clean(a, ALPHABET), LOWEST_LOG_PROB / 32) for a in arrays]
        others = np.mean([text_log_probs(a[None], near, ALPHABET)[0] for a in floored], axis=0)
        assert others.max() <= result.texts[-1][1] + 1e-6


# --- what the methods are worth ---------------------------------------------------------------------------------------


def exact_matches(peak: float, shift: int, tracks: int, methods=METHODS) -> dict[str, float]:
    """Share of tracks that each method reads right; the frames of a track are shifted against each other."""
    rng = np.random.default_rng(100 * shift + int(peak))
    right = dict.fromkeys(methods, 0)
    for _ in range(tracks):
        text = BRAZIL[rng.integers(2)].sample(rng)
        posteriors = Posteriors("t", tuple(shifted_track(text, rng, peak, shift)))
        for method in methods:
            # The texts are drawn with all letters alike.
            read = ReadConfig(fusion=method, common_characters=False)
            right[method] += decode_track(posteriors, read, BRAZIL, None).text == text
    return {method: count / tracks for method, count in right.items()}


def test_sequence_fusion_does_not_mind_shifted_peaks():
    for shift in (0, 1, 2):
        shares = exact_matches(6.0, shift, 40)
        votes = max(shares[vote] for vote in VOTES)
        assert shares["sequence"] >= max(votes, shares["log_prob_sum"]), shares
        assert shares["sequence"] >= max(shares[v] for v in VOTES if v != "position_vote") + 0.04
        assert shares["sequence"] >= shares["position_vote"] + 0.02
        if shift == 2:
            assert shares["sequence"] >= shares["log_prob_sum"] + 0.2


def test_models_of_different_steps_are_read_together():
    rng = np.random.default_rng(6)
    arrays = tuple(shifted_track("ABC1D23", rng, 8.0, 1) + shifted_track("ABC1D23", rng, 8.0, 1, steps=48))
    read = ReadConfig(fusion="sequence")
    prediction = decode_track(Posteriors("t", arrays), read, BRAZIL, None)
    assert prediction.text == "ABC1D23" and len(prediction.runners_up) == 4
    with pytest.raises(InputError, match=r"read\.fusion=sequence"):
        decode_track(Posteriors("t", arrays), ReadConfig(fusion="log_prob_sum"), BRAZIL, None)


def test_confidence_of_sequence_is_the_geometric_mean_of_the_frames():
    rng = np.random.default_rng(7)
    arrays = shifted_track("ABC1D23", rng, 11.0)
    read = ReadConfig(fusion="sequence", focus=0, common_characters=False)
    prediction = decode_track(Posteriors("t", tuple(arrays)), read, BRAZIL, None)
    logs = [text_log_probs(clean(a, ALPHABET)[None], [prediction.text], ALPHABET)[0, 0] for a in arrays]
    assert prediction.confidence == pytest.approx(np.exp(np.mean(logs)), rel=1e-3)


# --- position-wise vote -----------------------------------------------------------------------------------------------


def reading(text: str, *probs: float, score: float = 0.5) -> Reading:
    return Reading(text, score, 0.0, probs)


def test_position_vote_takes_the_best_of_each_position():
    # Position 2: B .9 + .2 against D .8; position 3: 1 with .4 + .3 against 7 with .9.
    frames = [reading("AB1", 0.9, 0.9, 0.4), reading("AD7", 0.9, 0.8, 0.9), reading("AB1", 0.9, 0.2, 0.3)]
    text, score = position_vote(frames)
    assert text == "AB7"
    assert score == pytest.approx((1 + 1.1 / 1.9 + 0.9 / 1.6) / 3)


def test_position_vote_does_not_mix_formats():
    frames = [reading("A1", score=0.5), reading("B1", score=0.3), reading("AB", score=0.7)]
    text, score = position_vote(frames)
    assert text == "A1"  # the shape LD weighs .8, LL .7; without character probabilities the score is the weight
    assert score == pytest.approx((0.5 / 0.8 + 1) / 2 * 2 / 3)
    assert position_vote([]) == ("", 0.0) and position_vote([reading("", score=1.0)]) == ("", 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A1", "B1", "B2", "AB"]), st.floats(0, 1)), min_size=1, max_size=5))
def test_position_vote_does_not_see_the_order_of_frames(pairs):
    results = {position_vote([reading(t, score=s) for t, s in order]) for order in itertools.permutations(pairs)}
    assert len(results) == 1
    text, score = results.pop()
    assert 0 <= score <= 1 and len(text) == 2


# --- which frames count -----------------------------------------------------------------------------------------------


def test_weights_of_frames_by_hand():
    # One step: entropies ln 2 and 0 nats; with focus 1 the first counts 1 / (1 + ln 2 / 2) = .7426 of the second.
    even, sure = np.log([[0.5, 0.5]]), np.log([[1 - 1e-12, 1e-12]])
    assert frame_weights([even, sure], [1.0, 1.0], 1.0) == pytest.approx([0.4262, 0.5738], abs=1e-4)
    assert frame_weights([even, sure], [0.5**10, 0.25**10], 1.0) == pytest.approx([0.5976, 0.4024], abs=1e-4)
    assert frame_weights([even, sure], [1.0, 0.0], 1.0) == [1.0, 0.0]  # sure, but of no plate
    assert frame_weights([even, sure], [0.3, 0.1], 0.0) == frame_weights([even, sure], [0.0, 0.0], 1.0) == [0.5, 0.5]
    assert frame_weights([], [], 1.0) == []


def test_frames_without_a_plate_beside_others_have_no_say():
    flat = np.log([[0.5, 0.5]])
    assert frame_weights([flat, flat], [0.9, 0.01], 1.0) == [1.0, 0.0]
    # Where no frame shows one for sure, blurs differ by chance.
    assert frame_weights([flat, flat], [0.4, 0.004], 1.0)[1] > 0.35
    for order in itertools.permutations([0.9, 0.01, 1e-9, 0.7]):
        weights = dict(zip(order, frame_weights([flat] * 4, list(order), 0.5), strict=True))
        assert weights[0.01] == weights[1e-9] == 0.0 and sum(weights.values()) == pytest.approx(1.0)


def test_a_black_frame_costs_a_track_neither_text_nor_confidence():
    """Sure blanks spell no plate; the frame is named, and the others read as if it were not there."""
    plate = fourth_or_fifth(0.9)
    black = np.full_like(plate.log_probs[0], -40.0)
    black[:, 0] = 0.0
    read = ReadConfig()
    alone, evidence = weigh_track(
        replace(plate, log_probs=plate.log_probs[:1] * 4, files=("a", "b", "c", "d")), read, BRAZIL
    )
    beside, also = weigh_track(
        replace(plate, log_probs=(*plate.log_probs[:1] * 4, black), files=("a", "b", "c", "d", "e.png")), read, BRAZIL
    )
    assert beside.text == alone.text and also.raw == pytest.approx(evidence.raw)
    assert also.mass == pytest.approx(evidence.mass)
    (problem,) = beside.problems
    assert problem.what == f"e.png {BARE_FRAME}"


def test_an_unsure_frame_does_not_outweigh_a_sure_one():
    # The fifth character: D with .6 in a sure frame, E with .9 in one whose other characters are a blur.
    sure, unsure = (np.full((32, 37), -12.0) for _ in range(2))
    for array, letter, prob in ((sure, "D", 0.6), (unsure, "E", 0.9)):
        array[:, 0] = 0.0
        for step, character in zip(range(2, 30, 4), "ABC1D23", strict=True):
            array[step, [0, ALPHABET.index(character) + 1]] = -12.0, 0.0
        array[18] = -30.0
        array[18, [ALPHABET.index(c) + 1 for c in "DE"]] = np.log(
            [prob, 1 - prob] if letter == "D" else [1 - prob, prob]
        )
    for step in (2, 6, 10, 26):
        unsure[step, 1:] = np.where(unsure[step, 1:] == 0.0, 1.0, 0.0)
    posteriors = Posteriors("t", tuple(normalised(array).astype(np.float32) for array in (sure, unsure)))
    texts = [decode_track(posteriors, ReadConfig(focus=focus), BRAZIL, None).text for focus in (0.0, 2.0)]
    assert texts == ["ABC1E23", "ABC1D23"]


# --- formats ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(small_tracks(), st.booleans())
def test_masses_of_formats_equal_brute_force(case, weighted):
    alphabet, formats, arrays = case
    weights = fused_weights([1.0, 2.5, 0.0][: len(arrays)] if weighted else None, len(arrays))
    (found,) = frame_masses(arrays, formats, alphabet)
    masses = fused_masses(found, weights)
    for one in formats:
        shares = [sum(obeying(by_brute_force(a, alphabet)[0], (one,)).values()) for a in arrays]
        assert found[one.name] == pytest.approx(shares, rel=1e-6, abs=1e-12)
        # Of what was found, not of `shares`: a root makes much of a share below 1e-12.
        assert masses[one.name] == pytest.approx(np.prod(np.power(found[one.name], weights)), rel=1e-6, abs=1e-12)


def fourth_or_fifth(letter: float) -> Posteriors:
    """Sure of ABC1?23 but for the fifth character: D with probability `letter`, else 0."""
    array = np.full((32, 37), -30.0)
    array[:, 0] = 0.0
    for step, character in zip(range(2, 30, 4), "ABC1D23", strict=True):
        array[step, 0], array[step, ALPHABET.index(character) + 1] = -30.0, 0.0
    array[18, ALPHABET.index("D") + 1], array[18, 1] = np.log(letter), np.log(1 - letter)
    return Posteriors("t", (array.astype(np.float32),) * 2)


@pytest.mark.parametrize("fusion", ["sequence", "log_prob_sum"])
def test_each_format_gets_its_probability_and_priors_weigh(fusion):
    plain = decode_track(fourth_or_fifth(0.4), ReadConfig(fusion=fusion), BRAZIL, None)
    assert (plain.text, plain.format) == ("ABC1023", "brazilian")
    assert plain.format_probs == (("brazilian", pytest.approx(0.6)), ("mercosur", pytest.approx(0.4)))
    # Priors .2 and .8: .6 * .2 = .12 against .4 * .8 = .32, of .44.
    weighed = decode_track(fourth_or_fifth(0.4), ReadConfig(fusion=fusion, format_priors=True), BRAZIL, None)
    assert (weighed.text, weighed.format) == ("ABC1D23", "mercosur")
    assert weighed.format_probs == (("mercosur", pytest.approx(0.32 / 0.44)), ("brazilian", pytest.approx(0.12 / 0.44)))
    assert weighed.confidence == pytest.approx(0.32 / 0.44, rel=1e-3)
    assert weighed.runners_up[0] == ("ABC1023", pytest.approx(0.12 / 0.44, rel=1e-3))
    # Where there is no doubt a prior takes nothing away.
    sure = decode_track(fourth_or_fifth(1e-9), ReadConfig(fusion=fusion, format_priors=True), BRAZIL, None)
    assert sure.text == "ABC1023" and sure.confidence > 0.999


def test_one_format_needs_no_probability():
    assert decode_track(fourth_or_fifth(0.4), ReadConfig(), BRAZIL[:1], None).format_probs == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["sequence", "log_prob_sum"]), st.booleans(), st.floats(0.02, 5))
def test_probabilities_of_a_track_sum_to_at_most_one_with_and_without_priors(seed, fusion, priors, spread):
    rng = np.random.default_rng(seed)
    arrays = tuple(np.log(rng.dirichlet(np.full(37, spread), size=12) + 1e-12) for _ in range(2))
    read = ReadConfig(fusion=fusion, format_priors=priors)
    prediction = decode_track(Posteriors("t", arrays), read, BRAZIL, None, 20)
    assert prediction.confidence + sum(p for _, p in prediction.runners_up) <= 1 + 1e-9
    assert sum(p for _, p in prediction.format_probs) == pytest.approx(1.0)


def test_clear_tracks_take_milliseconds():
    rng = np.random.default_rng(8)
    arrays = shifted_track("ABC1D23", rng, 8.0, 1)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        n_best_fused(arrays, BRAZIL, ALPHABET, 5)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.015  # 1.5 ms on an idle core
