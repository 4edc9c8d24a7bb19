"""Small data sets for the tests of the data room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def picture(width: int = 48, height: int = 17, seed: int = 0) -> np.ndarray:
    """A smooth random picture: uint8 (H, W, 3), so that JPEG keeps it nearly as it is."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (4, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)


def write_image(path: Path, image: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    ok, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    path.write_bytes(data.tobytes())
    return path


def write_track(
    folder: Path, text: Any = "ABC1D23", *, lr: int = 5, hr: int = 5, suffix: str = ".png", layout: str = "Mercosur"
) -> Path:
    """A track folder in the competition's layout; `text` None leaves annotations.json out."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, count, size in (("lr", lr, (48, 17)), ("hr", hr, (130, 46))):
        for index in range(1, count + 1):
            # The first bytes of the folder's name vary the pictures between tracks.
            seed = sum(folder.name.encode()) * 100 + index
            write_image(folder / f"{kind}-{index:03d}{suffix}", picture(*size, seed=seed))
    if text is not None:
        values = {"plate_layout": layout, "plate_text": text, "corners": {}}
        (folder / "annotations.json").write_text(json.dumps(values), encoding="utf-8")
    return folder
