"""Measure what a checkpoint makes of pictures that show no plate of its formats, beside what it makes of true plates.

python scripts/not_plates.py                     # shipped weights, 40 tracks of each kind
python scripts/not_plates.py --checkpoint runs/phase2 --frames 1

All pictures are made here, see lpr/plates/strange.py; no checkpoint has learnt from them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.decode.confidence import NOT_A_PLATE
from lpr.decode.decode import UNLIKE
from lpr.ensemble import Ensemble
from lpr.formats import load_format
from lpr.plates.strange import plate_track, strange_kinds, strange_track
from lpr.report.metrics import wilson
from lpr.types import InputError, Prediction


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="default: as lpr.infer chooses")
    parser.add_argument("--tracks", type=int, default=40, help="of each kind (default 40)")
    parser.add_argument("--frames", type=int, default=5, help="of each track (default 5)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    try:
        reader = Ensemble([args.checkpoint])
    except InputError as error:
        sys.exit(f"error: {error}")
    print(reader.said)
    # Formats that a checkpoint carries have no drawing.
    formats = [load_format(one.name) for one in reader.decoder.formats]

    def read(images: Sequence[np.ndarray]) -> Prediction:
        return reader.read(images)

    print(f"\n{args.tracks} tracks of {args.frames} frames a kind\n")
    print(f"| no plate | confidence above {NOT_A_PLATE}, % (95 %) | said, % |\n|---|--:|--:|")
    passed = 0
    kinds = strange_kinds(formats)
    for number, kind in enumerate(kinds):
        rngs = [np.random.default_rng([args.seed, number, k]) for k in range(args.tracks)]
        found = [read(strange_track(kind, formats, rng, args.frames)) for rng in rngs]
        above = sum(one.confidence > NOT_A_PLATE for one in found)
        said = sum(any(problem.what.startswith(UNLIKE) for problem in one.problems) for one in found)
        passed += above
        print(f"| {kind} | {_percent(above, len(found))} | {100 * said / len(found):.0f} |", flush=True)
    print(f"| all | {_percent(passed, len(kinds) * args.tracks)} | |")
    print(f"\n| plates | read rightly, % (95 %) | of these at most {NOT_A_PLATE}, % (95 %) |\n|---|--:|--:|")
    for number, one in enumerate(formats):
        rngs = [np.random.default_rng([args.seed, 1000 + number, k]) for k in range(3 * args.tracks)]
        drawn = [plate_track(one, rng, args.frames) for rng in rngs]
        good = [p for p, (text, _) in zip([read(images) for _, images in drawn], drawn, strict=True) if p.text == text]
        lost = sum(prediction.confidence <= NOT_A_PLATE for prediction in good)
        print(f"| {one.name} | {_percent(len(good), len(drawn))} | {_percent(lost, len(good))} |", flush=True)
    return 0


def _percent(count: int, of: int) -> str:
    share = wilson(count, of)
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}–{100 * share.high:.1f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
