"""The scripts that judge the generator: the table, the gauge without its reader, the frozen test set."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_case import load_script

from lpr.data.scan import scan
from lpr.plates.write import write_tracks

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tracks(tmp_path_factory.mktemp("scripts") / "set", 6, "hard", 5, workers=1, progress=False)


@pytest.mark.parametrize("kind", ["lr", "hr"])
def test_the_sheet_compares_two_sets(tracks: Path, tmp_path: Path, kind: str) -> None:
    sheet = tmp_path / "sheet.png"
    call = ["--real", str(tracks), "--synthetic", str(tracks), "--out", str(sheet), "--kind", kind]
    done = subprocess.run(
        [sys.executable, "scripts/sheet.py", *call], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sheet.stat().st_size > 10_000
    rows = done.stdout.splitlines()
    assert len(rows) == (13 if kind == "lr" else 10)
    for row in rows[1:]:
        # A set beside itself, once compressed as a figure is: nearly the same quartiles twice.
        numbers = [float(number) for number in row[32:].replace("/", " ").split()]
        assert len(numbers) == 6 and np.allclose(numbers[:3], numbers[3:], rtol=0.15, atol=0.3), row


def test_the_measures_see_what_they_name(tracks: Path) -> None:
    sheet = load_script("sheet")
    names = set()
    for folder in sheet.track_folders(tracks, 6):
        lr, hr = (sheet.measure(folder, kind, recompress=True) for kind in ("lr", "hr"))
        assert all(value >= 0 for name, value in [*lr.items(), *hr.items()] if "growth" not in name)
        names |= set(lr)
        # The grid of the enlarged picture shows the size that the frames had.
        widths = [cv2.imread(str(path)).shape[1] for path in sorted(folder.glob("lr-*"))]
        assert lr["width, px"] == pytest.approx(np.mean(widths), abs=1.5)
    assert {"brightness, grey levels", "shift between frames, px", "exposure change, stops"} <= names


@pytest.mark.skipif(importlib.util.find_spec("rapidocr") is not None, reason="the reader is installed")
def test_the_gauge_says_what_it_lacks(tracks: Path) -> None:
    done = subprocess.run([sys.executable, "scripts/gauge.py", str(tracks)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: rapidocr is missing")


def test_a_changed_test_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = load_script("freeze")
    monkeypatch.setattr(freeze, "TRACKS", 3)
    monkeypatch.setattr(freeze, "SUMS", tmp_path / "sums")
    monkeypatch.setattr(sys, "argv", ["freeze.py"])
    with pytest.raises(SystemExit, match="not frozen yet"):
        freeze.main()
    monkeypatch.setattr(sys, "argv", ["freeze.py", "--write"])
    freeze.main()
    monkeypatch.setattr(sys, "argv", ["freeze.py"])
    freeze.main()
    lines = freeze.SUMS.read_text(encoding="utf-8").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["track_10001", "track_10002", "track_10003", "truth"]
    freeze.SUMS.write_text("\n".join([lines[0], "0" * 64 + "  track_10001", *lines[2:]]), encoding="utf-8")
    with pytest.raises(SystemExit, match="1 of 4 differ, such as track_10001"):
        freeze.main()


def test_hard_keeps_its_test_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    freeze = load_script("freeze")
    head = freeze.SUMS.read_text(encoding="utf-8").splitlines()[0]
    if f"opencv {cv2.__version__}," not in head:
        pytest.skip(f"the sums are those of another OpenCV: {head}")
    monkeypatch.setattr(sys, "argv", ["freeze.py", "--first", "10"])
    freeze.main()
    assert "11 checksums hold" in capsys.readouterr().out


def test_a_photograph_becomes_a_scene_with_its_plate_in_place() -> None:
    carry = load_script("carry_over")
    photo = np.full((100, 280, 3), 20, np.uint8)
    photo[12:88, 17:263] = 100
    scene = carry.scene_from(photo)
    assert scene.plate_mm == (400, 124)
    (mx, my), base = carry.MARGIN_MM, scene.levels[0]
    assert base.shape[:2] == (124 + 2 * my, 400 + 2 * mx)
    # As bright as a drawn plate, the surroundings by the same gain.
    assert abs(int(base[my + 62, mx + 200, 0]) - carry.BRIGHT) <= 1
    assert abs(int(base[my + 62, mx - 12, 0]) - carry.BRIGHT // 5) <= 2
    assert [level.shape[1] for level in scene.levels] == [700, 350, 175, 88]


def test_what_an_earlier_call_drew_is_not_read(tmp_path: Path) -> None:
    carry = load_script("carry_over")
    cv2.imwrite(str(tmp_path / "ABC1234.png"), np.full((60, 180, 3), 120, np.uint8))
    tracks = scan(tmp_path).tracks
    for draws in (2, 1):
        assert len(scan(carry.through_camera(tracks, "hard", tmp_path / "out" / "x-hard", draws, 0)).tracks) == draws


def test_shares_of_draws_of_one_plate_are_not_taken_for_independent() -> None:
    share = load_script("carry_over").share
    # Ten plates of which each is read in all of its four draws or in none: as uncertain as ten readings.
    plates = [f"P{i}" for i in range(10) for _ in range(4)]
    right = [float(i < 5) for i in range(10) for _ in range(4)]
    grouped, single = share(plates, right, [1] * 40), share([*map(str, range(40))], right, [1] * 40)
    assert grouped.value == single.value == 0.5
    assert grouped.low == pytest.approx(0.237, abs=0.01)
    assert single.low == pytest.approx(0.352, abs=0.01)
    # Nothing right says no more than the plates do.
    nothing = share(plates, [0.0] * 40, [1] * 40)
    assert (nothing.value, nothing.low) == (0, 0) and nothing.high == pytest.approx(0.278, abs=0.001)


def test_the_characters_misread_most_are_named() -> None:
    misread = load_script("carry_over").misread
    pairs = [("A88", "A99"), ("B89", "B69"), ("O8", "D8"), ("A8", "8"), ("AB", "AB")]
    # What is longer or shorter than the truth cannot be laid beside it.
    assert misread(pairs) == "8 (3 of 4: 9, 6), O (1 of 1: D)"
    assert misread([("AB", "AB")]) == ""


def test_photographs_are_carried_over(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for text in ("ABC1234", "XYZ1A23", "22BH1234AA"):
        cv2.imwrite(str(tmp_path / "photos" / f"{text}.png"), rng.integers(0, 255, (60, 160, 3), np.uint8))
    call = ["photos", "--out", "out", "--draws", "2", "--camera", "hard", "wide"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/carry_over.py"), *call],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "1 plates left out" in done.stderr
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    assert done.stdout.splitlines() == table
    assert [row.split(" | ")[3] for row in table[2:]] == ["2", "4", "4"]
    readings = (tmp_path / "out" / "readings.csv").read_text(encoding="utf-8").splitlines()
    assert len(readings) == 1 + 2 + 4 + 4
    made = sorted((tmp_path / "out").glob("photos-*/*/lr-*.jpg"))
    assert len(made) == 2 * 2 * 2 * 5 and len({path.read_bytes() for path in made}) == len(made)


def test_the_pages_of_the_forced_choice_and_their_score(
    tracks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    choice = load_script("forced_choice")
    pages = tmp_path / "pages"
    choice.make(tracks, tracks, pages, 3)
    assert [path.name for path in sorted(pages.iterdir())] == ["page-1.png"]
    key = [line.split(",") for line in (tmp_path / "pages_key.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert len(key) == 6 and {row[1] for row in key} == {"left", "right"}
    # Six real and six synthetic tracks, each shown once.
    assert all(len({row[i] for row in key}) == 6 for i in (2, 3))
    layouts = {
        track.id: "".join("D" if c.isdigit() else "L" for c in track.text or "") for track in scan(tracks).tracks
    }
    assert len(set(layouts.values())) == 2 and all(layouts[row[2]] == layouts[row[3]] for row in key)
    answers = tmp_path / "answers.txt"
    other = {"left": "right", "right": "left"}
    answers.write_text("".join(f"{row[0]} {row[1] if i < 4 else other[row[1]]}\n" for i, row in enumerate(key)))
    choice.score(pages, answers)
    assert "4 of 6 pairs told apart: 66.7 %" in capsys.readouterr().out
    answers.write_text("1 left\n1 left\n")
    with pytest.raises(SystemExit, match="once each"):
        choice.score(pages, answers)
