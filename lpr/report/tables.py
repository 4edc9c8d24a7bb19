"""One table, three ways out: CSV for programs, rich for the terminal, and the cells that html.py draws."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from math import isfinite
from textwrap import fill
from typing import Literal

from rich.markup import escape
from rich.table import Table as RichTable

from .metrics import Estimate

#: How a column is written: a text, a whole number, a share in percent, a difference of shares in points of percent, or
#: a number with three decimals.
Kind = Literal["text", "count", "percent", "points", "number"]

Cell = str | int | float | Estimate


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the CSV, its heading for people, how its cells are written, and what it means."""

    name: str
    heading: str
    kind: Kind = "text"
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A result table. `name` is the CSV's file name without its ending; `note` says what must be known to read it."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def show_value(value: Cell, kind: Kind) -> str:
    """A cell for people, without its interval; an undefined number is a dash."""
    number = value.value if isinstance(value, Estimate) else value
    if isinstance(number, str):
        return number
    if not isfinite(number):
        return "–"
    if kind == "percent":
        return f"{100 * number:.1f} %"
    if kind == "points":
        return f"{100 * number:+.1f}"
    return f"{number:.3f}" if kind == "number" else f"{number:,}"


def show_interval(value: Cell, kind: Kind) -> str:
    """The 95 % interval of an Estimate for people, "" where there is none."""
    if not isinstance(value, Estimate) or not (isfinite(value.low) and isfinite(value.high)):
        return ""
    if kind == "points":
        return f"{100 * value.low:+.1f} to {100 * value.high:+.1f}"
    low, high = (100 * value.low, 100 * value.high) if kind == "percent" else (value.low, value.high)
    return f"{low:.1f}–{high:.1f}" if kind == "percent" else f"{low:.3f} to {high:.3f}"


def to_csv(table: Table) -> str:
    """CSV text with a header; an Estimate fills NAME, NAME_low, NAME_high and NAME_n. Shares are in [0, 1]."""
    spread = [any(isinstance(row[index], Estimate) for row in table.rows) for index in range(len(table.columns))]
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    header: list[str] = []
    for column, is_estimate in zip(table.columns, spread, strict=True):
        header += [column.name + end for end in ("", "_low", "_high", "_n")] if is_estimate else [column.name]
    writer.writerow(header)
    for row in table.rows:
        fields: list[str] = []
        for cell in row:
            if isinstance(cell, Estimate):
                fields += [_number(cell.value), _number(cell.low), _number(cell.high), str(cell.n)]
            else:
                fields.append(_number(cell) if isinstance(cell, float) else str(cell))
        writer.writerow(fields)
    return target.getvalue()


def _number(value: float) -> str:
    """Six significant digits; an undefined number is an empty field, as spreadsheets and pandas expect."""
    return f"{value:.6g}" if isfinite(value) else ""


def transpose(table: Table) -> Table:
    """The first row of a wide table as lines of text: measure, value, 95 % interval, n and meaning."""
    headings = ("measure", "value", "95 % interval", "n", "meaning")
    rows = []
    for column, cell in zip(table.columns, table.rows[0], strict=True):
        if isinstance(cell, Estimate):
            value, interval = show_value(cell, column.kind), show_interval(cell, column.kind)
            rows.append((column.heading, value, interval, f"{cell.n:,}", column.meaning))
    return Table(table.name, table.title, tuple(Column(name, name) for name in headings), tuple(rows), table.note)


def to_rich(table: Table, limit: int | None = None) -> RichTable:
    """The table for a terminal of 80 columns, at most `limit` rows and then how many are missing.

    Shares are in percent; only the first estimate of a row shows its interval, and explanations are left out.
    """
    shown = [index for index, column in enumerate(table.columns) if column.name != "meaning"]
    estimates = [index for index in shown if any(isinstance(row[index], Estimate) for row in table.rows)]
    rich = RichTable(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        header_style="dim",
        box=None,
        padding=(0, 1 if len(shown) > 6 else 2, 0, 0),
    )
    written = []
    for index in shown:
        kind, cells = table.columns[index].kind, []
        for row in table.rows[:limit]:
            interval = show_interval(row[index], kind) if index in estimates[:1] else ""
            value = show_value(row[index], kind).removesuffix(" %" if kind == "percent" else "")
            cells.append(f"{value} ({interval})" if interval else value)
        heading = table.columns[index].heading
        heading += " %" if kind == "percent" and "%" not in heading else ""
        # Headings wrap to the width of the values, which may not be torn.
        heading = fill(heading, max(6, *map(len, cells)) if cells else 6, break_long_words=False)
        rich.add_column(escape(heading), justify="left" if kind == "text" else "right", no_wrap=True)
        written.append(cells)
    for line in zip(*written, strict=True):
        rich.add_row(*map(escape, line))
    if limit is not None and len(table.rows) > limit:
        rich.caption = f"and {len(table.rows) - limit} more"
    return rich
