"""The picture of a track: frames, readings, and red where a character is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpr.report import pictures
from lpr.report.pictures import Pixels, marked, read_lr_images, track_picture, write_sheet
from lpr.types import Frame, Prediction, Reading, Track, printable

FRAMES = {f"lr-00{i}.png": np.full((18, 50, 3), 40 * i, np.uint8) for i in range(1, 6)}


def predicted(text: str) -> Prediction:
    readings = tuple(Reading(text, 0.9, -1.0, file=name) for name in list(FRAMES)[:4])
    return Prediction("track_1", text, 0.93, per_frame=readings)


def red_pixels(picture: Pixels) -> int:
    return int((picture == pictures.WRONG).all(axis=2).sum())


def test_wrong_characters_are_red_and_only_with_a_truth() -> None:
    assert red_pixels(track_picture(FRAMES, predicted("ABC1234"), "ABC1234")) == 0
    assert red_pixels(track_picture(FRAMES, predicted("ABC1234"))) == 0
    one = red_pixels(track_picture(FRAMES, predicted("ABC1Z34"), "ABC1234"))
    three = red_pixels(track_picture(FRAMES, predicted("AZZ1Z34"), "ABC1234"))
    assert 0 < one < three


def test_frames_stand_where_they_belong_in_their_own_aspect() -> None:
    picture = track_picture(FRAMES, predicted("ABC1234"))
    middle = pictures.MARGIN_PX + pictures.FRAME_HEIGHT_PX // 2
    step = pictures.FRAME_WIDTH_PX + pictures.MARGIN_PX
    centres = [picture[middle, pictures.MARGIN_PX + pictures.FRAME_WIDTH_PX // 2 + step * i, 0] for i in range(5)]
    assert centres == [40, 80, 120, 160, 200]


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_every_number_of_frames_gives_a_row_of_one_size(count: int) -> None:
    images = {f"{i}.png": np.zeros((10 + i, 30, 3), np.uint8) for i in range(count)}
    picture = track_picture(images, Prediction("a" * 80, "1234567890ABCDEF", 0.0), "ABC")
    assert picture.shape == track_picture(FRAMES, predicted("ABC1234")).shape
    assert picture.dtype == np.uint8


def test_a_long_text_stays_inside_the_picture() -> None:
    picture = track_picture({}, Prediction("t", "W" * 30, 0.5))
    assert (picture[:, -2:] == 255).all()


@given(st.text("AB1", max_size=9), st.text("AB1", max_size=9))
def test_marked_spells_the_reading_and_is_clean_only_if_right(text: str, truth: str) -> None:
    characters = marked(text, truth)
    assert "".join(c for c, _ in characters if c != "_") == text
    assert any(wrong for _, wrong in characters) == (text != truth)
    assert all(wrong for c, wrong in characters if c == "_")


def test_sheet_reads_lr_frames_only_and_names_damaged_ones(tmp_path: Path) -> None:
    for name, level in (("lr-001.png", 50), ("hr-001.png", 250)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 50, 3), level, np.uint8))
    (tmp_path / "lr-002.png").write_bytes(b"text")
    kinds = (("lr-001.png", 1, "lr"), ("lr-002.png", 2, "lr"), ("hr-001.png", 1, "hr"))
    track = Track("t", tuple(Frame(tmp_path / n, i, k) for n, i, k in kinds), "ABC1234")  # type: ignore[arg-type]

    images, problems = read_lr_images(track)
    assert list(images) == ["lr-001.png"]
    assert [Path(p.where).name for p in problems] == ["lr-002.png"]

    write_sheet([track], [Prediction("t", "ABC1234", 0.5)], tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None and sheet.shape[0] == pictures.ROW_HEIGHT_PX
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_name_of_another_encoding_is_its_readings_name(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/pla\xe7a1.png"
    Path(os.fsdecode(path)).write_bytes(cv2.imencode(".png", np.zeros((20, 50, 3), np.uint8))[1].tobytes())
    images, problems = read_lr_images(Track("t", (Frame(Path(os.fsdecode(path)), 1),), None))
    assert not problems and list(images) == [printable(os.fsdecode(b"pla\xe7a1.png"))]
    next(iter(images)).encode()


def test_a_label_as_long_as_a_page_is_drawn_somehow() -> None:
    assert track_picture(FRAMES, predicted("ABC1234"), "AB12" * 100).any()
    assert track_picture(FRAMES, predicted("AB12" * 100)).any()
