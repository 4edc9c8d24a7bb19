from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_samples import picture, write_image, write_track

from lpr.check import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(1, 5):
        folder = tmp_path / "d" / "Scenario-A" / "Brazilian" / f"track_{number}"
        write_track(folder, f"ABC123{number}", layout="Brazilian")
    for number in range(5, 9):
        write_track(tmp_path / "d" / "Scenario-B" / "Mercosur" / f"track_{number}", "abc 1D23", suffix=".jpg")
    return tmp_path / "d"


def check(*arguments: object, tmp_path: Path, code: int) -> dict[str, Any]:
    out = tmp_path / "found.json"
    assert (main([*map(str, arguments), "--json", str(out)]) or 0) == code
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_a_sound_data_set(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(data, "--images", tmp_path=tmp_path, code=0)
    assert [(g["scenario"], g["layout"], g["tracks"], g["file_types"]) for g in found["groups"]] == [
        ("A", "brazilian", 4, {".png": 40}),
        ("B", "mercosur", 4, {".jpg": 40}),
    ]
    assert found["lr_frames_per_track"] == {"5": 8}
    labels = found["labels"]
    assert labels["repeated"] == {"ABC1D23": 4} and labels["different"] == 5 and labels["normalised"] == 4
    assert labels["formats"] == {"brazilian": 4, "mercosur": 4} and labels["lengths"] == {"7": 8}
    assert {(s["scenario"], s["kind"]): s["width"] for s in found["images"]["sizes_px"]} == {
        ("A", "hr"): [130] * 3, ("A", "lr"): [48] * 3, ("B", "hr"): [130] * 3, ("B", "lr"): [48] * 3
    }  # fmt: skip
    assert found["problems"] == []
    printed = capsys.readouterr().out
    assert "mercosur" in printed and "ABC1D23 4 times" in printed and "0 errors, 0 warnings" in printed


def test_everything_wrong_is_named_with_its_file_and_remedy(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = data / "Scenario-B" / "Mercosur"
    (tracks / "track_5" / "annotations.json").write_text("[]")
    write_track(tracks / "track_6", "ABC12345", suffix=".jpg")
    write_track(tracks / "track_7", "AB?1D23", suffix=".jpg")
    (tracks / "track_8" / "lr-003.jpg").unlink()
    (tracks / "track_9").mkdir()
    damaged = data / "Scenario-A" / "Brazilian" / "track_1" / "hr-001.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    twin = damaged.with_name("lr-002.png")
    twin.write_bytes((damaged.parent.parent / "track_2" / "lr-001.png").read_bytes())
    found = check(data, "--images", "--limit", 3, tmp_path=tmp_path, code=1)
    problems = {p["where"]: p for p in found["problems"]}
    expected = {
        tracks / "track_5" / "annotations.json": ("error", "not a list"),
        tracks / "track_6" / "annotations.json": ("warning", "has not the format mercosur"),
        tracks / "track_7" / "annotations.json": ("error", "'?'"),
        tracks / "track_8": ("warning", "not the usual 5"),
        tracks / "track_9": ("error", "without an image"),
        damaged: ("error", "cut short"),
        damaged.parent.parent / "track_2" / "lr-001.png": ("error", "labelled 'ABC1232', not 'ABC1231'"),
    }
    for path, (severity, what) in expected.items():
        if path == tracks / "track_8":
            assert any(p["severity"] == severity and what in p["what"] for p in problems.values())
        else:
            assert problems[str(path)]["severity"] == severity and what in problems[str(path)]["what"]
    assert all(p["fix"] for p in problems.values())
    assert found["images"]["damaged"] == 1 and found["images"]["identical"] == 1
    printed = capsys.readouterr().out
    assert printed.count("\nerror: ") == 3 and f"... and {len(found['problems']) - 3} more" in printed


def test_lost_hr_frames_and_corners_far_outside_their_picture_are_named(data: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(path.parent for path in data.rglob("annotations.json"))
    (gone := next(first.glob("hr-003.*"))).unlink()
    image = next(second.glob("lr-001.*"))
    annotations = json.loads((second / "annotations.json").read_text())
    names = ("top-left", "top-right", "bottom-right", "bottom-left")
    edge = dict(zip(names, ([-2, -1], [46, 2], [46, 19], [-2, 18]), strict=True))
    for points, expected in ((edge, 0), ({**edge, "bottom-right": [460, 19]}, 1)):
        annotations["corners"] = {image.name: points}
        (second / "annotations.json").write_text(json.dumps(annotations))
        problems = check(data, "--images", tmp_path=tmp_path, code=0)["problems"]
        outside = [p for p in problems if "bottom-right corner (460, 19) lies far outside" in p["what"]]
        assert len(outside) == expected and all(p["where"] == str(image) for p in outside)
        (lost,) = [p for p in problems if "HR frames" in p["what"]]
        assert lost["where"] == str(gone.parent) and "the first has" in lost["what"]


def test_a_copied_track_is_one_problem_and_not_one_a_file(data: Path, tmp_path: Path) -> None:
    first = next(iter(sorted(path.parent for path in data.rglob("annotations.json"))))
    shutil.copytree(first, first.parent / "track_99")
    (problem,) = check(data, "--images", tmp_path=tmp_path, code=0)["problems"]
    assert problem["where"].endswith("track_99") and problem["what"].startswith(
        f"10 files are byte for byte those of {first}"
    )


def test_strict_fails_on_warnings(tmp_path: Path) -> None:
    write_image(tmp_path / "d" / "ABC12345.png")
    assert main([str(tmp_path / "d")]) == 0
    assert main([str(tmp_path / "d"), "--strict"]) == 1


def test_labels_of_another_country_are_one_problem_not_thousands(tmp_path: Path) -> None:
    for number in range(30):
        write_image(tmp_path / "d" / f"{number:04d}WXYZ.png", picture(seed=number))
    (problem,) = check(tmp_path / "d", tmp_path=tmp_path, code=0)["problems"]
    assert problem["what"].startswith("30 of 30 labels") and "--format" in problem["fix"]


def test_formats_can_be_named(tmp_path: Path) -> None:
    write_image(tmp_path / "d" / "ABC1234.png")
    assert check(tmp_path / "d", "--format", "brazilian", tmp_path=tmp_path, code=0)["problems"] == []
    both = ("--format", "mercosur", "--format", "brazilian")
    assert check(tmp_path / "d", *both, tmp_path=tmp_path, code=0)["problems"] == []
    (problem,) = check(tmp_path / "d", "--format", "mercosur", tmp_path=tmp_path, code=0)["problems"]
    assert "ABC1234" in problem["what"]


def test_without_images_none_is_decoded(data: Path, tmp_path: Path) -> None:
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    assert "images" not in check(data, tmp_path=tmp_path, code=0)


def test_from_the_command_line(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lpr.check", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = call(str(tmp_path / "gone"))
    assert missing.returncode == 1 and "no such folder" in missing.stderr and "Traceback" not in missing.stderr
    wrong = call("--no-such-flag", str(tmp_path))
    assert wrong.returncode == 2 and "--no-such-flag" in wrong.stderr
