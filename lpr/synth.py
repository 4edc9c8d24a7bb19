"""Makes synthetic tracks in the competition's layout.

train: DIR/Scenario-A (png, corners) and DIR/Scenario-B (jpg) with five far (lr) and five near (hr) frames a track.
test:  DIR/track_10001/... with lr frames only; the truth goes to DIR_truth.csv, beside the folder.
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
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an interrupted run's folder goes on")
    parser.add_argument("--tracks", type=int, required=True, help="number of tracks")
    parser.add_argument("--hardness", default="hard", help="easy (a person reads most frames) or hard (as real ones)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--format", action="append", help="a plate format; may be repeated (default: both of Brazil)")
    parser.add_argument("--codec", default="jpeg", help="of Scenario B: jpeg, or h264 (a video stream; needs the package av)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    args = parser.parse_args(argv)
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, not {args.seed}")
    if args.workers < 0:
        raise UsageError(f"--workers must not be negative, not {args.workers}")

    from .plates.write import write_tracks

    start = time.monotonic()
    result = write_tracks(
        args.out,
        args.tracks,
        args.hardness,
        args.seed,
        split=args.split,
        formats=tuple(args.format or ("brazilian", "mercosur")),
        codec=args.codec,
        workers=args.workers,
    )
    print(result)
    print(f"{args.tracks} tracks in {time.monotonic() - start:.1f} s", file=sys.stderr)
    return None


if __name__ == "__main__":
    run(main)
