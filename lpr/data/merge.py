"""One picture made of several frames of a plate: each registered onto one of them, then their mean.

Noise and a codec's blocks differ from frame to frame and cancel, and the frames sample the plate at different places,
so that the mean can show strokes that no frame does. Multi-frame super-resolution knows this as shift-and-add (Elad and
Hel-Or, 2001), here at the size that the frames are given in, larger than their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import Image

#: Height of the pictures that registration looks at, px: about as fine as LR frames themselves are. Twice as fine, less
#: smoothed or in more rounds, merged pictures were read no better beyond the noise of 400 tracks (docs/training.md).
LOOKED_AT_PX = 16
SMOOTH_PX = 0.5
_ROUNDS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-3)
#: Frames that correlate less with the picture they were registered onto show something else, or were not found, as are
#: those whose plate would have changed its area by more.
LEAST_CORRELATION = 0.5
MOST_GROWTH = 2.0
#: A frame of less deviation, grey levels, is brightened no more than one of this: its noise would be all that is seen.
LEAST_DEVIATION = 8.0
#: Height of a merged picture that is made to look at, px, and its largest aspect.
SHOWN_PX, WIDEST = 32, 8

Floats = NDArray[np.float32]
Motion = NDArray[np.float64]


def merge_frames(frames: Image, onto: Sequence[int]) -> Image:
    """The mean of all frames, registered onto each of the frames `onto` in turn.

    frames: uint8 (F, C, H, W) as `images.preprocess` gives them. Returns uint8 (len(onto), C, H, W). The light of every
    frame is brought to that of the one of most contrast. The motion is affine, found by enhanced correlation
    (Evangelidis and Psarakis, 2008) onto the first of `onto` and from there to the others; a frame for which it is not
    found is left out. Every order of the other frames gives the same picture.
    """
    if not onto:
        return frames[:0]
    size = frames.shape[2:]
    grey = [_small(frame) for frame in frames]
    means, deviations = [float(frame.mean()) for frame in frames], [float(frame.std()) for frame in frames]
    merged: list[Image] = []
    motions: list[Motion | None] = []
    for target in onto:
        own = motions[target] if motions else None
        if own is None:
            own = np.eye(3)
            motions = [own if at == target else _motion(grey[target], other, size) for at, other in enumerate(grey)]
        back = np.linalg.inv(own)
        found = [(at, motion @ back) for at, motion in enumerate(motions) if motion is not None]
        contrast, light = max((max(deviations[at], LEAST_DEVIATION), means[at]) for at, _ in found)
        # In whole numbers, whose sum does not depend on the order.
        total = np.zeros(frames.shape[1:], np.int64)
        for at, motion in found:
            gain = contrast / max(deviations[at], LEAST_DEVIATION)
            layer = (_moved(frames[at], motion) - means[at]) * gain + light
            total += np.rint(layer * 256).astype(np.int64)
        merged.append(np.clip(np.rint(total / (256 * len(found))), 0, 255).astype(np.uint8))
    return np.stack(merged)


def targets(frames: Image, wanted: int) -> tuple[int, ...]:
    """Which of F frames to register the others onto: up to `wanted`, first those most like the others as they lie.

    So no frame that shows something else (black, noise) comes first while two others agree, and the order of the frames
    does not matter. No picture is made of a single frame.
    """
    if len(frames) < 2 or not wanted:
        return ()
    grey = np.stack([_small(frame).ravel() for frame in frames])
    alike = grey @ grey.T / grey.shape[1]  # (F, F) correlations
    likeness = [fsum(row) for row in alike.clip(min=0)]
    return tuple(sorted(range(len(frames)), key=lambda at: (-likeness[at], frames[at].tobytes()))[:wanted])


def _small(frame: Image) -> Floats:
    """(C, H, W) uint8 -> float32 (LOOKED_AT_PX, in proportion): grey, smoothed, with mean 0 and deviation 1."""
    size = (max(1, round(frame.shape[2] * LOOKED_AT_PX / frame.shape[1])), LOOKED_AT_PX)
    grey = cv2.resize(frame.mean(axis=0, dtype=np.float32), size, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), SMOOTH_PX)
    return np.asarray((grey - grey.mean()) / (grey.std() + 1e-3), np.float32)


def _motion(target: Floats, other: Floats, size: Sequence[int]) -> Motion | None:
    """The affine map (3, 3) from px of `target` to those of `other`, both at full `size` (h, w); None if none is found.

    target, other: as `_small` gives them.
    """
    start = np.eye(2, 3, dtype=np.float32)
    try:
        correlation, motion = cv2.findTransformECC(target, other, start, cv2.MOTION_AFFINE, _ROUNDS, None, 1)
    except cv2.error:  # it does not converge, or a picture is all of one grey
        return None
    linear = np.asarray(motion[:, :2], np.float64)
    if not (correlation >= LEAST_CORRELATION and 1 / MOST_GROWTH < np.linalg.det(linear) < MOST_GROWTH):
        return None
    # The middle of pixel x of the small picture lies at scale * (x + 1/2) - 1/2 of the large one.
    scale = np.array([size[1] / target.shape[1], size[0] / target.shape[0]])
    linear = linear * scale[:, None] / scale
    middle = (scale - 1) / 2
    return np.vstack([np.column_stack([linear, scale * motion[:, 2] + middle - linear @ middle]), [0, 0, 1]])


def _moved(frame: Image, motion: Motion) -> Floats:
    """(C, H, W) uint8 -> float32, laid over the frame that `motion` (3, 3) starts from."""
    picture = np.ascontiguousarray(frame.transpose(1, 2, 0), np.float32)
    moved = cv2.warpAffine(
        picture, motion[:2], (frame.shape[2], frame.shape[1]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(moved.reshape(*picture.shape).transpose(2, 0, 1), np.float32)


def merged_picture(pictures: Sequence[Image]) -> Image | None:
    """The same for people: crops uint8 (h, w, 3) RGB of any sizes -> one of SHOWN_PX height; None for fewer than 2."""
    if len(pictures) < 2:
        return None
    aspect = float(np.median([picture.shape[1] / picture.shape[0] for picture in pictures]))
    size = (round(SHOWN_PX * min(max(aspect, 1 / WIDEST), WIDEST)), SHOWN_PX)
    frames = np.stack([_resized(picture, size).transpose(2, 0, 1) for picture in pictures])
    return np.ascontiguousarray(merge_frames(frames, targets(frames, 1))[0].transpose(1, 2, 0))


def _resized(picture: Image, size: tuple[int, int]) -> Image:
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
