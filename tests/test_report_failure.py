"""Failure groups: each kind of damage is found where it was done, and not on a sound frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lpr.data.scan import scan
from lpr.report.failure import GROUPS, MEASURES, groups_of, measure_frame, measure_track
from lpr.report.pictures import read_lr_images

Pixels = NDArray[np.uint8]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


Damage = Callable[[Pixels], Pixels]
WIDTHS_PX = (45, 48, 49, 51, 54)


def plate(width: int = 48, tilt_deg: float = 0.0) -> Pixels:
    """A sound LR frame: a white plate on a grey car, drawn large, turned, shrunk, with a lens and a sensor."""
    image = np.full((340, 960, 3), 90, np.uint8)
    cv2.rectangle(image, (70, 40), (890, 310), (215, 215, 210), -1)
    cv2.rectangle(image, (70, 40), (890, 85), (60, 70, 160), -1)
    for index, character in enumerate("ABC1D23"):
        cv2.putText(image, character, (95 + 113 * index, 270), cv2.FONT_HERSHEY_SIMPLEX, 5.4, (25, 25, 25), 26)
    turn = cv2.getRotationMatrix2D((480, 170), tilt_deg, 1)
    turned = cv2.warpAffine(image, turn, (960, 340), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(turned, (width, round(width * 0.354)), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(width).normal(0, 2, small.shape)
    return scaled(np.asarray(cv2.GaussianBlur(small, (0, 0), 0.5) + noise), 0.7, 40)


def scaled(image: NDArray[Any], gain: float, offset: float = 0) -> Pixels:
    return np.clip(image * gain + offset, 0, 255).astype(np.uint8)


def blurred(image: Pixels, sigma_px: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def moved(image: Pixels) -> Pixels:
    """Motion across by about 5 px, slower at its ends."""
    return np.asarray(cv2.blur(cv2.blur(image, (3, 1)), (3, 1)), np.uint8)


def jpeg(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def covered(image: Pixels, start: float, end: float) -> Pixels:
    """Something of one colour before these shares of the width."""
    result, width = image.copy(), image.shape[1]
    result[:, round(start * width) : round(end * width)] = (60, 90, 70)
    return result


def values_of(damage: Damage, tilt_deg: float = 0.0, scale: float = 1.0) -> dict[str, float]:
    """The measures of a track of five frames of growing width, each damaged."""
    return measure_track([damage(plate(round(width * scale), tilt_deg)) for width in WIDTHS_PX])


SOUND = plate()


def test_a_sound_track_is_in_no_group() -> None:
    assert groups_of(values_of(lambda image: image)) == ()


@pytest.mark.parametrize(
    ("group", "damage"),
    [
        ("dark", lambda image: scaled(image, 0.35)),
        ("blown out", lambda image: scaled(image, 1.2, 50)),
        ("low contrast", lambda image: scaled(image, 0.3, 100)),
        ("blurred", lambda image: blurred(image, 1.2)),
        ("blurred", moved),
        ("blocky", lambda image: jpeg(blurred(image, 0.7), 6)),
        ("occluded", lambda image: covered(image, 0.35, 0.65)),
        ("occluded", lambda image: covered(image, 0.0, 0.45)),
        ("occluded", lambda image: covered(blurred(image, 1.0), 0.6, 1.0)),
        # Part of a video frame: its grid starts anywhere.
        ("blocky", lambda image: np.ascontiguousarray(jpeg(blurred(image, 0.7), 6)[3:, 5:])),
    ],
)
def test_damage_puts_a_track_into_its_group(group: str, damage: Damage) -> None:
    assert group in groups_of(values_of(damage))


def test_mild_damage_does_not() -> None:
    assert groups_of(values_of(lambda image: jpeg(blurred(scaled(image, 0.8), 0.4), 90))) == ()


def test_a_gap_between_characters_is_no_cover() -> None:
    values = values_of(lambda image: covered(image, 0.4, 0.5))
    assert 0 < values["gap"] < 0.2 and groups_of(values) == ()


def test_small_and_tilted_tracks_are_found() -> None:
    assert groups_of(values_of(lambda image: image, scale=0.7)) == ("small",)
    assert "tilted" in groups_of(values_of(lambda image: image, tilt_deg=5))
    assert "tilted" in groups_of(values_of(lambda image: image, tilt_deg=-5))


@pytest.mark.parametrize("tilt_deg", [0.0, 3.0, -4.0, 6.0])
def test_tilt_is_measured_in_degrees(tilt_deg: float) -> None:
    values = dict(zip((m.name for m in MEASURES), measure_frame(plate(tilt_deg=tilt_deg)), strict=True))
    assert values["tilt"] == pytest.approx(abs(tilt_deg), abs=1.0)


def test_size_does_not_change_the_other_groups() -> None:
    large = np.asarray(cv2.resize(SOUND, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert groups_of(measure_track([large])) == ()


def test_the_median_over_frames_forgives_two_bad_ones_of_five() -> None:
    dark = scaled(SOUND, 0.35)
    assert "dark" not in groups_of(measure_track([dark, SOUND, SOUND, dark, SOUND]))
    assert "dark" in groups_of(measure_track([dark, SOUND, dark, dark, SOUND]))


def test_a_track_without_frames_has_no_values_and_no_group() -> None:
    assert measure_track([]) == {}
    assert groups_of({}) == ()


@pytest.mark.parametrize("shape", [(4, 4), (4, 200), (200, 4), (17, 48), (700, 2000)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_frames_of_any_shape_give_finite_values(shape: tuple[int, int], level: int) -> None:
    values = measure_frame(np.full((*shape, 3), level, np.uint8))
    assert len(values) == len(MEASURES) == len(GROUPS)
    assert np.isfinite(values).all()


def test_five_frames_take_about_two_milliseconds() -> None:
    frames = [SOUND] * 5
    fastest = min(_seconds(frames) for _ in range(20))
    assert fastest < 0.006  # 1 ms on an idle core; the margin is for a busy machine.


def _seconds(frames: list[Pixels]) -> float:
    start = time.perf_counter()
    measure_track(frames)
    return time.perf_counter() - start


@pytest.mark.skipif(not (REAL / "lrlpr_figure_tracks").is_dir(), reason="needs the shared real tracks")
def test_the_nine_real_tracks_are_grouped_as_they_look() -> None:
    found = {
        track.id: set(groups_of(measure_track(list(read_lr_images(track)[0].values()))))
        for track in scan(REAL / "lrlpr_figure_tracks").tracks
    }
    assert found["icpr_AZV8507"] == {"dark", "low contrast", "tilted"}
    assert found["icpr_JAF8A46"] == {"tilted"}
    assert found["ufprsr_JAX5D53"] == {"blown out", "low contrast"}
    sound = set(found) - {"icpr_AZV8507", "icpr_JAF8A46", "ufprsr_JAX5D53"}
    assert {track_id: found[track_id] for track_id in sound} == {track_id: set() for track_id in sound}
