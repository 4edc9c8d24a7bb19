"""Photographs a scene: perspective, lens, exposure, sensor, sharpening, codec, crop, in the order of physics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .codec import compress
from .draw import Image
from .hardness import FrameDraws, TrackDraws
from .scene import MARGIN_MM, Scene

#: Pixels photographed beyond the crop on each side, so that blur and codec blocks know what lies there.
_PAD_PX = 10
#: Lens and motion act on a picture this much finer than the sensor.
_FINE_LR, _FINE_HR = 3, 2
#: Distance of the camera in plate widths; the perspective of a zoom lens is weak.
_DISTANCE = 12.0

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_TO_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)

Points = NDArray[np.float64]
Linear = NDArray[np.float32]


def photograph(
    scene: Scene, track: TrackDraws, frames: Sequence[FrameDraws], codec: str = "jpeg"
) -> list[tuple[Image, Points]]:
    """Each frame, uint8 (H, W, 3) RGB of frame.height_px x frame.width_px, and the plate's corners in it.

    Corners are float64 (4, 2), x and y in px: top-left, top-right, bottom-right, bottom-left. `codec` is one of
    codec.CODECS.
    """
    corners = [_project(scene.plate_mm, track, frame) for frame in frames]
    windows = [_expose(scene, points, track, frame) for points, frame in zip(corners, frames, strict=True)]
    coded = compress(codec, windows, frames, track.quality)
    crops = (
        picture[_PAD_PX : _PAD_PX + frame.height_px, _PAD_PX : _PAD_PX + frame.width_px]
        for picture, frame in zip(coded, frames, strict=True)
    )
    return [(np.ascontiguousarray(crop), points) for crop, points in zip(crops, corners, strict=True)]


def _expose(scene: Scene, corners: Points, track: TrackDraws, frame: FrameDraws) -> Image:
    """The crop with _PAD_PX around it as the camera hands it to its codec, uint8 (H, W, 3) RGB."""
    rng = np.random.default_rng(frame.seed)
    fine = _FINE_LR if frame.plate_px < 75 else _FINE_HR
    window = (frame.width_px + 2 * _PAD_PX, frame.height_px + 2 * _PAD_PX)
    native = (round(window[0] * track.native), round(window[1] * track.native))
    light = _look(scene, corners + _PAD_PX, (native[0] * fine, native[1] * fine), native[0] * fine / window[0])
    light = _lens(light, track, frame, track.native * fine)
    light *= np.asarray(track.light, np.float32) * np.float32(2 ** (track.stops + frame.stops))
    if track.rain:
        _rain(light, rng, track.native * fine)
    if track.veil:
        light += np.float32(track.veil)
    light = _scan(light, native, track)
    factor = 1 if track.near_sharpen is None else 1 + (track.near_sharpen - 1) * frame.nearness
    coded = _sensor(light, rng, track)
    coded = _sharpen(coded, track.sharpen * factor, track.halo_px * track.native, luma=bool(track.luma_sharpen))
    if native != window:
        method = cv2.INTER_NEAREST if track.nearest else cv2.INTER_CUBIC
        coded = np.asarray(cv2.resize(coded, window, interpolation=method), np.float32)
    toe = np.asarray(track.toe, np.float32)
    return np.clip((toe + coded * (1 - toe)) * 255 + 0.5, 0, 255).astype(np.uint8)


def _project(plate_mm: tuple[int, int], track: TrackDraws, frame: FrameDraws) -> Points:
    """The plate's four corners in the crop, px (4, 2): rotated in space, projected, scaled and placed."""
    w, h = plate_mm
    box = np.array([[-w, -h, 0], [w, -h, 0], [w, h, 0], [-w, h, 0]], float) / 2 / w
    # The nearer the car, the steeper the camera above it looks down.
    pitch = math.radians(track.pitch_deg * (1 + 0.5 * frame.nearness))
    yaw, roll = math.radians(track.yaw_deg), math.radians(track.roll_deg + frame.tilt_deg)
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn_yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned = box @ (turn_roll @ turn_pitch @ turn_yaw).T
    flat = turned[:, :2] / (1 + turned[:, 2:] / _DISTANCE)
    low, high = flat.min(0), flat.max(0)
    scale = min(frame.plate_px / (high[0] - low[0]), 0.94 * frame.height_px / (high[1] - low[1]))
    centre = np.array([frame.width_px, frame.height_px]) / 2
    slack = np.maximum(centre - (high - low) * scale / 2 - 0.5, 0)
    return np.asarray((flat - (low + high) / 2) * scale + centre + np.clip(frame.shift_px, -slack, slack))


def _look(scene: Scene, corners: Points, size: tuple[int, int], zoom: float) -> Linear:
    """Warp the scene into a fine window; linear light float32 (H, W, 3) in [0, 1]."""
    w, h = scene.plate_mm
    target = corners * zoom
    # The smallest level that is still at least as fine as the window: warping must not skip scene pixels.
    per_mm = np.hypot(*(target[1] - target[0])) / w
    index = int(np.clip(math.floor(-math.log2(max(per_mm, 1e-6))), 0, len(scene.levels) - 1))
    mx, my = MARGIN_MM
    source = np.array([[mx, my], [mx + w, my], [mx + w, my + h], [mx, my + h]], float) / 2**index
    # Pixel centres lie at whole numbers, pixel edges (which the corners are) at halves.
    matrix = cv2.getPerspectiveTransform((source - 0.5).astype(np.float32), (target - 0.5).astype(np.float32))
    picture = scene.levels[index]
    seen = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.LUT(seen, _TO_LINEAR), np.float32)


