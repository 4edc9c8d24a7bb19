"""The formats' templates as one tree: what may follow what, shared by every constrained decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, template_mask
from ..types import InputError


@dataclass(frozen=True, slots=True)
class Trie:
    """A tree over character classes; S nodes in order of depth, node 0 is the root.

    A node stands for a prefix of templates and for the set of templates that are still possible there, so each text
    has exactly one way down: `LLLDDDD` and `LLLDLDD` share four nodes and part at the fifth character.

    parent: intp (S,), the root's is 0. mask: bool (S, C), characters that lead into a node. child: intp (S, C), the
    node that a character leads to, or -1. final: bool (S,), whether a template ends here. levels: the nodes of each
    depth, from 1.
    """

    parent: NDArray[np.intp]
    mask: NDArray[np.bool_]
    child: NDArray[np.intp]
    final: NDArray[np.bool_]
    levels: tuple[tuple[int, ...], ...]


def build_trie(formats: Sequence[PlateFormat], alphabet: str) -> Trie:
    """The tree of all templates of `formats`; built once per set of templates and alphabet."""
    templates = dict.fromkeys(template for plate_format in formats for template in plate_format.templates)
    if not templates:
        raise InputError("there is no template to read under", fix="name at least one format")
    return _build(tuple(templates), alphabet)


@lru_cache(maxsize=64)
def _build(templates: tuple[str, ...], alphabet: str) -> Trie:
    masks = [template_mask(template, alphabet) for template in templates]
    classes = len(alphabet) + 1
    parent, mask, final, child = [0], [np.zeros(classes, bool)], [False], [np.full(classes, -1, np.intp)]
    levels: list[tuple[int, ...]] = []
    frontier = [(0, tuple(range(len(templates))))]  # (node, templates alive there)
    for depth in range(max(map(len, templates))):
        grown = []
        for node, alive in frontier:
            going_on = [k for k in alive if len(masks[k]) > depth]
            # Characters that keep the same templates alive share a node.
            by_set: dict[tuple[int, ...], list[int]] = {}
            for code in range(1, classes):
                still = tuple(k for k in going_on if masks[k][depth, code])
                if still:
                    by_set.setdefault(still, []).append(code)
            for still, codes in by_set.items():
                new = len(parent)
                parent.append(node)
                mask.append(np.isin(np.arange(classes), codes))
                final.append(any(len(masks[k]) == depth + 1 for k in still))
                child.append(np.full(classes, -1, np.intp))
                child[node][codes] = new
                grown.append((new, still))
        levels.append(tuple(node for node, _ in grown))
        frontier = grown
    return Trie(np.array(parent, np.intp), np.array(mask), np.array(child), np.array(final), tuple(levels))


def fallback_text(formats: Sequence[PlateFormat], alphabet: str) -> tuple[str, PlateFormat]:
    """A valid text to give where nothing was read: the first characters that the likeliest format allows."""
    likeliest = max(formats, key=lambda plate_format: plate_format.prior)
    first = template_mask(likeliest.templates[0], alphabet).argmax(axis=1)
    return "".join(alphabet[code - 1] for code in first), likeliest
