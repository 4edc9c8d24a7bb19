"""Posteriors on disk: what the network gave for a folder, to be decoded, fused and calibrated again without it.

One .npz file, readable with numpy alone: a float32 array (T of all frames, C) a track, named by its number (and a
second one for the frames alone, see `types.Posteriors`), and `index.json` with the tracks' ids, files and steps and
with all that decoding needs of the checkpoint.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config, ReadConfig, load_config, stored_config
from ..files import atomic_path
from ..formats import AUTO, PlateFormat, load_format, name_of, read_common
from ..types import InputError, Posteriors, Prediction, Problem, UsageError
from .confidence import Calibration
from .decode import TOGETHER, covers, decode_tracks, serves
from .records import audit_record

INDEX = "index.json"
SUFFIX = ".npz"
#: Between a track's number and ".npy": its frames on their own, see `types.Posteriors`.
ALONE = ".alone"
_REMEDY = "write it again with lpr.infer --save-posteriors"


@dataclass(frozen=True, slots=True)
class Decoder:
    """All that turns posteriors into predictions: `config` (its `read` counts), formats, calibration, and for the
    audit record the hash and path of the weights that the posteriors came from. `borrowed`: the calibration is that of
    one of several checkpoints that read together, and no more than near. `served`: all formats that the checkpoint was
    trained for, of which `formats` are read; empty: the same.
    """

    config: Config
    formats: tuple[PlateFormat, ...]
    calibration: Calibration | None
    model_hash: str
    checkpoint: str
    borrowed: bool = False
    served: tuple[PlateFormat, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether its calibration was fitted for what reads here, the way it reads and the formats; else no confidence
        is one.
        """
        known = self.calibration if not self.borrowed else None
        return known is not None and serves(known, self.config.read, self.formats) and covers(known, self.formats)

    @property
    def uncalibrated(self) -> str:
        """What is to be said of its confidences where they are not calibrated; "" where they are."""
        if self.calibrated:
            return ""
        if self.borrowed:
            return "calibrated for the first checkpoint alone: lpr.calibrate fits weights and confidences"
        lacking = "the checkpoint has no calibration for this way to read (read.*, formats)"
        return f"not calibrated, and nothing tells what is no plate: {lacking}"

    def audit(self) -> dict[str, Any]:
        """The audit record of predictions made now, see `audit_record`, and whether they are calibrated."""
        # What read.sharpen has changed is no probability any more.
        calibrated = self.calibrated and self.config.read.sharpen == 1
        by = self.calibration.fingerprint() if self.calibration else None
        return {
            **audit_record(self.model_hash, self.checkpoint, self.config),
            "calibrated": calibrated,
            "calibration": by,
        }

    def decode(self, posteriors: Posteriors, problems: Sequence[Problem] = ()) -> Prediction:
        """Read one track; `problems` are those of its frames."""
        return next(self.decode_all([(posteriors, problems)]))[-1]

    def decode_all(
        self, stream: Iterable[tuple[Posteriors, Sequence[Problem]]]
    ) -> Iterator[tuple[Posteriors, Sequence[Problem], Prediction]]:
        """Read a stream of tracks, each with the problems of its frames; gives both back, in their order, beside the
        prediction. Some are read at a time, see `decode_tracks`.
        """
        coming = iter(stream)
        while some := list(islice(coming, TOGETHER)):
            read = decode_tracks([one for one, _ in some], self.config.read, self.formats, self.calibration)
            for (posteriors, problems), prediction in zip(some, read, strict=True):
                yield posteriors, problems, replace(prediction, problems=(*problems, *prediction.problems))

    def with_settings(self, settings: Sequence[str], formats: Sequence[str] = ()) -> Decoder:
        """The same with `read.key=value` overrides; InputError for any other key.

        formats: names of those to read, or `auto`: all that it carries, weighed by their priors.
        """
        served = self.served or self.formats
        if AUTO in formats:
            if len(formats) > 1:
                raise UsageError(f"--format {' '.join(formats)}: {AUTO} stands for all formats, name it alone")
            formats = [one.name for one in served]
            settings = ["read.format_priors=true", *settings]
        if formats:
            settings = [f"read.formats={json.dumps(list(formats))}", *settings]
        if foreign := [setting for setting in settings if not setting.strip().startswith("read.")]:
            raise InputError(f"--set {foreign[0]}: a checkpoint fixes all settings but read.*")
        config = load_config(settings=settings, base=self.config)
        carried = {one.name: one for one in (*served, *self.formats)}

        def find(name: str) -> PlateFormat:
            # A checkpoint carries its own formats; files are asked only for others, and where one is named anew.
            own = name in self.config.read.formats or not name.endswith(".yaml")
            return (carried.get(name_of(name)) if own else None) or load_format(name)

        return replace(self, config=config, formats=tuple(map(find, config.read.formats)), served=served)


