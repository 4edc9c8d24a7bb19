"""Read a folder of tracks into predictions and a validated submission zip."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from .cli import Parser, console, run, show_problems
from .types import InputError, Prediction, Problem

EPILOG = """\
The checkpoint: --checkpoint, else LPR_CHECKPOINT, else the newest runs/*/best, else shipped weights.
Only LR frames are read; HR frames lying in the same folders are never looked at.
Every track gets a line, a track without a readable frame too (confidence 0.0, and a warning)."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.infer", __doc__ or "", EPILOG)
    parser.add_argument("--tracks", required=True, metavar="DIR", help="tracks, or single images of plates")
    parser.add_argument("--out", metavar="DIR", help="default: submissions/NAME-DATE-TIME")
    parser.add_argument("--checkpoint", metavar="PATH", help="a run, its best folder or a .safetensors file")
    parser.add_argument("--format", nargs="+", metavar="NAME", help="formats to read; default: the checkpoint's")
    parser.add_argument("--set", nargs="+", default=[], metavar="K=V", help="such as read.fusion=confidence_vote")
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    parser.add_argument("--strict", action="store_true", help="stop at the first frame that cannot be read")
    parser.add_argument("--pictures", type=int, default=12, metavar="N", help="draw the first N tracks (default 12)")
    args = parser.parse_args(argv)

    settings = list(args.set)
    if args.format:
        settings.append(f"read.formats=[{', '.join(args.format)}]")

    from .data.scan import scan
    from .files import writable_folder

    scanned = scan(Path(args.tracks))
    if not scanned.tracks:
        raise InputError("holds no tracks and no images", where=args.tracks, fix="see the layouts in the README")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    out = writable_folder(args.out or Path("submissions") / f"{Path(args.tracks).resolve().name}-{stamp}")

    from .reader import Reader

    reader = Reader(args.checkpoint, settings=settings, device=args.device)
    say = console().print
    say(f"checkpoint: {reader.checkpoint.path} ({reader.chosen}), model {reader.checkpoint.hash[:12]}")

    started = time.perf_counter()
    predictions = _read_all(reader, scanned.tracks, out, args.strict)
    seconds = time.perf_counter() - started

    problems = [*scanned.problems, *(p for prediction in predictions for p in prediction.problems)]
    show_problems(problems)
    blind = [prediction.track_id for prediction in predictions if not prediction.per_frame]
    if blind:
        say(
            f"[bold red]WARNING: {len(blind)} of {len(predictions)} tracks have no readable LR frame; their lines "
            f"carry confidence 0.0 and a made-up text: {', '.join(blind[:5])}{' ...' if len(blind) > 5 else ''}"
        )
    formats = Counter(prediction.format or "no format" for prediction in predictions)
    rate = f"{len(predictions) / seconds:.0f} tracks/s, " if seconds >= 1 else ""
    say(
        f"{len(predictions)} tracks read in {seconds:.1f} s ({rate}{reader.device}): "
        + ", ".join(f"{n} {name}" for name, n in formats.most_common())
    )
    if args.pictures:
        _draw(scanned.tracks[: args.pictures], predictions, out / "pictures.png")

    from .submission import validate, write_submission

    archive = write_submission(predictions, out / "predictions.zip")
    wrong = validate(archive, [track.id for track in scanned.tracks], reader.formats)
    if wrong:
        raise InputError(f"the written submission does not validate: {wrong[0]}", where=archive)
    print(archive)
    return 0


def _read_all(reader, tracks, out: Path, strict: bool) -> list[Prediction]:  # type: ignore[no-untyped-def]
    """Read every track, writing `predictions.jsonl` as a stream that appears only when it is whole."""
    import json

    from rich.progress import track as progress

    from .decode.records import to_record
    from .files import atomic_path

    predictions = []
    with atomic_path(out / "predictions.jsonl") as aside, aside.open("w", encoding="utf-8", newline="\n") as lines:
        stream = reader.read_tracks(tracks)
        for prediction in progress(stream, "reading", total=len(tracks), console=console(), transient=True):
            if strict and (prediction.problems or not prediction.per_frame):
                found = prediction.problems or (Problem(prediction.track_id, "has no readable LR frame"),)
                raise InputError(found[0].what, where=found[0].where, fix=found[0].fix)
            lines.write(json.dumps(to_record(prediction, reader.audit()), ensure_ascii=False) + "\n")
            # What the summary, the pictures and the zip need; the rest is in the file already.
            slim = tuple(replace(r, char_probs=(), spans=()) for r in prediction.per_frame)
            predictions.append(replace(prediction, per_frame=slim, runners_up=()))
    return predictions


def _draw(tracks, predictions: Sequence[Prediction], target: Path) -> None:  # type: ignore[no-untyped-def]
    """A picture of the first tracks: their frames, each frame's reading, the fused reading and its confidence."""
    from .report.pictures import write_sheet

    write_sheet(tracks, predictions[: len(tracks)], target)


if __name__ == "__main__":
    run(main)
