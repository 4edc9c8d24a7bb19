"""Average the weights of two checkpoints of one architecture, of which one was trained from the other.

python scripts/average.py runs/before runs/after --share 0.5 --out averaged.safetensors

Parts that only the second has grown (`lpr/model/recogniser.py`, GROWN) are left out. The configuration is the first's.
The new checkpoint has no calibration: fit one with lpr.calibrate. Averaging what was trained on with what it was before
reads better than both where further training has narrowed a network to its data (Wortsman et al., arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr import cli
from lpr.types import InputError, UsageError


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="a run, its best folder or its file")
    parser.add_argument("second", help="the same, trained from the first")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1 (default 0.5)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    args = parser.parse_args(argv)
    if not 0 <= args.share <= 1:
        raise UsageError(f"--share {args.share:g} is not in 0 to 1")
    if args.out.exists():
        raise UsageError(f"--out {args.out} is there already")

    from lpr.model import checkpoint

    first, second = checkpoint.load(args.first), checkpoint.load(args.second)
    if first.alphabet != second.alphabet:
        raise InputError(f"spells {second.alphabet}, the first {first.alphabet}", where=second.path)
    weights, others = first.model.state_dict(), second.model.state_dict()
    different = [name for name, value in weights.items() if name not in others or others[name].shape != value.shape]
    if different:
        raise InputError(
            f"is of another architecture: {different[0]} differs", where=second.path, fix="average a run and its start"
        )
    # Whole numbers, such as BatchNorm's count of batches, are the first's.
    mean = {n: v.lerp(others[n], args.share) if v.is_floating_point() else v for n, v in weights.items()}
    first.model.load_state_dict(mean)
    checkpoint.save(args.out, first.model, first.config, {"split": first.split and first.split.to_dict()})
    print(args.out)
    return 0


if __name__ == "__main__":
    cli.run(main)
