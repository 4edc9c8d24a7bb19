"""Compare the ways to fuse frames on stored posteriors, without a network: exact match, and what the default gains.

python scripts/benchmark_fusion.py                                        # tests/data/fusion.npz, synthetic
python scripts/benchmark_fusion.py posteriors.npz --truth truth.csv       # any that lpr.infer --save-posteriors wrote
python scripts/benchmark_fusion.py --frames                               # by number of frames

Each table moves the frames' posteriors against each other: by -k to k steps, drawn for each frame, with blanks for what
is missing. All are of frames read on their own; a last row has all that was read of a track, merged pictures too
(read.merged), or frames that looked at each other (model.temporal). tests/data/fusion.npz was made with the weights of
commit 57e650e (hash d7ae5111a47e) by

python -m lpr.synth --out data/fusion --tracks 1000 --hardness hard --seed 2026 --split test
python -m lpr.infer --tracks data/fusion --out OUT --checkpoint lpr/weights/brazil.safetensors --save-posteriors
python scripts/benchmark_fusion.py OUT/posteriors.npz --truth data/fusion_truth.csv --write tests/data/fusion.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.config import ReadConfig
from lpr.decode.decode import weigh_tracks
from lpr.decode.fusion import METHODS
from lpr.decode.stored import StoredPosteriors
from lpr.files import atomic_path
from lpr.formats import PlateFormat, load_formats
from lpr.report.metrics import mean, wilson
from lpr.report.outcomes import read_truth
from lpr.types import InputError, Posteriors

KEPT = Path(__file__).resolve().parent.parent / "tests" / "data" / "fusion.npz"
#: Classes kept a step; what is left of the probability is spread evenly over the others.
TOP = 6
#: Tracks kept: the first ones, for a file of 1.2 MB.
MOST = 600
DEFAULT = ReadConfig()
WAYS = {name: ReadConfig(fusion=name) for name in METHODS} | {
    "sequence, focus 0": ReadConfig(focus=0.0),
    "sequence, characters alike": ReadConfig(common_characters=False),
}

Labelled = list[tuple[Posteriors, str]]


def load(path: Path, truth: Path | None) -> tuple[Labelled, tuple[PlateFormat, ...]]:
    """Posteriors with their true texts, and the formats that they are read under."""
    with np.load(path, allow_pickle=False) as kept:
        if "about" in kept:
            about = json.loads(str(kept["about"]))
            arrays = expanded(kept["classes"], kept["log_probs"].astype(np.float32), len(about["alphabet"]) + 1)
            tracks = zip(kept["texts"].tolist(), arrays, strict=True)
            found = [(Posteriors(f"t{n}", tuple(a), about["alphabet"]), text) for n, (text, a) in enumerate(tracks)]
            return found, load_formats(about["formats"])
    if truth is None:
        raise InputError("holds no labels", where=path, fix="name them with --truth")
    stored = StoredPosteriors(path)
    texts = {track.id: track.text for track in read_truth(truth)[0] if track.text}
    return [(one, texts[one.track_id]) for one, _ in stored if one.track_id in texts], stored.decoder.formats


def apart(tracks: Labelled) -> Labelled:
    """Frames that know nothing of each other: what a network has fused itself is left aside."""
    return [(replace(one, log_probs=one.alone or one.log_probs, files=(), alone=()), text) for one, text in tracks]


def keep(target: Path, tracks: Labelled, formats: Sequence[PlateFormat], source: str) -> None:
    """Write the TOP classes of every step as float16; the tracks must be alike in frames and steps."""
    log_probs = np.stack([np.stack(one.log_probs) for one, _ in tracks])  # (N, F, T, C)
    classes = np.argsort(-log_probs, axis=3, kind="stable")[..., :TOP]
    about = {"alphabet": tracks[0][0].alphabet, "formats": [one.name for one in formats], "source": source}
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as aside:
        np.savez_compressed(
            aside,
            classes=classes.astype(np.uint8),
            log_probs=np.take_along_axis(log_probs, classes, axis=3).astype(np.float16),
            texts=np.array([text for _, text in tracks]),
            about=json.dumps(about),
        )


def expanded(classes: NDArray[np.uint8], log_probs: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(N, F, T, TOP) classes and logs -> all `count` classes; float16 has rounded, so rows sum to 1 only nearly."""
    rest = np.maximum(1 - np.exp(log_probs).sum(axis=3, keepdims=True), 1e-6) / (count - TOP)
    full = np.repeat(np.log(rest), count, axis=3)
    np.put_along_axis(full, classes.astype(np.intp), log_probs, axis=3)
    return full


