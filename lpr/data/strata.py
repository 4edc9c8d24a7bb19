"""Strata for a split that keeps the data's proportions: length, first character and background colour."""

from __future__ import annotations

import cv2
import numpy as np

from ..types import InputError, Track
from .images import Image, read_image

#: Hues of a yellow plate in daylight and under lamps, degrees, and the least saturation (0 to 255) that is no white.
YELLOW_HUE_DEG = (20, 80)
YELLOW_SATURATION = 80


def background(image: Image) -> str:
    """The ground of the plate in uint8 (H, W, 3) RGB, "white" or "yellow".

    Judged by the median hue and saturation of the brighter half of the pixels in the middle of the crop, of which
    characters cover less than half. What is not yellow counts as white: white plates at night are blue.
    """
    height, width = image.shape[:2]
    middle = image[height // 6 : height - height // 6, width // 12 : width - width // 12]
    pixels = cv2.cvtColor(middle, cv2.COLOR_RGB2HSV).reshape(-1, 3)
    ground = pixels[pixels[:, 2] >= np.median(pixels[:, 2])]
    hue, saturation, _ = np.median(ground, axis=0)
    # OpenCV halves hues to fit a byte.
    is_yellow = saturation >= YELLOW_SATURATION and YELLOW_HUE_DEG[0] <= 2 * hue <= YELLOW_HUE_DEG[1]
    return "yellow" if is_yellow else "white"


def stratum(track: Track) -> tuple[int, str, str]:
    """(length, background colour, first character) of a labelled track; the colour is its first LR frame's."""
    text = track.text or ""
    colour = "unreadable"
    for frame in track.lr[:1]:
        try:
            colour = background(read_image(frame.path))
        except InputError:
            # The loader names the file; for a split it is one more colour.
            continue
    return len(text), colour, text[:1]
