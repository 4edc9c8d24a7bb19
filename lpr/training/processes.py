"""Several processes that train one network: `torchrun --nproc-per-node=N -m -- lpr.train ...`.

They talk by gloo on CPUs, by nccl on GPUs. The two dashes keep torchrun from taking --run for a form of its own option.

Each takes its part of every batch and computes losses weighed by its share; the gradients are added up, so that all
processes take the step that one process would have taken with the whole batch. Two things differ from one process:
BatchNorm normalises each part by the part's own statistics, and dropout draws other numbers. The first process alone
validates, writes and prints.

The gradients are added in one message and not by torch's DistributedDataParallel, because that takes the mean over
processes, which is wrong for unequal parts, and wants every process to have pictures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..model.devices import default_device, gpu_trouble
from ..types import InputError
from .stopping import Reason

T = TypeVar("T")

#: The others wait so long at most for the first process, which validates and calibrates alone.
PATIENCE = timedelta(hours=2)


class Processes:
    """This process, number `rank` of `count`; where it is the only one, every method answers at once."""

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0) -> None:
        self.rank, self.count = rank, count
        self.device = default_device()
        if count > 1 and torch.cuda.is_available():
            if local_rank >= (gpus := torch.cuda.device_count()):
                raise InputError(
                    f"process {local_rank + 1} of this machine has no GPU: there are {gpus}",
                    where="--nproc-per-node",
                    fix=f"--nproc-per-node={gpus}, or CUDA_VISIBLE_DEVICES= before the command to train on CPUs",
                )
            if trouble := gpu_trouble(local_rank):
                raise InputError(
                    f"cannot compute with this torch: {trouble}",
                    where=f"GPU {local_rank}",
                    fix="CUDA_VISIBLE_DEVICES= before the command trains on CPUs, or install a torch built for it",
                )
            self.device = torch.device("cuda", local_rank)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def part(self, looks: Sequence[T]) -> list[T]:
        """This process's part of a batch; parts differ by one look at most, and may be empty."""
        return list(looks[self.rank :: self.count])

    def seed(self, run_seed: int, step: int) -> None:
        """Give each process random numbers of its own for a step, the same ones when it is resumed."""
        if self.count > 1:
            words = np.random.SeedSequence([run_seed % 2**32, step, self.rank]).generate_state(1)
            torch.manual_seed(int(words[0]))

    def gather(self, mine: T) -> list[T]:
        """What every process hands in, in the order of their ranks, on all of them."""
        if self.count == 1:
            return [mine]
        found: list[T | None] = [None] * self.count
        dist.all_gather_object(found, mine)
        return found  # type: ignore[return-value]

    def first(self, work: Callable[[], T]) -> T:
        """What `work`, done by the first process alone, returns or raises as InputError, on all of them."""
        if self.count == 1:
            return work()
        answer: list[T | InputError | None] = [None]
        if self.is_first:
            try:
                answer[0] = work()
            except InputError as error:
                answer[0] = error
        dist.broadcast_object_list(answer, src=0)
        if isinstance(answer[0], InputError):
            raise answer[0]
        return answer[0]  # type: ignore[return-value]

    def raise_any(self, error: InputError | None) -> None:
        """Raise on all what went wrong on any."""
        for one in self.gather(error):
            if one is not None:
                raise one

    def agree(self, reason: Reason) -> Reason:
        """Why to stop, if any process was asked to; being interrupted comes before a time limit."""
        reasons = self.gather(reason)
        return "interrupted" if "interrupted" in reasons else "time" if "time" in reasons else ""

    def add_up(self, model: nn.Module, share: float, figures: Sequence[float]) -> list[float]:
        """Sum gradients and `figures` over the processes, and average BatchNorm's running statistics by `share`.

        A parameter without a gradient anywhere keeps none, so that the optimiser leaves it alone as it would have.
        """
        if self.count == 1:
            return list(figures)
        parameters = [p for p in model.parameters() if p.requires_grad]
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        pieces += [present, *(b * share for b in buffers), torch.tensor([*figures], device=self.device)]
        message = torch.cat([piece.reshape(-1).float() for piece in pieces])
        dist.all_reduce(message)
        summed = [part.view(piece.shape) for part, piece in zip(_cut(message, pieces), pieces, strict=True)]
        wanted = (summed[len(parameters)] > 0).tolist()
        for parameter, gradient, one in zip(parameters, summed[: len(parameters)], wanted, strict=True):
            # empty_like keeps channels last, which the optimiser's fused kernel shares with the weights.
            parameter.grad = torch.empty_like(parameter).copy_(gradient) if one else None
        for buffer, value in zip(buffers, summed[len(parameters) + 1 : -1], strict=True):
            buffer.copy_(value)
        return [float(value) for value in summed[-1].tolist()]


def _cut(message: Tensor, pieces: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.split(message, [piece.numel() for piece in pieces])


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; of an InputError only the first one's goes on."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "LOCAL_RANK" not in os.environ:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    if processes.device.type == "cuda":
        torch.cuda.set_device(processes.device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if processes.device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield processes
        # One that leaves while another still talks to it can abort at its exit.
        dist.barrier()
    except InputError:
        if not processes.is_first:
            sys.exit(1)
        raise
    finally:
        dist.destroy_process_group()
