"""Checks the `drawing` part of a format's file before anything is drawn: errors name the file, line and field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..formats import PlateFormat, allowed
from ..types import InputError
from .draw import draw_plate, draw_plate_parameters, fits, variant_of
from .fonts import check_faces, folder_faces
from .texts import sample_text

#: Sizes of plates that can be meant, mm: from a small numbered picture to a lorry's sign.
_SMALLEST, _LARGEST = 16, 1000
#: Plates of each template that are drawn before a set is begun.
_REHEARSALS = 4

_KNOWN = {
    "age", "area_mm", "badges", "band", "banner", "border", "centres_mm", "character_mm", "colours", "corner_mm",
    "country", "country_mm", "digits", "face", "faces", "first_letters", "first_line", "gap", "group_gap", "groups",
    "image", "letters", "marks", "prefixes", "qr_mm", "rim", "separator", "size_mm", "slots_mm", "template",
    "template_weights", "top_mm", "variants", "weight", "written",
}  # fmt: skip


def check_drawing(plate_format: PlateFormat, fonts: Path | None = None) -> None:
    """InputError if the format cannot be drawn: a field missing, unknown or impossible, a typeface that lacks one.

    `fonts` is a folder of typefaces that takes the place of the format's own.
    """
    check = _Check(plate_format)
    try:
        _check_all(check, plate_format, fonts)
    # Whatever a value of a wrong type brings about, in numpy and OpenCV too.
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError, cv2.error) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"cannot be drawn: `drawing` lacks or misspells something ({type(error).__name__}: {said:.120})",
            where=check.where("drawing"),
            fix="compare it with configs/formats/brazilian.yaml",
        ) from error


def _check_all(check: _Check, plate_format: PlateFormat, fonts: Path | None) -> None:
    spec = plate_format.drawing
    if not spec:
        raise check.error("drawing", "is missing: the format can be read, but not drawn")
    variants = spec.get("variants", {"": {}})
    if not isinstance(variants, Mapping) or not variants:
        raise check.error("variants", "must hold one `name: {weight: ..}` or more")
    for name, variant in variants.items():
        if not isinstance(variant, Mapping) or not isinstance(variant.get("template", ""), str):
            raise check.error("variants", f"{name} must hold `name: value` lines, its template a text")
    lacking = [
        t
        for t in plate_format.templates
        if not any(fits(v.get("template", "X" * len(t)), _example(t)) for v in variants.values())
    ]
    if lacking:
        raise check.error("variants", f"no variant draws {lacking[0]}")
    for name in variants:
        _check_variant(check, variant_of(spec, name), plate_format, fonts)
    _check_texts(check, spec, plate_format)
    if "image" in spec:
        _check_image(check, spec["image"])
    weights = spec.get("template_weights")
    if weights is not None and (
        not isinstance(weights, list) or len(weights) != len(plate_format.templates) or not _numbers(weights, 0)
    ):
        raise check.error("template_weights", f"needs {len(plate_format.templates)} numbers, one a template")
    _rehearse(check, plate_format, fonts)


def _rehearse(check: _Check, plate_format: PlateFormat, fonts: Path | None) -> None:
    """Draw a few plates of every template: what no check above has thought of is said before a set is begun."""
    for seed, template in product(range(_REHEARSALS), plate_format.templates):
        text, rng = _example(template), np.random.default_rng(seed)
        drawn = sample_text(rng, plate_format)
        if not plate_format.matches(drawn):
            raise check.error("digits", f"gives texts that obey no template, such as {drawn}")
        draw_plate(plate_format, text, draw_plate_parameters(rng, plate_format, text, fonts), fonts)


class _Check:
    """Where a format's fields stand, for errors."""

    def __init__(self, plate_format: PlateFormat) -> None:
        self._path = plate_format.path or Path(f"{plate_format.name}.yaml")

    def error(self, field: str, what: str) -> InputError:
        return InputError(
            f"drawing.{field} {what}", where=self.where(field), fix="compare it with configs/formats/brazilian.yaml"
        )

    def where(self, field: str) -> str:
        """File and line of the first mention of a field; the file alone if it is missing."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        name = re.compile(rf"\s*(?:.*[{{,]\s*)?{re.escape(field.split('.')[-1])}\s*:")
        line = next((i for i, text in enumerate(lines, 1) if name.match(text)), 0)
        return f"{self._path}:{line}" if line else str(self._path)

    def numbers(self, spec: Mapping[str, Any], field: str, count: int, low: float, high: float) -> list[float]:
        """The field's `count` numbers between `low` and `high`."""
        if field not in spec:
            raise self.error(field, "is missing")
        value = spec[field]
        if not isinstance(value, list) or len(value) != count or not _numbers(value, low, high):
            raise self.error(field, f"must be {count} numbers from {low:g} to {high:g}, not {value!r}")
        return [float(v) for v in value]

    def scalar_or_range(self, spec: Mapping[str, Any], field: str, low: float, high: float) -> float:
        """The largest value of a number or range."""
        if field not in spec:
            raise self.error(field, "is missing")
        value = spec[field]
        ends = value if isinstance(value, list) else [value]
        if len(ends) > 2 or not ends or not _numbers(ends, low, high) or ends != sorted(ends):
            raise self.error(field, f"must be a number or a range [low, high] from {low:g} to {high:g}, not {value!r}")
        return float(ends[-1])


