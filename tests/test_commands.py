"""The README's commands, run as a person runs them, on a copy of the repository with tiny overrides."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lpr.__main__ import commands
from lpr.decode.records import read_predictions

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: One short epoch; the folds of a handful of tracks need a larger share.
TINY = ["--set", "train.epochs=1", "train.curriculum_steps=0", "split.val_share=0.3", "model.hidden=16"]


def call(folder: Path, *command: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with this interpreter's environment; its exit code must be `code`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LPR_")}
    env |= {"LPR_VENV": sys.prefix, "PYTHON": sys.executable, "OMP_NUM_THREADS": "2", **environment}
    words = [sys.executable, *command[1:]] if command[0] == "python" else list(command)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == code, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone holds, without the repository's own data, runs and outputs."""
    target = tmp_path_factory.mktemp("clone") / "lpr"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "runs", "tests", "docs")
    shutil.copytree(ROOT, target, ignore=lambda folder, names: {
        *unwanted(folder, names), *({"data"} if Path(folder) == ROOT else ()),
        *(set(names) - {"README.md"} if Path(folder).name == "submissions" else ()),
    })  # fmt: skip
    return target


@pytest.fixture(scope="module")
def demo(copy: Path) -> Path:
    done = call(copy, "bash", "scripts/demo.sh", *TINY, TRACKS="60", TEST_TRACKS="12")
    assert "submissions/demo/report/index.html" in done.stderr
    return copy


def test_the_demo_ends_with_a_valid_submission_a_table_and_a_report(demo: Path) -> None:
    out = demo / "submissions" / "demo"
    with zipfile.ZipFile(out / "predictions.zip") as archive:
        assert archive.namelist() == ["predictions.txt"]
        lines = archive.read("predictions.txt").decode().splitlines()
    tracks = sorted(path.name for path in (demo / "data" / "demo" / "test").iterdir() if path.is_dir())
    assert [line.split(",")[0] for line in lines] == tracks and len(tracks) == 12
    assert (out / "report" / "index.html").stat().st_size > 10_000
    record = json.loads((out / "predictions.jsonl").read_text().splitlines()[0])
    assert len(record["frames"]) == 5 and re.fullmatch("[0-9a-f]{64}", record["audit"]["model_hash"])


def test_a_second_demo_goes_on_where_the_first_ended(demo: Path) -> None:
    log = (demo / "runs" / "demo-phase2" / "log.csv").read_text()
    call(demo, "bash", "scripts/demo.sh", *TINY, TRACKS="60", TEST_TRACKS="12")
    assert (demo / "runs" / "demo-phase2" / "log.csv").read_text() == log


def test_phase_2_keeps_the_split_of_phase_1(demo: Path) -> None:
    first, second = (json.loads((demo / "runs" / f"demo-phase{n}" / "split.json").read_text()) for n in (1, 2))
    assert first["select"] and first["calibrate"] and first == second


def test_the_training_scripts_make_data_when_there_is_none(copy: Path) -> None:
    done = call(copy, "bash", "scripts/train_phase1.sh", *TINY, TRACKS="40")
    assert "making a synthetic set" in done.stderr and "minutes" in done.stderr
    assert (copy / "runs" / "phase1" / "best" / "model.safetensors").is_file()
    call(copy, "bash", "scripts/train_phase2.sh", "data/synthetic", *TINY)
    assert (copy / "runs" / "phase2" / "best" / "model.safetensors").is_file()


def test_infer_says_which_checkpoint_it_took_and_writes_below_submissions(demo: Path) -> None:
    done = call(demo, "python", "-m", "lpr.infer", "--tracks", "data/demo/test")
    assert "the newest run" in done.stderr
    written = Path(done.stdout.strip())
    assert written.parts[0] == "submissions" and (demo / written).is_file()
    done = call(demo, "python", "-m", "lpr.infer", "--tracks", "data/demo/test", LPR_CHECKPOINT="runs/demo-phase1")
    assert "demo-phase1" in done.stderr and "LPR_CHECKPOINT" in done.stderr
    done = call(demo, "python", "-m", "lpr.infer", "--tracks", "data/demo/test", code=1, LPR_CHECKPOINT="runs/none")
    assert "runs/none" in done.stderr


def test_a_track_without_a_readable_frame_keeps_its_line(demo: Path, tmp_path: Path) -> None:
    tracks = tmp_path / "test"
    shutil.copytree(demo / "data" / "demo" / "test", tracks)
    names = sorted(path.name for path in tracks.iterdir() if path.is_dir())
    for frame in (tracks / names[0]).iterdir():
        frame.write_bytes(b"")
    (tracks / names[1] / "lr-003.jpg").write_text("no picture")
    shutil.rmtree(tracks / names[2])
    (tracks / names[2]).mkdir()
    done = call(demo, "python", "-m", "lpr.infer", "--tracks", str(tracks), "--out", str(tmp_path / "out"))
    assert "WARNING: 2 of 12 tracks" in done.stderr and names[0] in done.stderr
    found = {p.track_id: p for p in read_predictions(tmp_path / "out" / "predictions.jsonl")}
    assert sorted(found) == names
    assert found[names[0]].confidence == found[names[2]].confidence == 0.0
    assert len(found[names[1]].per_frame) == 4 and "lr-003.jpg" in found[names[1]].problems[0].where
    done = call(demo, "python", "-m", "lpr.infer", "--tracks", str(tracks), "--out", str(tmp_path), "--strict", code=1)
    assert names[0] in done.stderr


