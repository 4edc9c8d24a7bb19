"""Where the frames of a track may lie: LR and HR apart, or below what describes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_samples import write_image, write_track

from lpr.data.scan import scan
from lpr.reader import Reader
from lpr.types import InputError


def test_frames_in_folders_of_their_kind(tmp_path: Path) -> None:
    """Reading must never look at HR frames, wherever they lie."""
    for track in ("track_00001", "vehicle-7"):
        for kind, names in (("LR", ("001.png", "lr-002.png", "b.png")), ("hr", ("001.png", "x.png"))):
            for name in names:
                write_image(tmp_path / track / kind / name)
        (tmp_path / track / "annotations.json").write_text('{"plate_text": "ABC1D23"}')
    found = scan(tmp_path)
    assert [(track.id, track.text) for track in found.tracks] == [("track_00001", "ABC1D23"), ("vehicle-7", "ABC1D23")]
    for track in found.tracks:
        assert [frame.path.relative_to(tmp_path / track.id).as_posix() for frame in track.lr] == [
            "LR/001.png", "LR/lr-002.png", "LR/b.png",
        ]  # fmt: skip
        assert [frame.path.parent.name for frame in track.hr] == ["hr", "hr"]
    # Pictures named by their label stay plates of their own, whatever their folder is called.
    write_image(tmp_path / "sets" / "hr" / "ABC1234.png")
    write_image(tmp_path / "sets" / "lr" / "ABC1235.png")
    assert {track.text for track in scan(tmp_path / "sets").tracks} == {"ABC1234", "ABC1235"}


def test_annotations_that_lie_above_the_images_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "track_00001" / "images" / "lr-001.png")
    (tmp_path / "track_00001" / "annotations.json").write_text('{"plate_text": "ABC1D23"}')
    (problem,) = [p for p in scan(tmp_path).problems if p.severity == "error"]
    assert problem.where.endswith("annotations.json") and "beside no image" in problem.what


def test_a_folder_is_one_plate_for_the_python_interface(tmp_path: Path) -> None:
    reader = Reader("digits5", device="cpu")
    for name in ("lr-001.png", "lr-002.png", "hr-001.png"):
        write_image(tmp_path / "case" / name)
    for name in ("cam 10.png", "cam 9.png"):
        write_image(tmp_path / "named" / name)
    for folder, frames in (("case", {"lr-001.png", "lr-002.png"}), ("named", {"cam 9.png", "cam 10.png"})):
        assert {reading.file for reading in reader.read(tmp_path / folder).per_frame} == frames
    write_track(tmp_path / "several" / "track_1", None)
    write_track(tmp_path / "several" / "track_2", None)
    with pytest.raises(InputError, match="holds 2 tracks"):
        reader.read(str(tmp_path / "several"))
