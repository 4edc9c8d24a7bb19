"""Several checkpoints read each track together: their posteriors are fused like further frames.

An ensemble file, which `lpr.calibrate` writes, names them with the weights and the calibration that were found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import stored_config
from .decode.confidence import Calibration, without_limits
from .decode.ctc import FLOOR
from .decode.nbest import fused_weights
from .decode.stored import Decoder
from .files import write_text
from .formats import AUTO
from .reader import FrameLike, Reader
from .types import InputError, Posteriors, Prediction, Problem, Track

#: What an ensemble file ends in; everything else is a checkpoint.
SUFFIX = ".json"


class Ensemble:
    """Reads with several checkpoints; settings and formats are those of the first, or of the ensemble file.

    With `read.fusion=sequence` the networks may differ in T, and in the order and extent of their alphabets as long as
    each spells the formats. A prediction's readings of single frames are those of every network, in the order of the
    checkpoints. `checkpoints`: one ensemble file, or checkpoints (None chooses as Reader does). `weights`: what each
    counts; those of the ensemble file, else all alike.

    Raises:
        InputError: a checkpoint is missing or damaged, stands there twice, is another than the ensemble file means, or
            cannot spell the formats.
    """

    def __init__(
        self,
        checkpoints: Sequence[str | None],
        *,
        format: Sequence[str] = (),
        settings: Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        given = checkpoints[0] or os.environ.get("LPR_CHECKPOINT", "")
        recipe = _read_recipe(Path(given)) if len(checkpoints) == 1 and given.endswith(SUFFIX) else None
        if recipe:
            checkpoints = [str(Path(given).parent / member["path"]) for member in recipe["members"]]
            settings = [*_as_settings(recipe["read"], format), *settings]
        first = Reader(checkpoints[0], format=format, settings=settings, device=device)
        # How often a track is looked at is up to each network, and must be the same for the weights to fit.
        alike = first.config.read
        settings = [*settings, f"read.views={alike.views}", f"read.merged={alike.merged}"]
        others = [Reader(path, format=format, settings=settings, device=device) for path in checkpoints[1:]]
        self.readers = [first, *others]
        for reader in others:
            # Also where the weights' own setting names fewer formats than the first's.
            reader.require(first.formats)
        seen: dict[str, Path] = {}
        for at, reader in enumerate(self.readers):
            path, found = reader.checkpoint.path, reader.checkpoint.hash
            if recipe and found != recipe["members"][at]["hash"]:
                raise InputError(f"is not the one that {given} was made with", where=path, fix="make it again")
            if found in seen:
                raise InputError(f"holds the weights of {seen[found]}", where=path, fix="name each checkpoint once")
            seen[found] = path
        self.weights = tuple(float(m["weight"]) for m in recipe["members"]) if recipe else (1.0,) * len(self.readers)
        self.alphabet = first.checkpoint.alphabet
        self.decoder: Decoder = replace(
            first.decoder,
            model_hash="+".join(reader.decoder.model_hash for reader in self.readers),
            checkpoint="+".join(reader.decoder.checkpoint for reader in self.readers),
        )
        self.said = "\n".join(
            f"checkpoint: {one.checkpoint.path} ({one.chosen}), model {one.checkpoint.hash[:12]}, {one.place}"
            for one in self.readers
        )
        if recipe:
            calibration = recipe["calibration"]
            self.decoder = replace(
                self.decoder, calibration=Calibration.from_dict(calibration) if calibration else None
            )
            self.said += f"\nensemble: {given}, weights {', '.join(f'{weight:.2f}' for weight in self.weights)}"
        elif len(self.readers) > 1 and first.decoder.calibration:
            # Its curve is the nearest there is; its limits of what is no plate hold for that checkpoint alone.
            curve = self.decoder.calibration and without_limits(self.decoder.calibration)
            self.decoder = replace(self.decoder, borrowed=True, calibration=curve)
        fusion = first.config.read.fusion
        if len(self.readers) > 1 and fusion != "sequence":
            self.said += f"\nread.fusion={fusion} counts all checkpoints alike: only sequence weighs them"

    def posteriors(self, tracks: Sequence[Track]) -> Iterator[tuple[Posteriors, tuple[Problem, ...]]]:
        """Each track's posteriors under every checkpoint as one, and the problems of its frames."""
        for found in zip(*(reader.posteriors(tracks) for reader in self.readers), strict=True):
            yield self._together([one for one, _ in found]), found[0][1]

    def look(self, frames: Sequence[FrameLike] | FrameLike, track_id: str) -> tuple[Posteriors, tuple[Problem, ...]]:
        """The same for frames at hand, see `Reader.look`."""
        # What can be gone through but once would be empty for the second network.
        every: Any = frames
        if isinstance(every, Iterator):
            every = list(every)
        found = [reader.look(every, track_id) for reader in self.readers]
        return self._together([one for one, _ in found]), found[0][1]

    def read(self, frames: Sequence[FrameLike] | FrameLike, track_id: str = "track") -> Prediction:
        """Read one plate as `Reader.read` does, with all checkpoints."""
        return self.decoder.decode(*self.look(frames, track_id))

    def _together(self, found: Sequence[Posteriors]) -> Posteriors:
        arrays = tuple(respelled(array, one.alphabet, self.alphabet) for one in found for array in one.log_probs)
        alone: tuple[NDArray[np.float32], ...] = ()
        if any(one.alone for one in found):
            own = ((one, array) for one in found for array in one.alone or one.log_probs)
            alone = tuple(respelled(array, one.alphabet, self.alphabet) for one, array in own)
        files = tuple(name for one in found for name in one.files)
        return self.weighted(replace(found[0], log_probs=arrays, alphabet=self.alphabet, files=files, alone=alone))

    def weighted(self, posteriors: Posteriors, weights: Sequence[float] = ()) -> Posteriors:
        """The posteriors of all members with other weights, by default those of now."""
        given = weights or self.weights
        if len(given) == 1:
            return posteriors
        # Each member saw the same frames.
        frames = len(posteriors.log_probs) // len(given)
        return replace(posteriors, weights=tuple(weight for weight in given for _ in range(frames)))

    def save(self, target: Path, calibration: Calibration) -> None:
        """Write an ensemble file of these checkpoints; their paths are kept relative to it."""
        folder = target.resolve().parent
        members = [
            {
                "path": os.path.relpath(reader.checkpoint.path.resolve(), folder),
                "hash": reader.checkpoint.hash,
                "weight": weight,
            }
            for reader, weight in zip(self.readers, self.weights, strict=True)
        ]
        read = self.decoder.config.read.model_dump(mode="json")
        values = {"members": members, "read": read, "calibration": calibration.to_dict()}
        write_text(target, json.dumps(values, indent=1) + "\n")


