"""Label lists that name what lies in the scanned folder in other words: each picture is one track, with its label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_samples import write_image, write_track

from lpr.cli import console
from lpr.data.scan import scan


def listed(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["path,text", *rows]) + "\n")


def test_a_list_beside_the_pictures_names_them_with_dots(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "photo_a.png")
    listed(tmp_path / "lists" / "labels.csv", "../images/photo_a.png,ABC1234")
    found = scan(tmp_path)
    assert [(track.id, track.text) for track in found.tracks] == [("photo_a", "ABC1234")]
    assert not found.problems


@pytest.mark.parametrize("root", [".", "in", "link", "absolute"])
def test_absolute_paths_are_those_of_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    # As review.csv and pseudo_labels.csv write them.
    folder = tmp_path / "in"
    write_image(folder / "photo.png")
    track = write_track(folder / "track_1", None)
    listed(folder / "labels.csv", f"{folder}/photo.png,ABC1234", f"{track},BCD2345")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder if root == "." else tmp_path)
    found = scan(folder if root == "absolute" else Path(root))
    assert {track.id: track.text for track in found.tracks} == {"photo": "ABC1234", "track_1": "BCD2345"}
    assert len(found.tracks) == 2 and not found.problems


def test_two_spellings_of_one_path_are_one_line_too_many(tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png")
    listed(tmp_path / "labels.csv", "photo.png,ABC1234", f"{tmp_path}/photo.png,ABC1235")
    found = scan(tmp_path)
    assert [track.text for track in found.tracks] == ["ABC1234"]
    assert ["was listed before" in problem.what for problem in found.problems] == [True]


def test_a_folder_that_a_list_names_is_a_track_however_its_images_are_called(tmp_path: Path) -> None:
    for number in (1, 2):
        write_image(tmp_path / "car1" / f"{number}.png")
    listed(tmp_path / "labels.csv", "car1,ABC1234")
    found = scan(tmp_path)
    assert [(track.id, track.text, len(track.lr)) for track in found.tracks] == [("car1", "ABC1234", 2)]
    assert not found.problems


def test_a_corner_of_400_digits_is_a_problem(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track_1", "ABC1234")
    corners = {name: [2, 2] for name in ("top-left", "top-right", "bottom-right", "bottom-left")}
    values = {"plate_layout": "Brazilian", "plate_text": "ABC1234"}
    values["corners"] = {"lr-001.png": {**corners, "top-left": [10**400, 2]}}
    (folder / "annotations.json").write_text(json.dumps(values))
    found = scan(tmp_path)
    assert found.tracks[0].text == "ABC1234" and "four points" in found.problems[0].what


def test_brackets_in_a_name_are_said_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("out/camera [north]/[/x]")
    assert "camera [north]/[/x]" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_corrected_review_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    """A plate that a person could not read either is left out, and counted."""
    for name in "abc":
        write_track(tmp_path / f"track_{name}1", None)
    rows = [
        "sep=;",
        "path;text;correction",
        "track_a1;ABC1234;ABC1235",
        "track_b1;ABC1234;?",
        "track_c1;ABC1234;",
        ";;",
    ]
    (tmp_path / "review.csv").write_bytes(("\r\n".join(rows) + "\r\n").encode(encoding))
    found = scan(tmp_path / "review.csv")
    assert [(track.id, track.text) for track in found.tracks] == [("track_a1", "ABC1235")]
    (problem,) = found.problems
    assert problem.where.endswith("review.csv:4") and "1 plates were found unreadable" in problem.what
