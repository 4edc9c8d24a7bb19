"""From a track's posteriors to its prediction: decode, fuse, calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, format_of
from ..types import Posteriors, Prediction, Problem, Reading
from .beam import beam, prefix_beam
from .confidence import NOT_A_PLATE, RANKED, Calibration, Evidence, method_name, sharpened, without_limits
from .constrained import best_paths
from .ctc import clean, text_log_probs
from .fusion import VOTES, frame_weights, log_prob_sum, path_entropy
from .greedy import greedy
from .mass import frame_masses, fused_masses
from .nbest import fused_weights, lifted, n_best_tracks
from .trie import fallback_text

if TYPE_CHECKING:
    from ..config import ReadConfig

#: Texts after the first that a prediction names.
RUNNERS_UP = 4

#: Tracks that are read at once: `nbest` takes half of the time for them, and what is kept of each meanwhile is little.
TOGETHER = 32

#: What the problem says of a track that is not taken for a plate; the names of the formats follow.
UNLIKE = "does not look like a plate of"

#: What the problem says of a frame that has no say beside the others of its track, see `fusion.frame_weights`.
BARE_FRAME = "shows no plate, other frames of the track do: it is left out"

#: Power of how common a text's characters are, beside the mean of its frames' logs: 1 if all frames erred alike, 1 / F
#: if each erred by itself. Of 0.3, 0.45, 0.7, 1 and 1.5 this read most of 600 `hard` tracks (by hand).
COMMON = 0.7

#: Stands for a probability of 0 in logs.
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class _Fused:
    """A track on its way to a text: what fusion makes of its frames, see `fused_evidence`, and their own readings."""

    posteriors: Posteriors
    per_frame: tuple[Reading, ...]
    arrays: list[NDArray[np.float64]]
    evidence: list[NDArray[np.float64]]
    weights: list[float]
    masses: dict[str, float]
    weighed: dict[str, float]


#: Texts with their raw probabilities, best first.
_Ranked = tuple[tuple[str, float], ...]


def decode_tracks(
    tracks: Sequence[Posteriors],
    read: ReadConfig,
    formats: Sequence[PlateFormat],
    calibration: Calibration | None,
    runners_up: int = RUNNERS_UP,
) -> list[Prediction]:
    """Read tracks, some at a time in less time than one by one; confidences are calibrated, or raw (see `confidence`)
    without a calibration of this method.

    With `log_prob_sum` the text is the plate with the highest total probability under the fused frames, not that of
    the best path; with `sequence` it is the plate with the highest product of total probabilities under each frame,
    sure frames counting for more; their time axes may be shifted or differ. `runners_up` are so many next ones. Votes
    are over the frames' own readings and name no runners-up. With the greedy or beam decoder a text may obey no format
    (`format` None), and `sequence` chooses among the texts that the frames propose.

    What the calibration does not take for a plate has a confidence of at most `confidence.NOT_A_PLATE`, and its
    `problems` say so. `read.sharpen` changes confidences only, see `confidence.sharpened`.

    Never fails on what a network can give: NaN, infinities, flat or empty arrays. Where nothing can be read (no
    frame, or T too short for a plate) the text is a made-up valid one with confidence 0.0.

    Raises:
        InputError: the arrays do not fit the alphabet, or differ in T where fusion adds them.
    """
    calibration = usable(calibration, read, formats)

    def confident(raw: Prediction, evidence: Evidence) -> Prediction:
        if not evidence.raw > 0:
            return raw
        confidence = calibrated(evidence, read, calibration)
        shares = share_rest(raw.runners_up, evidence, confidence, calibration)
        prediction = replace(raw, confidence=confidence, runners_up=shares)
        if calibration is None or calibration.is_plate(evidence):
            return prediction
        return replace(prediction, problems=(*raw.problems, unlike_problem(raw.track_id, formats)))

    return [confident(raw, evidence) for raw, evidence in weigh_tracks(tracks, read, formats, runners_up)]


def unlike_problem(track_id: str, formats: Sequence[PlateFormat]) -> Problem:
    """What is said of a track that is not taken for a plate of `formats`."""
    names = " or ".join(one.name for one in formats)
    return Problem(track_id, f"{UNLIKE} {names}", f"its confidence is at most {NOT_A_PLATE}; look at the frames")


def weigh_track(
    posteriors: Posteriors, read: ReadConfig, formats: Sequence[PlateFormat], runners_up: int = RUNNERS_UP
) -> tuple[Prediction, Evidence]:
    """`weigh_tracks` of one track."""
    return weigh_tracks([posteriors], read, formats, runners_up)[0]


def weigh_tracks(
    tracks: Sequence[Posteriors], read: ReadConfig, formats: Sequence[PlateFormat], runners_up: int = RUNNERS_UP
) -> list[tuple[Prediction, Evidence]]:
    """`decode_tracks` with raw values in place of confidences and probabilities, and the evidence to calibrate."""
    result = []
    for begin in range(0, len(tracks), TOGETHER):
        fused = [_fuse(posteriors, read, formats) for posteriors in tracks[begin : begin + TOGETHER]]
        ranked = _rank(fused, read, formats, max(RANKED, 1 + runners_up))
        result += [_weigh(one, texts, read, formats, runners_up) for one, texts in zip(fused, ranked, strict=True)]
    return result


def _fuse(posteriors: Posteriors, read: ReadConfig, formats: Sequence[PlateFormat]) -> _Fused:
    """All that can be said of a track by itself; `_rank` goes on with several."""
    alphabet = posteriors.alphabet
    arrays = [clean(array, alphabet) for array in posteriors.log_probs]
    own = [clean(array, alphabet) for array in posteriors.alone] or arrays
    per_frame = _frame_readings(own, posteriors, read, formats)
    found = fused_evidence(arrays, read, formats, alphabet, posteriors.weights, posteriors.files)
    return _Fused(posteriors, per_frame, arrays, *found)


def _weigh(
    one: _Fused, ranked: _Ranked, read: ReadConfig, formats: Sequence[PlateFormat], runners_up: int
) -> tuple[Prediction, Evidence]:
    """The raw prediction that the ranked texts of a track make, and what tells how sure it is."""
    posteriors, arrays = one.posteriors, one.arrays
    after: tuple[float, ...] = ()
    margin = 0.0
    (text, raw), others = (ranked[0], ranked[1:]) if ranked else (("", 0.0), ())
    if others and raw > 0:
        margin = float(np.log(raw) - np.log(max(others[0][1], TINY)))
    if read.decoder == "constrained":
        after = tuple(prob for _, prob in others[: RANKED - 1])
    if not text:
        text, likeliest = fallback_text(formats, posteriors.alphabet)
        return Prediction(posteriors.track_id, text, 0.0, likeliest.name, one.per_frame), Evidence(0.0)
    raw = min(max(raw, 0.0), 1.0)
    obeyed = format_of(text, formats)
    files = posteriors.files or ("a frame",) * len(arrays)
    given = posteriors.weights or [1.0] * len(arrays)
    bare = [
        Problem(posteriors.track_id, f"{file} {BARE_FRAME}")
        for file, weight, own_weight in zip(files, one.weights, given, strict=False)
        if file and own_weight and not weight
    ]
    prediction = Prediction(
        posteriors.track_id,
        text,
        raw,
        obeyed.name if obeyed else None,
        one.per_frame,
        others[:runners_up],
        problems=tuple(dict.fromkeys(bare)),
        format_probs=_shares(one.masses, formats, read) if len(formats) > 1 else (),
    )
    entropy = min(path_entropy(array) for array in arrays if len(array))
    return prediction, Evidence(raw, max(margin, 0.0), min(1.0, sum(one.masses.values())), entropy, after)


def fused_evidence(
    arrays: Sequence[NDArray[np.float64]],
    read: ReadConfig,
    formats: Sequence[PlateFormat],
    alphabet: str,
    given: Sequence[float] = (),
    files: Sequence[str] = (),
) -> tuple[list[NDArray[np.float64]], list[float], dict[str, float], dict[str, float]]:
    """The arrays whose weighted geometric mean of probabilities ranks texts, their weights, and the formats' masses:
    of all texts alike, and with each text weighed by how common its characters are.

    From cleaned frames (T, C): one sum of logs, or each frame with its weight, that of `fusion.frame_weights` times
    the `given` one. `given` and `files` are the weights and files of `types.Posteriors`.
    """
    fused = [log_prob_sum(arrays, 1 / len(arrays))] if read.fusion == "log_prob_sum" and arrays else list(arrays)
    masses, weighed = frame_masses(fused, formats, alphabet, (0.0, common_power(read)))
    # Free decoders read what obeys no format, too.
    spelled = [min(1.0, sum(some)) for some in zip(*masses.values(), strict=True)]
    constrained = read.decoder == "constrained"
    focus = read.focus if read.fusion == "sequence" else 0.0
    # A merged picture may show a plate where no frame does: whether one is bare is told by the other frames.
    merged = [not file for file in files] if len(files) == len(fused) else ()
    weights = frame_weights(fused, spelled if constrained else [1.0] * len(fused), focus, merged)
    if given and read.fusion == "sequence":
        weights = fused_weights([a * b for a, b in zip(weights, given, strict=True)], len(fused))
    return fused, weights, fused_masses(masses, weights), fused_masses(weighed, weights)


def common_power(read: ReadConfig) -> float:
    """The power of how common a text's characters are, see `nbest.n_best_tracks`; 0 where all count alike."""
    return COMMON if read.common_characters else 0.0


