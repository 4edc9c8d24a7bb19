"""Samples for training and validation as torch tensors, the same bytes for any number of loader processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..config import Config
from ..types import InputError, Problem, Track
from .augment import Geometry, augment, degrade_hr, draw_geometry
from .images import Image, preprocess, read_image
from .labels import encode_label

SampleKind = Literal["lr", "hr", "hr_degraded"]

# First words of the seeds, so that geometry and photometry never draw the same numbers.
_GEOMETRY, _PHOTOMETRY, _ORDER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture to show: `frame` counts from 0 in `Track.lr` for kind "lr", else in `Track.hr`.

    `seed` is (run seed, epoch, track, draw): the first three give the geometry, all with kind and frame the photometry.
    """

    track: int
    frame: int
    kind: SampleKind
    seed: tuple[int, ...]


class FrameDataset(Dataset[Any]):
    """Reads, augments and preprocesses single frames of labelled tracks.

    An item is a dict: "image" uint8 (C, H, W), "target" int64 (L,) CTC classes, "track" int, index into `tracks`; and
    "sr_target" uint8 (C, 2H, 2W) for a degraded HR sample of a model with a super-resolution head, the same HR crop
    under the same geometry. A frame that cannot be read gives its Problem instead, which `collate` puts aside.
    With `train` False nothing is augmented. Raises InputError for a label outside the model's alphabet.
    """

    def __init__(self, tracks: Sequence[Track], config: Config, *, train: bool) -> None:
        self.tracks = tracks
        self.config = config
        self.strength = config.augment.strength if train else "none"
        self.super_resolution = train and config.model.super_resolution
        self.targets = [
            torch.tensor(encode_label(track.text or "", config.model.alphabet), dtype=torch.int64) for track in tracks
        ]
        init_worker()

    def __len__(self) -> int:
        return sum(len(track.lr) for track in self.tracks)

    def __getitem__(self, sample: Sample) -> dict[str, Any] | Problem:
        track = self.tracks[sample.track]
        try:
            image = read_image((track.lr if sample.kind == "lr" else track.hr)[sample.frame].path)
        except InputError as error:
            return error.problem
        images = self._pictures(image, sample)
        return {
            **{name: torch.from_numpy(array) for name, array in images.items()},
            "target": self.targets[sample.track],
            "track": sample.track,
        }

    def _pictures(self, image: Image, sample: Sample) -> dict[str, Image]:
        config = self.config.input
        geometry = draw_geometry(_generator(_GEOMETRY, *sample.seed[:3]), self.strength)
        rng = _generator(_PHOTOMETRY, *sample.seed, sample.frame, sample.kind != "lr")
        if sample.kind != "hr_degraded":
            return {"image": preprocess(augment(image, geometry, rng, self.strength), config)}
        image = augment(image, geometry, rng, "none")
        low = degrade_hr(image, rng)
        if not self.super_resolution:
            return {"image": preprocess(augment(low, Geometry(), rng, self.strength), config)}
        # The target is the same moment in the same light: a change of light here would have to be guessed back.
        double = config.model_copy(update={"height": 2 * config.height, "width": 2 * config.width})
        return {"image": preprocess(low, config), "sr_target": preprocess(image, double)}


def init_worker(worker: int = 0) -> None:
    """For DataLoader's `worker_init_fn`: OpenCV in one thread; its pool gains nothing on crops, and workers fight."""
    cv2.setNumThreads(0)


def epoch_samples(
    tracks: Sequence[Track], config: Config, epoch: int, hr_share: Callable[[int], float] | None = None
) -> list[Sample]:
    """The samples of one training epoch, in order; a function of `config.train.seed` and `epoch` alone.

    Every LR frame of every track in random order, with HR samples spread evenly between them so that they make up
    `config.data.hr_share` of all (none where no track has HR frames or `config.data.hr_frames` is "none").

    `hr_share`, the curriculum's, maps a position in the epoch to the share wanted there. The epoch keeps its length:
    a larger share leaves LR frames out, and the larger it is, the fewer of its HR samples are degraded: none at 1.
    """
    lr = [(t, f) for t, track in enumerate(tracks) for f in range(len(track.lr))]
    hr = [(t, f) for t, track in enumerate(tracks) for f in range(len(track.hr))]
    if not lr:
        raise InputError("there is no LR frame to train on", fix="track folders need lr-001.png ...")
    if config.data.hr_frames == "none":
        hr = []
    base = config.data.hr_share if hr else 0.0
    total = round(len(lr) / (1 - base)) if base < 1 else len(hr)
    shares = np.full(total, base)
    if hr_share is not None and hr:
        shares = np.clip([hr_share(i) for i in range(total)], 0.0, 1.0)
    # A position is HR where the running sum of the shares passes the next half: evenly spread, exact in number.
    is_hr = np.diff(np.floor(np.cumsum(shares) + 0.5), prepend=0.0) > 0

    rng = _generator(_ORDER, config.train.seed, epoch)
    lr_order, hr_order = rng.permutation(len(lr)), rng.permutation(len(hr))
    clean_in_base = {"none": 0.0, "as_is": 1.0, "degraded": 0.0, "both": 0.5}[config.data.hr_frames]
    above_base = np.maximum(shares - base, 0.0) / max(1.0 - base, 1e-9)
    is_clean = rng.random(total) < clean_in_base + (1.0 - clean_in_base) * above_base

    samples: list[Sample] = []
    taken = {False: 0, True: 0}
    for position in range(total):
        from_hr = bool(is_hr[position])
        pool, order = (hr, hr_order) if from_hr else (lr, lr_order)
        draw, place = divmod(taken[from_hr], len(pool))
        taken[from_hr] += 1
        track, frame = pool[order[place]]
        kind: SampleKind = "lr" if not from_hr else "hr" if is_clean[position] else "hr_degraded"
        samples.append(Sample(track, frame, kind, (config.train.seed, epoch, track, draw)))
    return samples


def collate(batch: Sequence[dict[str, Any] | Problem]) -> dict[str, Any]:
    """Stack items of a FrameDataset; frames that could not be read are left out and named.

    Returns "images" uint8 (B, C, H, W), "targets" int64 (sum of L,), "target_lengths" int64 (B,), "tracks" int64 (B,)
    and "unreadable", a list of Problems; if any item has a super-resolution target also "sr_targets" uint8
    (B, C, 2H, 2W), zeros where an item has none, and "sr_mask" bool (B,). If no frame could be read, B is 0 and
    "images" has the shape (0,).
    """
    items = [item for item in batch if not isinstance(item, Problem)]
    result: dict[str, Any] = {
        "images": torch.stack([item["image"] for item in items]) if items else torch.empty(0, dtype=torch.uint8),
        "targets": torch.cat([item["target"] for item in items]) if items else torch.empty(0, dtype=torch.int64),
        "target_lengths": torch.tensor([len(item["target"]) for item in items], dtype=torch.int64),
        "tracks": torch.tensor([item["track"] for item in items], dtype=torch.int64),
        "unreadable": [item for item in batch if isinstance(item, Problem)],
    }
    sr_target = next((item["sr_target"] for item in items if "sr_target" in item), None)
    if sr_target is not None:
        nothing = torch.zeros_like(sr_target)
        result["sr_targets"] = torch.stack([item.get("sr_target", nothing) for item in items])
        result["sr_mask"] = torch.tensor(["sr_target" in item for item in items])
    return result


def _generator(*words: int) -> np.random.Generator:
    # SeedSequence takes no negative numbers, which a run seed may be.
    return np.random.default_rng([word % 2**32 for word in words])
