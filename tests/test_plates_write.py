"""Synthetic sets on disk: layout, sizes, the same bytes again, and refusal of what is not ours."""

import csv
import errno
import itertools
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from lpr.formats import load_format
from lpr.plates import jobs
from lpr.plates.hardness import LEVELS, draw_track
from lpr.plates.write import write_tracks
from lpr.synth import main
from lpr.types import InputError


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    return write_tracks(tmp_path_factory.mktemp("synth") / "train", 24, "easy", 3, progress=False)


def test_a_training_tree_has_the_competitions_layout(train):
    folders = sorted(train.glob("Scenario-*/*/track_*"))
    assert len(folders) == 24
    assert len({f.name for f in folders}) == 24
    assert sorted(p.name for p in train.iterdir()) == ["Scenario-A", "Scenario-B", "synth.json"]
    for folder in folders:
        suffix = ".png" if "Scenario-A" in folder.parts else ".jpg"
        images = [f"{kind}-{i:03d}{suffix}" for kind in ("hr", "lr") for i in range(1, 6)]
        assert sorted(p.name for p in folder.iterdir()) == ["annotations.json", *images]
        notes = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        assert notes["plate_layout"] == folder.parent.name
        assert load_format(notes["plate_layout"].lower()).matches(notes["plate_text"])
        assert notes["synthetic"]["hardness"] == "easy"
        assert len(notes["synthetic"]["frames"]) == 10
        if suffix == ".jpg":
            assert notes["corners"] == {}
            continue
        assert sorted(notes["corners"]) == images
        for name, corners in notes["corners"].items():
            height, width = cv2.imread(str(folder / name)).shape[:2]
            assert list(corners) == ["top-left", "top-right", "bottom-right", "bottom-left"]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in corners.values())


def test_the_corners_lie_on_the_plate(train):
    """Inside the four corners it is lighter or darker than outside: the crop's own edge is car, the middle plate."""
    differences = []
    for folder in train.glob("Scenario-A/*/track_*"):
        corners = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))["corners"]["hr-001.png"]
        image = cv2.imread(str(folder / "hr-001.png"), cv2.IMREAD_GRAYSCALE).astype(float)
        inside = np.zeros(image.shape, np.uint8)
        cv2.fillConvexPoly(inside, np.array(list(corners.values()), np.int32), 1)
        ring = cv2.dilate(inside, np.ones((7, 7))) - cv2.dilate(inside, np.ones((3, 3)))
        rim = inside - cv2.erode(inside, np.ones((5, 5)))
        differences.append(abs(image[ring > 0].mean() - image[rim > 0].mean()))
    assert np.median(differences) > 25


