"""Sets a text of any length into a plate's area: groups, lines, gaps, and narrower type where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fonts import glyph
from .glyphs import LATEST


@dataclass(frozen=True, slots=True)
class TypeDraws:
    """How this plate was set.

    `face`: name of the typeface. `variant`: which of the format's variants, if it has any. `height`, `gap`,
    `group_gap`: places within the ranges that the format allows, 0 to 1. `at`: where in the free space of the area
    the text stands, x and y, 0 to 1. `mark`: what stands between groups.
    """

    face: str
    variant: str
    height: float
    gap: float
    group_gap: float
    at: tuple[float, float]
    mark: str


@dataclass(frozen=True, slots=True)
class Placed:
    """One character's (or mark's) ink, uint8 (H, W), and the place of its upper left corner in mm."""

    ink: NDArray[np.uint8]
    x: float
    y: float


def split_groups(text: str, groups: object) -> list[str]:
    """Cut a text into its groups: runs of letters and digits ("kind"), or lengths by the text's own length."""
    if groups == "kind":
        return ["".join(run) for _, run in groupby(text, str.isdigit)]
    lengths = groups.get(len(text)) if isinstance(groups, Mapping) else None
    parts, start = [], 0
    for length in lengths or [len(text)]:
        parts.append(text[start : start + length])
        start += length
    return parts


def between(bounds: Any, place: float) -> float:
    """A single number, or the number at `place` (0 to 1) between two."""
    return float(bounds[0] + (bounds[1] - bounds[0]) * place) if isinstance(bounds, list) else float(bounds)


def typeset(
    spec: Mapping[str, Any],
    text: str,
    draws: TypeDraws,
    *,
    stroke: float,
    width: float,
    radius: float,
    fonts: Path | None,
    edition: int = LATEST,
) -> list[Placed]:
    """Place every character of `text` in the area of a drawing; a text wider than the area is set narrower.

    `written` of the drawing names characters that are drawn as another: a 1 as I with serifs. `edition`: glyphs.Face.
    """
    left, top, area_width, area_height = spec["area_mm"]
    height = between(spec["character_mm"], draws.height)
    gap = between(spec["gap"], draws.gap) * height
    group_gap = between(spec.get("group_gap", 0), draws.group_gap) * height
    written = spec.get("written", {})
    groups = ["".join(written.get(c, c) for c in group) for group in split_groups(text, spec.get("groups"))]
    first = spec.get("first_line", len(groups))
    lines = [line for line in (groups[:first], groups[first:]) if line]
    pitch = area_height / len(lines)
    placed: list[Placed] = []
    for row, line in enumerate(lines):
        count = sum(map(len, line))
        spaces = gap * (count - len(line)) + (gap + group_gap) * (len(line) - 1)
        squeeze = 1.0
        # Stems and pens do not shrink in proportion, so one step falls short of the area's width.
        for _ in range(4):
            inks = [
                [
                    glyph(
                        draws.face,
                        c,
                        height,
                        stroke=stroke,
                        width=width * squeeze,
                        radius=radius,
                        folder=fonts,
                        edition=edition,
                    )
                    for c in group
                ]
                for group in line
            ]
            wide = sum(ink.shape[1] for group in inks for ink, _ in group)
            if wide + spaces * squeeze <= area_width:
                break
            squeeze *= area_width / (wide + spaces * squeeze)
        x = left + max(area_width - wide - spaces * squeeze, 0) * draws.at[0]
        y = top + row * pitch + max(pitch - height, 0) * draws.at[1]
        for number, group in enumerate(inks):
            if number:
                if draws.mark != "none":
                    placed.append(_mark(draws.mark, x + (group_gap * squeeze - gap * squeeze) / 2, y, height))
                x += group_gap * squeeze
            for ink, above in group:
                placed.append(Placed(ink, x, y - above))
                x += ink.shape[1] + gap * squeeze
    return placed


def _mark(kind: str, centre: float, top: float, height: float) -> Placed:
    wide, tall, at = {"dash": (0.22, 0.10, 0.46), "dot": (0.12, 0.12, 0.86)}[kind]
    ink = np.full((max(round(tall * height), 1), max(round(wide * height), 1)), 255, np.uint8)
    return Placed(ink, centre - ink.shape[1] / 2, top + at * height)