def _numbers(values: list[Any], low: float, high: float = float("inf")) -> bool:
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high for v in values)


def _check_variant(check: _Check, spec: Mapping[str, Any], plate_format: PlateFormat, fonts: Path | None) -> None:
    if unknown := sorted(map(str, set(spec) - _KNOWN)):
        raise check.error(unknown[0], f"is unknown; known: {', '.join(sorted(_KNOWN))}")
    width, height = check.numbers(spec, "size_mm", 2, _SMALLEST, _LARGEST)
    if not all(isinstance(v, int) for v in spec["size_mm"]):
        raise check.error("size_mm", f"must be whole numbers, not {spec['size_mm']!r}")
    corner = spec.get("corner_mm")
    if not isinstance(corner, int) or not 1 <= corner <= min(width, height) / 2:
        raise check.error("corner_mm", f"must be a whole number from 1 to half the height, not {corner!r}")
    _check_colours(check, spec)
    for rows in (badge["digit_rows"] for badge in spec.get("badges", ()) if "digit_rows" in badge):
        if not isinstance(rows, list) or not rows or not all(isinstance(n, int) and 0 <= n <= 6 for n in rows):
            raise check.error("digit_rows", f"must be numbers of rows from 0 to 6, not {rows!r}")
    check.scalar_or_range({"age": 1.0, **spec}, "age", 0, 5)
    tallest = check.scalar_or_range(spec, "character_mm", 4, height)
    if "area_mm" in spec:
        x, y, w, h = check.numbers(spec, "area_mm", 4, 0, _LARGEST)
        if x + w > width or y + h > height or not (w and h):
            raise check.error("area_mm", f"{spec['area_mm']} does not lie within the plate of {spec['size_mm']} mm")
        lines = 2 if "first_line" in spec else 1
        if tallest * lines > h:
            raise check.error("character_mm", f"{lines} lines of {tallest:g} mm do not fit in an area {h:g} mm high")
        check.scalar_or_range(spec, "gap", 0, 2)
        groups = spec.get("groups")
        if isinstance(groups, Mapping):
            wrong = [length for length, parts in groups.items() if not isinstance(parts, list) or sum(parts) != length]
            if wrong:
                raise check.error("groups", f"those of {wrong[0]} characters do not add up to {wrong[0]}")
        elif groups not in (None, "kind"):
            raise check.error("groups", f"must be `kind` or lists by number of characters, not {groups!r}")
        faces = folder_faces(fonts) if fonts else spec.get("faces")
        if not isinstance(faces, (list, tuple)) or not faces:
            raise check.error("faces", "must be a list of typefaces")
    else:
        if not isinstance(spec.get("face"), str):
            raise check.error("face", "is missing (or, for texts of free length: area_mm, gap and faces)")
        faces = [spec["face"]]
        longest = plate_format.max_length
        check.numbers(spec, "centres_mm", longest, 0, width)
        if not _numbers([spec.get("top_mm")], 0, height - tallest):
            raise check.error("top_mm", f"must be a number from 0 to {height - tallest:g}, not {spec.get('top_mm')!r}")
    written = spec.get("written", {})
    if written and "area_mm" not in spec:
        raise check.error("written", "is for texts that are set into an area (area_mm)")
    if not isinstance(written, Mapping) or not all(isinstance(c, str) and len(c) == 1 for c in _items(written)):
        raise check.error("written", f'must be `"CHARACTER": CHARACTER`, what is drawn in its place, not {written!r}')
    spelled = {c for t in plate_format.templates for symbol in t for c in allowed(symbol)}
    characters = sorted({written.get(c, c) for c in spelled})
    check_faces(sorted(set(faces)), "".join(characters), fonts, check.where("faces" if "area_mm" in spec else "face"))


