"""Muon: an optimiser whose steps turn all directions of a weight matrix alike, not the few that have large gradients.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the size of its steps after
J. Liu et al., "Muon is Scalable for LLM Training" (arXiv 2502.16982), so that a rate for AdamW fits. torch.optim.Muon
takes matrices alone: neither convolutions nor what needs AdamW beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..model.devices import has_bfloat16

#: Nesterov's momentum, as published.
MOMENTUM = 0.95
#: Coefficients and number of the quintic iterations that bring singular values near 1, as published.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
#: Root mean square of AdamW's usual step, as a share of the rate.
_ADAMW_RMS = 0.2
#: What has fewer rows or columns has few directions to turn: squeezed channels, depthwise kernels, colours.
_SMALLEST = 24
#: First part of the names of what gives the outputs: rows are characters, or pixels.
_OUTPUTS = ("classifier", "slot_head", "sr_head")


class Muon(torch.optim.AdamW):
    """Muon for the hidden matrices and convolutions of `model`, AdamW for everything else, at the same rate.

    A convolution (out, in, h, w) is the matrix (out, in * h * w).
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, weights in model.named_parameters():
            (hidden if _is_hidden(name, weights) else rest).append(weights)
        # Not AdamW's fused kernel, which takes it on itself to leave out a step of overflown float16 gradients.
        super().__init__([{"params": rest}, {"params": hidden}], lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients."""
        rest, hidden = self.param_groups
        for weights in hidden["params"]:
            if weights.grad is not None:
                self._turn(weights, weights.grad, hidden["lr"], hidden["weight_decay"])
        try:
            self.param_groups = [rest]
            super().step()
        finally:
            self.param_groups = [rest, hidden]

    def _turn(self, weights: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[weights]
        if not state:
            # AdamW, loading a state, looks for the step of every parameter.
            state |= {"step": torch.tensor(0.0), "momentum": torch.zeros_like(weights)}
        state["step"] += 1
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(state["momentum"], MOMENTUM).flatten(1)
        size = _ADAMW_RMS * max(matrix.shape) ** 0.5
        weights.mul_(1 - lr * weight_decay)
        weights.add_(orthogonal(matrix).view(weights.shape), alpha=-lr * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """`matrix`, float (M, N), with its singular values brought to 0.7 to 1.2 (of full rank) and its directions kept."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    if not x.is_cuda or has_bfloat16("cuda"):
        # Enough for this; emulated it is slower than float32, and GPUs of before 2018 refuse it.
        x = x.bfloat16()
    x = x / torch.linalg.norm(x).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def _is_hidden(name: str, weights: Tensor) -> bool:
    return not name.startswith(_OUTPUTS) and weights.ndim > 1 and min(weights.flatten(1).shape) >= _SMALLEST
