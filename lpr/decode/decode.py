"""From a track's posteriors to its prediction: decode, fuse, calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, format_of
from ..types import Posteriors, Prediction, Reading
from .beam import beam, prefix_beam
from .confidence import Calibration, method_name
from .constrained import best_paths
from .ctc import clean, text_log_probs
from .fusion import VOTES, log_prob_sum
from .greedy import greedy
from .mass import format_masses
from .nbest import lifted, n_best_tracks
from .trie import fallback_text

if TYPE_CHECKING:
    from ..config import ReadConfig

#: Texts after the first that a prediction names.
RUNNERS_UP = 4


def decode_track(
    posteriors: Posteriors,
    read: ReadConfig,
    formats: Sequence[PlateFormat],
    calibration: Calibration | None,
    runners_up: int = RUNNERS_UP,
) -> Prediction:
    """Read one track; its confidence is calibrated, or raw (see `confidence`) without a calibration of this method.

    With `log_prob_sum` the text is the plate with the highest total probability under the fused frames, not that of
    the best path; with `sequence` it is the plate with the highest product of total probabilities under each frame,
    whose time axes may be shifted or differ. `runners_up` are so many next ones. Votes are over the frames' own
    readings and name no runners-up. With the greedy or beam decoder a text may obey no format (`format` None), and
    `sequence` chooses among the texts that the frames propose.

    Never fails on what a network can give: NaN, infinities, flat or empty arrays. Where nothing can be read (no
    frame, or T too short for a plate) the text is a made-up valid one with confidence 0.0.

    Raises:
        InputError: the arrays do not fit the alphabet, or differ in T where fusion adds them.
    """
    alphabet = posteriors.alphabet
    arrays = [clean(array, alphabet) for array in posteriors.log_probs]
    per_frame = _frame_readings(arrays, posteriors, read, formats)
    evidence = fused_evidence(arrays, read)
    masses = format_masses(evidence, formats, alphabet) if len(formats) > 1 else {}
    others: tuple[tuple[str, float], ...] = ()
    if read.fusion in VOTES:
        # A frame in which the free decoders saw nothing, or one too short for a plate, has no vote.
        text, raw = VOTES[read.fusion]([r for r in per_frame if r.text and np.isfinite(r.log_prob)])
    else:
        ranked = _rank(evidence, alphabet, read, formats, masses, 1 + runners_up)
        (text, raw), others = (ranked[0], ranked[1:]) if ranked else (("", 0.0), ())
    if not text:
        text, likeliest = fallback_text(formats, alphabet)
        return Prediction(posteriors.track_id, text, 0.0, likeliest.name, per_frame)
    confidence = calibrated(raw, read, calibration)
    obeyed = format_of(text, formats)
    return Prediction(
        posteriors.track_id,
        text,
        confidence,
        obeyed.name if obeyed else None,
        per_frame,
        share_rest(others, raw, confidence),
        format_probs=_shares(masses, formats, read),
    )


def fused_evidence(arrays: Sequence[NDArray[np.float64]], read: ReadConfig) -> list[NDArray[np.float64]]:
    """The arrays whose geometric mean of probabilities ranks texts: one sum of logs, or each cleaned frame."""
    if read.fusion == "log_prob_sum" and arrays:
        return [log_prob_sum(arrays, 1 / len(arrays))]
    return list(arrays)


def calibrated(raw: float, read: ReadConfig, calibration: Calibration | None) -> float:
    """A raw value as a confidence in [0, 1]; a calibration of another method is not used."""
    if calibration is not None and calibration.method in ("", method_name(read.decoder, read.fusion)):
        return calibration.apply(raw)
    return min(max(raw, 0.0), 1.0)


def share_rest(others: Sequence[tuple[str, float]], raw: float, confidence: float) -> tuple[tuple[str, float], ...]:
    """Give the texts after the first their share of 1 - confidence, in proportion to their raw probabilities.

    So that all probabilities of a track are on one scale and sum to at most 1; none exceeds the confidence.
    """
    # The second term where 1 - raw has rounded away.
    left = max(1 - raw, sum(prob for _, prob in others))
    return tuple((text, min(prob / left * (1 - confidence), confidence)) for text, prob in others)


def _frame_readings(
    arrays: Sequence[NDArray[np.float64]], posteriors: Posteriors, read: ReadConfig, formats: Sequence[PlateFormat]
) -> tuple[Reading, ...]:
    """Each frame's own reading by the configured decoder, with the image behind it."""
    if read.decoder == "constrained":
        readings = [reading for reading, _ in best_paths(arrays, formats, posteriors.alphabet)]
    else:
        free = greedy if read.decoder == "greedy" else beam
        readings = [free(array, posteriors.alphabet) for array in arrays]
    files = (*posteriors.files, *[""] * len(readings))
    return tuple(replace(reading, file=file) for reading, file in zip(readings, files, strict=False))


def _rank(
    evidence: Sequence[NDArray[np.float64]],
    alphabet: str,
    read: ReadConfig,
    formats: Sequence[PlateFormat],
    masses: Mapping[str, float],
    count: int,
) -> tuple[tuple[str, float], ...]:
    """The best texts with their raw probabilities, best first."""
    if read.decoder == "constrained":
        (found,) = n_best_tracks([evidence], formats, alphabet, count, weigh_formats=read.format_priors)
        # With priors, a plate counts by its prior over the mean prior of what the track spells (Bayes' rule).
        factor = _prior_factor(masses, formats) if read.format_priors else 1.0
        return tuple((text, min(1.0, factor * float(np.exp(log_prob)))) for text, log_prob in found.texts)
    if read.decoder == "greedy":
        texts = {greedy(array, alphabet).text for array in evidence}
    else:
        texts = {text for array in evidence for text, _ in prefix_beam(array, alphabet, count)}
    proposed = sorted(texts - {""})
    if not proposed:
        return ()
    frames = sorted((lifted(array) for array in evidence), key=lambda array: (len(array), array.tobytes()))
    mean = np.mean([text_log_probs(array[None], proposed, alphabet)[0] for array in frames], axis=0)
    ranked = sorted(zip(proposed, np.exp(mean).tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple(ranked[:count])


def _prior_factor(masses: Mapping[str, float], formats: Sequence[PlateFormat]) -> float:
    """The largest prior over the mean prior, weighed by the formats' masses; 1 where the track spells none."""
    total = sum(masses.values())
    if not total > 0:
        return 1.0
    mean = sum(one.prior * masses[one.name] for one in formats) / total
    return max(one.prior for one in formats) / mean


def _shares(
    masses: Mapping[str, float], formats: Sequence[PlateFormat], read: ReadConfig
) -> tuple[tuple[str, float], ...]:
    """Masses as probabilities that sum to 1, with priors where they are asked for, largest first."""
    weighed = {one.name: masses[one.name] * (one.prior if read.format_priors else 1.0) for one in formats if masses}
    total = sum(weighed.values())
    if not total > 0:
        return ()
    return tuple(sorted(((name, mass / total) for name, mass in weighed.items()), key=lambda pair: (-pair[1], pair[0])))
