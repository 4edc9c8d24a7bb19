"""What a person should look at: readings of low confidence, with the reason, as a CSV that can be corrected."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import csv_lines, delimiter_of, write_text
from ..types import InputError, Prediction, Track, printable
from .decode import UNLIKE

COLUMNS = ("track_id", "path", "text", "confidence", "reason", "candidates", "correction")


@dataclass(frozen=True, slots=True)
class Row:
    """One reading to look at, with the plates that it may be, likeliest first."""

    track_id: str
    path: str
    text: str
    confidence: float
    reason: str
    candidates: tuple[tuple[str, float], ...]


def review_row(prediction: Prediction, path: str) -> Row:
    """A reading with the reason for its doubt and what else it may be."""
    found = ((prediction.text, prediction.confidence), *prediction.runners_up) if prediction.per_frame else ()
    return Row(prediction.track_id, path, prediction.text, prediction.confidence, reason(prediction), found)


def columns_of(row: Row) -> tuple[str, ...]:
    """What review.csv holds of a row: COLUMNS but the last, which is a person's."""
    candidates = "; ".join(f"{text} {prob:.3f}" for text, prob in row.candidates)
    return row.track_id, row.path, row.text, f"{row.confidence:.4f}", row.reason, candidates


def reason(prediction: Prediction) -> str:
    """Why a reading is in doubt, the gravest cause first."""
    if not prediction.per_frame:
        return "no readable LR frame"
    if any(problem.what.startswith(UNLIKE) for problem in prediction.problems):
        return "does not look like a plate"
    same = [(text, prob) for text, prob in prediction.runners_up if len(text) == len(prediction.text)]
    if same and same[0][1] >= prediction.confidence / 2:
        other = same[0][0]
        pairs = zip(prediction.text, other, strict=True)
        doubts = [f"character {at}: {a} or {b}" for at, (a, b) in enumerate(pairs, start=1) if a != b]
        return ", ".join(doubts)
    agreeing = sum(reading.text == prediction.text for reading in prediction.per_frame)
    if 2 * agreeing <= len(prediction.per_frame):
        return f"{agreeing} of {len(prediction.per_frame)} frames read this text"
    return "blurred: no text is likely"


def write_review(target: Path, rows: Iterable[Row]) -> list[Row]:
    """Write review.csv, the least sure reading first; returns the rows in this order."""
    ordered = sorted(rows, key=lambda row: (row.confidence, row.track_id))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in ordered:
        table.writerow([*columns_of(row), ""])
    write_text(target, text.getvalue())
    return ordered


def corrections(target: Path) -> int:
    """How many lines of a review.csv hold a correction; 0 where there is no such file.

    InputError where that cannot be told: a person may have saved it otherwise.
    """
    if not target.is_file():
        return 0
    try:
        lines = [line for _, line in csv_lines(target.read_bytes())]
        rows = list(csv.reader(lines, delimiter=delimiter_of(lines[0] if lines else "", "correction"), strict=True))
        at = [name.strip().lower() for name in rows[0]].index("correction") if rows else -1
    except (csv.Error, ValueError) as error:
        raise InputError(
            f"may hold corrections, but cannot be read: {error}",
            where=target,
            fix="move it, choose another --out, or save it as a CSV in UTF-8 with its column `correction`",
        ) from error
    # In a line that is too long, such as of a correction with a comma, the rest belongs to it.
    return sum(bool("".join(row[at:] if len(row) > len(rows[0]) else row[at : at + 1]).strip()) for row in rows[1:])


def track_path(track: Track) -> str:
    """Where a track lies, as label lists name it: its folder, or the file of a single image; "" without frames."""
    if not track.frames:
        return ""
    # Not the file itself: a link to an image in a store would name the store.
    first = track.frames[0].path
    first = first.parent.resolve() / first.name
    # The id of a single image holds the name of its file.
    is_folder = len(track.frames) > 1 or printable(first.stem) not in track.id
    return printable(str(first.parent if is_folder else first))


def pseudo_labels(rows: Sequence[tuple[Track, Prediction]], least: float) -> str:
    """A label list (CSV path,text,layout,confidence) of the unlabelled tracks read with at least this confidence."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "text", "layout", "confidence"))
    for track, prediction in rows:
        if track.text is None and prediction.confidence >= least and prediction.per_frame:
            confidence = f"{prediction.confidence:.4f}"
            table.writerow((track_path(track), prediction.text, prediction.format or "", confidence))
    return text.getvalue()
