"""From decoded frames to posteriors: the one pass of the network that reading and validation share."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..config import InputConfig, ReadConfig
from ..data.images import read_frames
from ..data.merge import merge_frames, targets
from ..types import Posteriors, Problem, Track, printable
from .devices import has_bfloat16
from .recogniser import Recogniser


class Network(Protocol):
    """What reading wants of a network: `Recogniser`, or one that was exported."""

    temporal: Any

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def together(self, images: Tensor, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """See `Recogniser.together`."""


class Stack(NamedTuple):
    """One track ready for the network.

    `frames`: uint8 (F, C, H, W); `names`: of the image behind each; `merged`: uint8 (M, C, H, W), see `data.merge`.
    """

    track_id: str
    frames: NDArray[np.uint8]
    names: Sequence[str]
    merged: NDArray[np.uint8]


def stack(track_id: str, frames: NDArray[np.uint8], names: Sequence[str], read: ReadConfig) -> Stack:
    """A track's frames with the pictures that `read.merged` asks for."""
    return Stack(track_id, frames, names, merge_frames(frames, targets(frames, read.merged)))


#: Frames that go through the network at once; a frame takes about half a megabyte.
MOST_FRAMES = 256

#: Looks at a frame: its width and height times so much about the middle, a shift as a share of the width, and a turn in
#: degrees. A character then falls on other pixels and steps; what is mirrored, no plate is. The first is the frame.
VIEWS = (
    (1.0, 0.0, 0.0), (1.06, 0.0, 0.0), (0.94, 0.0, 0.0), (1.0, 0.02, 0.0), (1.0, -0.02, 0.0), (1.0, 0.0, 2.0),
    (1.0, 0.0, -2.0),
)  # fmt: skip


def read_stack(track: Track, config: InputConfig, read: ReadConfig) -> tuple[Stack, tuple[Problem, ...]]:
    """The LR frames of a track from disk, and a problem for each that cannot be read."""
    images, frames, problems = read_frames(track, config)
    return stack(track.id, images, [printable(frame.path.name) for frame in frames], read), problems


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


def posteriors_of(
    model: Network, stacks: Sequence[Stack], alphabet: str, views: int = 1, *, amp: bool = False
) -> list[Posteriors]:
    """One batch through the network: log-posteriors float32 (T, C), one or more a frame, on whatever device it lies.

    A track of fewer frames than `views` (`read.views`) is looked at until it has as many: the arrays of the second view
    of all its frames stand behind those of the first, and so on, and those of its merged pictures, which no single
    image is behind, at the end. Of such tracks, and of a network that fuses frames itself, `Posteriors.alone` holds
    what each frame gives as it is and without the others.

    The model should be in evaluation mode. A track without a frame gives no array. amp: compute in bfloat16 where the
    device has it (`read.amp`); what was exported computes as it is.
    """
    # What is looked at together: each view of all frames of a track, and its merged pictures.
    sets = [
        [*(view(one.frames, number) for number in range(looks(len(one.frames), views))), one.merged] for one in stacks
    ]
    images = np.concatenate([pictures for track in sets for pictures in track])  # (N, C, H, W)
    counts = [len(pictures) for track in sets for pictures in track]
    alone = fused = np.empty((0, 0, 0), np.float32)
    if len(images):
        together = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(model.device)
        # Frames that look at each other cannot be parted; others can, so that memory does not grow with their number.
        most = len(images) if model.temporal else MOST_FRAMES
        parts = []
        device = model.device.type
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=amp and has_bfloat16(device)):
            for part in (slice(begin, begin + most) for begin in range(0, len(images), most)):
                pictures = torch.from_numpy(images[part]).to(model.device).contiguous(memory_format=torch.channels_last)
                parts.append(model.together(pictures, together[part]))
        fused = np.concatenate([seen.float().cpu().numpy() for _, seen in parts])  # (N, T, C)
        same = all(own is seen for own, seen in parts)
        alone = fused if same else np.concatenate([own.float().cpu().numpy() for own, _ in parts])
    found, begin = [], 0
    for one, track in zip(stacks, sets, strict=True):
        frames, end = len(one.frames), begin + sum(map(len, track))
        own = () if model.temporal is None and end - begin == frames else tuple(alone[begin : begin + frames])
        files = (*tuple(one.names) * (len(track) - 1), *[""] * len(one.merged))
        found.append(Posteriors(one.track_id, tuple(fused[begin:end]), alphabet, files, alone=own))
        begin = end
    return found
