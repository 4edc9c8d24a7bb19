"""Makes synthetic tracks in the competition's layout, or pictures of single plates.

Tracks (brazilian, mercosur):
  train: DIR/Scenario-A (png, corners) and DIR/Scenario-B (jpg) with five far (lr) and five near (hr) frames a track.
  test:  DIR/track_10001/... with lr frames only; the truth goes to DIR_truth.csv, beside the folder.
Single plates (algerian, argentina, digits5, indian; brazilian and mercosur with --hardness photo): DIR/TEXT.jpg, a
second picture of a plate DIR/TEXT_2.jpg, and DIR/labels.csv. No text of a test set is in a training set.
The same arguments give the same bytes, and continue an interrupted run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .cli import Parser, run
from .types import UsageError


def main(argv: Sequence[str]) -> int | None:
    """Write a synthetic set and print where it (or its truth) lies."""
    parser = Parser("lpr.synth", __doc__)
    parser.add_argument(
        "--out", type=Path, help="folder to make; an interrupted run's folder goes on (default: data/FORMATS-SPLIT)"
    )
    parser.add_argument("--tracks", "--count", type=int, required=True, metavar="N", help="how many tracks or pictures")
    parser.add_argument(
        "--hardness",
        help="easy (a person reads most frames), hard (as real tracks; frozen), road (hard with the letters "
        "as measured since, for training), wide (cameras of other makes) or photo (as photographs); "
        "default: hard for tracks, photo for single plates",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_several("--format", "NAME", "plate formats (default: brazilian mercosur)")
    parser.add_argument("--fonts", type=Path, help="a folder of .ttf or .otf files instead of a format's own typefaces")
    parser.add_argument(
        "--letters",
        choices=("series", "any"),
        default="series",
        help="series: letters as common as on the road; any: all alike, for weights that read every state",
    )
    parser.add_argument("--codec", default="jpeg", help="of Scenario B: jpeg, or h264 (a video; needs the package av)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, not {args.seed}")
    if args.workers < 0:
        raise UsageError(f"--workers must not be negative, not {args.workers}")

    from .formats import load_formats

    names = tuple(args.format or ("brazilian", "mercosur"))
    formats = load_formats(names)
    single = [
        f
        for f in formats
        if "image" in f.drawing and (args.hardness == "photo" or not f.drawing["image"].get("tracks"))
    ]
    out = args.out or Path("data") / "-".join([*(f.name for f in formats), args.split])
    if single and len(formats) > 1:
        raise UsageError(
            f"{single[0].name} is made as single pictures", fix="name one such format a call, each with its own --out"
        )
    if single and args.codec != "jpeg":
        raise UsageError("--codec is for tracks: pictures of single plates are no video")
    # As text, because what a drawing may hold, and its variants, is checked later.
    if args.fonts and not any("'faces'" in repr(f.drawing) for f in formats):
        raise UsageError(f"--fonts: {', '.join(names)} have their own characters", fix="leave --fonts out")

    start = time.monotonic()
    if single:
        from .plates.images import write_images

        result = write_images(
            out,
            args.tracks,
            single[0],
            args.seed,
            hardness=args.hardness or "photo",
            split=args.split,
            letters=args.letters,
            fonts=args.fonts,
            workers=args.workers,
        )
    else:
        from .plates.write import write_tracks

        result = write_tracks(
            out,
            args.tracks,
            args.hardness or "hard",
            args.seed,
            split=args.split,
            formats=names,
            letters=args.letters,
            codec=args.codec,
            fonts=args.fonts,
            workers=args.workers,
        )
    print(result)
    print(f"{args.tracks} {'pictures' if single else 'tracks'} in {time.monotonic() - start:.1f} s", file=sys.stderr)
    return None


if __name__ == "__main__":
    run(main)
