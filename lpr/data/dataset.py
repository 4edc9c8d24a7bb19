"""Samples for training and validation as torch tensors, the same bytes for any number of loader processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..config import Config, StrengthName
from ..types import InputError, Problem, Track
from .augment import Geometry, augment, degrade_hr, draw_geometry
from .images import Image, has_two_rows, preprocess, read_image
from .labels import encode_label
from .merge import merge_frames
from .sources import mix_shares
from .spoil import spoil

SampleKind = Literal["lr", "hr", "hr_degraded"]

# First words of the seeds, so that geometry and photometry never draw the same numbers.
_GEOMETRY, _PHOTOMETRY, _LR_ORDER, _HR_ORDER, _CLEAN, _MIX, _SPOIL, _MERGE = 1, 2, 3, 4, 5, 6, 7, 8


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

    An item is a dict: "image" uint8 (C, H, W), "target" int64 (L,) CTC classes, "track" int, index into `tracks`,
    "look", what the samples of one look have in common; and
    "sr_target" uint8 (C, 2H, 2W) for a degraded HR sample of a model with a super-resolution head, the same HR crop
    under the same geometry. A frame that cannot be read gives its Problem instead, which `collate` puts aside.
    A share `data.spoiled` of the tracks of an epoch is shown without a whole plate and with an empty target; in place
    of a share `data.merged` of the LR frames stands what is merged from them and others of their track.
    With `train` False nothing is augmented, spoiled or merged. Raises InputError for a label outside the model's
    alphabet.
    """

    def __init__(self, tracks: Sequence[Track], config: Config, *, train: bool) -> None:
        self.tracks = tracks
        self.config = config
        self.train = train
        self.super_resolution = train and config.model.super_resolution
        self.targets = [
            torch.tensor(encode_label(track.text or "", config.model.alphabet), dtype=torch.int64) for track in tracks
        ]
        init_worker()

    def __len__(self) -> int:
        return sum(len(track.lr) for track in self.tracks)

    def __getitem__(self, sample: Sample) -> dict[str, Any] | Problem:
        spoiled = self._drawn(self.config.data.spoiled, _SPOIL, *sample.seed[:3])
        try:
            images = self._show(sample, spoiled)
        except InputError as error:
            return error.problem
        if others := self._others(sample):
            frames = [images["image"]]
            for other in others:
                # One that cannot be read is named when its own turn comes.
                with suppress(InputError):
                    frames.append(self._show(other, spoiled)["image"])
            images["image"] = merge_frames(np.stack(frames), [0])[0]
        target = self.targets[sample.track]
        return {
            **{name: torch.from_numpy(array) for name, array in images.items()},
            "target": target[:0] if spoiled else target,
            "track": sample.track,
            "look": (sample.kind, sample.seed),
        }

    def _drawn(self, share: float, *words: int) -> bool:
        """Whether what a share of the samples has befalls the one of these seed words."""
        return self.train and share > 0 and bool(_generator(*words).random() < share)

    def _others(self, sample: Sample) -> list[Sample]:
        """The frames that are merged with a sample's own, at random; none for most samples."""
        # Where frames look at each other, a merged picture is read apart from them.
        if (
            sample.kind != "lr"
            or self.config.model.temporal
            or not self._drawn(self.config.data.merged, _MERGE, *sample.seed, sample.frame)
        ):
            return []
        rest = [frame for frame in range(len(self.tracks[sample.track].lr)) if frame != sample.frame]
        rng = _generator(_MERGE, *sample.seed, sample.frame, 1)
        count = int(rng.integers(1, len(rest) + 1)) if rest else 0
        return [replace(sample, frame=frame) for frame in rng.permutation(rest)[:count].tolist()]

    def _show(self, sample: Sample, spoiled: bool) -> dict[str, Image]:
        """The pictures of one frame; InputError where it cannot be read."""
        track = self.tracks[sample.track]
        image = read_image((track.lr if sample.kind == "lr" else track.hr)[sample.frame].path)
        if spoiled:
            rng, noise = _generator(_SPOIL, *sample.seed[:3]), _generator(_SPOIL, *sample.seed, sample.frame)
            rng.random()  # what its share was drawn by
            # Where plates of two rows are read, a plate cut into two rows is one.
            image = spoil(image, rng, noise, rows=not self.config.input.two_rows_below)
        return self._pictures(image, sample, self._strength(track))

    def _strength(self, track: Track) -> StrengthName:
        augment = self.config.augment
        return augment.sources.get(track.source, augment.strength) if self.train else "none"

    def _pictures(self, image: Image, sample: Sample, strength: StrengthName) -> dict[str, Image]:
        config = self.config.input
        # Of the crop as it is: turned, it is taller.
        two_rows = has_two_rows(image, config)
        geometry = draw_geometry(_generator(_GEOMETRY, *sample.seed[:3]), strength)
        rng = _generator(_PHOTOMETRY, *sample.seed, sample.frame, sample.kind != "lr")
        if sample.kind != "hr_degraded":
            return {"image": preprocess(augment(image, geometry, rng, strength), config, two_rows)}
        image = augment(image, geometry, rng, "none")
        low = degrade_hr(image, rng)
        if not self.super_resolution:
            return {"image": preprocess(augment(low, Geometry(), rng, strength), config, two_rows)}
        # The target is the same moment in the same light: a change of light here would have to be guessed back.
        double = config.model_copy(update={"height": 2 * config.height, "width": 2 * config.width})
        return {"image": preprocess(low, config, two_rows), "sr_target": preprocess(image, double, two_rows)}


