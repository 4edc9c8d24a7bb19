"""Where posteriors come from: tracks on disk under one or several checkpoints, or a file of posteriors read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .data.scan import scan
from .decode.stored import SUFFIX, Decoder, StoredPosteriors
from .types import InputError, Posteriors, Problem, Track


@dataclass(frozen=True, slots=True)
class Source:
    """What is read: ids of all tracks, their posteriors as a stream, and what decodes them.

    tracks: with their frames, for the pictures; none where posteriors were read back. said: where it comes from.
    """

    ids: Sequence[str]
    stream: Iterable[tuple[Posteriors, tuple[Problem, ...]]]
    decoder: Decoder
    alphabet: str
    said: str
    tracks: Sequence[Track] = ()
    problems: Sequence[Problem] = ()


def open_source(
    path: Path,
    checkpoints: Sequence[str] = (),
    formats: Sequence[str] = (),
    settings: Sequence[str] = (),
    device: str | None = None,
    seen: Callable[[Sequence[str]], None] | None = None,
) -> Source:
    """Open a folder of tracks, or a posteriors.npz that `lpr.infer --save-posteriors` wrote.

    checkpoints: those to read with, or an ensemble file; none: see `reader.find_checkpoint`. A posteriors.npz needs
    none; those that made it give their calibration, and an ensemble its weights.
    seen: is called with the ids before a checkpoint is looked for, so that ids which cannot be used are said at once.

    Raises:
        InputError: there is nothing to read, the checkpoints do not fit, or others made the posteriors.
    """
    if path.resolve().name.endswith(SUFFIX):
        return _stored(path, checkpoints, formats, settings, seen)
    scanned = scan(path)
    if not scanned.tracks:
        raise InputError("holds no tracks and no images", where=path, fix="see the layouts in the README")
    ids = [track.id for track in scanned.tracks]
    if seen:
        seen(ids)

    # It brings torch, which takes seconds to load: not before the folder is in order, not for stored posteriors alone.
    from .ensemble import Ensemble

    found = Ensemble(checkpoints or [None], format=formats, settings=settings, device=device)
    stream = found.posteriors(scanned.tracks)
    return Source(ids, stream, found.decoder, found.alphabet, found.said, scanned.tracks, scanned.problems)


def _stored(
    path: Path,
    checkpoints: Sequence[str],
    formats: Sequence[str],
    settings: Sequence[str],
    seen: Callable[[Sequence[str]], None] | None,
) -> Source:
    stored = StoredPosteriors(path)
    if seen:
        seen(stored.track_ids)
    stream: Iterable[tuple[Posteriors, tuple[Problem, ...]]] = stored
    decoder = stored.decoder.with_settings(settings, formats)
    stored.require_looks(decoder.config.read)
    if checkpoints:
        from .ensemble import Ensemble

        named = Ensemble(checkpoints, device="cpu")
        if named.decoder.model_hash != decoder.model_hash:
            raise InputError(
                f"was made by model {decoder.model_hash[:12]}, {checkpoints[0]} is {named.decoder.model_hash[:12]}",
                where=path,
                fix="leave --checkpoint out, or name the one that made it",
            )
        decoder = replace(decoder, calibration=named.decoder.calibration)
        stream = ((named.weighted(one), problems) for one, problems in stored)
    said = f"posteriors: {path}, made by model {decoder.model_hash[:12]} ({decoder.checkpoint})"
    return Source(stored.track_ids, stream, decoder, stored.alphabet, said)
