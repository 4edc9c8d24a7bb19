"""Posteriors for the tests of the decision half, and the slow decoders they are compared with."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from lpr.config import ReadConfig
from lpr.decode.confidence import Calibration
from lpr.decode.decode import RUNNERS_UP, decode_tracks
from lpr.formats import PlateFormat, load_formats
from lpr.types import ALPHABET, Posteriors, Prediction

BRAZIL = load_formats(["brazilian", "mercosur"])


def decode_track(
    posteriors: Posteriors,
    read: ReadConfig,
    formats: tuple[PlateFormat, ...],
    calibration: Calibration | None,
    runners_up: int = RUNNERS_UP,
) -> Prediction:
    """`decode_tracks` of one track."""
    (found,) = decode_tracks([posteriors], read, formats, calibration, runners_up)
    return found


def collapse(path: tuple[int, ...], alphabet: str) -> str:
    return "".join(alphabet[code - 1] for code, _ in itertools.groupby(path) if code)


def by_brute_force(log_probs: NDArray[np.float64], alphabet: str) -> tuple[dict[str, float], dict[str, float]]:
    """text -> total probability, and text -> log-probability of its best path, by walking every path."""
    steps, classes = log_probs.shape
    total: dict[str, float] = {}
    best: dict[str, float] = {}
    for path in itertools.product(range(classes), repeat=steps):
        text = collapse(path, alphabet)
        log_prob = float(sum(log_probs[t, code] for t, code in enumerate(path)))
        total[text] = total.get(text, 0.0) + float(np.exp(log_prob))
        best[text] = max(best.get(text, -np.inf), log_prob)
    return total, best


def obeying(texts: dict[str, float], formats: tuple[PlateFormat, ...]) -> dict[str, float]:
    """The possible texts among them that obey a format."""
    return {t: p for t, p in texts.items() if any(f.matches(t) for f in formats)}


def normalised(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    peak = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = peak - np.log(np.exp(peak).sum(axis=1, keepdims=True))
    return result


def posteriors_of(
    text: str, rng: np.random.Generator, peak: float = 9.0, steps: int = 32, shift: int = 0
) -> NDArray[np.float32]:
    """float32 (T, C) as a network gives them: mostly blank, one spike a character, noise elsewhere."""
    logits = rng.gumbel(0, 1, (steps, len(ALPHABET) + 1))
    logits[:, 0] += 7
    for position, character in enumerate(text):
        step = 2 + position * 4 + rng.integers(-shift, shift + 1)
        logits[step, ALPHABET.index(character) + 1] += peak
        logits[step, 0] -= 6
    return normalised(logits).astype(np.float32)


def shifted_track(
    text: str, rng: np.random.Generator, peak: float = 7.5, shift: int = 0, frames: int = 5, steps: int = 32
) -> list[NDArray[np.float32]]:
    """Frames of one plate whose peaks all lie up to `shift` steps earlier or later, each frame by its own amount."""
    result = []
    for _ in range(frames):
        offset = int(rng.integers(-shift, shift + 1))
        logits = rng.gumbel(0, 1, (steps, len(ALPHABET) + 1))
        logits[:, 0] += 7
        for position, character in enumerate(text):
            step = 2 + position * 4 + offset
            logits[step, ALPHABET.index(character) + 1] += peak * rng.uniform(0.5, 1.1)
            logits[step, 0] -= 6
        result.append(normalised(logits).astype(np.float32))
    return result
