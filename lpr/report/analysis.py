"""The result tables of an evaluation: over all tracks and by scenario, format, failure group, error, position, pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf, nan

import numpy as np

from ..types import Problem
from . import failure
from .metrics import Estimate, align, auroc, bands, calibration_error, confidence_gap, confusions, mean, wilson
from .outcomes import ERRORS, Outcome
from .tables import Cell, Column, Table

_MEASURES = (
    Column("exact", "exact match", "percent", "tracks whose whole text is right"),
    Column("single", "single frame", "percent", "chance that one frame of a track, read alone, gives the whole text"),
    Column("partial", "≥ 80 %", "percent", "tracks with at least 80 % of their characters right"),
    Column(
        "characters", "chars", "percent",
        "mean over tracks of right characters / all, by position; unequal lengths: 1 - edit distance / longer length",
    ),
    Column("edit_distance", "edits", "number", "edit distance: mean characters to insert, delete or replace"),
    Column(
        "calibration_error", "calib. error", "number",
        "expected calibration error (ECE): distance of mean confidence and share right, mean over ten bands by their "
        "tracks; lower is better",
    ),
    Column(
        "confidence_gap", "conf. gap", "number",
        "confidence gap: mean confidence of the right tracks - that of the wrong ones; higher is better",
    ),
)  # fmt: skip


def all_tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Every table that the data allow, for at least one outcome, in the order of the report.

    Left out: the single-frame column without per-frame readings, failure groups without images, the next candidates of
    readings that name none.
    """
    by_scenario = _split(outcomes, lambda o: (o.track.scenario or "unknown",))
    by_format = _split(outcomes, lambda o: (o.format,))
    tables = [
        _group_table("summary", "All tracks", {"all tracks": list(outcomes)}, outcomes),
        _group_table("scenarios", "By scenario", by_scenario, outcomes),
        _group_table("formats", "By format", by_format, outcomes),
    ]
    if any(o.values for o in outcomes):
        tables.append(_failure_table(outcomes))
    tables += [_error_table(outcomes), _position_table(by_format), _confusion_table(outcomes)]
    if any(o.prediction and o.prediction.runners_up for o in outcomes):
        tables.append(_rank_table(outcomes))
    return [*tables, _band_table(outcomes)]


