"""The car around a plate: panels, gaps, bumper, lamps, the hollow that holds the plate, its own shadow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]
#: x, y, width, height of the plate in the scene, mm.
Box = tuple[int, int, int, int]

_LAMPS = ((150.0, 18, 20), (205.0, 40, 30), (215.0, 205, 195), (190.0, 110, 40))


def draw_body(
    size: tuple[int, int],
    plate: Box,
    body: tuple[int, int, int],
    rng: np.random.Generator,
    details: np.random.Generator | None = None,
) -> Light:
    """The car without its plate, float32 (H, W, 3) RGB in [0, 255], for a scene of `size` (width, height) mm.

    `details` draws what a crop still shows of it close to the plate; without, that is left out.
    """
    width, height = size
    light = _panel(size, body, rng)
    _gaps(light, plate, rng)
    if rng.random() < 0.5:
        _bumper(light, plate, rng)
    if rng.random() < 0.30:
        _lamp(light, plate, rng)
    kind = rng.random()
    if kind < 0.38:
        _hollow(light, plate, rng)
    elif kind < 0.55:
        # A black bumper, grille or backing plate behind the whole plate.
        _, y, _, h = plate
        low, high = y - int(rng.integers(4, 60)), y + h + int(rng.integers(4, 60))
        light[low:high] = rng.uniform(20, 110)
    if details is not None:
        _details(light, plate, details)
    _shade(light, plate, rng)
    texture = cv2.resize(rng.random((height // 14, width // 28), np.float32), size, interpolation=cv2.INTER_CUBIC)
    light *= 1 + (texture - 0.5)[:, :, None] * np.float32(rng.uniform(0.0, 0.12))
    return np.clip(light, 0, 255)


def _panel(size: tuple[int, int], body: tuple[int, int, int], rng: np.random.Generator) -> Light:
    """Painted metal: sky above, street below, a soft highlight somewhere."""
    width, height = size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    fall = rng.uniform(0.75, 1.15) + (rng.uniform(0.5, 0.95) - rng.uniform(0.75, 1.15)) * y + rng.normal(0, 0.08) * x
    colour = np.asarray(body, np.float32) * np.float32(rng.uniform(0.85, 1.25))
    light = fall[:, :, None] * colour
    if rng.random() < 0.5:
        centre, spread = rng.uniform(0.0, 1.0), rng.uniform(0.03, 0.2)
        light += (rng.uniform(10, 80) * np.exp(-(((y - centre) / spread) ** 2)) * np.ones_like(x))[:, :, None]
    return np.asarray(light, np.float32)


def _gaps(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """Panel gaps and moulding edges, above and below the plate: a dark line with a lit lip."""
    _, py, _, ph = plate
    height, width = light.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        above = rng.random() < 0.5
        y = int(rng.uniform(py - 90, py - 10) if above else rng.uniform(py + ph + 10, py + ph + 90))
        y = int(np.clip(y, 2, height - 8))
        tilt, thick = int(rng.normal(0, 5)), int(rng.integers(2, 14))
        tone = light[y, 0]
        cv2.line(light, (0, y), (width, y + tilt), (tone * rng.uniform(0.1, 0.5)).tolist(), thick, cv2.LINE_AA)
        lip = (tone * rng.uniform(1.1, 1.7)).tolist()
        cv2.line(light, (0, y + thick), (width, y + thick + tilt), lip, int(rng.integers(1, 5)), cv2.LINE_AA)


def _bumper(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """The edge of the bumper below (or lid above) the plate, of another tone from there on."""
    _, py, _, ph = plate
    height, width = light.shape[:2]
    factor = np.float32(rng.choice([0.3, 0.55, 0.8, 1.3]))
    tilt = int(rng.normal(0, 5))
    if rng.random() < 0.65:
        y = py + ph + int(rng.integers(3, 50))
        outline = np.array([[0, y], [width, y + tilt], [width, height], [0, height]], np.int32)
    else:
        y = py - int(rng.integers(3, 50))
        outline = np.array([[0, y], [width, y + tilt], [width, 0], [0, 0]], np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, outline, 1)
    light[mask > 0] *= factor


def _lamp(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """The inner part of a rear lamp, or a badge, at the side of the plate."""
    px, py, pw, ph = plate
    colour = np.asarray(_LAMPS[int(rng.integers(len(_LAMPS)))], np.float32) * np.float32(rng.uniform(0.4, 1.1))
    width, tall = int(rng.integers(20, 90)), int(rng.integers(30, 150))
    gap = int(rng.integers(14, 70))
    x = px - gap - width if rng.random() < 0.5 else px + pw + gap
    y = py + int(rng.integers(-60, ph - 20))
    cv2.rectangle(light, (x, y), (x + width, y + tall), colour.tolist(), -1)
    cv2.rectangle(light, (x, y), (x + width, y + tall), (colour * 0.4).tolist(), 4)


def _hollow(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """The recess in lid or bumper: darker than the body, darkest at its top, with a lit lower lip."""
    x, y, w, h = plate
    left, right = max(x - int(rng.integers(6, 70)), 0), x + w + int(rng.integers(6, 70))
    top, bottom = max(y - int(rng.integers(5, 45)), 0), y + h + int(rng.integers(4, 30))
    ramp = np.linspace(rng.uniform(0.25, 0.9), rng.uniform(0.6, 1.0), bottom - top, dtype=np.float32)
    light[top:bottom, left:right] *= ramp[:, None, None]
    lip = (light[min(bottom + 4, light.shape[0] - 1), left] * rng.uniform(1.05, 1.6)).tolist()
    cv2.line(light, (left, bottom), (right, bottom), lip, int(rng.integers(2, 5)), cv2.LINE_AA)


def _details(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """Clips, dents, reflections and the edges of lids and holders, within a finger's breadth of the plate."""
    x, y, w, h = plate
    if rng.random() < 0.5:
        # Another tone from an edge on that runs close above or below.
        rows = (
            np.s_[: y - int(rng.integers(2, 18))] if rng.random() < 0.5 else np.s_[y + h + int(rng.integers(2, 18)) :]
        )
        light[rows] = light[rows] * np.float32(rng.choice([0.25, 0.5, 1.5, 2.2])) + np.float32(rng.uniform(0, 25))
    for _ in range(int(rng.integers(0, 7))):
        long, thick = int(rng.integers(4, 60)), int(rng.integers(4, 14))
        away = int(rng.integers(2, 26))
        if rng.random() < 0.6:
            side = y - away if rng.random() < 0.5 else y + h + away
            at, axes = (int(rng.integers(x - 30, x + w + 30)), side), (long, thick)
        else:
            side = x - away if rng.random() < 0.5 else x + w + away
            at, axes = (side, int(rng.integers(y - 15, y + h + 15))), (thick, min(long, 35))
        tone = light[at[1], at[0]] * rng.choice([0.15, 0.45, 1.7, 2.5]) + rng.choice([0.0, 0.0, 60.0])
        cv2.ellipse(light, at, axes, float(rng.normal(0, 8)), 0, 360, tone.tolist(), -1, cv2.LINE_AA)


def _shade(light: Light, plate: Box, rng: np.random.Generator) -> None:
    """The shadow that the plate throws on what is behind it."""
    x, y, w, h = plate
    mask = np.zeros(light.shape[:2], np.float32)
    dx, dy = int(rng.normal(0, 4)), int(rng.uniform(0, 10))
    cv2.rectangle(mask, (x + dx, y + dy), (x + w + dx, y + h + dy), float(rng.uniform(0.0, 0.5)), -1)
    light *= 1 - cv2.GaussianBlur(mask, (0, 0), rng.uniform(2, 7))[:, :, None]
