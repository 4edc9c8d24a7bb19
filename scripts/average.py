"""Average the weights of checkpoints of one architecture that were trained from one another, or from one start.

python scripts/average.py runs/before runs/after --out averaged.safetensors
python scripts/average.py runs/after runs/before runs/other/last.pt --shares 0.5 0.25 0.25 --out averaged.safetensors

RUN/last.pt is where a run ended, whether that was its best epoch or not. The configuration, and with it the formats
that are served, is the first's; parts that the first lacks (`lpr/model/recogniser.py`, GROWN) are left out, and those
that another lacks count as the identity there, which they begin as. The new checkpoint has no calibration: fit one with
lpr.calibrate. Averaging what was trained on with what it was before reads better than both where further training has
narrowed a network to its data (Wortsman et al., arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr import cli
from lpr.types import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from lpr.data.splits import HeldOut
    from lpr.model.checkpoint import Checkpoint

LAST = "last.pt"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="PATH", help="runs, their best folders, files or last.pt")
    parser.add_argument("--shares", nargs="+", type=float, metavar="X", help="of each, summing to 1 (default: alike)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    args = parser.parse_args(argv)
    count = len(args.checkpoints)
    shares = args.shares or [1 / count] * count
    if count < 2:
        raise UsageError("one checkpoint has no average: name two or more")
    if len(shares) != count or not min(shares) >= 0 or not abs(sum(shares) - 1) <= 0.01:
        raise UsageError(f"--shares {' '.join(map(str, shares))}: not {count} numbers of at least 0 that sum to 1")
    if Path(args.checkpoints[0]).name == LAST:
        raise UsageError(f"{args.checkpoints[0]} has no configuration to take over: name another one first")
    if args.out.exists():
        raise UsageError(f"--out {args.out} is there already")

    from lpr.model import checkpoint

    first = checkpoint.load(args.checkpoints[0])
    weights, split = first.model.state_dict(), first.split
    whole = sum(shares)  # what was rounded must not make weights smaller
    mean = {name: value * (shares[0] / whole) for name, value in weights.items() if value.is_floating_point()}
    for path, share in zip(args.checkpoints[1:], shares[1:], strict=True):
        others, held_out = _weights(path, first.alphabet)
        others = {**_grown(first, others), **others}
        # What one held out another may have been trained on.
        split = split if held_out == first.split else None
        different = [name for name, value in weights.items() if name not in others or others[name].shape != value.shape]
        if different:
            raise InputError(
                f"is of another architecture: {different[0]} differs", where=path, fix="average a run and its start"
            )
        for name, value in mean.items():
            value += share / whole * others[name]
    # Whole numbers, such as BatchNorm's count of batches, are the first's.
    first.model.load_state_dict({**weights, **mean})
    checkpoint.save(args.out, first.model, first.config, {"split": split and split.to_dict()})
    if first.split and not split:
        print("they held out different plates: calibrate it on tracks that none was trained on", file=sys.stderr)
    print(args.out)
    return 0


def _grown(first: Checkpoint, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts of `first` that `others` lack, as they begin: the identity, by layers that are all zeros."""
    from lpr.model.recogniser import GROWN, build_recogniser

    weights = first.model.state_dict()
    lacking = [name for name in weights if name.startswith(GROWN) and name not in others]
    if not lacking:
        return {}
    drawn = build_recogniser(first.config, first.formats).state_dict()
    off = {
        name.removesuffix("weight") for name in lacking if name.endswith(("weight", "gain")) and not drawn[name].any()
    }
    # The rest of a part does nothing behind such a layer; its own values keep the mean in reach of them.
    return {name: weights[name] * (name.removesuffix("weight").removesuffix("bias") not in off) for name in lacking}


def _weights(path: str, alphabet: str) -> tuple[Mapping[str, Tensor], HeldOut | None]:
    """The weights at `path`, of a run's end the averaged ones where it has them (`train.ema`), and what it held out."""
    from lpr.data.splits import HeldOut
    from lpr.model import checkpoint
    from lpr.training.state import read_state

    if Path(path).name == LAST:
        if not Path(path).is_file():
            raise InputError("is not there", where=path, fix="name a run, its best folder, a file or its last.pt")
        state = read_state(Path(path))
        spelled, weights = state["config"]["model"]["alphabet"], state.get("average") or state["model"]
        split = HeldOut.from_dict(state["data"]["split"])
    else:
        found = checkpoint.load(path)
        spelled, weights, split = found.alphabet, found.model.state_dict(), found.split
    if spelled != alphabet:
        raise InputError(f"spells {spelled}, the first {alphabet}", where=path)
    return weights, split


if __name__ == "__main__":
    cli.run(main)
