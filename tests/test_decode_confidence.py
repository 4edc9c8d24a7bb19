"""Calibration on several kinds of evidence, what is no plate, sharpening, and the command that fits anew."""

from __future__ import annotations

import numpy as np
import pytest
from decode_cases import BRAZIL, decode_track, normalised, posteriors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr.config import Config, ReadConfig
from lpr.data.splits import HeldOut
from lpr.decode.confidence import NOT_A_PLATE, Calibration, Evidence, fit, method_name, sharpened
from lpr.decode.decode import UNLIKE, weigh_track
from lpr.report.metrics import auroc
from lpr.types import ALPHABET, InputError, Posteriors, UsageError

READ = ReadConfig(fusion="sequence")
METHOD = method_name(READ, BRAZIL)


def made(n: int, seed: int = 0, weight: float = 1.5) -> tuple[list[Evidence], list[bool]]:
    """Tracks whose odds of being right depend on raw value and margin by a known curve."""
    rng = np.random.default_rng(seed)
    raw, margin = rng.uniform(0.01, 0.99, n), rng.exponential(1.5, n)
    truth = Calibration(0.5, -1.0, margin=weight)
    evidence = [Evidence(float(p), float(m), max(float(p), 0.9)) for p, m in zip(raw, margin, strict=True)]
    return evidence, [bool(rng.random() < truth.apply(one)) for one in evidence]


def spelled(text: str) -> np.ndarray:
    """A frame that is nearly sure of each character."""
    logits = np.full((32, 37), -9.0)
    logits[:, 0] = 0.0
    for step, character in zip(range(2, 30, 4), text, strict=True):
        logits[step, [0, ALPHABET.index(character) + 1]] = -9.0, 0.0
    return normalised(logits).astype(np.float32)


def test_the_margin_is_used_where_it_tells_something():
    found = fit(*made(4000), METHOD)
    assert (found.slope, found.margin, found.intercept) == pytest.approx((0.5, 1.5, -1.0), abs=0.2)
    assert Calibration.from_dict(found.to_dict()) == found and found.method == METHOD


def test_the_margin_has_no_weight_where_wider_ones_are_wrong_more_often():
    evidence, right = made(1000)
    assert fit([Evidence(one.raw, 12 - min(one.margin, 12)) for one in evidence], right).margin == 0.0


def test_a_curve_that_no_logistic_fits_becomes_isotonic():
    rng = np.random.default_rng(1)
    raw = rng.uniform(0.01, 0.99, 4000)
    right = rng.random(4000) < np.where(raw < 0.3, 0.02, np.where(raw < 0.7, 0.5, 0.6))  # two steps
    found = fit([Evidence(float(p)) for p in raw], right.tolist())
    assert found.knots and Calibration.from_dict(found.to_dict()) == found
    assert [found.apply(Evidence(p)) for p in (0.15, 0.5, 0.85)] == pytest.approx([0.02, 0.5, 0.6], abs=0.06)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 150), st.floats(0, 1))
def test_confidence_never_falls_with_the_evidence(seed, n, luck):
    rng = np.random.default_rng(seed)
    evidence = [Evidence(*row) for row in np.sort(rng.random((n, 3)) * [1, 14, 1]).tolist() if row[0] <= 1]
    evidence = [Evidence(one.raw, one.margin, min(one.mass, 1.0)) for one in evidence]
    curve = fit(evidence, (rng.random(len(evidence)) < luck).tolist())
    for field, grid in (
        ("raw", [0, 1e-300, 1e-9, 0.1, 0.9, 1]),
        ("margin", [0, 0.1, 3, 11, 99]),
        ("mass", [0, 0.5, 1]),
    ):
        values = [curve.apply(Evidence(**({"raw": 0.3, "margin": 1.0, "mass": 0.8} | {field: v}))) for v in grid]
        assert values == sorted(values) and values[0] >= 0 and values[-1] <= 1


