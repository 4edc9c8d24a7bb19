"""The ablation: equal work for every variant, resumable, and a table that compares on the same tracks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType

import pytest
from training_case import TINY, load_script, make_data

from lpr.types import InputError


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("ablation")
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(module, "TIMED_STEPS", 1)
    return module


def test_an_ablation_runs_resumes_and_leaves_its_tables(
    ablation: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data")
    settings = [one for one in TINY if not one.startswith(("train.epochs", "train.schedule", "model.super"))]
    call = ["--data", str(data), "--out", str(tmp_path / "out"), "--minutes", "0.0001", "--variants", "cpu", "stn"]
    call += ["--test", str(data), "--set", *settings]
    assert ablation.main(call) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "ablation.md").read_text()
    with (tmp_path / "out" / "ablation.csv").open() as handle:
        table = list(csv.DictReader(handle))
    assert [row["variant"] for row in table] == ["cpu", "stn"]
    assert {row["tracks"] for row in table} == {"16"}
    rates = json.loads((tmp_path / "out" / "rates.json").read_text())
    assert set(rates) == {"cpu", "stn"} and min(rates.values()) > 0

    # A second seed later: what stands is not trained again.
    before = (tmp_path / "out" / "cpu-0" / "best" / "model.safetensors").stat().st_mtime_ns
    assert ablation.main([*call, "--seeds", "0", "1"]) == 0
    assert (tmp_path / "out" / "cpu-0" / "best" / "model.safetensors").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "out" / "rates.json").read_text()) == rates
    with (tmp_path / "out" / "ablation.csv").open() as handle:
        assert all(len(row["by seed"].split()) == 2 for row in csv.DictReader(handle))
    with pytest.raises(InputError, match="is of other settings or test tracks"):
        ablation.main([*call[:5], "1", *call[6:]])


def test_differences_are_taken_track_by_track(ablation: ModuleType) -> None:
    def run(right: list[int]) -> dict[str, object]:
        named = {f"t{i}": value for i, value in enumerate(right)}
        return {
            "parameters": 780_000,
            "rate": 400.0,
            "frames": 10,
            "right": named,
            "single": dict.fromkeys(named, 0.25),
        }

    table = ablation.rows({"cpu": [run([1, 0, 0, 1] * 25)], "stn": [run([1, 1, 0, 1] * 25)], "mixing": []})
    assert [row["variant"] for row in table] == ["cpu", "stn"]
    assert (table[0]["exact match"], table[0]["against the first"], table[0]["single frame"]) == ("50.0", "", "25.0")
    assert table[1]["against the first"].startswith("+25.0 (+1")  # a share of 25 of 100: 16 to 34


def test_every_variant_is_a_valid_configuration_one_change_from_the_first(ablation: ModuleType) -> None:
    base = ablation.variant("cpu", "", []).model_dump()
    for name in ablation.VARIANTS:
        changed = ablation.variant(name, "", []).model_dump()
        found = [(s, k) for s in base for k in base[s] if base[s][k] != changed[s][k]]
        assert len(found) == {"cpu": 0, "teacher": 3, "merged": 2}.get(name, 1)
