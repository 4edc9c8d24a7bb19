"""Puts real tracks beside synthetic ones, enlarged and recompressed alike, to judge the camera by eye.

python scripts/sheet.py --real ../shared/data/lrlpr_figure_tracks --synthetic DIR --out sheet.png [--kind hr]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

#: Cells as in the organisers' figure, px: a JPEG that shows single pixels, so enlarged without interpolation.
_CELL = (228, 88)
_QUALITY = 85


def track_folders(root: Path, limit: int) -> list[Path]:
    """Folders below `root` that hold lr-001, at most `limit`, spread evenly over the tree."""
    found = sorted({path.parent for path in root.rglob("lr-001.*")})
    return [found[i] for i in np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int)]


def strip(folder: Path, kind: str, *, recompress: bool) -> Image:
    """The five frames of one track side by side, uint8 (88, 1140, 3) BGR."""
    cells = [np.zeros((_CELL[1], _CELL[0], 3), np.uint8)] * 5
    for i, path in enumerate(sorted(folder.glob(f"{kind}-*"))[:5]):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        cells[i] = np.asarray(cv2.resize(image, _CELL, interpolation=cv2.INTER_NEAREST), np.uint8)
    row = np.hstack(cells)
    if not recompress:
        return row
    data = cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def main() -> None:
    """Write the sheet: real tracks left, synthetic ones right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("lr", "hr"), default="lr")
    parser.add_argument("--tracks", type=int, default=9)
    args = parser.parse_args()
    real = [strip(f, args.kind, recompress=False) for f in track_folders(args.real, args.tracks)]
    synthetic = [strip(f, args.kind, recompress=True) for f in track_folders(args.synthetic, args.tracks)]
    rows = [np.hstack([a, np.full((_CELL[1], 20, 3), 255, np.uint8), b]) for a, b in zip(real, synthetic, strict=False)]
    cv2.imwrite(str(args.out), np.vstack(rows))


if __name__ == "__main__":
    main()
