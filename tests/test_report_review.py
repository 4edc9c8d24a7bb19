"""The page beside review.csv: what it shows, that nothing from the data can act in it, and when it is written."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lpr.decode.review import COLUMNS, columns_of, review_row, write_review
from lpr.report import review
from lpr.report.review import write_review_page
from lpr.types import Frame, Prediction, Reading, Track


def tracks_in(folder: Path, ids: list[str]) -> list[Track]:
    found = []
    for number, name in enumerate(ids):
        path = folder / str(number) / "lr-001.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((16, 48, 3), 10 * number, np.uint8))
        found.append(Track(name, (Frame(path, 1),), None))
    return found


def prediction(name: str, confidence: float) -> Prediction:
    readings = (Reading("ABC1D23", 0.4, -1.0, file="lr-001.png"),)
    return Prediction(
        name, "ABC1D23", confidence, "mercosur", readings, runners_up=(("ABC1D28", 0.1), ("ABC1O23", 0.05))
    )


def made(folder: Path, ids: list[str]) -> str:
    tracks = tracks_in(folder, ids)
    predictions = [prediction(track.id, 0.3 + 0.01 * n) for n, track in enumerate(tracks)]
    rows = write_review(folder / "review.csv", [review_row(one, f"/x/{one.track_id}") for one in predictions])
    write_review_page(folder / "review.html", rows, tracks, predictions)
    return (folder / "review.html").read_text(encoding="utf-8")


def rows_in(page: str) -> list[list[str]]:
    (data,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)
    values = json.loads(data)
    assert tuple(values["columns"]) == COLUMNS
    return values["rows"]


def test_it_shows_frames_candidates_and_every_line_of_the_list(tmp_path: Path) -> None:
    page = made(tmp_path, ["track_2", "track_1"])
    assert page.count("<article") == 2 and page.index("track_2") < page.index("track_1"), "the least sure first"
    for text in ("ABC1D23", "ABC1D28", "ABC1O23"):
        assert page.count(f'data-text="{text}"') == 2
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    shown = [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR) for one in pictures]
    assert [int(picture[0, 0, 0]) for picture in shown] == [0, 10]
    lines = (tmp_path / "review.csv").read_text().splitlines()[1:]
    assert [",".join([*row, ""]) for row in rows_in(page)] == lines
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page), "no address outside the file"


def test_what_data_say_is_only_text(tmp_path: Path) -> None:
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    page = made(tmp_path, [evil])
    assert "<script>alert" not in page and "<img src=x" not in page
    assert page.count("</script>") == 2, "the list and the page's own"
    assert rows_in(page)[0][0] == evil


def test_only_the_least_sure_are_pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "SHOWN", 3)
    page = made(tmp_path, [f"t{number}" for number in range(5)])
    assert page.count("<article") == 3 and len(rows_in(page)) == 5
    assert "5 plates to look at" in page and "The 3 least sure ones are shown." in page


def test_a_frame_that_cannot_be_read_and_a_track_without_one(tmp_path: Path) -> None:
    tracks = [*tracks_in(tmp_path, ["a"]), Track("none", (), None)]
    tracks[0].frames[0].path.write_bytes(b"no image")
    predictions = [prediction("a", 0.3), Prediction("none", "AAA0A00", 0.0, "mercosur")]
    rows = write_review(tmp_path / "review.csv", [review_row(one, "") for one in predictions])
    assert columns_of(rows[0])[-2:] == ("no readable LR frame", "")
    write_review_page(tmp_path / "review.html", rows, tracks, predictions)
    page = (tmp_path / "review.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2 and "<img" not in page and page.count("data-text=") == 3
