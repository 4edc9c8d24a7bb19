"""The drawings of the report as inline SVG and coloured table cells."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite, sqrt

from .metrics import Estimate
from .tables import Table

#: Characters on a side of the heat table: the twenty that take part in most confusions.
HEAT_SIDE = 20


def bar(share: Estimate) -> str:
    """A bar for a share in [0, 1] with its interval as a line, 90 px for 100 %."""
    value, low, high = (90 * max(0.0, min(1.0, x)) for x in (share.value, share.low, share.high))
    line = f'<path d="M{low:.1f} 3.5H{high:.1f}" stroke="#1a1a1a"/>' if isfinite(low) and isfinite(high) else ""
    return (
        '<svg class="bar" width="90" height="7"><rect width="90" height="7" fill="#ececec"/>'
        f'<rect width="{value:.1f}" height="7" fill="#7fb0d8"/>{line}</svg>'
    )


def heat(found: Sequence[tuple[str, str, int, int]]) -> str:
    """A table of truth against reading, darker for more; `found` as `metrics.confusions` gives it."""
    involved: dict[str, int] = {}
    for truth, read, times, _ in found:
        involved[truth] = involved.get(truth, 0) + times
        involved[read] = involved.get(read, 0) + times
    shown = sorted(sorted(involved, key=lambda c: (-involved[c], c))[:HEAT_SIDE])
    counts = {(truth, read): times for truth, read, times, _ in found}
    most = max(counts.values())
    head = "".join(f"<th>{escape(c)}</th>" for c in shown)
    rows = []
    for truth in shown:
        cells = []
        for read in shown:
            times = counts.get((truth, read), 0)
            # The square root keeps rare pairs visible beside one very common pair.
            depth = sqrt(times / most)
            ink = "#fff" if depth > 0.6 else "#1a1a1a"
            style = f' style="background:rgba(165,15,35,{depth:.2f});color:{ink}"' if times else ""
            cells.append(f"<td{style}>{'·' if truth == read else times or ''}</td>")
        rows.append(f"<tr><th>{escape(truth)}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="heat"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
        '<p class="note">Rows: truth. Columns: read as. The characters most involved.</p>'
    )


def reliability(table: Table) -> str:
    """The reliability diagram of the calibration table: share right against mean confidence of each band.

    Dots on the diagonal are calibrated; their area grows with the tracks of the band, lines are 95 % intervals.
    """
    side, left, top = 260, 40, 8

    def x(value: float) -> float:
        return left + side * value

    def y(value: float) -> float:
        return top + side * (1 - value)

    parts = [f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#bbb"/>']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<path d="M{x(tick):.1f} {top}V{top + side}M{left} {y(tick):.1f}H{left + side}" stroke="#eee"/>'
            f'<text x="{x(tick):.1f}" y="{top + side + 15}" text-anchor="middle">{tick:g}</text>'
            f'<text x="{left - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    parts.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#999" stroke-dasharray="4 3"/>')
    bands = [(row[2], row[3]) for row in table.rows]
    total = sum(right.n for _, right in bands if isinstance(right, Estimate))
    for confidence, right in bands:
        if not (isinstance(right, Estimate) and isinstance(confidence, float) and right.n):
            continue
        radius = 3 + 11 * sqrt(right.n / total)
        parts.append(
            f'<path d="M{x(confidence):.1f} {y(right.low):.1f}V{y(right.high):.1f}" stroke="#14508c"/>'
            f'<circle cx="{x(confidence):.1f}" cy="{y(right.value):.1f}" r="{radius:.1f}" fill="#14508c" '
            f'fill-opacity=".45">'
            f"<title>{right.n} tracks: confidence {confidence:.3f}, right {right.value:.3f}</title></circle>"
        )
    parts.append(
        f'<text x="{x(0.5)}" y="{top + side + 32}" text-anchor="middle">mean confidence</text>'
        f'<text transform="translate(11 {y(0.5)}) rotate(-90)" text-anchor="middle">share right</text>'
    )
    width, height = left + side + 14, top + side + 40
    return f'<svg width="{width}" height="{height}" font-size="12" fill="#1a1a1a">{"".join(parts)}</svg>'
