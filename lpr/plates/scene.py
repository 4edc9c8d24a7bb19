"""The plate on its car: a flat picture of bumper, recess and plate that the camera then looks at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .body import draw_body
from .draw import Image

#: Car body drawn around the plate, in mm on each side: enough for the tallest crop with its codec margin.
MARGIN_MM = (150, 130)


@dataclass(frozen=True, slots=True)
class Scene:
    """`levels`: the picture at 1, 1/2, 1/4, 1/8 px/mm, uint8 (H, W, 3) RGB. `plate_mm`: size (width, height).

    The plate's upper left corner lies at MARGIN_MM.
    """

    levels: tuple[Image, ...]
    plate_mm: tuple[int, int]


def build_scene(
    plate: Image,
    outline: Image,
    *,
    body: tuple[int, int, int],
    night: bool,
    shade: float,
    frame: bool,
    texture: int,
    worn: bool = False,
    details: bool = False,
) -> Scene:
    """Put a plate (H, W, 3) with its outline (H, W) on a car of colour `body` (RGB).

    `shade` is the share of light that a shadow's edge across the scene takes away. `texture` seeds the shapes.
    `worn` draws the car in detail (body.py) instead of a few bands, `details` also what is close to the plate.
    """
    rng = np.random.default_rng(texture)
    mx, my = MARGIN_MM
    h, w = plate.shape[:2]
    height, width = h + 2 * my, w + 2 * mx
    if worn:
        close = np.random.default_rng([texture, 2]) if details else None
        scene = draw_body((width, height), (mx, my, w, h), body, rng, close)
        if night:
            scene *= np.float32(rng.uniform(0.35, 0.9))
    else:
        light = np.linspace(rng.uniform(0.8, 1.25), rng.uniform(0.55, 1.0), height, dtype=np.float32)[:, None, None]
        colour = np.asarray(body, np.float32) * np.float32(rng.uniform(0.35, 1.0) * (0.3 if night else 1.0))
        scene = np.broadcast_to(colour * light, (height, width, 3)).copy()
        _car_lines(scene, rng, my, h)
        if rng.random() < 0.75:
            _recess(scene, rng, mx, my, w, h)
    if frame:
        rim = int(rng.integers(5, 12))
        cv2.rectangle(scene, (mx - rim, my - rim), (mx + w + rim, my + h + rim), (24, 24, 26), -1)
    inside = outline[:, :, None] / np.float32(255)
    part = scene[my : my + h, mx : mx + w]
    part += (plate - part) * inside
    if worn and night and rng.random() < 0.6:
        _plate_lamp(part, rng)
    if shade > 0:
        _shadow(scene, rng, shade)
    return scene_of(np.clip(scene, 0, 255).astype(np.uint8), (w, h))


def scene_of(picture: Image, plate_mm: tuple[int, int]) -> Scene:
    """The scene that `picture`, 1 px/mm with MARGIN_MM around the plate, shows: with its coarser levels."""
    levels = [picture]
    for _ in range(3):
        levels.append(np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8))
    return Scene(tuple(levels), plate_mm)


def _plate_lamp(part: NDArray[np.float32], rng: np.random.Generator) -> None:
    """The lamp above a plate at night: bright under it, fading downwards and to the sides, in place."""
    h, w = part.shape[:2]
    y, x = np.ogrid[:h, :w]
    centre = w * rng.choice([0.5, 0.3, 0.7], p=[0.6, 0.2, 0.2])
    glow = np.exp(-(((x - centre) / (w * rng.uniform(0.35, 0.9))) ** 2)) * np.exp(-y / (h * rng.uniform(0.6, 2.0)))
    part *= (rng.uniform(0.45, 0.75) + rng.uniform(0.2, 0.6) * glow).astype(np.float32)[:, :, None]


def _car_lines(scene: NDArray[np.float32], rng: np.random.Generator, my: int, h: int) -> None:
    """Edges of bumper and boot lid: a few horizontal bands, brighter or darker, above and below the plate."""
    width = scene.shape[1]
    for _ in range(int(rng.integers(3, 9))):
        above = rng.random() < 0.5
        y = int(rng.uniform(0, my - 12) if above else rng.uniform(my + h + 12, 2 * my + h))
        thick = int(rng.integers(3, 40))
        tone = rng.choice([0.15, 0.4, 0.7, 1.35, 1.8], p=[0.3, 0.25, 0.2, 0.15, 0.1])
        tilt = int(rng.normal(0, 4))
        colour = (scene[min(y, scene.shape[0] - 1), 0] * tone).tolist()
        corners = np.array([[0, y], [width, y + tilt], [width, y + tilt + thick], [0, y + thick]], np.int32)
        # Bands must not run over the plate's own rows, where the recess belongs.
        if above:
            corners[:, 1] = np.minimum(corners[:, 1], my - 8)
        cv2.fillConvexPoly(scene, corners, colour, cv2.LINE_AA)


def _recess(scene: NDArray[np.float32], rng: np.random.Generator, mx: int, my: int, w: int, h: int) -> None:
    """The hollow that holds the plate, darker than the body, with a lit lower lip."""
    left, right = mx - rng.integers(8, 70), mx + w + rng.integers(8, 70)
    top, bottom = my - rng.integers(6, 45), my + h + rng.integers(4, 30)
    part = scene[top:bottom, left:right]
    part *= rng.uniform(0.12, 0.7)
    cv2.rectangle(scene, (int(left), int(bottom)), (int(right), int(bottom + 3)), (scene[-1, 0] * 1.5).tolist(), -1)


def _shadow(scene: NDArray[np.float32], rng: np.random.Generator, shade: float) -> None:
    """A soft-edged shadow, from above or at a slant."""
    h, w = scene.shape[:2]
    y, x = np.ogrid[:h, :w]
    slope = rng.normal(0, 0.5)
    edge = h * rng.uniform(0.35, 0.65)
    softness = rng.uniform(3, 25)
    lit = 1 / (1 + np.exp(np.clip(-(y - edge + slope * (x - w / 2)) / softness, -30, 30)))
    scene *= (1 - shade * (1 - lit)).astype(np.float32)[:, :, None]
