"""What weather, dirt, lamps and worn sensors do to a crop, for the strengths "medium" and "heavy".

Plain OpenCV, like the rest of augmentation. CPU microseconds of albumentations 2.0.8 and of this, at 64x200:
RandomShadow 214, here 42; RandomSunFlare 354, 30; RandomRain 95, 31; Spatter 732, dirt 175; Defocus 730, 74;
PixelDropout 185, 11; HueSaturationValue 75 and ToGray 10, together 21. There, seeding each sample costs 25 more an
operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import Image, as_image

# Shares of red, green and blue in the luminance (ITU-R BT.601).
_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Effects:
    """How often each effect is applied (`*_prob`) and how far colours go.

    `hue_deg`: turned by up to so much either way. `saturation`: factors up to 1 + value and down to its inverse.
    `grey_prob`: no colour at all. `soft_blur`: largest radius out of focus, as a share of the height.
    """

    shadow_prob: float
    highlight_prob: float
    dirt_prob: float
    rain_prob: float
    soft_blur: float
    soft_blur_prob: float
    dropout_prob: float
    hue_deg: float
    saturation: float
    grey_prob: float


def before_camera(image: Image, row: Effects, rng: np.random.Generator) -> Image:
    """Colour, dirt, shadow, highlight, rain and focus at random; uint8 (H, W, 3) RGB -> the same shape."""
    u = rng.random(8)
    grey = u[0] < row.grey_prob
    gain = 0.0 if grey else (1 + row.saturation) ** (2 * u[1] - 1)
    image = _recolour(image, row.hue_deg * (2 * u[2] - 1), gain)
    if u[3] < row.dirt_prob:
        image = _dirt(image, rng)
    if u[4] < row.shadow_prob:
        image = _shadow(image, rng)
    if u[5] < row.highlight_prob:
        image = _highlight(image, rng)
    if u[6] < row.rain_prob:
        image = _rain(image, rng)
    if u[7] < row.soft_blur_prob:
        image = _soft_blur(image, row.soft_blur * image.shape[0] * rng.random(), disc=rng.random() < 0.5)
    return image


def drop_pixels(image: Image, row: Effects, rng: np.random.Generator) -> Image:
    """Blacken up to 2 % of the pixels, now and then: uint8 (H, W, 3) -> the same shape."""
    if rng.random() >= row.dropout_prob:
        return image
    height, width = image.shape[:2]
    dead = rng.integers(height * width, size=int(rng.uniform(0.002, 0.02) * height * width))
    image = image.copy()
    image.reshape(-1, 3)[dead] = 0
    return image


def _recolour(image: Image, hue_deg: float, gain: float) -> Image:
    """Turn hues about the grey axis and scale what colour there is; greys stay as they are.

    One matrix on RGB: a way to HSV and back would take four times as long.
    """
    angle = np.deg2rad(hue_deg)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    third = np.full((3, 3), 1 / 3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * third
    fade = gain * np.eye(3) + (1 - gain) * _LUMINANCE
    return as_image(cv2.transform(image, fade @ turn))


def _shadow(image: Image, rng: np.random.Generator) -> Image:
    """Darken one side of a line by 20 to 45 %: the edge of a bumper or of a wall, soft or sharp."""
    height, width = image.shape[:2]
    top, bottom = rng.uniform(0, width, 2)
    side = 0 if rng.random() < 0.5 else width
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.array([[side, 0], [top, 0], [bottom, height], [side, height]], np.int32)], 255)
    mask = cv2.blur(mask, (2 * int(rng.integers(0, max(2, height // 6))) + 1,) * 2)
    return _multiply(image, 255 - rng.uniform(0.2, 0.45) * mask)


def _highlight(image: Image, rng: np.random.Generator) -> Image:
    """Add the reflection of a lamp or the sun, an elliptic spot of up to 110 grey levels that fades out."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    across = np.exp(-0.5 * ((np.arange(width) - x) / (width * rng.uniform(0.04, 0.15))) ** 2)
    down = np.exp(-0.5 * ((np.arange(height) - y) / (height * rng.uniform(0.15, 0.4))) ** 2)
    spot = np.outer(rng.uniform(40, 110) * down, across).astype(np.uint8)
    return as_image(cv2.add(image, cv2.merge([spot, spot, spot])))


def _dirt(image: Image, rng: np.random.Generator) -> Image:
    """Lay a patchy layer of dust or mud over the plate, at most 55 % thick, so that characters show through."""
    height, width = image.shape[:2]
    coarse = rng.random((4, 10), dtype=np.float32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    thickness = np.clip((cloud - rng.uniform(0.4, 0.7)) * 2, 0, rng.uniform(0.25, 0.55)).astype(np.float32)
    colour = rng.uniform(60, 160) * np.array([1, 0.9, 0.75])
    mud = np.empty_like(image)
    mud[:] = colour.astype(np.uint8)
    return as_image(cv2.blendLinear(image, mud, 1 - thickness, thickness))


def _rain(image: Image, rng: np.random.Generator) -> Image:
    """Draw 4 to 14 light streaks of one slant, half transparent."""
    height, width = image.shape[:2]
    count = int(rng.integers(4, 15))
    start = rng.random((count, 2)) * (width, height)
    length = rng.uniform(0.15, 0.4, (count, 1)) * height
    streaks = np.stack([start, start + length * (rng.uniform(-0.4, 0.4), 1.0)], axis=1)
    wet = image.copy()
    # Points in 1/16 px (shift 4), so that streaks on small crops are not all upright.
    cv2.polylines(wet, list((16 * streaks).astype(np.int32)), False, (200, 200, 205), 1, cv2.LINE_AA, 4)
    return as_image(cv2.addWeighted(image, 0.5, wet, 0.5, 0))


def _soft_blur(image: Image, radius_px: float, disc: bool) -> Image:
    """Blur by a disc, as a lens out of focus does, or by a Gaussian of half its radius, the same spread."""
    if not disc:
        sigma = max(0.2, radius_px / 2)
        return as_image(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
    half = int(np.ceil(radius_px))
    distance = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    # The pixels at the rim count by how much of them the disc covers.
    weights: NDArray[Any] = np.clip(radius_px + 0.5 - distance, 0, 1).astype(np.float32)
    return as_image(cv2.filter2D(image, -1, weights / weights.sum(), borderType=cv2.BORDER_REPLICATE))


def _multiply(image: Image, shade: NDArray[np.float64]) -> Image:
    plane = shade.astype(np.uint8)
    return as_image(cv2.multiply(image, cv2.merge([plane, plane, plane]), scale=1 / 255))
