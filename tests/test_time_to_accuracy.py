"""The race of presets: equal times, resumable, curves as a table and a picture."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import pytest
from training_case import TINY, load_script, make_data

from lpr.types import UsageError


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("time_to_accuracy")
    monkeypatch.setattr(module, "POINTS", 2)
    return module


def test_presets_race_and_leave_curves(race: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data")
    settings = [one for one in TINY if not one.startswith(("train.epochs", "model.super"))]
    call = ["--data", str(data), "--out", str(tmp_path / "out"), "--minutes", "0.001", "--target", "0"]
    call += ["--presets", "a=cpu", "b=cpu,read.fusion=majority_vote", "--set", *settings]
    assert race.main(call) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "race.md").read_text()
    assert [line.split("|")[1].strip() for line in printed.splitlines()[2:]] == ["a", "b"]
    rows = (tmp_path / "out" / "race.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2
    assert cv2.imread(str(tmp_path / "out" / "race.png")).shape == (480, 840, 3)
    assert "majority_vote" in (tmp_path / "out" / "b" / "config.yaml").read_text()
    # What is finished is not trained again.
    assert race.main(call) == 0
    assert (tmp_path / "out" / "race.csv").read_text().splitlines() == rows


def test_times_add_up_and_the_target_is_found(race: ModuleType, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    head = "epoch,images,images_per_s,exact,exact_single"
    (run / "log.csv").write_text(f"{head}\n1,6000,100,0.1,0.05\n2,12000,50,0.5,0.4\n")
    points = race.curve(run)
    assert [p["minutes"] for p in points] == [1, 3]
    assert [p["exact"] for p in points] == [10, 50]
    race.report(tmp_path, {"one": points, "two": points[:1]}, 40)
    table = (tmp_path / "race.md").read_text().splitlines()
    assert table[2] == "| one | 67 | 3.0 | 50.0 | 50.0 | 3.0 |"
    assert table[3] == "| two | 100 | 1.0 | 10.0 | 10.0 | not reached |"


@pytest.mark.parametrize("given", [["cpu"], ["=cpu"], ["a=cpu", "a=cpu"]])
def test_what_is_not_understood_is_said(race: ModuleType, given: list[str]) -> None:
    with pytest.raises(UsageError, match="expected NAME=PRESET"):
        race.configured(given, [])
