"""The sweep: its trials, its ranking, and that the same command continues it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from training_case import TINY, make_data

from lpr.config import Config, load_config
from lpr.sweep import GRID, main, ranked, run_name, trials
from lpr.types import InputError, TooDemanding, UsageError


def test_trials_begin_with_the_presets_and_repeat_nothing() -> None:
    config = load_config(["phase1", "cpu"])
    found = trials(config, 50, 0)
    assert found[0] == {"train.batch_size": 16, "train.lr": 1e-3, "model.dropout": 0.1, "model.hidden": 128}
    assert len({tuple(one.values()) for one in found}) == 50
    assert found == trials(config, 50, 0) and found != trials(config, 50, 1)
    everything = trials(config, 10_000, 0)
    assert len(everything) == 4 * 5 * 3 * 3
    assert len({run_name(one) for one in everything}) == len(everything)
    assert run_name(found[0]) == "batch_size_16-lr_0.001-dropout_0.1-hidden_128"
    assert all(value in GRID[key] for one in everything for key, value in one.items())


def test_ranked_by_exact_match_then_characters() -> None:
    rows = [
        {"exact": e, "characters": c, "run": r}
        for e, c, r in (("0.1", "0.5", "a"), ("0.2", "0", "b"), ("0.1", "0.6", "c"))
    ]
    assert [row["run"] for row in ranked(rows)] == ["b", "c", "a"]


def test_a_sweep_ranks_and_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setitem(GRID, "model.hidden", (8,))
    data, out = make_data(tmp_path / "data"), tmp_path / "sweep"
    command = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--minutes",
        "0.002",
        "--preset",
        "phase1",
        "cpu",
        "--set",
        *TINY,
    ]
    assert main([*command, "--trials", "1"]) == 0
    first = (out / "sweep.csv").read_text()
    # An interrupted trial: it has a folder, but no row.
    name = run_name(trials(load_config(["phase1", "cpu"], TINY), 2, 0)[1])
    (out / name).mkdir()
    (out / name / "config.yaml").write_text("half")
    assert main([*command, "--trials", "2"]) == 0
    with (out / "sweep.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2 and {row["run"] for row in rows} >= {first.splitlines()[1].rsplit(",", 1)[1]}
    assert name in {row["run"] for row in rows} and (out / name / "best").is_dir()
    said = capsys.readouterr()
    assert said.err.count("trial ") == 2 and said.out.splitlines()[-1] == str(out / "sweep.csv")
    torch.set_num_threads(threads)
    with pytest.raises(UsageError):
        main([*command, "--trials", "0"])


def test_a_trial_that_fails_is_a_row_and_other_terms_are_another_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lpr.training import loop

    data, out = make_data(tmp_path / "data"), tmp_path / "sweep"
    called: list[str] = []
    trained = loop.train

    def train(config: Config, where: Path, run: Path) -> str:
        called.append(run.name)
        if len(called) == 2:
            raise TooDemanding("the loss is not finite")
        return trained(config, where, run)

    monkeypatch.setitem(GRID, "model.hidden", (8,))
    monkeypatch.setattr(loop, "train", train)
    command = ["--data", str(data), "--out", str(out), "--preset", "phase1", "cpu", "--set", *TINY, "--trials", "3"]
    assert main([*command, "--minutes", "0.002"]) == 0
    with (out / "sweep.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["run"], row["exact"]) for row in rows if row["failed"]] == [(called[1], "0")]
    assert len(rows) == 3
    assert main([*command, "--minutes", "0.002"]) == 0 and len(called) == 3
    with pytest.raises(InputError, match="a sweep with other presets"):
        main([*command, "--minutes", "0.003"])


def test_a_full_disk_is_no_result_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpr.training import loop

    data, out = make_data(tmp_path / "data"), tmp_path / "sweep"

    def train(config: Config, where: Path, run: Path) -> str:
        raise InputError("cannot be written: No space left on device")

    monkeypatch.setattr(loop, "train", train)
    with pytest.raises(InputError, match="No space left"):
        main(
            ["--data", str(data), "--out", str(out), "--preset", "phase1", "cpu", "--set", *TINY, "--minutes", "0.002"]
        )
    assert not (out / "sweep.csv").exists()
