"""What the names of image files say: frame or picture, its number, its label."""

from __future__ import annotations

import re

from ..types import ALPHABET
from .labels import label_problem, normalise_label

#: Names of a track's frames, and of those that lie in folders of their own, lr/ and hr/.
FRAME_NAME = re.compile(r"(lr|hr)(?:[-_ ]?|/(?:.*\D)?)(\d+)$", re.IGNORECASE)
#: Names that cameras and scripts give, such as frame0012: four to eleven characters of the alphabet, but no plate.
SCRIPT_NAME = re.compile(r"(?:crop|frame|hr|image|img|lr|photo|plate|test|track|train|val)\d+$")


def stem(name: str) -> str:
    """The name of a file without its ending."""
    return name.rpartition(".")[0]


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def label_in_name(stem: str) -> str | None:
    """The label that a file's name gives: what stands before the first underscore, if it can be a plate.

    4 to 11 characters of the default alphabet with at least one digit; a plate without any digit is rarer than a file
    called `photo.jpg`.
    """
    raw = stem.partition("_")[0]
    text = normalise_label(raw)
    plausible = 4 <= len(text) <= 11 and not text.isalpha() and label_problem(text, ALPHABET) is None
    return raw if plausible and not SCRIPT_NAME.match(raw) else None
