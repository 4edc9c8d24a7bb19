"""One optimiser step, and what is said where its loss is no number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..config import Config
from ..types import InputError, TooDemanding, Track
from .losses import Losses, Shares, compute_losses
from .memory import enough_memory
from .processes import Processes
from .state import Position, Trained

#: Gradients that overflow float16 at this scale, 2^26 times smaller than the first one, are infinite themselves.
LEAST_SCALE = 1e-3

FIGURES = ("loss", "ctc", "slot", "sr", "teacher")


class NotFinite(Exception):
    """A loss or gradient that is no number; `figures` of the batch, and the `cause` as far as it is known."""

    def __init__(self, figures: Mapping[str, float], cause: str) -> None:
        super().__init__(cause)
        self.figures, self.cause = figures, cause

    def as_error(self, position: Position, rate: float, tracks: Sequence[Track], run: Path) -> InputError:
        """The error for a person: where in the run, what, and the tracks of the batch."""
        parts = ", ".join(f"{name} {self.figures[name]:g}" for name in FIGURES[1:])
        pairs = dict.fromkeys((track.id, track.text) for track in tracks)
        named = ", ".join(f"{track} ({text})" for track, text in pairs)
        return TooDemanding(
            f"the loss is not finite at step {position.step + 1} (epoch {position.epoch + 1}, batch "
            f"{position.batch + 1}): {parts}; gradient norm {self.figures['grad_norm']:g}, learning rate {rate:g}; "
            f"{self.cause}. Tracks of the batch: {named}",
            where=run,
            fix=f"last.pt holds an earlier state. Start a new run with --set train.lr={rate / 3:.1g} or a smaller "
            "train.grad_clip, and look at the batch's images with python -m lpr.check",
        )


class Stepper:
    """Takes optimiser steps for `trained`, together with the other processes."""

    def __init__(self, trained: Trained, config: Config, group: Processes, amp_type: torch.dtype | None) -> None:
        self.trained, self.config, self.group, self.amp_type = trained, config, group, amp_type

    def step(self, batch: Mapping[str, Any], rate: float, shares: Shares, number: int) -> dict[str, float]:
        """Step `number` (from 1) at `rate` on this process's part of a batch; returns the figures of the whole batch.

        InputError for a lack of memory on any process; NotFinite, on all of them and with the weights untouched, where
        the loss of the batch is no number.
        """
        settings, model, optimizer = self.config.train, self.trained.model, self.trained.optimizer
        scaler = self.trained.scaler
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        self.group.seed(settings.seed, number)
        values, outputs_finite, error = [0.0] * len(FIGURES), True, None
        if len(batch["images"]):
            try:
                with enough_memory("train.batch_size", settings.batch_size):
                    losses, outputs_finite = self._gradients(batch, shares)
                parts = (losses.total, losses.ctc, losses.slot, losses.sr, losses.teacher)
                # In one message: a GPU stops for each.
                values = torch.stack([part.detach() for part in parts]).tolist()
            except InputError as caught:
                error = caught
        elif scaler.is_enabled():
            # It wants to have scaled something on this process, too.
            scaler.scale(torch.zeros((), device=self.group.device))
        self.group.raise_any(error)
        figures = dict(zip(FIGURES, self.group.add_up(model, shares.pictures, values), strict=True))
        scaler.unscale_(optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip))
        figures |= {"grad_norm": norm, "steps": 1.0}
        # The scaler skips a step whose scaled gradients overflowed and tries a smaller scale; that is no defect, unless
        # they are not finite however small it is.
        given_up = not scaler.is_enabled() or scaler.get_scale() < LEAST_SCALE
        if not math.isfinite(figures["loss"]) or (not math.isfinite(norm) and given_up):
            raise NotFinite(figures, self._cause(all(self.group.gather(outputs_finite))))
        scaler.step(optimizer)
        scaler.update()
        if self.trained.average is not None:
            self.trained.average.update(model, number)
        # An overflow that the scaler caught would make the epoch's mean infinite.
        return figures | {"grad_norm": norm if math.isfinite(norm) else 0.0}

    def _gradients(self, batch: Mapping[str, Any], shares: Shares) -> tuple[Losses, bool]:
        """Forward and backward; returns the losses and whether the outputs are finite, as far as it matters."""
        settings, device = self.config.train, self.group.device
        tensors = {k: v.to(device, non_blocking=True) for k, v in batch.items() if isinstance(v, torch.Tensor)}
        images = tensors["images"].contiguous(memory_format=torch.channels_last)
        sr_mask = tensors.get("sr_mask")
        sr_targets = None if sr_mask is None else tensors["sr_targets"][sr_mask]
        taught = None
        with torch.autocast(device.type, self.amp_type, enabled=self.amp_type is not None):
            outputs = self.trained.model.training_outputs(images, sr_mask, tensors["looks"])
            if settings.teacher_weight and self.trained.average is not None and sr_targets is not None:
                taught = tensors["sr_mask"], self.trained.average.read_clean(sr_targets)
        losses = compute_losses(
            outputs, tensors["targets"], tensors["target_lengths"], sr_targets, settings, taught=taught, shares=shares
        )
        self.trained.scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        finite = bool(losses.total.detach().isfinite()) or bool(outputs.logits.detach().isfinite().all())
        return losses, finite

    def _cause(self, outputs_finite: bool) -> str:
        for name, weights in self.trained.model.named_parameters():
            if not bool(weights.isfinite().all()):
                return f"the weights of {name} are not finite"
        if not outputs_finite:
            return "the weights are finite, the network's outputs are not: they grew too large"
        return "weights and outputs are finite, the loss or its gradient is not"
