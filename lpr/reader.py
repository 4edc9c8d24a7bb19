"""The Python interface: `lpr.Reader(checkpoint).read(frames) -> Prediction`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .config import load_config
from .data.images import preprocess, read_frames, read_image
from .decode.confidence import Calibration
from .decode.decode import decode_track
from .formats import load_formats, worst_case_steps
from .model.checkpoint import load
from .types import Frame, InputError, Posteriors, Prediction, Problem, Track

SHIPPED_WEIGHTS = Path(__file__).resolve().parent / "weights"

#: One frame as people have it: a file, or uint8 pixels (H, W, 3) RGB or (H, W) grey.
FrameLike = str | os.PathLike[str] | NDArray[np.uint8]


def find_checkpoint(given: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """The checkpoint to read with, and in words how it was chosen.

    `given`, else the environment variable LPR_CHECKPOINT, else the newest `runs/*/best` below the working
    directory, else the weights shipped in the package.
    """
    if given:
        return Path(given), "as given"
    if named := os.environ.get("LPR_CHECKPOINT"):
        return Path(named), "from LPR_CHECKPOINT"
    trained = list(Path("runs").glob("*/best/model.safetensors"))
    if trained:
        return max(trained, key=lambda path: path.stat().st_mtime), "the newest run"
    shipped = sorted(SHIPPED_WEIGHTS.glob("*.safetensors"))
    if shipped:
        return shipped[0], "shipped weights"
    raise InputError(
        "there is no checkpoint to read with: none was given, LPR_CHECKPOINT is not set, runs/*/best is empty and "
        "this version ships no weights",
        fix="train one: bash scripts/train_phase1.sh, or name one with --checkpoint",
    )


class Reader:
    """Reads tracks with one checkpoint.

    Args:
        checkpoint: a file, `best` folder or run folder; None chooses as `find_checkpoint` does.
        settings: `section.key=value` overrides of the checkpoint's configuration; only `read.*` has an effect.
        device: torch device name; None takes the GPU where there is one.

    Raises:
        InputError: the checkpoint is missing, damaged, or does not fit the formats.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        settings: Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        path, self.chosen = find_checkpoint(checkpoint)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.checkpoint = load(path, self.device)
        self.model = self.checkpoint.model.eval()
        self.config = load_config(settings=settings, base=self.checkpoint.config)
        # A checkpoint carries its own formats; configs/formats is asked only for others.
        same = self.config.read.formats == self.checkpoint.config.read.formats
        self.formats = self.checkpoint.formats if same else load_formats(self.config.read.formats)
        stored = self.checkpoint.calibration
        self.calibration = Calibration.from_dict(stored) if stored else None
        if self.model.steps < (needed := worst_case_steps(self.formats)):
            raise InputError(
                f"gives {self.model.steps} CTC steps, the formats {', '.join(self.config.read.formats)} need up to {needed}",
                where=self.checkpoint.path,
                fix="choose formats that it serves, or train with a larger input.width",
            )

    @property
    def _input_shape(self) -> tuple[int, int, int]:
        size = self.config.input
        return size.channels, size.height, size.width

    @property
    def audit(self) -> dict[str, Any]:
        """What every prediction's audit record says about how it was made (its time is added when it is written)."""
        return {
            "model_hash": self.checkpoint.hash,
            "checkpoint": self.checkpoint.path.name,
            "config": {"input": self.config.input.model_dump(), "read": self.config.read.model_dump()},
        }

    def read(self, frames: Sequence[FrameLike] | FrameLike, track_id: str = "track") -> Prediction:
        """Read one plate from one or more frames of it, files or pixels (see `FrameLike`), in any order.

        A frame that cannot be read is named in `Prediction.problems`; without any readable frame the confidence
        is 0.0.
        """
        if isinstance(frames, (str, os.PathLike, np.ndarray)):
            frames = [frames]
        images, files, problems = [], [], []
        for number, frame in enumerate(frames, start=1):
            name = f"frame {number}" if isinstance(frame, np.ndarray) else Path(frame).name
            try:
                pixels = _as_rgb(frame, name) if isinstance(frame, np.ndarray) else read_image(Path(frame))
            except InputError as error:
                problems.append(error.problem)
                continue
            images.append(preprocess(pixels, self.config.input))
            files.append(name)
        stack = np.stack(images) if images else np.zeros((0, *self._input_shape), np.uint8)
        posteriors = self._posteriors([(track_id, stack, tuple(files))])
        return self._decode(posteriors[0], tuple(problems))

    def read_tracks(self, tracks: Iterable[Track]) -> Iterator[Prediction]:
        """Read tracks as a stream, one Prediction each and in their order; memory does not grow with their number.

        Images of the next batch are decoded in threads while the network reads this one.
        """
        with ThreadPoolExecutor(max_workers=2) as pool:
            stream = iter(tracks)

            def start() -> list[tuple[Track, Future[Any]]]:
                batch = islice(stream, self.config.read.batch_tracks)
                return [(track, pool.submit(read_frames, track, self.config.input)) for track in batch]

            ahead = start()
            while ahead:
                batch, ahead = ahead, start()
                loaded = [(track, *future.result()) for track, future in batch]
                posteriors = self._posteriors(
                    [(track.id, images, _names(frames)) for track, images, frames, _ in loaded]
                )
                for one, (*_, problems) in zip(posteriors, loaded, strict=True):
                    yield self._decode(one, problems)

    def _posteriors(self, stacks: Sequence[tuple[str, NDArray[np.uint8], tuple[str, ...]]]) -> list[Posteriors]:
        """One pass of the network over the frames (F, C, H, W) of several tracks."""
        images = np.concatenate([images for _, images, _ in stacks])  # (sum F, C, H, W)
        log_probs = self._log_probs(images) if len(images) else np.zeros((0, 0, 0), np.float32)
        result, start = [], 0
        for track_id, frames, files in stacks:
            rows = log_probs[start : start + len(frames)]
            start += len(frames)
            result.append(Posteriors(track_id, tuple(rows), self.checkpoint.alphabet, files))
        return result

    def _log_probs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (B, C, H, W) -> float32 (B, T, C) log-posteriors."""
        with torch.inference_mode():
            result: NDArray[np.float32] = self.model(torch.from_numpy(images).to(self.device)).float().cpu().numpy()
        return result

    def _decode(self, posteriors: Posteriors, problems: tuple[Problem, ...]) -> Prediction:
        prediction = decode_track(posteriors, self.config.read, self.formats, self.calibration)
        return replace(prediction, problems=problems) if problems else prediction


def _names(frames: Sequence[Frame]) -> tuple[str, ...]:
    return tuple(frame.path.name for frame in frames)


def _as_rgb(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3) -> uint8 (H, W, 3)."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(
            f"must be uint8 pixels (H, W, 3) RGB or (H, W) grey, not {pixels.dtype} {pixels.shape}", where=name
        )
    if min(pixels.shape[:2]) < 4:
        raise InputError(f"is only {pixels.shape[1]}x{pixels.shape[0]} px", where=name)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
