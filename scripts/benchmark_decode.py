"""Measure the decoders on one core and print a Markdown table; with fast-ctc-decode beside them where it is installed.

python scripts/benchmark_decode.py                          # pip install fast-ctc-decode for the comparison
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.benchmark import machine
from lpr.decode.beam import prefix_beam
from lpr.decode.constrained import best_path
from lpr.decode.greedy import greedy
from lpr.decode.nbest import n_best, n_best_tracks
from lpr.decode.register import Register
from lpr.formats import load_formats
from lpr.types import ALPHABET

FORMATS = load_formats(["brazilian", "mercosur"])
STEPS = 32
Array = NDArray[np.float32]
T = TypeVar("T")
R = TypeVar("R")


def posteriors(text: str, rng: np.random.Generator, peak: float, shift: int = 0) -> Array:
    """Float32 (T, C): mostly blank, a spike of about `peak` (log-odds) a character, Gumbel noise elsewhere."""
    offset = int(rng.integers(-shift, shift + 1))
    logits = rng.gumbel(0, 1, (STEPS, len(ALPHABET) + 1))
    logits[:, 0] += 7
    for position, character in enumerate(text):
        step = 2 + 4 * position + offset
        logits[step, ALPHABET.index(character) + 1] += peak * rng.uniform(0.5, 1.1)
        logits[step, 0] -= 6
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=300, help="of each kind (default 300)")
    parser.add_argument("--registry", type=int, default=1_000_000, help="plates of the register (default 1,000,000)")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    texts = [FORMATS[rng.integers(2)].sample(rng) for _ in range(args.sequences)]

    print(machine())
    classes = len(ALPHABET) + 1
    print(f"\nT = {STEPS}, C = {classes}, brazilian and mercosur, one thread, ms a sequence or track\n")
    print("| posteriors | decoder | median ms | 99th % | exact text | proven |\n|---|---|--:|--:|--:|--:|")
    flat = np.full((STEPS, classes), -np.log(classes), np.float32)
    kinds = {
        "clear": [posteriors(text, rng, 11) for text in texts],
        "blurred": [posteriors(text, rng, 8) for text in texts],
        "noise": [np.log(rng.dirichlet(np.ones(37), STEPS)).astype(np.float32) for _ in texts],
        "nearly flat": [np.log(rng.dirichlet(np.full(37, 100.0), STEPS)).astype(np.float32) for _ in texts],
        "flat": [flat] * len(texts),
    }
    others = _others()
    for kind, arrays in kinds.items():
        _sequences(kind, arrays, texts, others)
    tracks = {
        "5 frames, clear, shifted": [[posteriors(text, rng, 9, 2) for _ in range(5)] for text in texts],
        "5 frames, blurred, shifted": [[posteriors(text, rng, 5, 2) for _ in range(5)] for text in texts],
        "5 frames, noise": [[array] * 2 + kinds["noise"][:3] for array in kinds["noise"]],
        "5 frames, nearly flat": [[a] * 2 + kinds["nearly flat"][:3] for a in kinds["nearly flat"]],
        "5 frames, flat": [[flat] * 5 for _ in texts],
    }
    for kind, several in tracks.items():
        seconds, found = _each(lambda frames: n_best_tracks([frames], FORMATS, ALPHABET, 5)[0], several)
        proven = sum(one.exact for one in found)
        _row(kind, "sequence fusion, n = 5", seconds, [one.texts[0][0] for one in found], texts, proven)
    _register(args.registry, rng)
    return 0


def _sequences(
    kind: str, arrays: Sequence[Array], texts: Sequence[str], others: Sequence[tuple[str, Callable[[Array], str]]]
) -> None:
    seconds, found = _each(lambda a: n_best(a, FORMATS, ALPHABET, 5), arrays)
    _row(kind, "n_best, n = 5, one by one", seconds, [r.texts[0][0] for r in found], texts, sum(r.exact for r in found))
    size = 32
    batches = [[[a] for a in arrays[k : k + size]] for k in range(0, len(arrays), size)]
    seconds, results = _each(lambda batch: n_best_tracks(batch, FORMATS, ALPHABET, 5), batches)
    several = [one for batch in results for one in batch]
    shares = [s / len(batch) for s, batch in zip(seconds, batches, strict=True)]
    read = [one.texts[0][0] for one in several]
    _row(kind, f"n_best, n = 5, batches of {size}", shares, read, texts, sum(one.exact for one in several))
    for name, decoder in (
        ("best path under the formats", lambda a: best_path(a, FORMATS, ALPHABET)[0].text),
        ("prefix beam 16, free text", lambda a: prefix_beam(a, ALPHABET)[0][0]),
        ("greedy, free text", lambda a: greedy(a, ALPHABET).text),
        *others,
    ):
        seconds, read = _each(decoder, arrays)
        _row(kind, name, seconds, read, texts)


def _others() -> list[tuple[str, Callable[[Array], str]]]:
    """fast-ctc-decode's beam and greedy decoder, where it is installed."""
    try:
        from fast_ctc_decode import beam_search, viterbi_search
    except ImportError:
        print("fast-ctc-decode is not installed, so nothing is compared: pip install fast-ctc-decode", file=sys.stderr)
        return []
    symbols = "_" + ALPHABET
    return [
        ("fast-ctc-decode beam 10, free text", lambda a: beam_search(np.exp(a), symbols, 10, 0.0)[0]),
        ("fast-ctc-decode greedy, free text", lambda a: viterbi_search(np.exp(a), symbols)[0]),
    ]


def _register(size: int, rng: np.random.Generator) -> None:
    plates = [FORMATS[rng.integers(2)].sample(rng) for _ in range(size)]
    started = time.perf_counter()
    register = Register(plates, ALPHABET)
    seconds_taken = time.perf_counter() - started
    print(f"\nregister of {len(register):,} different plates, prepared in {seconds_taken:.1f} s; top 20:\n")
    print("| track | s |\n|---|--:|")
    kinds = {
        "clear, registered": [posteriors(plates[0], rng, 9, 1) for _ in range(5)],
        "blurred, registered": [posteriors(plates[0], rng, 5, 1) for _ in range(5)],
        "clear, not registered": [posteriors("QQQ1Q11", rng, 12, 1) for _ in range(5)],
        "noise": [np.log(rng.dirichlet(np.ones(37), STEPS)).astype(np.float32) for _ in range(5)],
    }
    for kind, arrays in kinds.items():
        seconds, _ = _each(lambda frames: register.rank(frames, 20), [arrays] * 3)
        print(f"| {kind} | {np.median(seconds):.2f} |")


def _each(work: Callable[[T], R], items: Sequence[T]) -> tuple[list[float], list[R]]:
    """Seconds and result of each call."""
    work(items[0])
    seconds, results = [], []
    for item in items:
        started = time.perf_counter()
        results.append(work(item))
        seconds.append(time.perf_counter() - started)
    return seconds, results


def _row(
    kind: str, name: str, seconds: Sequence[float], read: Sequence[str], texts: Sequence[str], proven: int | None = None
) -> None:
    ms = 1000 * np.array(seconds)
    right = np.mean([a == b for a, b in zip(read, texts, strict=True)])
    share = "" if proven is None else f"{proven / len(texts):.0%}"
    shown = f"{right:.0%}" if kind.split()[-1] not in ("noise", "flat") else ""
    print(f"| {kind} | {name} | {np.median(ms):.2f} | {np.quantile(ms, 0.99):.2f} | {shown} | {share} |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
