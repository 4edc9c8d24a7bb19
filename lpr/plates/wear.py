"""What years on the road do to a plate: pressed edges, worn paint, bolts, stickers, frames, bends, reflections.

All of it works on the flat picture at 1 px a mm, after the plate itself was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .draw import Image

#: Wider than a stroke of any typeface here (mm), so that morphology removes the characters and leaves the ground.
_STROKE_MM = 21


@dataclass(frozen=True, slots=True)
class WearDraws:
    """What one plate went through.

    `relief`: grey levels of light and shade along pressed edges. `paint`: share of ink lost where most was lost.
    `stroke`: factor of the stroke's width. `bolts`: grey levels of the bolts, none if empty. `sticker`: x, y, width,
    height in mm and grey level, or empty. `bend_mm`: height of the bend and of the dent. `streak`: light added by
    the reflection of sky or lamp, `streak_at` its place along the width (0 to 1) and its width in mm.
    `cover`: x, y, width, height in mm of what hangs before the plate, or empty. `strip_mm`: height of a dealer's
    frame along the lower edge. `texture` seeds the places.
    """

    relief: float
    paint: float
    stroke: float
    bolts: tuple[int, ...]
    sticker: tuple[int, ...]
    bend_mm: tuple[float, float]
    streak: float
    streak_at: tuple[float, float]
    cover: tuple[int, ...]
    strip_mm: int
    texture: int


def draw_wear(rng: np.random.Generator, size_mm: tuple[int, int], age: float = 1.0) -> WearDraws:
    """Draw the wear of a plate of `size_mm` (width, height). Shares are those of the photographs, judged by eye.

    `age` multiplies what years add: lost paint and bends.
    """
    w, h = size_mm
    kind = rng.random(6)
    cover: tuple[int, ...] = ()
    if kind[2] < 0.05:
        # A tow ball from below, or a branch or cable across: never more than a character or so.
        wide = int(rng.integers(14, 34))
        cover = (int(rng.uniform(0.1, 0.9) * w), int(h * rng.uniform(0.62, 0.8)), wide, h)
    elif kind[2] < 0.08:
        cover = (0, int(h * rng.uniform(0.3, 0.9)), w, int(rng.integers(4, 9)))
    sticker: tuple[int, ...] = ()
    if kind[1] < 0.12:
        sticker = (
            int(rng.uniform(0.02, 0.9) * w),
            int(rng.choice([0.03, 0.72]) * h),
            int(rng.integers(18, 42)),
            int(rng.integers(12, 26)),
            int(rng.integers(40, 250)),
        )
    return WearDraws(
        relief=round(float(rng.uniform(4, 26)), 1),
        paint=round(min(float(rng.beta(1, 5)) * age, 0.95), 3),
        stroke=round(float(rng.uniform(0.9, 1.06)), 3),
        bolts=tuple(int(c) for c in rng.integers(20, 215, 2 if kind[0] < 0.5 else 4)) if kind[0] < 0.7 else (),
        sticker=sticker,
        bend_mm=(
            round(float(rng.normal(0, 2.5 * age)), 1),
            round(float(rng.normal(0, 4.0)) if kind[3] < 0.25 else 0.0, 1),
        ),
        streak=round(float(rng.uniform(15, 80)) if kind[4] < 0.25 else 0.0, 1),
        streak_at=(round(float(rng.uniform(0, 1)), 3), round(float(rng.uniform(15, 110)), 1)),
        cover=cover,
        strip_mm=int(rng.integers(8, 18)) if kind[5] < 0.12 else 0,
        texture=int(rng.integers(2**31)),
    )


def apply_wear(plate: Image, outline: Image, wear: WearDraws) -> tuple[Image, Image]:
    """The worn plate, uint8 (H, W, 3), and its outline, uint8 (H, W)."""
    rng = np.random.default_rng(wear.texture)
    light = plate.astype(np.float32)
    _lose_paint(light, plate, rng, wear.paint)
    _press(light, plate, wear.relief)
    _mottle(light, rng)
    _fix(light, rng, wear)
    _reflect(light, rng, wear)
    if wear.cover:
        _cover(light, wear.cover)
    return _bend(np.clip(light, 0, 255).astype(np.uint8), outline, wear.bend_mm)


def _cloud(rng: np.random.Generator, shape: tuple[int, ...], cells: tuple[int, int]) -> NDArray[np.float32]:
    """Soft random values in about [0, 1], float32 (H, W, 1), with `cells` (rows, columns) of detail."""
    coarse = rng.random(cells, dtype=np.float32)
    fine = cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float32)[:, :, None]


def _lose_paint(light: NDArray[np.float32], plate: Image, rng: np.random.Generator, share: float) -> None:
    """Let the ground show through the ink in patches."""
    kernel = np.ones((_STROKE_MM, _STROKE_MM), np.uint8)
    dark_ink = np.median(plate) > 90
    ground = cv2.morphologyEx(plate, cv2.MORPH_CLOSE if dark_ink else cv2.MORPH_OPEN, kernel)
    patches = np.clip(_cloud(rng, plate.shape, (6, 18)) * 1.6 - 0.5, 0, 1) * np.float32(share)
    light += (ground - light) * patches


def _press(light: NDArray[np.float32], plate: Image, relief: float) -> None:
    """Light from above on the slopes of pressed characters: upper edges lit, lower ones shaded."""
    grey = cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY)
    edges = cv2.GaussianBlur(cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3), (0, 0), 1.5)
    light += np.clip(edges / 200, -1, 1)[:, :, None] * np.float32(-relief)


def _mottle(light: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Uneven reflective film, coarse and fine."""
    coarse = _cloud(rng, light.shape, (3, 8)) - 0.5
    fine = _cloud(rng, light.shape, (12, 36)) - 0.5
    light *= 1 + coarse * np.float32(rng.uniform(0.0, 0.3)) + fine * np.float32(rng.uniform(0.0, 0.2))


