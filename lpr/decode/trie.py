"""The formats' templates as one tree: what may follow what, shared by every constrained decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

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


def weighed_spellings(
    formats: Sequence[PlateFormat], *, priors: bool = False, common: float = 0.0
) -> tuple[tuple[Spelling, ...], tuple[float, ...]]:
    """`spellings`, and the natural log of how common each one's plates are against the commonest; at most 0.

    priors: count each format's prior. common: a power of how common the characters are at their positions
    (`PlateFormat.common`), by which templates are parted; 0: all alike. Of formats that share a text the larger counts.
    """
    return _weighed_spellings(tuple(_key(one, priors, common) for one in formats), common)


#: Of a format what its weighed spellings depend on: templates, prior, and common characters by position.
_Key = tuple[tuple[str, ...], float, tuple[tuple[int, tuple[tuple[str, float], ...]], ...]]


def _key(one: PlateFormat, priors: bool, common: float) -> _Key:
    shares = tuple((position, tuple(groups.items())) for position, groups in one.common.items()) if common else ()
    return one.templates, one.prior if priors else 1.0, shares


@lru_cache(maxsize=64)
def _weighed_spellings(keys: tuple[_Key, ...], common: float) -> tuple[tuple[Spelling, ...], tuple[float, ...]]:
    found: dict[Spelling, float] = {}
    largest = max((prior for _, prior, _ in keys), default=1.0)
    for templates, prior, shares in keys:
        log_prior = float(np.log(prior / largest))
        at = {position: dict(groups) for position, groups in shares}
        for template in templates:
            parts = [_parted(allowed(symbol), at.get(place, {})) for place, symbol in enumerate(template, start=1)]
            for choice in product(*parts):
                spelling = tuple(characters for characters, _ in choice)
                weight = log_prior + common * sum(log for _, log in choice)
                found[spelling] = max(found.get(spelling, -np.inf), weight)
    return tuple(found), tuple(found.values())


def weighed_trie(formats: Sequence[PlateFormat], alphabet: str, common: float) -> tuple[Trie, NDArray[np.float64]]:
    """`build_trie`, parted by how common characters are, and by node the log of `weighed_spellings`, (S,).

    That is -inf where no template ends.
    """
    build_trie(formats, alphabet)  # refuses a format that the alphabet cannot spell
    found, logs = weighed_spellings(formats, common=common)
    trie = trie_of(found, alphabet)
    return trie, np.array([max((logs[k] for k in ends), default=-np.inf) for ends in trie.ends])


def commonness(texts: Sequence[str], formats: Sequence[PlateFormat]) -> list[float]:
    """The logs in `weighed_spellings` of some plates, by their characters alone; 0 for what obeys no format."""
    weighed = tuple(zip(*weighed_spellings(formats, common=1.0), strict=True))

    def fits(text: str, spelling: Spelling) -> bool:
        return len(text) == len(spelling) and all(c in some for c, some in zip(text, spelling, strict=True))

    return [max((log for spelling, log in weighed if fits(text, spelling)), default=0.0) for text in texts]


def _parted(characters: str, common: Mapping[str, float]) -> list[tuple[str, float]]:
    """Characters in groups that are as common, and the log of one character's share over that of the commonest."""
    groups = {"".join(c for c in group if c in characters): share for group, share in common.items()}
    groups.pop("", None)
    rest = "".join(c for c in characters if not any(c in group for group in groups))
    if rest:
        groups[rest] = 1 - sum(groups.values())
    shares = {group: share / len(group) for group, share in groups.items()}
    return [(group, float(np.log(share / max(shares.values())))) for group, share in shares.items()]


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