def _split(outcomes: Iterable[Outcome], names: Callable[[Outcome], Iterable[str]]) -> dict[str, list[Outcome]]:
    """Outcomes by the names that each is given, names sorted; an outcome may have several."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for name in names(outcome):
            groups.setdefault(name, []).append(outcome)
    return dict(sorted(groups.items()))


def _group_table(name: str, title: str, groups: dict[str, list[Outcome]], everything: Sequence[Outcome]) -> Table:
    has_readings = any(o.readings for o in everything)
    measures = [c for c in _MEASURES if has_readings or c.name != "single"]
    columns = (Column("group", "group"), Column("tracks", "tracks", "count"), *measures)
    rows: list[tuple[Cell, ...]] = []
    for group, members in groups.items():
        estimates = _estimates(members)
        rows.append((group, len(members), *(estimates[c.name] for c in measures)))
    note = "" if has_readings else "The predictions hold no readings of single frames, so that column is left out."
    return Table(name, title, columns, tuple(rows), note)


def _estimates(outcomes: Sequence[Outcome]) -> dict[str, Estimate]:
    """Every measure of `_MEASURES` by name. Tracks without prediction have no confidence and leave the last two."""
    n = len(outcomes)
    predicted = [o for o in outcomes if o.prediction]
    confidence = [o.confidence for o in predicted]
    right = [o.right for o in predicted]
    return {
        "exact": wilson(sum(o.right for o in outcomes), n),
        "partial": wilson(sum(o.partial for o in outcomes), n),
        "single": mean([o.frames_right for o in outcomes], (0, 1)),
        "characters": mean([o.characters for o in outcomes], (0, 1)),
        "edit_distance": mean([o.distance for o in outcomes], (0, inf)),
        "calibration_error": calibration_error(confidence, right),
        "confidence_gap": confidence_gap(confidence, right),
    }


def _failure_table(outcomes: Sequence[Outcome]) -> Table:
    def names(outcome: Outcome) -> Iterable[str]:
        return (outcome.groups or ("none of these",)) if outcome.values else ("no image",)

    found = _split(outcomes, names)
    ordered = [group for group in (*failure.GROUPS, "none of these", "no image") if group in found]
    absent = [group for group in failure.GROUPS if group not in found]
    table = _group_table("failure_groups", "By failure group", {g: found[g] for g in ordered}, outcomes)
    note = "Measured from the LR frames, median over a track's frames; a track may be in several groups."
    if absent:
        note += f" No track is {', '.join(absent)}."
    return Table(table.name, table.title, table.columns, table.rows, note)


def _error_table(outcomes: Sequence[Outcome]) -> Table:
    wrong = [o for o in outcomes if not o.right]
    rows: list[tuple[Cell, ...]] = []
    for kind, meaning in ERRORS.items():
        members = [o for o in wrong if kind in o.errors]
        confidence = [o.confidence for o in members if o.prediction]
        average = float(np.mean(confidence)) if confidence else nan
        rows.append((kind, len(members), wilson(len(members), len(wrong)), average, meaning))
    columns = (
        Column("error", "error"),
        Column("tracks", "tracks", "count"),
        Column("share", "of the wrong tracks", "percent"),
        Column("mean_confidence", "mean confidence", "number"),
        Column("meaning", "meaning"),
    )
    return Table("errors", "Kinds of error", columns, tuple(rows), "A wrong track may show several kinds, or none.")


def _position_table(by_format: dict[str, list[Outcome]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, members in by_format.items():
        total: dict[int, int] = {}
        right: dict[int, int] = {}
        for outcome in members:
            position = 0
            for expected, got in align(outcome.truth, outcome.text):
                if expected is None:
                    continue  # A character too much belongs to no position of the plate.
                position += 1
                total[position] = total.get(position, 0) + 1
                right[position] = right.get(position, 0) + (expected == got)
        rows += [(name, position, wilson(right[position], total[position])) for position in sorted(total)]
    columns = (
        Column("format", "format"),
        Column("position", "position", "count"),
        Column("right", "characters right", "percent"),
    )
    note = "Positions are those of the true text. For unequal lengths the shortest edit decides what was read where."
    return Table("positions", "By character position", columns, tuple(rows), note)


def _confusion_table(outcomes: Sequence[Outcome]) -> Table:
    found = confusions([(o.truth, o.text) for o in outcomes])
    rows = tuple((a, b, times, wilson(times, occurrences)) for a, b, times, occurrences in found)
    columns = (
        Column("truth", "truth"),
        Column("read", "read as"),
        Column("times", "times", "count"),
        Column("share", "of all such characters", "percent"),
    )
    return Table("confusions", "Confused characters", columns, rows, "Counted in the fused readings.")


def _band_table(outcomes: Sequence[Outcome]) -> Table:
    predicted = [o for o in outcomes if o.prediction]
    sure, right = [o.confidence for o in predicted], [o.right for o in predicted]
    table = bands(sure, right)
    rows = tuple((f"{b.start:.1f} to {b.stop:.1f}", b.right.n, b.mean_confidence, b.right) for b in table)
    columns = (
        Column("band", "confidence"),
        Column("tracks", "tracks", "count"),
        Column("mean_confidence", "mean confidence", "percent"),
        Column("right", "right", "percent"),
    )
    note = "A band is calibrated well if its mean confidence lies in the interval of its share right."
    filled = [band for band in table if band.right.n]
    hold = sum(band.right.low <= band.mean_confidence <= band.right.high for band in filled)
    note += f" {hold} of {len(filled)} bands do."
    if np.isfinite(found := auroc(sure, right)):
        note += f" A right track has the higher confidence than a wrong one with probability {found:.3f} (AUROC)."
    return Table("calibration", "Calibration of the confidence", columns, rows, note)


def _rank_table(outcomes: Sequence[Outcome]) -> Table:
    """How often the text at each rank is the truth, beside the probability that it was given."""
    at_rank: dict[int, list[tuple[float, bool]]] = {}
    for outcome in outcomes:
        if outcome.prediction and outcome.prediction.runners_up:
            texts = ((outcome.text, outcome.confidence), *outcome.prediction.runners_up)
            for rank, (text, prob) in enumerate(texts, start=1):
                at_rank.setdefault(rank, []).append((prob, text == outcome.truth))
    rows: list[tuple[Cell, ...]] = []
    for rank, found in at_rank.items():
        stated, right = float(np.mean([prob for prob, _ in found])), sum(hit for _, hit in found)
        rows.append((rank, len(found), stated, wilson(right, len(found))))
    columns = (
        Column("rank", "rank", "count"),
        Column("tracks", "tracks", "count"),
        Column("stated", "probability stated", "percent"),
        Column("right", "right", "percent"),
    )
    return Table(
        "ranks", "The first text and the next candidates", columns, tuple(rows), "Tracks whose reading names others."
    )


def track_table(outcomes: Sequence[Outcome]) -> Table:
    """One line a track, for spreadsheets: what was read, how wrong it is, and what its pictures measure."""
    measured = failure.MEASURES if any(o.values for o in outcomes) else ()
    columns = (
        Column("track_id", "track"),
        Column("truth", "truth"),
        Column("text", "read"),
        Column("confidence", "confidence", "number"),
        Column("right", "right", "count"),
        Column("characters", "characters", "percent"),
        Column("edit_distance", "edit distance", "count"),
        Column("scenario", "scenario"),
        Column("format", "format"),
        Column("frames", "frames read", "count"),
        Column("frames_right", "frames right", "percent"),
        Column("errors", "errors"),
        Column("groups", "groups"),
        *(Column(m.name, m.name, "number") for m in measured),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            o.track.id,
            o.truth,
            o.text,
            o.confidence,
            int(o.right),
            o.characters,
            o.distance,
            o.track.scenario or "",
            o.format,
            len(o.readings),
            o.frames_right if o.readings else nan,
            "; ".join(o.errors),
            "; ".join(o.groups),
            *(o.values.get(m.name, nan) for m in measured),
        )
        for o in outcomes
    )
    return Table("tracks", "All tracks", columns, rows)


def problem_table(problems: Sequence[Problem]) -> Table:
    """Everything that was found wrong on the way, such as tracks without prediction."""
    columns = (Column("severity", "severity"), Column("where", "where"), Column("what", "what"), Column("fix", "fix"))
    return Table("problems", "Problems", columns, tuple((p.severity, p.where, p.what, p.fix) for p in problems))
