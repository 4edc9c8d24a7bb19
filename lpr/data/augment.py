"""Augmentation of plate crops and making LR from HR, in plain OpenCV: albumentations costs 0.2 to 0.3 ms an operation.

One geometry a track (its frames show one plate from one place), photometry frame by frame. No flips and no channel
shuffle: both make characters that do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import StrengthName
from .effects import Effects, before_camera, drop_pixels
from .images import Image, as_image


@dataclass(frozen=True, slots=True)
class Strength:
    """One row of the augmentation table; ranges are symmetric about no change unless a unit says otherwise.

    `perspective`: how far each corner may move, as a share of the side. `brightness`: added, as a share of 255.
    `contrast`, `gamma`, `colour`: factors up to 1 + value and down to its inverse (colour: each channel its own).
    `noise`: largest standard deviation in grey levels. `blur`: longest motion as a share of the width.
    `*_prob`: how often the operation is applied at all. `effects`: weather, dirt and colour, where there are any.
    """

    rotation_deg: float
    perspective: float
    brightness: float
    contrast: float
    gamma: float
    colour: float
    noise: float
    noise_prob: float
    blur: float
    blur_prob: float
    jpeg_prob: float
    effects: Effects | None = None


#: Tracks of LR frames are trained with "aggressive" (phase 1) and "light" (phase 2); validation sees "none".
#: Perspective and blur are bounded by 6 px a character: at 48 px width, 0.05 moves a corner by 2.4 px and smears by
#: half a character at most. "medium" and "heavy" are for photographs, which are larger, cleaner and fewer.
STRENGTHS: dict[StrengthName, Strength] = {
    "none": Strength(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "light": Strength(2, 0.03, 0.08, 0.15, 0.15, 0.05, 6, 0.3, 0.03, 0.15, 0.15),
    "medium": Strength(
        7, 0.04, 0.15, 0.2, 0.25, 0.05, 10, 0.3, 0.03, 0.2, 0.25,
        Effects(shadow_prob=0.15, highlight_prob=0.1, dirt_prob=0.1, rain_prob=0.08, soft_blur=0.04, soft_blur_prob=0.2,
                dropout_prob=0.1, hue_deg=5, saturation=0.1, grey_prob=0.1),
    ),
    "heavy": Strength(
        15, 0.05, 0.3, 0.3, 0.4, 0.08, 12, 0.4, 0.03, 0.3, 0.4,
        Effects(shadow_prob=0.3, highlight_prob=0.2, dirt_prob=0.2, rain_prob=0.15, soft_blur=0.05, soft_blur_prob=0.3,
                dropout_prob=0.2, hue_deg=10, saturation=0.2, grey_prob=0.2),
    ),
    "aggressive": Strength(5, 0.05, 0.2, 0.4, 0.4, 0.12, 14, 0.5, 0.06, 0.3, 0.4),
}  # fmt: skip
#: Up to this angle a turned plate stays within its crop, whose margin is a tenth of its width.
LEVEL_DEG = 5
JPEG_QUALITY = (30, 70)
#: Width of LR crops of Scenario B and the test set, px.
LR_WIDTH_PX = (35, 60)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the plate of one track is turned: applied alike to crops of any size.

    `rotation_deg`: about the middle, positive is counter-clockwise. `corners`: shift of the top-left, top-right,
    bottom-right and bottom-left corner as (x, y) shares of width and height. `grows`: the crop becomes as large as the
    box around the turned plate, as a detector would cut it; else it keeps its size.
    """

    rotation_deg: float = 0.0
    corners: tuple[tuple[float, float], ...] = ((0.0, 0.0),) * 4
    grows: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether it leaves a crop as it is."""
        return self == Geometry()


def draw_geometry(rng: np.random.Generator, strength: StrengthName) -> Geometry:
    """Draw the geometry of one track."""
    row = STRENGTHS[strength]
    angle, *shifts = rng.uniform(-1, 1, 9).tolist()
    corners = tuple((row.perspective * shifts[i], row.perspective * shifts[i + 4]) for i in range(4))
    return Geometry(row.rotation_deg * angle, corners, grows=row.rotation_deg > LEVEL_DEG)


def augment(image: Image, geometry: Geometry, rng: np.random.Generator, strength: StrengthName) -> Image:
    """Turn a crop by `geometry`, then change its light, noise, sharpness and compression at random.

    uint8 (H, W, 3) RGB of any size -> the same shape, or a larger one where the geometry grows. With strength "none"
    and no geometry, the image itself.
    """
    row = STRENGTHS[strength]
    if not geometry.is_identity:
        image = _warp(image, geometry)
    if strength == "none":
        return image
    if row.effects:
        image = before_camera(image, row.effects, rng)
    u = rng.random(12)
    if u[0] < row.blur_prob:
        image = _motion_blur(image, length_px=u[1] * row.blur * image.shape[1], angle_deg=180 * u[2])
    image = _change_light(image, row, 2 * u[3:9] - 1)
    if u[9] < row.noise_prob:
        image = _add_noise(image, rng, sigma=u[10] * row.noise)
    if row.effects:
        image = drop_pixels(image, row.effects, rng)
    if u[11] < row.jpeg_prob:
        image = _jpeg(image, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
    return image


def degrade_hr(image: Image, rng: np.random.Generator) -> Image:
    """Make an LR-like crop of an HR crop: uint8 (H, W, 3) RGB -> uint8 (h, w, 3), w about 35 to 60 px, same aspect.

    Blur, noise, JPEG and shrinking alone leave edges that are sharper and cleaner than those of real LR frames.
    Those come from a video codec and a sharpening camera: hence a ghost edge, sharpening after the shrinking (halos)
    and a second JPEG pass over a resampled picture (ringing that does not sit on the 8-px grid).
    """
    height, width = image.shape[:2]
    u = rng.random(10)
    target_px = min(LR_WIDTH_PX[0] + u[0] * (LR_WIDTH_PX[1] - LR_WIDTH_PX[0]), 0.8 * width)
    scale = target_px / width
    # Half a target pixel of blur is what the shrinking needs; up to 1.1 px loses strokes as real LR frames do.
    picture = _gaussian_blur(image, (0.4 + 0.7 * u[1]) / scale)
    if u[2] < 0.5:
        picture = _ghost(picture, shift_px=(0.5 + u[3]) / scale, weight=0.15 + 0.25 * u[4])
    # The codec worked at some size between the sensor's and the crop's.
    middle = (max(8, round(width * scale * (1 + 0.5 * u[5]))), max(8, round(height * scale * (1 + 0.5 * u[5]))))
    picture = _jpeg(_resize(picture, middle), int(rng.integers(25, 61)))
    small = (max(8, round(width * scale)), max(6, round(height * scale)))
    picture = _resize(picture, small)
    picture = _add_noise(picture, rng, sigma=1 + 5 * u[6])
    picture = _sharpen(picture, amount=1.6 * u[7], sigma_px=0.7 + 0.6 * u[8])
    return _jpeg(picture, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 16)))


def _warp(image: Image, geometry: Geometry) -> Image:
    height, width = image.shape[:2]
    size = np.array([width, height], dtype=np.float32)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    source = corners * size
    # Rotation in pixels, not in shares of the sides: the crop is three times as wide as high.
    angle = np.deg2rad(-geometry.rotation_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=np.float32)
    moved = (corners + np.array(geometry.corners, dtype=np.float32)) * size
    target = (moved - size / 2) @ turn + size / 2
    if geometry.grows:
        # The plate's own corners, a twentieth inside the crop's, shall stay in the picture.
        plate = target + 0.05 * (target[[2, 3, 0, 1]] - target)
        low, high = np.minimum(plate.min(axis=0), 0), np.maximum(plate.max(axis=0), size)
        target = target - low
        width, height = np.ceil(high - low).astype(int).tolist()
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    # The border repeats the car body around the plate; black corners would be a mark of augmented samples.
    return as_image(cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))


def _change_light(image: Image, row: Strength, v: NDArray[np.float64]) -> Image:
    """Gamma, contrast about the crop's mean, brightness and a gain a channel, in one look-up table. `v`: 6 in [-1, 1].

    A shift is scaled down where the mean leaves little room for it: dark tracks are common, black ones teach nothing.
    """
    levels = np.arange(256, dtype=np.float32) / 255
    mean = float(np.mean(cv2.mean(image)[:3])) / 255
    shift = row.brightness * v[2] * min(1.0, 2 * (mean if v[2] < 0 else 1 - mean))
    power = (1 + row.gamma) ** v[0]
    curve = (levels**power - mean**power) * (1 + row.contrast) ** v[1] + mean**power + shift
    table = curve[:, None] * (1 + row.colour) ** v[3:6]  # (256, 3)
    return as_image(cv2.LUT(image, np.clip(255 * table + 0.5, 0, 255).astype(np.uint8)[None]))


def _motion_blur(image: Image, length_px: float, angle_deg: float) -> Image:
    half = int(np.ceil(length_px / 2))
    if half < 1:
        return image
    side = 2 * half + 1
    kernel = np.zeros((side, side), dtype=np.uint8)
    reach = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))]) * length_px / 2
    # cv2 takes points in 1/16 px with shift=4; the antialiased line gives fractions of a pixel their weight.
    start, end = (np.round(16 * (half + sign * reach)).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return as_image(cv2.filter2D(image, -1, weights / weights.sum(), borderType=cv2.BORDER_REPLICATE))


def _add_noise(image: Image, rng: np.random.Generator, sigma: float) -> Image:
    """Grey noise, one value a pixel: codecs keep little colour noise."""
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(sigma)
    return as_image(np.clip(image + noise[..., None] + 0.5, 0, 255).astype(np.uint8))


def _jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return as_image(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def _gaussian_blur(image: Image, sigma_px: float) -> Image:
    return as_image(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))


def _ghost(image: Image, shift_px: float, weight: float) -> Image:
    """Lay a sideways shifted copy over the image: the double edge of a moving plate between two fields."""
    matrix = np.array([[1, 0, shift_px], [0, 1, 0]], dtype=np.float32)
    moved = cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return as_image(cv2.addWeighted(image, 1 - weight, moved, weight, 0))


def _resize(image: Image, size_px: tuple[int, int]) -> Image:
    return as_image(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA))


def _sharpen(image: Image, amount: float, sigma_px: float) -> Image:
    return as_image(cv2.addWeighted(image, 1 + amount, _gaussian_blur(image, sigma_px), -amount, 0))