def _lens(light: Linear, track: TrackDraws, frame: FrameDraws, fine: float) -> Linear:
    """Defocus, smear of the moving car and a displaced second exposure (double edges), all at `fine` px a pixel."""
    near = 1 + (track.near_blur - 1) * frame.nearness
    light = cv2.GaussianBlur(light, (0, 0), max(track.blur_px * near * fine, 0.3))
    length = frame.motion_px * near * fine
    if length >= 1:
        light = cv2.filter2D(light, -1, _line_kernel(length, frame.motion_deg))
    weight, dx, dy = frame.ghost
    if weight > 0.02:
        shift = np.array([[1, 0, dx * fine], [0, 1, dy * fine]], np.float32)
        moved = cv2.warpAffine(light, shift, light.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        light = cv2.addWeighted(light, 1 - weight, moved, weight, 0)
    return np.asarray(light, np.float32)


def _line_kernel(length: float, angle_deg: float) -> NDArray[np.float32]:
    size = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((size, size), np.float32)
    dx, dy = (f(math.radians(angle_deg)) * length / 2 for f in (math.cos, math.sin))
    middle = size // 2
    ends = [(round((middle + s * dx) * 16), round((middle + s * dy) * 16)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / kernel.sum())


def _rain(light: Linear, rng: np.random.Generator, fine: float) -> None:
    """Bright slanted streaks in front of the scene, in place."""
    h, w = light.shape[:2]
    streaks = np.zeros((h, w), np.float32)
    slant = rng.normal(0, 0.2)
    for _ in range(int(rng.integers(3, 14))):
        x, y, length = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(2, 8) * fine
        start, end = (round(x), round(y)), (round(x + slant * length), round(y + length))
        cv2.line(streaks, start, end, float(rng.uniform(0.05, 0.25)), max(1, round(0.4 * fine)))
    light += cv2.GaussianBlur(streaks, (0, 0), 0.4 * fine)[:, :, None]


def _scan(light: Linear, native: tuple[int, int], track: TrackDraws) -> Linear:
    """The light on each pixel of the sensor; analogue cameras see odd lines later than even ones, and blur them."""
    scanned = np.asarray(cv2.resize(light, native, interpolation=cv2.INTER_AREA), np.float32)
    if track.analogue:
        band_px, comb_px = track.analogue
        shift = np.array([[1, 0, comb_px * light.shape[1] / native[0]], [0, 1, 0]], np.float32)
        later = cv2.warpAffine(light, shift, light.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        scanned[1::2] = cv2.resize(later, native, interpolation=cv2.INTER_AREA)[1::2]
        scanned = np.asarray(cv2.GaussianBlur(scanned, (0, 0), sigmaX=band_px, sigmaY=0.01), np.float32)
    return scanned


def _sensor(light: Linear, rng: np.random.Generator, track: TrackDraws) -> Linear:
    """Noise of photons and electronics, clipping, gamma and the camera's weak colours; gamma-coded [0, 1]."""
    if track.mono:
        grey = light @ _LUMINANCE
        light = light + (grey[:, :, None] * np.asarray(track.light, np.float32) - light) * np.float32(track.mono)
    deviation = track.noise * np.sqrt(np.maximum(light, 0) + 0.001)
    # Cameras smooth colour far more than brightness: most of the noise is common to the three channels.
    h, w = light.shape[:2]
    noise = rng.standard_normal((h, w, 1), np.float32) + 0.35 * rng.standard_normal((h, w, 3), np.float32)
    light = light + noise * deviation.astype(np.float32)
    light = np.clip(light, 0, 1)
    if track.mosaic:
        light = _mosaic(light)
    coded = light ** np.float32(track.gamma / 2.2)
    return (coded - np.float32(track.black)) * np.float32(1 / (1 - track.black))


def _mosaic(light: Linear) -> Linear:
    """Each pixel sees one colour (rows of red and green, rows of green and blue); the other two are its neighbours'."""
    seen = light[:, :, 1].copy()
    seen[::2, ::2], seen[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    # OpenCV calls a pattern by the second row's second and third pixel.
    full = cv2.cvtColor((seen * 65535 + 0.5).astype(np.uint16), cv2.COLOR_BayerBG2RGB)
    return np.asarray(full / np.float32(65535), np.float32)


def _sharpen(picture: Linear, amount: float, sigma: float, *, luma: bool) -> Linear:
    """The unsharp mask of brightness alone or of each colour: overshoot at edges that later shows as halos."""
    if luma:
        grey = picture @ _LUMINANCE
        detail = (grey - cv2.GaussianBlur(grey, (0, 0), sigma)) * np.float32(amount)
        return np.asarray(np.clip(picture + detail[:, :, None], 0, 1), np.float32)
    soft = cv2.GaussianBlur(picture, (0, 0), sigma)
    return np.asarray(np.clip(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), 0, 1), np.float32)
