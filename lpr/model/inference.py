"""From decoded frames to posteriors: the one pass of the network that reading and validation share."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..types import Posteriors
from .recogniser import Recogniser

#: One track ready for the network: its id, uint8 frames (F, C, H, W), and the name of the image behind each frame.
Stack = tuple[str, NDArray[np.uint8], Sequence[str]]


#: Frames that go through the network at once; a frame takes about half a megabyte.
MOST_FRAMES = 256

#: Looks at a frame: its width and height times so much about the middle, a shift as a share of the width, and a turn in
#: degrees. A character then falls on other pixels and steps; what is mirrored, no plate is. The first is the frame.
VIEWS = (
    (1.0, 0.0, 0.0), (1.06, 0.0, 0.0), (0.94, 0.0, 0.0), (1.0, 0.02, 0.0), (1.0, -0.02, 0.0), (1.0, 0.0, 2.0),
    (1.0, 0.0, -2.0),
)  # fmt: skip


def folded(model: Recogniser) -> Recogniser:
    """A copy in evaluation mode whose BatchNorm layers are folded into the convolutions before them.

    The same function but for rounding, and less work: a network that only reads needs no statistics of its own.
    """
    # Channels last, the layout that convolutions like best.
    copy = deepcopy(model).eval().to(memory_format=torch.channels_last)
    for row in [module for module in copy.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (after, norm) in pairwise(list(row.named_children())):
            if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                setattr(row, name, fuse_conv_bn_eval(layer, norm))
                # Its place stays, because weights and stages are named by their place. Only torch's own layers: what
                # derives from them, as in timm, may do more.
                setattr(row, after, nn.Identity())
    return copy


def view(frames: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """View `number` of VIEWS of frames, uint8 (F, C, H, W) both; 0 is the frames themselves."""
    scale, shift, degrees = VIEWS[number]
    if not number or not len(frames):
        return frames
    height, width = frames.shape[2:]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    matrix[0, 2] += shift * width
    moved = [
        cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for frame in frames
        for plane in frame
    ]
    return np.stack(moved).astype(np.uint8).reshape(frames.shape)


def looks(frames: int, views: int) -> int:
    """How often each of F frames is looked at so that a track gets `views` looks, as far as there are VIEWS."""
    return min(max(1, -(-views // frames)), len(VIEWS)) if frames else 1


def posteriors_of(model: Recogniser, stacks: Sequence[Stack], alphabet: str, views: int = 1) -> list[Posteriors]:
    """One batch through the network: F log-posteriors float32 (T, C) for each track, on whatever device it lies.

    Of a network that fuses frames itself, `Posteriors.alone` holds what it gives for each frame without the others.
    A track of fewer frames than `views` (`read.views`) is looked at until it has as many: the arrays of the second view
    of all its frames stand behind those of the first, and so on, and `alone` holds what each frame gives as it is.

    The model should be in evaluation mode. A track without a frame gives no array.
    """
    images = np.concatenate([frames for _, frames, _ in stacks])  # (sum of F, C, H, W)
    counts = [len(frames) for _, frames, _ in stacks]
    alone = fused = np.empty((0, 0, 0), np.float32)
    if len(images):
        device = next(model.parameters()).device
        tracks = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        # Frames that look at each other cannot be parted; others can, so that memory does not grow with their number.
        most = len(images) if model.temporal else MOST_FRAMES
        parts = []
        with torch.inference_mode():
            for part in (slice(begin, begin + most) for begin in range(0, len(images), most)):
                pictures = torch.from_numpy(images[part]).to(device).contiguous(memory_format=torch.channels_last)
                parts.append(model.together(pictures, tracks[part]))
        fused = np.concatenate([together.float().cpu().numpy() for _, together in parts])  # (sum of F, T, C)
        same = all(own is together for own, together in parts)
        alone = fused if same else np.concatenate([own.float().cpu().numpy() for own, _ in parts])
    found = []
    for (track_id, _, names), count, end in zip(stacks, counts, np.cumsum(counts), strict=True):
        single = () if model.temporal is None and looks(count, views) == 1 else tuple(alone[end - count : end])
        found.append(Posteriors(track_id, tuple(fused[end - count : end]), alphabet, tuple(names), alone=single))
    for number in range(1, max(looks(count, views) for count in counts)):
        again = [at for at, count in enumerate(counts) if looks(count, views) > number]
        moved = [(track_id, view(frames, number), names) for track_id, frames, names in (stacks[at] for at in again)]
        for at, more in zip(again, posteriors_of(model, moved, alphabet), strict=True):
            one = found[at]
            found[at] = replace(one, log_probs=one.log_probs + more.log_probs, files=one.files + more.files)
    return found
