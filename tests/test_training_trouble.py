"""What goes wrong around a run: full disks, unreadable pictures, a second process; and what it says of itself."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from training_case import TINY, TRACKS, make_data

from lpr.config import Config, load_config
from lpr.data.splits import HeldOut
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.training import loop
from lpr.training.run import COLUMNS, RunFolder
from lpr.training.setup import prepare
from lpr.training.state import FILE_NAME, Position, Trained, read_state, save_state
from lpr.types import InputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _config(*more: str) -> Config:
    return load_config(["phase1", "cpu"], [*TINY, *more])


@contextmanager
def _full_disk(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes: writing fails with an OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_state_checkpoint_and_log_on_a_full_disk(tmp_path: Path) -> None:
    config = _config()
    model = build_recogniser(config)
    trained = Trained(model, torch.optim.AdamW(model.parameters()), torch.amp.GradScaler(enabled=False))
    run = RunFolder(tmp_path)
    with _full_disk(100_000):
        with pytest.raises(InputError, match=r"last\.pt: cannot be written: File too large"):
            save_state(tmp_path / FILE_NAME, Position(), trained, config, {})
        with pytest.raises(InputError, match=r"model\.safetensors: cannot be written: File too large"):
            checkpoint.save(tmp_path / "best" / checkpoint.FILE_NAME, model, config, {})
    with _full_disk(10), pytest.raises(InputError, match=r"log\.csv: cannot be written"):
        run.append_log(dict.fromkeys(COLUMNS, 1))
    run.cut_log(1)
    assert run.log.read_text().splitlines() == [",".join(COLUMNS)]
    assert not list((tmp_path / "best").iterdir()) and not (tmp_path / FILE_NAME).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_full_disk_is_one_line_and_the_run_goes_on_when_there_is_space(data: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        run = disk / "run"
        command = [sys.executable, "-m", "lpr.train", "--data", str(data), "--run", str(run)]
        settings = ["--preset", "phase1", "cpu", "--set", *TINY, "train.checkpoint_minutes=1e-9"]
        ballast = disk / "ballast"
        # The first state fits beside it; what comes next does not.
        ballast.write_bytes(bytes(18_000_000))
        done = subprocess.run([*command, *settings], cwd=ROOT, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1, done.stderr
        assert "cannot be written: No space left on device" in done.stderr and "Traceback" not in done.stderr
        ballast.unlink()
        done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """The tracks, with no picture that can be read."""
    root = tmp_path / "broken"
    shutil.copytree(data, root)
    for image in [*root.rglob("*.png"), *root.rglob("*.jpg")]:
        image.write_bytes(b"no picture")
    return root


@pytest.mark.parametrize("more", [[], ["train.max_minutes=1e-9"]])
def test_nothing_readable_is_an_error(
    broken: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match="frames can be read, so there is nothing to train on"):
        loop.train(_config(*more), broken, run)
    assert not (run / "best").exists()
    assert capfd.readouterr().err.count("left out") <= 10


def test_strict_stops_at_the_first_unreadable_frame(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    bad = root / "Scenario-A" / "Brazilian" / "track_00000" / "lr-001.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError) as caught:
        loop.train(_config("data.strict=true", "train.curriculum_steps=0"), root, tmp_path / "run")
    assert caught.value.problem.where == str(bad) and "data.strict" in caught.value.problem.fix


def test_unreadable_frames_are_counted_in_training_and_in_both_folds(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    for image in root.rglob("lr-001.*"):
        image.write_bytes(b"no picture")
    assert loop.train(_config("train.curriculum_steps=0", "data.hr_frames=none"), root, tmp_path / "run") == ""
    said = capfd.readouterr().err
    for what in ("12 of 36 frames of epoch 1 (33.3%)", "2 of 6 frames held out to select (33.3%)"):
        assert said.count(f"warning: {what} cannot be read") == 1
    assert "2 of 6 frames held out to calibrate (33.3%)" in said
    assert said.count("left out: ") == 10


#: Holds the run directory as a run does, says so, and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from lpr.training.run import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_directory_serves_one_process(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, run], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training in it"):
            loop.train(_config(), data, run)
        assert [path.name for path in run.iterdir()] == [".lock"]
        # With a configuration there, it is a run that can be resumed.
        RunFolder(run).create(_config(), {})
        with pytest.raises(InputError, match="another process is training in it"):
            loop.train(_config(), data, run, resume=True)
        other.send_signal(signal.SIGKILL)
    assert loop.train(_config("train.epochs=1"), data, run, resume=True) == ""


def test_the_lock_is_held_while_a_run_trains(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    original = loop._Loop.step
    answers = []

    def step(self: Any, *args: Any) -> Any:
        if not answers:
            tried = subprocess.run(
                [sys.executable, "-c", HOLDER, run], cwd=ROOT, capture_output=True, text=True, timeout=50
            )
            answers.append(tried.stderr)
        return original(self, *args)

    monkeypatch.setattr(loop._Loop, "step", step)
    assert loop.train(_config("train.epochs=1"), data, run) == ""
    assert "another process is training in it" in answers[0]
    with (run / ".lock").open("ab") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_labels_normalised_and_the_time_to_go_are_said(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    notes = root / "Scenario-A" / "Brazilian" / "track_00000" / "annotations.json"
    notes.write_text(notes.read_text().replace('"plate_text": "', '"plate_text": " '))
    monkeypatch.setattr(loop, "ESTIMATE_STEPS", 4)
    assert loop.train(_config("train.epochs=3"), root, tmp_path / "run") == ""
    said = capfd.readouterr().err
    assert "1 labels normalised" in said
    assert said.count("about 1 minute to go (17 steps of ") == 1


def test_sets_below_one_folder_share_ids_and_their_real_problems_are_still_seen(data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(data, tmp_path / name)
    broken = tmp_path / "second" / "Scenario-A" / "Brazilian" / "track_00014" / "annotations.json"
    broken.write_text("{")
    config = _config()
    prepared = prepare(config, tmp_path, build_recogniser(config), None)
    notes = "\n".join(prepared.notes)
    assert f"{TRACKS} tracks have the id of another one and go by their paths" in notes
    assert "was found before" not in notes
    assert str(broken) in notes, "which the renamed tracks would have pushed off the list"
    assert len({track.id for track in (*prepared.split.train, *prepared.split.select)}) > TRACKS


def test_what_a_run_cannot_learn_or_judge_is_said_before_it_starts(data: Path) -> None:
    def notes(*settings: str) -> str:
        config = _config(*settings)
        return "\n".join(prepare(config, data, build_recogniser(config), None).notes)

    assert "obey no format" not in notes()
    assert f"{TRACKS} labels, such as " in notes('read.formats=["mercosur"]')
    assert "model.super_resolution has no effect with data.hr_frames=none" in notes("data.hr_frames=none")
    everything = notes("split.train_on_all=true")
    assert ", held out: " in notes() and ", held out: " not in everything and "nothing held out" in everything


def test_folds_drawn_anew_from_data_of_the_start_are_a_warning(data: Path) -> None:
    config = _config("split.validate_on=a", "train.init_from=before")
    sources = {"a": data / "Scenario-A", "b": data / "Scenario-B"}
    model = build_recogniser(config)
    other = _config("split.validate_on=b")
    held_out = HeldOut.from_dict(prepare(other, sources, model, None).facts["split"])
    assert not any("held out now" in note for note in prepare(other, sources, model, held_out).notes)
    assert any(
        "WARNING" in note and "keep its split.validate_on" in note
        for note in prepare(config, sources, model, held_out).notes
    )


def test_a_run_on_all_plates_runs_the_epochs_chosen_before(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its scores are of plates trained on: that they stop rising ends nothing and lowers no rate."""
    settings = [
        "train.lr=1e-9",
        "train.early_stop=1",
        "train.epochs=3",
        "data.epoch_samples=8",
        "train.schedule=plateau",
    ]
    settings += ["train.plateau_patience=0"]
    assert loop.train(_config("split.train_on_all=true", *settings), data, tmp_path / "all") == ""
    said = "".join(capsys.readouterr())
    assert read_state(tmp_path / "all" / FILE_NAME)["position"]["epoch"] == 3
    assert "trained-on tracks: exact" in said and "held-out tracks: exact" not in said and "stopped early" not in said
    assert read_state(tmp_path / "all" / FILE_NAME)["position"]["reductions"] == 0
    assert loop.train(_config(*settings), data, tmp_path / "some") == ""
    assert "held-out tracks: exact" in (said := "".join(capsys.readouterr())) and "stopped early" in said
