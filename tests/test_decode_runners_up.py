"""What is left to the other plates: probabilities of runners-up, and which calibration may set their scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from decode_cases import BRAZIL, posteriors_of

from lpr.config import Config, ReadConfig
from lpr.decode.confidence import NOT_A_PLATE, Calibration, Evidence, method_name
from lpr.decode.decode import RANKED, _all_others, covers, decode_track, share_rest, usable, weigh_track
from lpr.decode.stored import Decoder
from lpr.formats import load_formats
from lpr.types import Posteriors

CURVE = Calibration(0.5, 0.5, method_name(ReadConfig()), formats=("brazilian", "mercosur"))


def track(seed: int, frames: int = 3) -> Posteriors:
    rng = np.random.default_rng(seed)
    return Posteriors("t", tuple(posteriors_of("ABC1D23", rng) for _ in range(frames)))


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_the_sum_of_all_others_is_estimated_from_the_first_of_them(power):
    raw = 0.01 / np.arange(2, 20_000) ** power
    assert _all_others(raw[: RANKED - 1].tolist(), 1.0) == pytest.approx(raw.sum(), rel=0.15)
    # Never above what all plates have, nor below what is known; a short list holds all there are.
    known = raw[: RANKED - 1].sum()
    assert _all_others(raw[:40].tolist(), 1.001 * known) == pytest.approx(1.001 * known)
    assert _all_others(raw[:40].tolist(), 0.5 * known) == pytest.approx(known)
    assert _all_others(raw[:3].tolist(), 1.0) == pytest.approx(raw[:3].sum())


def test_runners_up_share_what_the_calibrated_confidence_leaves():
    for seed in range(8):
        read = ReadConfig()
        raw, evidence = weigh_track(track(seed), read, BRAZIL, 60)
        found = decode_track(track(seed), read, BRAZIL, CURVE, 60)
        assert evidence.others >= sum(prob for _, prob in raw.runners_up[: RANKED - 1]) * 0.999
        total = found.confidence + sum(prob for _, prob in found.runners_up)
        assert found.confidence < total <= 1 + 1e-9
        # Most of what is left belongs to the first sixty, not to nobody.
        assert 1 - total < 0.6 * (1 - found.confidence)
        assert all(prob <= found.confidence for _, prob in found.runners_up)
        # A short list names the same probabilities as a long one.
        short = decode_track(track(seed), read, BRAZIL, CURVE, 4).runners_up
        assert dict(short) == pytest.approx(dict(found.runners_up[:4]))


def test_what_is_no_plate_is_none_with_another_text_either():
    gate = dataclasses.replace(CURVE, least_mass=0.9)
    evidence = Evidence(0.2, 0.5, mass=0.5, others=0.3)
    assert gate.apply(evidence) == NOT_A_PLATE
    assert share_rest([("A", 0.1), ("B", 0.05)], evidence, NOT_A_PLATE, gate) == (
        ("A", pytest.approx(NOT_A_PLATE / 2)),
        ("B", pytest.approx(NOT_A_PLATE / 4)),
    )


def test_without_a_calibration_the_raw_values_stand():
    evidence = Evidence(0.2, 0.5, others=0.3)
    assert share_rest([("A", 0.1)], evidence, 0.2, None) == (("A", pytest.approx(0.1)),)


def test_a_calibration_is_that_of_its_formats():
    argentina = load_formats(["argentina"])
    gate = dataclasses.replace(CURVE, least_raw=0.9)
    assert covers(gate, BRAZIL) and covers(gate, BRAZIL[:1]) and not covers(gate, (*BRAZIL, *argentina))
    assert covers(dataclasses.replace(gate, formats=()), argentina), "an older one does not know its formats"
    # The curve stays as the nearest there is; a limit for plates of one kind is none for those of another.
    assert usable(gate, ReadConfig(), BRAZIL) == gate
    assert usable(gate, ReadConfig(), argentina) == dataclasses.replace(gate, least_raw=0.0)
    assert usable(gate, ReadConfig(fusion="max_score"), BRAZIL) is None
    decoder = Decoder(Config(), BRAZIL, gate, "ab" * 32, "m", served=(*BRAZIL, *argentina))
    assert decoder.calibrated and decoder.audit()["calibrated"]
    other = decoder.with_settings([], ["argentina"])
    assert not other.calibrated and other.with_settings([], ["mercosur"]).calibrated
    assert [one.name for one in decoder.with_settings([], ["auto"]).formats] == ["brazilian", "mercosur", "argentina"]
