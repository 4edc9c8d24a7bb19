"""The run directory: it is the experiment, and describes itself.

config.yaml              the resolved configuration; `--preset RUN/config.yaml` repeats the run
versions.json            the machine and the versions that it ran with
split.json               the texts held out to select, to calibrate and to test
test_tracks.txt          the tracks held out to test, a label list for lpr.infer and lpr.evaluate; where there are any
log.csv, tb/             one row a finished epoch; the same for TensorBoard
pictures/epoch_003.png   readings of held-out tracks, random, best and worst; of the last epochs and the best one
best/model.safetensors   the best epoch's checkpoint
last.pt                  everything needed to resume
val_predictions.jsonl    the best checkpoint's readings of the held-out tracks
.lock                    held by the process that trains here
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from .. import __version__
from ..config import Config
from ..decode.review import track_path
from ..files import delete_stale, writable_folder, write_text, writing
from ..model import checkpoint
from ..types import InputError, Track
from . import state

COLUMNS = (
    "epoch", "step", "images", "lr", "loss", "ctc", "slot", "sr", "teacher", "grad_norm", "images_per_s", "loader_wait",
    "exact", "exact_single", "characters", "best",
)  # fmt: skip


class RunFolder:
    """Paths and plain files of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best" / checkpoint.FILE_NAME
        self.earlier_best = path / "best" / f"earlier-{checkpoint.FILE_NAME}"
        self.last = path / state.FILE_NAME
        self.config = path / "config.yaml"
        self.split = path / "split.json"
        self.test_tracks = path / "test_tracks.txt"
        self.log = path / "log.csv"
        self.tensorboard = path / "tb"
        self.pictures = path / "pictures"
        self.predictions = path / "val_predictions.jsonl"
        self._lock = path / ".lock"

    @property
    def begun(self) -> bool:
        """Whether there is a run here to continue."""
        return self.config.is_file() or self.last.is_file()

    @property
    def killed_at_birth(self) -> bool:
        """Whether a run began here but was killed before its first state was on disk: resuming it is starting it."""
        trained = self.last.exists() or self.log.exists() or self.best.exists()
        return self.config.is_file() and not trained

    def require_new(self) -> None:
        """InputError if something is there already."""
        # Hidden files do not count: they are what a kill leaves of a file that was being written.
        if self.path.exists() and not (self.path.is_dir() and all(p.name.startswith(".") for p in self.path.iterdir())):
            raise InputError(
                "is there already", where=self.path, fix="continue that run with --resume, or choose another --run"
            )

    def require_best(self, written: bool) -> None:
        """InputError if the best checkpoint was `written` but is gone: later epochs may not beat it."""
        if written and not self.best.is_file():
            raise InputError(
                "the best checkpoint of this run was deleted", where=self.best, fix="put it back, or start a new run"
            )

    def set_best_aside(self) -> None:
        """Keep the best checkpoint of a whole epoch, which one from within an epoch is about to replace."""
        if self.best.is_file() and not self.earlier_best.is_file():
            with writing(self.earlier_best):
                self.best.replace(self.earlier_best)

    def restore_best(self) -> None:
        """Put back what was set aside: a run that goes on does what one without a stop does."""
        if self.earlier_best.is_file():
            with writing(self.best):
                self.earlier_best.replace(self.best)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if needed and keep every other process from training in it; InputError if one does already.

        The file stays when the lock is gone: another process may have opened it, and would lock a deleted one.
        """
        writable_folder(self.path)
        for folder in (self.best.parent, self.pictures):
            delete_stale(folder)
        with writing(self._lock):
            handle = self._lock.open("ab")
        with handle:
            try:
                # Not flock, whose lock the loader's processes inherit: they outlive a killed run by some seconds.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise InputError(
                    "another process is training in it", where=self.path, fix="wait for it, or choose another --run"
                ) from error
            yield

    def create(self, config: Config, split: Mapping[str, Any]) -> None:
        """Write a new run's configuration and held-out texts."""
        self._write_config(config.model_dump(mode="json"))
        self.write_split(split)

    def note_end(self, config: Config) -> None:
        """Note in config.yaml where the run ends now (END_OF_RUN); what else a call is given holds for that call."""
        now = config.model_dump(mode="json")
        stored = yaml.safe_load(self.config.read_text(encoding="utf-8")) if self.config.is_file() else now
        for section, name in (setting.split(".") for setting in state.END_OF_RUN):
            stored.setdefault(section, {})[name] = now[section][name]
        self._write_config(stored)

    def _write_config(self, values: Mapping[str, Any]) -> None:
        # yaml's own writer is enough: it quotes what a YAML 1.1 reader would take for something else than text.
        write_text(self.config, yaml.safe_dump(values, sort_keys=False, width=10_000))

    def write_split(self, split: Mapping[str, Any]) -> None:
        """Write split.json, for people: the state holds the same."""
        write_text(self.split, json.dumps(split, indent=1) + "\n")

    def write_test_tracks(self, tracks: Sequence[Track]) -> None:
        """Write test_tracks.txt, lines of path, tab, text, unless there are no tracks."""
        if tracks:
            write_text(self.test_tracks, "".join(f"{track_path(track)}\t{track.text}\n" for track in tracks))

    def write_versions(self, device: torch.device) -> None:
        """Note what this call runs with; a resumed run notes its last call."""
        versions = {"lpr": __version__, "git_commit": checkpoint.git_commit(), "python": platform.python_version()}
        for package in ("torch", "timm", "numpy", "opencv-python-headless", "safetensors", "pydantic"):
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                versions[package] = None
        machine = {
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
        }
        write_text(self.path / "versions.json", json.dumps(versions | machine, indent=2) + "\n")

    def append_log(self, row: Mapping[str, Any]) -> None:
        """Add one row to log.csv, and the head line first where the file is new."""
        new = not self.log.exists()
        with writing(self.log), self.log.open("a", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def logged_figures(self) -> list[dict[str, float]]:
        """The rows of log.csv, oldest first, without what an epoch has no figure for."""
        with self.log.open(encoding="utf-8", newline="") as handle:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(handle)]

    def cut_log(self, epoch: int) -> None:
        """Drop the rows after `epoch`: a run killed between a row and its state writes them again."""
        if not self.log.exists():
            return
        with self.log.open(encoding="utf-8", newline="") as handle:
            # A row that a kill cut short has no epoch number or lacks its last column.
            rows = [r for r in csv.DictReader(handle) if r["best"] is not None and int(r["epoch"]) <= epoch]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.log, text.getvalue())


def fingerprint(tracks: Iterable[Track]) -> str:
    """sha256 over every track's id, label, source, scenario and frame names: a resumed run must find the same data."""
    digest = hashlib.sha256()
    for track in sorted(tracks, key=lambda t: (t.source, t.id)):
        frames = [f"{f.kind}:{f.path.name}" for f in track.frames]
        digest.update(json.dumps([track.id, track.text, track.source, track.scenario, frames]).encode())
    return digest.hexdigest()
