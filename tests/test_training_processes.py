"""Several processes: after some steps two have the weights that one has; errors and results reach both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_case import TINY, make_data

from lpr.model import devices
from lpr.training import processes as module
from lpr.training.processes import Processes
from lpr.training.state import read_state
from lpr.types import InputError

ROOT = Path(__file__).resolve().parent.parent

#: The command, but BatchNorm normalises by its running statistics: a part's own would differ from the batch's.
SCRIPT = """
import sys, torch
train = torch.nn.BatchNorm2d.train
torch.nn.BatchNorm2d.train = lambda self, mode=True: train(self, False)
from lpr.cli import run
from lpr.train import main
run(main)
"""

#: Parts of 5 and 4 of a batch of 9, the last batch of an epoch smaller; no dropout, whose numbers differ.
SETTINGS = [*TINY, "model.dropout=0", "train.batch_size=9", "train.epochs=1", "train.amp=false",
            "train.curriculum_steps=0", "train.ema=0.9", "train.teacher_weight=0.5"]  # fmt: skip


def _train(script: Path, data: Path, run: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script)]
    if processes > 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        # Without the dashes torchrun takes --run for a short form of its own --run-path.
        command = [*launcher, "--", str(script)]
    return subprocess.run(
        [*command, "--preset", "phase1", "cpu", "--data", data, "--run", run, "--set", *SETTINGS, *more],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_equal_one_and_report_together(tmp_path: Path) -> None:
    data, script = make_data(tmp_path / "data"), tmp_path / "train.py"
    script.write_text(SCRIPT)
    ends = []
    for processes in (1, 2):
        done = _train(script, data, tmp_path / f"run{processes}", processes)
        assert done.returncode == 0, done.stderr
        ends.append(read_state(tmp_path / f"run{processes}" / "last.pt"))
    one, two = ends
    assert done.stderr.count("epoch 1/1: ") == 1, "only the first process prints"
    assert "2 processes, each with its part of every batch" in done.stderr
    assert one["position"]["step"] == two["position"]["step"] >= 6
    assert (one["processes"], two["processes"]) == (1, 2)
    for name in ("loss", "ctc", "slot", "sr", "teacher", "grad_norm", "images"):
        a, b = one["position"]["sums"][name], two["position"]["sums"][name]
        assert abs(a - b) <= 1e-3 * abs(a), (name, a, b)
    assert one["position"]["sums"]["teacher"] > 0
    for which in ("model", "average"):
        for name, weights in one[which].items():
            # Six steps at up to 1e-3 move a weight by about 5e-3; sums in another order by a small part of that.
            torch.testing.assert_close(two[which][name], weights, rtol=0, atol=2e-4, msg=f"{which} {name}")

    # An error on both: said once, without a traceback of ours.
    done = _train(script, data, tmp_path / "run2", 2)
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert "is there already" in done.stderr


def test_parts_cover_a_batch_and_may_be_empty() -> None:
    parts = [Processes(rank, 3).part(list(range(7))) for rank in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    assert Processes(2, 3).part([1, 2]) == []
    alone = Processes()
    assert alone.part([1, 2]) == [1, 2] and alone.gather("x") == ["x"] and alone.agree("time") == "time"


def test_a_gpu_that_is_not_there_or_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(module, "gpu_trouble", lambda number=0: "")
    monkeypatch.setattr(module, "default_device", lambda: torch.device("cpu"))
    assert Processes(0, 2, 0).device == torch.device("cuda", 0)
    with pytest.raises(InputError, match="there are 1"):
        Processes(1, 2, 1)
    monkeypatch.setattr(module, "gpu_trouble", lambda number=0: "no kernel image is available")
    with pytest.raises(InputError, match="no kernel image"):
        Processes(0, 2, 0)
    # Alone it takes what can compute.
    assert Processes().device.type == "cpu"


def test_a_gpu_is_tried_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    devices.gpu_trouble.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # This torch sees no GPU, or hides it: what a tensor there raises stands for a GPU without kernels.
    assert devices.gpu_trouble() and devices.default_device().type == "cpu"
    devices.gpu_trouble.cache_clear()
