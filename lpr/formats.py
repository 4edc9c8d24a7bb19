"""Plate formats, read from `configs/formats/NAME.yaml`: their templates decide decoding, sampling and checking.

A template is one character class per position: `L` letter, `D` digit, `X` either, anything else stands for itself.
Old Brazilian plates are `LLLDDDD`, Mercosur plates of Brazil `LLLDLDD`.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import yaml
from .types import ALPHABET, InputError

FORMATS_DIR = Path(__file__).resolve().parent.parent / "configs" / "formats"

#: In place of formats' names: all that a checkpoint serves, weighed by their priors.
AUTO = "auto"

CLASSES = {"L": string.ascii_uppercase, "D": string.digits, "X": string.digits + string.ascii_uppercase}


@dataclass(frozen=True, slots=True)
class PlateFormat:
    """One kind of plate.

    `templates`: see the module. `layout`: the value of `plate_layout` in the competition's annotations.
    `prior`: how common it is among the formats it is weighed against (relative). `common`: by position, from 1, the
    share of plates that have one of some characters there; the other characters share the rest. `drawing`: sizes in
    mm, colours and characters for `lpr.plates`, unused elsewhere. `path`: the file that it was read from.
    """

    name: str
    templates: tuple[str, ...]
    layout: str
    prior: float = 1.0
    common: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    drawing: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    @property
    def max_length(self) -> int:
        """Characters of its longest template."""
        return max(map(len, self.templates))

    def matches(self, text: str) -> bool:
        """Whether `text` obeys one of the templates."""
        return any(
            len(text) == len(template) and all(c in allowed(t) for c, t in zip(text, template, strict=True))
            for template in self.templates
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint: what reading needs, neither drawing nor path."""
        common = {str(position): dict(shares) for position, shares in self.common.items()}
        return {
            "name": self.name, "templates": list(self.templates), "layout": self.layout, "prior": self.prior,
            "common": common,
        }  # fmt: skip

    def sample(self, rng: np.random.Generator) -> str:
        """Draw a text uniformly from the first to the last template and their characters."""
        template = self.templates[rng.integers(len(self.templates))]
        return "".join(allowed(t)[rng.integers(len(allowed(t)))] for t in template)


def allowed(symbol: str) -> str:
    """The characters that one symbol of a template stands for."""
    return CLASSES.get(symbol, symbol)


def template_mask(template: str, alphabet: str = ALPHABET) -> NDArray[np.bool_]:
    """bool (L, C): which classes each position may be. Class 0, the blank, is never allowed."""
    mask = np.zeros((len(template), len(alphabet) + 1), dtype=bool)
    for position, symbol in enumerate(template):
        for character in allowed(symbol):
            if (index := alphabet.find(character)) >= 0:
                mask[position, index + 1] = True
        if not mask[position].any():
            raise InputError(
                f"position {position + 1} ({symbol}) of template {template} has no character in the checkpoint's "
                f"alphabet {alphabet}",
                fix="choose a format that this checkpoint serves",
            )
    return mask


def ctc_steps(text: str) -> int:
    """The fewest CTC steps that can spell `text`: one a character and one blank between equal neighbours."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def worst_case_steps(formats: Iterable[PlateFormat]) -> int:
    """The CTC steps that spell every text of the formats: 2 L - 1 for L equal characters.

    Neighbours whose character classes do not meet can never be equal and need no blank between.
    """
    return max(
        len(t) + sum(bool(set(allowed(a)) & set(allowed(b))) for a, b in pairwise(t))
        for plate_format in formats
        for t in plate_format.templates
    )


def known_formats() -> tuple[str, ...]:
    """The names that `load_format` knows, sorted."""
    return tuple(sorted(path.stem for path in FORMATS_DIR.glob("*.yaml")))


def name_of(given: str) -> str:
    """The name of a format that is given by its name or its file: a file's format has the name of the file."""
    return Path(given).name.removesuffix(".yaml")


