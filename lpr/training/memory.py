"""Turning a lack of memory into an error that says what to make smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..types import TooDemanding
from .state import FREE_ON_RESUME

#: How torch's CPU allocator and its loader's processes say it; a GPU has an exception of its own.
_WORDS = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "bad allocation", "std::bad_alloc")
#: Libraries on a GPU that find no room for what they need beside torch.
_GPU_WORDS = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_WORKER = "DataLoader worker"


@contextmanager
def enough_memory(setting: str, size: int) -> Iterator[None]:
    """Turn a failed allocation of the block, or the death of a loader's process, into a TooDemanding error.

    setting: what decides how much memory is taken, now `size`, as "train.batch_size".
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        call = "with --resume" if setting in FREE_ON_RESUME else "in a new --run"
        smaller = f"{call} --set {setting}={max(1, size // 2)}"
        gpu = isinstance(error, torch.OutOfMemoryError) or any(word in text for word in _GPU_WORDS)
        if gpu or isinstance(error, MemoryError) or any(word in text for word in _WORDS):
            where = "GPU" if gpu else "machine"
            raise TooDemanding(
                f"the {where}'s memory does not suffice for {size} at once",
                where=setting,
                fix=f"{smaller}, a smaller input.width or model.hidden, or end what else uses the memory",
            ) from error
        if text.startswith(_WORKER):
            raise TooDemanding(
                f"a loader process died, most likely for lack of memory: {text.splitlines()[0]}",
                where="data.workers",
                fix=f"--resume --set data.workers=0, or {smaller}",
            ) from error
        raise
