"""Measure listing, loading, training and reading on this machine."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .cli import Parser, console, run
from .config import Config, load_config


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.benchmark", __doc__ or "", "Prints a Markdown table; each figure is the best of the rounds.")
    parser.add_argument("--tracks", type=int, default=200, help="synthetic tracks to measure on (default 200)")
    parser.add_argument("--list-tracks", type=int, default=20_000, help="tracks to list (default 20000)")
    parser.add_several("--presets", "NAME", "recognisers to measure (default: cpu seed-crnn)")
    parser.add_argument("--checkpoint", metavar="PATH", help="to measure reading with; default as in lpr.infer")
    parser.add_argument("--seconds", type=float, default=10, help="per training figure (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of the short figures (default 3)")
    args = parser.parse_args(argv)
    if min(args.tracks, args.list_tracks, args.rounds) < 1 or args.seconds <= 0:
        parser.error("--tracks, --list-tracks, --rounds and --seconds must be above 0")
    names = args.presets or ["cpu", "seed-crnn"]
    for preset in names:
        load_config(["phase1", preset])

    from .plates.write import write_tracks

    rows: list[tuple[str, str, str]] = []

    def add(what: str, figure: str, unit: str) -> None:
        rows.append((what, figure, unit))
        console().print(f"{what}: {figure} {unit}")

    console().print(machine())
    with TemporaryDirectory() as name:
        folder = Path(name)
        seconds = _timed(lambda: write_tracks(folder / "tracks", args.tracks, "easy", 1), 1)
        add("generating, 10 images a track", f"{args.tracks / seconds:.0f}", "tracks/s")
        _listing(folder, args.list_tracks, add, args.rounds)
        _loading(folder / "tracks", add, args.rounds)
        for preset in names:
            _training(preset, folder / "tracks", args.seconds, add)
        _reading(args.checkpoint, folder / "tracks", add, args.rounds)

    print(f"{machine()}\n\n| what | figure | unit |\n|---|--:|---|")
    for row in rows:
        print("| {} | {} | {} |".format(*row))
    return 0


def machine() -> str:
    """The machine, its versions, the date and the commit, in one line."""
    import torch

    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{os.cpu_count()} x {model}, {gpu}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}"
    )


def _timed(work: Callable[[], Any], rounds: int) -> float:
    """Seconds of the fastest of `rounds` calls: the others measured somebody else's work as well."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def _listing(folder: Path, tracks: int, add: Callable[[str, str, str], None], rounds: int) -> None:
    """Scan and check many tracks; they are hard links to the few that were generated."""
    from .data.labels import check_labels
    from .data.scan import scan

    many = folder / "many"
    sources = [path.parent for path in sorted((folder / "tracks").rglob("annotations.json"))]
    for number in range(tracks):
        source = sources[number % len(sources)]
        target = many / source.parent.relative_to(folder / "tracks") / f"track_{number:05d}"
        target.mkdir(parents=True)
        for file in os.scandir(source):
            os.link(file.path, target / file.name)

    def work() -> None:
        alphabet = Config().model.alphabet
        check_labels(scan(many).tracks, alphabet, max_bad=0.05, strict=False)

    what = f"listing and checking {tracks:,} tracks, {tracks * 10:,} images"
    add(what, f"{_timed(work, rounds):.1f}", "s")


def _loading(tracks: Path, add: Callable[[str, str, str], None], rounds: int) -> None:
    """One process, one thread: LR frames from disk to network input, plain and augmented."""
    from .data.dataset import FrameDataset, epoch_samples
    from .data.images import read_frames
    from .data.scan import scan

    config = load_config(["phase1", "cpu"])
    found = scan(tracks).tracks
    frames = sum(len(track.lr) for track in found)
    seconds = _timed(lambda: [read_frames(track, config.input) for track in found], rounds)
    add("loading LR frames for reading", f"{frames / seconds:.0f}", "frames/s a process")
    samples = epoch_samples(found, config, 0)

    def rate(strength: str) -> str:
        dataset = FrameDataset(found, load_config(["phase1", "cpu"], [f"augment.strength={strength}"]), train=True)
        return f"{len(samples) / _timed(lambda: [dataset[sample] for sample in samples], rounds):.0f}"

    for strength in ("light", "aggressive", "medium", "heavy"):
        add(f"loading training samples, augmentation {strength}", rate(strength), "frames/s a process")


def _training(preset: str, tracks: Path, seconds: float, add: Callable[[str, str, str], None]) -> None:
    """The training loop as it stands, loader included, stopped after `seconds`; its own sums say how long it waited."""
    from .training.loop import train
    from .training.state import read_state

    config = load_config(["phase1", preset], [f"train.max_minutes={seconds / 60}"])
    with TemporaryDirectory() as folder:
        train(config, tracks, Path(folder) / "run")
        sums = read_state(Path(folder) / "run" / "last.pt")["position"]["sums"]
    rate = f"{sums['images'] / sums['train_s']:.0f}"
    waiting = f"{sums['wait_s'] / sums['train_s']:.0%} of it waiting for data"
    add(f"training {preset}, batches of {config.train.batch_size}", rate, f"frames/s, {waiting}")


def _reading(checkpoint: str | None, tracks: Path, add: Callable[[str, str, str], None], rounds: int) -> None:
    """Tracks of five LR frames from disk to a prediction, as configured and in float32; decoding alone."""
    from .data.scan import scan
    from .reader import Reader

    found = scan(tracks).tracks[:256]
    files = [frame.path for frame in found[0].lr]

    def measure(reader: Reader, how: str) -> None:
        name = f"reading with {reader.config.model.name} ({reader.chosen}{how})"
        seconds = _timed(lambda: list(reader.read_tracks(found)), rounds) / len(found)
        add(f"{name}, batches of {reader.config.read.batch_tracks} tracks", f"{1000 * seconds:.1f}", "ms/track")
        reader.read(files)
        seconds = _timed(lambda: reader.read(files), 10 * rounds)
        add(f"{name}, a single track", f"{1000 * seconds:.1f}", "ms/track")

    reader = Reader(checkpoint)
    measure(reader, "")
    looks = list(reader.posteriors(found))
    seconds = _timed(lambda: list(reader.decoder.decode_all(looks)), rounds) / len(found)
    add("of this decoding, batches", f"{1000 * seconds:.1f}", "ms/track")
    measure(Reader(checkpoint, settings="read.amp=false"), ", read.amp=false")


if __name__ == "__main__":
    run(main)
