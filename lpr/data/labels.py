"""Plate labels: normalising, judging and encoding them. A label is text everywhere, never a number."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..formats import ctc_steps
from ..types import InputError, Problem, Track

# What people put between the groups of a plate: white space, dots, and every hyphen and dash that a keyboard or a
# spreadsheet's auto-correction produces. Zero-width characters come along when labels are copied from web pages.
_BLANKS = " \t\r\n\v\f\u00a0\u2007\u2009\u202f\u3000" + "\ufeff\u200b\u200c\u200d\u2060"
_DOTS = ".\u00b7\u2022\u2219\u30fb"
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212"
_NORMALISE = str.maketrans(string.ascii_lowercase, string.ascii_uppercase, _BLANKS + _DOTS + _HYPHENS)


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What `check_labels` found: counts of tracks, and one problem for each label that cannot be used."""

    total: int
    usable: int
    normalised: int
    problems: tuple[Problem, ...]


def normalise_label(raw: str) -> str:
    """Remove blanks, hyphens, dots and invisible characters and put a-z in upper case; everything else stays.

    Only ASCII changes case: `str.upper` would turn one character into two or into another letter (sharp s, dotless i),
    and a character outside the alphabet has to be seen, not mended.
    """
    return raw.translate(_NORMALISE)


def label_problem(text: str, alphabet: str) -> str | None:
    """What is wrong with a normalised label, or None if every character is in `alphabet`."""
    if not text:
        return "empty label"
    for position, character in enumerate(text, 1):
        if character not in alphabet:
            return (
                f"label {text!r:.60}: character {character!r} (position {position}) is not in the alphabet {alphabet}"
            )
    return None


def encode_label(text: str, alphabet: str) -> list[int]:
    """CTC classes of a label, one a character: class i + 1 is `alphabet[i]`, 0 is the blank.

    Raises InputError on a character outside the alphabet.
    """
    problem = label_problem(text, alphabet)
    if problem:
        raise InputError(problem, fix="correct the label or use a checkpoint with this character in its alphabet")
    return [alphabet.index(character) + 1 for character in text]


def check_labels(
    tracks: Sequence[Track],
    alphabet: str,
    *,
    max_bad: float,
    strict: bool,
    steps: int | None = None,
    slots: int | None = None,
) -> tuple[list[Track], LabelReport]:
    """Return the tracks that can be trained on, with normalised texts, and a report of the others.

    A label is unusable if it is missing, empty, holds a character outside `alphabet`, needs more than `steps` CTC steps
    (L characters and a blank between equal neighbours), or has more than `slots` characters. Raises InputError when
    more than the share `max_bad` (0 to 1) is unusable, when none is usable, and at the first one if `strict`.
    """
    usable: list[Track] = []
    problems: list[Problem] = []
    normalised = 0
    for track in tracks:
        text = None if track.text is None else normalise_label(track.text)
        what = "no label" if text is None else label_problem(text, alphabet)
        if text is not None and what is None and steps is not None and ctc_steps(text) > steps:
            what = f"label {text!r} needs {ctc_steps(text)} CTC steps, the network has {steps}"
        if text is not None and what is None and slots is not None and len(text) > slots:
            what = f"label {text!r:.60} has {len(text)} characters, the longest plate of read.formats {slots}"
        if text is None or what is not None:
            problem = Problem(_label_place(track), what or "no label", "the track stays out of training")
            if strict:
                raise InputError(problem.what, where=problem.where, fix="correct it, or run without strict")
            problems.append(problem)
        elif text == track.text:
            usable.append(track)
        else:
            normalised += 1
            usable.append(replace(track, text=text))
    if len(problems) > max_bad * len(tracks) or not usable:
        first = "; ".join(f"{p.where}: {p.what}" for p in problems[:3])
        raise InputError(
            f"{len(problems)} of {len(tracks)} labels cannot be used (allowed: {max_bad:.0%})"
            + (f"; the first: {first}" if first else ""),
            fix="correct the labels (python -m lpr.check lists them), leave folders without labels out, "
            "or raise data.max_bad_labels",
        )
    return usable, LabelReport(len(tracks), len(usable), normalised, tuple(problems))


def _label_place(track: Track) -> str:
    return track.label_at or (str(track.frames[0].path) if track.frames else track.id)
