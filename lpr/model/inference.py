"""From decoded frames to posteriors: the one pass of the network that reading and validation share."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..types import Posteriors
from .recogniser import Recogniser

#: One track ready for the network: its id, uint8 frames (F, C, H, W), and the name of the image behind each frame.
Stack = tuple[str, NDArray[np.uint8], Sequence[str]]


def folded(model: Recogniser) -> Recogniser:
    """A copy in evaluation mode whose BatchNorm layers are folded into the convolutions before them.

    The same function but for rounding, and less work: a network that only reads needs no statistics of its own.
    """
    copy = deepcopy(model).eval()
    for row in [module for module in copy.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (after, norm) in pairwise(list(row.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(row, name, fuse_conv_bn_eval(layer, norm))
                # Its place stays, because weights and stages are named by their place.
                setattr(row, after, nn.Identity())
    return copy


def posteriors_of(model: Recogniser, stacks: Sequence[Stack], alphabet: str) -> list[Posteriors]:
    """One batch through the network: F log-posteriors float32 (T, C) for each track, on whatever device it lies.

    Of a network that fuses frames itself, `Posteriors.alone` holds what it gives for each frame without the others.

    The model should be in evaluation mode. A track without a frame gives no array.
    """
    images = np.concatenate([frames for _, frames, _ in stacks])  # (sum of F, C, H, W)
    counts = [len(frames) for _, frames, _ in stacks]
    alone = fused = np.empty((0, 0, 0), np.float32)
    if len(images):
        device = next(model.parameters()).device
        tracks = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        with torch.inference_mode():
            both = model.together(torch.from_numpy(images).to(device), tracks)
        alone, fused = (log_probs.float().cpu().numpy() for log_probs in both)  # (sum of F, T, C)
    found = []
    for (track_id, _, names), count, end in zip(stacks, counts, np.cumsum(counts), strict=True):
        own = () if model.temporal is None else tuple(alone[end - count : end])
        found.append(Posteriors(track_id, tuple(fused[end - count : end]), alphabet, tuple(names), alone=own))
    return found
