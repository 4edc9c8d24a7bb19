"""One self-contained page of an evaluation: no script, no font, no address outside the file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import Problem
from . import charts, failure
from .metrics import Estimate, confusions
from .outcomes import Outcome
from .pictures import marked
from .tables import Cell, Column, Table, show_interval, show_value, transpose

Pixels = NDArray[np.uint8]

#: Larger frames are shrunk before they go into the page; they are shown 150 px wide.
EMBEDDED_WIDTH_PX = 240
#: Frames of one track, problems and confused pairs listed in the page; the CSV files hold the rest.
MAX_FRAMES, MAX_PROBLEMS, MAX_PAIRS = 10, 50, 20


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
    for name in ("scenarios", "formats", "failure_groups", "errors", "positions"):
        if name in tables:
            extra = _thresholds() if name == "failure_groups" else ""
            sections.append((name, tables[name].title, _table(tables[name]) + extra))
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
        f"<style>{_CSS}</style></head><body>\n<h1>Plate readings: error report</h1>\n<nav>{links}</nav>\n{body}\n"
        "</body></html>\n"
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


def _cell(cell: Cell, column: Column) -> str:
    value, interval = escape(show_value(cell, column.kind)), show_interval(cell, column.kind)
    if not isinstance(cell, Estimate):
        return f'<td class="{column.kind}">{value}</td>'
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
        picture = f'<img alt="{escape(name)}" src="{_data_uri(images[name])}">' if name in images else ""
        if name in readings:
            reading = readings[name]
            words = f'<span class="plate">{_characters(reading.text, outcome.truth)}</span> <small>{reading.score:.2f}</small>'
        else:
            words = "<small>not read</small>"
        frames.append(f'<figure title="{escape(name)}">{picture}<figcaption>{words}</figcaption></figure>')
    if len(names) > MAX_FRAMES:
        frames.append(f"<small>and {len(names) - MAX_FRAMES} more frames</small>")
    prediction = outcome.prediction
    tags = [outcome.track.scenario and f"scenario {outcome.track.scenario}", outcome.format, *outcome.groups, *outcome.errors]
    others = " ".join(f"{escape(text)} {prob:.2f}" for text, prob in (prediction.runners_up[:3] if prediction else ()))
    result = (
        f'<span class="plate big">{_characters(outcome.text, outcome.truth)}</span>'
        f'<span>truth <span class="plate">{escape(outcome.truth)}</span></span>'
        + (f"<span>confidence {prediction.confidence:.3f}</span>" if prediction else "<span>not predicted</span>")
        + (f"<small>next: {others}</small>" if others else "")
    )
    labels = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags if tag)
    state = "right" if outcome.right else "wrong"
    return (
        f'<article class="{state}"><header><b>{escape(outcome.track.id)}</b>{labels}</header>'
        f'<div class="frames">{"".join(frames)}</div><div class="result">{result}</div></article>'
    )


def _characters(text: str, truth: str) -> str:
    return "".join(
        f'<i title="wrong">{escape(character)}</i>' if wrong else escape(character)
        for character, wrong in marked(text, truth)
    )


def _data_uri(pixels: Pixels) -> str:
    """A PNG inside the page: exact, and for a crop of 50x20 px smaller than a JPEG with its header."""
    if pixels.shape[1] > EMBEDDED_WIDTH_PX:
        height = max(1, round(pixels.shape[0] * EMBEDDED_WIDTH_PX / pixels.shape[1]))
        pixels = np.asarray(cv2.resize(pixels, (EMBEDDED_WIDTH_PX, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode("ascii")


def _problems(problems: Sequence[Problem]) -> str:
    items = "".join(f"<li>{escape(problem.severity)}: {escape(str(problem))}</li>" for problem in problems[:MAX_PROBLEMS])
    rest = len(problems) - MAX_PROBLEMS
    more = f'<p class="note">{rest} more are in problems.csv.</p>' if rest > 0 else ""
    return f"<ul>{items}</ul>{more}\n"


_CSS = """
body{font:14px/1.45 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:1180px;margin:0 auto;padding:12px 20px 60px}
h1{font-size:22px;margin:8px 0} h2{font-size:17px;margin:34px 0 8px;border-bottom:1px solid #d8d8d8;padding-bottom:3px}
nav{position:sticky;top:0;background:#fff;padding:6px 0;border-bottom:1px solid #eee;z-index:1} nav a{margin-right:12px;color:#14508c}
section{scroll-margin-top:40px} small,.note{color:#666} small{font-size:11.5px;white-space:nowrap} .note{margin:6px 0;font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:1px 14px;margin:8px 0} dt{color:#666} dd{margin:0;overflow-wrap:anywhere}
.tiles{display:flex;flex-wrap:wrap;gap:8px;margin:12px 0} .tile{border:1px solid #ddd;border-radius:5px;padding:7px 13px;min-width:104px}
.tile b{display:block;font-size:20px;font-weight:600} .tile span,.tile small{display:block}
.scroll{overflow-x:auto} table{border-collapse:collapse;margin:4px 0} th,td{padding:3px 9px;text-align:left;vertical-align:top;border-bottom:1px solid #eee}
th{font-weight:600;border-bottom:1px solid #bbb;white-space:nowrap} th.count,th.percent,th.number,td.count,td.percent,td.number{text-align:right}
td.count,td.percent,td.number{font-variant-numeric:tabular-nums;white-space:nowrap} svg.bar{display:block;margin:2px 0 3px auto}
.beside{display:flex;flex-wrap:wrap;gap:34px;align-items:flex-start} details{margin:6px 0} summary{cursor:pointer;color:#14508c}
article{display:grid;grid-template-columns:1fr 190px;gap:4px 18px;border:1px solid #ddd;border-left:4px solid #2c7a3f;border-radius:4px;
padding:7px 12px;margin:8px 0} article.wrong{border-left-color:#c81020} header{grid-column:1/3;display:flex;gap:8px;align-items:baseline;flex-wrap:wrap}
.tag{background:#eef1f4;border-radius:3px;padding:0 6px;font-size:12px} .frames{display:flex;flex-wrap:wrap;gap:8px} figure{margin:0;width:150px}
figure img{width:150px;max-height:90px;object-fit:contain;display:block} .plate{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.plate.big{font-size:25px;line-height:1.15} .plate i{color:#c81020;font-style:normal;font-weight:700} .result{display:flex;flex-direction:column}
.heat td,.heat th{padding:0;width:23px;height:21px;text-align:center;border:1px solid #f0f0f0;font-size:12px;vertical-align:middle}
@media print{nav{display:none} article{break-inside:avoid}}
"""
