"""One self-contained page of an evaluation: no script, no font, no address outside the file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.merge import merged_picture
from ..types import Problem
from . import charts, failure
from .metrics import Estimate, confusions
from .outcomes import Outcome
from .pictures import marked
from .tables import Cell, Column, Table, show_interval, show_value, transpose

Pixels = NDArray[np.uint8]

_STYLE = Path(__file__).with_name("page.css")

#: Larger frames are shrunk before they go into the page; they are shown 150 px wide.
EMBEDDED_WIDTH_PX = 240
#: Frames of one track, problems and confused pairs listed in the page; the CSV files hold the rest.
MAX_FRAMES, MAX_PROBLEMS, MAX_PAIRS = 10, 50, 15


@dataclass(frozen=True, slots=True)
class Gallery:
    """A row of pictured tracks under one heading."""

    title: str
    note: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the page shows. `sources`: what was compared, name -> value. `images`: track id -> file name ->
    uint8 (H, W, 3) RGB of the pictured tracks, empty without `--tracks`. `notes`: what was left out and why."""

    sources: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    tables: tuple[Table, ...]
    galleries: tuple[Gallery, ...]
    images: Mapping[str, Mapping[str, Pixels]]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def render(report: Report) -> str:
    """The page as HTML text; everything that comes from users' data is escaped."""
    tables = {table.name: table for table in report.tables}
    sections = [("summary", "Summary", _summary(report, tables["summary"]))]
    for name in ("comparison", "scenarios", "formats", "failure_groups", "errors"):
        if name in tables:
            extra = _thresholds() if name == "failure_groups" else ""
            sections.append((name, tables[name].title, _table(tables[name]) + extra))
    sections.append(("positions", tables["positions"].title, _table(_across(tables["positions"]))))
    sections.append(("confusions", tables["confusions"].title, _confusions(report.outcomes, tables["confusions"])))
    calibration = charts.reliability(tables["calibration"])
    sections.append(("calibration", tables["calibration"].title, _beside(_table(tables["calibration"]), calibration)))
    for number, gallery in enumerate(report.galleries, start=1):
        sections.append((f"tracks{number}", gallery.title, _gallery(gallery, report.images)))
    if report.problems:
        sections.append(("problems", "Problems", _problems(report.problems)))
    links = " ".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    body = "\n".join(f'<section id="{key}"><h2>{escape(title)}</h2>\n{html}</section>' for key, title, html in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Plate readings: error report</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><h1>Plate readings: error report</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def _summary(report: Report, table: Table) -> str:
    sources = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.sources.items())
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in report.notes)
    estimates = [(c, v) for c, v in zip(table.columns, table.rows[0], strict=True) if isinstance(v, Estimate)]
    tiles = "".join(
        f'<div class="tile"><b>{show_value(v, c.kind)}</b><span>{escape(c.heading)}</span>'
        f"<small>{show_interval(v, c.kind)}</small></div>"
        for c, v in estimates
    )
    return f'<dl>{sources}</dl>\n<div class="tiles">{tiles}</div>\n{_table(transpose(table))}{notes}'


