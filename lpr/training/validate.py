"""Reading held-out tracks as the reader does, and scoring what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..config import Config
from ..decode.confidence import Calibration
from ..decode.decode import decode_tracks
from ..formats import load_formats
from ..model.inference import posteriors_of, read_stack
from ..model.recogniser import Recogniser
from ..report.metrics import character_accuracy
from ..types import Posteriors, Prediction, Problem, Track


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares in [0, 1] over the tracks of a fold.

    exact: whole text right, frames fused. exact_single: the same a frame on its own. characters: of the fused text.
    A track without a readable frame counts as wrong, as in the competition.
    """

    tracks: int
    exact: float
    exact_single: float
    characters: float

    def shares(self) -> dict[str, float]:
        """The shares by name, as logs and checkpoints name them."""
        return {"exact": self.exact, "exact_single": self.exact_single, "characters": self.characters}

    @property
    def key(self) -> tuple[float, float]:
        """What epochs are compared by: exact match, and among equals (such as 0 at the start) characters."""
        return self.exact, self.characters


Read = tuple[Posteriors, tuple[Problem, ...]]


def read_posteriors(model: Recogniser, tracks: Sequence[Track], config: Config) -> list[Read]:
    """Posteriors of every track's LR frames, as `posteriors_of` gives them, and a problem for each unreadable frame.

    The model is left in evaluation mode.
    """
    model.eval()
    found: list[Read] = []
    for start in range(0, len(tracks), config.read.batch_tracks):
        batch = tracks[start : start + config.read.batch_tracks]
        loaded = [read_stack(track, config.input, config.read) for track in batch]
        stacks = [one for one, _ in loaded]
        posteriors = posteriors_of(model, stacks, config.model.alphabet, config.read.views, amp=config.read.amp)
        found += zip(posteriors, (problems for _, problems in loaded), strict=True)
    return found


def unreadable(read: Sequence[Read]) -> list[Problem]:
    """The problems of all frames that could not be read."""
    return [problem for _, problems in read for problem in problems]


def decode_all(read: Sequence[Read], config: Config, calibration: Calibration | None = None) -> list[Prediction]:
    """Decode tracks with the settings and formats of `config.read`."""
    formats = load_formats(config.read.formats)
    found = decode_tracks([posteriors for posteriors, _ in read], config.read, formats, calibration)
    return [
        replace(prediction, problems=(*problems, *prediction.problems))
        for prediction, (_, problems) in zip(found, read, strict=True)
    ]


def score(predictions: Sequence[Prediction], tracks: Sequence[Track]) -> Scores:
    """Scores of predictions against the labels of the same tracks, in the same order; at least one track."""
    pairs = [(t.text or "", p.text) for t, p in zip(tracks, predictions, strict=True)]
    frames = [t.text == reading.text for t, p in zip(tracks, predictions, strict=True) for reading in p.per_frame]
    return Scores(
        tracks=len(pairs),
        exact=fmean(truth == text for truth, text in pairs),
        exact_single=fmean(frames) if frames else 0.0,
        characters=fmean(character_accuracy(truth, text) for truth, text in pairs),
    )
