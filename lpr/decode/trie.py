"""The formats' templates as one tree: what may follow what, shared by every constrained decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, allowed, template_mask
from ..types import InputError

#: What a template may spell: for each position its characters. `LD` is ("ABC...", "0123456789").
Spelling = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trie:
    """A tree over character classes; S nodes in order of depth, node 0 is the root.

    A node stands for a prefix of templates and for the set of templates that are still possible there, so each text
    has exactly one way down: `LLLDDDD` and `LLLDLDD` share four nodes and part at the fifth character.

    parent: intp (S,), the root's is 0. mask: bool (S, C), characters that lead into a node. child: intp (S, C), the
    node that a character leads to, or -1. final: bool (S,), whether a template ends here. levels: the nodes of each
    depth, from 1. ends: per node, the templates that end there (as positions in the list it was built from).
    """

    parent: NDArray[np.intp]
    mask: NDArray[np.bool_]
    child: NDArray[np.intp]
    final: NDArray[np.bool_]
    levels: tuple[tuple[int, ...], ...]
    ends: tuple[tuple[int, ...], ...]


def spellings(formats: Sequence[PlateFormat]) -> tuple[Spelling, ...]:
    """What the templates of `formats` spell, each once, in their order."""
    found = {tuple(map(allowed, template)): None for plate_format in formats for template in plate_format.templates}
    return tuple(found)


def build_trie(formats: Sequence[PlateFormat], alphabet: str) -> Trie:
    """The tree of all templates of `formats`; built once per set of templates and alphabet.

    Raises:
        InputError: no template, or one with a position that the alphabet cannot spell.
    """
    for plate_format in formats:
        _check(plate_format.templates, alphabet)
    return trie_of(spellings(formats), alphabet)


@lru_cache(maxsize=64)
def _check(templates: tuple[str, ...], alphabet: str) -> None:
    for template in templates:
        template_mask(template, alphabet)  # says which position of which template cannot be spelled


@lru_cache(maxsize=64)
def trie_of(templates: tuple[Spelling, ...], alphabet: str) -> Trie:
    """The tree of some spellings; characters outside `alphabet` are left out."""
    if not templates:
        raise InputError("there is no template to read under", fix="name at least one format")
    classes = len(alphabet) + 1
    masks = [np.array([[False, *(a in characters for a in alphabet)] for characters in t]) for t in templates]
    parent, mask, final, child = [0], [np.zeros(classes, bool)], [False], [np.full(classes, -1, np.intp)]
    levels: list[tuple[int, ...]] = []
    ends: list[tuple[int, ...]] = [()]
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
                ends.append(tuple(k for k in still if len(masks[k]) == depth + 1))
                final.append(bool(ends[-1]))
                child.append(np.full(classes, -1, np.intp))
                child[node][codes] = new
                grown.append((new, still))
        levels.append(tuple(node for node, _ in grown))
        frontier = grown
    return Trie(np.array(parent, np.intp), np.array(mask), np.array(child), np.array(final), tuple(levels), tuple(ends))


def fallback_text(formats: Sequence[PlateFormat], alphabet: str) -> tuple[str, PlateFormat]:
    """A valid text to give where nothing was read: the first characters that the likeliest format allows."""
    likeliest = max(formats, key=lambda plate_format: plate_format.prior)
    first = template_mask(likeliest.templates[0], alphabet).argmax(axis=1)
    return "".join(alphabet[code - 1] for code in first), likeliest
