"""How a picture shrinks on its way through the network, and whether the steps left at the end spell the labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import InputConfig
from ..formats import PlateFormat, ctc_steps, worst_case_steps
from .recogniser import Recogniser


@dataclass(frozen=True, slots=True)
class Stage:
    """The first layer of the backbone to give maps of this size, in px of its output."""

    name: str
    kind: str
    channels: int
    height: int
    width: int


def stages(model: Recogniser, size: InputConfig) -> list[Stage]:
    """The layers of the backbone that change height or width, in the order in which they run."""
    found: list[Stage] = []

    def hook(name: str) -> Any:
        def note(layer: nn.Module, _: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                return
            last = (found[-1].height, found[-1].width) if found else (size.height, size.width)
            if tuple(output.shape[2:]) != last:
                found.append(Stage(name, type(layer).__name__, *output.shape[1:]))

        return note

    leaves = [(name, layer) for name, layer in model.backbone.named_modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(hook(name)) for name, layer in leaves]
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, size.channels, size.height, size.width, dtype=torch.uint8, device=device))
    finally:
        model.train(training)
        for one in hooks:
            one.remove()
    return found


def step_table(model: Recogniser, size: InputConfig, formats: Iterable[PlateFormat], texts: Iterable[str]) -> list[str]:
    """Lines that show the sizes from the picture to the T steps, and what the longest label and format need of them.

    The longest label is the one of `texts` that needs most steps: one a character and one between equal neighbours.
    """
    rows = [Stage("picture", "", size.channels, size.height, size.width), *stages(model, size)]
    column = max(len(f"{row.name} {row.kind}") for row in rows)
    lines = [
        f"{f'{row.name} {row.kind}':<{column}}  {row.channels:>4} x {row.height:>3} x {row.width:>3}" for row in rows
    ]
    known = tuple(formats)
    line = f"T = {model.steps} steps; {' and '.join(one.name for one in known)} can need {worst_case_steps(known)}"
    if longest := max(texts, key=ctc_steps, default=""):
        line += f", the longest label, {longest}, needs {ctc_steps(longest)}"
    return [*lines, line]
