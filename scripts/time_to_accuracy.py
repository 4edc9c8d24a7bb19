"""Train presets one after the other from nothing for equal times, and draw how well each reads as the time goes on.

python scripts/time_to_accuracy.py --data data/hard --out runs/race --minutes 20
python scripts/time_to_accuracy.py --data data/hard --out runs/race --presets cpu=cpu seed-crnn=seed-crnn

Presets may lie over each other and carry settings: `fused=cpu+fused,train.lr=5e-4`; phase1 lies below each. All
train on the same tracks with the same number of threads, and read the same held-out tracks after every epoch. The clock
counts training, the wait for the loader included, and not validation, which costs all the same number of tracks. A call
again goes on where it stopped. OUT/race.csv, race.md and race.png hold the curves.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr import cli
from lpr.config import Config, load_config
from lpr.files import writable_folder, write_bytes, write_text
from lpr.types import UsageError

#: Validations a run.
POINTS = 12

#: The public baselines vote over the frames' readings; the preset `cpu` is taken as it stands.
PRESETS = ("cpu=cpu", "seed-crnn=seed-crnn,read.fusion=confidence_vote")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="to train on, as for lpr.train")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for run folders, table and curves")
    parser.add_argument("--minutes", type=float, default=20, help="of training a preset (default 20)")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME=PRESET", help="what to compare")
    parser.add_argument("--threads", type=int, default=1, help="of every run (default 1; the loader has another core)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all presets")
    parser.add_argument("--target", type=float, default=40, help="exact match in %% that the time to is told of (40)")
    args = parser.parse_args(argv)

    from lpr.data.sources import parse_sources
    from lpr.training.loop import train

    data = parse_sources(args.data)
    writable_folder(args.out)
    curves: dict[str, list[dict[str, float]]] = {}
    for name, config in configured(args.presets, [*args.set, f"train.threads={args.threads}"]).items():
        run = args.out / name
        rate = timed(config, args.out / f"{name}-rate", data)
        if not rate:
            return 130
        frames = max(config.train.batch_size, round(rate * 60 * args.minutes / POINTS))
        planned = load_config(
            [], [f"data.epoch_samples={frames}", f"train.epochs={POINTS}", f"train.early_stop={POINTS}"], config
        )
        # Where it stands already, other settings or minutes than its own are an error.
        if train(planned, data, run, resume=(run / "config.yaml").exists()) == "interrupted":
            return 130
        curves[name] = curve(run)
    report(args.out, curves, args.target)
    print((args.out / "race.md").read_text(), end="")
    return 0


def configured(presets: Sequence[str], common: Sequence[str]) -> dict[str, Config]:
    """By name, what `NAME=PRESET,section.key=value,...` describe; UsageError for anything else."""
    found: dict[str, Config] = {}
    for one in presets:
        name, equals, what = one.partition("=")
        names, *settings = what.split(",")
        if not equals or not name or name in found:
            raise UsageError(f"--presets {one}: expected NAME=PRESET, each name once")
        found[name] = load_config(["phase1", *names.split("+")], [*common, *settings])
    return found


def timed(config: Config, run: Path, data: Any) -> float:
    """Frames a second that a configuration trains here, from a short run that is kept; 0 where it was interrupted."""
    from lpr.training.loop import train
    from lpr.training.run import RunFolder

    short = load_config([], [f"data.epoch_samples={20 * config.train.batch_size}", "train.epochs=1"], config)
    if train(short, data, run, resume=(run / "config.yaml").exists()) == "interrupted":
        return 0.0
    return RunFolder(run).logged_figures()[-1]["images_per_s"]


def curve(run: Path) -> list[dict[str, float]]:
    """After each epoch of a run: minutes of training, frames seen, exact match and single frames in %."""
    from lpr.training.run import RunFolder

    points: list[dict[str, float]] = []
    minutes = seen = 0.0
    # A run that starts from weights logs them as epoch 0, before any training.
    for row in (row for row in RunFolder(run).logged_figures() if row["epoch"]):
        minutes += (row["images"] - seen) / row["images_per_s"] / 60
        seen = row["images"]
        points.append(
            {"minutes": minutes, "frames": seen, "exact": 100 * row["exact"], "single": 100 * row["exact_single"]}
        )
    return points


def report(out: Path, curves: dict[str, list[dict[str, float]]], target: float) -> None:
    """race.csv, race.md and race.png."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["preset", "minutes", "frames", "exact match", "single frame"])
    for name, points in curves.items():
        writer.writerows(
            [name, f"{p['minutes']:.2f}", f"{p['frames']:.0f}", f"{p['exact']:.1f}", f"{p['single']:.1f}"]
            for p in points
        )
    write_text(out / "race.csv", text.getvalue())
    lines = [
        f"| preset | frames/s | minutes | exact match at the end | best | minutes to {target:g} % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, points in curves.items():
        last = points[-1]
        reached = next((f"{p['minutes']:.1f}" for p in points if p["exact"] >= target), "not reached")
        lines.append(
            f"| {name} | {last['frames'] / last['minutes'] / 60:.0f} | {last['minutes']:.1f} | {last['exact']:.1f} | "
            f"{max(p['exact'] for p in points):.1f} | {reached} |"
        )
    write_text(out / "race.md", "\n".join(lines) + "\n")
    draw(out / "race.png", curves, target)


def draw(path: Path, curves: dict[str, list[dict[str, float]]], target: float) -> None:
    """The curves as a picture: five frames as a line, one frame dotted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="minutes of training", ylabel="exact match on held-out tracks, %", ylim=(0, 100))
    for number, (name, points) in enumerate(curves.items()):
        minutes = [0.0, *(p["minutes"] for p in points)]
        for key, style, label in (("exact", "-", name), ("single", ":", f"{name}, one frame")):
            axes.plot(minutes, [0.0, *(p[key] for p in points)], style, color=f"C{number}", label=label)
    axes.axhline(target, color="0.7", linewidth=0.8)
    axes.legend(loc="upper left", frameon=False)
    aside = io.BytesIO()
    figure.savefig(aside, format="png", dpi=120)
    write_bytes(path, aside.getbuffer())


if __name__ == "__main__":
    cli.run(main)
