"""Read a folder of tracks into predictions and a validated submission zip."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, console, run, show_problems, track_progress
from .types import InputError, Prediction, Problem, Track, UsageError, printable

if TYPE_CHECKING:
    from .decode.review import Row
    from .source import Source

EPILOG = """\
Several --checkpoint read together: their posteriors are fused like further frames, of equal weight. An ensemble file
that lpr.calibrate wrote is one --checkpoint and stands for its members, their weights and their calibration.
The checkpoint: --checkpoint, else LPR_CHECKPOINT, else the newest runs/*/best that serves --format, else shipped
weights that do.
Only LR frames are read; HR frames lying in the same folders are never looked at.
Every track gets a line, a track without a readable frame too (confidence 0.0, and a warning).
predictions.zip is left out, and the reason said, where an id or a text (of read.decoder=greedy or beam) is none that a
submission may hold; predictions.jsonl holds all tracks.
--tracks posteriors.npz decodes what --save-posteriors wrote, without a network; --set read.* may differ. With it,
--checkpoint only gives its calibration (and an ensemble its weights).
review.csv lists the tracks below read.review_below. Fill in its column `correction`: lpr.train --data review.csv and
lpr.evaluate --truth review.csv take the lines that have one. review.html shows their frames and candidates, and saves
such a review.csv from the browser (what is entered there counts once it is saved). A posteriors.npz has no images: no
page is made of it, and the list serves lpr.evaluate alone. A review.csv with corrections is never written over.
--pseudo-labels writes pseudo_labels.csv, a label list for lpr.train. It is refused for a test set: a folder called
`test` (or blind_test and the like), one with a file TEST_SET in it or above it, or made by lpr.synth --split test."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.infer", __doc__ or "", EPILOG)
    parser.add_argument("--tracks", required=True, metavar="DIR", help="tracks, single images, or a posteriors.npz")
    parser.add_argument("--out", metavar="DIR", help="default: submissions/NAME-DATE-TIME")
    parser.add_several("--checkpoint", "PATH", "a run, its best folder or file; or several")
    parser.add_several(
        "--format", "NAME", "formats to read, or auto: all that the checkpoint serves; default: its setting"
    )
    parser.add_several("--set", "K=V", "such as read.fusion=confidence_vote")
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    parser.add_argument("--strict", action="store_true", help="stop at the first frame that cannot be read")
    parser.add_argument("--pictures", type=int, default=12, metavar="N", help="draw the first N tracks (default 12)")
    parser.add_argument("--save-posteriors", action="store_true", help="write posteriors.npz too (up to 60 KB a track)")
    parser.add_argument("--pseudo-labels", type=float, metavar="P", help="list unlabelled tracks of this confidence")
    args = parser.parse_args(argv)
    if args.pseudo_labels is not None and not 0 < args.pseudo_labels <= 1:
        raise UsageError(f"--pseudo-labels {args.pseudo_labels} is not in (0, 1]")
    if args.pictures < 0:
        raise UsageError(f"--pictures {args.pictures} is below 0")

    from .decode.decode import UNLIKE
    from .decode.review import corrections
    from .decode.stored import SUFFIX
    from .files import writable_folder, write_text
    from .source import open_source

    name = printable(Path(args.tracks).resolve().name)
    out = Path(args.out or Path("submissions") / f"{name.removesuffix(SUFFIX)}-{datetime.now():%Y%m%d-%H%M%S}")
    if written := corrections(out / "review.csv"):
        raise InputError(
            f"holds {written} corrections, which a new reading would remove",
            where=out / "review.csv",
            fix="move it, or choose another --out",
        )
    stored = name.endswith(SUFFIX)
    if stored and args.pseudo_labels:
        raise UsageError("--pseudo-labels needs the tracks: stored posteriors do not say where the images are")
    if not stored and out.resolve().is_relative_to(Path(args.tracks).resolve()):
        raise UsageError(f"--out {out} lies in --tracks: its pictures would be read as tracks the next time")
    unfit: list[Problem] = []
    source = open_source(
        Path(args.tracks),
        args.checkpoint,
        args.format,
        args.set,
        args.device,
        seen=lambda ids: unfit.extend(_unfit(ids, args.strict)),
    )
    if args.pseudo_labels:
        _refuse_test_set(Path(args.tracks), source.tracks)
        if source.decoder.config.read.sharpen != 1:
            raise UsageError("--pseudo-labels needs probabilities: leave read.sharpen at 1")
        if not source.decoder.calibrated:
            raise UsageError(
                "--pseudo-labels needs probabilities: the checkpoint has no calibration for this way to read "
                "(read.*, formats)",
                fix="lpr.calibrate makes one",
            )
    # Not before all else is in order, so that a mistake leaves no empty folder.
    writable_folder(out)
    say = console().print
    say(source.said)
    if source.decoder.uncalibrated:
        say(f"confidences are {source.decoder.uncalibrated}")

    started = time.perf_counter()
    predictions, rows = _read_all(source, out, args.strict, args.save_posteriors)
    seconds = time.perf_counter() - started

    found = [problem for prediction in predictions for problem in prediction.problems]
    unlike = [problem for problem in found if problem.what.startswith(UNLIKE)]
    # One line for all of them, below: they would hide the frames that cannot be read.
    show_problems([*source.problems, *(problem for problem in found if not problem.what.startswith(UNLIKE))])
    if unlike:
        say(f"{len(unlike)} of {len(predictions)} tracks do not look like a plate, such as {unlike[0].where}")
    below = source.decoder.config.read.review_below
    page = bool(rows and source.tracks)
    say(f"{len(rows)} tracks have a confidence below {below}: {out / ('review.html' if page else 'review.csv')}")
    blind = [prediction.track_id for prediction in predictions if not prediction.per_frame]
    if blind:
        say(
            f"WARNING: {len(blind)} of {len(predictions)} tracks have no readable LR frame; their lines "
            f"carry confidence 0.0 and a made-up text: {', '.join(blind[:5])}{' ...' if len(blind) > 5 else ''}",
            style="bold red",
        )
    known = sum(track.text is not None for track in source.tracks)
    if 0 < known < len(source.tracks):
        say(f"note: {known} of {len(source.tracks)} tracks have labels, test sets have none: is {args.tracks} meant?")
    formats = Counter(prediction.format or "no format" for prediction in predictions)
    rate = f" ({len(predictions) / seconds:.0f} tracks/s)" if seconds >= 1 else ""
    say(
        f"{len(predictions)} tracks read in {seconds:.1f} s{rate}: "
        + ", ".join(f"{n} {name}" for name, n in formats.most_common())
    )
    # What this reading does not write, an earlier one may have left: it would pass for this one's.
    pictures = bool(args.pictures and source.tracks)
    left = {"pictures.png": pictures, "pseudo_labels.csv": bool(args.pseudo_labels), "review.html": page}
    for name in (name for name, wanted in left.items() if not wanted):
        (out / name).unlink(missing_ok=True)
    if page:
        from .report.review import write_review_page

        write_review_page(out / "review.html", rows, source.tracks, predictions)
    if pictures:
        _draw(source.tracks[: args.pictures], predictions, out / "pictures.png")

    if args.pseudo_labels:
        from .decode.review import pseudo_labels

        text = pseudo_labels(list(zip(source.tracks, predictions, strict=True)), args.pseudo_labels)
        write_text(out / "pseudo_labels.csv", text)
        say(f"{text.count(chr(10)) - 1} unlabelled tracks have a confidence of at least {args.pseudo_labels}")

    from .submission import validate, write_submission

    archive = out / "predictions.zip"
    free = [prediction for prediction in predictions if prediction.format is None]
    if unfit or free:
        # One of an earlier reading would pass for this one's.
        archive.unlink(missing_ok=True)
    if unfit:
        more = f", and {len(unfit) - 1} more" if len(unfit) > 1 else ""
        say(f"WARNING: {archive} was left out: {unfit[0].what}{more}; {unfit[0].fix}", style="bold red")
    elif free:
        say(
            f"WARNING: {archive} was left out: {len(free)} texts obey no format, such as {free[0].text} "
            f"({free[0].track_id}); read.decoder=constrained reads a submission"
        )
    if unfit or free:
        print(out / "predictions.jsonl")
        return 0
    write_submission(predictions, archive)
    wrong = validate(archive, source.ids, source.decoder.formats)
    if wrong:
        raise InputError(f"the written submission does not validate: {wrong[0]}", where=archive)
    print(archive)
    return 0


def _unfit(ids: Sequence[str], strict: bool) -> list[Problem]:
    """The ids that no submission may hold. They are said before the network is loaded; with `strict` they stop it."""
    from .submission import id_problems

    found = id_problems(ids)
    if found and strict:
        raise InputError(found[0].what, where=found[0].where, fix=found[0].fix)
    show_problems([replace(one, severity="warning", fix=f"no predictions.zip; {one.fix}") for one in found], 5)
    return found


def _refuse_test_set(path: Path, tracks: Sequence[Track]) -> None:
    from .data.declared import declared_test

    if why := declared_test(path, tracks):
        raise InputError(
            f"is a test set ({why}): its readings must not become labels", where=path, fix="leave --pseudo-labels out"
        )


def _read_all(source: Source, out: Path, strict: bool, save: bool) -> tuple[list[Prediction], list[Row]]:
    """Read every track, writing `predictions.jsonl` (and the posteriors) as streams that appear only when whole.

    Writes review.csv too and returns its lines beside the predictions.
    """
    from .decode.records import to_record
    from .decode.review import review_row, track_path, write_review
    from .decode.stored import writing
    from .files import atomic_path

    predictions, rows = [], []
    paths = {track.id: track_path(track) for track in source.tracks}
    with ExitStack() as files:
        aside = files.enter_context(atomic_path(out / "predictions.jsonl"))
        lines = files.enter_context(aside.open("w", encoding="utf-8", newline="\n"))
        target = out / "posteriors.npz"
        kept = files.enter_context(writing(target, source.decoder, source.alphabet)) if save else None
        read = source.decoder.decode_all(source.stream)
        for posteriors, problems, prediction in track_progress(read, "reading", len(source.ids)):
            if strict and (problems or not prediction.per_frame):
                found = problems or (Problem(prediction.track_id, "has no readable LR frame"),)
                raise InputError(found[0].what, where=found[0].where, fix=found[0].fix)
            if kept:
                kept.add(posteriors, problems)
            lines.write(json.dumps(to_record(prediction, source.decoder.audit()), ensure_ascii=False) + "\n")
            if prediction.confidence < source.decoder.config.read.review_below:
                rows.append(review_row(prediction, paths.get(prediction.track_id, "")))
            # What the summary, the pictures and the zip need; the rest is in the file already.
            slim = tuple(replace(r, char_probs=(), spans=()) for r in prediction.per_frame)
            predictions.append(replace(prediction, per_frame=slim, runners_up=()))
    return predictions, write_review(out / "review.csv", rows)


def _draw(tracks: Sequence[Track], predictions: Sequence[Prediction], target: Path) -> None:
    """A picture of the first tracks: their frames, each frame's reading, the fused reading and its confidence."""
    from .report.pictures import write_sheet

    write_sheet(tracks, predictions[: len(tracks)], target)


if __name__ == "__main__":
    run(main)
