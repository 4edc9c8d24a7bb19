"""Wear and surround: within bounds, and doing what they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lpr.formats import load_format
from lpr.plates.body import draw_body
from lpr.plates.draw import draw_plate, draw_plate_parameters
from lpr.plates.scene import MARGIN_MM, build_scene
from lpr.plates.wear import WearDraws, apply_wear, draw_wear

NONE = WearDraws(0.0, 0.0, 1.0, (), (), (0.0, 0.0), 0.0, (0.5, 50.0), (), 0, 1)


@pytest.fixture(scope="module")
def plate() -> tuple[np.ndarray, np.ndarray]:
    plate_format = load_format("mercosur")
    draws = draw_plate_parameters(np.random.default_rng(1), plate_format, "ABC1D23")
    return draw_plate(plate_format, "ABC1D23", dataclasses.replace(draws, use="private", dirt=0.0, fade=0.0))


def test_any_wear_keeps_the_plates_size(plate: tuple[np.ndarray, np.ndarray]) -> None:
    for seed in range(40):
        wear = draw_wear(np.random.default_rng(seed), (400, 130), age=2.0)
        assert 0 <= wear.paint < 1
        worn, outline = apply_wear(*plate, wear)
        assert worn.shape == plate[0].shape and worn.dtype == np.uint8
        assert outline.shape == plate[1].shape and outline.dtype == np.uint8
        # However worn, most of its characters stand out.
        text = worn[55:105, 50:350].mean(2)
        assert np.ptp(np.percentile(text, [5, 95])) > 60


def test_lost_paint_shows_the_ground(plate: tuple[np.ndarray, np.ndarray]) -> None:
    ink = plate[0].mean(2) < 60
    ink[:45] = False
    shades = [apply_wear(*plate, dataclasses.replace(NONE, paint=p))[0][ink].mean() for p in (0.0, 0.4, 0.9)]
    assert shades[0] < shades[1] - 5 < shades[2] - 10


@pytest.mark.parametrize(
    "change",
    [
        {"relief": 25.0},
        {"bolts": (30, 30)},
        {"sticker": (20, 95, 30, 20, 200)},
        {"bend_mm": (6.0, 0.0)},
        {"streak": 80.0},
        {"cover": (200, 90, 30, 130)},
        {"cover": (0, 60, 400, 6)},
        {"strip_mm": 14},
    ],
)
def test_each_part_changes_the_picture(plate: tuple[np.ndarray, np.ndarray], change: dict) -> None:
    before = apply_wear(*plate, NONE)[0].astype(int)
    after = apply_wear(*plate, dataclasses.replace(NONE, **change))[0].astype(int)
    assert (np.abs(before - after).max(2) > 8).mean() > 0.002


def test_the_car_is_drawn_around_every_plate(plate: tuple[np.ndarray, np.ndarray]) -> None:
    means = []
    for seed in range(30):
        body = draw_body((700, 390), (150, 130, 400, 130), (158, 160, 163), np.random.default_rng(seed))
        assert body.shape == (390, 700, 3)
        assert body.min() >= 0 and body.max() <= 255
        means.append(float(body.mean()))
    assert np.std(means) > 10
    scene = build_scene(*plate, body=(24, 24, 26), night=True, shade=0.3, frame=True, texture=3, worn=True)
    assert scene.levels[0].shape == (130 + 2 * MARGIN_MM[1], 400 + 2 * MARGIN_MM[0], 3)
    assert [level.shape[1] for level in scene.levels] == [700, 350, 175, 88]
