"""The whole state of a training run between two steps: what `last.pt` holds, and how it is written and read.

Everything that the remaining run depends on is in here, so that on a CPU a resumed run ends bit-equal to an
uninterrupted one at the same thread count; a GPU adds up in no fixed order. The samples need no state: they follow from
the seed and the epoch.
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ..config import Config, TrainConfig
from ..files import write_bytes
from ..model.recogniser import Recogniser
from ..types import InputError
from .average import WeightAverage
from .muon import Muon

FILE_NAME = "last.pt"

#: Settings that a resumed run may change: none of them changes a weight.
FREE_ON_RESUME = ("data.workers", "read.batch_tracks", "train.checkpoint_minutes", "train.max_minutes")

#: Settings of when a run ends, which a resumed run may change too: it then ends otherwise than it would have.
END_OF_RUN = ("train.epochs", "train.early_stop")

#: What `save_state` writes.
_KEYS = {"position", "model", "optimizer", "scaler", "rng", "cuda_rng", "config", "threads", "data"}

#: What torch raises for bytes that are no state of ours, by where it stumbles over them.
_NO_STATE = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error,
    pickle.UnpicklingError,
)  # fmt: skip


@dataclass(slots=True)
class Position:
    """Where a run stands.

    epoch: finished epochs. batch: finished batches of the current one, which began at step `epoch_step`. step:
    optimiser steps in all. images: samples seen. logged: last epoch with a row in log.csv; -1: none. best: (exact
    match, character accuracy) of the best epoch so far. stale: epochs since then. reductions: of the plateau schedule.
    sums: running totals of the current epoch, by name. finished: nothing is left to do.
    """

    epoch: int = 0
    batch: int = 0
    epoch_step: int = 0
    step: int = 0
    images: int = 0
    logged: int = -1
    best: tuple[float, float] | None = None
    stale: int = 0
    reductions: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    finished: bool = False

    def take(self, other: Position) -> None:
        """Stand where `other` stands."""
        for one in fields(other):
            setattr(self, one.name, getattr(other, one.name))


@dataclass(frozen=True, slots=True)
class Trained:
    """What a checkpoint saves and restores in place; `average` where `train.ema` asks for it."""

    model: Recogniser
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None = None

    @classmethod
    def start(cls, model: Recogniser, config: Config, amp_type: torch.dtype | None) -> Trained:
        """A network, on its device, before its first step."""
        settings = config.train
        return cls(
            model,
            _optimizer(model, settings),
            # Only float16 has so little range that gradients need scaling.
            torch.amp.GradScaler(enabled=amp_type == torch.float16),
            WeightAverage(model, settings.ema) if settings.ema else None,
        )

    @property
    def reader(self) -> Recogniser:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.model if self.average is None else self.average.model


def _optimizer(model: Recogniser, settings: TrainConfig) -> torch.optim.Optimizer:
    if settings.optimizer == "muon":
        return Muon(model, settings.lr, settings.weight_decay)
    return torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True)


def save_state(
    path: Path, position: Position, trained: Trained, config: Config, data: Mapping[str, Any], processes: int = 1
) -> None:
    """Write everything atomically; `data` (the split and the fingerprint of the tracks) is plain JSON values."""
    state = {
        "position": asdict(position),
        "model": trained.model.state_dict(),
        "optimizer": trained.optimizer.state_dict(),
        "scaler": trained.scaler.state_dict(),
        "average": None if trained.average is None else trained.average.model.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "config": config.model_dump(mode="json"),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": trained.model.device.type,
        "data": dict(data),
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(path, content.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """The raw contents of `last.pt`, tensors on the CPU; InputError where there is none or it is damaged."""
    if not path.is_file():
        best = path.parent / "best"
        fix = f"start a new run from its weights: train.init_from={best}" if best.exists() else "start without --resume"
        raise InputError("there is nothing to resume from", where=path, fix=fix)
    try:
        with warnings.catch_warnings():
            # torch warns of foreign pickles before it refuses them.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    except _NO_STATE as error:
        # torch's own text recommends to load it with weights_only=False, which would run the code in it.
        raise InputError("is damaged, or no training state of lpr", where=path, fix="start a new run") from error
    if not isinstance(state, dict) or not _KEYS.issubset(state):
        raise InputError("is no training state of lpr", where=path, fix="start a new run")
    return state


def restore(state: Mapping[str, Any], trained: Trained) -> Position:
    """Put a state read by `read_state` into the model, optimiser, scaler and random generators, last of all."""
    trained.model.load_state_dict(state["model"])
    trained.optimizer.load_state_dict(state["optimizer"])
    # A run that was begun in another precision has none, and this one's may be off.
    if state["scaler"]:
        trained.scaler.load_state_dict(state["scaler"])
    if trained.average is not None:
        trained.average.model.load_state_dict(state["average"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    values = dict(state["position"])
    values["best"] = None if values["best"] is None else tuple(values["best"])
    return Position(**values)


def changed_end(then: Mapping[str, Any], now: Config, where: Path) -> list[str]:
    """What a resumed run changes of when it ends (END_OF_RUN), in words.

    InputError naming every other setting in which it would differ from the run it continues. A setting that was added
    since then had its default's effect.
    """
    current, usual = now.model_dump(mode="json"), Config().model_dump(mode="json")
    differences = {
        f"{section}.{name}": f"{section}.{name}: {before!r} then, {value!r} now"
        for section, settings in current.items()
        for name, value in settings.items()
        if (before := then.get(section, {}).get(name, usual[section][name])) != value
        and f"{section}.{name}" not in FREE_ON_RESUME
    }
    if other := [said for name, said in differences.items() if name not in END_OF_RUN]:
        raise InputError(
            "the run was started with another configuration: " + "; ".join(other),
            where=where,
            fix="resume without --preset and --set to take the run's own, or start a new run",
        )
    return list(differences.values())