def test_thresholds_lie_below_nearly_all_that_was_read_rightly():
    rng = np.random.default_rng(2)
    raw, mass = np.exp(-rng.exponential(2, 4000)), np.exp(-rng.exponential(0.1, 4000))
    evidence = [Evidence(float(p), 1.0, float(m)) for p, m in zip(raw, mass, strict=True)]
    # A hundred tracks say where the thresholds lie about as well as thousands do.
    for count in (4000, 100):
        curve = fit(evidence[:count], [True, True, False, True] * (count // 4))
        assert 0 < np.mean([not curve.is_plate(one) for one in evidence]) < 0.015
    assert fit(evidence[:40], [True, False] * 20).least_raw == 0.0  # too few to know


def test_of_few_plates_none_that_was_read_rightly_is_cut_off():
    rng = np.random.default_rng(3)
    raw = np.append(1 - rng.exponential(0.02, 216), [0.06, 0.35, 0.36, 0.4, 0.4, 0.41])
    evidence = [Evidence(float(p), 1.0, float(p), float(1 - p)) for p in raw]
    curve = fit(evidence, [True] * len(evidence))
    assert all(curve.is_plate(one) for one in evidence)
    assert not curve.is_plate(Evidence(0.04, 1.0, 0.9, 0.5)) and not curve.is_plate(Evidence(0.9, 1.0, 0.04, 0.5))


def test_a_track_without_a_sure_frame_is_no_plate():
    rng = np.random.default_rng(4)
    evidence = [Evidence(0.5, 1.0, 1.0, float(value)) for value in rng.exponential(1.0, 1000)]
    curve = fit(evidence, [True] * 1000)
    assert curve.most_entropy == pytest.approx(np.log(400), rel=0.2)  # all but a share of LOST
    assert Calibration.from_dict(curve.to_dict()) == curve
    confidences = [curve.apply(Evidence(0.5, 1.0, 1.0, value)) for value in (0.0, 3.0, 9.0)]
    assert confidences[0] == confidences[1] > NOT_A_PLATE >= confidences[2]
    # The surest of the frames counts.
    flat, sure = np.full((32, 37), -np.log(37), np.float32), spelled("ABC1D23")
    for frames, plate in (((sure, flat), True), ((flat, flat), False)):
        _, found = weigh_track(Posteriors("t", frames), READ, BRAZIL)
        assert (found.entropy < 5) == plate
    assert found.entropy == pytest.approx(32 * np.log(37), rel=1e-4)


def test_what_is_no_plate_gets_no_confidence_and_is_named():
    curve = Calibration(1.0, 20.0, METHOD, least_raw=1e-6, least_mass=0.3)
    plate, foreign = (Posteriors("t", (spelled(text),) * 5) for text in ("ABC1D23", "AB123CD"))
    flat = Posteriors("t", (np.full((32, 37), -np.log(37), np.float32),) * 5)
    assert decode_track(plate, READ, BRAZIL, curve).problems == ()
    for posteriors in (foreign, flat):
        prediction = decode_track(posteriors, READ, BRAZIL, curve)
        assert prediction.confidence <= NOT_A_PLATE
        assert [p.what for p in prediction.problems] == [f"{UNLIKE} brazilian or mercosur"]
        other = decode_track(posteriors, READ.model_copy(update={"fusion": "log_prob_sum"}), BRAZIL, curve)
        assert other.problems == ()  # a calibration of another method says nothing


def test_sharpening_widens_the_gap_and_keeps_texts_and_order():
    curve = Calibration(1.0, 0.0, METHOD, tracks=100, right=60)
    sure = np.linspace(0.01, 0.99, 50)
    sharp = [sharpened(float(p), 8.0, curve) for p in sure]
    assert sharp == sorted(sharp) and sharp[0] < 0.001 and sharp[-1] > 0.999
    assert sharpened(0.6, 8.0, curve) == pytest.approx(0.5)
    assert [sharpened(p, 8.0, curve) for p in (0.0, 1.0)] == [0.0, 1.0]
    posteriors = Posteriors("t", tuple(posteriors_of("ABC1D23", np.random.default_rng(3), peak=7.0) for _ in range(5)))
    plain, sharper = (
        decode_track(posteriors, READ.model_copy(update={"sharpen": power}), BRAZIL, curve) for power in (1.0, 8.0)
    )
    assert plain.text == sharper.text and plain.confidence != sharper.confidence


def test_auroc_by_hand():
    assert auroc([0.9, 0.8, 0.2, 0.5], [True, False, False, True]) == pytest.approx(3 / 4)
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert np.isnan(auroc([0.5], [True]))


@pytest.mark.parametrize("values", [{"margin": -1}, {"knots": [[0, 2]]}, {"knots": [[1, 0.5], [0, 0.6]]}, {"knots": 3}])
def test_a_broken_calibration_is_refused(values):
    with pytest.raises(InputError):
        Calibration.from_dict({"slope": 1.0, "intercept": 0.0, **values})


def test_calibrate_rewrites_the_checkpoint_and_keeps_its_weights(tmp_path, capsys, monkeypatch):
    from lpr import calibrate
    from lpr.decode.stored import writing
    from lpr.model import checkpoint
    from lpr.model.recogniser import build_recogniser
    from lpr.reader import Reader

    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}})
    path = tmp_path / "model.safetensors"
    split = {"select": ["ABC1D29"], "calibrate": ["ABC1D28"]}
    model_hash = checkpoint.save(path, build_recogniser(config), config, {"split": split})
    rng = np.random.default_rng(0)
    with writing(tmp_path / "p.npz", Reader(path, device="cpu").decoder, ALPHABET) as kept:
        for number in range(80):
            arrays = tuple(posteriors_of("ABC1K23", rng, peak=rng.uniform(3, 9)) for _ in range(2))
            kept.add(Posteriors(f"t{number}", arrays), ())
    lines = ["track_id,text", *(f"t{n},ABC1K23" for n in range(81))]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    words = ["--checkpoint", str(path), "--tracks", str(tmp_path / "p.npz"), "--truth", str(tmp_path / "truth.csv")]
    assert calibrate.main([*words, "--set", "read.fusion=log_prob_sum"]) == 0
    captured = capsys.readouterr()
    assert "after:" in captured.out and "t80: has a truth but no frames" in captured.err
    after = checkpoint.load(path)
    assert after.hash == model_hash and after.split == HeldOut(frozenset({"ABC1D29"}), frozenset({"ABC1D28"}))
    assert after.config.read.fusion == "log_prob_sum"
    assert (
        after.calibration["method"] == "constrained/log_prob_sum/common/3 views" and after.calibration["tracks"] == 80
    )
    with pytest.raises(InputError, match="name them with --truth"):
        calibrate.main(words[:4])
    # A copy leaves the checkpoint alone; what fits worse than the calibration of before is not written.
    before = path.read_bytes()
    copy = tmp_path / "copy.safetensors"
    assert calibrate.main([*words, "--out", str(copy)]) == 0
    assert path.read_bytes() == before and checkpoint.load(copy).hash == model_hash
    worse = Calibration(0.01, -3.0, "constrained/log_prob_sum/3 views", 80, 60)
    monkeypatch.setattr("lpr.decode.confidence.fit", lambda *_: worse)
    with pytest.raises(InputError, match="80 tracks calibrate worse than it is calibrated already"):
        calibrate.main(words)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match=r"FILE\.safetensors"):
        calibrate.main([*words, "--out", str(tmp_path / "copy.json")])


