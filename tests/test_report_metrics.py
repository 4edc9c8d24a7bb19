"""The measures, against values worked out by hand and against slower definitions."""

from __future__ import annotations

from functools import cache
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpr.report import metrics

plates = st.text("AB01", max_size=8)


@cache
def slow_distance(a: str, b: str) -> int:
    """Levenshtein's recursion as written in the textbook."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_distance(a[1:], b[1:]) + (a[0] != b[0]),
        slow_distance(a[1:], b) + 1,
        slow_distance(a, b[1:]) + 1,
    )


@given(plates, plates)
def test_edit_distance_equals_the_textbook_recursion(a: str, b: str) -> None:
    assert metrics.edit_distance(a, b) == slow_distance(a, b)


@given(plates, plates, plates)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert metrics.edit_distance(a, b) == metrics.edit_distance(b, a)
    assert (metrics.edit_distance(a, b) == 0) == (a == b)
    assert metrics.edit_distance(a, c) <= metrics.edit_distance(a, b) + metrics.edit_distance(b, c)


@given(plates, plates)
def test_alignment_spells_both_texts_and_costs_the_distance(a: str, b: str) -> None:
    pairs = metrics.align(a, b)
    assert "".join(x for x, _ in pairs if x) == a
    assert "".join(y for _, y in pairs if y) == b
    wrong = sum(x != y for x, y in pairs)
    if len(a) == len(b):
        assert all(x and y for x, y in pairs)
        assert wrong == sum(x != y for x, y in zip(a, b, strict=True))
    else:
        assert wrong == metrics.edit_distance(a, b)


def test_alignment_of_unequal_lengths_by_hand() -> None:
    assert metrics.align("ABC1", "AC1") == [("A", "A"), ("B", None), ("C", "C"), ("1", "1")]
    assert metrics.align("AC1", "ABC1") == [("A", "A"), (None, "B"), ("C", "C"), ("1", "1")]


@pytest.mark.parametrize(
    ("truth", "text", "accuracy", "partial"),
    [
        ("ABC1234", "ABC1234", 1.0, True),
        ("ABC1234", "ABC1235", 6 / 7, True),
        ("ABC1234", "ABD1235", 5 / 7, False),
        ("ABC1234", "BC12345", 0.0, False),  # Shifted by one: wrong in every position.
        ("ABC1234", "ABC123", 6 / 7, True),
        ("ABC1234", "ABC12344", 7 / 8, True),
        ("ABC1234", "", 0.0, False),
        ("ABCDE", "ABCDX", 0.8, True),  # Exactly 80 % counts.
        ("", "", 1.0, True),
    ],
)
def test_character_accuracy_and_partial_by_hand(truth: str, text: str, accuracy: float, partial: bool) -> None:
    assert metrics.character_accuracy(truth, text) == pytest.approx(accuracy)
    assert metrics.is_partial(truth, text) is partial


@given(plates, plates)
def test_character_accuracy_is_a_share_and_one_only_for_equal_texts(a: str, b: str) -> None:
    accuracy = metrics.character_accuracy(a, b)
    assert 0 <= accuracy <= 1
    assert (accuracy == 1) == (a == b)
    assert metrics.is_partial(a, b) == (accuracy >= 0.8)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_has_its_published_values(successes: int, n: int, low: float, high: float) -> None:
    estimate = metrics.wilson(successes, n)
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_its_share_and_mirrors(case: tuple[int, int]) -> None:
    successes, n = case
    estimate, mirrored = metrics.wilson(successes, n), metrics.wilson(n - successes, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0
    assert mirrored.low == pytest.approx(1 - estimate.high, abs=1e-12)


def test_bootstrap_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    estimate = metrics.mean(values, (-inf, inf))
    assert estimate.value == pytest.approx(values.mean())
    standard_error = values.std() / np.sqrt(len(values))
    assert estimate.high - estimate.low == pytest.approx(2 * metrics.Z_95 * standard_error, rel=0.1)
    assert metrics.mean(values, (-inf, inf)) == estimate


def test_confidence_gap_by_hand() -> None:
    estimate = metrics.confidence_gap([0.9, 0.7, 0.6, 0.2], [True, True, False, False])
    assert estimate.value == pytest.approx(0.8 - 0.4)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.n == 4


def test_confidence_gap_without_a_wrong_track_is_undefined() -> None:
    assert isnan(metrics.confidence_gap([0.9, 0.7], [True, True]).value)


def test_calibration_error_by_hand() -> None:
    confidence = [0.95, 0.95, 0.95, 0.95, 0.35, 0.31]
    right = [True, True, True, False, True, False]
    # Band [0.9, 1]: 3 of 4 right at 0.95 -> 0.20; band [0.3, 0.4): 1 of 2 right at 0.33 -> 0.17.
    assert metrics.calibration_error(confidence, right).value == pytest.approx((4 * 0.20 + 2 * 0.17) / 6)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_the_weighted_mean_over_the_bands(tracks: list[tuple[float, bool]]) -> None:
    confidence, right = zip(*tracks, strict=True)
    table = metrics.bands(confidence, right)
    assert sum(band.right.n for band in table) == len(tracks)
    filled = [band for band in table if band.right.n]
    assert all(band.start - 1e-9 <= band.mean_confidence <= band.stop + 1e-9 for band in filled)
    expected = sum(b.right.n * abs(b.right.value - b.mean_confidence) for b in filled) / len(tracks)
    assert metrics.calibration_error(confidence, right).value == pytest.approx(expected, abs=1e-12)


def test_bands_are_half_open_and_the_last_one_holds_one() -> None:
    table = metrics.bands([0.0, 0.1, 0.5, 1.0], [False, False, True, True])
    assert [band.right.n for band in table] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert isnan(table[2].right.value)


def test_measures_over_nothing_are_undefined_not_perfect() -> None:
    for estimate in (
        metrics.wilson(0, 0),
        metrics.mean([], (0, 1)),
        metrics.confidence_gap([], []),
        metrics.calibration_error([], []),
    ):
        assert estimate.n == 0
        assert isnan(estimate.value)


def test_confusions_are_counted_against_the_truths_occurrences() -> None:
    found = metrics.confusions([("AB8", "AB3"), ("BB8", "B88"), ("888", "883"), ("A8", "A")])
    # 8 stands once in AB8, once in BB8, three times in 888 and once in A8.
    assert found == [("8", "3", 2, 6), ("B", "8", 1, 3)]


def test_intervals_stay_within_what_the_measure_can_be() -> None:
    share = metrics.mean([1.0, 1.0, 1.0, 1.0, 0.0], (0, 1))
    assert 0 <= share.low < 0.8 < share.high == 1
    distance = metrics.mean([0, 0, 0, 0, 7], (0, inf))
    assert distance.low == 0 < distance.value < distance.high
    sure, right = np.array([0.99, 0.98, 0.99, 0.01]), np.array([True, True, True, False])
    for estimate in (metrics.confidence_gap(sure, right), metrics.calibration_error(1 - sure, right)):
        assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
