"""Fit a checkpoint's confidence anew on labelled tracks.

python -m lpr.calibrate --checkpoint runs/phase2 --tracks DIR
python -m lpr.calibrate --checkpoint runs/phase2 --tracks posteriors.npz --truth truth.csv

The checkpoint's file is rewritten; its weights and its hash stay. The texts of all predictions stay too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, console, run, show_problems, track_progress
from .types import InputError, Problem

if TYPE_CHECKING:
    from .decode.confidence import Calibration, Evidence

EPILOG = """\
The tracks should be like those to be read, and the network must not have been trained on them: where they are the data
it was trained on, only those of the calibration fold are used. Some hundred tracks are enough.
--truth: a CSV with the header track_id,text; default: the labels in --tracks."""

#: A folder that holds so much of the calibration fold is taken for the data of the training.
TRAINED_ON = 0.5


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.calibrate", __doc__ or "", EPILOG)
    parser.add_argument("--checkpoint", required=True, metavar="PATH", help="a run, its best folder or its file")
    parser.add_argument("--tracks", required=True, type=Path, metavar="DIR", help="tracks, or a posteriors.npz")
    parser.add_argument("--truth", type=Path, metavar="DIR|CSV", help="the true texts; default: the labels in --tracks")
    parser.add_several("--set", "K=V", "reading settings to calibrate and to keep")
    parser.add_argument("--device", help="torch device; default: the GPU where there is one")
    args = parser.parse_args(argv)

    from .decode.stored import SUFFIX, StoredPosteriors

    stored = StoredPosteriors(args.tracks) if args.tracks.suffix == SUFFIX else None
    if stored and not args.truth:
        raise InputError("holds no labels", where=args.tracks, fix="name them with --truth")

    from .report.outcomes import read_truth

    truth, problems = read_truth(args.truth or args.tracks)
    texts = {track.id: track.text or "" for track in truth}

    from .data.scan import scan
    from .decode.confidence import fit, method_name
    from .decode.decode import weigh_track
    from .model.checkpoint import recalibrate
    from .reader import Reader

    reader = Reader(args.checkpoint, settings=args.set, device=args.device)
    decoder, read = reader.decoder, reader.config.read
    if stored and stored.decoder.model_hash != decoder.model_hash:
        raise InputError(f"was not made by {args.checkpoint}", where=args.tracks, fix="read the tracks with it again")
    texts = _held_out(texts, reader.checkpoint.split)
    tracks = [] if stored else [track for track in scan(args.tracks).tracks if track.id in texts]
    stream = (one for one, _ in stored or reader.posteriors(tracks) if one.track_id in texts)
    evidence, right, seen = [], [], set()
    for posteriors in track_progress(stream, "reading", len(texts)):
        prediction, found = weigh_track(posteriors, read, decoder.formats)
        evidence.append(found)
        right.append(prediction.text == texts[posteriors.track_id])
        seen.add(posteriors.track_id)
    problems += [Problem(one, "has a truth but no frames, and is left out") for one in texts if one not in seen]
    show_problems(problems)
    if len(set(right)) < 2:
        what = "all of them are read rightly" if any(right) else "none of them is read rightly"
        raise InputError(f"{len(right)} tracks cannot calibrate: {what}", where=args.tracks, fix="add tracks")
    calibration = fit(evidence, right, method_name(read.decoder, read.fusion))
    print(f"before: {_figures(decoder.calibration, evidence, right, calibration.method)}")
    print(f"after:  {_figures(calibration, evidence, right, calibration.method)}")
    recalibrate(reader.checkpoint.path, calibration.to_dict(), read.model_dump(mode="json"))
    console().print(f"fitted on {calibration.tracks} tracks, of which {calibration.right} are read rightly")
    print(reader.checkpoint.path)
    return 0


def _held_out(texts: dict[str, str], split: tuple[frozenset[str], frozenset[str]] | None) -> dict[str, str]:
    """Of the data of the training only what was held out to calibrate; other tracks as they are."""
    calibrate = split[1] if split else frozenset()
    if not calibrate or len(calibrate & set(texts.values())) < TRAINED_ON * len(calibrate):
        return texts
    kept = {track_id: text for track_id, text in texts.items() if text in calibrate}
    console().print(f"these are the data of the training: only the {len(kept)} tracks held out to calibrate are used")
    return kept


def _figures(calibration: Calibration | None, evidence: list[Evidence], right: list[bool], method: str) -> str:
    """How well confidences fit these tracks: error, gap and AUROC; without a calibration those of the raw values."""
    from .report.metrics import auroc, calibration_error, confidence_gap

    serves = calibration is not None and calibration.method in ("", method)
    sure = [calibration.apply(one) if calibration and serves else one.raw for one in evidence]
    return (
        f"calibration error {calibration_error(sure, right).value:.3f}, confidence gap "
        f"{confidence_gap(sure, right).value:.3f}, AUROC {auroc(sure, right):.3f}"
        + ("" if serves else f" (raw values: it has no calibration for {method})")
    )


if __name__ == "__main__":
    run(main)