def usable(calibration: Calibration | None, read: ReadConfig, formats: Sequence[PlateFormat]) -> Calibration | None:
    """What of a calibration holds for this way to read: nothing for another one, for which confidences stay raw.

    For formats that it never saw its curve is the nearest there is, but not its thresholds: plates of another kind may
    all lie below them.
    """
    if calibration is None or not serves(calibration, read, formats):
        return None
    if covers(calibration, formats):
        return calibration
    return without_limits(calibration)


def calibrated(evidence: Evidence, read: ReadConfig, calibration: Calibration | None) -> float:
    """Evidence as a confidence in [0, 1] by a `usable` calibration, sharpened where that is asked for."""
    if calibration is None:
        return sharpened(evidence.raw, read.sharpen, None)
    found = sharpened(calibration.apply(evidence), read.sharpen, calibration)
    return found if calibration.is_plate(evidence) else min(found, NOT_A_PLATE)


def serves(calibration: Calibration, read: ReadConfig, formats: Sequence[PlateFormat]) -> bool:
    """Whether a calibration was fitted for this way to read.

    Where no format weighs characters it does not matter whether those did that it was fitted with.
    """
    method = calibration.method
    if not any(one.common for one in formats):
        method = method.replace("/common", "")
    return method in ("", method_name(read, formats))