def test_hr_frames_change_nothing(demo: Path, tmp_path: Path) -> None:
    texts = []
    for with_hr in (True, False):
        tracks = tmp_path / f"hr{with_hr}"
        for path in sorted((demo / "data" / "demo" / "train" / "Scenario-B" / "Mercosur").iterdir())[:6]:
            shutil.copytree(path, tracks / path.name)
            for frame in (tracks / path.name).glob("hr-*"):
                if with_hr:
                    frame.write_bytes(b"opening this would be reported")
                else:
                    frame.unlink()
        out = tmp_path / f"out{with_hr}"
        done = call(demo, "python", "-m", "lpr.infer", "--tracks", str(tracks), "--out", str(out), "--pictures", "6")
        assert "hr-0" not in done.stderr
        with zipfile.ZipFile(out / "predictions.zip") as archive:
            texts.append(archive.read("predictions.txt"))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["lpr.infer", "--tracks", "no/such/folder"], 1, "no such folder"),
        (["lpr.infer", "--tracks", "data/demo/test", "--format", "brasilian"], 1, "did you mean 'brazilian'"),
        (["lpr.infer", "--tracks", "data/demo/test", "--set", "read.fusoin=max_score"], 1, "did you mean read.fusion"),
        (["lpr.infer", "--tracks", "data/demo/test", "--checkpoint", "README.md"], 1, "README.md"),
        (["lpr.infer", "--tracks", "data/demo/test", "--out", "/proc/nothing"], 1, "/proc/nothing"),
        (["lpr.infer"], 2, "--tracks"),
        (["lpr.train", "--data", "data/demo/train", "--run", "runs/demo-phase1"], 1, "runs/demo-phase1"),
        (["lpr.train", "--data", "nowhere", "--run", "runs/new"], 1, "nowhere"),
        (["lpr.submission", "check", "README.md", "--tracks", "data/demo/test"], 1, "README.md"),
    ],
)
def test_mistakes_get_one_clear_error(demo: Path, arguments: list[str], code: int, said: str) -> None:
    done = call(demo, "python", "-m", *arguments, code=code)
    assert said in done.stdout + done.stderr


def test_the_reader_reads_files_and_pixels_alike(demo: Path) -> None:
    import numpy as np

    import lpr
    from lpr.data.images import read_image

    track = min(path for path in (demo / "data" / "demo" / "test").iterdir() if path.is_dir())
    files = sorted(track.glob("lr-*.jpg"))
    reader = lpr.Reader(demo / "runs" / "demo-phase2")
    by_file = reader.read(files)
    by_pixels = reader.read([read_image(file) for file in files])
    backwards = reader.read(files[::-1])
    assert by_file.text == by_pixels.text == backwards.text
    assert by_file.confidence == pytest.approx(by_pixels.confidence) == pytest.approx(backwards.confidence)
    assert [reading.file for reading in by_file.per_frame] == [file.name for file in files]
    alone = reader.read(files[0])
    assert len(alone.per_frame) == 1 and len(alone.text) == 7
    nothing = reader.read([np.zeros((1, 1, 3), np.uint8), track / "none.jpg"])
    assert nothing.confidence == 0.0 and len(nothing.problems) == 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folders of real plates are not here")
@pytest.mark.parametrize(
    ("folder", "tracks"),
    [("lrlpr_figure_tracks", 9), ("brazil_photos", 34), ("argentina_plates", 65), ("india_plates", 6)],
)
def test_real_folders_give_one_line_for_every_track(demo: Path, tmp_path: Path, folder: str, tracks: int) -> None:
    call(demo, "python", "-m", "lpr.infer", "--tracks", str(SHARED / folder), "--out", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "predictions.zip") as archive:
        assert len(archive.read("predictions.txt").decode().splitlines()) == tracks


def test_the_benchmark_prints_every_rate(demo: Path) -> None:
    words = ["--tracks", "12", "--list-tracks", "50", "--seconds", "1", "--rounds", "1", "--presets", "cpu"]
    done = call(demo, "python", "-m", "lpr.benchmark", *words)
    for what in ("listing and checking", "loading", "training cpu", "reading with cpu", "of this decoding"):
        assert f"| {what}" in done.stdout


def test_the_readme_names_only_what_exists() -> None:
    named = set(re.findall(r"python -m lpr\.(\w+)", README))
    assert named <= set(commands()) and set(commands()) <= named
    for script in set(re.findall(r"scripts/\w+\.(?:sh|py)", README)):
        assert (ROOT / script).is_file(), script
    for preset in re.findall(r"--preset ([a-z0-9 -]+?)(?: --|`|$)", README, flags=re.MULTILINE):
        for name in preset.split():
            assert (ROOT / "configs" / f"{name}.yaml").is_file(), name


def test_the_readmes_picture_exists() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_the_truth_beside_a_test_set_is_not_inside_it(demo: Path) -> None:
    with (demo / "data" / "demo" / "test_truth.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 12
    names = {path.name for path in (demo / "data" / "demo" / "test").rglob("*") if path.is_file()}
    assert not any("truth" in name or name == "annotations.json" for name in names)
