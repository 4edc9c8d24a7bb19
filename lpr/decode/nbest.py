"""The n most probable plates of a track, summed over alignments, with a proof that none was missed or a bound.

A plate's probability under several frames is the weighted geometric mean of its CTC probabilities under each
(sequence-level fusion): frames need neither share their alignment nor their number of steps. One frame is the special
case. The search goes down the formats' trie, one level a character. Every prefix has an upper bound on what any plate
below it can reach: the product over the frames of each frame's own bound. A prefix is dropped only if its bound cannot
beat the n-th best plate found, or if the search is at its width limit, and then the largest dropped bound is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat
from ..types import InputError
from .bounds import Edges, Floats, Grower, Ints, before_first, build_edges, reach
from .ctc import clean, text_log_probs
from .trie import build_trie, weighed_spellings

#: Prefixes kept a level, from one attempt to the next: most tracks are proven at the first or second width.
WIDTHS = (8, 64, 256)

#: A bound this far above the n-th best plate (log) is not closed by the next width: on five frames of noise the bound
#: stood 3.9 above it at width 64 and 2.6 at 512, while readable tracks stood within 1.5 and were proven.
GIVE_UP = 1.5

#: Nor is it where width 64 left more than this share of the gap that width 8 had: of 1,500 tracks and frames, from real
#: networks to noise, those that 256 proved had at most 0.42 of it left. Nearly flat posteriors never prove.
STALLED = 0.45

#: Sums of products in float64 differ by rounding; logs within this of each other count as equal.
SLACK = 1e-9

#: The search works with plain probabilities, which reach down to e^-745: no plate may fall below this in any frame.
LOWEST_LOG_PROB = -600.0

#: Arrays searched at once: enough to share numpy's overhead, few enough for the second-level cache.
CHUNK = 32

#: A frame's preference between characters is moved to the others by at most this (log), see `_agreement`.
MOST_MOVED = 30.0


@dataclass(frozen=True, slots=True)
class NBest:
    """Plates and the natural logs of their (fused) probabilities, best first, ties by text.

    exact: proven to be the n best. missed: an upper bound on the probability of any plate that is not listed; where
    exact, it is not above that of the last one listed (or 0 where all plates are listed).
    """

    texts: tuple[tuple[str, float], ...]
    exact: bool
    missed: float


def n_best(
    log_probs: NDArray[np.floating],
    formats: Sequence[PlateFormat],
    alphabet: str,
    n: int,
    widths: Sequence[int] = WIDTHS,
) -> NBest:
    """The n (at least 1) plates of `formats` with the highest total probability under the (T, C) log-posteriors.

    Empty where T is too short for every template. `widths`: see WIDTHS; larger ones prove more and take longer.
    """
    return n_best_tracks([[log_probs]], formats, alphabet, n, widths)[0]


def n_best_fused(
    arrays: Sequence[NDArray[np.floating]],
    formats: Sequence[PlateFormat],
    alphabet: str,
    n: int,
    widths: Sequence[int] = WIDTHS,
    weights: Sequence[float] | None = None,
) -> NBest:
    """The n plates with the highest weighted geometric mean of probabilities under several arrays (T, C).

    T may differ. `weights`: see `fused_weights`. A plate's probability in each frame counts as at least
    e^LOWEST_LOG_PROB, so that no frame can veto; a frame too short for every template has no say.
    """
    return n_best_tracks([arrays], formats, alphabet, n, widths, None if weights is None else [weights])[0]


def n_best_tracks(
    tracks: Sequence[Sequence[NDArray[np.floating]]],
    formats: Sequence[PlateFormat],
    alphabet: str,
    n: int,
    widths: Sequence[int] = WIDTHS,
    weights: Sequence[Sequence[float]] | None = None,
    *,
    priors: bool = False,
    common: float = 0.0,
) -> list[NBest]:
    """`n_best_fused` of several tracks at once, which shares most of the work of short arrays.

    `priors`: multiply a plate's probability by its format's prior over the largest prior of `formats`. `common`: and by
    this power of how common its characters are at their positions, see `trie.weighed_spellings`.
    """
    build_trie(formats, alphabet)  # refuses a format that the alphabet cannot spell
    found, log_priors = weighed_spellings(formats, priors=priors, common=common)
    edges = build_edges(found, alphabet, log_priors)
    return search_tracks(tracks, edges, alphabet, n, widths, weights)


def fused_weights(weights: Sequence[float] | None, frames: int) -> list[float]:
    """Weights of F frames that sum to 1; None weighs all alike, which is the temper 1 / F (see `confidence`).

    Raises:
        InputError: not one weight a frame, one below 0 or not finite, or none above 0.
    """
    if weights is None:
        return [1 / frames] * frames
    if len(weights) != frames or not all(0 <= w < np.inf for w in weights) or not sum(weights) > 0:
        raise InputError(f"weights {list(weights)} are not one number of at least 0 for each of {frames} frames")
    # Sorted, because the order of additions changes the last bit and the order of frames must not.
    total = sum(sorted(weights))
    return [w / total for w in weights]


def search_tracks(
    tracks: Sequence[Sequence[NDArray[np.floating]]],
    edges: Edges,
    alphabet: str,
    n: int,
    widths: Sequence[int] = WIDTHS,
    weights: Sequence[Sequence[float]] | None = None,
) -> list[NBest]:
    """`n_best_tracks` over any set of texts, given as the edges of their trie."""
    if n > WIDTHS[0]:
        # The widths and when to give up were measured for a handful of plates: hundreds need as many prefixes a level.
        widths = sorted({max(width, 2 * n) for width in widths})
    results = [NBest((), True, 0.0)] * len(tracks)
    # Tracks of one number of frames and steps are searched together.
    alike: dict[tuple[int, int], list[tuple[int, list[tuple[float, Floats]]]]] = {}
    for index, arrays in enumerate(tracks):
        shares = fused_weights(None if weights is None else weights[index], len(arrays)) if arrays else []
        safe = [(w, clean(array, alphabet)) for w, array in zip(shares, arrays, strict=True) if w]
        safe = [(w, array) for w, array in safe if len(array) >= edges.shortest]
        # Sorted, because the order of additions changes the last bit and the order of frames must not.
        safe.sort(key=lambda pair: (pair[0], len(pair[1]), pair[1].tobytes()))
        if safe:
            alike.setdefault((len(safe), max(len(array) for _, array in safe)), []).append((index, safe))
    for (frames, steps), members in alike.items():
        size = max(1, CHUNK // frames)
        for begin in range(0, len(members), size):
            some = members[begin : begin + size]
            found = _search([safe for _, safe in some], steps, edges, alphabet, n, widths, lift=frames > 1)
            for (index, _), result in zip(some, found, strict=True):
                results[index] = result
    return results


def lifted(log_probs: Floats) -> Floats:
    """No entry of (T, C) below LOWEST_LOG_PROB / T, so that every path stays within float64."""
    return np.maximum(log_probs, LOWEST_LOG_PROB / max(1, len(log_probs)))


def padded(arrays: Sequence[Floats], steps: int) -> Floats:
    """Probabilities of N log-arrays as one (T, N, C): what is shorter ends in sure blanks, which change no text."""
    prob = np.zeros((steps, len(arrays), arrays[0].shape[1]))
    prob[:, :, 0] = 1.0
    for at, array in enumerate(arrays):
        np.exp(array, out=prob[: len(array), at])
    return prob


def _search(
    tracks: Sequence[Sequence[tuple[float, Floats]]],
    steps: int,
    edges: Edges,
    alphabet: str,
    n: int,
    widths: Sequence[int],
    lift: bool,
) -> list[NBest]:
    """Search tracks of one F, cleaned; those that a width does not prove go on to the next."""
    results: list[NBest] = [NBest((), True, 0.0)] * len(tracks)
    weight = np.array([[w / sum(v for v, _ in track) for w, _ in track] for track in tracks])  # (B, F)
    prob = padded([lifted(a) if lift else a for track in tracks for _, a in track], steps)  # (T, B F, C)
    left = np.arange(len(tracks))
    search = _Batch(prob, weight, edges)
    worst = np.full(len(left), -np.inf)  # log-probability of the n-th best plate so far, or -inf
    gap = np.full(len(left), np.inf)  # how far the bound on what was missed stands above it
    for width in widths:
        values, codes, missed = search.run(n, width, worst)
        worst = values[:, n - 1]
        exact = missed <= worst + SLACK
        before, gap = gap, np.full(len(left), np.inf)
        np.subtract(missed, worst, out=gap, where=worst > -np.inf)
        hopeless = (gap > np.minimum(GIVE_UP, STALLED * before)) & (gap < np.inf) & (width >= WIDTHS[1])
        done = exact | hopeless | (width == widths[-1])
        for row in np.flatnonzero(done):
            index = int(left[row])
            if not lift and not values[row, 0] > LOWEST_LOG_PROB:
                results[index] = _far_below(tracks[index], steps, edges, alphabet, n, widths)
                continue
            texts = [
                ("".join(alphabet[c - 1] for c in code if c), float(value))
                for value, code in zip(values[row], codes[row].tolist(), strict=True)
                if value > -np.inf
            ]
            texts.sort(key=lambda pair: (-pair[1], pair[0]))
            results[index] = NBest(tuple(texts), bool(exact[row]), float(np.exp(missed[row])))
        if done.all():
            break
        left, worst, gap = left[~done], worst[~done], gap[~done]
        search = search.narrowed(np.flatnonzero(~done))
    return results


def _far_below(
    track: Sequence[tuple[float, Floats]],
    steps: int,
    edges: Edges,
    alphabet: str,
    n: int,
    widths: Sequence[int],
) -> NBest:
    """No plate of a single array is likely enough for float64: lift the array; what is found is scored anew."""
    found = _search([track], steps, edges, alphabet, n, widths, lift=True)[0]
    texts, values = [text for text, _ in found.texts], np.array([value for _, value in found.texts])
    array = track[0][1]
    logs = text_log_probs(np.stack([array, lifted(array)]), texts, alphabet) if texts else np.zeros((2, 0))
    # What a text has beside its probability is its prior.
    logs = logs[0] + (values - logs[1])
    ranked = sorted(zip(texts, logs.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return NBest(tuple(ranked), not texts, found.missed)


class _Batch:
    """The tables of B tracks of F arrays each; `run` searches them at one width."""

    def __init__(self, prob: Floats, weight: Floats, edges: Edges, scale: Floats | None = None) -> None:
        self.prob, self.weight, self.edges, self.scale = prob, weight, edges, scale
        self.grower = Grower(prob)
        self.reach = reach(prob, edges, scale)
        self.seen = np.zeros((*weight.shape, len(edges.code)))  # logs of what the last run's best prefixes can reach

    def narrowed(self, rows: Ints) -> _Batch:
        """The same for some of the tracks only, with bounds that the last run made tighter."""
        frames = self.weight.shape[1]
        part = (rows[:, None] * frames + np.arange(frames)).ravel()
        scale = None
        if frames > 1:
            scale = _agreement(self.seen[rows], self.weight[rows], self.edges)
            if self.scale is not None:
                scale *= self.scale[part]
        return _Batch(self.prob[:, part], self.weight[rows], self.edges, scale)

    def run(self, n: int, width: int, threshold: Floats) -> tuple[Floats, Ints, Floats]:
        """The best n plates found, their logs (B, n) and classes (B, n, L), and a bound on any other plate's log (B,).

        At most `width` prefixes a level go on, and none whose bound lies below `threshold` (B,).
        """
        edges, (batch, frames) = self.edges, self.weight.shape
        longest = len(edges.levels)
        rows = np.arange(batch)[:, None]
        arrays = np.arange(batch * frames)[:, None]
        leaves = np.full((batch, n + 1), -np.inf)
        leaf_codes = np.zeros((batch, n + 1, longest), np.intp)
        missed = np.full(batch, -np.inf)
        # The prefixes of one level: inner node (B, K), classes so far (B, K, L), starts and equal (T, B F, K).
        node: Ints = np.zeros((batch, 1), np.intp)
        codes = np.zeros((batch, 1, longest), np.intp)
        starts = equal = before_first(self.prob)
        alive = np.zeros((batch, 1))  # 0, or -inf for a row that only fills up the batch
        for depth, (begin, end) in enumerate(edges.levels):
            if begin == end:
                break
            code, stops = edges.code[begin:end], edges.stops[begin:end]
            table = self.reach[:, :, begin:end].transpose(1, 0, 2)  # (B F, T, E)
            bound = np.matmul(starts.transpose(1, 2, 0), table)  # (B F, K, E)
            if depth:
                same = codes[:, :, depth - 1, None] == code  # (B, K, E): equal neighbours need a blank between
                again = np.repeat(same, frames, axis=0)
                bound = np.where(again, np.matmul(equal.transpose(1, 2, 0), table), bound)
            with np.errstate(divide="ignore"):
                logs = np.log(bound).reshape(batch, frames, -1, end - begin)
            self.seen[:, :, begin:end] = logs[:, :, 0]
            value = (logs * self.weight[:, :, None, None]).sum(axis=1) + edges.bonus[begin:end]  # (B, K, E)
            value += alive[:, :, None]
            value = np.where(edges.source[begin:end] == node[:, :, None], value, -np.inf)

            if stops.any():
                ending = np.where(stops, value, -np.inf).reshape(batch, -1)
                top, at = _largest(ending, n + 1)
                here = codes[rows, at // (end - begin)]
                here[:, :, depth] = code[at % (end - begin)]
                both = np.concatenate([leaves, top], axis=1)
                leaves, order = _largest(both, n + 1)
                leaf_codes = np.concatenate([leaf_codes, here], axis=1)[rows, order]
                threshold = np.maximum(threshold, leaves[:, n - 1])
            if stops.all():
                continue
            going = np.where(stops, -np.inf, value).reshape(batch, -1)
            top, at = _largest(going, width + 1)
            alive = np.where(top >= (threshold - SLACK)[:, None], top, -np.inf)
            keep = min(width, int((alive > -np.inf).sum(axis=1).max()))
            if keep < top.shape[1]:
                dropped = np.where(alive[:, :keep] == -np.inf, top[:, :keep], -np.inf).max(axis=1, initial=-np.inf)
                missed = np.maximum(missed, np.maximum(dropped, top[:, keep]))
            if not keep:
                break
            alive, at = np.where(alive[:, :keep] > -np.inf, 0.0, -np.inf), at[:, :keep]
            row, edge = at // (end - begin), at % (end - begin)
            last = codes[rows, row, depth - 1] if depth else np.zeros_like(at)
            codes = codes[rows, row]
            codes[:, :, depth] = chosen = code[edge]
            node = edges.beyond[begin:end][edge]
            row, chosen, doubled = (np.repeat(x, frames, axis=0) for x in (row, chosen, chosen == last))  # (B F, K)
            before = np.where(doubled, equal[:, arrays, row], starts[:, arrays, row])
            starts, equal = self.grower.follow(self.grower.grow(before, self.prob[:, arrays, chosen]))
        return leaves[:, :n], leaf_codes[:, :n], np.maximum(missed, leaves[:, n])


def _agreement(logs: Floats, weight: Floats, edges: Edges) -> Floats:
    """Factors (B F, E) that make the frames' bounds agree, and so the bound on their product tight.

    `logs` (B, F, E): how far each frame lets the best prefix go by each edge. Where frames favour different characters
    the product of their own bests is far above the best product. Multiplying an edge by factors whose weighted
    product over the frames is 1 changes no plate's probability, but any such choice gives a valid bound (dual
    decomposition, Komodakis et al. 2007); this one gives all frames the same preference at the best prefix.
    """
    result = np.zeros_like(logs)
    for begin, end in edges.levels:
        some = logs[:, :, begin:end]
        if some.shape[2]:
            # Where the last run did not get so far, or a frame rules a character out, the move is limited.
            peak = some.max(axis=2, keepdims=True)
            peak = np.where(np.isfinite(peak), peak, 0.0)
            some = np.clip(some - peak, -MOST_MOVED, 0.0)
            result[:, :, begin:end] = (some * weight[:, :, None]).sum(axis=1, keepdims=True) - some
    return np.exp(result).reshape(-1, logs.shape[2])


def _largest(values: Floats, count: int) -> tuple[Floats, Ints]:
    """The `count` largest of each row (B, M), falling, and where they stand; filled up with -inf where M is less."""
    most = values.shape[1] - 1
    if (short := count - values.shape[1]) > 0:
        values = np.concatenate([values, np.full((len(values), short), -np.inf)], axis=1)
    if count < values.shape[1]:
        at = np.argpartition(-values, count - 1, axis=1)[:, :count]
        at.sort(axis=1)
    else:
        at = np.broadcast_to(np.arange(count), values.shape)
    order = np.argsort(-np.take_along_axis(values, at, axis=1), axis=1, kind="stable")
    at = np.take_along_axis(at, order, axis=1)
    return np.take_along_axis(values, at, axis=1), np.minimum(at, most)
