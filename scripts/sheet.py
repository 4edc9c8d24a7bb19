"""Puts real tracks beside synthetic ones, enlarged and recompressed alike, and compares what can be measured.

python scripts/sheet.py --real REAL_TRACKS --synthetic DIR --out sheet.png [--kind hr]

The table on stdout holds quartiles over tracks. The real ones were enlarged and compressed by the figure that they were
cut from, so the synthetic ones are too before anything is measured. Sizes are those of the pixel grid that an
enlarged picture shows; without one they mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr import cli
from lpr.data.images import read_image
from lpr.files import atomic_path
from lpr.types import InputError

Image = NDArray[np.uint8]

#: Cells as in the organisers' figure, px: a JPEG that shows single pixels, so enlarged without interpolation.
_CELL = (228, 88)
_QUALITY = 85
#: Border of a cell that is not looked at, px: the figure's white gaps shine into it.
_TRIM = 5
#: Size at which frames are measured, px: the usual one of Scenario B.
_SCALE = {"lr": (48, 18), "hr": (130, 46)}


def track_folders(root: Path, limit: int) -> list[Path]:
    """Folders below `root` that hold lr-001, at most `limit`, spread evenly over the tree."""
    found = sorted({path.parent for path in root.rglob("lr-001.*")})
    if not found:
        raise InputError("holds no lr-001 of a track", where=root, fix="name a folder of tracks of five frames")
    return [found[i] for i in np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int)]


def strip(folder: Path, kind: str, *, recompress: bool) -> Image:
    """The five frames of one track side by side, uint8 (88, 1140, 3) BGR."""
    cells = [np.zeros((_CELL[1], _CELL[0], 3), np.uint8)] * 5
    for i, path in enumerate(sorted(folder.glob(f"{kind}-*"))[:5]):
        image = read_image(path)[:, :, ::-1]
        cells[i] = np.asarray(cv2.resize(image, _CELL, interpolation=cv2.INTER_NEAREST), np.uint8)
    row = np.hstack(cells)
    if not recompress:
        return row
    data = cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def measure(folder: Path, kind: str, *, recompress: bool) -> dict[str, float]:
    """What the table compares, for one track: means over its frames or over pairs of neighbours."""
    size = _SCALE[kind]
    row = cv2.cvtColor(strip(folder, kind, recompress=recompress), cv2.COLOR_BGR2GRAY)
    cells = [cell[_TRIM:-_TRIM, _TRIM:-_TRIM].astype(np.float32) for cell in np.hsplit(row, 5)]
    grey = [cv2.resize(cell, size, interpolation=cv2.INTER_AREA) for cell in cells]
    # The whole cell's sizes: the grid's period holds beyond the trimmed border.
    widths = [_grid(cell) * _CELL[0] / cell.shape[1] for cell in cells]
    heights = [_grid(cell.T) * _CELL[1] / cell.shape[0] for cell in cells]
    # The characters' part: below banner or band, without the car at both ends.
    w, h = size
    text = [g[int(0.4 * h) : int(0.85 * h), int(0.12 * w) : int(0.88 * w)] for g in grey]
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    shifts, stops = [], []
    for a, b in pairwise(grey):
        (x, y), _ = cv2.phaseCorrelate(a - a.mean(), b - b.mean(), window)
        shifts.append(min(float(np.hypot(x, y)), 0.2 * w))
        stops.append(2.2 * abs(float(np.log2((a.mean() + 1) / (b.mean() + 1)))))
    return {
        "brightness, grey levels": float(np.mean([t.mean() for t in text])),
        "contrast p95-p5, grey levels": float(np.mean([np.ptp(np.percentile(t, [5, 95])) for t in text])),
        "contrast / brightness": float(np.mean([t.std() / (t.mean() + 1) for t in text])),
        "sharpness, gradient / contrast": float(np.mean([_gradient(t) / (t.std() + 1) for t in text])),
        "Laplacian variance / variance": float(np.mean([_laplacian(t) for t in text])),
        "vertical / horizontal gradient": float(np.mean([_gradient(t.T) / (_gradient(t) + 0.1) for t in text])),
        "surround / plate": float(np.mean([_rim(g) / (t.mean() + 1) for g, t in zip(grey, text, strict=True)])),
        "shift between frames, px": float(np.median(shifts)),
        "exposure change, stops": float(np.max(stops)),
    } | (
        {
            "width, px": float(np.mean(widths)),
            "width / height": float(np.mean(widths) / np.mean(heights)),
            "growth of the width, px": widths[-1] - widths[0],
        }
        if kind == "lr"
        else {}
    )


def _grid(cell: NDArray[np.float32]) -> float:
    """Pixels that an enlarged frame (H, W) was before, across: the frequency at which its columns step."""
    width = cell.shape[1]
    steps = np.abs(np.diff(cell, axis=1)).sum(0)
    steps = steps - cv2.blur(steps[None], (9, 1))[0]
    # LR frames are 24 to 68 px wide and 11 to 36 px high; the cell's proportions say which this is.
    counts = np.arange(24, 68, 0.25) if width > 100 else np.arange(11, 36, 0.25)
    waves = np.exp(-2j * np.pi * np.outer(counts, np.arange(1, width)) / width)
    return float(counts[np.abs(waves @ steps).argmax()])


def _laplacian(grey: NDArray[np.float32]) -> float:
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / (grey.var() + 1))


def _gradient(grey: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(grey, axis=1)).mean())


def _rim(grey: NDArray[np.float32]) -> float:
    """Mean of the columns where the car is, without the outermost: the figure's white gaps shine into those."""
    step = max(grey.shape[1] // 48, 1)
    return float(np.hstack([grey[:, step : 3 * step], grey[:, -3 * step : -step]]).mean())


def table(real: Sequence[Path], synthetic: Sequence[Path], kind: str) -> str:
    """Quartiles of each measure over the real and the synthetic tracks, as text."""
    sets = [
        [measure(folder, kind, recompress=recompress) for folder in folders]
        for folders, recompress in ((real, False), (synthetic, True))
    ]
    heads = [f"{name} ({len(rows)} tracks)" for name, rows in zip(("real", "synthetic"), sets, strict=True)]
    lines = [f"{'25 % / median / 75 %':<32}{heads[0]:>26}{heads[1]:>26}"]
    for name in sets[0][0]:
        cells = ["{:.2f} / {:.2f} / {:.2f}".format(*np.percentile([r[name] for r in s], [25, 50, 75])) for s in sets]
        lines.append(f"{name:<32}{cells[0]:>26}{cells[1]:>26}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Write the sheet (real tracks left, synthetic ones right) and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("lr", "hr"), default="lr")
    parser.add_argument("--tracks", type=int, default=9, help="rows of the sheet; the table takes up to 500 tracks")
    args = parser.parse_args(argv)
    real = [strip(f, args.kind, recompress=False) for f in track_folders(args.real, args.tracks)]
    synthetic = [strip(f, args.kind, recompress=True) for f in track_folders(args.synthetic, args.tracks)]
    rows = [np.hstack([a, np.full((_CELL[1], 20, 3), 255, np.uint8), b]) for a, b in zip(real, synthetic, strict=False)]
    with atomic_path(args.out) as path:
        path.write_bytes(cv2.imencode(args.out.suffix or ".png", np.vstack(rows))[1].tobytes())
    print(table(track_folders(args.real, 500), track_folders(args.synthetic, 500), args.kind))
    return 0


if __name__ == "__main__":
    cli.run(main)
