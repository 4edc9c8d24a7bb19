"""Result tables: their numbers, and that CSV, terminal and page say the same."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from lpr.report.analysis import all_tables, problem_table, track_table
from lpr.report.html import Gallery, Report, render
from lpr.report.metrics import Estimate
from lpr.report.outcomes import Outcome
from lpr.report.tables import Column, Table, show_interval, show_value, to_csv, to_rich, transpose
from lpr.types import Prediction, Problem, Reading, Track


def outcome(
    track_id: str,
    truth: str,
    text: str | None,
    confidence: float = 0.5,
    *,
    scenario: str = "B",
    groups: tuple[str, ...] = (),
) -> Outcome:
    readings = (Reading(truth, 0.9, -1.0, file="lr-001.png"), Reading("WRONG", 0.4, -9.0, file="lr-002.png"))
    prediction = None if text is None else Prediction(track_id, text, confidence, per_frame=readings)
    values = {"width": 30.0} if groups else {"width": 50.0}
    return Outcome(Track(track_id, (), truth, None, scenario), prediction, values, groups)


OUTCOMES = [
    outcome("1", "ABC1234", "ABC1234", 0.95),
    outcome("2", "ABC1D23", "ABC1D28", 0.85, groups=("small",)),
    outcome("3", "XYZ1D23", "XYZ1D23", 0.65, scenario="A"),
    outcome("4", "XYZ1234", None, groups=("small", "dark")),
]


def rows(name: str, outcomes: list[Outcome] = OUTCOMES) -> dict[str, dict[str, str]]:
    """A table read back from its CSV, by its first column."""
    table = next(t for t in all_tables(outcomes) if t.name == name)
    return {next(iter(r.values())): r for r in csv.DictReader(io.StringIO(to_csv(table)))}


def test_summary_by_hand() -> None:
    row = rows("summary")["all tracks"]
    assert (row["tracks"], row["exact_n"], row["calibration_error_n"]) == ("4", "4", "3")
    assert float(row["exact"]) == 0.5
    assert float(row["partial"]) == 0.75
    assert float(row["single"]) == pytest.approx(3 / 8)  # One of two frames in three tracks, none in the fourth.
    assert float(row["characters"]) == pytest.approx((1 + 6 / 7 + 1 + 0) / 4, abs=1e-5)
    assert float(row["edit_distance"]) == pytest.approx((0 + 1 + 0 + 7) / 4)
    assert float(row["confidence_gap"]) == pytest.approx(0.8 - 0.85)
    assert float(row["calibration_error"]) == pytest.approx((0.05 + 0.85 + 0.35) / 3, abs=1e-5)


def test_groups_by_hand() -> None:
    assert {k: (r["tracks"], r["exact"]) for k, r in rows("scenarios").items()} == {
        "A": ("1", "1"),
        "B": ("3", "0.333333"),
    }
    assert {k: r["tracks"] for k, r in rows("formats").items()} == {"brazilian": "2", "mercosur": "2"}
    assert {k: r["tracks"] for k, r in rows("failure_groups").items()} == {
        "dark": "1",
        "small": "2",
        "none of these": "2",
    }
    assert {k: r["tracks"] for k, r in rows("errors").items() if r["tracks"] != "0"} == {
        "one character": "1",
        "look-alikes only": "1",
        "a frame was right": "1",
        "not predicted": "1",
    }


def test_positions_confusions_and_bands_by_hand() -> None:
    table = next(t for t in all_tables(OUTCOMES) if t.name == "positions")
    shares = {(r[0], r[1]): r[2].value for r in table.rows if isinstance(r[2], Estimate)}
    assert shares["mercosur", 7] == 0.5
    assert shares["mercosur", 1] == 1.0
    assert shares["brazilian", 1] == 0.5  # The track without prediction is wrong in every position.
    confusions = next(t for t in all_tables(OUTCOMES) if t.name == "confusions")
    assert [r[:3] for r in confusions.rows] == [("3", "8", 1)]
    bands = rows("calibration")
    assert (bands["0.8 to 0.9"]["tracks"], bands["0.8 to 0.9"]["right"]) == ("1", "0")
    assert bands["0.0 to 0.1"]["right"] == ""


def test_what_the_data_lack_is_left_out_and_said() -> None:
    bare = [Outcome(Track("1", (), "ABC1234"), Prediction("1", "ABC1234", 0.9))]
    tables = {t.name: t for t in all_tables(bare)}
    assert "failure_groups" not in tables
    assert "single" not in [c.name for c in tables["summary"].columns]
    assert "single frames" in tables["summary"].note


def test_a_text_of_digits_survives_the_csv() -> None:
    line = next(csv.DictReader(io.StringIO(to_csv(track_table([outcome("007", "00420", "00420")])))))
    assert (line["track_id"], line["truth"], line["text"], line["right"]) == ("007", "00420", "00420", "1")


def test_an_undefined_number_is_a_dash_or_an_empty_field_never_nan() -> None:
    undefined = Estimate(float("nan"), float("nan"), float("nan"), 0)
    assert (show_value(undefined, "percent"), show_interval(undefined, "percent")) == ("–", "")
    table = Table("t", "t", (Column("x", "x", "number"),), ((undefined,),))
    assert to_csv(table) == "x,x_low,x_high,x_n\n,,,0\n"


def test_terminal_tables_fit_80_columns_and_do_not_read_markup() -> None:
    console = Console(width=80, file=io.StringIO())
    evil = [outcome("1", "ABC1234", "[bold]X[/nope]", scenario="[red]"), *OUTCOMES]
    for table in all_tables(evil):
        console.print(to_rich(transpose(table) if table.name == "summary" else table))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(outcomes: list[Outcome], images: dict[str, dict[str, np.ndarray]] | None = None) -> str:
    gallery = Gallery("Worst tracks", "note", tuple(outcomes))
    problems = (Problem("<i>where</i>", "what & why"),)
    tables = tuple(all_tables(outcomes))
    return render(
        Report({"truth": "<truth>"}, tuple(outcomes), tables, (gallery,), images or {}, problems, ("left out",))
    )


def test_page_is_self_contained_and_well_formed() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (20, 50, 3), np.uint8)
    parsed = Page(page(OUTCOMES, {"1": {"lr-001.png": frame, "lr-003.png": np.repeat(frame, 40, axis=1)}}))
    assert {"script", "link", "iframe"}.isdisjoint(parsed.tags)
    sources = [value for name, value in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    # Two frames, and what they are merged to.
    assert sum(value.startswith("data:") for value in sources) == 3
    for expected in ("50.0 %", "Kinds of error", "By failure group", "not read", "left out", "not predicted"):
        assert expected in parsed.text


def test_page_marks_exactly_the_wrong_characters() -> None:
    html = page([outcome("2", "ABC1D23", "ABC1D28")])
    assert 'ABC1D2<i title="wrong">8</i></span><span>truth' in html


def test_page_escapes_everything_of_the_users() -> None:
    evil = '"><script>alert(1)</script>&'
    hostile = Outcome(
        Track(evil, (), evil, evil, evil),
        Prediction(evil, evil[::-1], 0.5, None, (Reading(evil, 0.5, 0.0, file=evil),), ((evil, 0.1),)),
    )
    image = np.zeros((10, 30, 3), np.uint8)
    parsed = Page(page([hostile, *OUTCOMES], {evil: {evil: image}}))
    assert "script" not in parsed.tags
    assert "<i>where</i>" in parsed.text
    assert ("alt", evil) in parsed.attributes


def test_page_without_a_single_error_or_image_renders() -> None:
    assert "No character was taken for another." in page([outcome("1", "ABC1234", "ABC1234")])


def test_problem_table_holds_every_problem() -> None:
    problems = [Problem(str(i), "what", severity="error") for i in range(70)]
    assert len(problem_table(problems).rows) == 70
