"""Greedy decoding, the forward algorithm, constrained best path and n-best against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from decode_cases import BRAZIL, by_brute_force, normalised, obeying, posteriors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.decode.constrained import best_path, best_paths
from lpr.decode.ctc import FLOOR, clean, text_log_prob, text_log_probs
from lpr.decode.greedy import greedy
from lpr.decode.nbest import LOWEST_LOG_PROB, n_best
from lpr.decode.trie import build_trie
from lpr.formats import PlateFormat, format_of
from lpr.types import ALPHABET, InputError


def log_of(rows: list[list[float]]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


TEMPLATES = ["LD", "LL", "DD", "XD", "LXL", "DXD", "X", "XX", "1L", "LLL"]


@st.composite
def small_cases(draw):
    """Alphabet, formats and posteriors small enough to walk every path: T <= 6, C <= 5."""
    alphabet = draw(st.sampled_from(["0A", "01AB", "A01", "10BA"]))
    names = draw(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=3, unique=True))
    if "1" not in alphabet:
        names = [name.replace("1", "D") for name in names]
    formats = tuple(PlateFormat(f"f{i}", (name,), f"f{i}") for i, name in enumerate(names))
    steps = draw(st.integers(1, 6 if len(alphabet) < 4 else 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 10.0]))
    log_probs = normalised(np.log(rng.dirichlet(np.full(len(alphabet) + 1, spread), size=steps) + 1e-12))
    if draw(st.booleans()):  # some classes are impossible
        log_probs = np.where(rng.random(log_probs.shape) < 0.2, -np.inf, log_probs)
        log_probs[np.isneginf(log_probs).all(axis=1), 0] = 0.0
        log_probs = normalised(log_probs)
    return alphabet, formats, log_probs


# --- greedy -----------------------------------------------------------------------------------------------------


def test_greedy_collapses_runs_and_keeps_repeats_across_a_blank():
    # A A blank A B -> "AAB"; score is the mean of .9 .6 .8 .7 .5
    rows = [[0.05, 0.9, 0.05], [0.3, 0.6, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.2, 0.5]]
    reading = greedy(log_of(rows), "AB")
    assert reading.text == "AAB"
    assert reading.score == pytest.approx(0.7)
    assert reading.log_prob == pytest.approx(np.log(0.9 * 0.6 * 0.8 * 0.7 * 0.5))
    assert reading.spans == ((0, 2), (3, 4), (4, 5))
    assert reading.char_probs == pytest.approx((0.9, 0.7, 0.5))


def test_greedy_of_nothing_is_empty_with_score_zero():
    reading = greedy(np.zeros((0, 37), np.float32), ALPHABET)
    assert (reading.text, reading.score) == ("", 0.0)


# --- cleaning ---------------------------------------------------------------------------------------------------


def test_clean_makes_silent_steps_uniform_and_leaves_the_others():
    raw = log_of([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    raw[1, 2], raw[2, 0], raw[3] = np.nan, np.inf, -np.inf
    safe = clean(raw, "AB")
    assert safe[0] == pytest.approx([np.log(0.25), np.log(0.75), FLOOR])
    assert safe[1:] == pytest.approx(np.full((3, 3), np.log(1 / 3)))


def test_clean_refuses_another_alphabet():
    with pytest.raises(InputError, match=r"37.*10 characters"):
        clean(np.zeros((32, 37)), "0123456789")


# --- forward ----------------------------------------------------------------------------------------------------


def test_forward_by_hand():
    # T = 2, A = .6 then .5: "A" = AA + A_ + _A = .3 + .3 + .2; "AA" needs three steps
    log_probs = log_of([[0.4, 0.6], [0.5, 0.5]])
    assert np.exp(text_log_prob(log_probs, "A", "A")) == pytest.approx(0.6 * 0.5 + 0.6 * 0.5 + 0.4 * 0.5)
    assert np.exp(text_log_prob(log_probs, "", "A")) == pytest.approx(0.4 * 0.5)
    assert text_log_prob(log_probs, "AA", "A") == -np.inf
    assert text_log_prob(log_probs, "B", "A") == -np.inf
    assert text_log_prob(np.zeros((0, 2)), "", "A") == 0.0
    assert text_log_prob(np.zeros((0, 2)), "A", "A") == -np.inf


@settings(max_examples=60, deadline=None)
@given(small_cases())
def test_forward_equals_the_sum_over_all_paths(case):
    alphabet, _, log_probs = case
    total, _ = by_brute_force(log_probs, alphabet)
    texts = list(total)
    # Read backwards, the reversed texts must have the same probabilities: a law, and the batch over frames.
    both = text_log_probs(np.stack([log_probs, log_probs[::-1]]), [*texts, *(t[::-1] for t in texts)], alphabet)
    forwards, backwards = np.exp(both[0, : len(texts)]), np.exp(both[1, len(texts) :])
    assert forwards == pytest.approx([total[t] for t in texts], rel=1e-9, abs=1e-300)
    assert backwards == pytest.approx(forwards, rel=1e-9, abs=1e-300)
    assert forwards.sum() == pytest.approx(1.0)  # every path spells some text


# --- constrained best path ----------------------------------------------------------------------------------------


def test_equal_neighbours_need_a_blank():
    letters = (PlateFormat("two", ("LL",), "two"),)
    # T = 2 cannot spell "AA", however sure both steps are
    assert best_path(log_of([[0.01, 0.98, 0.01], [0.01, 0.97, 0.02]]), letters, "AB")[0].text == "AB"
    reading, _ = best_path(log_of([[0.01, 0.98, 0.01], [0.1, 0.88, 0.02], [0.01, 0.98, 0.01]]), letters, "AB")
    assert (reading.text, reading.spans) == ("AA", ((0, 1), (2, 3)))


def test_a_forced_greedy_string_is_not_the_best_plate():
    # Greedy reads "A" for one wide letter; the best LD goes on with the digit, not with a second reading of the A.
    rows = [[0.1, 0.1, 0.8], [0.5, 0.05, 0.45], [0.2, 0.3, 0.5], [0.9, 0.05, 0.05]]
    log_probs = log_of(rows)
    assert greedy(log_probs, "0A").text == "AA"
    assert best_path(log_probs, (PlateFormat("f", ("LD",), "f"),), "0A")[0].text == "A0"


@settings(max_examples=150, deadline=None)
@given(small_cases())
def test_best_path_equals_brute_force(case):
    alphabet, formats, log_probs = case
    _, best = by_brute_force(log_probs, alphabet)
    wanted = {t: p for t, p in obeying(best, formats).items() if p > FLOOR}
    reading, plate_format = best_path(log_probs, formats, alphabet)
    assert plate_format.matches(reading.text)
    if wanted:
        assert reading.log_prob == pytest.approx(max(wanted.values()), abs=1e-9)
        assert wanted[reading.text] == pytest.approx(max(wanted.values()), abs=1e-9)
        assert len(reading.spans) == len(reading.char_probs) == len(reading.text)
    elif not obeying(best, formats):
        assert reading.log_prob == -np.inf


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0, 100.0]))
def test_a_batch_reads_like_its_members(seed, spread):
    rng = np.random.default_rng(seed)
    arrays = [np.log(rng.dirichlet(np.full(37, spread), size=t) + 1e-30) for t in (32, 14, 32, 7, 0, 5)]
    together = best_paths(arrays, BRAZIL, ALPHABET)
    assert together == [best_path(array, BRAZIL, ALPHABET) for array in arrays]
    assert all(f.matches(reading.text) for reading, f in together)
    assert [reading.log_prob == -np.inf for reading, _ in together] == [False, False, False, False, True, True]


def test_spikes_are_read_and_located():
    reading, plate_format = best_path(posteriors_of("ABB1C23", np.random.default_rng(0)), BRAZIL, ALPHABET)
    assert (reading.text, plate_format.name) == ("ABB1C23", "mercosur")
    assert [start <= 2 + 4 * i < end for i, (start, end) in enumerate(reading.spans)] == [True] * 7


# --- the trie -----------------------------------------------------------------------------------------------------


def test_brazilian_formats_share_four_nodes():
    trie = build_trie(BRAZIL, ALPHABET)
    assert len(trie.parent) == 1 + 4 + 2 * 3
    assert trie.final.sum() == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=4, unique=True), st.text("01AB", max_size=4))
def test_trie_accepts_what_the_formats_match(names, text):
    formats = tuple(PlateFormat(name, (name,), name) for name in names)
    trie, node = build_trie(formats, "01AB"), 0
    for character in text:
        node = int(trie.child[node, "01AB".index(character) + 1]) if node >= 0 else -1
    assert (node >= 0 and bool(trie.final[node])) == (format_of(text, formats) is not None)


# --- n best -------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(small_cases(), st.integers(1, 6), st.sampled_from([(8, 64), (1, 2, 64)]))
def test_n_best_equals_brute_force(case, n, widths):
    alphabet, formats, log_probs = case
    total, _ = by_brute_force(log_probs, alphabet)
    # Below the floor e^-100 a text counts as impossible for brute force, but may still be listed.
    wanted = sorted((p for p in obeying(total, formats).values() if p > np.exp(FLOOR / 2)), reverse=True)
    result = n_best(log_probs, formats, alphabet, n, widths)
    probs = np.exp([log_prob for _, log_prob in result.texts])
    assert result.exact
    assert probs[: len(wanted)] == pytest.approx(wanted[:n], rel=1e-6)
    assert len({text for text, _ in result.texts}) == len(result.texts) <= n
    assert (np.diff(probs) <= 0).all() and all(format_of(text, formats) for text, _ in result.texts)
    for text, log_prob in result.texts[: len(wanted)]:
        assert log_prob == pytest.approx(text_log_prob(log_probs, text, alphabet), rel=1e-6, abs=1e-9)
    if len(wanted) > n:
        assert result.missed >= wanted[n] * (1 - 1e-6)


def test_the_most_probable_text_need_not_have_the_best_path():
    # "B": one strong path, B blank = .205, and .2355 in all. "A": A blank .195, AA .1755, blank A .09 = .4605.
    log_probs = log_of([[0.2, 0.39, 0.41], [0.5, 0.45, 0.05]])
    one = (PlateFormat("one", ("L",), "one"),)
    assert best_path(log_probs, one, "AB")[0].text == "B"
    (first, first_log), (second, second_log) = n_best(log_probs, one, "AB", 2).texts
    assert (first, second) == ("A", "B")
    assert np.exp([first_log, second_log]) == pytest.approx([0.4605, 0.2355])


def test_a_search_that_is_too_narrow_says_so_and_bounds_what_it_missed():
    rng = np.random.default_rng(3)
    log_probs = np.log(rng.dirichlet(np.full(37, 1.0), size=32))
    narrow, wide = (n_best(log_probs, BRAZIL, ALPHABET, 5, widths) for widths in ((1,), (4096,)))
    assert not narrow.exact and wide.exact
    listed = {text for text, _ in narrow.texts}
    unlisted = [np.exp(log_prob) for text, log_prob in wide.texts if text not in listed]
    assert unlisted and narrow.missed >= max(unlisted)
    assert wide.missed <= np.exp(wide.texts[-1][1]) * (1 + 1e-6)


@pytest.mark.parametrize("peak", [9.0, 5.0, 2.0])
def test_n_best_is_proven_at_real_size(peak):
    rng = np.random.default_rng(5)
    for _ in range(10):
        text = BRAZIL[rng.integers(2)].sample(rng)
        log_probs = posteriors_of(text, rng, peak)
        result = n_best(log_probs, BRAZIL, ALPHABET, 5)
        assert result.exact and len(result.texts) == 5
        # No single change of a character may beat the last one listed.
        first = result.texts[0][0]
        near = [first[:i] + c + first[i + 1 :] for i in range(7) for c in ALPHABET]
        near = sorted({t for t in near if format_of(t, BRAZIL)} - {t for t, _ in result.texts})
        others = text_log_probs(clean(log_probs, ALPHABET)[None], near, ALPHABET)[0]
        assert others.max() <= result.texts[-1][1] + 1e-6


def test_flat_posteriors_are_proven_at_once():
    result = n_best(np.full((32, 37), -np.log(37)), BRAZIL, ALPHABET, 5, widths=(8,))
    assert result.exact and len(result.texts) == 5
    assert len({round(log_prob, 6) for _, log_prob in result.texts}) == 1


def test_plates_far_below_the_range_of_floats_are_still_found():
    # Every step is sure of the blank: seven characters cost e^-100 each, and e^-700 is below LOWEST_LOG_PROB.
    log_probs = np.full((32, 37), -np.inf)
    log_probs[:, 0] = 0.0
    result = n_best(log_probs, BRAZIL, ALPHABET, 3)
    assert len(result.texts) == 3 and all(format_of(text, BRAZIL) for text, _ in result.texts)
    assert not result.exact and all(7 * FLOOR < log_prob < LOWEST_LOG_PROB for _, log_prob in result.texts)


def test_too_few_steps_for_any_plate_give_no_plate():
    assert n_best(np.zeros((6, 37)), BRAZIL, ALPHABET, 3).texts == ()
    assert len(n_best(np.zeros((7, 37)), BRAZIL, ALPHABET, 3).texts) == 3
