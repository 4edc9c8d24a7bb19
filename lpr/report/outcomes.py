"""Predictions laid beside the truth: one Outcome for every track whose plate is known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from pathlib import Path

from ..data.labels import normalise_label
from ..data.lists import is_label_list
from ..data.scan import scan
from ..files import csv_lines, delimiter_of
from ..formats import PlateFormat, format_of, known_formats, layout_names, load_format
from ..types import InputError, Prediction, Problem, Reading, Track
from .metrics import align, character_accuracy, edit_distance, is_partial

#: Pairs that low resolution makes alike. First line: those that models of the competition confused most. Then round,
#: upright, open and slanted characters that differ by one stroke in the typefaces of Brazilian plates.
LOOK_ALIKE: frozenset[frozenset[str | None]] = frozenset(
    frozenset(pair)
    for pair in (
        *("MH", "68", "DB", "VY", "QO", "56", "08"),
        *("0O", "0D", "0Q", "OD", "DQ", "OC", "CG", "GO", "G6", "8B", "83", "3B", "39", "89", "9G", "5S", "2Z"),
        *("1I", "1L", "1T", "17", "IL", "IT", "7T", "7Z", "TY", "PR", "PF", "EF", "UJ", "UV"),
        *("4A", "MN", "NH", "MW", "VW", "KX", "XY"),
    )
)


@dataclass(frozen=True)
class Outcome:
    """What became of one track with known text.

    `track.text` is the truth; `prediction` is None when the track was not predicted, which counts as a reading of no
    character. `values` are the medians of `failure.measure_track`, empty without images; `groups` the failure groups
    they put it in.
    """

    track: Track
    prediction: Prediction | None
    values: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    @property
    def truth(self) -> str:
        """The plate's text."""
        return self.track.text or ""

    @property
    def text(self) -> str:
        """The text that was read."""
        return self.prediction.text if self.prediction else ""

    @property
    def confidence(self) -> float:
        """P(the whole plate is right) as predicted; NaN when the track was not predicted."""
        return self.prediction.confidence if self.prediction else nan

    @property
    def right(self) -> bool:
        """Whether the whole text is right, without any normalising: a submission is judged in the same way."""
        return self.prediction is not None and self.text == self.truth

    @cached_property
    def characters(self) -> float:
        """Character accuracy, see `metrics.character_accuracy`."""
        return character_accuracy(self.truth, self.text)

    @cached_property
    def partial(self) -> bool:
        """At least 80 % of the characters right."""
        return is_partial(self.truth, self.text)

    @cached_property
    def distance(self) -> int:
        """Edit distance to the truth."""
        return edit_distance(self.truth, self.text)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Each frame's own reading."""
        return self.prediction.per_frame if self.prediction else ()

    @property
    def frames_right(self) -> float:
        """Share of the frames whose own reading is right; 0 for a track without readable frame."""
        return sum(r.text == self.truth for r in self.readings) / len(self.readings) if self.readings else 0.0

    @cached_property
    def format(self) -> str:
        """Name of the plate's format: as annotated, else the first that the truth obeys, else "unknown"."""
        found = self.track.layout or format_of(self.truth, _formats())
        return found if isinstance(found, str) else found.name if found else "unknown"

    @cached_property
    def errors(self) -> tuple[str, ...]:
        """Kinds of error in a wrong reading, see `ERRORS`; several may hold."""
        if self.right:
            return ()
        if self.prediction is None:
            return ("not predicted",)
        is_own = any(f.matches(self.text) for f in _formats() if f.name == self.format)
        is_known = format_of(self.text, _formats()) is not None
        wrong = [pair for pair in align(self.truth, self.text) if pair[0] != pair[1]]
        found = [
            ("one character", len(wrong) == 1 and len(self.text) == len(self.truth)),
            ("look-alikes only", all(frozenset(pair) in LOOK_ALIKE for pair in wrong)),
            ("wrong length", len(self.text) != len(self.truth)),
            ("other format", not is_own and is_known),
            ("format violation", not is_own and not is_known),
            ("a frame was right", any(r.text == self.truth for r in self.readings)),
        ]
        return tuple(name for name, holds in found if holds)


#: Kinds of error and what they mean, in the order of the report.
ERRORS = {
    "one character": "exactly one character is wrong, the length is right",
    "look-alikes only": "every wrong character was taken for one that looks like it",
    "wrong length": "characters are missing or too many",
    "other format": "the text obeys another known format than the plate's own",
    "format violation": "the text obeys no known format at all",
    "a frame was right": "at least one frame's own reading was right, and fusion lost it",
    "not predicted": "the track has no line among the predictions",
}


def _formats() -> tuple[PlateFormat, ...]:
    return tuple(load_format(name) for name in known_formats())