class PosteriorsFile:
    """Appends tracks to an open file, see `writing`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.rows: list[dict[str, Any]] = []

    def add(self, posteriors: Posteriors, problems: Sequence[Problem]) -> None:
        """Append one track with the problems of its frames."""
        arrays = posteriors.log_probs
        classes = len(posteriors.alphabet) + 1
        for kind, some in (("", arrays), (ALONE, posteriors.alone)):
            if some or not kind:
                stacked = np.concatenate([*some, np.empty((0, classes))]).astype(np.float32)
                with self._archive.open(f"{len(self.rows)}{kind}.npy", "w") as member:
                    np.lib.format.write_array(member, stacked, allow_pickle=False)
        self.rows.append(
            {
                "track_id": posteriors.track_id,
                "steps": [len(array) for array in arrays],
                "files": list(posteriors.files),
                "weights": list(posteriors.weights),
                "alone": [len(array) for array in posteriors.alone],
                "problems": [asdict(problem) for problem in problems],
            }
        )


@contextmanager
def writing(path: Path, decoder: Decoder, alphabet: str) -> Iterator[PosteriorsFile]:
    """Write a file of posteriors as a stream; it appears only when it is whole."""
    with atomic_path(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        tracks = PosteriorsFile(archive)
        yield tracks
        index = {
            "alphabet": alphabet,
            "config": decoder.config.model_dump(mode="json"),
            "formats": [one.to_dict() for one in decoder.formats],
            "served": [one.to_dict() for one in decoder.served],
            "calibration": decoder.calibration.to_dict() if decoder.calibration else None,
            "model_hash": decoder.model_hash,
            "checkpoint": decoder.checkpoint,
            "borrowed": decoder.borrowed,
            "tracks": tracks.rows,
        }
        archive.writestr(INDEX, json.dumps(index, ensure_ascii=False))


class StoredPosteriors:
    """An opened file of posteriors; `decoder` reads as the checkpoint that made them did.

    Raises:
        InputError: the file cannot be read, was cut short, or is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._index = json.loads(archive.read(INDEX))
            rows: list[Mapping[str, Any]] = self._index["tracks"]
            self.track_ids = [str(row["track_id"]) for row in rows]
            stored = self._index["calibration"]
            self.alphabet = str(self._index["alphabet"])
            self.decoder = Decoder(
                stored_config(self._index["config"], str(path)),
                _formats(self._index["formats"], path),
                Calibration.from_dict(stored) if stored else None,
                str(self._index["model_hash"]),
                str(self._index["checkpoint"]),
                bool(self._index.get("borrowed", False)),
                _formats(self._index.get("served", ()), path),
            )
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise InputError(f"holds no posteriors or was cut short: {error}", where=path, fix=_REMEDY) from error

    def require_looks(self, read: ReadConfig) -> None:
        """InputError where the network looked at a track in another way: `read.views`, `read.merged`."""
        there = self.decoder.config.read
        for name, held, asked in (("views", there.views, read.views), ("merged", there.merged, read.merged)):
            if held != asked:
                raise InputError(
                    f"was made with read.{name}={held}, not {asked}",
                    where=self.path,
                    fix=f"--set read.{name}={held}, or read the tracks again",
                )

    def __iter__(self) -> Iterator[tuple[Posteriors, tuple[Problem, ...]]]:
        """Each track's posteriors and the problems of its frames, in the order of writing; memory does not grow."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                for number, row in enumerate(self._index["tracks"]):
                    arrays = _arrays(archive, f"{number}.npy", row["steps"])
                    own = row.get("alone", ())
                    alone = _arrays(archive, f"{number}{ALONE}.npy", own) if own else ()
                    problems = tuple(Problem(**problem) for problem in row["problems"])
                    files, weights = tuple(row["files"]), tuple(map(float, row.get("weights", ())))
                    yield Posteriors(row["track_id"], arrays, self.alphabet, files, weights, alone), problems
        except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise InputError(f"is damaged: {error}", where=self.path, fix=_REMEDY) from error


def _formats(stored: Sequence[Mapping[str, Any]], path: Path) -> tuple[PlateFormat, ...]:
    return tuple(
        PlateFormat(
            one["name"], tuple(one["templates"]), one["layout"], one["prior"],
            read_common(one.get("common"), one["templates"], path),
        )
        for one in stored
    )  # fmt: skip


def _arrays(archive: zipfile.ZipFile, name: str, steps: Sequence[int]) -> tuple[NDArray[np.float32], ...]:
    with archive.open(name) as member:
        stacked = np.lib.format.read_array(member, allow_pickle=False)
    ends = np.cumsum(steps, dtype=np.intp)
    if stacked.ndim != 2 or len(stacked) != (ends[-1] if len(ends) else 0):
        raise ValueError(f"{name} has shape {stacked.shape}")
    return tuple(np.split(stacked, ends[:-1])) if len(ends) else ()
