"""Format files: what they may hold, what their templates allow, and formats that are named by their path."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lpr.formats import PlateFormat, allowed, ctc_steps, format_of, load_format, load_formats, worst_case_steps
from lpr.types import InputError


def write(folder: Path, text: str, name: str = "uruguay") -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_format_named_by_its_path_has_the_name_of_its_file(tmp_path: Path) -> None:
    found = load_format(write(tmp_path, "templates: [LLLDDDD]\nlayout: UY\nprior: 0.3\n"))
    assert (found.name, found.templates, found.layout, found.prior) == ("uruguay", ("LLLDDDD",), "UY", 0.3)
    assert load_format(write(tmp_path, "templates: [LLDD]", "short")).layout == "short"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("templates: [LLLDDDD]\ntemplate: x", "unknown key 'template'"),
        ("layout: x", "`templates` must be a list"),
        ("templates: []", "`templates` must be a list"),
        ("templates: LLLDDDD", "`templates` must be a list"),
        ("templates: [LL-DD]", "'-' is neither L, D, X"),
        ("templates: [LLDD]\nprior: 0", "`prior` must be a number above 0"),
        ("templates: [LLDD]\nprior: true", "`prior` must be a number above 0"),
        ("templates: [LLDD]\ndrawing: [1]", "`drawing` must hold"),
    ],
)
def test_a_wrong_format_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text, f"wrong{abs(hash(text))}")
    with pytest.raises(InputError) as error:
        load_format(path)
    assert expected in str(error.value) and path in str(error.value)


def test_an_unknown_name_suggests_the_nearest_and_no_name_lists_all() -> None:
    with pytest.raises(InputError, match="did you mean 'algerian'"):
        load_format("algeria")
    with pytest.raises(InputError, match="known formats: algerian, argentina"):
        load_formats([])


@pytest.mark.parametrize("name", ["algerian", "argentina", "digits5", "indian"])
def test_what_a_format_draws_it_matches_and_fits_its_worst_case(name: str) -> None:
    plate_format, rng = load_format(name), np.random.default_rng(0)
    for text in {plate_format.sample(rng) for _ in range(300)}:
        assert plate_format.matches(text) and not plate_format.matches("?" + text[1:])
        assert len(text) <= plate_format.max_length and ctc_steps(text) <= worst_case_steps([plate_format])


@pytest.mark.parametrize("templates", [["DD"], ["LDL"], ["X1X"], ["11D"], ["BHD", "LL"], ["LDDL", "DBD"]])
def test_the_worst_case_is_that_of_every_text(templates: list[str]) -> None:
    plate_format = PlateFormat("x", tuple(templates), "x")
    # Two letters and two digits stand for all: only whether neighbours can be equal counts.
    few = {"L": "BH", "D": "01", "X": "1B"}
    texts = ["".join(t) for template in templates for t in product(*(few.get(s, s) for s in template))]
    assert all(plate_format.matches(text) for text in texts)
    assert worst_case_steps([plate_format]) == max(map(ctc_steps, texts))


def test_the_first_format_that_a_text_obeys_is_its_format() -> None:
    formats = load_formats(["argentina", "indian", "algerian"])
    found = {
        text: format_of(text, formats) for text in ("AB123CD", "ABC123", "MH12AB1234", "0000021161", "22BH1234AA", "A")
    }
    assert [one.name if one else None for one in found.values()] == [
        "argentina", "argentina", "indian", "algerian", "indian", None
    ]  # fmt: skip


def test_symbols_that_are_no_class_stand_for_themselves() -> None:
    assert allowed("B") == "B" and allowed("7") == "7" and len(allowed("X")) == 36
