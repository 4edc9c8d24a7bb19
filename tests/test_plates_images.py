"""Pictures of single plates: names that are labels, texts apart, every format drawn, fonts of one's own."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from lpr.data.scan import scan
from lpr.formats import known_formats, load_format
from lpr.plates import fonts, jobs
from lpr.plates.draw import draw_plate, draw_plate_parameters, size_of, variant_of
from lpr.plates.fonts import PACKAGES, check_faces, packaged_faces
from lpr.plates.images import write_images
from lpr.plates.texts import bucket, sample_text
from lpr.plates.typeset import TypeDraws, split_groups, typeset
from lpr.synth import main
from lpr.types import InputError

SINGLE = [name for name in known_formats() if "image" in load_format(name).drawing]
#: Whose characters are set within an area; the others' stand at places of their own.
SET = [name for name in SINGLE if {"area_mm", "variants"} & set(load_format(name).drawing)]


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", SINGLE)
def test_the_scanner_reads_what_is_written(tmp_path: Path, name: str) -> None:
    plate_format = load_format(name)
    out = write_images(tmp_path / name, 12, plate_format, 3, workers=1, progress=False)
    found = scan(out)
    assert len(found.tracks) == 12
    assert not found.problems
    for track in found.tracks:
        assert plate_format.matches(track.text or "")
        assert track.layout == name
        assert track.id.split("_")[0] == track.text
        assert cv2.imread(str(track.frames[0].path)).std() > 1


def test_letters_of_any_state_are_alike_and_those_of_the_series_are_not(tmp_path: Path) -> None:
    call = ["--count", "300", "--format", "brazilian", "--hardness", "photo", "--workers", "1"]
    shares = {}
    for letters in ("series", "any"):
        main(["--out", str(tmp_path / letters), "--letters", letters, *call])
        names = [p.stem for p in (tmp_path / letters).glob("*.jpg")]
        assert len(names) == 300
        shares[letters] = sum(name[0] in "AB" for name in names) / 300
    assert shares["series"] == pytest.approx(0.8, abs=0.1)
    assert shares["any"] == pytest.approx(2 / 26, abs=0.06)


def test_names_alone_are_labels_too(tmp_path: Path) -> None:
    out = write_images(tmp_path / "dz", 40, load_format("algerian"), 5, workers=1, progress=False)
    with (out / "labels.csv").open(encoding="utf-8") as handle:
        listed = {row["path"]: row["text"] for row in csv.DictReader(handle)}
    assert any(name.endswith("_2.jpg") for name in listed)
    assert {len(text) for text in listed.values()} == {10, 11}
    (out / "labels.csv").unlink()
    assert {t.frames[0].path.name: t.text for t in scan(out).tracks} == listed


def test_five_digit_pictures_are_grey_64_by_128_and_all_different(tmp_path: Path) -> None:
    plate_format = load_format("digits5")
    assert len(set(plate_format.drawing["faces"])) == 22
    out = write_images(tmp_path / "train", 300, plate_format, 1, workers=1, progress=False)
    test = write_images(tmp_path / "test", 100, plate_format, 2, split="test", workers=1, progress=False)
    names = [{p.stem for p in folder.glob("*.png")} for folder in (out, test)]
    assert [len(n) for n in names] == [300, 100]
    assert not names[0] & names[1]
    assert {bucket(n) for n in names[1]} == {"test"}
    for path in list(out.glob("*.png"))[:20]:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (64, 128)
        assert image.dtype == np.uint8
        assert np.ptp(image) > 100


def test_workers_do_not_change_a_byte_and_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plate_format = load_format("indian")
    one = write_images(tmp_path / "one", 10, plate_format, 7, workers=1, progress=False)
    before = files_of(one)
    victim = next(one.glob("*.jpg"))
    victim.unlink()
    write_images(one, 10, plate_format, 7, workers=1, progress=False)
    assert files_of(one) == before
    monkeypatch.setattr(jobs, "_FEW", 1)
    two = write_images(tmp_path / "two", 10, plate_format, 7, workers=2, progress=False)
    assert files_of(two) == before
    with pytest.raises(InputError, match="other arguments"):
        write_images(one, 11, plate_format, 7, progress=False)


def test_texts_run_out_with_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few texts"):
        few = dataclasses.replace(load_format("digits5"), templates=("DD",))
        write_images(tmp_path / "all", 95, few, 0, progress=False)
    assert not (tmp_path / "all").exists()
    with pytest.raises(InputError, match="at least 1"):
        write_images(tmp_path / "none", 0, load_format("digits5"), 0, progress=False)


@pytest.mark.parametrize("name", SET)
def test_every_template_is_set_inside_its_area(name: str) -> None:
    plate_format = load_format(name)
    for number, template in enumerate(plate_format.templates):
        text = dataclasses.replace(plate_format, templates=(template,)).sample(np.random.default_rng(number))
        for seed in range(4):
            draws = draw_plate_parameters(np.random.default_rng(seed), plate_format, text)
            draws = dataclasses.replace(draws, dirt=0.0)
            plate, outline = draw_plate(plate_format, text, draws)
            width, height = size_of(plate_format, draws)
            assert plate.shape == (height, width, 3)
            assert outline.shape == (height, width)
            # Every character as another one: what changes is where the characters are.
            other = "".join("7" if c.isdigit() else "T" for c in text)
            changed = (plate != draw_plate(plate_format, other, draws)[0]).any(2)
            rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
            x, y, w, h = variant_of(plate_format.drawing, draws.setting.variant)["area_mm"]
            # Q and J may hang below the line; a squeezed line may end a pixel further right.
            assert x - 2 <= columns[0] <= columns[-1] <= x + w + 4
            assert y - 2 <= rows[0] <= rows[-1] <= y + h + 20
            assert np.ptp(columns) > 0.25 * w


def test_groups_and_lines() -> None:
    assert split_groups("MH12AB1234", "kind") == ["MH", "12", "AB", "1234"]
    assert split_groups("00000211616", {11: [6, 3, 2]}) == ["000002", "116", "16"]
    assert split_groups("00420", None) == ["00420"]


def test_indian_texts_begin_with_a_state_or_are_of_the_bh_series() -> None:
    plate_format = load_format("indian")
    rng = np.random.default_rng(1)
    texts = [sample_text(rng, plate_format) for _ in range(1500)]
    states = set(plate_format.drawing["prefixes"])
    others = [t for t in texts if t[:2] not in states]
    assert others
    assert all(t[2:4] == "BH" and t[:2].isdigit() for t in others)
    assert 0.4 < np.mean([len(t) == 10 for t in texts]) < 0.9
    assert {len(t) for t in texts} == {7, 8, 9, 10}


def test_algerian_colours_and_wilayas() -> None:
    plate_format = load_format("algerian")
    rng = np.random.default_rng(1)
    texts = [sample_text(rng, plate_format) for _ in range(400)]
    assert {int(t[-2:]) for t in texts} == set(range(1, 59))
    uses = Counter(draw_plate_parameters(rng, plate_format, t).use for t in texts)
    assert 0.62 < uses["front"] / 400 < 0.78
    assert 0.24 < np.mean([t[-2:] == "16" for t in texts]) < 0.38
    assert 0.75 < np.mean([t[-5] == "1" for t in texts]) < 0.9
    assert {len(t) for t in texts} == {10, 11}


def test_a_one_may_be_drawn_as_another_sign() -> None:
    plate_format = load_format("algerian")
    spec = variant_of(plate_format.drawing, "roman")
    setting = TypeDraws("engschrift", "roman", 1.0, 0.5, 0.5, (0.5, 0.5), "none")
    sizes = {"stroke": 1.0, "width": 1.0, "radius": 1.0, "fonts": None}
    roman, letters = (
        typeset(s, t, setting, **sizes) for s, t in ((spec, "0131110616"), (plate_format.drawing, "0I3III06I6"))
    )
    assert all(np.array_equal(a.ink, b.ink) for a, b in zip(roman, letters, strict=True))


def test_packaged_faces_are_many_and_draw_what_they_must() -> None:
    assert len(set(packaged_faces())) >= 22
    assert len(PACKAGES) >= 11
    check_faces(packaged_faces(), "0123456789", None, "")


def test_a_face_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts._find.cache_clear()
    monkeypatch.setattr(fonts, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install font-roboto"):
        check_faces(["Roboto-Bold"], "0", None, "")
    with pytest.raises(InputError, match="unknown typeface 'Robot'"):
        check_faces(["Robot"], "0", None, "")
    fonts._find.cache_clear()


def test_a_folder_of_ones_own_fonts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import matplotlib

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    folder = tmp_path / "fonts"
    folder.mkdir()
    call = ["--count", "2", "--format", "digits5", "--fonts", str(folder), "--workers", "1"]
    with pytest.raises(InputError, match="holds no font"):
        main(["--out", str(tmp_path / "a"), *call])
    with pytest.raises(InputError, match="no such folder"):
        main(["--out", str(tmp_path / "a"), *call[:-3], str(tmp_path / "nowhere")])
    # A face of mathematical signs has no digits.
    (folder / "Signs.ttf").write_bytes((own / "STIXSizOneSymReg.ttf").read_bytes())
    with pytest.raises(InputError, match=r"Signs lacks '0'"):
        main(["--out", str(tmp_path / "a"), *call])
    (folder / "Signs.ttf").unlink()
    (folder / "Empty.otf").write_bytes(b"no font")
    with pytest.raises(InputError, match="not a font"):
        main(["--out", str(tmp_path / "b"), *call])
    assert not (tmp_path / "a").exists()


def test_the_command_needs_no_out_and_takes_one_such_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--format", "digits5", "--count", "3"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "data" / "digits5-train")
    assert len(list((tmp_path / "data" / "digits5-train").glob("*.png"))) == 3
    for wrong, message in (
        (["--format", "digits5", "--format", "mercosur"], "single pictures"),
        (["--format", "digits5", "--codec", "h264"], "no video"),
        (["--fonts", "."], "own characters"),
    ):
        with pytest.raises(InputError, match=message):
            main(["--count", "3", *wrong])


def test_another_drawing_is_another_set(tmp_path: Path) -> None:
    plate_format = load_format("digits5")
    out = write_images(tmp_path / "set", 2, plate_format, 3, workers=1, progress=False)
    before = files_of(out)
    write_images(out, 2, plate_format, 3, workers=1, progress=False)
    redrawn = dataclasses.replace(plate_format, drawing={**plate_format.drawing, "corner_mm": 3})
    with pytest.raises(InputError, match=r"other arguments \(drawings\)"):
        write_images(out, 2, redrawn, 3, workers=1, progress=False)
    with pytest.raises(InputError, match=r"other arguments \(seed\)"):
        write_images(out, 2, plate_format, 4, workers=1, progress=False)
    assert files_of(out) == before
    # Sets made before drawings were noted go on.
    marker = out / "synth.json"
    marker.write_text(json.dumps({k: v for k, v in json.loads(marker.read_text()).items() if k != "drawings"}))
    write_images(out, 2, plate_format, 3, workers=1, progress=False)