def test_a_test_set_shows_lr_frames_only_and_keeps_its_truth_aside(tmp_path):
    truth = write_tracks(tmp_path / "test", 5, "hard", 4, split="test", progress=False)
    assert truth == tmp_path / "test_truth.csv"
    folders = sorted(p for p in (tmp_path / "test").iterdir() if p.is_dir())
    assert [f.name for f in folders] == [f"track_{10001 + i}" for i in range(5)]
    for folder in folders:
        assert sorted(p.name for p in folder.iterdir()) == [f"lr-{i:03d}.jpg" for i in range(1, 6)]
    with truth.open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [r["track_id"] for r in rows] == [f.name for f in folders]
    assert all(load_format(r["layout"].lower()).matches(r["text"]) and r["scenario"] == "B" for r in rows)
    lines = (tmp_path / "test_synthetic.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["track_id"] for line in lines] == [r["track_id"] for r in rows]


def test_workers_do_not_change_a_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_FEW", 1)
    one = write_tracks(tmp_path / "one", 6, "hard", 7, workers=1, progress=False)
    two = write_tracks(tmp_path / "two", 6, "hard", 7, workers=2, progress=False)
    assert files_of(one) == files_of(two)
    other = write_tracks(tmp_path / "other", 6, "hard", 8, workers=1, progress=False)
    assert not set(files_of(other).values()) & set(files_of(one).values())


def test_an_interrupted_run_goes_on_and_never_shows_half_a_track(tmp_path, monkeypatch):
    whole = files_of(write_tracks(tmp_path / "whole", 4, "easy", 1, progress=False))
    calls = {"n": 0}
    real = Path.write_bytes

    def failing(self: Path, data: bytes) -> int:
        calls["n"] += 1
        if calls["n"] == 16:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    out = tmp_path / "cut"
    with pytest.raises(InputError, match="No space left"):
        write_tracks(out, 4, "easy", 1, progress=False)
    assert [len(list(f.iterdir())) for f in out.rglob("track_*")] == [11]
    assert not (out / ".partial").exists()
    monkeypatch.undo()
    first = next(out.rglob("track_*/lr-001.png"))
    stamp = first.stat().st_mtime_ns
    write_tracks(out, 4, "easy", 1, progress=False)
    assert files_of(out) == whole
    assert first.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("change", [{"n": 3}, {"hardness": "hard"}, {"seed": 2}, {"split": "test"}])
def test_a_folder_of_another_call_is_refused(tmp_path, change):
    call = {"n": 2, "hardness": "easy", "seed": 1, "split": "train"}
    write_tracks(tmp_path / "set", call["n"], call["hardness"], call["seed"], progress=False)
    call |= change
    with pytest.raises(InputError, match="other arguments"):
        write_tracks(tmp_path / "set", call["n"], call["hardness"], call["seed"], split=call["split"], progress=False)


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_tracks(tmp_path, 2, "easy", 1, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="not a folder"):
        write_tracks(tmp_path / "thesis.txt", 2, "easy", 1, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracks", "0"], "at least 1"),
        (["--tracks", "2", "--format", "mercosurr"], "did you mean 'mercosur'(.|\n)*brazilian"),
        (["--tracks", "2", "--hardness", "esay"], "did you mean 'easy'(.|\n)*easy, hard"),
        (["--tracks", "2", "--seed", "-1"], "negative"),
        (["--tracks", "2", "--workers", "-1"], "negative"),
    ],
)
def test_wrong_arguments_are_clear_errors_and_leave_nothing(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        main(["--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_the_command_writes_one_format_on_request(tmp_path, capsys):
    main(["--out", str(tmp_path / "m"), "--tracks", "4", "--hardness", "easy", "--format", "mercosur"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "m")
    assert {p.parent.name for p in (tmp_path / "m").rglob("track_*")} == {"Mercosur"}


@pytest.mark.parametrize(
    ("scenario", "lr_width", "lr_aspect", "hr_width", "growth"),
    [("A", (43, 46), (2.0, 2.5), (78, 86), (3.0, 4.4)), ("B", (46, 49), (2.6, 3.0), (122, 135), (1.9, 2.9))],
)
def test_sizes_follow_the_facts(scenario, lr_width, lr_aspect, hr_width, growth):
    """As published for LRLPR-26: median or mean widths, aspects, and the growth of the LR width along a track."""
    limits = {"A": ((24, 68), (50, 148)), "B": ((35, 60), (55, 163))}[scenario]
    lr, hr, gains, shrinks, fills, aspects = [], [], [], [], [], []
    for i in range(600):
        _, frames = draw_track(np.random.default_rng([5, i]), scenario, LEVELS["hard"])
        far, near = frames[:5], frames[5:]
        lr += [f.width_px for f in far]
        hr += [f.width_px for f in near]
        aspects += [f.width_px / f.height_px for f in far]
        fills += [f.plate_px / f.width_px for f in frames]
        gains.append(far[4].width_px - far[0].width_px)
        shrinks.append(near[0].width_px - near[4].width_px)
    for values, (low, high) in zip((lr, hr), limits, strict=True):
        assert low <= min(values)
        assert max(values) <= high
    assert lr_width[0] <= np.mean(lr) <= lr_width[1]
    assert lr_aspect[0] <= np.mean(aspects) <= lr_aspect[1]
    assert hr_width[0] <= np.mean(hr) <= hr_width[1]
    assert growth[0] <= np.mean(gains) <= growth[1]
    assert np.mean(shrinks) > 2 * np.mean(gains)
    assert min(fills) >= 0.75
    assert max(fills) <= 0.9


def test_hard_is_harder_than_easy(tmp_path):
    """Neighbouring frames of a hard track differ more, in place and in light, relative to their contrast."""
    change = {}
    for hardness in ("easy", "hard"):
        root = write_tracks(tmp_path / hardness, 16, hardness, 2, progress=False)
        pairs = []
        for folder in root.rglob("track_*"):
            frames = [cv2.resize(cv2.imread(str(p), 0), (96, 32)).astype(float) for p in sorted(folder.glob("lr-*"))]
            pairs += [np.abs(a - b).mean() / a.std() for a, b in itertools.pairwise(frames)]
        change[hardness] = np.median(pairs)
    assert change["hard"] > 1.3 * change["easy"]
