from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_samples import SHARED, write_image, write_track

from lpr.data.scan import Scan, scan
from lpr.submission import id_problems
from lpr.types import InputError, Problem, Track


def by_id(found: Scan) -> dict[str, Track]:
    assert len({t.id for t in found.tracks}) == len(found.tracks)
    return {t.id: t for t in found.tracks}


def errors(found: Scan) -> list[Problem]:
    return [p for p in found.problems if p.severity == "error"]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by a scan")


def test_competition_training_tree(tmp_path: Path) -> None:
    corners = {"top-left": [2, 2], "top-right": [36, 3], "bottom-right": [35, 17], "bottom-left": [2, 16]}
    a = write_track(tmp_path / "Scenario-A" / "Brazilian" / "track_00001", "ARO3383 ", layout="Brazilian")
    values = {"plate_layout": "Brazilian", "plate_text": "ARO3383 ", "corners": {"lr-001.png": corners}}
    (a / "annotations.json").write_text(json.dumps(values))
    write_track(tmp_path / "Scenario-B" / "Mercosur" / "track_00002", "ACT0F03", suffix=".jpg")
    found = scan(tmp_path)
    first, second = found.tracks
    assert (first.id, first.text, first.layout, first.scenario) == ("track_00001", "ARO3383", "brazilian", "A")
    assert (second.id, second.text, second.layout, second.scenario) == ("track_00002", "ACT0F03", "mercosur", "B")
    for track, suffix in ((first, ".png"), (second, ".jpg")):
        assert [f.path.name for f in track.lr] == [f"lr-00{i}{suffix}" for i in range(1, 6)]
        assert [f.index for f in track.hr] == [1, 2, 3, 4, 5] and len(track.frames) == 10
    assert first.corners["lr-001.png"]["bottom-right"] == (35.0, 17.0) and second.corners == {}
    assert first.label_at == str(a / "annotations.json")
    assert found.problems == () and found.normalised == 1


def test_scenario_and_layout_come_from_the_path_even_above_the_root(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "Scenario-B" / "Brazilian" / "track_00007", None)
    for root in (tmp_path, folder.parent, folder):
        (track,) = scan(root).tracks
        assert (track.id, track.scenario, track.layout, track.text) == ("track_00007", "B", "brazilian", None)


def test_flat_test_folder_with_any_number_of_frames(tmp_path: Path) -> None:
    for number, lr in ((10001, 5), (10002, 1), (10003, 4), (10004, 7), (10005, 0)):
        write_track(tmp_path / f"track_{number}", None, lr=lr, hr=0, suffix=".jpg")
    found = scan(tmp_path)
    assert {t.id: len(t.lr) for t in found.tracks} == {
        "track_10001": 5, "track_10002": 1, "track_10003": 4, "track_10004": 7, "track_10005": 0
    }  # fmt: skip
    (problem,) = found.problems
    assert problem.where == str(tmp_path / "track_10005") and "without an image" in problem.what
    assert problem.severity == "error"


def test_an_empty_folder_is_a_track_only_among_tracks(tmp_path: Path) -> None:
    touch(tmp_path / "test" / "passage_a" / "lr-001.png", tmp_path / "test" / "passage_c" / "readme.txt")
    (tmp_path / "test" / "passage_b").mkdir()
    (tmp_path / "output").mkdir()
    assert sorted(by_id(scan(tmp_path))) == ["passage_a", "passage_b", "passage_c"]


def test_a_track_with_hr_frames_only_is_kept_and_reported(tmp_path: Path) -> None:
    write_track(tmp_path / "track_1", None, lr=0, hr=2)
    found = scan(tmp_path)
    assert found.tracks[0].lr == () and "without an LR frame" in found.problems[0].what


def test_no_image_is_opened(tmp_path: Path) -> None:
    for index in range(1, 6):
        (tmp_path / "track_1").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "track_1" / f"lr-00{index}.png")  # opening one would block for ever
    assert len(scan(tmp_path).tracks[0].lr) == 5


