"""The strengths "medium" and "heavy": weather, dirt, colour, and turned plates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from data_samples import picture

from lpr.data import effects
from lpr.data.augment import LEVEL_DEG, STRENGTHS, Geometry, augment, draw_geometry
from lpr.data.effects import Effects, before_camera, drop_pixels

NOTHING = Effects(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
HEAVY = STRENGTHS["heavy"].effects or NOTHING


def plate(width: int = 150, height: int = 40) -> np.ndarray:
    image = np.full((height, width, 3), (235, 230, 220), np.uint8)
    cv2.putText(image, "00420316", (6, height * 3 // 4), cv2.FONT_HERSHEY_SIMPLEX, width / 165, (25, 25, 30), 2)
    return image


@pytest.mark.parametrize("strength", ["medium", "heavy"])
@pytest.mark.parametrize("size", [(48, 17), (150, 40), (9, 5), (4, 4)])
def test_any_size_the_same_bytes_for_a_seed_and_the_input_stays(strength, size) -> None:
    image = picture(*size)
    before = image.copy()

    def make(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return augment(image, draw_geometry(rng, strength), rng, strength)

    for seed in range(40):
        out = make(seed)
        assert out.dtype == np.uint8 and out.shape[0] >= size[1] and out.shape[1] >= size[0]
        assert (out == make(seed)).all()
    assert (image == before).all()


def test_the_table() -> None:
    heavy = STRENGTHS["heavy"]
    assert (heavy.rotation_deg, heavy.brightness, heavy.contrast) == (15, 0.3, 0.3) and HEAVY.grey_prob == 0.2
    probs = ("shadow_prob", "highlight_prob", "dirt_prob", "rain_prob", "soft_blur_prob", "dropout_prob")
    medium = STRENGTHS["medium"].effects
    assert medium and all(0 < getattr(medium, name) < getattr(HEAVY, name) for name in probs)
    for name in ("none", "light", "aggressive"):
        assert STRENGTHS[name].effects is None and not draw_geometry(np.random.default_rng(0), name).grows
        assert STRENGTHS[name].rotation_deg <= LEVEL_DEG


@pytest.mark.parametrize("angle", [-15, -7, 7, 15])
@pytest.mark.parametrize("size", [(150, 40), (48, 17)])
def test_a_plate_that_is_turned_far_stays_in_its_crop(angle: float, size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    spots = [(round(x * width), round(y * height)) for x in (0.1, 0.9) for y in (0.2, 0.8)]
    for number, (x, y) in enumerate(spots):
        image[y - 1 : y + 2, x - 1 : x + 2] = 60 + 60 * number
    out = augment(image, Geometry(angle, grows=True), np.random.default_rng(0), "none")
    assert out.shape[0] > height and out.shape[1] >= width
    for number in range(4):
        assert (np.abs(out[..., 0].astype(int) - (60 + 60 * number)) < 20).sum() >= 4
    # A crop that does not grow loses what stands in its corners.
    assert augment(image, Geometry(angle), np.random.default_rng(0), "none").shape == image.shape


def test_no_black_corners() -> None:
    bright = np.full((40, 150, 3), 200, np.uint8)
    for seed in range(60):
        geometry = draw_geometry(np.random.default_rng(seed), "heavy")
        assert augment(bright, geometry, np.random.default_rng(0), "none").min() == 200


def test_characters_stay_legible_on_nearly_all() -> None:
    """What the strength does to a plate leaves its ink darker than its ground, measured where both were."""
    image = plate()
    ink, ground = image[..., 0] < 60, image[..., 0] > 225
    level = STRENGTHS["heavy"]
    contrasts = []
    for seed in range(300):
        out = augment(image, Geometry(), np.random.default_rng(seed), "heavy")[..., 1].astype(float)
        contrasts.append(out[ground].mean() - out[ink].mean())
    assert level.effects and np.mean(np.array(contrasts) > 25) > 0.97 and min(contrasts) > 5


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("shadow_prob", lambda a, b: b.mean() < a.mean() - 1 and (b <= a).all() and b.min() >= 0.5 * a.min()),
        ("highlight_prob", lambda a, b: b.mean() > a.mean() and (b >= a).all()),
        ("dirt_prob", lambda a, b: (b != a).mean() > 0.1),
        ("rain_prob", lambda a, b: 0.005 < (b != a).mean() < 0.6),
    ],
)
def test_each_effect_by_itself(name: str, check: Callable[[np.ndarray, np.ndarray], bool]) -> None:
    image = np.full((40, 150, 3), 120, np.uint8)
    outs = [before_camera(image, replace(NOTHING, **{name: 1.0}), np.random.default_rng(seed)) for seed in range(40)]
    assert np.mean([check(image, out) for out in outs]) > 0.85
    assert len({out.tobytes() for out in outs}) > 35
    assert (before_camera(image, NOTHING, np.random.default_rng(0)) == image).all()


def test_dead_pixels() -> None:
    image = plate()
    row = replace(NOTHING, dropout_prob=1.0)
    shares = [(drop_pixels(image, row, np.random.default_rng(seed)) != image).any(-1).mean() for seed in range(60)]
    assert 0.0005 < min(shares) < 0.006 and 0.015 < max(shares) <= 0.02
    assert drop_pixels(image, NOTHING, np.random.default_rng(0)) is image


def test_grey_and_hue() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (220, 180, 40)
    grey = effects._recolour(image, 7, 0.0)
    assert np.ptp(grey[0, 0].astype(int)) == 0
    assert (effects._recolour(image, 0, 1.0) == image).all()
    level = np.full((4, 4, 3), 90, np.uint8)
    assert (np.abs(effects._recolour(level, 10, 1.2).astype(int) - 90) <= 1).all()

    def hue(picture: np.ndarray) -> int:
        return 2 * int(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[0, 0, 0])

    assert hue(effects._recolour(image, 10, 1.0)) - hue(image) == pytest.approx(10, abs=4)
    outs = [before_camera(image, replace(NOTHING, grey_prob=0.2), np.random.default_rng(s)) for s in range(400)]
    assert np.mean([np.ptp(out[0, 0].astype(int)) == 0 for out in outs]) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("disc", [False, True])
def test_soft_blur_spreads_a_point_and_keeps_its_light(disc: bool) -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    out = effects._soft_blur(image, 3.0, disc)[..., 0].astype(float)
    assert out.sum() == pytest.approx(255, rel=0.2) and out.max() < 20
    y, x = np.mgrid[:41, :41]
    spread = np.sqrt((out * ((x - 20) ** 2 + (y - 20) ** 2)).sum() / out.sum() / 2)
    assert spread == pytest.approx(1.5, abs=0.25)
    assert (effects._soft_blur(image, 0.0, disc)[20, 20] > 200).all()
