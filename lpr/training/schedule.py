"""What changes while training runs, as pure functions of where it stands: a resumed run needs no extra state."""

from __future__ import annotations

import math

from ..config import TrainConfig

# One-cycle policy after Smith and Topin (arXiv 1708.07120): up, then down to nearly nothing.
# The climb takes this share of the run, less than the usual 0.3: short runs learn most after the peak.
WARM_SHARE = 0.1
START_FACTOR = 1 / 10
END_FACTOR = 1 / 100
#: The cosine schedule climbs over this share only: long enough for AdamW's moments to fill, which start at 0.
SHORT_WARM_SHARE = 0.02


def learning_rate(config: TrainConfig, progress: float, reductions: int) -> float:
    """The rate for the next step.

    progress: share of the planned run that is done, 0 to 1. reductions: how often the plateau schedule has fallen.
    """
    if config.schedule == "plateau":
        return config.lr * config.plateau_factor**reductions
    if config.schedule == "constant":
        return config.lr
    warm = WARM_SHARE if config.schedule == "onecycle" else SHORT_WARM_SHARE
    if progress < warm:
        return config.lr * _cosine(START_FACTOR, 1.0, progress / warm)
    return config.lr * _cosine(1.0, END_FACTOR, (progress - warm) / (1 - warm))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def plateau_reached(config: TrainConfig, stale: int) -> bool:
    """Whether the plateau schedule lowers the rate after `stale` epochs in a row without a better exact match.

    It waits `plateau_patience` epochs, falls at the next, and waits as long again.
    """
    return config.schedule == "plateau" and stale > 0 and stale % (config.plateau_patience + 1) == 0


def clean_share(curriculum_steps: int, step: int) -> float:
    """How much of the curriculum is left at `step`: 1 at the start, 0 from `curriculum_steps` on, linear between."""
    if step >= curriculum_steps:
        return 0.0
    return 1 - step / curriculum_steps