def test_upper_case_numbered_and_foreign_files(tmp_path: Path) -> None:
    touch(*(tmp_path / "track_1" / n for n in ("LR-002.JPG", "lr_001.Png", "HR-001.JPEG", "mask.png", "lr-003.bmp")))
    touch(*(tmp_path / "track_2" / n for n in ("10.jpg", "9.jpg", "1.jpg")))
    touch(*(tmp_path / "track_3" / n for n in ("lr-001.png", "lr-001.jpg")))
    found = scan(tmp_path)
    tracks = by_id(found)
    assert [(f.path.name, f.index, f.kind) for f in tracks["track_1"].frames] == [
        ("lr_001.Png", 1, "lr"), ("LR-002.JPG", 2, "lr"), ("HR-001.JPEG", 1, "hr")
    ]  # fmt: skip
    assert [f.path.name for f in tracks["track_2"].lr] == ["1.jpg", "9.jpg", "10.jpg"]
    assert len(tracks["track_3"].lr) == 2
    said = " ".join(p.what for p in found.problems)
    assert "mask.png" in said and "lr-003.bmp" in said and "one frame number" in said


def test_debris_of_operating_systems_is_passed_over(tmp_path: Path) -> None:
    write_track(tmp_path / "track_1", hr=0)
    touch(
        tmp_path / "track_1" / "._lr-001.png", tmp_path / "track_1" / "Thumbs.db", tmp_path / "track_1" / "desktop.ini",
        tmp_path / "__MACOSX" / "track_1" / "lr-001.png", tmp_path / ".cache" / "track_9" / "lr-001.png",
    )  # fmt: skip
    found = scan(tmp_path)
    assert [(t.id, len(t.frames)) for t in found.tracks] == [("track_1", 5)] and found.problems == ()


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_track(data / "track_1", hr=0)
    (data / "track_1" / "loop").symlink_to(data)
    (data / "a_link_sorted_first").symlink_to(data / "track_1")
    write_track(tmp_path / "elsewhere" / "track_2", hr=0)
    (data / "more").symlink_to(tmp_path / "elsewhere")
    (data / "dangling.png").symlink_to(tmp_path / "nothing.png")
    (data / "dangling").symlink_to(tmp_path / "nothing")
    found = scan(data)
    assert {"track_1", "track_2"} <= by_id(found).keys()
    assert by_id(found)["track_1"].lr[0].path == data / "track_1" / "lr-001.png"
    assert sum("read already" in p.what for p in found.problems) == 2


def test_two_tracks_with_one_id(tmp_path: Path) -> None:
    for part in ("a", "b"):
        write_track(tmp_path / part / "track_1", hr=0)
    found = scan(tmp_path)
    assert [t.id for t in found.tracks] == ["track_1", "b_track_1"]
    (problem,) = found.problems
    assert problem.severity == "error" and problem.where == str(tmp_path / "b" / "track_1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no annotations.json"),
        (b"", "not valid JSON"),
        (b'{"plate_text": "ABC1D23"', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"plate_text": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"plate_text": "ABC\xff123"}', "not valid UTF-8"),
        (b"[]", "must hold an object with plate_text, not a list"),
        (b'"ABC1D23"', "not a text"),
        (b"null", "not null"),
        (b'{"plate_layout": "Mercosur"}', "has no plate_text"),
        (b'{"plate_text": 420}', "plate_text is a number"),
        (b'{"plate_text": null}', "has no plate_text"),
        (b'{"plate_text": ["ABC1D23"]}', "plate_text is a list"),
        (b'{"plate_text": true}', "plate_text is true or false"),
        (b" " * 1_000_001, "larger than"),
    ],
)
def test_annotations_without_a_usable_text_keep_the_track(tmp_path: Path, content: bytes | None, said: str) -> None:
    write_track(tmp_path / "track_1")
    path = write_track(tmp_path / "track_2") / "annotations.json"
    path.unlink() if content is None else path.write_bytes(content)
    found = scan(tmp_path)
    track = by_id(found)["track_2"]
    assert track.text is None and len(track.lr) == 5
    (problem,) = found.problems
    assert said in problem.what and str(path.parent) in problem.where and problem.severity == "error"


def test_a_layout_missing_in_the_annotations_comes_from_the_path(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "Mercosur" / "track_1")
    (folder / "annotations.json").write_text('{"plate_text": "ABC1D23"}')
    found = scan(tmp_path)
    assert found.tracks[0].layout == "mercosur" and found.problems == ()


