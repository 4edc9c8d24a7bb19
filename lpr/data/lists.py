"""Label lists: `labels.csv` (path,text[,layout,...]), corrected `review.csv`, `rec_train.txt` (path, tab, text)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from ..files import csv_lines, delimiter_of
from ..formats import layout_names
from ..types import InputError, Problem


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled path. `path` is absolute or relative to the working folder, `at` is file:line."""

    path: str
    text: str
    layout: str | None
    at: str


def is_label_list(name: str) -> bool:
    """Whether a file of this name is read as a label list when it lies in a scanned folder."""
    name = name.lower()
    return name == "labels.csv" or fnmatch(name, "rec_*.txt")


def read_label_list(path: str) -> tuple[list[Row], list[Problem]]:
    """Read a label list; its paths are relative to the folder that it lies in.

    Text stays text (00420, NA, 1E10). UTF-16, a byte order mark, CRLF, quotes, a line `sep=;`, `;` or tab instead of
    the comma and backslashes in paths are understood. A line that cannot be used becomes a Problem with its number.
    Raises InputError if the file cannot be read at all.
    """
    problems: list[Problem] = []
    lines = _read_lines(path, problems)
    rows = _csv_rows(path, lines, problems) if path.lower().endswith(".csv") else _tab_rows(path, lines, problems)
    folder = os.path.dirname(path)
    resolved = []
    unknown: dict[str, list[str]] = {}
    for line, name, label, layout in rows:
        at = f"{path}:{line}"
        if not name.strip():
            problems.append(Problem(at, "no path", "expected a path and its text", "error"))
            continue
        full = os.path.join(folder, os.path.normpath(name.strip().replace("\\", "/")))
        known = layout_names().get(layout.strip().lower())
        if known is None and layout.strip():
            unknown.setdefault(layout.strip(), []).append(at)
        resolved.append(Row(full, label, known, at))
    for layout, places in unknown.items():
        what = f"unknown layout {layout!r:.40}: kept without one (lines of this kind: {len(places)})"
        problems.append(Problem(places[0], what, f"known: {', '.join(sorted(set(layout_names().values())))}"))
    return resolved, problems


def _read_lines(path: str, problems: list[Problem]) -> list[tuple[int, str]]:
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    lines = list(csv_lines(data))
    # Only the lines with such bytes suffer: their labels now hold a character outside any alphabet.
    damaged = next((number for number, line in lines if "\ufffd" in line), 0)
    if damaged:
        problems.append(Problem(f"{path}:{damaged}", "is not valid UTF-8", "save the file as UTF-8", "error"))
    return lines


def _tab_rows(path: str, lines: list[tuple[int, str]], problems: list[Problem]) -> Iterator[tuple[int, str, str, str]]:
    for number, line in lines:
        if not line.strip():
            continue
        name, tab, label = line.rstrip("\r\n").partition("\t")
        if not tab:
            problems.append(Problem(f"{path}:{number}", f"no tab in {line.strip()!r:.60}", "path, tab, text", "error"))
            continue
        yield number, name, label, ""


def _csv_rows(path: str, lines: list[tuple[int, str]], problems: list[Problem]) -> Iterator[tuple[int, str, str, str]]:
    """Parse line by line: no path or plate holds a line break, so a stray quote costs its own line only."""
    header = lines[0][1] if lines else ""
    delimiter = delimiter_of(header, "path")
    columns: dict[str, int] = {}
    unreadable = []
    for number, line in lines:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            problems.append(Problem(f"{path}:{number}", f"is not valid CSV: {error}", "mend the quotes", "error"))
            continue
        if not columns:
            columns = {cell.strip().lower(): i for i, cell in enumerate(cells)}
            # In a review.csv of lpr.infer the text is what was read; what counts is what a person wrote beside it.
            columns["text"] = columns.get("correction", columns.get("text", -1))
            if columns["text"] < 0:
                del columns["text"]
            if not {"path", "text"} <= columns.keys():
                fix = "the first line must be path,text or path,text,layout"
                what = f"no columns path and text in {header.strip()!r:.60}"
                problems.append(Problem(f"{path}:1", what, fix, "error"))
                return
        elif any(cell.strip() for cell in cells):
            if "correction" in columns and len(cells) > columns["text"] and not cells[columns["text"]].strip():
                continue  # nobody has looked at this line of a review.csv yet
            if len(cells) <= max(columns["path"], columns["text"]):
                problems.append(Problem(f"{path}:{number}", f"has {len(cells)} columns", "expected path,text", "error"))
                continue
            if "correction" in columns and not any(map(str.isalnum, cells[columns["text"]])):
                unreadable.append(number)  # a person wrote ?
                continue
            layout_column = columns.get("layout", len(cells))
            layout = cells[layout_column] if layout_column < len(cells) else ""
            yield number, cells[columns["path"]], cells[columns["text"]], layout
    if unreadable:
        what = f"{len(unreadable)} plates were found unreadable by a person (?) and are left out"
        problems.append(Problem(f"{path}:{unreadable[0]}", what))
