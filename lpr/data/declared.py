"""Which folders were declared a test set: nothing may be learned from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ..types import Track

#: A file of this name declares its folder, and all below it, a test set.
MARK = "TEST_SET"

#: A folder of this name is one, as the competition names it; so is a set with such a word in its name (blind_test), and
#: any folder whose name holds no other words than these (public_test).
NAME = "test"
WORDS = {NAME, "blind"}
BESIDE = {"data", "final", "images", "private", "public", "set", "tracks"}

#: What the generator writes into the folders that it makes.
SYNTHETIC = "synth.json"


def declared_test(root: Path, tracks: Iterable[Track] = ()) -> str | None:
    """Why `root`, or a folder above it or holding one of its tracks, is a test set; None where none is.

    It is one if it is called `test`, `public_test` and the like, holds a file TEST_SET, or was made by `lpr.synth
    --split test`; so is `root` itself if any word of its name is test or blind. Links are followed, so that a link
    under another name hides nothing.
    """
    for name in (Path(root).name, Path(root).resolve().name):
        if words := WORDS & _words(name):
            return f"{name} is called {min(words)}"
    below = {frame.path.resolve().parent for track in tracks for frame in track.frames[:1]}
    seen: set[Path] = set()
    for start in (Path(root).resolve(), *below):
        for folder in (start, *start.parents):
            if folder in seen:
                break
            seen.add(folder)
            if (words := WORDS & _words(folder.name)) and _words(folder.name) <= WORDS | BESIDE:
                return f"{folder} is called {min(words)}"
            if (folder / MARK).exists():
                return f"{folder / MARK} says so"
            if _is_synthetic_test(folder / SYNTHETIC):
                return f"{folder / SYNTHETIC} says that it was made as one"
    return None


def _words(name: str) -> set[str]:
    """The words of a folder's name, in lower case; digits part them."""
    return set(re.split(r"[^a-z]+", name.lower())) - {""}


def _is_synthetic_test(record: Path) -> bool:
    if not record.is_file():
        return False
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Somebody else's file of this name declares nothing.
        return False
    return isinstance(found, dict) and found.get("split") == "test"
