"""Pictures without a whole plate, made of those with one: what a network shall spell nothing in.

A network that saw plates alone spells one in every picture. Shown a few of these with an empty label it gives all its
mass to the blank there, which no plate of a format is, and the confidence falls by itself (decode/confidence.py).
"""

from __future__ import annotations

import cv2
import numpy as np

from .images import Image

#: Kinds and how often each is drawn.
KINDS = {"cut": 0.35, "covered": 0.25, "rows": 0.15, "halved": 0.1, "twice": 0.05, "blank": 0.1}

#: Shares of the width that are left, and of the height. Nobody reads the plate there, and it stays one of a car.
KEPT_WIDTH, KEPT_HEIGHT = (0.3, 0.6), (0.35, 0.5)


def spoil(image: Image, rng: np.random.Generator, frame: np.random.Generator, *, rows: bool = True) -> Image:
    """What is left of a plate's crop; uint8 (H, W, 3) to uint8 (h, w, 3), at least 1x1.

    `rng` draws what happens to all frames of a track, `frame` the noise of one. Cut: a part of the width. Covered: the
    rest of the width in one colour. Rows: its halves one above the other. Halved: the upper or lower part. Twice: side
    by side. Blank: nothing but light and noise. Without `rows`, it is cut where it would have been laid in two.
    """
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    height, width = image.shape[:2]
    kept = max(1, round(rng.uniform(*KEPT_WIDTH) * width))
    start = int(rng.integers(width - kept + 1))
    if kind == "cut" or (kind == "rows" and not rows):
        return image[:, start : start + kept]
    if kind == "covered":
        covered = image.copy()
        # Something strange, or what is seen in the picture elsewhere.
        pixel = image[int(rng.integers(height)), int(rng.integers(width))]
        covered[:, kept:] = pixel if rng.random() < 0.5 else rng.integers(0, 256, 3)
        if rng.random() < 0.5:
            covered[:, : width - kept], covered[:, width - kept :] = covered[:1, -1:], image[:, width - kept :]
        return covered
    if kind == "rows" and width > 1:
        half = width // 2
        return np.vstack([image[:, :half], image[:, width - half :]])
    if kind == "halved":
        left = max(1, round(rng.uniform(*KEPT_HEIGHT) * height))
        return image[:left] if rng.random() < 0.5 else image[height - left :]
    if kind == "twice":
        return np.hstack([image, image])
    return _blank(height, width, rng, frame)


def _blank(height: int, width: int, rng: np.random.Generator, frame: np.random.Generator) -> Image:
    """Light that changes from corner to corner, with noise."""
    corners = np.clip(rng.integers(0, 256, 3) + rng.normal(0, rng.choice((2.0, 60.0)), (2, 2, 3)), 0, 255)
    light = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR))
    noise = frame.normal(0, rng.uniform(0, 30), (height, width, 3))
    return np.clip(light + noise, 0, 255).astype(np.uint8)
