"""Train variants of the preset cpu for equal times, read the same tracks with each, and print what each part is worth.

python scripts/ablation.py --data data/hard --out runs/ablation --minutes 20 --seeds 0 1 2 --init RUN \\
    --test data/hard-test --truth data/hard-test_truth.csv

For machines without a GPU. Equal time means equal work of one core: the rate of every variant is measured first, in CPU
seconds, so that neither a busy machine nor the loader favours one, and sets how many frames it sees. The first variant
is what the others, each one change away from it, are compared with. Without --test the tracks are those held out of
training that no checkpoint was selected by. A call again goes on where it stopped; OUT/ablation.csv and OUT/ablation.md
hold the table.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr import cli
from lpr.config import Config, load_config, parse_config
from lpr.files import writable_folder, write_text
from lpr.types import InputError, Track

if TYPE_CHECKING:
    import torch

    from lpr.training.step import Stepper

#: What each variant changes in the presets phase1 and cpu.
VARIANTS = {
    "cpu": [],
    "residual": ["model.residual=1"],
    "residual-fine": ["model.residual_fine=1"],
    "mixing": ["model.mixing=1"],
    "stn": ["model.stn=true"],
    "temporal": ["model.temporal=1"],
    "attention": ["model.sequence=attention"],
    "super-resolution": ["model.super_resolution=true"],
    "no-slot-head": ["model.slot_head=false"],
    "no-hr": ["data.hr_frames=none"],
    "averaged": ["train.ema=0.999"],
    "focal": ["train.focal=1"],
    "muon": ["train.optimizer=muon"],
    "merged": ["data.merged=0.4", "read.merged=2"],
    "light-augmentation": ["augment.strength=light"],
    # The teacher is the averaged network, which reads the clean crop of a super-resolution sample.
    "teacher": ["model.super_resolution=true", "train.ema=0.999", "train.teacher_weight=0.1"],
}

#: Variants whose weights are not those of the first: only trained from the start can they be compared with it.
FROM_THE_START = ("attention",)

#: Validations a run: enough for a best checkpoint, few enough to cost little.
EPOCHS = 8

#: Frames of a track that steps are timed on.
FRAMES = 5

#: Steps timed for a rate, after as many that are not; the fastest counts.
TIMED_STEPS = 8


def main(argv: Sequence[str]) -> int:
    # Rates and minutes are those of a core; torch is imported after this.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR", help="to train on, as for lpr.train")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folders and tables go there")
    parser.add_argument("--minutes", type=float, default=20, help="of one core's training, a run (default 20)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training (default 0)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--init", default="", metavar="RUN", help="checkpoint of a cpu network to start all from")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all variants")
    parser.add_argument("--test", type=Path, metavar="DIR", help="tracks to read; default: the run's calibrate fold")
    parser.add_argument("--truth", type=Path, metavar="CSV|DIR", help="their texts; default: those in --test")
    args = parser.parse_args(argv)

    from lpr.data.sources import parse_sources
    from lpr.training.loop import train

    data = parse_sources(args.data)
    writable_folder(args.out)
    configs = {}
    for name in args.variants:
        if args.init and name in FROM_THE_START:
            print(f"{name}: left out, it cannot start from --init", file=sys.stderr)
        else:
            configs[name] = variant(name, args.init, args.set)
    rates = measured_rates(args.out / "rates.json", configs)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in configs}
    # Seed by seed, so that a table over all variants stands early.
    for seed in args.seeds:
        for name, config in configs.items():
            run = args.out / f"{name}-{seed}"
            frames = max(config.train.batch_size, round(rates[name] * 60 * args.minutes / EPOCHS))
            planned = load_config([], [f"train.seed={seed}", f"data.epoch_samples={frames}"], config)
            plan = {"config": planned.model_dump(mode="json"), "read": [str(args.test), str(args.truth)]}
            scores = run / "scores.json"
            if not scores.exists():
                print(f"{name}, seed {seed}: {EPOCHS} epochs of {frames} frames", file=sys.stderr)
                if train(planned, data, run, resume=(run / "config.yaml").exists()) == "interrupted":
                    return 130
                found = read(run, planned, data, args.test, args.truth)
                write_text(scores, json.dumps({"plan": plan, "frames": EPOCHS * frames, "rate": rates[name], **found}))
            stored = json.loads(scores.read_text())
            then = parse_config(stored["plan"]["config"], str(scores))
            if (then, stored["plan"]["read"]) != (planned, plan["read"]):
                raise InputError("is of other settings or test tracks", where=run, fix="choose another --out")
            results[name].append(stored)
            write_tables(args.out, rows(results))
    print((args.out / "ablation.md").read_text(), end="")
    return 0


def variant(name: str, init: str, settings: Sequence[str]) -> Config:
    """The configuration of a variant: one cycle of the learning rate over its frames, never stopped early."""
    common = ["train.schedule=onecycle", f"train.epochs={EPOCHS}", f"train.early_stop={EPOCHS}", "train.batch_size=32"]
    if init:
        # What starts from trained weights needs no clean frames first.
        common += [f"train.init_from={init}", "train.curriculum_steps=0"]
    return load_config(["phase1", "cpu"], [*common, *settings, *VARIANTS[name]])


def measured_rates(path: Path, configs: dict[str, Config]) -> dict[str, float]:
    """Training rates, frames per CPU second on one thread; those in `path` stand, so that a resumed run is the same."""
    import torch

    from lpr.training.losses import WHOLE

    rates: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in configs if name not in rates}
    steppers = {name: stepper(configs[name]) for name in seconds}
    # In turns: what else runs on the machine then slows all alike.
    for name in [*seconds] * 2 * TIMED_STEPS:
        batch = random_batch(configs[name], steppers[name].trained.model.slots)
        started = time.process_time()
        steppers[name].step(batch, configs[name].train.lr, WHOLE, 1 + len(seconds[name]))
        seconds[name].append(time.process_time() - started)
    rates |= {name: configs[name].train.batch_size / min(took[TIMED_STEPS:]) for name, took in seconds.items()}
    write_text(path, json.dumps(rates))
    return rates


def stepper(config: Config) -> Stepper:
    """What takes the optimiser steps of a run from the start on the CPU."""
    import torch

    from lpr.model.devices import mixed_precision
    from lpr.model.recogniser import build_recogniser
    from lpr.training.processes import Processes
    from lpr.training.state import Trained
    from lpr.training.step import Stepper

    model = build_recogniser(config).train().to(memory_format=torch.channels_last)
    amp_type = mixed_precision(torch.device("cpu")) if config.train.amp else None
    return Stepper(Trained.start(model, config, amp_type), config, Processes(), amp_type)


def random_batch(config: Config, slots: int) -> dict[str, torch.Tensor]:
    """Noise in a batch as the loader makes it, with the usual share of super-resolution samples where there are any."""
    import torch

    size, count = config.input, config.train.batch_size
    letters = min(7, slots)

    def noise(number: int, scale: int) -> torch.Tensor:
        shape = (number, size.channels, scale * size.height, scale * size.width)
        return torch.randint(0, 256, shape, dtype=torch.uint8)

    batch = {
        "images": noise(count, 1),
        "targets": torch.ones(letters * count, dtype=torch.int64),
        "target_lengths": torch.full((count,), letters),
        "looks": torch.arange(count) // FRAMES,
    }
    if config.model.super_resolution:
        degraded = config.data.hr_share * {"degraded": 1.0, "both": 0.5}.get(config.data.hr_frames, 0.0)
        batch["sr_targets"] = noise(count, 2)
        batch["sr_mask"] = torch.arange(count) < round(degraded * count)
    return batch


def read(run: Path, config: Config, data: Any, test: Path | None, truth: Path | None) -> dict[str, Any]:
    """Which tracks the run's best checkpoint reads right, and the share of their frames that it reads right alone."""
    from lpr.data.scan import scan
    from lpr.data.sources import read_sources
    from lpr.data.splits import split_tracks
    from lpr.reader import Reader
    from lpr.report.outcomes import match, read_truth

    reader = Reader(run)
    if test:
        tracks: Sequence[Track] = scan(test).tracks
        known = read_truth(truth or test)[0]
    else:
        found = read_sources(data, config, reader.model.steps).tracks
        known = list(split_tracks(found, config.split, reader.checkpoint.split).calibrate)
        tracks = known
    outcomes, _ = match(known, list(reader.read_tracks(tracks)))
    if not any(outcome.prediction for outcome in outcomes):
        raise InputError("none of its tracks has a known text", where=test or run, fix="name their texts with --truth")
    return {
        "parameters": sum(p.numel() for p in reader.model.parameters()),
        "right": {outcome.track.id: int(outcome.right) for outcome in outcomes},
        "single": {outcome.track.id: outcome.frames_right for outcome in outcomes},
    }


