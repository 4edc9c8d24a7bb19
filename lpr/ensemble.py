"""Several checkpoints read each track together: their posteriors are fused like further frames, all of equal weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .decode.stored import Decoder
from .reader import Reader
from .types import InputError, Posteriors, Problem, Track


class Ensemble:
    """Reads with several checkpoints; settings, formats and calibration are those of the first.

    With `read.fusion=sequence` the networks may differ in T; they may not differ in alphabet. A prediction's readings
    of single frames are those of every network, in the order of the checkpoints.

    Raises:
        InputError: a checkpoint is missing or damaged, stands there twice, or has another alphabet.
    """

    def __init__(
        self, checkpoints: Sequence[str | None], *, settings: Sequence[str] = (), device: str | None = None
    ) -> None:
        self.readers = [Reader(path, settings=settings, device=device) for path in checkpoints]
        first = self.readers[0]
        seen: dict[str, Path] = {}
        for reader in self.readers:
            path = reader.checkpoint.path
            if reader.checkpoint.alphabet != first.checkpoint.alphabet:
                raise InputError(
                    f"reads the alphabet {reader.checkpoint.alphabet}, {first.checkpoint.path} reads "
                    f"{first.checkpoint.alphabet}",
                    where=path,
                    fix="checkpoints read together need one alphabet",
                )
            if reader.checkpoint.hash in seen:
                raise InputError(
                    f"holds the weights of {seen[reader.checkpoint.hash]}", where=path, fix="name each checkpoint once"
                )
            seen[reader.checkpoint.hash] = path
        self.alphabet = first.checkpoint.alphabet
        self.decoder: Decoder = replace(
            first.decoder,
            model_hash="+".join(reader.decoder.model_hash for reader in self.readers),
            checkpoint="+".join(reader.decoder.checkpoint for reader in self.readers),
        )
        self.said = "\n".join(
            f"checkpoint: {one.checkpoint.path} ({one.chosen}), model {one.checkpoint.hash[:12]}, {one.device}"
            for one in self.readers
        )
        if len(self.readers) > 1 and first.decoder.calibration:
            self.said += "\nconfidences are calibrated for the first checkpoint alone: take them for a rank, no more"

    def posteriors(self, tracks: Sequence[Track]) -> Iterator[tuple[Posteriors, tuple[Problem, ...]]]:
        """Each track's posteriors under every checkpoint as one, and the problems of its frames."""
        for found in zip(*(reader.posteriors(tracks) for reader in self.readers), strict=True):
            (first, problems), *_ = found
            arrays = tuple(array for posteriors, _ in found for array in posteriors.log_probs)
            files = tuple(name for posteriors, _ in found for name in posteriors.files)
            yield replace(first, log_probs=arrays, files=files), problems
