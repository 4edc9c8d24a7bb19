"""The Python interface: `lpr.Reader(checkpoint).read(frames) -> Prediction`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .config import ReadConfig
from .data.images import preprocess, read_image
from .data.scan import scan
from .decode.confidence import Calibration
from .decode.stored import Decoder
from .formats import AUTO, PlateFormat, load_formats, name_of, template_mask, worst_case_steps
from .model import exported
from .model.checkpoint import Checkpoint, load, served_formats
from .model.devices import default_device, gpu_trouble, has_bfloat16
from .model.inference import Network, Stack, folded, posteriors_of, read_stack, stack
from .model.recogniser import Recogniser
from .types import InputError, Posteriors, Prediction, Problem, Track, UsageError, printable

SHIPPED_WEIGHTS = Path(__file__).resolve().parent / "weights"

#: Of shipped weights; those that were exported are read with only where they are named.
SUFFIXES = (".safetensors", exported.SUFFIX)

#: One frame as people have it: a file, or uint8 pixels (H, W, 3) RGB or (H, W) grey.
FrameLike = str | os.PathLike[str] | NDArray[np.uint8]


def find_checkpoint(given: str | os.PathLike[str] | None = None, formats: Sequence[str] = ()) -> tuple[Path, str]:
    """The checkpoint to read with, and in words how it was chosen.

    `given` (a path, or the name of shipped weights), else the environment variable LPR_CHECKPOINT, else the newest
    `runs/*/best` below the working directory, else the weights shipped in the package. The last two must have been
    trained for all `formats`; where none is named, any run will do, and shipped weights for the default `read.formats`.
    """
    if given:
        own = next(
            (SHIPPED_WEIGHTS / f"{given}{s}" for s in SUFFIXES if (SHIPPED_WEIGHTS / f"{given}{s}").is_file()), None
        )
        return (own, "shipped weights") if own and not Path(given).exists() else (Path(given), "as given")
    if named := os.environ.get("LPR_CHECKPOINT"):
        if not Path(named).exists():
            raise InputError(
                f"the environment variable names {named}, which is not there",
                where="LPR_CHECKPOINT",
                fix="unset it, or name a run, its best folder or a .safetensors file",
            )
        return Path(named), "from LPR_CHECKPOINT"
    named_formats = {name_of(name) for name in formats if name != AUTO}
    trained = list(Path("runs").glob("*/best/model.safetensors"))
    for path in sorted(trained, key=lambda path: path.stat().st_mtime, reverse=True):
        if not named_formats or named_formats <= set(served_formats(path)):
            return path, "the newest run" + (f" for {', '.join(sorted(named_formats))}" if named_formats else "")
    files = sorted(SHIPPED_WEIGHTS.glob("*.safetensors"), key=attrgetter("stem"))
    shipped = {path: served_formats(path) for path in files}
    wanted = named_formats or set(ReadConfig().formats)
    for path, served in shipped.items():
        if wanted <= set(served):
            return path, "shipped weights"
    # A misspelt name is served by none: that is what to say, not which weights there are.
    load_formats([name for name in formats if name != AUTO])
    there = "; ".join(f"{path.name} ({', '.join(served)})" for path, served in shipped.items())
    raise InputError(
        f"no checkpoint was trained for {' and '.join(sorted(wanted))}: none was given, LPR_CHECKPOINT is not set, no "
        f"run below runs/ serves it, and the shipped weights are {there or 'none'}",
        fix="name one with --checkpoint whose alphabet can spell it, or train one: docs/countries.md",
    )


class Reader:
    """Reads tracks with one checkpoint.

    Args:
        checkpoint: a file, also an exported one, `best` folder or run folder; None chooses as `find_checkpoint` does.
        format: name of the format to read, or several; "auto" weighs all that the checkpoint serves by their priors;
            default: the checkpoint's configuration.
        settings: `read.key=value` overrides of the checkpoint's configuration.
        device: torch device name; None takes the GPU where there is one.

    Raises:
        InputError: the checkpoint is missing, damaged, or does not fit the formats.
        UsageError: there is no such device here.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        format: str | Sequence[str] | None = None,
        settings: str | Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        named = [format] if isinstance(format, str) else list(format or ())
        settings = [settings] if isinstance(settings, str) else list(settings)
        path, self.chosen = find_checkpoint(checkpoint, named)
        if path.suffix == ".json":
            raise InputError(
                "is an ensemble file, not one checkpoint", where=path, fix="lpr.ensemble.Ensemble([path]) reads with it"
            )
        self.checkpoint: Checkpoint[Any]
        if path.suffix == exported.SUFFIX:
            if device not in (None, "cpu"):
                raise UsageError(f"--device {device}: what is exported to ONNX is read on the CPU")
            self.device = torch.device("cpu")
            self.checkpoint = exported.load(path)
            self.model: Network = self.checkpoint.model
        else:
            self.device = _device(device) if device else default_device()
            self.checkpoint = load(path, self.device)
            self.model = folded(self.checkpoint.model)
        stored = self.checkpoint.calibration
        calibration = Calibration.from_dict(stored) if stored else None
        if calibration and not calibration.formats:
            # An older one: the settings beside it are those that it was fitted with.
            calibration = replace(calibration, formats=tuple(map(name_of, self.checkpoint.config.read.formats)))
        self.decoder = Decoder(
            self.checkpoint.config,
            self.checkpoint.formats,
            calibration,
            self.checkpoint.hash,
            _from_here(self.checkpoint.path),
        ).with_settings(settings, named)
        self.config, self.formats = self.decoder.config, self.decoder.formats
        self.require(self.formats)

    @property
    def place(self) -> str:
        """The device it computes on, and the type of its numbers where it is not float32."""
        short = self.config.read.amp and isinstance(self.model, Recogniser) and has_bfloat16(self.device.type)
        unfit = f" (the GPU cannot compute: {gpu_trouble()})" if self.device.type == "cpu" and gpu_trouble() else ""
        return f"{self.device}{', bfloat16' if short else ''}{unfit}"

    def require(self, formats: Sequence[PlateFormat]) -> None:
        """InputError unless the network can spell these formats and gives steps enough for them."""
        for template in (template for one in formats for template in one.templates):
            try:
                template_mask(template, self.checkpoint.alphabet)
            except InputError as error:
                fix = "choose formats that it serves, or another checkpoint"
                raise InputError(error.problem.what, where=self.checkpoint.path, fix=fix) from error
        steps = self.checkpoint.model.steps
        if steps < (needed := worst_case_steps(formats)):
            raise InputError(
                f"gives {steps} CTC steps, {' and '.join(one.name for one in formats)} can need {needed}",
                where=self.checkpoint.path,
                fix="choose formats that it serves, or train with a larger input.width",
            )

    def read(self, frames: Sequence[FrameLike] | FrameLike, track_id: str = "track") -> Prediction:
        """Read one plate from one or more frames of it, files or pixels (see `FrameLike`), in any order.

        Frames may also be one array uint8 (F, H, W, 3), or the folder that holds them.

        A file that cannot be read is named in `Prediction.problems`; without any readable one the confidence is 0.0 and
        the text a made-up valid one. InputError for no frame at all, and for what is neither a path nor such pixels.
        """
        return self.decoder.decode(*self.look(frames, track_id))

    def look(self, frames: Sequence[FrameLike] | FrameLike, track_id: str) -> tuple[Posteriors, tuple[Problem, ...]]:
        """What the network gives for frames as `read` takes them, and the problems of those that cannot be read."""
        several = isinstance(frames, Iterable) and not isinstance(frames, (str, bytes))
        if isinstance(frames, np.ndarray):
            several = frames.ndim == 4
        if isinstance(frames, (str, os.PathLike)) and Path(frames).is_dir():
            frames, several = _frames_in(Path(frames)), True
        every: Iterable[Any] = frames if several else [frames]  # type: ignore[assignment]
        images, files, problems = [], [], []
        number = 0
        for number, frame in enumerate(every, start=1):
            if not isinstance(frame, (str, os.PathLike, np.ndarray)):
                raise InputError(
                    f"frame {number} is of the type {type(frame).__name__}, not a path or an array uint8 (H, W, 3)",
                    fix="np.asarray(image.convert('RGB')) of a Pillow image; cv2.imdecode for bytes, then BGR to RGB",
                )
            name = f"frame {number}" if isinstance(frame, np.ndarray) else printable(Path(frame).name)
            if isinstance(frame, np.ndarray):
                _require_pixels(frame, name)
            try:
                pixels = _as_rgb(frame, name) if isinstance(frame, np.ndarray) else read_image(Path(frame))
            except InputError as error:
                problems.append(error.problem)
                continue
            images.append(preprocess(pixels, self.config.input))
            files.append(name)
        if not number:
            raise InputError("no frame was given", where=track_id, fix="name one or more files, or pixels")
        size, read = self.config.input, self.config.read
        pixels = np.stack(images) if images else np.zeros((0, size.channels, size.height, size.width), np.uint8)
        return self._posteriors_of([stack(track_id, pixels, files, read)])[0], tuple(problems)

    def _posteriors_of(self, stacks: Sequence[Stack]) -> list[Posteriors]:
        read = self.config.read
        return posteriors_of(self.model, stacks, self.checkpoint.alphabet, read.views, amp=read.amp)

    def read_tracks(self, tracks: Iterable[Track]) -> Iterator[Prediction]:
        """Read tracks as a stream, one Prediction each and in their order; memory does not grow with their number."""
        for *_, prediction in self.decoder.decode_all(self.posteriors(tracks)):
            yield prediction

    def posteriors(self, tracks: Iterable[Track]) -> Iterator[tuple[Posteriors, tuple[Problem, ...]]]:
        """What the network gives for each track, in their order, and the problems of its frames.

        Three batches are under way at a time: while the caller decodes one, the network reads the next in a thread, and
        the images of the one after that are loaded in others.
        """
        Loading = list[Future[tuple[Stack, tuple[Problem, ...]]]]
        with ThreadPoolExecutor(max_workers=2) as loaders, ThreadPoolExecutor(max_workers=1) as network:
            stream = iter(tracks)

            def load() -> Loading:
                batch = islice(stream, self.config.read.batch_tracks)
                return [loaders.submit(read_stack, track, self.config.input, self.config.read) for track in batch]

            def look(batch: Loading) -> list[tuple[Posteriors, tuple[Problem, ...]]]:
                loaded = [future.result() for future in batch]
                stacks = [one for one, _ in loaded]
                found = self._posteriors_of(stacks)
                return [(one, problems) for one, (_, problems) in zip(found, loaded, strict=True)]

            def submit(batch: Loading) -> Future[list[tuple[Posteriors, tuple[Problem, ...]]]] | None:
                return network.submit(look, batch) if batch else None

            running, ahead = submit(load()), load()
            while running:
                done = running.result()
                running, ahead = submit(ahead), load()
                yield from done


