"""The run directory: it is the experiment, and describes itself.

    config.yaml              the resolved configuration; `--preset RUN/config.yaml` repeats the run
    versions.json            the machine and the versions that it ran with
    split.json               the texts held out to select and to calibrate
    log.csv, tb/             one row a finished epoch; the same for TensorBoard
    best/model.safetensors   the best epoch's checkpoint
    last.pt                  everything needed to resume
    val_predictions.jsonl    the best checkpoint's readings of the held-out tracks
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from .. import __version__
from ..config import Config
from ..data.splits import Split
from ..files import writable_folder, write_text
from ..model import checkpoint
from ..types import InputError, Track
from . import state

COLUMNS = (
    "epoch", "step", "images", "lr", "loss", "ctc", "slot", "sr", "grad_norm", "images_per_s", "loader_wait",
    "exact", "exact_single", "characters", "best",
)  # fmt: skip


class RunFolder:
    """Paths and plain files of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best" / checkpoint.FILE_NAME
        self.last = path / state.FILE_NAME
        self.config = path / "config.yaml"
        self.split = path / "split.json"
        self.log = path / "log.csv"
        self.tensorboard = path / "tb"
        self.predictions = path / "val_predictions.jsonl"

    @property
    def killed_at_birth(self) -> bool:
        """Whether a run began here but was killed before its first state was on disk: resuming it is starting it."""
        return self.config.is_file() and not self.last.exists()

    def require_new(self) -> None:
        """InputError if something is there already."""
        # Hidden files do not count: they are what a kill leaves of a file that was being written.
        if self.path.exists() and not (self.path.is_dir() and all(p.name.startswith(".") for p in self.path.iterdir())):
            raise InputError(
                "is there already", where=self.path, fix="continue that run with --resume, or choose another --run"
            )

    def create(self, config: Config, split: Mapping[str, Any]) -> None:
        """Make the folder for a new run, with its configuration and held-out texts; InputError if it cannot be."""
        writable_folder(self.path)
        # yaml's own writer is enough: it quotes what a YAML 1.1 reader would take for something else than text.
        write_text(self.config, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=10_000))
        write_text(self.split, json.dumps(split, indent=1) + "\n")

    def read_split(self) -> dict[str, list[str]]:
        """The held-out texts as `create` wrote them."""
        result: dict[str, list[str]] = json.loads(self.split.read_text(encoding="utf-8"))
        return result

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
        with self.log.open("a", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

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


def split_texts(split: Split) -> dict[str, list[str]]:
    """The held-out texts of both folds as JSON values, sorted."""
    folds = {"select": split.select, "calibrate": split.calibrate}
    return {name: sorted({t.text for t in tracks if t.text is not None}) for name, tracks in folds.items()}


def fingerprint(tracks: Iterable[Track]) -> str:
    """sha256 over every track's id, label, scenario and frame names: a resumed run must find the same data."""
    digest = hashlib.sha256()
    for track in sorted(tracks, key=lambda t: t.id):
        frames = [f"{f.kind}:{f.path.name}" for f in track.frames]
        digest.update(json.dumps([track.id, track.text, track.scenario, frames]).encode())
    return digest.hexdigest()
