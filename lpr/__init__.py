"""lpr reads licence plates from tracks of low-resolution frames.

import lpr
prediction = lpr.Reader().read(["lr-001.jpg", "lr-002.jpg"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .types import InputError

if TYPE_CHECKING:
    from .reader import Reader

__version__ = "0.1.0"
__all__ = ["InputError", "Reader", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy, because the reader imports torch and `python -m lpr.x -h` imports this file.
    if name == "Reader":
        from .reader import Reader

        return Reader
    raise AttributeError(f"module 'lpr' has no attribute {name!r}")