def respelled(array: NDArray[np.float32], alphabet: str, wanted: str) -> NDArray[np.float32]:
    """Log-posteriors (T, C) of one alphabet as those of another; characters of the one alone are lost or all but 0."""
    if alphabet == wanted:
        return array
    columns = [0, *(alphabet.find(character) + 1 for character in wanted)]
    result = array[:, columns]
    result[:, [False, *(column == 0 for column in columns[1:])]] = FLOOR
    return result


def _as_settings(read: Mapping[str, Any], formats: Sequence[str]) -> list[str]:
    """An ensemble file's reading settings but for what `formats`, where some are named, stands for instead."""
    named = {"formats", *(["format_priors"] if AUTO in formats else [])} if formats else set()
    return [f"read.{name}={json.dumps(value)}" for name, value in read.items() if name not in named]


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        members = [
            {"path": str(m["path"]), "hash": str(m["hash"]), "weight": float(m["weight"])} for m in values["members"]
        ]
        fused_weights([float(m["weight"]) for m in values["members"]], len(members))
        read = stored_config({"read": values["read"]}, str(path)).read.model_dump(mode="json")
        return {"members": members, "read": read, "calibration": values["calibration"]}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is no ensemble file: {error!r}", where=path, fix="write one with lpr.calibrate") from error
