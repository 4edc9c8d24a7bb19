"""What cameras of other makes do to a picture: colour mosaics, interlaced lines, crude resizing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from lpr.formats import load_format
from lpr.plates.camera import _mosaic, _scan, photograph
from lpr.plates.draw import draw_plate, draw_plate_parameters
from lpr.plates.hardness import TrackDraws, draw_track, level
from lpr.plates.scene import scene_of


def track(**changes: object) -> TrackDraws:
    return dataclasses.replace(draw_track(np.random.default_rng(0), "B", level("hard"))[0], **changes)


def test_a_colour_mosaic_keeps_plain_colours_and_tints_fine_lines():
    plain = np.full((12, 16, 3), (0.8, 0.5, 0.1), np.float32)
    assert np.abs(_mosaic(plain) - plain).max() < 1e-4
    lines = np.zeros((12, 16, 3), np.float32)
    lines[:, ::2] = 1
    seen = _mosaic(lines)[2:-2, 2:-2]
    assert np.ptp(seen, axis=2).max() > 0.9  # white lines of one pixel come out in colours


def test_odd_lines_of_an_analogue_camera_show_the_plate_elsewhere():
    light = np.zeros((20, 120, 3), np.float32)
    light[:, 60:] = 1  # one edge, at six fine pixels a pixel
    native = (20, 10)
    still = _scan(light, native, track())
    assert np.array_equal(still, cv2.resize(light, native, interpolation=cv2.INTER_AREA))
    woven = _scan(light, native, track(analogue=(0.3, 1.0)))
    edge = [int(np.flatnonzero(row > 0.5)[0]) for row in woven[:, :, 0]]
    assert edge == [10, 11] * 5
    soft = _scan(light, native, track(analogue=(1.0, 0.0)))
    assert 0.05 < soft[0, 9, 0] < 0.5 and np.array_equal(soft[0], soft[1])


def test_each_kind_of_camera_changes_the_frames_and_nothing_else():
    plate_format = load_format("mercosur")
    draws = draw_plate_parameters(np.random.default_rng(1), plate_format, "RHB6I06")
    plate, _ = draw_plate(plate_format, "RHB6I06", draws)
    scene = scene_of(plate, (400, 130))
    base = track(native=1.3, stops=0.0)
    _, frames = draw_track(np.random.default_rng(0), "B", level("hard"))
    usual = photograph(scene, base, frames[:2])
    for change in ({"mosaic": True}, {"analogue": (0.7, 0.5)}, {"nearest": True}):
        other = photograph(scene, dataclasses.replace(base, **change), frames[:2])
        for (picture, corners), (expected, same) in zip(other, usual, strict=True):
            assert picture.shape == expected.shape and np.array_equal(corners, same)
            assert 0.5 < np.abs(picture.astype(float) - expected).mean() < 60, change
