"""Compare predictions with the truth: result tables and an error report.

python -m lpr.evaluate submissions/X/predictions.jsonl --truth test_truth.csv --tracks test/ --out report/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, console, run, show_problems, track_progress
from .types import InputError, Prediction, Problem, Track, printable

if TYPE_CHECKING:
    from .report.outcomes import Outcome
    from .report.tables import Table

EPILOG = """\
PREDICTIONS: predictions.jsonl of lpr.infer, or a submission (.zip or .txt; it holds no readings of single frames).
--against: an earlier reading of the same tracks; how many points this one gains, paired, and by which tracks.
--truth: a folder of labelled tracks, or a CSV with the header track_id,text[,layout,scenario].
A track without prediction counts as wrong; a prediction without truth is listed and not judged.
Pictures and failure groups need the LR frames: --tracks, or the folder given as --truth. HR frames are never opened.
--out receives index.html and every table as CSV."""

#: Tracks pictured in each gallery: 3 x 20 tracks of five small frames keep the page below 1 MB.
PICTURED = 20


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.evaluate", __doc__ or "", EPILOG)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="predictions.jsonl, or a .zip or .txt")
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR|CSV", help="the true texts")
    parser.add_argument("--against", type=Path, metavar="OTHER", help="predictions to compare with")
    parser.add_argument("--tracks", type=Path, metavar="DIR", help="where the frames are; default: --truth if a folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write index.html and the CSV files there")
    args = parser.parse_args(argv)

    from .files import writable_folder
    from .report.analysis import all_tables
    from .report.compare import comparison_table, won_and_lost
    from .report.outcomes import match, read_truth

    if args.out:
        writable_folder(args.out)
    truth, problems = read_truth(args.truth)
    predictions = _read_predictions(args.predictions)
    outcomes, unmatched = match(truth, predictions, args.predictions)
    problems += [*unmatched, *(problem for prediction in predictions for problem in prediction.problems)]
    notes: list[str] = []
    if args.tracks or args.truth.is_dir():
        outcomes, found = _with_frames(outcomes, args.tracks if args.tracks != args.truth else None)
        # Reading has named the frames that cannot be read, too.
        problems = list(dict.fromkeys([*problems, *found]))
    else:
        notes.append("Failure groups and pictures are left out: no --tracks was given.")
    tables = all_tables(outcomes)
    differing: tuple[Sequence[Outcome], ...] = ()
    if args.against:
        others, unknown = match(truth, _read_predictions(args.against), args.against)
        tables.insert(1, comparison_table(outcomes, others))
        differing = won_and_lost(outcomes, others)
        where = printable(str(args.against))
        if missing := sum(other.prediction is None for other in others):
            notes.append(f"{missing} tracks have no prediction in {where}: wrong there.")
        notes += [f"{where}: {problem}" for problem in unknown if problem.severity != "error"]
    page = None
    if args.out:
        sources = {"predictions": printable(str(args.predictions)), "truth": printable(str(args.truth))}
        if args.against:
            sources["against"] = printable(str(args.against))
        if args.tracks:
            sources["frames"] = printable(str(args.tracks))
        page = _write_report(args.out, outcomes, differing, tables, sources, problems, notes)
    _print_tables(tables)
    show_problems(problems)
    for note in notes:
        console().print(note)
    if page:
        print(page)
    return 0


def _read_predictions(path: Path) -> list[Prediction]:
    if path.suffix.lower() in (".zip", ".txt"):
        from .submission import read_submission

        return read_submission(path)
    from .decode.records import read_predictions

    predictions = read_predictions(path)
    if not predictions:
        raise InputError("holds no predictions", where=path)
    return predictions


def _with_frames(outcomes: Sequence[Outcome], folder: Path | None) -> tuple[list[Outcome], list[Problem]]:
    """Outcomes with the frames of `folder` (None: those of the truth) and the failure groups measured on them."""
    from dataclasses import replace

    from .data.scan import scan
    from .report.failure import groups_of, measure_track
    from .report.pictures import read_lr_images

    problems: list[Problem] = []
    located: dict[str, Track] = {outcome.track.id: outcome.track for outcome in outcomes}
    if folder is not None:
        scanned = scan(folder)
        problems += scanned.problems
        frames = {track.id: track.frames for track in scanned.tracks}
        located = {key: replace(track, frames=frames.get(key, ())) for key, track in located.items()}
    measured = []
    for outcome in track_progress(outcomes, "measuring frames", len(outcomes)):
        track = located[outcome.track.id]
        images, unreadable = read_lr_images(track)
        values = measure_track(list(images.values()))
        problems += unreadable
        if not images:
            problems.append(Problem(track.id, "has no readable LR frame: no failure group and no picture"))
        measured.append(replace(outcome, track=track, values=values, groups=groups_of(values)))
    return measured, problems


def _print_tables(tables: Sequence[Table]) -> None:
    """The result tables to stdout, long ones cut short."""
    from rich.console import Console

    from .report.tables import to_rich, transpose

    out = Console(highlight=False)
    # Not narrower than the tables: numbers that do not fit would be cut, not wrapped.
    out.width = max(out.width, 100)
    for table in tables:
        out.print(to_rich(transpose(table) if table.name == "summary" else table, limit=15))
        # What the other notes say stands in the page; this one holds figures.
        out.print(f"{table.note}\n" if table.name == "calibration" else "", soft_wrap=True)


def _write_report(
    folder: Path,
    outcomes: Sequence[Outcome],
    differing: Sequence[Sequence[Outcome]],
    tables: Sequence[Table],
    sources: dict[str, str],
    problems: Sequence[Problem],
    notes: Sequence[str],
) -> Path:
    """Write the CSV files and the page; returns the page's path."""
    import numpy as np

    from .files import write_text
    from .report.analysis import problem_table, track_table
    from .report.html import Gallery, Report, render
    from .report.pictures import read_lr_images
    from .report.tables import to_csv

    # One of an earlier comparison would pass for this one's.
    (folder / "comparison.csv").unlink(missing_ok=True)
    for table in (*tables, track_table(outcomes), problem_table(problems)):
        write_text(folder / f"{table.name}.csv", to_csv(table))

    surest = sorted((o for o in outcomes if o.prediction), key=lambda o: (-o.confidence, o.track.id))
    wrong, right = ([o for o in surest if o.right == is_right][:PICTURED] for is_right in (False, True))
    # Seeded, so that the same predictions give the same page.
    drawn = np.random.default_rng(0).permutation(len(outcomes))[:PICTURED]
    galleries = (
        Gallery("Worst tracks", "Wrong with the highest confidence.", tuple(wrong)),
        Gallery("Best tracks", "Right with the highest confidence.", tuple(right)),
        Gallery("Random tracks", "Drawn by chance from all tracks.", tuple(outcomes[i] for i in sorted(drawn))),
        *(
            Gallery(title, f"{len(some)} tracks, the first {PICTURED} at most.", tuple(some[:PICTURED]))
            for title, some in zip(("Read here alone", "Read by the other alone"), differing, strict=False)
        ),
    )
    images = {o.track.id: read_lr_images(o.track)[0] for gallery in galleries for o in gallery.outcomes}
    page = render(Report(sources, tuple(outcomes), tuple(tables), galleries, images, tuple(problems), tuple(notes)))
    write_text(folder / "index.html", page)
    return folder / "index.html"


if __name__ == "__main__":
    run(main)
