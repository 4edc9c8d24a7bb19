"""A moving average of the weights: it reads better than the weights of any one step, and can teach them."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Config
from ..model.recogniser import Recogniser
from ..types import InputError


class WeightAverage:
    """`model` is a second network whose weights follow those of the trained one: an exponential moving average."""

    def __init__(self, model: Recogniser, decay: float) -> None:
        self.decay = decay
        # Moved, though it lies there: that lays the copied weights of an LSTM side by side again, as GPUs want them.
        self.model = deepcopy(model).eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def update(self, model: Recogniser, step: int) -> None:
        """Move towards `model` after optimiser step number `step`, from 1.

        The decay warms up as (1 + step) / (10 + step), so that the first random weights are soon forgotten.
        """
        keep = min(self.decay, (1 + step) / (10 + step))
        for averaged, weights in zip(self.model.parameters(), model.parameters(), strict=True):
            averaged.lerp_(weights, 1 - keep)
        # BatchNorm's statistics are running averages already.
        for copy, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            copy.copy_(buffer)

    @torch.no_grad()
    def read_clean(self, sr_targets: Tensor) -> Tensor:
        """What it reads in clean HR crops, uint8 (N, K, 2H, 2W), at the input's size: log-posteriors (N, T, C)."""
        halved = functional.avg_pool2d(sr_targets.float(), 2).round().to(torch.uint8)  # (N, K, H, W)
        log_probs: Tensor = self.model(halved.contiguous(memory_format=torch.channels_last))
        return log_probs


def check_teacher(config: Config) -> None:
    """InputError where `train.teacher_weight` asks for a teacher that there cannot be."""
    if not config.train.teacher_weight:
        return
    if not config.train.ema:
        raise InputError(
            "needs the averaged weights, which are the teacher",
            where="train.teacher_weight",
            fix="--set train.ema=0.999",
        )
    if not config.model.super_resolution or config.data.hr_frames not in ("degraded", "both"):
        raise InputError(
            "needs degraded HR samples with their clean crop, which is what the teacher reads",
            where="train.teacher_weight",
            fix="--set model.super_resolution=true data.hr_frames=both",
        )
