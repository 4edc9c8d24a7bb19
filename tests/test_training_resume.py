"""A run that is resumed otherwise than it was begun: to another end, under a limit, without its state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from training_case import TINY, assert_same_end, log_rows, make_data

from lpr.config import Config, load_config
from lpr.model import checkpoint
from lpr.training import loop
from lpr.training.state import read_state
from lpr.types import InputError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    assert loop.train(_config(), data, run) == ""
    return run


def _config(*more: str) -> Config:
    return load_config(["phase1", "cpu"], [*TINY, *more])


def test_finished_run_goes_on_to_a_later_epoch(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """At a constant rate it ends as if the later epoch had been the plan, whatever end it was given before."""
    constant = "train.schedule=constant"
    assert loop.train(_config(constant), data, tmp_path / "planned") == ""
    run = tmp_path / "run"
    assert loop.train(_config(constant, "train.epochs=1"), data, run) == ""
    assert [row["epoch"] for row in log_rows(run)] == ["1"]
    capfd.readouterr()
    assert loop.train(_config(constant), data, run, resume=True) == ""
    assert "train.epochs: 1 then, 2 now" in capfd.readouterr().err
    assert load_config([str(run / "config.yaml")]).train.epochs == 2
    assert_same_end(run, tmp_path / "planned")


def test_format_without_a_held_out_plate_does_not_count_as_calibrated(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Held out is Scenario B, which shows old Brazilian plates alone; Argentine ones are trained on."""
    both = tmp_path / "both"
    shutil.copytree(data, both)
    for folder in sorted((both / "Scenario-A" / "Brazilian").iterdir())[:3]:
        moved = folder.rename(folder.with_name(f"track_9{folder.name[-4:]}"))
        (moved / "annotations.json").write_text(json.dumps({"plate_text": f"AB1{moved.name[-2:]}CD"}))
    formats = "read.formats=[brazilian, argentina]"
    assert loop.train(_config(formats, "train.epochs=1"), both, tmp_path / "run") == ""
    said = capfd.readouterr().err
    assert "shows a plate of argentina, which was trained on" in said
    assert "tracks held out to calibrate are read rightly: fewer than 40" in said
    stored = checkpoint.load(tmp_path / "run").calibration
    assert stored is not None and tuple(stored["formats"]) == ("brazilian",)
    record = json.loads((tmp_path / "run" / "val_predictions.jsonl").read_text().splitlines()[0])
    assert record["audit"]["calibrated"] is False


def test_limit_of_one_call_is_not_kept(straight: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    assert loop.train(_config("train.epochs=3", "train.max_minutes=1e-9"), data, run, resume=True) == "time"
    kept = load_config([str(run / "config.yaml")])
    assert kept == _config("train.epochs=3"), "the end is part of the run, the limit of that call"


def test_run_without_its_state_is_not_begun_anew(straight: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / "last.pt").unlink()
    before = checkpoint.load(run).hash
    with pytest.raises(InputError, match="nothing to resume from") as caught:
        loop.train(_config(), data, run, resume=True)
    assert f"train.init_from={run / 'best'}" in caught.value.problem.fix
    assert checkpoint.load(run).hash == before


def test_resumed_run_may_end_at_once(straight: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    assert loop.train(_config("train.epochs=1"), data, run, resume=True) == ""
    assert [row["epoch"] for row in log_rows(run)] == ["1", "2"], "what was trained stays"
    assert read_state(run / "last.pt")["position"]["finished"]
