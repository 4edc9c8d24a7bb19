"""A broken format file is refused before anything is drawn, with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lpr.formats import FORMATS_DIR, known_formats, load_format
from lpr.plates.spec import check_drawing
from lpr.synth import main
from lpr.types import InputError


@pytest.mark.parametrize("name", known_formats())
def test_every_shipped_format_can_be_drawn(name: str) -> None:
    check_drawing(load_format(name))


@pytest.mark.parametrize(
    ("name", "old", "new", "field"),
    [
        ("brazilian", "size_mm: [400, 130]", "size_mm: [400, -130]", "size_mm"),
        ("brazilian", "size_mm: [400, 130]", "size_mm: [4000, 130]", "size_mm"),
        ("brazilian", "size_mm: [400, 130]", "size_mm: 400", "size_mm"),
        ("brazilian", "character_mm: 63 ", "character_mm: 630 ", "character_mm"),
        ("brazilian", "character_mm: 63 ", "charakter_mm: 63 ", "charakter_mm"),
        ("brazilian", "top_mm: 48", "top_mm: 100", "top_mm"),
        ("brazilian", "centres_mm: [44, ", "centres_mm: [", "centres_mm"),
        ("brazilian", "ink: [22, 22, 25]", "ink: [22, 22, 256]", "private"),
        ("brazilian", "corner_mm: 12", "corner_mm: 99", "corner_mm"),
        ("algerian", "area_mm: [34, 14, 452, 82]", "area_mm: [34, 14, 552, 82]", "area_mm"),
        ("algerian", "11: [6, 3, 2]", "11: [6, 3, 3]", "groups"),
        ("algerian", "gap: [0.05, 0.16]", "gap: [0.5, 0.16]", "gap"),
        ("indian", "template_weights: [10, ", "template_weights: [", "template_weights"),
        ("indian", "character_mm: [62, 80]", "character_mm: [62, 100]", "character_mm"),
        ("indian", "[AN, AP, AR,", "[AN, APR, AR,", "prefixes"),
        ("algerian", '-5: {"1": 0.82', '-5: {"1": 1.82', "letters"),
        ("algerian", "-2: [1, 58]", "-2: [58, 1]", "bounds"),
        ("algerian", "{16: 0.3,", "{99: 0.3,", "often"),
        ("algerian", "often: {-2:", "often: [1] #", "often"),
        ("algerian", "digit_rows: [0, 2, 3, 4]", "digit_rows: []", "digit_rows"),
        ("mercosur", "  face: ", "  written: {O: Q}\n  face: ", "written"),
        ("algerian", 'written: {"1": I}', 'written: {"1": II}', "written"),
        ("algerian", "-5: {", "-12: {", "letters"),
        ("algerian", "suffix: .jpg", "suffix: .bmp", "suffix"),
        ("algerian", "width_px: [190,", "width_px: [19000,", "width_px"),
        ("argentina", "template: LLDDDLL", "template: LLDDDL", "variants"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path: Path, name: str, old: str, new: str, field: str) -> None:
    text = (FORMATS_DIR / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / f"broken_{field}.yaml"
    broken.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        main(["--out", str(tmp_path / "out"), "--tracks", "2", "--format", str(broken)])
    problem = caught.value.problem
    assert f"drawing.{field}" in problem.what or f"drawing.colours.{field}" in problem.what
    path, _, line = problem.where.rpartition(":")
    assert path == str(broken)
    assert f"{field}:" in broken.read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert not (tmp_path / "out").exists()


def test_faces_and_missing_drawings(tmp_path: Path) -> None:
    text = (FORMATS_DIR / "mercosur.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own_face.yaml"
    own.write_text(text.replace("face: engschrift", "face: arial"), encoding="utf-8")
    with pytest.raises(InputError, match=r"unknown typeface 'arial'(.|\n)*engschrift"):
        check_drawing(load_format(str(own)))
    bare = tmp_path / "bare.yaml"
    bare.write_text("templates: [LLL]\n", encoding="utf-8")
    with pytest.raises(InputError, match="is missing"):
        check_drawing(load_format(str(bare)))


def test_a_country_of_ones_own_is_a_copied_file(tmp_path: Path) -> None:
    """A copy with another name, size and template is drawn without touching the code."""
    text = (FORMATS_DIR / "mercosur.yaml").read_text(encoding="utf-8")
    own = tmp_path / "mars.yaml"
    text = text.replace("[LLLDLDD]", "[DDLLLDD]").replace("layout: Mercosur", "layout: Mars")
    own.write_text(text.replace("size_mm: [400, 130]", "size_mm: [420, 132]"), encoding="utf-8")
    main(["--out", str(tmp_path / "set"), "--tracks", "4", "--hardness", "easy", "--format", str(own)])
    folders = list((tmp_path / "set").rglob("track_*"))
    assert len(folders) == 4
    assert {f.parent.name for f in folders} == {"Mars"}
    # What the copy says of a first letter means nothing where its plates begin with a digit.
    drawn = [json.loads((f / "annotations.json").read_text())["plate_text"] for f in folders]
    assert all(load_format(str(own)).matches(plate) for plate in drawn)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("argentina", "      template: LLLDDD\n", "      template: 0\n"),
        ("argentina", "      template: LLLDDD\n      weight: 1\n", "      template: LLLDDD\n"),
        ("argentina", "      template: LLLDDD\n      weight: 1\n", "      template: LLLDDD\n      weight: much\n"),
        ("argentina", "      template: LLLDDD\n      weight: 1\n", "      template: LLLDDD\n      weight: 0\n"),
        ("algerian", "marks: {none: 0.86, dash: 0.1, dot: 0.04}", "marks: "),
        ("brazilian", "kinds: {dot: 0.75, dash: 0.1, gap: 0.15}", "kinds: {dot: many}"),
        ("brazilian", "kinds: {dot: 0.75, dash: 0.1, gap: 0.15}", "sorts: {dot: 1}"),
        ("mercosur", "colour: [22, 44, 110]", "colour: blue"),
        ("mercosur", "text: BRASIL", "text: [1]"),
        ("argentina", "  groups: kind\n", "  groups: kind\n  digits: {bounds: {-3: [1, 899]}}\n"),
        ("argentina", "  groups: kind\n", "  groups: kind\n  template_weights: [0, 0]\n"),
        ("argentina", "  groups: kind\n", "  groups: kind\n  first_letters: {ABCDEFGHIJKLMNOPQRSTUVWXYZ: 0.5}\n"),
        ("brazilian", "  corner_mm: 12 ", "  digits: [1, 2]\n  corner_mm: 12 "),
        ("brazilian", "  corner_mm: 12 ", "  badges: 3\n  corner_mm: 12 "),
        ("brazilian", "  corner_mm: 12 ", "  badges: [5]\n  corner_mm: 12 "),
    ],
)
def test_what_cannot_be_drawn_is_said_before_a_set_is_begun(tmp_path: Path, name: str, old: str, new: str) -> None:
    text = (FORMATS_DIR / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        main(["--out", str(tmp_path / "out"), "--tracks", "2", "--format", str(broken)])
    assert caught.value.problem.where.startswith(str(broken)) and not (tmp_path / "out").exists()