def covers(calibration: Calibration, formats: Sequence[PlateFormat]) -> bool:
    """Whether a calibration was fitted with all these formats, as far as it knows."""
    return not calibration.formats or {one.name for one in formats} <= set(calibration.formats)


def share_rest(
    others: Sequence[tuple[str, float]],
    evidence: Evidence,
    confidence: float,
    calibration: Calibration | None,
    *,
    obey: bool = True,
) -> tuple[tuple[str, float], ...]:
    """Give texts after the first their share of 1 - confidence, in proportion to powers of their raw probabilities.

    `calibration` is the usable one. Its curve says how likely all other plates are together, and of their raw
    probabilities this is their sum (`Evidence.rest`); without one the raw values stand. All probabilities of a track
    sum to at most 1, and none exceeds the confidence. What is no plate is none with any other text either. Texts that
    obey no format (`obey` False) are not among those plates: they have a share of what the best one leaves.
    """
    left, power = 1 - evidence.raw, 1.0
    if obey and calibration is not None and evidence.raw > 0:
        if not calibration.is_plate(evidence):
            left = evidence.raw * (1 - confidence) / max(confidence, TINY)
        elif evidence.after:
            power = calibration.power
            left = evidence.rest(power)
    values = [(text, prob**power) for text, prob in others]
    left = max(left, sum(value for _, value in values), TINY)
    most = confidence if obey else 1.0
    return tuple((text, min(value / left * (1 - confidence), most)) for text, value in values)


