"""What the tests of training share: tracks to train a tiny network on, and its settings."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lpr.formats import load_format
from lpr.model import checkpoint
from lpr.training import loop
from lpr.training.state import read_state

TRACKS = 16
#: Small, but with everything whose state a resumed run needs: dropout, momentum, curriculum, augmentation, all heads.
TINY = [
    "input.width=64", "model.hidden=8", "model.dropout=0.3", "model.super_resolution=true", "data.workers=0",
    "split.val_share=0.25", "train.batch_size=8", "train.curriculum_steps=20", "train.epochs=2", "train.threads=1",
    "train.schedule=onecycle",
]  # fmt: skip


def make_data(root: Path) -> Path:
    """16 tracks below `root`, half of them of Scenario B, of three LR and two HR frames showing their text."""
    rng = np.random.default_rng(0)
    for number in range(TRACKS):
        scenario = "AB"[number % 2]
        folder = root / f"Scenario-{scenario}" / "Brazilian" / f"track_{number:05d}"
        folder.mkdir(parents=True)
        text = load_format("brazilian").sample(rng)
        (folder / "annotations.json").write_text(json.dumps({"plate_layout": "Brazilian", "plate_text": text}))
        for kind, count, width in (("lr", 3, 44), ("hr", 2, 88)):
            for index in range(1, count + 1):
                image = rng.integers(0, 60, (width // 2, width, 3), dtype=np.uint8)
                cv2.putText(image, text, (1, width // 3), cv2.FONT_HERSHEY_PLAIN, width / 70, (255, 255, 255))
                suffix = "png" if scenario == "A" else "jpg"
                cv2.imwrite(str(folder / f"{kind}-{index:03d}.{suffix}"), image)
    return root


def interrupt_before(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a training stop, as by a signal, at the step after `number` of them."""
    original = loop._Loop.step

    def step(self: Any, *args: Any) -> Any:
        if self.position.step == number:
            self.stop._interrupted = True
        return original(self, *args)

    monkeypatch.setattr(loop._Loop, "step", step)


def load_script(name: str) -> ModuleType:
    """scripts/NAME.py as a module of its own."""
    path = Path(__file__).resolve().parent.parent / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def log_rows(run: Path) -> list[dict[str, str]]:
    """The rows of a run's log.csv, without what is of the machine."""
    with (run / "log.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    # Rates and waits are times of this machine, not of the run.
    return [{k: v for k, v in row.items() if k not in ("images_per_s", "loader_wait")} for row in rows]


def assert_same_end(run: Path, straight: Path) -> None:
    """Both runs ended with the same weights, moments, random state, figures and log."""
    a, b = read_state(run / "last.pt"), read_state(straight / "last.pt")
    for name in a["model"]:
        assert torch.equal(a["model"][name], b["model"][name]), name
    for index, moments in a["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, b["optimizer"]["state"][index][name]), (index, name)
    assert torch.equal(a["rng"], b["rng"])
    timeless = [{**s["position"], "sums": {**s["position"]["sums"], "wait_s": 0, "train_s": 0}} for s in (a, b)]
    assert timeless[0] == timeless[1]
    assert log_rows(run) == log_rows(straight)
    ends = [checkpoint.load(path) for path in (run, straight)]
    assert ends[0].hash == ends[1].hash
    assert ends[0].calibration == ends[1].calibration
    assert ends[0].figures == ends[1].figures