def read_truth(path: Path) -> tuple[list[Track], list[Problem]]:
    """Tracks with their texts from a folder or a label list (any layout of `lpr.data.scan`), or another CSV file.

    That CSV has a header with `track_id,text` and, if known, `layout,scenario`; its tracks have no frames. A track
    without a text becomes a Problem: it cannot be evaluated. InputError if the file is missing, has no such header, a
    short line, a stray quote, or one id twice.
    """
    if path.is_dir() or is_label_list(path.name) or path.suffix.lower() == ".txt":
        scanned = scan(path)
        tracks, problems = list(scanned.tracks), list(scanned.problems)
    else:
        tracks, problems = _read_csv(path), []
    # `N/A` and `?` are what people write where they could not read a plate.
    known = [track for track in tracks if track.text and normalise_label(track.text).isalnum()]
    problems += [
        Problem(
            track.id,
            f"has the truth {track.text!r:.60}, which is no plate, and is not evaluated"
            if track.text
            else "has no truth text and is not evaluated",
            "add its text to the truth",
        )
        for track in tracks
        if not track.text or not normalise_label(track.text).isalnum()
    ]
    strange = [t for t in known if not format_of(normalise_label(t.text or ""), _formats())]
    if strange and len(strange) < len(known) / 2:
        # Of a country without a format file all would be.
        what = f"truth {strange[0].text!r:.40} obeys no known format; {len(strange)} of {len(known)} do not"
        problems.append(Problem(strange[0].id, what, "correct it, or write ? where nobody can read the plate"))
    if not known:
        raise InputError(
            "holds no track with a known text",
            where=path,
            fix="the truth is a folder with annotations or labels, or a CSV track_id,text[,layout,scenario]",
        )
    return known, problems


def _read_csv(path: Path) -> list[Track]:
    try:
        lines = csv_lines(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    at, first = next(lines, (1, ""))
    delimiter = delimiter_of(first, "track_id")
    header = [name.strip().lower() for name in _cells(first, f"{path}:{at}", delimiter)]
    missing = {"track_id", "text"} - set(header)
    if missing:
        raise InputError(
            f"has no column {' and no column '.join(sorted(missing))}",
            where=path,
            fix="the first line is the header: track_id,text[,layout,scenario]",
        )
    tracks: dict[str, Track] = {}
    for number, line in lines:
        where = f"{path}:{number}"
        cells = _cells(line, where, delimiter)
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise InputError("has not as many fields as the header", where=where)
        row = dict(zip(header, cells, strict=True))
        track_id = row["track_id"].strip()
        if track_id in tracks:
            raise InputError(f"track {track_id} stands twice", where=where, fix="keep one line for each track")
        layout, scenario = (row.get("layout") or "").strip(), (row.get("scenario") or "").strip()
        tracks[track_id] = Track(
            track_id,
            (),
            # A review.csv of lpr.infer: what a person wrote counts, not what was read.
            normalise_label(row.get("correction", row["text"])) or None,
            layout_names().get(layout.lower(), layout) or None,
            scenario.removeprefix("Scenario-") or None,
        )
    return list(tracks.values())


def _cells(line: str, where: str, delimiter: str) -> list[str]:
    """The fields of one line: no id or plate holds a line break, so a stray quote must not swallow the lines below."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise InputError(f"is not valid CSV: {error}", where=where, fix="mend the quotes") from error


def match(
    truth: Iterable[Track], predictions: Sequence[Prediction], where: Path | None = None
) -> tuple[list[Outcome], list[Problem]]:
    """One Outcome for each track of the truth, in its order; what has no counterpart becomes a Problem.

    A track without prediction stays, as wrong. A prediction without truth cannot be judged. InputError on a
    track that was predicted twice or a confidence outside [0, 1]; `where` it names as the file of the predictions.
    """
    by_id: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.track_id in by_id:
            twice = f"track {prediction.track_id} is predicted twice"
            raise InputError(twice, where=where, fix="keep one line for each track")
        if not 0 <= prediction.confidence <= 1:
            outside = f"confidence {prediction.confidence} of {prediction.track_id} is outside [0, 1]"
            raise InputError(outside, where=where)
        by_id[prediction.track_id] = prediction
    outcomes, problems = [], []
    for track in truth:
        prediction_or_none = by_id.pop(track.id, None)
        if prediction_or_none is None:
            problems.append(Problem(track.id, "has no prediction and counts as wrong", severity="error"))
        outcomes.append(Outcome(track, prediction_or_none))
    if by_id and outcomes and not any(outcome.prediction for outcome in outcomes):
        raise InputError(
            f"no track of the truth is among the {len(by_id)} predicted ones: {outcomes[0].track.id} is not, nor is "
            f"{next(iter(by_id))} known",
            where=where,
            fix="name the truth of the tracks that were read",
        )
    if by_id:
        more = f", as {len(by_id) - 1} more are" if len(by_id) > 1 else ""
        problems.append(Problem(next(iter(by_id)), f"is predicted{more}, but its truth is unknown: not evaluated"))
    return outcomes, problems
