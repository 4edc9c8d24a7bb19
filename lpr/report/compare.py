"""Two readings of the same tracks side by side: how much more one reads than the other, and whether that is chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from .metrics import mean, wilson
from .outcomes import Outcome
from .tables import Cell, Column, Table

_COLUMNS = (
    Column("group", "group"),
    Column("tracks", "tracks", "count"),
    Column("gain", "gain, points", "points", "exact match less that of the other reading, paired by track"),
    Column("exact", "exact match", "percent"),
    Column("against", "the other's", "percent"),
    Column("won", "read here alone", "count"),
    Column("lost", "read there alone", "count"),
    Column("p", "p", "number", "how often chance alone parts the tracks that one reads alone so unevenly"),
)
_NOTE = "p: exact sign test (McNemar). Of few such tracks the interval is too narrow. What was not read is wrong."


def comparison_table(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> Table:
    """Gain of `outcomes` over `others`, which are of the same tracks in the same order; at least one."""
    pairs = list(zip(outcomes, others, strict=True))
    groups = {"all tracks": pairs}
    for name in (lambda o: f"scenario {o.track.scenario or 'unknown'}", lambda o: o.format):
        parts: dict[str, list[tuple[Outcome, Outcome]]] = {}
        for pair in pairs:
            parts.setdefault(name(pair[0]), []).append(pair)
        if len(parts) > 1:
            groups |= {key: parts[key] for key in sorted(parts)}
    return Table(
        "comparison", "Against the other reading", _COLUMNS, tuple(_row(*item) for item in groups.items()), _NOTE
    )


def won_and_lost(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Of `outcomes` those that are right here alone, and those that are right in `others` alone."""
    pairs = list(zip(outcomes, others, strict=True))
    return [a for a, b in pairs if a.right and not b.right], [a for a, b in pairs if b.right and not a.right]


def _row(group: str, pairs: Sequence[tuple[Outcome, Outcome]]) -> tuple[Cell, ...]:
    here, there = ([bool(pair[k].right) for pair in pairs] for k in (0, 1))
    won, lost = (sum(a and not b for a, b in zip(*both, strict=True)) for both in ((here, there), (there, here)))
    gain = mean([float(a) - float(b) for a, b in zip(here, there, strict=True)], (-1, 1))
    shares = wilson(sum(here), len(here)), wilson(sum(there), len(there))
    return (group, len(pairs), gain, *shares, won, lost, sign_test(won, lost))


def sign_test(won: int, lost: int) -> float:
    """P of at least so uneven a division where each of the tracks falls on either side by chance; two-sided, exact."""
    count = won + lost
    tail = sum(comb(count, k) for k in range(max(won, lost), count + 1))
    return min(1.0, float(2 * tail / 2**count))