def rows(results: dict[str, list[dict[str, Any]]]) -> list[dict[str, str]]:
    """One row a variant: shares in %, over tracks and seeds, with 95 % bootstrap intervals over tracks.

    `against` is the difference from the first variant on the same tracks and seeds.
    """
    from lpr.report.metrics import mean

    table: list[dict[str, str]] = []
    first: list[dict[str, Any]] = next(iter(results.values()))
    for name, runs in results.items():
        if not runs:
            continue
        right = np.array([list(run["right"].values()) for run in runs], float)  # (seeds, tracks)
        exact = mean(100 * right.mean(0), (0, 100))
        base = np.array([[one["right"][track] for track in one["right"]] for one in first[: len(runs)]], float)
        gain = mean(100 * (right - base).mean(0), (-100, 100))
        table.append(
            {
                "variant": name,
                "parameters": f"{runs[0]['parameters'] / 1e6:.2f} M",
                "frames/s": f"{runs[0]['rate']:.0f}",
                "frames seen": str(runs[0]["frames"]),
                "exact match": f"{exact.value:.1f}",
                "95 % interval": f"{exact.low:.1f} to {exact.high:.1f}",
                "by seed": " ".join(f"{100 * share:.1f}" for share in right.mean(1)),
                "single frame": f"{100 * np.nanmean([list(run['single'].values()) for run in runs]):.1f}",
                "against the first": ""
                if runs is first
                else f"{gain.value:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
                "tracks": str(exact.n),
            }
        )
    return table


def write_tables(out: Path, table: list[dict[str, str]]) -> None:
    """ablation.csv and ablation.md."""
    columns = list(table[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(out / "ablation.csv", text.getvalue())
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *([row[c] for c in columns] for row in table)]
    write_text(out / "ablation.md", "".join("| " + " | ".join(line) + " |\n" for line in lines))


if __name__ == "__main__":
    cli.run(main)
