"""Whole runs of a tiny network: resuming bit-equal after an interruption and a kill, two phases, clear errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from training_case import TINY, assert_same_end, log_rows, make_data

from lpr.config import Config, load_config
from lpr.data.dataset import flat
from lpr.data.splits import HeldOut, split_tracks
from lpr.decode.records import read_predictions
from lpr.model import checkpoint
from lpr.train import main
from lpr.training import loop, step
from lpr.training.batches import epoch_batches
from lpr.training.state import read_state
from lpr.training.stopping import StopRequest
from lpr.types import InputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def _config(*more: str) -> Config:
    return load_config(["phase1", "cpu"], [*TINY, *more])


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end without interruption."""
    run = tmp_path_factory.mktemp("straight") / "run"
    assert loop.train(_config(), data, run) == ""
    return run


def test_run_directory_is_complete(straight: Path, data: Path) -> None:
    assert load_config([str(straight / "config.yaml")]) == _config()
    assert {p.name for p in straight.iterdir()} == {
        "config.yaml", "versions.json", "split.json", "log.csv", "tb", "best", "last.pt", "val_predictions.jsonl",
        ".lock", "pictures",
    }  # fmt: skip
    assert [row["epoch"] for row in log_rows(straight)] == ["1", "2"]
    assert list((straight / "tb").glob("events.*"))
    split = json.loads((straight / "split.json").read_text())
    best = checkpoint.load(straight)
    assert best.split == HeldOut.from_dict(split)
    assert best.calibration is not None and best.calibration["method"] == "constrained/sequence/0.5/common/3 views"
    held_out = len(split["select"]) + len(split["calibrate"])
    predictions = read_predictions(straight / "val_predictions.jsonl")
    assert len(predictions) == held_out == 4
    assert all(len(p.per_frame) == 3 for p in predictions), "only LR frames are read"
    record = json.loads((straight / "val_predictions.jsonl").read_text().splitlines()[0])
    assert record["audit"]["model_hash"] == best.hash


