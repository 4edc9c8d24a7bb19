"""From decoded frames to posteriors: the one pass of the network that reading and validation share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..types import Posteriors
from .recogniser import Recogniser

#: One track ready for the network: its id, uint8 frames (F, C, H, W), and the name of the image behind each frame.
Stack = tuple[str, NDArray[np.uint8], Sequence[str]]


def posteriors_of(model: Recogniser, stacks: Sequence[Stack], alphabet: str) -> list[Posteriors]:
    """One batch through the network: F log-posteriors float32 (T, C) for each track, on whatever device it lies.

    The model should be in evaluation mode. A track without a frame gives no array.
    """
    images = np.concatenate([frames for _, frames, _ in stacks])  # (sum of F, C, H, W)
    log_probs = np.empty((0, 0, 0), np.float32)
    if len(images):
        device = next(model.parameters()).device
        with torch.inference_mode():
            log_probs = model(torch.from_numpy(images).to(device)).float().cpu().numpy()  # (sum of F, T, C)
    ends = np.cumsum([len(frames) for _, frames, _ in stacks])
    return [
        Posteriors(track_id, tuple(log_probs[end - len(frames) : end]), alphabet, tuple(names))
        for (track_id, frames, names), end in zip(stacks, ends, strict=True)
    ]