def init_worker(worker: int = 0) -> None:
    """For DataLoader's `worker_init_fn`: OpenCV in one thread; its pool gains nothing on crops, and workers fight."""
    cv2.setNumThreads(0)


#: What a network looks at together: one picture, or of one that fuses frames itself all LR or all HR frames of a track.
Look = tuple[Sample, ...]


def epoch_looks(
    tracks: Sequence[Track], config: Config, epoch: int, hr_share: Callable[[int], float] | None = None
) -> list[Look]:
    """The looks of one training epoch, in order; a function of `config.train.seed` and `epoch` alone.

    With `config.model.temporal` what is said here of a frame holds for all LR or all HR frames of a track.

    `config.data.mix` gives every source its share of the positions, at random places. Within a source (without a mix
    all tracks are one) every LR frame is shown once in random order before any is shown again, over the epochs too
    where `config.data.epoch_samples` makes them shorter. HR samples are spread evenly between them so that they make up
    `config.data.hr_share` of all (none where no track has HR frames or `config.data.hr_frames` is "none").

    `hr_share`, the curriculum's, maps a position in the epoch to the share wanted there. The epoch keeps its length:
    a larger share leaves LR frames out, and the larger it is, the fewer of its HR samples are degraded: none at 1.
    """
    shares = mix_shares(config, tracks)
    pools = [_Pool(tracks, config, number, name) for number, name in enumerate(shares or [None])]
    wanted = config.data.epoch_samples
    total = max(1, round(wanted / frames_a_look(tracks, config))) if wanted else sum(pool.length for pool in pools)
    # Rounding the running sum gives every source its share to within one sample, and all together `total`.
    ends = np.round(total * np.cumsum(list(shares.values()) or [1.0])).astype(int)
    owner = np.repeat(np.arange(len(pools)), np.diff(ends, prepend=0))
    if len(pools) > 1:
        owner = _generator(_MIX, config.train.seed, epoch).permutation(owner)
    looks: list[Look] = [()] * total
    for pool in pools:
        places = np.flatnonzero(owner == pool.number)
        for place, look in zip(places.tolist(), pool.looks(places, epoch, hr_share), strict=True):
            looks[place] = look
    return looks


def epoch_samples(
    tracks: Sequence[Track], config: Config, epoch: int, hr_share: Callable[[int], float] | None = None
) -> list[Sample]:
    """The samples of `epoch_looks`, one after the other."""
    return flat(epoch_looks(tracks, config, epoch, hr_share))


def flat(looks: Sequence[Look]) -> list[Sample]:
    """The samples of some looks, one after the other."""
    return [sample for look in looks for sample in look]


def frames_a_look(tracks: Sequence[Track], config: Config) -> float:
    """Mean number of frames that are looked at together; 1 for a network that does not fuse frames itself."""
    if not config.model.temporal:
        return 1.0
    shares = mix_shares(config, tracks) or {"": 1.0}
    mean = 0.0
    for source, share in shares.items():
        mine = (track for track in tracks if not config.data.mix or track.source == source)
        counts = [count for track in mine for count in (len(track.lr), len(track.hr)) if count]
        mean += share * sum(counts) / max(1, len(counts))
    return max(1.0, mean)


#: Track, and frames of it that are looked at together.
_Frames = tuple[int, tuple[int, ...]]


