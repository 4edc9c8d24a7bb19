"""Tracks that show no plate of a format: noise, blank and covered pictures, car body, signs, foreign plates.

They say what must get no confidence: `scripts/not_plates.py` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from ..formats import PlateFormat, known_formats, load_format
from .camera import photograph
from .draw import Image, draw_plate, draw_plate_parameters, size_of
from .hardness import Sizes, draw_track, level
from .scene import build_scene
from .texts import sample_text
from .wear import apply_wear, draw_wear

#: Kinds besides plates of other formats, which are called by the name of their format.
KINDS = ("noise", "black", "white", "gradient", "car body", "sign", "half covered", "half cropped")

_WORDS = (
    "TAXI",
    "AMBULANCIA",
    "ESCOLAR",
    "VENDE-SE",
    "SEGURO",
    "DIESEL",
    "TURBO",
    "TRANSPORTES",
    "COMO DIRIJO?",
    "4X4",
)

#: Widths in px of the first and last frame of a near picture, and its aspect: those of single pictures of plates.
_NEAR = Sizes((170, 0.4, 56, 420), (170, 0.4, 56, 420), (2.8, 0.35), (2.8, 0.1), 2.0)


def strange_kinds(formats: Sequence[PlateFormat]) -> tuple[str, ...]:
    """Every kind that shows no plate of `formats`: KINDS, and the known formats that share no template with them."""
    known = {template for one in formats for template in one.templates}
    foreign = (name for name in known_formats() if not known & set(load_format(name).templates))
    return (*KINDS, *foreign)


def strange_track(kind: str, formats: Sequence[PlateFormat], rng: np.random.Generator, frames: int = 5) -> list[Image]:
    """Draw the LR frames of one track of a kind of `strange_kinds`, uint8 (H, W, 3) RGB each.

    `formats`: what is read; half a plate is half of one of theirs. Those without a drawing show no half plates but
    signs in their stead. Half of the tracks look as hard ones do, half as photographs.
    """
    if kind in ("noise", "black", "white", "gradient"):
        return [_plain(kind, rng) for _ in range(frames)]
    if kind in ("sign", "car body"):
        return _photographed(_sign(rng), np.full((130, 400), 255 * (kind == "sign"), np.uint8), rng, frames)
    if not kind.startswith("half"):
        return plate_track(load_format(kind), rng, frames)[1]
    drawn = [one for one in formats if one.drawing]
    if not drawn:
        return strange_track("sign", formats, rng, frames)
    _, picture, outline = _plate(drawn[int(rng.integers(len(drawn)))], rng)
    left, share = rng.random() < 0.5, rng.uniform(0.4, 0.6)
    if kind == "half covered":
        width = round(share * picture.shape[1])
        # By a rag, a tow bar, a branch: one colour, or the car itself where the plate is broken off.
        part = np.s_[:, :width] if left else np.s_[:, -width:]
        picture[part] = rng.integers(0, 256, 3)
        if rng.random() < 0.5:
            outline[part] = 0
        return _photographed(picture, outline, rng, frames)
    shown = _photographed(picture, outline, rng, frames)
    cuts = [round(share * image.shape[1]) for image in shown]
    return [
        image[:, cut:] if left else image[:, : image.shape[1] - cut] for image, cut in zip(shown, cuts, strict=True)
    ]


def plate_track(plate_format: PlateFormat, rng: np.random.Generator, frames: int = 5) -> tuple[str, list[Image]]:
    """A plate of a format that has a drawing, seen like the others: its text and its LR frames."""
    text, picture, outline = _plate(plate_format, rng)
    if plate_format.drawing.get("image", {}).get("flat"):
        return text, [picture] * frames
    return text, _photographed(picture, outline, rng, frames)


def _plate(plate_format: PlateFormat, rng: np.random.Generator) -> tuple[str, Image, Image]:
    """Text, picture (H, W, 3) and outline (H, W) of one plate."""
    text = sample_text(rng, plate_format)
    draws = draw_plate_parameters(rng, plate_format, text, None)
    picture, outline = draw_plate(plate_format, text, draws, None)
    if not plate_format.drawing.get("image", {}).get("flat"):
        picture, outline = apply_wear(picture, outline, draw_wear(rng, size_of(plate_format, draws)))
    return text, picture, outline


def _photographed(picture: Image, outline: Image, rng: np.random.Generator, frames: int) -> list[Image]:
    """What a camera makes of a plate (H, W, 3) with its outline (H, W) on a car."""
    photo = rng.random() < 0.5
    hard = level("photo" if photo else "hard")
    scenario = "A" if rng.random() < 0.3 else "B"
    track, several = draw_track(rng, scenario, hard, hr=False, **({"sizes": _NEAR} if photo else {}))
    scene = build_scene(
        picture,
        outline,
        body=tuple(rng.integers(0, 256, 3).tolist()),
        night=track.night,
        shade=track.shade,
        frame=bool(rng.random() < 0.2) and bool(outline.any()),
        texture=int(rng.integers(2**31)),
        worn=True,
    )
    chosen = [replace(several[k % len(several)], seed=int(rng.integers(2**31))) for k in range(frames)]
    return [image for image, _ in photograph(scene, track, chosen)]


def _plain(kind: str, rng: np.random.Generator) -> Image:
    """A picture in which nothing is to be seen, of the size of a crop."""
    width = int(rng.integers(36, 200))
    height = max(12, round(width / rng.uniform(2.5, 3.5)))
    shape = (height, width, 3)
    if kind == "noise":
        coarse = max(1, int(rng.integers(1, 6)))
        cells = rng.integers(0, 256, (-(-height // coarse), -(-width // coarse), 3)).astype(np.uint8)
        return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if kind == "gradient":
        corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
        light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        light = np.full(shape, rng.uniform(0, 14) if kind == "black" else rng.uniform(238, 255), np.float32)
    return np.asarray(np.clip(light + rng.normal(0, rng.uniform(0, 4), shape), 0, 255), np.uint8)


def _sign(rng: np.random.Generator) -> Image:
    """Lettering on a panel of a plate's size: a word or a telephone number."""
    ground = rng.integers(0, 256, 3)
    panel = np.empty((130, 400, 3), np.uint8)
    panel[:] = ground
    text = str(rng.integers(10**7, 10**9)) if rng.random() < 0.4 else _WORDS[int(rng.integers(len(_WORDS)))]
    ink = (255 - ground if abs(int(ground.mean()) - 128) > 40 else np.array([250, 250, 250])).tolist()
    thick = int(rng.integers(4, 12))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    scale = min(370 / width, 85 / height)
    at = (round((400 - width * scale) / 2), round((130 + height * scale) / 2))
    cv2.putText(panel, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)
    return panel