def test_calibrate_uses_the_held_out_folds_of_the_training_data_only():
    from lpr.calibrate import _folds

    texts = {"a": "ABC1D23", "b": "ABC1D24", "c": "ABC1D25"}
    split = HeldOut(frozenset({"ABC1D23"}), frozenset({"ABC1D24"}))
    assert _folds(texts, [split], several=False) == ({}, {"b": "ABC1D24"})
    assert _folds(texts, [split, None], several=True) == ({"a": "ABC1D23"}, {"b": "ABC1D24"})
    elsewhere = HeldOut(frozenset(), frozenset({"XYZ1D24"}))
    assert _folds(texts, [elsewhere], several=False) == _folds(texts, [None], several=False) == ({}, texts)
    # Of strange data each plate is on one side, whatever tracks show it.
    several = {str(n): f"ABC{n % 9}D23" for n in range(90)}
    choosing, rest = _folds(several, [None, None], several=True)
    assert choosing and rest and choosing | rest == several and not set(choosing.values()) & set(rest.values())


def test_a_vote_of_all_frames_does_not_flatten_the_curve():
    rng = np.random.default_rng(0)
    agree = rng.choice([2, 3, 4, 5], 300, p=[0.1, 0.15, 0.25, 0.5])
    share = {2: 0.2, 3: 0.6, 4: 0.8, 5: 0.98}
    right = [bool(rng.random() < share[k]) for k in agree.tolist()]
    fitted = fit([Evidence(k / 5) for k in agree.tolist()], right)
    assert fitted.apply(Evidence(0.4)) < 0.4 < 0.6 < fitted.apply(Evidence(0.8)) < 0.95 < fitted.apply(Evidence(1.0))


def test_the_limit_of_the_mass_follows_a_heavy_tail():
    """Most plates give all but all their mass; of thousands the few others are seen, and not cut off."""
    rng = np.random.default_rng(0)
    mass = np.where(rng.random(4000) < 0.97, 1 - rng.exponential(0.002, 4000), rng.uniform(0.5, 1, 4000))
    fitted = fit([Evidence(0.4, 1.0, float(m)) for m in mass], [True] * 4000)
    lost = (mass < fitted.least_mass).mean()
    assert 0 < lost <= 0.0026 and fitted.least_mass < 0.6
