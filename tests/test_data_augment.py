from __future__ import annotations

import cv2
import numpy as np
import pytest
from data_samples import picture

from lpr.data.augment import JPEG_QUALITY, STRENGTHS, Geometry, augment, degrade_hr, draw_geometry


def test_no_strength_is_no_change() -> None:
    image, rng = picture(), np.random.default_rng(0)
    assert draw_geometry(rng, "none").is_identity
    assert augment(image, Geometry(), rng, "none") is image


@pytest.mark.parametrize("strength", ["light", "aggressive"])
@pytest.mark.parametrize("size", [(48, 17), (130, 46), (9, 5), (4, 4)])
def test_shape_type_and_input_stay(strength, size) -> None:
    image = picture(*size)
    before = image.copy()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        out = augment(image, draw_geometry(rng, strength), rng, strength)
        assert out.shape == image.shape and out.dtype == np.uint8
    assert (image == before).all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def make(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        return augment(picture(), draw_geometry(rng, "aggressive"), rng, "aggressive").tobytes()

    assert make(3) == make(3) and len({make(seed) for seed in range(20)}) == 20


def test_geometry_stays_within_its_table() -> None:
    for strength, row in STRENGTHS.items():
        drawn = [draw_geometry(np.random.default_rng(seed), strength) for seed in range(300)]
        angles = [abs(g.rotation_deg) for g in drawn]
        shifts = np.abs([g.corners for g in drawn])
        assert max(angles) <= row.rotation_deg and shifts.max() <= row.perspective
        if row.rotation_deg:
            assert max(angles) > 0.9 * row.rotation_deg and shifts.max() > 0.9 * row.perspective
    assert STRENGTHS["aggressive"].rotation_deg == 5 and JPEG_QUALITY == (30, 70)


def test_rotation_turns_in_pixels_about_the_middle() -> None:
    image = np.zeros((40, 120, 3), np.uint8)
    image[19:21] = 255  # a level line
    out = augment(image, Geometry(rotation_deg=5), np.random.default_rng(0), "none")[..., 0].astype(float)
    rows = np.arange(40)
    left, right = ((out[:, x] @ rows) / out[:, x].sum() for x in (20, 100))
    # Counter-clockwise: the right end rises, by 80 px * tan 5 degrees.
    assert left - right == pytest.approx(80 * np.tan(np.deg2rad(5)), abs=0.7)
    assert (left + right) / 2 == pytest.approx(19.5, abs=0.6)


def test_one_geometry_moves_crops_of_any_size_alike() -> None:
    geometry = draw_geometry(np.random.default_rng(4), "aggressive")
    large = picture(240, 80)
    small = cv2.resize(large, (60, 20), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(0)
    turned = cv2.resize(augment(large, geometry, rng, "none"), (60, 20), interpolation=cv2.INTER_AREA)
    difference = np.abs(turned.astype(int) - augment(small, geometry, rng, "none"))
    assert difference.mean() < 0.4 * np.abs(turned.astype(int) - small).mean()


def test_nothing_is_mirrored_and_no_channel_changes_place() -> None:
    image = np.zeros((17, 48, 3), np.uint8)
    image[:, :24], image[:, 24:] = (200, 60, 20), (20, 40, 70)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        out = augment(image, draw_geometry(rng, "aggressive"), rng, "aggressive").astype(int)
        left, right = out[3:-3, 4:20].mean((0, 1)), out[3:-3, 28:44].mean((0, 1))
        assert left[0] > left[1] > left[2] - 12 and left.sum() > right.sum()


def test_dark_crops_do_not_become_black_nor_bright_ones_white() -> None:
    stripes = np.zeros((17, 48, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 30
    for image in (stripes + 5, 250 - stripes):
        for seed in range(200):
            rng = np.random.default_rng(seed)
            assert augment(image, Geometry(), rng, "aggressive").std() > 2


def test_each_effect_occurs() -> None:
    flat = np.full((17, 48, 3), 128, np.uint8)
    outs = [augment(flat, Geometry(), np.random.default_rng(seed), "aggressive") for seed in range(100)]
    means = np.array([out.mean() for out in outs])
    noisy = np.array([out.std(axis=(0, 1)).mean() > 1 for out in outs])
    tinted = np.array([np.ptp(out.mean((0, 1))) > 8 for out in outs])
    assert means.min() < 100 and means.max() > 150
    assert 0.2 < noisy.mean() < 0.7 and tinted.mean() > 0.3


@pytest.mark.parametrize(("width", "height"), [(130, 46), (55, 26), (163, 61), (40, 10), (12, 8)])
def test_degraded_hr_has_the_size_of_lr(width: int, height: int) -> None:
    for seed in range(20):
        out = degrade_hr(picture(width, height), np.random.default_rng(seed))
        assert out.dtype == np.uint8 and out.shape[2] == 3
        if width >= 55:
            assert 35 <= out.shape[1] <= 60
            assert out.shape[1] / out.shape[0] == pytest.approx(width / height, rel=0.08)


def test_degraded_hr_shows_the_same_plate_less_sharply() -> None:
    hr = np.full((46, 130, 3), 220, np.uint8)
    cv2.putText(hr, "ABC1D23", (4, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (20, 20, 20), 2)
    kept = []
    for seed in range(30):
        low = cv2.resize(degrade_hr(hr, np.random.default_rng(seed)), (130, 46), interpolation=cv2.INTER_CUBIC)
        kept.append(np.corrcoef(hr.ravel(), low.ravel())[0, 1])
        assert cv2.Laplacian(low, cv2.CV_64F).std() < 0.8 * cv2.Laplacian(hr, cv2.CV_64F).std()
    assert min(kept) > 0.5 and max(kept) < 0.97