def test_annotations_that_is_a_folder(tmp_path: Path) -> None:
    path = write_track(tmp_path / "track_1", None) / "annotations.json"
    path.mkdir()
    assert scan(tmp_path).tracks[0].text is None


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"corners": None}, "corners are null"),
        ({"corners": [1, 2]}, "corners are a list"),
        ({"corners": {"lr-001.png": None}}, "'lr-001.png' are not four points"),
        ({"corners": {"lr-001.png": {"top-left": [1, 2]}}}, "not four points"),
        ({"plate_layout": 7}, "unknown plate_layout 7"),
        ({"plate_layout": "Martian"}, "unknown plate_layout 'Martian'"),
    ],
)
def test_wrong_details_of_annotations_keep_the_text(tmp_path: Path, extra: dict[str, Any], said: str) -> None:
    values = {"plate_text": "abc-1d23", "plate_layout": "Mercosur", "corners": {}, **extra}
    (write_track(tmp_path / "track_1") / "annotations.json").write_text(json.dumps(values), encoding="utf-8-sig")
    found = scan(tmp_path)
    assert found.tracks[0].text == "ABC1D23" and found.tracks[0].corners == {} and found.normalised == 1
    (problem,) = found.problems
    assert said in problem.what


@pytest.mark.parametrize("bad", ["[NaN, 1]", "[1]", "[1, 2, 3]", '["1", "2"]', "[true, 1]", "12", '"12"', "null"])
def test_corners_that_are_no_points(tmp_path: Path, bad: str) -> None:
    good = '"top-left": [1, 2], "top-right": [3, 2], "bottom-right": [3, 4]'
    text = '{"plate_text": "ABC1D23", "corners": {"lr-001.png": {%s, "bottom-left": %s}}}' % (good, bad)  # noqa: UP031
    (write_track(tmp_path / "track_1") / "annotations.json").write_text(text)
    found = scan(tmp_path)
    assert found.tracks[0].corners == {} and len(found.problems) == 1


@pytest.mark.parametrize("text", ["00420", "NA", "1E10", "NULL", "TRUE", "0X10", "1_0"])
def test_texts_that_look_like_numbers_survive(tmp_path: Path, text: str) -> None:
    touch(tmp_path / "csv" / "a.png", tmp_path / "txt" / "b.png")
    (tmp_path / "csv" / "labels.csv").write_text(f"path,text\na.png,{text}\n")
    (tmp_path / "txt" / "rec_train.txt").write_text(f"b.png\t{text}\n")
    write_track(tmp_path / "track_1", text)
    assert {t.text for t in scan(tmp_path).tracks} == {text}


def test_labels_csv_with_bom_crlf_quotes_and_more_columns(tmp_path: Path) -> None:
    names = ("a.png", "b, c.png", "d.JPG", "é.png")
    touch(*(tmp_path / "img" / name for name in names))
    text = 'PATH,Text,Layout,source\r\nimg/a.png,"abc-1d23",mercosur,x\r\n"img/b, c.png",00420,india,"y ""z"""\r\n'
    (tmp_path / "labels.csv").write_bytes((text + "\r\nimg\\d.JPG,NA,,\r\nimg/é.png,1E10\r\n").encode("utf-8-sig"))
    found = scan(tmp_path)
    assert {t.id: (t.text, t.layout) for t in found.tracks} == {
        "a": ("ABC1D23", "mercosur"), "b, c": ("00420", None), "d": ("NA", None), "é": ("1E10", None)
    }  # fmt: skip
    assert ["'india'" in problem.what for problem in found.problems] == [True] and found.normalised == 1
    assert by_id(found)["d"].label_at == f"{tmp_path / 'labels.csv'}:5"


