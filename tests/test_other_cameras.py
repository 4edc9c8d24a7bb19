"""The cameras that judge what a network reads that it was not trained for (scripts/other_cameras.py)."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

import cv2
import numpy as np
import pytest
from training_case import load_script

from lpr.formats import load_format
from lpr.plates.draw import draw_plate, draw_plate_parameters
from lpr.plates.scene import Scene, scene_of
from lpr.types import InputError


@pytest.fixture(scope="module")
def cameras() -> ModuleType:
    return load_script("other_cameras")


@pytest.fixture(scope="module")
def scene() -> Scene:
    plate_format = load_format("mercosur")
    draws = draw_plate_parameters(np.random.default_rng(1), plate_format, "RHB6I06")
    plate, _ = draw_plate(plate_format, "RHB6I06", draws)
    return scene_of(cv2.copyMakeBorder(plate, 120, 120, 150, 150, cv2.BORDER_CONSTANT, value=(60, 40, 30)), (400, 130))


@pytest.mark.parametrize("name", ["h264", "bayer", "night", "haze", "analogue", "careless"])
def test_every_camera_takes_five_small_frames_and_the_same_ones_again(
    cameras: ModuleType, scene: Scene, name: str
) -> None:
    if name in ("h264", "night", "analogue"):
        pytest.importorskip("av")
    assert name in cameras.CAMERAS and len(cameras.CAMERAS) == 6
    for seed in range(4):
        frames, again = (cameras.CAMERAS[name](scene, np.random.default_rng(seed)) for _ in range(2))
        assert len(frames) == 5
        assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
        for frame in frames:
            height, width = frame.shape[:2]
            assert frame.dtype == np.uint8 and frame.shape[2] == 3
            assert 30 <= width <= 90 and 11 <= height <= 60
            assert frame.std() > 1
        assert any(not np.array_equal(frames[0], other) for other in frames[1:])


def test_the_plate_lies_where_the_pose_says(cameras: ModuleType, scene: Scene) -> None:
    at = cameras.pose(48, (50, 30), 0, 0, 0)
    x0, y0, x1, y1 = cameras.box(scene, at, np.zeros(4), 0.0, np.random.default_rng(0), (100, 60))
    assert (x0, x1) == (26, 74) and abs((y1 - y0) - 48 * 130 / 400) <= 1
    light = cameras.look(scene, at, (100, 60), 4)
    assert light.shape == (240, 400, 3)
    # A bright plate on a dark car, which begins at the box's edges.
    assert light[120, 4 * x0 + 12].mean() > 3 * light[120, 4 * x0 - 12].mean()
    turned = cameras.box(
        scene, cameras.pose(48, (50, 30), 10, 0, 0), np.zeros(4), 0.0, np.random.default_rng(0), (100, 60)
    )
    assert turned[3] - turned[1] > y1 - y0 + 4


def test_without_the_codecs_package_it_says_what_to_install(
    cameras: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "find_spec", lambda name: None if name == "av" else find_spec(name))
    with pytest.raises(InputError, match="pip install av"):
        cameras.require_codecs()
