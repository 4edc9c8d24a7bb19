"""Commands on a GPU, where there is one: training with each part of the networks, resuming, reading."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": os.environ["LPR_TEST_GPUS"]}
ASK = "from lpr.model.devices import default_device; print(default_device().type)"


def call(*words: object) -> str:
    """What a command of python says; its failure fails the test."""
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
    assert not done.returncode, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("nvidia-smi") or "cuda" not in call("-c", ASK):
        pytest.skip("no GPU that this torch can use")
    folder = tmp_path_factory.mktemp("gpu") / "data"
    call("-m", "lpr.synth", "--out", folder, "--tracks", 60, "--hardness", "easy", "--seed", 1)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        ("seed-crnn", "model.super_resolution=true", "train.ema=0.99", "train.teacher_weight=0.1"),
        ("cpu", "train.optimizer=muon", "model.stn=true", "data.spoiled=0.2", "data.merged=0.3"),
        ("cpu", "train.amp=false", "model.temporal=1"),
        ("balanced",),
        ("accuracy", "model.sequence=attention"),
    ],
    ids=lambda settings: settings[0],
)
def test_it_trains_resumes_and_reads(data: Path, tmp_path: Path, settings: tuple[str, ...]):
    preset, *rest = settings
    run = tmp_path / "run"
    common = ["train.batch_size=16", "data.epoch_samples=160", "data.workers=2", "split.val_share=0.3"]
    trained = call(
        "-m", "lpr.train", "--preset", "phase1", preset, "--data", data, "--run", run,
        "--set", *common, *rest, "train.epochs=2",
    )  # fmt: skip
    assert "epoch 2/2" in trained
    assert "epoch 3/3" in call("-m", "lpr.train", "--data", data, "--run", run, "--resume", "--set", "train.epochs=3")
    said = call("-m", "lpr.infer", "--tracks", data, "--checkpoint", run, "--out", tmp_path / "out")
    assert "cuda" in said and "60 tracks read" in said


def test_the_gpu_reads_what_the_cpu_reads(data: Path, tmp_path: Path):
    for device in ("cuda", "cpu"):
        call(
            "-m",
            "lpr.infer",
            "--tracks",
            data,
            "--checkpoint",
            "brazil",
            "--device",
            device,
            "--out",
            tmp_path / device,
        )
    against = call(
        "-m", "lpr.evaluate", tmp_path / "cuda" / "predictions.jsonl", "--truth", data,
        "--against", tmp_path / "cpu" / "predictions.jsonl",
    )  # fmt: skip
    assert against
    texts = [
        [line.split('"text": "')[1][:7] for line in (tmp_path / device / "predictions.jsonl").read_text().splitlines()]
        for device in ("cuda", "cpu")
    ]
    assert sum(one != other for one, other in zip(*texts, strict=True)) <= 1