def rank_of(text: str, prediction: Prediction) -> int:
    """Where `text` stands: 0 for the prediction's own, k for its k-th runner-up, -1 for none of them."""
    named = [prediction.text, *(other for other, _ in prediction.runners_up)]
    return named.index(text) if text in named else -1


def _frame_readings(
    arrays: Sequence[NDArray[np.float64]], posteriors: Posteriors, read: ReadConfig, formats: Sequence[PlateFormat]
) -> tuple[Reading, ...]:
    """Each frame's own reading by the configured decoder, with the image behind it."""
    if read.decoder == "constrained":
        found = best_paths(arrays, formats, posteriors.alphabet, common_power(read))
        readings = [reading for reading, _ in found]
    else:
        free = greedy if read.decoder == "greedy" else beam
        readings = [free(array, posteriors.alphabet) for array in arrays]
    # What is merged of several frames has no name, and is none of them.
    files = (*filter(None, posteriors.files), *[""] * len(readings))
    return tuple(replace(reading, file=file) for reading, file in zip(readings, files, strict=False))


def _rank(fused: Sequence[_Fused], read: ReadConfig, formats: Sequence[PlateFormat], count: int) -> list[_Ranked]:
    """The best texts of each track: the one that a vote chose, or those of the configured decoder."""
    if read.fusion in VOTES:
        # A frame in which the free decoders saw nothing, or one too short for a plate, has no vote.
        voters = ([r for r in one.per_frame if r.text and np.isfinite(r.log_prob)] for one in fused)
        return [(VOTES[read.fusion](readings),) for readings in voters]
    if read.decoder != "constrained":
        return [_rank_proposed(one, read, count) for one in fused]
    if not fused:
        return []
    priors = {f.name: f.prior if read.format_priors else 1.0 for f in formats}
    found = n_best_tracks(
        [one.evidence for one in fused],
        formats,
        fused[0].posteriors.alphabet,
        count,
        weights=[one.weights for one in fused],
        priors=read.format_priors,
        common=common_power(read),
    )
    factors = [_prior_factor(one.masses, one.weighed, priors) for one in fused]
    return [
        tuple((text, min(1.0, factor * float(np.exp(log_prob)))) for text, log_prob in best.texts)
        for factor, best in zip(factors, found, strict=True)
    ]


def _rank_proposed(one: _Fused, read: ReadConfig, count: int) -> _Ranked:
    """Of the texts that free decoders read in the frames the likeliest under all of them."""
    alphabet = one.posteriors.alphabet
    if read.decoder == "greedy":
        texts = {greedy(array, alphabet).text for array in one.evidence}
    else:
        texts = {text for array in one.evidence for text, _ in prefix_beam(array, alphabet, count)}
    proposed = sorted(texts - {""})
    if not proposed:
        return ()
    logs = np.stack([text_log_probs(lifted(array)[None], proposed, alphabet)[0] for array in one.evidence])  # (F, N)
    # Sorted, because the order of additions changes the last bit and the order of frames must not.
    mean = np.sort(logs * np.array(one.weights)[:, None], axis=0).sum(axis=0)
    ranked = sorted(zip(proposed, np.exp(mean).tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple(ranked[:count])


def _prior_factor(masses: Mapping[str, float], weighed: Mapping[str, float], priors: Mapping[str, float]) -> float:
    """The largest prior of a plate over the mean prior of what the track spells, by which Bayes' rule divides.

    All by format: masses, the same with each text weighed by its characters, and the formats' own priors. 1 where the
    track spells no plate.
    """
    total, mean = sum(masses.values()), sum(priors[name] * mass for name, mass in weighed.items())
    return max(priors.values()) * total / mean if total > 0 and mean > 0 else 1.0


def _shares(
    masses: Mapping[str, float], formats: Sequence[PlateFormat], read: ReadConfig
) -> tuple[tuple[str, float], ...]:
    """Masses as probabilities that sum to 1, with priors where they are asked for, largest first."""
    weighed = {one.name: masses[one.name] * (one.prior if read.format_priors else 1.0) for one in formats if masses}
    total = sum(weighed.values())
    if not total > 0:
        return ()
    return tuple(sorted(((name, mass / total) for name, mass in weighed.items()), key=lambda pair: (-pair[1], pair[0])))
