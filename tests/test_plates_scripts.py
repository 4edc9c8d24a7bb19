"""The scripts that judge the generator: the table, the gauge without its reader, the frozen test set."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lpr.plates.write import write_tracks

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    assert len(rows) == 9
    for row in rows[1:]:
        # A set beside itself: the same quartiles twice.
        numbers = row[32:].replace("/", " ").split()
        assert numbers[:3] == numbers[3:]


def test_the_measures_see_what_they_name(tracks: Path) -> None:
    sheet = script("sheet")
    names = set()
    for folder in sheet.track_folders(tracks, 6):
        lr, hr = sheet.measure(folder, "lr"), sheet.measure(folder, "hr")
        assert all(value >= 0 for value in [*lr.values(), *hr.values()])
        names |= set(lr)
    assert {"brightness, grey levels", "shift between frames, px", "exposure change, stops"} <= names


@pytest.mark.skipif(importlib.util.find_spec("rapidocr_onnxruntime") is not None, reason="the reader is installed")
def test_the_gauge_says_what_it_lacks(tracks: Path) -> None:
    done = subprocess.run([sys.executable, "scripts/gauge.py", str(tracks)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: rapidocr-onnxruntime is missing")


def test_a_changed_test_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = script("freeze")
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