@pytest.mark.parametrize("after", [1, 5, 11])
def test_interrupted_run_resumes_bit_equal(
    straight: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Stopped by a signal after some step (in the first epoch, or the second), then resumed."""
    run = tmp_path / "run"
    steps = 0
    original = loop._Loop.step

    def step(self: Any, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args)

    monkeypatch.setattr(loop._Loop, "step", step)
    assert loop.train(_config(), data, run) == "interrupted"
    position = read_state(run / "last.pt")["position"]
    assert position["step"] == after
    assert position["batch"] > 0, "the point of this test is the middle of an epoch"
    torch.manual_seed(999)
    assert loop.train(_config(), data, run, resume=True) == ""
    assert_same_end(run, straight)


#: States written: before the first step, after each of 14, after both epochs, at the end.
SAVES = 1 + 14 + 2 + 1

#: Run in a process of its own: the command, but SIGKILL in the middle of one step, or of writing its state.
KILLED = """
import os, signal, sys
from pathlib import Path
from lpr.train import main
from lpr.training import loop
where, at, calls = sys.argv[1], int(sys.argv[2]), 0
owner, name = (loop._Loop, "step") if where == "step" else (Path, "write_bytes")
original = getattr(owner, name)
def counted(*args):
    global calls
    calls += where == "step" or args[0].name.startswith(".last.")
    if calls == at:
        if where == "save":
            original(args[0], b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args)
setattr(owner, name, counted)
main(sys.argv[3:])
"""


@pytest.mark.parametrize(("where", "at"), [("step", 6), ("save", 1), ("save", 11), ("save", SAVES)])
def test_killed_run_resumes_bit_equal(straight: Path, data: Path, tmp_path: Path, where: str, at: int) -> None:
    """SIGKILL with a state saved at every step, then resumed from the last whole one."""
    run = tmp_path / "run"
    arguments = ["--preset", "phase1", "cpu", "--data", str(data), "--run", str(run), "--set", *TINY]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, where, str(at), *arguments, "train.checkpoint_minutes=1e-9"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    if at == 1:
        assert not (run / "last.pt").exists()
    else:
        position = read_state(run / "last.pt")["position"]
        assert (position["step"] == 14) == (at == SAVES) and not position["finished"]
    torch.manual_seed(999)
    assert loop.train(_config("train.checkpoint_minutes=1e-9"), data, run, resume=True) == ""
    assert_same_end(run, straight)


def test_samples_do_not_depend_on_the_loader(straight: Path, data: Path, tmp_path: Path) -> None:
    assert loop.train(_config("data.workers=2"), data, tmp_path / "run") == ""
    assert_same_end(tmp_path / "run", straight)


def test_resuming_a_finished_run_says_so_and_changes_nothing(
    straight: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    assert loop.train(_config(), data, run, resume=True) == ""
    assert "this run is finished, after 14 steps" in capfd.readouterr().err
    assert_same_end(run, straight)
    shutil.rmtree(run / "best")
    with pytest.raises(InputError, match="best checkpoint of this run was deleted"):
        loop.train(_config(), data, run, resume=True)


@pytest.mark.parametrize("stops", [[3], [2, 4], [11]])
def test_run_stopped_by_time_resumes_bit_equal(
    straight: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    """Its checkpoint is finished each time, and that must leave no trace in what follows."""
    run = tmp_path / "run"
    original = loop._Loop.step

    def step(self: Any, *args: Any) -> Any:
        if self.position.step + 1 in stops:
            self.stop._deadline = 0.0
        return original(self, *args)

    monkeypatch.setattr(loop._Loop, "step", step)
    for time, after in enumerate(stops):
        assert loop.train(_config(), data, run, resume=time > 0) == "time"
        state = read_state(run / "last.pt")["position"]
        assert state["step"] == after and (state["best"] is None) == (after < 7)
        assert checkpoint.load(run).calibration is not None
    torch.manual_seed(999)
    # The folds are in the state; the file of the same content is for people.
    (run / "split.json").unlink()
    assert loop.train(_config(), data, run, resume=True) == ""
    assert (run / "split.json").read_text() == (straight / "split.json").read_text()
    assert_same_end(run, straight)


def test_time_limit_leaves_a_usable_checkpoint(data: Path, tmp_path: Path) -> None:
    assert loop.train(_config("train.max_minutes=1e-9"), data, tmp_path / "run") == "time"
    assert checkpoint.load(tmp_path / "run").calibration is not None
    assert read_state(tmp_path / "run" / "last.pt")["position"]["step"] == 1


def test_a_run_on_all_plates_keeps_its_last_epoch_and_claims_nothing(data: Path, tmp_path: Path, capsys) -> None:
    assert loop.train(_config("split.train_on_all=true", "train.epochs=2"), data, tmp_path / "run") == ""
    found = checkpoint.load(tmp_path / "run")
    assert found.calibration is None and "calibrate" not in found.figures
    assert found.split == HeldOut(frozenset(), frozenset()) and found.figures["epoch"] == 2
    last = read_state(tmp_path / "run" / "last.pt")["model"]
    for name, weights in found.model.state_dict().items():
        torch.testing.assert_close(weights, last[name], msg=name)
    said = "".join(capsys.readouterr())
    assert "that it was not chosen by" not in said and "trained on all plates" in said
    later = _config(f"train.init_from={tmp_path / 'run'}", "train.epochs=1")
    assert loop.train(later, data, tmp_path / "later") == ""
    assert "validation knows them already" in "".join(capsys.readouterr())


def test_what_the_last_minutes_brought_is_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit in the middle of an epoch: its weights are read with if they read better than the last whole epoch's."""
    run = tmp_path / "run"
    assert loop.train(_config("train.epochs=1", "train.schedule=constant"), data, run) == ""
    config = _config("train.schedule=constant", f"train.init_from={run}", "train.max_minutes=1e-9", "train.lr=1e-12")
    for keys, step_number in ([(1, 0), (1, 1)], 1), ([(1, 1), (1, 0)], 0):
        found = iter(keys)
        monkeypatch.setattr(loop.Scores, "key", property(lambda self, found=found: next(found)))
        shutil.rmtree(tmp_path / "next", ignore_errors=True)
        assert loop.train(config, data, tmp_path / "next") == "time"
        assert checkpoint.load(tmp_path / "next").figures["step"] == step_number


def test_a_run_that_goes_on_forgets_what_its_last_minutes_brought(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert loop.train(_config("train.epochs=1", "train.schedule=constant"), data, run) == ""
    settings = ["train.schedule=constant", f"train.init_from={run}", "train.lr=1e-12", "train.epochs=1"]
    # The start, the middle of the epoch, which reads better, and its end, which reads worse than either.
    found = iter([(1, 0), (1, 1), (0, 0)])
    monkeypatch.setattr(loop.Scores, "key", property(lambda self: next(found)))
    assert loop.train(_config(*settings, "train.max_minutes=1e-9"), data, tmp_path / "next") == "time"
    assert checkpoint.load(tmp_path / "next").figures["step"] == 1
    assert loop.train(_config(*settings), data, tmp_path / "next", resume=True) == ""
    assert checkpoint.load(tmp_path / "next").figures["step"] == 0


def test_a_run_on_all_plates_goes_on_with_its_folds(data: Path, tmp_path: Path) -> None:
    run, later = tmp_path / "run", tmp_path / "later"
    assert loop.train(_config("train.epochs=1", "split.val_share=0.4"), data, run) == ""
    settings = ["split.train_on_all=true", "split.val_share=0.2", f"train.init_from={run}", "train.epochs=1"]
    assert loop.train(_config(*settings, "train.max_minutes=1e-9"), data, later) == "time"
    folds = read_state(later / "last.pt")["data"]["folds"]
    assert HeldOut.from_dict(folds) == checkpoint.load(run).split
    assert loop.train(_config(*settings), data, later, resume=True) == ""
    assert read_state(later / "last.pt")["data"]["folds"] == folds


def test_a_label_longer_than_the_slot_head_stays_out_of_training(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    labels = sorted(data.rglob("annotations.json"))
    values = json.loads(labels[0].read_text())
    labels[0].write_text(json.dumps({**values, "plate_text": "ABC12345"}))
    with pytest.raises(InputError, match="'ABC12345' has 8 characters, the longest plate"):
        loop.train(_config("data.strict=true"), data, tmp_path / "strict")
    assert loop.train(_config("data.max_bad_labels=0.2", "train.epochs=1"), data, tmp_path / "run") == ""


def test_phase_two_keeps_split_and_starts_from_phase_one(straight: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "phase2"
    config = load_config(
        ["phase2", "cpu"], [*TINY, f"train.init_from={straight}", "train.epochs=1", "split.seed=7", "train.lr=1e-12"]
    )
    assert loop.train(config, data, run) == ""
    assert (run / "split.json").read_text() == (straight / "split.json").read_text()
    first, after = checkpoint.load(straight), checkpoint.load(run)
    weights = zip(first.model.named_parameters(), after.model.parameters(), strict=True)
    for (name, a), b in weights:
        torch.testing.assert_close(a, b, msg=name)
    assert [row["epoch"] for row in log_rows(run)] == ["0", "1"], "epoch 0 is what it started from"
    assert float(log_rows(run)[0]["characters"]) == pytest.approx(first.figures["select"]["characters"], abs=1e-5)


def test_phase_two_trains_on_scenario_b_only(straight: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpr.data.scan import scan
    from lpr.model.recogniser import build_recogniser
    from lpr.training.setup import prepare

    config = load_config(["phase2", "cpu"], TINY)
    prepared = prepare(config, data, build_recogniser(config), None)
    assert {t.scenario for t in prepared.split.train} == {"B"}
    assert len(prepared.split.train) < len(split_tracks(scan(data).tracks, config.split).train)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.hidden=16"], "another architecture: model.hidden 8 there, 16 here"),
        (["model.name=seed-crnn"], "another architecture: model.name 'cpu' there, 'seed-crnn' here"),
        (["model.alphabet=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"], "was trained for the alphabet 0123"),
    ],
)
def test_phase_two_refuses_other_networks(
    straight: Path, data: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    config = _config(f"train.init_from={straight}", *settings)
    with pytest.raises(InputError, match=message):
        loop.train(config, data, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing is left behind by a run that could not start"


def test_run_directory_in_the_way(straight: Path, data: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        loop.train(_config(), data, straight)


def test_resume_refuses_other_configuration_and_other_data(straight: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train.lr: 0.001 then, 0.002 now"):
        loop.train(_config("train.lr=2e-3"), data, straight, resume=True)
    other = tmp_path / "data"
    shutil.copytree(data, other)
    shutil.rmtree(other / "Scenario-A" / "Brazilian" / "track_00000")
    with pytest.raises(InputError, match="not the data that the run was started with"):
        loop.train(_config(), other, straight, resume=True)
    with pytest.raises(InputError, match="nothing to resume from"):
        loop.train(_config(), data, tmp_path / "none", resume=True)


def test_non_finite_loss_stops_with_its_cause_and_keeps_the_last_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = step.compute_losses

    def poisoned(outputs: Any, *args: Any, **more: Any) -> Any:
        if outputs.logits.requires_grad and loop_step() == 4:
            outputs.logits.data[0, 0, 0] = float("nan")
        return original(outputs, *args, **more)

    count = 0

    def loop_step() -> int:
        nonlocal count
        count += 1
        return count

    monkeypatch.setattr(step, "compute_losses", poisoned)
    run = tmp_path / "run"
    with pytest.raises(InputError, match="not finite at step 4 ") as caught:
        loop.train(_config("train.checkpoint_minutes=1e-9"), data, run)
    text = str(caught.value)
    for part in ("epoch 1, batch 4", "gradient norm", "learning rate", "track_0", "train.lr"):
        assert part in text
    state = read_state(run / "last.pt")
    assert state["position"]["step"] == 3
    assert all(bool(t.isfinite().all()) for t in state["model"].values())


def test_unreadable_frame_is_reported_and_left_out(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "data"
    shutil.copytree(data, other)
    broken = other / "Scenario-A" / "Brazilian" / "track_00000" / "lr-001.png"
    broken.write_bytes(broken.read_bytes()[:50])
    assert loop.train(_config("train.curriculum_steps=0"), other, tmp_path / "run") == ""
    assert capfd.readouterr().err.count(f"warning: left out: {broken}") == 1


def test_no_scenario_b_to_fine_tune_on(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "data"
    shutil.copytree(data / "Scenario-A", other / "Scenario-A")
    with pytest.raises(InputError, match="no tracks to train on of scenario B"):
        loop.train(load_config(["phase2", "cpu"], [*TINY, "train.init_from=''"]), other, tmp_path / "run")


def test_command_says_how_to_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["--data", str(data), "--run", str(run)]
    monkeypatch.setattr(StopRequest, "reason", "interrupted")
    assert main([*arguments, "--preset", "phase1", "cpu", "--set", *TINY]) == 130
    assert f"--data {data} --run {run} --resume" in capsys.readouterr().err
    monkeypatch.setattr(StopRequest, "reason", "")
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "best" / "model.safetensors")


@pytest.mark.parametrize("preset", ["phase1", "phase2", "seed-crnn", "cpu", "timm", "demo"])
def test_every_number_of_a_preset_is_a_known_setting(preset: str) -> None:
    load_config([preset])


def test_curriculum_goes_on_over_epochs(data: Path) -> None:
    from lpr.data.scan import scan

    tracks = scan(data).tracks
    config = _config("data.hr_frames=degraded", "data.hr_share=0.25", "train.curriculum_steps=12")
    steps = len(epoch_batches(tracks, config, 0, 0))
    clean = [
        sum(sample.kind == "hr" for sample in flat(batch))
        for epoch in range(3)
        for batch in epoch_batches(tracks, config, epoch, epoch * steps)
    ]
    assert steps == 8
    assert clean[0] == config.train.batch_size, "it begins with clean frames only"
    assert 8 > sum(clean[6:8]) / 2 > sum(clean[8:10]) / 2 > 0, "it does not begin anew with the second epoch"
    assert not any(clean[12:]), "after its end there are none"
