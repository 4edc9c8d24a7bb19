"""From a track's posteriors to its prediction: decode, fuse, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, format_of
from ..types import Posteriors, Prediction, Reading
from .confidence import Calibration, method_name
from .constrained import best_paths
from .ctc import clean, text_log_prob
from .fusion import VOTES, log_prob_sum
from .greedy import greedy
from .nbest import n_best
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
) -> Prediction:
    """Read one track; its confidence is calibrated, or raw (see `confidence`) without a calibration of this method.

    With `log_prob_sum` the text is the plate with the highest total probability under the fused frames, not that of
    the best path, which suffers where peaks are shifted between frames; `runners_up` are the next ones. Votes are over
    the frames' own readings and name no runners-up. With the greedy decoder a text may obey no format (`format` None).

    Never fails on what a network can give: NaN, infinities, flat or empty arrays. Where nothing can be read (no
    frame, or T too short for a plate) the text is a made-up valid one with confidence 0.0.

    Raises:
        InputError: the arrays do not fit the alphabet, or differ in T where fusion adds them.
    """
    arrays = [clean(array, posteriors.alphabet) for array in posteriors.log_probs]
    per_frame = _frame_readings(arrays, posteriors, read, formats)
    runners_up: tuple[tuple[str, float], ...] = ()
    if read.fusion in VOTES:
        # A frame in which the greedy decoder saw nothing, or one too short for a plate, has no vote.
        text, raw = VOTES[read.fusion]([r for r in per_frame if r.text and np.isfinite(r.log_prob)])
    elif not arrays:
        text, raw = "", 0.0
    else:
        text, raw, runners_up = _read_fused(log_prob_sum(arrays, 1 / len(arrays)), posteriors.alphabet, read, formats)
    if not text:
        text, likeliest = fallback_text(formats, posteriors.alphabet)
        return Prediction(posteriors.track_id, text, 0.0, likeliest.name, per_frame)
    if calibration is not None and calibration.method in ("", method_name(read.decoder, read.fusion)):
        confidence = calibration.apply(raw)
    else:
        confidence = min(max(raw, 0.0), 1.0)
    obeyed = format_of(text, formats)
    return Prediction(
        posteriors.track_id,
        text,
        confidence,
        obeyed.name if obeyed else None,
        per_frame,
        _share_rest(runners_up, raw, confidence),
    )


def _frame_readings(
    arrays: Sequence[NDArray[np.float64]], posteriors: Posteriors, read: ReadConfig, formats: Sequence[PlateFormat]
) -> tuple[Reading, ...]:
    """Each frame's own reading by the configured decoder, with the image behind it."""
    if read.decoder == "greedy":
        readings = [greedy(array, posteriors.alphabet) for array in arrays]
    else:
        readings = [reading for reading, _ in best_paths(arrays, formats, posteriors.alphabet)]
    files = (*posteriors.files, *[""] * len(readings))
    return tuple(replace(reading, file=file) for reading, file in zip(readings, files, strict=False))


def _read_fused(
    fused: NDArray[np.float64], alphabet: str, read: ReadConfig, formats: Sequence[PlateFormat]
) -> tuple[str, float, tuple[tuple[str, float], ...]]:
    """Text, raw confidence and runners-up with their raw probabilities, from fused posteriors (T, C)."""
    if read.decoder == "greedy":
        text = greedy(fused, alphabet).text
        return text, float(np.exp(text_log_prob(fused, text, alphabet))), ()
    ranked = n_best(fused, formats, alphabet, 1 + RUNNERS_UP).texts
    (text, raw), *others = [(text, float(np.exp(log_prob))) for text, log_prob in ranked] or [("", 0.0)]
    return text, raw, tuple(others)


def _share_rest(
    runners_up: tuple[tuple[str, float], ...], raw: float, confidence: float
) -> tuple[tuple[str, float], ...]:
    """Give runners-up their share of 1 - confidence, in proportion to their raw probabilities.

    So that all probabilities of a track are on one scale and sum to at most 1; none exceeds the confidence.
    """
    # The second term where 1 - raw has rounded away.
    left = max(1 - raw, sum(prob for _, prob in runners_up))
    return tuple((text, min(prob / left * (1 - confidence), confidence)) for text, prob in runners_up)
