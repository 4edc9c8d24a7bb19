"""Train a recogniser on a folder of tracks.

Presets are layered from left to right, `--set` comes last:

    python -m lpr.train --preset phase1 --data DATA --run runs/phase1
    python -m lpr.train --preset phase2 --data DATA --run runs/phase2 --set train.init_from=runs/phase1
    python -m lpr.train --run runs/phase1 --data DATA --resume

The run folder holds the configuration, the log, the best checkpoint (best/model.safetensors) and the state to resume
from (last.pt).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from . import cli
from .config import load_config, presets


def main(argv: Sequence[str]) -> int:
    """Parse, call, say where the result lies. Exit codes: 0 done, 130 stopped by Ctrl-C or SIGTERM."""
    parser = cli.Parser("lpr.train", __doc__)
    parser.add_several("--data", "DIR", "folder of tracks with labels, or several sources: synthetic=DIR real=DIR2")
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="run folder to make, as runs/phase1")
    parser.add_several("--preset", "NAME", f"of {', '.join(presets())}; or paths of .yaml files")
    parser.add_several("--set", "KEY=VALUE", "single settings: train.lr=3e-4")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run, with its own configuration")
    args = parser.parse_args(argv)
    if not args.data:
        parser.error("the following arguments are required: --data")

    layers = list(args.preset)
    if args.resume and not layers:
        layers = [str(args.run / "config.yaml")] if (args.run / "config.yaml").is_file() else []
    config = load_config(layers, args.set)

    from .data.sources import check_names, parse_sources, shown

    data = parse_sources(args.data)
    check_names(config, data)
    # torch takes seconds to import; wrong arguments are answered before.
    from .training.loop import train

    reason = train(config, data, args.run, resume=args.resume)
    if reason:
        why = "interrupted" if reason == "interrupted" else "stopped after train.max_minutes"
        again = f"python -m lpr.train --data {shown(data)} --run {args.run} --resume"
        print(f"{why}; continue with: {again}", file=sys.stderr)
    if reason == "interrupted":
        return 130
    print(args.run / "best" / "model.safetensors")
    return 0


if __name__ == "__main__":
    cli.run(main)
