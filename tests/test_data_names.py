"""What names of pictures are taken for, and what is said of those that are probably meant otherwise."""

from __future__ import annotations

from pathlib import Path

from data_samples import write_image

from lpr.data.scan import scan


def test_one_picture_is_named_by_its_path(tmp_path: Path) -> None:
    for name in ("ABC1234", "DEF5678"):
        write_image(tmp_path / f"{name}.png")
    (track,) = scan(tmp_path / "DEF5678.png").tracks
    assert (track.id, track.text, len(track.lr)) == ("DEF5678", "DEF5678", 1)


def test_numbered_pictures_of_one_folder_may_be_one_track_and_that_is_said(tmp_path: Path) -> None:
    for folder, names in (
        ("car", ("frame_0001", "frame_0002")),
        ("track_1", ("frame_0001", "frame_0002")),
        ("plates", ("ABC1234", "frame_1")),
        ("veh_0412", ("veh_0412_1", "veh_0412_2")),
        ("digits", ("00420", "00421", "00422", "00423")),
        ("camera", ("DSC0001", "DSC0002", "DSC0003", "DSC0004")),
    ):
        for name in names:
            write_image(tmp_path / folder / f"{name}.png")
    found = scan(tmp_path)
    assert len(found.tracks) == 15
    (labels,) = [problem for problem in found.problems if "are taken for labels" in problem.what]
    assert labels.where == str(tmp_path / "camera")
    said, other = [problem for problem in found.problems if "are read as 2 plates" in problem.what]
    assert other.where == str(tmp_path / "veh_0412")
    assert said.where == str(tmp_path / "car") and "track_00001" in said.fix
