"""Laying predictions beside the truth: nothing gets lost, texts stay texts, errors are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_samples import write_image

from lpr.report.outcomes import Outcome, match, read_truth
from lpr.types import InputError, Prediction, Reading, Track


def outcome(truth: str, text: str | None, frames: tuple[str, ...] = (), layout: str | None = None) -> Outcome:
    readings = tuple(Reading(frame, 0.9, -1.0, file=f"lr-00{i}.jpg") for i, frame in enumerate(frames, 1))
    prediction = None if text is None else Prediction("t", text, 0.5, per_frame=readings)
    return Outcome(Track("t", (), truth, layout), prediction)


def test_csv_truth_keeps_texts_as_texts(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(
        "\ufefftrack_id,text,layout,scenario\r\n1,00420,,\r\n2,1E10,,A\r\n3,NA,,Scenario-B\r\n"
        '4,abc-1234,Brazilian,B\r\n"5,x",ABC1D23,MERCOSUR,B\r\n'.encode()
    )
    tracks, problems = read_truth(path)
    assert [(t.id, t.text, t.layout, t.scenario) for t in tracks] == [
        ("1", "00420", None, None),
        ("2", "1E10", None, "A"),
        ("3", "NA", None, "B"),
        ("4", "ABC1234", "brazilian", "B"),
        ("5,x", "ABC1D23", "mercosur", "B"),
    ]
    (said,) = problems
    assert said.where == "2" and said.what == "truth '1E10' obeys no known format; 2 of 5 do not"


def test_csv_track_without_text_is_listed_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("track_id,text\na,ABC1234\nb,\n")
    tracks, problems = read_truth(path)
    assert [t.id for t in tracks] == ["a"]
    assert [p.where for p in problems] == ["b"]


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ("id,text\na,b\n", "", "no column track_id"),
        ("", "", "no column text and no column track_id"),
        ("track_id,text\na,ABC1234\na,ABC1234\n", ":3", "stands twice"),
        ("track_id,text\na\n", ":2", "as many fields"),
        ("track_id,text\na,b,c\n", ":2", "as many fields"),
        ('track_id,text\na,ABC1234\nb,"ABC1D23\nc,XYZ1D23\nd,XYZ1D24\n', ":3", "is not valid CSV"),
        ('track_id,text\n\na,"ABC"1234\n', ":3", "is not valid CSV"),
        ('track_id,"text\na,ABC1234\n', ":1", "is not valid CSV"),
        ("track_id,text\n", "", "no track with a known text"),
    ],
)
def test_bad_truth_csv_is_refused_with_its_line(tmp_path: Path, content: str, where: str, what: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=what) as caught:
        read_truth(path)
    assert caught.value.problem.where == f"{path}{where}"


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\ntrack_id;text\na;ABC1D23\n;\n;;\n",
        "track_id\ttext\na\tABC1D23\n".encode("utf-16"),
        "\ntrack_id,text,layout\na,ABC1D23,São\n".encode("cp1252"),
    ],
)
def test_truth_as_spreadsheets_save_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "truth.csv").write_bytes(content)
    (track,) = read_truth(tmp_path / "truth.csv")[0]
    assert (track.id, track.text) == ("a", "ABC1D23")


def test_the_truth_of_other_tracks_is_no_result() -> None:
    with pytest.raises(InputError, match="no track of the truth is among the 1 predicted ones: a is not, nor is z"):
        match([Track("a", (), "ABC1234")], [Prediction("z", "XXX0000", 0.9)])


def test_missing_truth_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(tmp_path / "nowhere.csv")


def test_match_counts_missing_as_wrong_and_lists_both_sides() -> None:
    truth = [Track("a", (), "ABC1234"), Track("b", (), "ABC1D23")]
    outcomes, problems = match(truth, [Prediction("a", "ABC1234", 0.9), Prediction("z", "XXX0000", 0.9)])
    assert [(o.track.id, o.right, o.text, o.distance) for o in outcomes] == [
        ("a", True, "ABC1234", 0),
        ("b", False, "", 7),
    ]
    assert [(p.where, p.severity) for p in problems] == [("b", "error"), ("z", "warning")]


def test_match_refuses_a_track_predicted_twice_and_an_impossible_confidence() -> None:
    truth = [Track("a", (), "ABC1234")]
    with pytest.raises(InputError, match="twice"):
        match(truth, [Prediction("a", "X", 0.1), Prediction("a", "Y", 0.1)])
    with pytest.raises(InputError, match="outside"):
        match(truth, [Prediction("a", "X", float("nan"))])


@pytest.mark.parametrize(
    ("truth", "text", "frames", "errors"),
    [
        ("ABC1D23", "ABC1D23", (), ()),
        ("ABC1D23", "A8C1D23", (), ("one character", "look-alikes only", "format violation")),
        ("ABC1D23", "AXC1D28", ("ABC1D23",), ("a frame was right",)),
        ("ABC1D23", "ABC1023", (), ("one character", "look-alikes only", "other format")),
        ("ABC1D23", "ABC1D2", (), ("wrong length", "format violation")),
        ("ABC1D23", "XYZ9Z99", (), ()),
        ("ABC1D23", None, (), ("not predicted",)),
    ],
)
def test_kinds_of_error_by_hand(truth: str, text: str | None, frames: tuple[str, ...], errors: tuple[str, ...]) -> None:
    assert outcome(truth, text, frames, "mercosur").errors == errors


def test_the_format_is_the_annotated_one_or_the_one_the_truth_obeys() -> None:
    assert outcome("ABC1234", "").format == "brazilian"
    assert outcome("ABC1234", "", layout="elsewhere").format == "elsewhere"
    assert outcome("?", "").format == "unknown"


def test_a_prediction_is_judged_as_it_stands() -> None:
    assert not outcome("ABC1234", "abc1234").right
    assert outcome("ABC1234", "ABC1234", ("ABC1234", "ABC1235")).frames_right == 0.5
    assert outcome("ABC1234", "ABC1234").frames_right == 0.0


def test_a_label_list_and_a_table_of_a_spreadsheet_are_truth_too(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("path,text\na.png,ABC1234\n")
    (truth,), problems = read_truth(tmp_path / "labels.csv")
    assert (truth.id, truth.text, problems) == ("a", "ABC1234", [])
    (tmp_path / "truth.csv").write_text("track_id;text;layout\na;ABC1234;Mercosur\n")
    (truth,), _ = read_truth(tmp_path / "truth.csv")
    assert (truth.id, truth.text, truth.layout) == ("a", "ABC1234", "mercosur")


def test_what_is_no_plate_is_no_truth(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("track_id,text\na,ABC1234\nb,N/A\nc,?\nd,abc-1235\n")
    truth, problems = read_truth(tmp_path / "truth.csv")
    assert [track.id for track in truth] == ["a", "d"]
    assert [problem.where for problem in problems] == ["b", "c"] and "'N/A', which is no plate" in problems[0].what
