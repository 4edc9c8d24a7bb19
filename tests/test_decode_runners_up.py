"""What is left to the other plates: probabilities of runners-up, and which calibration may set their scale."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from decode_cases import BRAZIL, decode_track, posteriors_of

from lpr.config import Config, ReadConfig
from lpr.decode.confidence import NOT_A_PLATE, RANKED, Calibration, Evidence, fit, method_name
from lpr.decode.decode import covers, rank_of, share_rest, usable, weigh_track
from lpr.decode.stored import Decoder
from lpr.formats import load_formats
from lpr.types import Posteriors

NAMES = ("brazilian", "mercosur")
CURVE = Calibration(0.5, 0.5, method_name(ReadConfig(), load_formats(NAMES)), formats=NAMES)


def track(seed: int, frames: int = 3) -> Posteriors:
    rng = np.random.default_rng(seed)
    return Posteriors("t", tuple(posteriors_of("ABC1D23", rng) for _ in range(frames)))


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_the_sum_of_all_others_is_estimated_from_the_first_of_them(power):
    raw = 0.01 / np.arange(2, 20_000) ** power
    after = tuple(raw[: RANKED - 1].tolist())
    assert Evidence(0.0, after=after).rest() == pytest.approx(raw.sum(), rel=0.15)
    # Never above what all plates have, nor below what is known; a short list holds all there are.
    known = sum(after)
    assert Evidence(0.3, mass=0.3 + 1.001 * known, after=after).rest() == pytest.approx(1.001 * known)
    assert Evidence(0.3, mass=0.3 + 0.5 * known, after=after).rest() == pytest.approx(known)
    assert Evidence(0.0, after=after[:3]).rest() == pytest.approx(sum(after[:3]))
    # The same of powers of the values.
    squares = Evidence(0.0, after=after).rest(1.5)
    assert squares == pytest.approx((raw**1.5).sum(), rel=0.15) and squares > (np.array(after) ** 1.5).sum()


@pytest.mark.parametrize("true_power", [1.2, 1.5])
def test_the_power_of_the_shares_is_fitted(true_power):
    rng = np.random.default_rng(2)
    evidence, ranks = [], []
    for _ in range(3000):
        raw = 0.01 / np.arange(1, 3000) ** rng.uniform(1.5, 2.5) * rng.uniform(0.9, 1.1, 2999)
        raw = np.sort(raw)[::-1]
        shares = raw**true_power / (raw**true_power).sum()
        place = int(rng.choice(len(raw), p=shares)) + 1
        evidence.append(Evidence(0.02, 0.5, after=tuple(raw[: RANKED - 1].tolist())))
        ranks.append(place if place < RANKED else -1)
    ranks[:60] = [0] * 60
    found = fit(evidence, [rank == 0 for rank in ranks], "x", (), ranks)
    assert found.power == pytest.approx(true_power, abs=0.1)
    assert Calibration.from_dict(found.to_dict()).power == found.power
    few = fit(evidence[:100], [rank == 0 for rank in ranks[:100]], "x", (), ranks[:100])
    assert few.power == 1.0


def test_a_sharper_power_gives_the_second_more_and_no_more_than_is_left():
    read = ReadConfig()
    sharp = dataclasses.replace(CURVE, power=1.5)
    for seed in range(8):
        flat, steep = (decode_track(track(seed), read, BRAZIL, curve, 60) for curve in (CURVE, sharp))
        assert (flat.text, flat.confidence) == (steep.text, steep.confidence)
        assert steep.runners_up[0][1] >= flat.runners_up[0][1] * 0.999
        assert steep.confidence + sum(prob for _, prob in steep.runners_up) <= 1 + 1e-9
        assert [rank_of(text, steep) for text, _ in flat.runners_up[:3]] == [1, 2, 3]
    assert rank_of(steep.text, steep) == 0 and rank_of("nowhere", steep) == -1


def test_runners_up_share_what_the_calibrated_confidence_leaves():
    for seed in range(8):
        read = ReadConfig()
        raw, evidence = weigh_track(track(seed), read, BRAZIL, 60)
        found = decode_track(track(seed), read, BRAZIL, CURVE, 60)
        assert evidence.rest() >= sum(prob for _, prob in raw.runners_up[: RANKED - 1]) * 0.999
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
    evidence = Evidence(0.2, 0.5, mass=0.5, after=(0.2, 0.1))
    assert gate.apply(evidence) == NOT_A_PLATE
    assert share_rest([("A", 0.1), ("B", 0.05)], evidence, NOT_A_PLATE, gate) == (
        ("A", pytest.approx(NOT_A_PLATE / 2)),
        ("B", pytest.approx(NOT_A_PLATE / 4)),
    )


def test_without_a_calibration_the_raw_values_stand():
    evidence = Evidence(0.2, 0.5, after=(0.2, 0.1))
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
