"""Prefix beam search against brute force, and where it reads better than greedy decoding."""

from __future__ import annotations

import numpy as np
import pytest
from decode_cases import BRAZIL, by_brute_force, decode_track, normalised, posteriors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import ReadConfig
from lpr.decode.beam import beam, prefix_beam
from lpr.decode.greedy import greedy
from lpr.types import ALPHABET, Posteriors


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["A", "0A", "01AB"]), st.integers(0, 5), st.floats(0.05, 10))
def test_a_wide_beam_equals_brute_force(seed, alphabet, steps, spread):
    rng = np.random.default_rng(seed)
    classes = len(alphabet) + 1
    log_probs = normalised(np.log(rng.dirichlet(np.full(classes, spread), size=steps) + 1e-9).reshape(steps, classes))
    total, _ = by_brute_force(log_probs, alphabet)
    found = prefix_beam(log_probs, alphabet, len(total), width=5000)
    assert {text for text, _ in found} == set(total)
    assert np.exp([p for _, p in found]) == pytest.approx(sorted(total.values(), reverse=True), rel=1e-6, abs=1e-300)
    assert sum(np.exp(p) for _, p in found) == pytest.approx(1.0)


def test_the_best_text_is_not_the_best_path():
    # Greedy: blank blank (.36). "A": A_ .24, _A .24, AA .16 = .64.
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy(log_probs, "A").text == ""
    assert prefix_beam(log_probs, "A")[0] == ("A", pytest.approx(np.log(0.64)))
    assert beam(log_probs, "A").text == "A"


def test_repeats_need_a_blank_and_the_narrow_beam_keeps_its_mass():
    sure = np.log([[0.01, 0.99], [0.98, 0.02], [0.01, 0.99]])
    assert prefix_beam(sure, "A", width=2)[0][0] == "AA"
    assert prefix_beam(np.log([[0.01, 0.99]] * 3), "A", width=2)[0][0] == "A"


@pytest.mark.parametrize("peak", [4.0, 6.0, 9.0])
def test_the_usual_width_reads_as_a_wide_one(peak):
    rng = np.random.default_rng(int(peak))
    for _ in range(8):
        log_probs = posteriors_of(BRAZIL[rng.integers(2)].sample(rng), rng, peak)
        usual = prefix_beam(log_probs, ALPHABET)[0]
        assert usual[0] == prefix_beam(log_probs, ALPHABET, width=128)[0][0]
        assert usual[1] >= greedy(log_probs, ALPHABET).log_prob


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_degenerate_posteriors_are_read_somehow(bad):
    for steps in (0, 1, 40):
        text, log_prob = prefix_beam(np.full((steps, 37), bad), ALPHABET)[0]
        assert set(text) <= set(ALPHABET) and not np.isnan(log_prob)


@pytest.mark.parametrize("fusion", ["log_prob_sum", "sequence", "position_vote"])
def test_a_track_is_read_without_a_format(fusion):
    rng = np.random.default_rng(0)
    arrays = []
    for offset in (0, 1, 2):
        logits = rng.normal(0, 1, (32, 37))
        logits[:, 0] += 9
        logits[[2 + offset, 6 + offset, 10 + offset, 14 + offset], [2, 3, 11, 12]] += 14
        arrays.append(normalised(logits))
    arrays = tuple(arrays if fusion != "log_prob_sum" else arrays[:1] * 3)  # which minds the shifts
    prediction = decode_track(Posteriors("t", arrays), ReadConfig(decoder="beam", fusion=fusion), BRAZIL, None)
    assert (prediction.text, prediction.format) == ("12AB", None)
    assert [r.text for r in prediction.per_frame] == ["12AB"] * 3