def _fix(light: NDArray[np.float32], rng: np.random.Generator, wear: WearDraws) -> None:
    """Bolts with their shadow, a sticker, a dealer's frame."""
    h, w = light.shape[:2]
    spread = float(rng.uniform(0.27, 0.36))
    for i, grey in enumerate(wear.bolts):
        x = round(w * (0.5 + spread * (1 if i % 2 else -1)))
        y = 11 if i < 2 else h - 11
        cv2.circle(light, (x, y + 2), 8, (30.0, 29.0, 28.0), -1, cv2.LINE_AA)
        cv2.circle(light, (x, y), 6, (float(grey),) * 3, -1, cv2.LINE_AA)
    if wear.sticker:
        x, y, width, height, grey = wear.sticker
        cv2.rectangle(light, (x, y), (x + width, y + height), (grey * 0.9, float(grey), grey * 0.8), -1)
    if wear.strip_mm:
        tone = float(rng.choice([18, 24, 40, 200]))
        cv2.rectangle(light, (0, h - wear.strip_mm), (w, h), (tone, tone, tone * 1.05), -1)
        for x in range(round(w * 0.3), round(w * 0.7), 9):
            if rng.random() < 0.8:
                cv2.rectangle(light, (x, h - wear.strip_mm + 4), (x + 5, h - 4), (255 - tone,) * 3, -1)


def _reflect(light: NDArray[np.float32], rng: np.random.Generator, wear: WearDraws) -> None:
    """A band of sky or lamp light across the plate, which washes the ink out."""
    if wear.streak <= 0:
        return
    h, w = light.shape[:2]
    y, x = np.ogrid[:h, :w]
    place, width = wear.streak_at
    along = (x - place * w + (y - h / 2) * rng.normal(0, 0.8)) / width
    light += (wear.streak * np.exp(-np.minimum(along**2, 30))).astype(np.float32)[:, :, None]


def _cover(light: NDArray[np.float32], cover: tuple[int, ...]) -> None:
    x, y, width, height = cover
    h, w = light.shape[:2]
    if width < w:
        cv2.ellipse(light, (x, y + width // 2), (width // 2, width // 2), 0, 0, 360, (34.0, 33, 32), -1, cv2.LINE_AA)
        cv2.rectangle(light, (x - width // 4, y + width // 2), (x + width // 4, h), (30.0, 29, 28), -1)
    else:
        cv2.line(light, (0, y), (w, y - 6), (36.0, 34, 32), height, cv2.LINE_AA)


def _bend(plate: Image, outline: Image, bend_mm: tuple[float, float]) -> tuple[Image, Image]:
    """A plate bent along its width (whole arc, mm) with a dented end."""
    arc, dent = bend_mm
    if abs(arc) < 0.5 and abs(dent) < 0.5:
        return plate, outline
    h, w = plate.shape[:2]
    x = np.linspace(-1, 1, w, dtype=np.float32)
    lift = arc * (x**2 - 0.5) + dent * np.clip((x - 0.55) / 0.45, 0, 1) ** 2
    columns, rows = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    rows += lift[None, :].astype(np.float32)
    bent = cv2.remap(plate, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    edge = cv2.remap(outline, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(bent, np.uint8), np.asarray(edge, np.uint8)
