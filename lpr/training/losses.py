"""The training losses: CTC, and beside it what the auxiliary heads add.

All are means, so that their sizes do not depend on the batch: CTC per character, slots per slot, pictures per value,
the teacher's divergence per CTC step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..config import TrainConfig
from ..model.recogniser import TrainingOutputs

BLANK = 0

#: An empty label (data.spoiled) counts as one of so many characters, or it would weigh as much as seven of them.
EMPTY_LENGTH = 7


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of a batch this process has: of its pictures, and of those with an HR target.

    Means over parts, times their shares, add up over the processes to the mean over the batch, however unequal.
    """

    pictures: float = 1.0
    targets: float = 1.0


WHOLE = Shares()


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalar float32 tensors; `total` is their sum, each weighed by its setting; a part without its head is 0."""

    total: Tensor
    ctc: Tensor
    slot: Tensor
    sr: Tensor
    teacher: Tensor


def compute_losses(
    outputs: TrainingOutputs,
    targets: Tensor,
    target_lengths: Tensor,
    sr_targets: Tensor | None,
    config: TrainConfig,
    *,
    taught: tuple[Tensor, Tensor] | None = None,
    shares: Shares = WHOLE,
) -> Losses:
    """Losses of one batch.

    targets: int64 (sum of L,), all labels end to end, classes from 1; target_lengths: int64 (B,). sr_targets: uint8
    (N, C, 2H, 2W), one for each picture in `outputs.sr`, or None. taught: which samples a teacher has read, bool (B,)
    of N true, and its log-posteriors, float32 (N, T, C).
    """
    log_probs = outputs.logits.log_softmax(-1).transpose(0, 1)  # (B, T, C) -> (T, B, C)
    ctc = _ctc(log_probs, targets, target_lengths, config.focal)
    alone = log_probs
    if outputs.alone is not None:
        # A frame must stay readable on its own: tracks of one frame are, and votes take frames alone.
        alone = outputs.alone.log_softmax(-1).transpose(0, 1)
        ctc = (ctc + _ctc(alone, targets, target_lengths, config.focal)) / 2
    ctc = ctc * shares.pictures
    slot = sr = teacher = torch.zeros((), device=ctc.device)
    if outputs.slot_logits is not None:
        wanted = slot_targets(targets, target_lengths, outputs.slot_logits.shape[1])
        slot = functional.cross_entropy(outputs.slot_logits.flatten(0, 1), wanted.flatten())  # (B, L, C) -> (B L, C)
        slot = slot * shares.pictures
    if outputs.sr is not None and sr_targets is not None:
        sr = functional.l1_loss(outputs.sr, sr_targets.float() / 255) * shares.targets
    if taught is not None:
        which, wanted_log_probs = taught
        # The teacher has read each picture on its own, so what the student makes of it on its own is compared.
        student = alone[:, which].transpose(0, 1)  # (T, B, C) -> (N, T, C)
        # Summed over classes, mean over the N T steps: the Kullback-Leibler divergence of a step.
        teacher = (
            functional.kl_div(
                student.flatten(0, 1), wanted_log_probs.flatten(0, 1), reduction="batchmean", log_target=True
            )
            * shares.targets
        )
    total = ctc + config.slot_weight * slot + config.sr_weight * sr
    if taught is not None:
        total = total + config.teacher_weight * teacher
    return Losses(total, ctc, slot, sr, teacher)


def _ctc(log_probs: Tensor, targets: Tensor, target_lengths: Tensor, focal: float = 0) -> Tensor:
    """Mean CTC loss of a character; log_probs float32 (T, B, C), else as for `compute_losses`.

    focal: each label's loss counts (1 - its probability) to this power (after focal CTC, Feng et al. 2019); 0: the
    plain loss. No gradient flows through this weight: that of a power below 1 is infinite where a loss is 0.
    """
    steps = torch.full_like(target_lengths, log_probs.shape[0])
    # zero_infinity: a label that no alignment can spell gives 0 and not infinity; the label check before
    # training keeps such labels out, this is the last line for the gradient of a nearly impossible one.
    losses = functional.ctc_loss(
        log_probs, targets, steps, target_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    if focal:
        losses = losses * (-torch.expm1(-losses.detach())) ** focal
    return (losses / target_lengths.masked_fill(target_lengths == 0, EMPTY_LENGTH)).mean()


def slot_targets(targets: Tensor, target_lengths: Tensor, slots: int) -> Tensor:
    """int64 (sum of L,) and (B,) -> int64 (B, slots): each label from the left, blanks behind it."""
    rows = torch.full((len(target_lengths), slots), BLANK, dtype=torch.int64, device=targets.device)
    filled = torch.arange(slots, device=targets.device)[None, :] < target_lengths[:, None]  # (B, slots)
    rows[filled] = targets
    return rows