def test_labels_csv_with_semicolons(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("path;text\na.png;ABC1234\n")
    assert scan(tmp_path).tracks[0].text == "ABC1234"


def test_bad_lines_of_a_label_list_are_named_and_cost_only_themselves(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{name}.png" for name in "abcdef"))
    lines = [b"\xef\xbb\xbfpath,text", b"a.png,AAA1111", b'b.png,"BBB1', b"c.png", b"gone.png,CCC1111", b",DDD1111",
             b"d.png,DD\xff1111", b"e.png,", b"e.png,EEE1111", b"a.png,AAA1111", b"f.png,FFF1111"]  # fmt: skip
    (tmp_path / "labels.csv").write_bytes(b"\n".join(lines))
    found = scan(tmp_path)
    inside = [p for p in found.problems if p.where.startswith(f"{tmp_path / 'labels.csv'}:")]
    at = {int(p.where.rpartition(":")[2]): p for p in inside}
    assert sorted(at) == [3, 4, 5, 6, 7, 9, 10]
    assert "gone.png" in at[5].what and "UTF-8" in at[7].what
    assert (at[9].severity, at[10].severity) == ("error", "warning")
    tracks = by_id(found)
    assert len(tracks) == 6 and tracks["f"].text == "FFF1111" and tracks["e"].text == "" and tracks["b"].text is None
    assert tracks["d"].text == "DD\ufffd1111"  # kept out of training by its unknown character
    assert any("2 images or tracks are in no label list" in p.what for p in found.problems)


def test_labels_csv_without_the_needed_columns(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    for content in ("", "file,label\na.png,ABC1234\n"):
        (tmp_path / "labels.csv").write_text(content)
        found = scan(tmp_path)
        assert found.tracks[0].text is None and bool(errors(found)) == bool(content)


def test_rec_train_list(tmp_path: Path) -> None:
    touch(*(tmp_path / "train" / f"{i}.jpg" for i in range(4)))
    text = "\ufefftrain/0.jpg\tMH09BB9894\r\ntrain/gone.jpg\tXX\r\n\r\ntrain/1.jpg KL01AB1234\r\ntrain/2.jpg\t\r\n"
    path = tmp_path / "rec_train.txt"
    path.write_bytes(text.encode())
    found = scan(tmp_path)
    assert {t.id: t.text for t in found.tracks} == {"0": "MH09BB9894", "1": None, "2": "", "3": None}
    assert [p.where for p in errors(found)] == [f"{path}:4", f"{path}:2"]
    assert "no tab" in errors(found)[0].what and "no such file" in errors(found)[1].what
    # The list named by itself: only what it lists.
    assert {t.id: t.text for t in scan(path).tracks} == {"0": "MH09BB9894", "2": ""}


def test_a_list_in_the_working_folder_and_one_that_points_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "lists" / "a.png", tmp_path / "images" / "b.png")
    (tmp_path / "lists" / "rec_train.txt").write_text("a.png\tABC1234\n../images/b.png\tABC1235\n")
    monkeypatch.chdir(tmp_path / "lists")
    for root in ("rec_train.txt", ".", tmp_path / "lists", "../lists"):
        found = scan(root)
        assert {t.id: t.text for t in found.tracks} == {"a": "ABC1234", "b": "ABC1235"} and found.problems == ()
        assert all(f.path.is_file() for t in found.tracks for f in t.frames)


def test_two_lists_in_one_folder_are_mentioned(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "rec_train.txt").write_text("a.png\tABC1234\n")
    (tmp_path / "rec_test.txt").write_text("b.png\tABC1235\n")
    found = scan(tmp_path)
    assert len(found.tracks) == 2 and "2 label lists" in found.problems[0].what


def test_rows_of_one_track_folder_form_one_track(tmp_path: Path) -> None:
    write_track(tmp_path / "one", None, lr=2, hr=2)
    write_track(tmp_path / "two", None, lr=2, hr=0)
    write_track(tmp_path / "three", "ABC1D23", lr=2, hr=0)
    rows = ["path,text,layout", "one/lr-001.png,ABC1234,brazilian", "one/hr-001.png,abc 1234,brazilian",
            "two/lr-001.png,AAA0000,", "two/lr-002.png,AAA0001,", "three,ZZZ9Z99,"]  # fmt: skip
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    found = scan(tmp_path)
    tracks = by_id(found)
    assert (tracks["one"].text, tracks["one"].layout, len(tracks["one"].frames)) == ("ABC1234", "brazilian", 4)
    assert tracks["two"].text is None
    assert tracks["three"].text == "ABC1D23"
    said = [p.what for p in errors(found)]
    assert any("AAA0000, AAA0001" in what for what in said) and any("'ZZZ9Z99'" in what for what in said)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("00000211616.jpg", "00000211616"),
        ("00000211616_2.jpg", "00000211616"),
        ("abc-1d23_1.PNG", "ABC1D23"),
        ("OUH9191_0.png", "OUH9191"),
        ("00420.png", "00420"),
        ("1E10.png", "1E10"),
        ("IMG_001.jpg", None),
        ("frame0012.png", None),
        ("photo.jpg", None),
        ("_ABC1234.jpg", None),
        ("123.jpg", None),
        ("ABC1234 (2).jpg", None),
        ("ÉBC1234.jpg", None),
        ("123456789012.jpg", None),
    ],
)
def test_folder_of_images_named_by_label(tmp_path: Path, name: str, text: str | None) -> None:
    touch(tmp_path / name)
    found = scan(tmp_path)
    assert found.tracks[0].text == text and found.tracks[0].id == Path(name).stem and found.problems == ()
    assert [f.kind for f in found.tracks[0].frames] == ["lr"]


