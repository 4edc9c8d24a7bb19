"""Averaged checkpoints: half way between two, without what only one has, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from training_case import TINY, load_script, make_data

from lpr.config import load_config
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.training.loop import train
from lpr.training.state import read_state
from lpr.types import InputError, UsageError

SMALL = ["model.hidden=8", "input.height=16", "input.width=64"]


@pytest.fixture(scope="module")
def average() -> ModuleType:
    return load_script("average")


def _saved(path: Path, seed: int, *settings: str) -> Path:
    torch.manual_seed(seed)
    config = load_config(["cpu"], [*SMALL, *settings])
    checkpoint.save(path, build_recogniser(config), config, {})
    return path


def test_the_mean_lies_between_and_leaves_out_what_has_grown(average: ModuleType, tmp_path: Path) -> None:
    first, second = _saved(tmp_path / "a.safetensors", 1), _saved(tmp_path / "b.safetensors", 2, "model.temporal=1")
    out = tmp_path / "mean.safetensors"
    assert average.main([str(first), str(second), "--shares", "0.75", "0.25", "--out", str(out)]) == 0
    a, b, mean = (checkpoint.load(path).model.state_dict() for path in (first, second, out))
    assert set(mean) == set(a) != set(b)
    for name in ("classifier.weight", "lstm.weight_ih_l0"):
        torch.testing.assert_close(mean[name], 0.75 * a[name] + 0.25 * b[name])
    with pytest.raises(UsageError, match="is there already"):
        average.main([str(first), str(second), "--out", str(out)])


def test_what_does_not_fit_is_refused(average: ModuleType, tmp_path: Path) -> None:
    first = _saved(tmp_path / "a.safetensors", 1)
    wider = _saved(tmp_path / "b.safetensors", 2, "model.hidden=16")
    with pytest.raises(InputError, match="another architecture"):
        average.main([str(first), str(wider), "--out", str(tmp_path / "c.safetensors")])
    for given, said in (
        ([str(first)], "has no average"),
        ([str(first), str(first), "--shares", "2", "-1"], "sum to 1"),
        ([str(first), str(first), "--shares", "1"], "sum to 1"),
        ([str(first), str(first), "--shares", "nan", "0.5"], "sum to 1"),
        ([str(tmp_path / "last.pt"), str(first)], "no configuration"),
    ):
        with pytest.raises(UsageError, match=said):
            average.main([*given, "--out", str(tmp_path / "c.safetensors")])

    with pytest.raises(InputError, match="is not there"):
        average.main([str(first), str(tmp_path / "last.pt"), "--out", str(tmp_path / "c.safetensors")])


def test_rounded_shares_make_no_weight_smaller(average: ModuleType, tmp_path: Path) -> None:
    first, out = _saved(tmp_path / "a.safetensors", 1), tmp_path / "mean.safetensors"
    assert average.main([*[str(first)] * 3, "--shares", "0.333", "0.333", "0.333", "--out", str(out)]) == 0
    before, after = (checkpoint.load(path).model.state_dict() for path in (first, out))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_the_end_of_a_run_counts_too(average: ModuleType, tmp_path: Path) -> None:
    config = load_config(["cpu"], [*SMALL, *TINY, "train.ema=0.5"])
    train(config, make_data(tmp_path / "data"), tmp_path / "run")
    best, end = tmp_path / "run" / "best" / "model.safetensors", tmp_path / "run" / "last.pt"
    start = _saved(tmp_path / "a.safetensors", 1, *TINY)
    out = tmp_path / "mean.safetensors"
    assert average.main([str(start), str(best), str(end), "--shares", "0.5", "0.25", "0.25", "--out", str(out)]) == 0
    a, b, mean = (checkpoint.load(path).model.state_dict()["classifier.weight"] for path in (start, best, out))
    ended = read_state(end)["average"]["classifier.weight"]
    torch.testing.assert_close(mean, 0.5 * a + 0.25 * b + 0.25 * ended)


@pytest.mark.parametrize("part", ["model.residual=1", "model.mixing=1", "model.stn=true"])
def test_what_another_lacks_is_the_identity_there(average: ModuleType, tmp_path: Path, part: str) -> None:
    grown, before = _saved(tmp_path / "a.safetensors", 1, part), _saved(tmp_path / "b.safetensors", 2)
    # Trained, the gates of the added part are open.
    found = checkpoint.load(grown)
    with torch.no_grad():
        for value in found.model.parameters():
            value += 0.1 * torch.randn_like(value)
    checkpoint.save(grown, found.model, found.config, {})
    pictures = torch.randint(0, 256, (3, 3, 16, 64), dtype=torch.uint8)

    def read(share: float) -> torch.Tensor:
        out = tmp_path / f"{share}.safetensors"
        assert average.main([str(grown), str(before), "--shares", str(share), str(1 - share), "--out", str(out)]) == 0
        with torch.no_grad():
            return torch.as_tensor(checkpoint.load(out).model.eval()(pictures))

    with torch.no_grad():
        alone, whole = (checkpoint.load(path).model.eval()(pictures) for path in (before, grown))
    torch.testing.assert_close(read(0.0), alone)
    torch.testing.assert_close(read(1.0), whole)
    assert not torch.allclose(alone, whole, atol=1e-2)