def _items(values: Mapping[Any, Any]) -> list[Any]:
    return [*values, *values.values()]


def _check_texts(check: _Check, spec: Mapping[str, Any], plate_format: PlateFormat) -> None:
    """The fields that `texts.sample_text` draws by."""
    longest = plate_format.max_length
    prefixes = spec.get("prefixes", [])
    if not isinstance(prefixes, list) or not all(isinstance(p, str) and len(p) == 2 for p in prefixes):
        raise check.error("prefixes", "must be a list of two letters each, such as [AP, DL]")
    letters = spec.get("letters", {})
    groups = {"first_letters": [spec.get("first_letters", {})], "letters": []}
    if not isinstance(letters, Mapping) or not all(isinstance(k, int) and 1 <= abs(k) <= longest for k in letters):
        raise check.error("letters", f"must name positions from 1 to {longest}, or from -1 at the end")
    groups["letters"] = list(letters.values())
    for field, entries in groups.items():
        for entry in entries:
            good = isinstance(entry, Mapping) and all(isinstance(k, str) for k in entry)
            if not good or not _numbers(list(entry.values()), 0, 1) or sum(entry.values()) > 1:
                raise check.error(field, f"must be `CHARACTERS: share`, shares of at most 1 in all, not {entry!r}")
    bounds, often = (spec.get("digits", {}).get(field, {}) for field in ("bounds", "often"))
    for field, value in (("bounds", bounds), ("often", often)):
        if not isinstance(value, Mapping):
            raise check.error(field, f"must be `position: ...`, not {value!r}")
    for place, ends in bounds.items():
        if not isinstance(place, int) or not 1 <= abs(place) <= longest or not isinstance(ends, list):
            raise check.error("bounds", f"must be `position: [low, high]`, not {place!r}: {ends!r}")
        if len(ends) != 2 or not all(isinstance(e, int) and e >= 0 for e in ends) or ends[0] > ends[1]:
            raise check.error("bounds", f"must be `position: [low, high]`, not {place!r}: {ends!r}")
    for place, shares in often.items():
        low, high = bounds.get(place, (1, 0))
        good = isinstance(shares, Mapping) and all(isinstance(n, int) and low <= n <= high for n in shares)
        if not good or not _numbers(list(shares.values()), 0, 1) or sum(shares.values()) > 1:
            raise check.error("often", f"must be `NUMBER: share` within the bounds of {place!r}, not {shares!r}")


def _check_image(check: _Check, image: Any) -> None:
    """How pictures of single plates are written."""
    known = {"suffix", "width_px", "aspect", "repeated", "flat", "grey", "tracks"}
    if not isinstance(image, Mapping) or set(image) - known:
        raise check.error("image", f"must hold some of {', '.join(sorted(known))}")
    if image.get("suffix") not in (".png", ".jpg"):
        raise check.error("suffix", f"must be .png or .jpg, not {image.get('suffix')!r}")
    if not _numbers([image.get("repeated", 0.0)], 0, 0.95):
        raise check.error("repeated", "must be a share from 0 to 0.95")
    if not image.get("flat"):
        median, _, low, high = check.numbers(image, "width_px", 4, 0, 4000)
        if not 16 <= low <= median <= high:
            raise check.error("width_px", "must be median, sigma of the logarithm, smallest (16 or more) and largest")
        check.numbers(image, "aspect", 2, 0, 10)


def _check_colours(check: _Check, spec: Mapping[str, Any]) -> None:
    colours = spec.get("colours")
    if not isinstance(colours, Mapping) or not colours:
        raise check.error("colours", "must hold one `name: {weight, ground, ink}` or more")
    for name, entry in colours.items():
        if not isinstance(entry, Mapping) or not _numbers([entry.get("weight")], 0):
            raise check.error(f"colours.{name}", "needs a weight, a number of 0 or more")
        for part in ("ground", "ink"):
            value = entry.get(part)
            if not isinstance(value, list) or len(value) != 3 or not _numbers(value, 0, 255):
                raise check.error(f"colours.{name}", f"{part} must be three numbers from 0 to 255, not {value!r}")


def _example(template: str) -> str:
    return "".join(allowed(symbol)[-1] if symbol == "L" else allowed(symbol)[0] for symbol in template)
