"""Reading a track's annotations.json, trusting nothing in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..formats import layout_names
from ..types import Corners, Problem

ANNOTATIONS = "annotations.json"

_CORNER_NAMES = frozenset(("top-left", "top-right", "bottom-right", "bottom-left"))
# Ten images with four corners are 3 kB. A limit keeps a misnamed archive out of memory.
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one annotations.json says: the raw text, the format's name, corners by file name; None where it does not."""

    text: str | None = None
    layout: str | None = None
    corners: Mapping[str, Corners] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def read_annotation(path: str) -> Annotation:
    """Read one annotations.json; whatever is missing, broken or of the wrong type becomes a Problem."""
    try:
        with open(path, "rb", buffering=0) as handle:
            data = handle.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            return _broken(path, f"is larger than {_MAX_BYTES // 1000} kB")
        values = json.loads(data)
    except OSError as error:
        return _broken(path, f"cannot be read: {error.strerror}")
    except json.JSONDecodeError as error:
        return _broken(f"{path}:{error.lineno}", f"is not valid JSON: {error.msg}")
    except UnicodeDecodeError:
        return _broken(path, "is not valid UTF-8")
    except (ValueError, RecursionError) as error:
        return _broken(path, f"is not valid JSON: {error}")
    if not isinstance(values, dict):
        return _broken(path, f"must hold an object with plate_text, not {_kind(values)}")

    problems: list[Problem] = []
    text = values.get("plate_text")
    if not isinstance(text, str):
        what = "has no plate_text" if text is None else f"plate_text is {_kind(text)}, not a text: {text!r:.40}"
        # A number may have lost its leading zeros, so it is not turned back into text.
        problems.append(Problem(path, what, 'write it in quotes, as in "plate_text": "ABC1234"', "error"))
        text = None
    spelling = values.get("plate_layout")
    layout = layout_names().get(spelling.strip().lower()) if isinstance(spelling, str) else None
    if layout is None and spelling is not None:
        known = ", ".join(sorted(set(layout_names().values())))
        problems.append(Problem(path, f"unknown plate_layout {spelling!r:.40}", f"known: {known}"))
    corners = _read_corners(values.get("corners", {}), path, problems)
    return Annotation(text, layout, corners, tuple(problems))


def _read_corners(raw: Any, path: str, problems: list[Problem]) -> dict[str, Corners]:
    fix = 'expected as in {"lr-001.png": {"top-left": [2, 2], ...}}, or {}'
    if not isinstance(raw, dict):
        problems.append(Problem(path, f"corners are {_kind(raw)}, not an object", fix))
        return {}
    found: dict[str, Corners] = {}
    for image, corners in raw.items():
        if isinstance(corners, dict) and corners.keys() == _CORNER_NAMES and all(map(_is_point, corners.values())):
            found[image] = {name: (float(x), float(y)) for name, (x, y) in corners.items()}
        else:
            problems.append(Problem(path, f"corners of {image!r:.60} are not four points [x, y]", fix))
    return found


def _is_point(value: Any) -> bool:
    # A whole number may have more digits than a float holds.
    most = sys.float_info.max
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and -most <= v <= most for v in value)
    )


def _broken(where: str, what: str) -> Annotation:
    return Annotation(problems=(Problem(where, what, "mend it; the track is kept without a label", "error"),))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