def test_all_layouts_side_by_side_become_tracks(tmp_path: Path) -> None:
    write_track(tmp_path / "train" / "Scenario-A" / "Brazilian" / "track_1", "ABC1234", layout="Brazilian")
    write_track(tmp_path / "test" / "track_2", None, hr=0, suffix=".jpg")
    touch(tmp_path / "named" / "ABC1D23_1.png", tmp_path / "listed" / "x.png")
    (tmp_path / "listed" / "labels.csv").write_text("path,text\nx.png,XYZ1234\n")
    assert {t.id: t.text for t in scan(tmp_path).tracks} == {
        "track_1": "ABC1234", "track_2": None, "ABC1D23_1": "ABC1D23", "x": "XYZ1234"
    }  # fmt: skip


def test_names_that_are_not_utf8_can_be_printed(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "track_x") + b"\xff"
    os.mkdir(folder)  # noqa: PTH102 - a Path cannot hold these bytes
    write_image(Path(os.fsdecode(folder)) / "lr-001.png")
    (track,) = scan(tmp_path).tracks
    assert track.id == "track_x\ufffd" and track.lr[0].path.is_file()


def test_roots_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    for root, said in (("gone", "no such folder"), ("", "holds no track"), ("notes.md", "neither a folder")):
        with pytest.raises(InputError, match=said):
            scan(tmp_path / root)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        write_track(tmp_path / f"track_{number}", hr=1)
    before = scan(tmp_path).tracks
    original = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with original(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert scan(tmp_path).tracks == before


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared pictures are not here")
@pytest.mark.parametrize(
    ("name", "tracks", "frames", "layouts"),
    [
        ("lrlpr_figure_tracks", 9, (5, 5), {"brazilian": 5, None: 4}),
        ("brazil_photos", 34, (1, 0), {"brazilian": 34}),
        ("algeria_plates", 1509, (1, 0), None),
        ("argentina_plates", 65, (1, 0), None),
        ("india_plates", 6, (1, 0), None),
    ],
)
def test_shared_folders(name: str, tracks: int, frames: tuple[int, int], layouts: dict[str | None, int] | None) -> None:
    found = scan(SHARED / name)
    # Their lists name layouts that are none of our formats.
    assert len(found.tracks) == tracks and all("unknown layout" in problem.what for problem in found.problems)
    assert {(len(t.lr), len(t.hr)) for t in found.tracks} == {frames}
    assert all(t.text for t in found.tracks) and len(by_id(found)) == tracks
    if layouts:
        assert Counter(t.layout for t in found.tracks) == layouts


def test_a_track_folder_that_holds_only_empty_folders_is_a_track_without_frames(tmp_path: Path) -> None:
    (tmp_path / "track_00001" / "frames").mkdir(parents=True)
    (tmp_path / "track_00002" / "lr-001.jpg").mkdir(parents=True)
    touch(tmp_path / "track_00003" / "frames" / "lr-001.jpg", tmp_path / "track_00004" / "lr-001.jpg")
    (tmp_path / "track_00005" / "track_00006").mkdir(parents=True)
    (tmp_path / "other" / "empty").mkdir(parents=True)
    found = scan(tmp_path)
    frames = {name: len(track.frames) for name, track in by_id(found).items()}
    assert frames == {"track_00001": 0, "track_00002": 0, "frames": 1, "track_00004": 1, "track_00006": 0}
    assert [Path(p.where).name for p in errors(found)] == ["track_00001", "track_00002", "track_00006"]


def test_ids_of_tracks_of_one_name_differ_and_fit_a_submission(tmp_path: Path) -> None:
    names = ("track_1", "b/track_1", "b_track_1", "c/b/track_1", "c_b/track_1")
    touch(*(tmp_path / name / "lr-001.png" for name in names))
    found = by_id(scan(tmp_path))
    assert len(found) == len(names) and id_problems(found) == []


def test_unknown_layouts_of_a_list_are_one_problem_each(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{n}.png" for n in range(5)))
    layouts = ("india", "mercosur", "india", "", "algeria_10d")
    rows = "".join(f"{n}.png,ABC1D2{n},{layout}\n" for n, layout in enumerate(layouts))
    (tmp_path / "labels.csv").write_text("path,text,layout\n" + rows)
    found = scan(tmp_path)
    first, second = found.problems
    assert (first.where, second.where) == (f"{tmp_path / 'labels.csv'}:2", f"{tmp_path / 'labels.csv'}:6")
    assert "'india'" in first.what and "this kind: 2" in first.what
    assert "'algeria_10d'" in second.what and "this kind: 1" in second.what
    assert first.severity == "warning" and "mercosur" in first.fix
    assert [track.layout for track in found.tracks] == [None, "mercosur", None, None, None]
