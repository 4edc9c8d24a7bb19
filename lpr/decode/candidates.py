"""Candidates for an investigator: the plates that fit what a witness remembers, and how sure each character is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from ..types import UsageError
from .bounds import Floats, Grower, before_first, build_edges
from .nbest import NBest, fused_weights, lifted, padded, search_tracks
from .trie import Spelling, build_trie, commonness, spellings


def pattern_expression(pattern: str, alphabet: str) -> re.Pattern[str]:
    """A witness's pattern as a regular expression: `?` is one character, `*` any number, blanks and hyphens nothing.

    Raises:
        UsageError: the pattern is empty or holds a character outside the alphabet.
    """
    plain = re.sub(r"[\s.-]+", "", pattern).upper()
    if not plain or (strange := set(plain) - set(alphabet) - set("?*")):
        what = f"holds {sorted(strange)[0]!r}" if plain else "is empty"
        raise UsageError(f"pattern {pattern!r} {what}", fix=f"characters are {alphabet}, ? for one, * for any number")
    return re.compile("".join({"?": f"[{alphabet}]", "*": f"[{alphabet}]*"}.get(c, c) for c in plain))


def pattern_spellings(pattern: str, formats: Sequence[PlateFormat], alphabet: str) -> tuple[Spelling, ...]:
    """What the templates of `formats` spell that matches `pattern`; empty where nothing does.

    Raises:
        UsageError: see `pattern_expression`.
    """
    pattern_expression(pattern, alphabet)
    plain = re.sub(r"[\s.-]+", "", pattern).upper()
    found: dict[Spelling, None] = {}
    for spelling in spellings(formats):
        for line in _lines(plain, len(spelling)):
            characters = tuple(
                "".join(c for c in allowed if c not in want[1:]) if want[0] == "?" else want * (want in allowed)
                for want, allowed in zip(line, spelling, strict=True)
            )
            if all(set(one) & set(alphabet) for one in characters):
                found[characters] = None
    return tuple(found)


def _lines(plain: str, length: int) -> Iterator[list[str]]:
    """Every way to spread the stars of a pattern over `length` characters: a character, `?`, or `?1` for any but 1.

    Of the places of a single character between stars the first one is meant, so what a star before it stands for lacks
    that character. Texts are then spelled in one way, and the tree stays small.
    """
    parts = re.sub(r"\*+", "*", plain).split("*")
    free, gaps = length - sum(map(len, parts)), len(parts) - 1
    if free < 0 or (free and not gaps):
        return
    for bars in combinations(range(free + gaps - 1), gaps - 1) if gaps else [()]:
        edges = (-1, *bars, free + gaps - 1)
        fills = [right - left - 1 for left, right in pairwise(edges)] if gaps else []
        line: list[str] = []
        for number, (part, fill) in enumerate(zip(parts, [*fills, 0], strict=True), start=1):
            # The last piece stands at the end, wherever else its character may be.
            first = parts[number] if number < len(parts) - 1 and len(parts[number]) == 1 else ""
            line += [*part, *["?" + first.strip("?")] * fill]
        yield line


def matching(
    arrays: Sequence[NDArray[np.floating]],
    pattern: str,
    formats: Sequence[PlateFormat],
    alphabet: str,
    n: int,
    weights: Sequence[float] | None = None,
) -> NBest:
    """The n plates of `formats` that match `pattern` with the highest fused probability (see `nbest.n_best_fused`)."""
    build_trie(formats, alphabet)  # refuses a format that the alphabet cannot spell
    found = pattern_spellings(pattern, formats, alphabet)
    if not found:
        return NBest((), True, 0.0)
    return search_tracks(
        [arrays], build_edges(found, alphabet), alphabet, n, weights=None if weights is None else [weights]
    )[0]


def char_probs(
    arrays: Sequence[Floats],
    text: str,
    formats: Sequence[PlateFormat],
    alphabet: str,
    weights: Sequence[float] | None = None,
    common: float = 0.0,
) -> tuple[float, ...]:
    """Per character of `text`, its probability if all the others are right; arrays are cleaned, (T, C) each.

    That is the plate's fused probability over the sum of those of all plates that differ from it at most in this
    character; where `text` obeys no format, over all characters of the alphabet. `common`: see `nbest.n_best_tracks`.
    """
    if not arrays:
        return (0.0,) * len(text)
    # One more step, a sure blank, on which an ended text stands; the same from the back.
    prob = padded([lifted(array) for array in arrays], 1 + max(map(len, arrays)))
    weight = np.array(fused_weights(weights, len(arrays)))[:, None]
    codes = [alphabet.index(character) + 1 for character in text]
    forwards, backwards = Grower(prob), Grower(prob[::-1])
    rest = np.zeros((*prob.shape[:2], 1))  # that the text behind a position begins at step s, from the back
    rest[0] = 1.0
    rests = [rest]
    for position in range(len(codes) - 1, 0, -1):
        starts, equal = backwards.follow(rest)
        same = position + 1 < len(codes) and codes[position] == codes[position + 1]
        emit = prob[::-1, :, codes[position], None]
        rest = backwards.grow(equal if same else starts, emit)
        rests.append(rest)
    starts = before_first(prob)
    equal = starts
    result = []
    for position, (code, rest) in enumerate(zip(codes, rests[::-1], strict=True)):
        choice = _choices(text, position, formats, alphabet)
        before = np.repeat(starts, len(choice), axis=2)
        if position:
            before[:, :, choice == codes[position - 1]] = equal
        starts, equal = forwards.follow(forwards.grow(before, prob[:, :, choice]))  # (T, F, K)
        onward = starts.copy()
        if position + 1 < len(codes):
            double = choice == codes[position + 1]
            onward[:, :, double] = equal[:, :, double]
        with np.errstate(divide="ignore"):
            logs = (np.log((onward * rest[::-1]).sum(axis=0)) * weight).sum(axis=0)  # (K,)
        if common:
            others = [text[:position] + alphabet[other - 1] + text[position + 1 :] for other in choice]
            logs += common * np.array(commonness(others, formats))
        shares = np.exp(logs - logs.max()) if logs.max() > -np.inf else np.ones(len(logs))
        at = int(np.flatnonzero(choice == code)[0])
        result.append(float(shares[at] / shares.sum()))
        starts, equal = starts[:, :, [at]], equal[:, :, [at]]
    return tuple(result)


def _choices(text: str, position: int, formats: Sequence[PlateFormat], alphabet: str) -> NDArray[np.intp]:
    """The classes that may stand at a position of `text` so that a format is obeyed."""
    other = [text[:position] + character + text[position + 1 :] for character in alphabet]
    obeys = [any(one.matches(text) for one in formats) for text in other]
    if not any(one.matches(text) for one in formats):
        obeys = [True] * len(alphabet)
    return 1 + np.flatnonzero(obeys)
