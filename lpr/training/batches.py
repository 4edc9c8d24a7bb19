"""The batches of an epoch: what the network looks at together stays together."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Config
from ..data.dataset import Look, epoch_looks, frames_a_look
from ..types import Track
from .schedule import clean_share


def epoch_batches(tracks: Sequence[Track], config: Config, epoch: int, epoch_step: int) -> list[list[Look]]:
    """The batches of one epoch, which begins at step `epoch_step`; the same ones on every call.

    A batch holds up to `train.batch_size` pictures; one look is never cut, though it hold more.
    """
    size, base, curriculum = config.train.batch_size, config.data.hr_share, config.train.curriculum_steps
    frames = frames_a_look(tracks, config)

    def hr_share(position: int) -> float:
        return base + (1 - base) * clean_share(curriculum, epoch_step + int(position * frames) // size)

    batches: list[list[Look]] = []
    room = 0
    for look in epoch_looks(tracks, config, epoch, hr_share if epoch_step < curriculum else None):
        if len(look) > room:
            batches.append([])
            room = size
        batches[-1].append(look)
        room -= len(look)
    return batches