@cache
def load_format(name: str) -> PlateFormat:
    """Read `configs/formats/NAME.yaml`, or the file itself if `name` ends in .yaml."""
    path = Path(name) if name.endswith(".yaml") else FORMATS_DIR / f"{name}.yaml"
    if not path.is_file():
        known = known_formats()
        near = get_close_matches(name.lower(), known, 1)
        raise InputError(
            f"unknown format {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            fix=f"known formats: {', '.join(known)}; a new one is a file {FORMATS_DIR.name}/NAME.yaml",
        )
    data = yaml.load(path)
    unknown = set(data) - {"templates", "layout", "prior", "common", "drawing"}
    if unknown:
        known_keys = "known: templates, layout, prior, common, drawing"
        raise InputError(f"unknown key {sorted(unknown)[0]!r}", where=path, fix=known_keys)
    templates = data.get("templates")
    if not isinstance(templates, list) or not templates or not all(isinstance(t, str) and t for t in templates):
        raise InputError("`templates` must be a list of texts such as LLLDDDD", where=path)
    for template in templates:
        for symbol in template:
            if symbol not in CLASSES and symbol not in ALPHABET:
                raise InputError(
                    f"template {template}: {symbol!r} is neither L, D, X nor one of {ALPHABET}", where=path
                )
    prior = data.get("prior", 1.0)
    if not isinstance(prior, (int, float)) or isinstance(prior, bool) or not prior > 0:
        raise InputError(f"`prior` must be a number above 0, not {prior!r}", where=path)
    common = read_common(data.get("common"), templates, path)
    drawing = data.get("drawing") or {}
    if not isinstance(drawing, dict):
        raise InputError("`drawing` must hold `name: value` lines", where=path)
    layout = str(data.get("layout", path.stem))
    return PlateFormat(path.stem, tuple(templates), layout, float(prior), common, drawing, path)


def read_common(values: Any, templates: Sequence[str], where: Path) -> dict[int, dict[str, float]]:
    """`PlateFormat.common` as a file states it, none where it is None; InputError where that cannot be weighed."""
    found: dict[int, dict[str, float]] = {}
    if values is None:
        return found
    for position, groups in values.items() if isinstance(values, Mapping) else [(values, None)]:
        shares = _shares(groups)
        if not (shares and str(position).isdecimal() and 1 <= int(position) <= max(map(len, templates))):
            raise InputError(
                "`common` must hold `position: {CHARACTERS: share}` lines, such as `5: {ABCDEFGHIJ: 0.97}`: positions "
                "from 1 within the templates, every character once, shares above 0 and below 1 in all; not "
                f"{position!r}: {groups!r}",
                where=where,
            )
        found[int(position)] = shares
    return found


def _shares(groups: Any) -> dict[str, float]:
    """Groups of characters and their shares, or none where they are not such."""
    if not isinstance(groups, Mapping):
        return {}
    characters, shares = "".join(map(str, groups)), list(groups.values())
    numbers = all(isinstance(share, (int, float)) and not isinstance(share, bool) and share > 0 for share in shares)
    once = all(groups) and len(set(characters)) == len(characters) and set(characters) <= set(ALPHABET)
    return {str(g): float(share) for g, share in groups.items()} if numbers and once and sum(shares) < 1 else {}


def load_formats(names: Sequence[str]) -> tuple[PlateFormat, ...]:
    """Read several formats; at least one."""
    if not names:
        raise InputError("no format is named", fix=f"known formats: {', '.join(known_formats())}")
    return tuple(load_format(name) for name in names)


def format_of(text: str, formats: Iterable[PlateFormat]) -> PlateFormat | None:
    """The first format that `text` obeys, or None."""
    return next((f for f in formats if f.matches(text)), None)


@cache
def layout_names() -> dict[str, str]:
    """Spellings of `plate_layout` in annotations, lower case -> format name."""
    return {spelling: name for name in known_formats() for spelling in (name, load_format(name).layout.lower())}