class _Pool:
    """The frames of one source (or of all, `source` None), which are gone through without replacement."""

    def __init__(self, tracks: Sequence[Track], config: Config, number: int, source: str | None) -> None:
        mine = [(t, track) for t, track in enumerate(tracks) if source is None or track.source == source]
        self.number = number
        self.config = config
        whole = config.model.temporal > 0
        self.lr = [look for t, track in mine for look in _looks(t, len(track.lr), whole)]
        self.hr = [look for t, track in mine for look in _looks(t, len(track.hr), whole)]
        if not self.lr:
            raise InputError("there is no LR frame to train on", fix="track folders need lr-001.png ...")
        if config.data.hr_frames == "none":
            self.hr = []
        self.hr_share = config.data.hr_share if self.hr else 0.0
        #: Samples that show every LR frame once.
        self.length = round(len(self.lr) / (1 - self.hr_share)) if self.hr_share < 1 else len(self.hr)

    def looks(self, places: NDArray[np.intp], epoch: int, hr_share: Callable[[int], float] | None) -> list[Look]:
        """One look for each of `places`, the positions in the epoch that are this source's."""
        config, base, total = self.config, self.hr_share, len(places)
        shares = np.full(total, base)
        if hr_share is not None and self.hr:
            shares = np.clip([hr_share(place) for place in places.tolist()], 0.0, 1.0)
        # A sample is HR where the running sum of the shares passes the next half: evenly spread, exact in number.
        is_hr = np.diff(np.floor(np.cumsum(shares) + 0.5), prepend=0.0) > 0

        seed = config.train.seed
        clean_in_base = {"none": 0.0, "as_is": 1.0, "degraded": 0.0, "both": 0.5}[config.data.hr_frames]
        above_base = np.maximum(shares - base, 0.0) / max(1.0 - base, 1e-9)
        chance = _generator(_CLEAN, seed, epoch, self.number).random(total)
        is_clean = chance < clean_in_base + (1.0 - clean_in_base) * above_base

        # Earlier epochs took this many; a curriculum, which took other numbers, is over when this begins to matter.
        hr_before = epoch * int(np.floor(total * base + 0.5))
        frames = {
            False: self._frames(self.lr, epoch * total - hr_before, int(np.sum(~is_hr)), _LR_ORDER),
            True: self._frames(self.hr, hr_before, int(np.sum(is_hr)), _HR_ORDER),
        }
        looks: list[Look] = []
        for from_hr, clean in zip(is_hr.tolist(), is_clean.tolist(), strict=True):
            (track, together), draw = next(frames[from_hr])
            kind: SampleKind = "lr" if not from_hr else "hr" if clean else "hr_degraded"
            looks.append(tuple(Sample(track, frame, kind, (seed, epoch, track, draw)) for frame in together))
        return looks

    def _frames(self, frames: Sequence[_Frames], start: int, count: int, word: int) -> Iterator[tuple[_Frames, int]]:
        """`count` frames from place `start` of the endless row of passes over `frames`, each with its pass, from 0."""
        for place in range(start, start + count):
            which, within = divmod(place, len(frames))
            if place == start or within == 0:
                order = _generator(word, self.config.train.seed, which, self.number).permutation(len(frames))
            yield frames[order[within]], which - start // len(frames)


def _looks(track: int, frames: int, whole: bool) -> list[_Frames]:
    if whole:
        return [(track, tuple(range(frames)))] if frames else []
    return [(track, (frame,)) for frame in range(frames)]


def collate(batch: Sequence[dict[str, Any] | Problem]) -> dict[str, Any]:
    """Stack items of a FrameDataset; frames that could not be read are left out and named.

    Returns "images" uint8 (B, C, H, W), "targets" int64 (sum of L,), "target_lengths" int64 (B,), "tracks" int64 (B,),
    "looks" int64 (B,), the number of each item's look, and "unreadable", a list of Problems; if any item has a
    super-resolution target also "sr_targets" uint8 (B, C, 2H, 2W), zeros where an item has none, and "sr_mask" bool
    (B,). If no frame could be read, B is 0 and "images" has the shape (0,).
    """
    items = [item for item in batch if not isinstance(item, Problem)]
    result: dict[str, Any] = {
        "images": torch.stack([item["image"] for item in items]) if items else torch.empty(0, dtype=torch.uint8),
        "targets": torch.cat([item["target"] for item in items]) if items else torch.empty(0, dtype=torch.int64),
        "target_lengths": torch.tensor([len(item["target"]) for item in items], dtype=torch.int64),
        "tracks": torch.tensor([item["track"] for item in items], dtype=torch.int64),
        # Two looks at one track may stand side by side, of other frames or under another geometry.
        "looks": torch.tensor(_numbers([item["look"] for item in items]), dtype=torch.int64),
        "unreadable": [item for item in batch if isinstance(item, Problem)],
    }
    sr_target = next((item["sr_target"] for item in items if "sr_target" in item), None)
    if sr_target is not None:
        nothing = torch.zeros_like(sr_target)
        result["sr_targets"] = torch.stack([item.get("sr_target", nothing) for item in items])
        result["sr_mask"] = torch.tensor(["sr_target" in item for item in items])
    return result


def _numbers(keys: Sequence[Any]) -> list[int]:
    """For each key how many changes of key stand before it."""
    changes = [a != b for a, b in pairwise(keys)]
    return [0, *accumulate(changes)][: len(keys)]


def _generator(*words: int) -> np.random.Generator:
    # SeedSequence takes no negative numbers, which a run seed may be.
    return np.random.default_rng([word % 2**32 for word in words])