def shifted(tracks: Labelled, most: int, seed: int = 0) -> Labelled:
    """The same with every frame's posteriors moved by -most to most steps; sure blanks stand before and behind."""
    rng = np.random.default_rng(seed)
    found = []
    for one, text in tracks:
        arrays = []
        for array in one.log_probs:
            before = int(rng.integers(2 * most + 1))
            blank = np.full((2 * most, array.shape[1]), -30.0, np.float32)
            blank[:, 0] = 0.0
            arrays.append(np.concatenate([blank[:before], array, blank[before:]]))
        found.append((Posteriors(one.track_id, tuple(arrays), one.alphabet), text))
    return found


def right(tracks: Labelled, formats: Sequence[PlateFormat], read: ReadConfig) -> NDArray[np.float64]:
    """Whether each track's fused text is right, (N,) of 0 and 1."""
    found = weigh_tracks([one for one, _ in tracks], read, formats, 0)
    return np.array([best.text == text for (best, _), (_, text) in zip(found, tracks, strict=True)], np.float64)


def subsets(tracks: Labelled, count: int) -> list[Labelled]:
    """For every way to choose `count` frames, the tracks with these frames alone; all must have as many frames."""
    if len({len(one.log_probs) for one, _ in tracks}) != 1 or any(one.weights for one, _ in tracks):
        raise InputError("--frames needs tracks of one number of frames, read by one checkpoint")
    return [
        [(replace(one, log_probs=tuple(one.log_probs[k] for k in chosen)), text) for one, text in tracks]
        for chosen in combinations(range(len(tracks[0][0].log_probs)), count)
    ]


def ladder(tracks: Labelled, formats: Sequence[PlateFormat]) -> None:
    """Print exact match by number of frames, mean over all choices of so many frames of a track."""
    votes = ("majority_vote", "position_vote")
    print(f"{len(tracks)} tracks, all choices of so many of their frames, each frame looked at once\n")
    print(f"| frames | default, exact % (95 %) | {' | '.join(votes)} |\n|--:|--:|" + "--:|" * len(votes))
    for count in range(1, 1 + len(tracks[0][0].log_probs)):
        chosen = subsets(tracks, count)
        cells = []
        for read in (DEFAULT, *(WAYS[name] for name in votes)):
            found = mean(np.mean([right(some, formats, read) for some in chosen], axis=0), (0, 1))
            cells.append("{:.1f} ({:.1f}–{:.1f})".format(*(100 * x for x in (found.value, found.low, found.high))))
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posteriors", type=Path, nargs="?", default=KEPT)
    parser.add_argument("--truth", type=Path, help="folder of labelled tracks, or a CSV track_id,text")
    parser.add_argument("--shifts", type=int, nargs="*", default=[0, 1, 2], metavar="K", help="default: 0 1 2")
    parser.add_argument("--frames", action="store_true", help="compare numbers of frames instead")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write a small copy and compare nothing")
    args = parser.parse_args(argv)
    try:
        given, formats = load(args.posteriors, args.truth)
        tracks = apart(given)
        if args.write:
            keep(args.write, tracks[:MOST], formats, "synthetic, see scripts/benchmark_fusion.py")
            print(f"{args.write}: {min(len(tracks), MOST)} tracks, {args.write.stat().st_size / 1e6:.2f} MB")
            return 0
        if args.frames:
            ladder(tracks, formats)
            return 0
    except InputError as error:
        sys.exit(f"error: {error}")
    for most in args.shifts:
        moved = shifted(tracks, most)
        usual = right(moved, formats, DEFAULT)
        print(f"\n{len(moved)} tracks, frames moved by up to {most} steps\n")
        print("| fusion | exact % (95 %) | default - this, points (paired, 95 %) |\n|---|--:|--:|")
        ways = [(name, moved, read) for name, read in WAYS.items()]
        if not most and any(one.alone for one, _ in given):
            ways.append(("sequence, all that was read", given, DEFAULT))
        for name, some, read in ways:
            found = right(some, formats, read)
            share, gain = wilson(int(found.sum()), len(found)), mean(usual - found, (-1, 1))
            values = [100 * value for value in (share.value, share.low, share.high, gain.value, gain.low, gain.high)]
            print("| {} | {:.1f} ({:.1f}–{:.1f}) | {:+.1f} ({:+.1f} to {:+.1f}) |".format(name, *values), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