def _table(table: Table) -> str:
    head = "".join(
        f'<th class="{column.kind}" title="{escape(column.meaning)}">{escape(column.heading)}</th>'
        for column in table.columns
    )
    rows = "".join(
        "<tr>" + "".join(_cell(c, column) for c, column in zip(row, table.columns, strict=True)) + "</tr>\n"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>{note}\n'


def _across(table: Table) -> Table:
    """The table of positions with one row a format and one column a position."""
    by_format: dict[str, dict[int, Cell]] = {}
    for name, position, right in table.rows:
        by_format.setdefault(str(name), {})[int(str(position))] = right
    longest = max(position for cells in by_format.values() for position in cells)
    columns = (table.columns[0], *(Column(f"p{p}", str(p), "percent") for p in range(1, longest + 1)))
    rows = tuple((name, *(cells.get(p, "") for p in range(1, longest + 1))) for name, cells in by_format.items())
    return Table(table.name, table.title, columns, rows, table.note)


def _cell(cell: Cell, column: Column) -> str:
    value, interval = escape(show_value(cell, column.kind)), show_interval(cell, column.kind)
    if not isinstance(cell, Estimate):
        kind = "prose" if column.name == "meaning" else column.kind
        return f'<td class="{kind}">{value}</td>'
    bar = charts.bar(cell) if column.kind == "percent" and isfinite(cell.value) else ""
    return f'<td class="{column.kind}">{value} <small>{interval}</small>{bar}</td>'


def _thresholds() -> str:
    rows = "".join(
        f"<tr><td>{escape(m.group)}</td><td>{escape(m.name)} {m.side} {m.threshold:g} {escape(m.unit)}</td>"
        f"<td>{escape(m.reason)}</td></tr>"
        for m in failure.MEASURES
    )
    return (
        "<details><summary>How the groups are measured</summary><table><thead><tr><th>group</th><th>when</th>"
        f"<th>why there</th></tr></thead><tbody>{rows}</tbody></table></details>\n"
    )


def _confusions(outcomes: Sequence[Outcome], table: Table) -> str:
    if not table.rows:
        return "<p>No character was taken for another.</p>\n"
    most = Table(table.name, table.title, table.columns, table.rows[:MAX_PAIRS], table.note)
    rest = len(table.rows) - MAX_PAIRS
    more = f'<p class="note">{rest} rarer pairs are in {table.name}.csv.</p>' if rest > 0 else ""
    return _beside(_table(most) + more, charts.heat(confusions([(o.truth, o.text) for o in outcomes])))


def _beside(left: str, right: str) -> str:
    return f'<div class="beside"><div>{left}</div><div>{right}</div></div>\n'


def _gallery(gallery: Gallery, images: Mapping[str, Mapping[str, Pixels]]) -> str:
    cards = "\n".join(_card(o, images.get(o.track.id, {})) for o in gallery.outcomes)
    return f'<p class="note">{escape(gallery.note)}</p>\n{cards or "<p>None.</p>"}\n'


def _card(outcome: Outcome, images: Mapping[str, Pixels]) -> str:
    readings = {reading.file: reading for reading in outcome.readings}
    names = list(dict.fromkeys([*images, *readings]))
    frames = []
    for name in names[:MAX_FRAMES]:
        picture = f'<img alt="{escape(name)}" src="{data_uri(images[name])}">' if name in images else ""
        if name in readings:
            reading = readings[name]
            text = _characters(reading.text, outcome.truth)
            words = f'<span class="plate">{text}</span> <small>{reading.score:.2f}</small>'
        else:
            words = "<small>not read</small>"
        frames.append(f'<figure title="{escape(name)}">{picture}<figcaption>{words}</figcaption></figure>')
    if len(names) > MAX_FRAMES:
        frames.append(f"<small>and {len(names) - MAX_FRAMES} more frames</small>")
    frames.append(merged_figure(images))
    prediction = outcome.prediction
    scenario = [f"scenario {outcome.track.scenario}"] if outcome.track.scenario else []
    tags = [*scenario, outcome.format, *outcome.groups, *outcome.errors]
    others = " ".join(f"{escape(text)} {prob:.2f}" for text, prob in (prediction.runners_up[:3] if prediction else ()))
    result = (
        f'<span class="plate big">{_characters(outcome.text, outcome.truth)}</span>'
        f'<span>truth <span class="plate">{escape(outcome.truth)}</span></span>'
        + (f"<span>confidence {prediction.confidence:.3f}</span>" if prediction else "<span>not predicted</span>")
        + (f"<small>next: {others}</small>" if others else "")
    )
    labels = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags)
    state = "right" if outcome.right else "wrong"
    return (
        f'<article class="{state}"><header><b>{escape(outcome.track.id)}</b>{labels}</header>'
        f'<div class="frames">{"".join(frames)}</div><div class="result">{result}</div></article>'
    )


def merged_figure(images: Mapping[str, Pixels]) -> str:
    """What the frames of a track show together, see `data.merge`; nothing for a single frame."""
    merged = merged_picture(list(images.values()))
    if merged is None:
        return ""
    return f'<figure><img alt="merged" src="{data_uri(merged)}"><figcaption><small>merged</small></figcaption></figure>'


def _characters(text: str, truth: str) -> str:
    return "".join(
        f'<i title="wrong">{escape(character)}</i>' if wrong else escape(character)
        for character, wrong in marked(text, truth)
    )


def data_uri(pixels: Pixels) -> str:
    """A PNG inside the page: exact, and for a crop of 50x20 px smaller than a JPEG with its header."""
    if pixels.shape[1] > EMBEDDED_WIDTH_PX:
        height = max(1, round(pixels.shape[0] * EMBEDDED_WIDTH_PX / pixels.shape[1]))
        shown = cv2.resize(pixels, (EMBEDDED_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    else:
        shown = pixels
    _, png = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode("ascii")


def _problems(problems: Sequence[Problem]) -> str:
    items = "".join(f"<li>{p.severity}: {escape(str(p))}</li>" for p in problems[:MAX_PROBLEMS])
    rest = len(problems) - MAX_PROBLEMS
    more = f'<p class="note">{rest} more are in problems.csv.</p>' if rest > 0 else ""
    return f"<ul>{items}</ul>{more}\n"