def _frames_in(folder: Path) -> list[Path]:
    """The LR frames of the one plate that a folder shows; InputError where folders below it show others."""
    tracks = scan(folder).tracks
    # Frames that are not called so look like pictures of a plate each.
    if len(tracks) > 1 and any(frame.path.parent != folder for track in tracks for frame in track.frames):
        raise InputError(
            f"holds {len(tracks)} tracks", where=folder, fix="read_tracks(lpr.data.scan.scan(folder).tracks)"
        )
    return [frame.path for track in tracks for frame in track.lr]


def _device(name: str) -> torch.device:
    """The device of this name, proven by a sum that is computed there; UsageError where there is none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).add(1).cpu()
    # What torch raises for unknown names, for builds without the device, and where none is plugged in.
    except (AssertionError, ImportError, RuntimeError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}", fix="cpu works everywhere") from error
    return device


def _from_here(path: Path) -> str:
    """A path from the working directory if it lies below it, else as it was given."""
    here = Path.cwd()
    return printable((path.relative_to(here) if path.is_relative_to(here) else path).as_posix())


def _require_pixels(pixels: NDArray[Any], name: str) -> None:
    """InputError for an array that is none of pixels: the caller's mistake, and not a damaged frame."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(
            f"must be uint8 pixels (H, W, 3) RGB or (H, W) grey, not {pixels.dtype} {pixels.shape}", where=name
        )


def _as_rgb(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3) -> uint8 (H, W, 3); InputError for a crop too small to hold a plate."""
    if min(pixels.shape[:2]) < 4:
        raise InputError(f"is only {pixels.shape[1]}x{pixels.shape[0]} px", where=name)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
