"""The command from end to end, on small tracks made here."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lpr.evaluate import main
from lpr.report.compare import sign_test
from lpr.types import InputError, UsageError

TEXTS = {"track_00001": "ABC1234", "track_00002": "XYZ1D23", "track_00003": "AAA0A00"}


def record(track_id: str, text: str, confidence: float) -> str:
    frames = [{"file": f"lr-00{i}.png", "text": text, "score": 0.8, "log_prob": -1.0} for i in (1, 2)]
    fields = {"track_id": track_id, "text": text, "confidence": confidence, "format": None, "frames": frames}
    return json.dumps({**fields, "runners_up": [], "problems": [], "audit": {}})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """tracks/: three labelled tracks with HR frames that cannot be read; truth.csv; predictions.jsonl of two."""
    for track_id, text in TEXTS.items():
        folder = tmp_path / "tracks" / "Scenario-B" / "Mercosur" / track_id
        folder.mkdir(parents=True)
        for i in (1, 2):
            image = np.full((18, 50, 3), 200, np.uint8)
            cv2.putText(image, text, (2, 13), cv2.FONT_HERSHEY_PLAIN, 0.7, (0, 0, 0))
            cv2.imwrite(str(folder / f"lr-00{i}.png"), image)
            (folder / f"hr-00{i}.png").write_bytes(b"an HR frame must never be opened")
        (folder / "annotations.json").write_text(
            json.dumps({"plate_layout": "Mercosur", "plate_text": text, "corners": {}})
        )
    lines = "".join(f"{track_id},{text},Mercosur,B\n" for track_id, text in TEXTS.items())
    (tmp_path / "truth.csv").write_text("track_id,text,layout,scenario\n" + lines)
    predicted = [
        record("track_00001", "ABC1234", 0.9),
        record("track_00002", "XYZ1D28", 0.7),
        record("other", "A", 0.1),
    ]
    (tmp_path / "predictions.jsonl").write_text("\n".join(predicted) + "\n")
    return tmp_path


def summary(folder: Path) -> dict[str, str]:
    return next(csv.DictReader((folder / "summary.csv").open()))


def test_folder_of_truth_gives_tables_pictures_and_groups(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "report"
    assert main([str(data / "predictions.jsonl"), "--truth", str(data / "tracks"), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "33.3" in captured.out
    assert captured.out.rstrip().endswith("index.html")
    assert "track_00003: has no prediction and counts as wrong" in captured.err
    assert "other: is predicted, but its truth is unknown" in captured.err
    assert "hr-00" not in captured.err
    assert (summary(out)["exact"], summary(out)["tracks"]) == ("0.333333", "3")
    page = (out / "index.html").read_text()
    # Two frames, and what both are merged to, of the worst, of the best, and of all three at random.
    assert page.count("<img") == 3 * (1 + 1 + 3) and page.count("merged</small>") == 5
    assert {p.name for p in out.iterdir()} == {
        "index.html",
        *(f"{name}.csv" for name in ("summary", "scenarios", "formats", "failure_groups", "errors", "positions")),
        *(f"{name}.csv" for name in ("confusions", "calibration", "tracks", "problems")),
    }
    lines = list(csv.DictReader((out / "problems.csv").open()))
    assert {line["where"] for line in lines} >= {"track_00003", "other"}


def test_csv_of_truth_without_tracks_says_what_is_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "report"
    main([str(data / "predictions.jsonl"), "--truth", str(data / "truth.csv"), "--out", str(out)])
    assert "left out: no --tracks" in capsys.readouterr().err
    assert not (out / "failure_groups.csv").exists()
    page = (out / "index.html").read_text()
    assert "<img" not in page
    assert "left out: no --tracks" in page


def test_csv_of_truth_with_tracks_equals_folder_of_truth(data: Path) -> None:
    jsonl = str(data / "predictions.jsonl")
    main([jsonl, "--truth", str(data / "truth.csv"), "--tracks", str(data / "tracks"), "--out", str(data / "a")])
    main([jsonl, "--truth", str(data / "tracks"), "--out", str(data / "b")])
    for name in ("tracks.csv", "failure_groups.csv", "positions.csv"):
        assert (data / "a" / name).read_text() == (data / "b" / name).read_text()


@pytest.mark.parametrize("suffix", ["txt", "zip"])
def test_a_submission_is_judged_without_single_frames(data: Path, suffix: str) -> None:
    from lpr.submission import write_submission
    from lpr.types import Prediction

    path = write_submission(
        [Prediction("track_00001", "ABC1234", 0.9), Prediction("track_00002", "XYZ1D28", 0.7)], data / "p.zip"
    )
    if suffix == "txt":
        path = data / "p.txt"
        path.write_text("track_00001,ABC1234;0.9000\ntrack_00002,XYZ1D28;0.7000\n")
    main([str(path), "--truth", str(data / "truth.csv"), "--out", str(data / "report")])
    assert summary(data / "report")["exact"] == "0.333333"
    assert "single" not in summary(data / "report")


def test_the_same_input_gives_the_same_page(data: Path) -> None:
    arguments = [str(data / "predictions.jsonl"), "--truth", str(data / "tracks"), "--out"]
    main([*arguments, str(data / "a")])
    main([*arguments, str(data / "b")])
    assert (data / "a" / "index.html").read_bytes() == (data / "b" / "index.html").read_bytes()


def test_an_unreadable_frame_is_a_problem_not_an_end(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data / "tracks" / "Scenario-B" / "Mercosur" / "track_00001"
    (folder / "lr-001.png").write_bytes(b"")
    (folder / "lr-002.png").write_bytes(b"no image")
    main([str(data / "predictions.jsonl"), "--truth", str(data / "tracks"), "--out", str(data / "report")])
    error = capsys.readouterr().err
    assert "lr-001.png" in error and "lr-002.png" in error
    assert "track_00001: has no readable LR frame" in error
    groups = {line["group"]: line["tracks"] for line in csv.DictReader((data / "report" / "failure_groups.csv").open())}
    assert groups["no image"] == "1"


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        (["p.jsonl"], UsageError, "--truth"),
        (["p.jsonl", "--truth", "truth.csv"], InputError, "cannot be read"),
        (["broken.jsonl", "--truth", "truth.csv"], InputError, "JSON"),
        (["empty.jsonl", "--truth", "truth.csv"], InputError, "no predictions"),
        (["broken.zip", "--truth", "truth.csv"], InputError, "zip"),
        (["predictions.jsonl", "--truth", "truth.csv", "--out", "truth.csv"], InputError, "written to"),
        (["predictions.jsonl", "--truth", "truth.csv", "--tracks", "nowhere"], InputError, "nowhere"),
    ],
)
def test_bad_input_is_a_clear_error(
    data: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: type[InputError], what: str
) -> None:
    monkeypatch.chdir(data)
    (data / "broken.jsonl").write_text('{"track_id": "a", "te')
    (data / "broken.zip").write_text("x")
    (data / "empty.jsonl").write_text("\n")
    with pytest.raises(error) as caught:
        main(arguments)
    assert what in f"{caught.value.problem.where} {caught.value.problem.what}"


def test_two_readings_are_compared_track_by_track(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = [record("track_00002", "XYZ1D23", 0.6), record("track_00003", "AAA0A00", 0.5)]
    (data / "other.jsonl").write_text("\n".join(other) + "\n")
    words = ["--truth", str(data / "tracks"), "--against", str(data / "other.jsonl"), "--out", str(data / "report")]
    assert main([str(data / "predictions.jsonl"), *words]) == 0
    captured = capsys.readouterr()
    assert "Against the other reading" in captured.out and "-33.3 (" in captured.out
    assert "1 tracks have no prediction in" in captured.err
    rows = list(csv.DictReader((data / "report" / "comparison.csv").open()))
    # One scenario, one format: nothing to part by.
    assert [row["group"] for row in rows] == ["all tracks"]
    (row,) = rows
    assert (row["tracks"], row["won"], row["lost"]) == ("3", "1", "2")
    assert float(row["gain"]) == pytest.approx(-1 / 3, abs=1e-5)
    assert float(row["p"]) == 1.0
    assert float(row["gain_low"]) < float(row["gain"]) < float(row["gain_high"])
    assert float(row["exact"]) == pytest.approx(1 / 3, abs=1e-5)
    assert float(row["against"]) == pytest.approx(2 / 3, abs=1e-5)
    page = (data / "report" / "index.html").read_text()
    alone = page[page.index("Read here alone</h2>") :]
    here, there = alone.split("Read by the other alone</h2>")
    assert "<b>track_00001</b>" in here and "<b>track_00002</b>" not in here
    assert "<b>track_00002</b>" in there and "<b>track_00003</b>" in there
    # Without a comparison an earlier one's table does not stay.
    main([str(data / "predictions.jsonl"), "--truth", str(data / "tracks"), "--out", str(data / "report")])
    assert not (data / "report" / "comparison.csv").exists()


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (4, 0, 0.125), (0, 5, 0.0625), (9, 2, 0.06543)]
)
def test_the_sign_test_is_exact(won: int, lost: int, p: float) -> None:
    assert sign_test(won, lost) == pytest.approx(p, abs=1e-5) == sign_test(lost, won)


def test_what_is_wrong_with_the_other_reading_names_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = data / "other.jsonl"
    words = [str(data / "predictions.jsonl"), "--truth", str(data / "truth.csv"), "--against", str(other)]
    other.write_text(record("elsewhere", "ABC1234", 0.6) + "\n")
    with pytest.raises(InputError, match=r"other\.jsonl"):
        main(words)
    other.write_text("\n".join(record(name, "ABC1234", 0.6) for name in ("track_00001", "elsewhere")) + "\n")
    main(words)
    assert "elsewhere" in capsys.readouterr().err


def test_a_comparison_is_parted_where_there_are_several_kinds(data: Path) -> None:
    (data / "truth.csv").write_text(
        "track_id,text,layout,scenario\ntrack_00001,ABC1234,Brazilian,A\ntrack_00002,XYZ1D23,Mercosur,B\n"
    )
    (data / "other.jsonl").write_text(record("track_00001", "ABC1234", 0.6) + "\n")
    words = ["--truth", str(data / "truth.csv"), "--against", str(data / "other.jsonl"), "--out", str(data / "report")]
    main([str(data / "predictions.jsonl"), *words])
    rows = {row["group"]: row for row in csv.DictReader((data / "report" / "comparison.csv").open())}
    assert list(rows) == ["all tracks", "scenario A", "scenario B", "brazilian", "mercosur"]
    assert {row["gain"] for row in rows.values()} == {"0"} and rows["brazilian"]["against"] == "1"


def test_help_answers_without_loading_what_is_heavy() -> None:
    code = (
        "import sys\nfrom lpr.evaluate import main\n"
        "try: main(['-h'])\nexcept SystemExit: pass\n"
        "assert not {'rich', 'cv2', 'PIL', 'torch'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_narrow_terminal_cuts_no_number(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    said = []
    for columns in ("200", "40"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main([str(data / "predictions.jsonl"), "--truth", str(data / "truth.csv")]) == 0
        said.append([line.rstrip() for line in capsys.readouterr().out.splitlines()])
    assert said[0] == said[1] and not any("…" in line for line in said[1])
