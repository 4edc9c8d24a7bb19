"""Rank settings of batch size, learning rate, dropout and hidden size by exact match, at equal training minutes.

Every trial is a training run below --out with the same data, split and minutes; the first has the presets' own
settings, the others are drawn from the grid below. Each is judged by its best epoch on the fold held out to select.

    python -m lpr.sweep --preset phase1 cpu --data DATA --out sweeps/cpu --minutes 10

The same command continues an interrupted sweep: trials in sweep.csv are done, others start anew.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from . import cli
from .config import Config, load_config, presets
from .files import write_text
from .types import InputError, TooDemanding, UsageError

#: Values around those in use for CRNNs of this kind; a learning rate of 1e-2 needs clipping, which all presets have.
GRID: dict[str, tuple[float, ...]] = {
    "train.batch_size": (16, 32, 64, 128),
    "train.lr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "model.dropout": (0.1, 0.3, 0.5),
    "model.hidden": (128, 256, 512),
}
COLUMNS = (*GRID, "exact", "characters", "tracks", "epoch", "steps", "failed", "run")
TABLE = "sweep.csv"
#: What all trials of a table share.
TERMS = "sweep.json"


def trials(config: Config, count: int, seed: int) -> list[dict[str, float]]:
    """`count` different settings: those of `config` first, then a random sample of the grid without repetition."""
    import numpy as np

    values = config.model_dump(mode="json")
    own = {key: values[key.split(".")[0]][key.split(".")[1]] for key in GRID}
    # A network that starts from another one has its size.
    values_of = {key: (own[key],) if key == "model.hidden" and config.train.init_from else GRID[key] for key in GRID}
    grid = [dict(zip(GRID, point, strict=True)) for point in product(*values_of.values())]
    order = np.random.default_rng(seed).permutation(len(grid)).tolist()
    return [own, *(grid[place] for place in order if grid[place] != own)][:count]


def run_name(settings: dict[str, float]) -> str:
    """The folder of a trial, as batch_size_16-lr_0.001-dropout_0.1-hidden_128."""
    return "-".join(f"{key.partition('.')[2]}_{value:g}" for key, value in settings.items())


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table, best exact match first, among equals by characters."""
    return sorted(rows, key=lambda row: (-float(row["exact"]), -float(row["characters"])))


def main(argv: Sequence[str]) -> int:
    """Parse, train what is missing, print the ranking. Exit codes: 0 done, 130 interrupted."""
    parser = cli.Parser("lpr.sweep", __doc__)
    parser.add_several("--data", "DIR", "folder of tracks with labels, or several sources: synthetic=DIR real=DIR2")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the table and the runs")
    parser.add_argument("--minutes", required=True, type=float, metavar="M", help="training time of each trial")
    parser.add_argument("--trials", type=int, default=8, metavar="N", help="settings to try (default 8)")
    parser.add_several("--preset", "NAME", f"of {', '.join(presets())}; or paths of .yaml files")
    parser.add_several("--set", "KEY=VALUE", "settings of all trials: train.schedule=constant")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample from the grid (default 0)")
    args = parser.parse_args(argv)
    if not args.data:
        parser.error("the following arguments are required: --data")
    if not args.minutes > 0 or args.trials < 1 or args.seed < 0:
        raise UsageError("--minutes must be above 0, --trials at least 1, --seed at least 0")
    config = load_config(args.preset, args.set)

    import torch

    from .data.sources import check_names, parse_sources
    from .model import checkpoint
    from .training.loop import train
    from .training.run import RunFolder

    data = parse_sources(args.data)
    check_names(config, data)
    table = args.out / TABLE
    rows = _read(table)
    terms = {"config": config.model_dump(mode="json"), "data": args.data, "minutes": args.minutes}
    _same_terms(args.out / TERMS, terms, bool(rows))
    done = {row["run"] for row in rows}
    for number, settings in enumerate(trials(config, args.trials, args.seed), start=1):
        words = [f"{key}={value:g}" for key, value in settings.items()]
        name = run_name(settings)
        if name in done:
            continue
        run = args.out / name
        if (run / "config.yaml").is_file():
            # It was interrupted: continued, it would get its minutes a second time.
            with RunFolder(run).locked():
                shutil.rmtree(run)
        cli.console().print(f"trial {number} of {args.trials}: {', '.join(words)}", markup=False)
        one = load_config(args.preset, [*args.set, *words, f"train.max_minutes={args.minutes:g}"])
        failed = ""
        figures: Mapping[str, Any] = {
            "epoch": 0,
            "step": 0,
            "select": dict.fromkeys(("exact", "characters", "tracks"), 0),
        }
        try:
            if train(one, data, run) == "interrupted":
                return 130
            figures = checkpoint.load(run).figures
        except TooDemanding as error:
            # A rate too high or a batch too large is a result, too; what is wrong with data or disk is none.
            failed = error.problem.what
            cli.console().print(f"failed: {failed}")
        # What failed keeps its network in the frames of its traceback, and the next trial needs the memory.
        gc.collect()
        torch.cuda.empty_cache()
        select = figures["select"]
        found = {**settings, **{key: select[key] for key in ("exact", "characters", "tracks")}}
        found |= {"epoch": figures["epoch"], "steps": figures["step"], "run": name, "failed": failed}
        rows = ranked([*rows, found])
        _write(table, rows)
    _show(rows)
    print(table)
    return 0


def _same_terms(path: Path, terms: dict[str, Any], begun: bool) -> None:
    """Keep what the trials share, or refuse a table whose trials, if any is done, have something else in common."""
    if begun and path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != terms:
            raise InputError(
                "holds a sweep with other presets, settings, data or minutes",
                where=path.parent,
                fix="choose another --out",
            )
    else:
        write_text(path, json.dumps(terms, indent=1) + "\n")


def _read(table: Path) -> list[dict[str, Any]]:
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    if any(set(row) != set(COLUMNS) for row in rows):
        raise InputError("is no table of a sweep", where=table, fix="choose another --out")
    return rows


def _write(table: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())


def _show(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    from .report.metrics import wilson

    shown = Table(*(key.split(".")[1] for key in GRID), "exact", "95 % interval", "characters", "epoch", "steps", "")
    for row in ranked(rows):
        tracks = int(row["tracks"])
        interval = wilson(round(float(row["exact"]) * tracks), max(tracks, 1))
        shown.add_row(
            *(f"{float(row[key]):g}" for key in GRID),
            f"{float(row['exact']):.1%}",
            f"{interval.low:.1%} to {interval.high:.1%}",
            f"{float(row['characters']):.1%}",
            str(row["epoch"]),
            str(row["steps"]),
            row["failed"],
        )
    cli.console().print(shown)


if __name__ == "__main__":
    cli.run(main)
