"""A picture of each epoch's readings: random, best and worst held-out tracks, wrong letters in red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..files import atomic_path
from ..report.metrics import edit_distance
from ..report.pictures import MARGIN_PX, Pixels, read_lr_images, track_picture
from ..types import Prediction, Track

RANDOM, BEST, WORST = 10, 5, 5
#: Pictures of so many last epochs are kept, and the best epoch's: about 1 MB each.
KEPT = 5
HEADING_PX = 30

Pair = tuple[Track, Prediction]


def chosen(tracks: Sequence[Track], predictions: Sequence[Prediction], epoch: int) -> list[tuple[str, list[Pair]]]:
    """Headings, each with its tracks: random ones (others every epoch), the surest right, the farthest from right."""
    pairs = list(zip(tracks, predictions, strict=True))
    wanted = np.random.default_rng(epoch).permutation(len(pairs))[:RANDOM]
    errors = {t.id: edit_distance(t.text or "", p.text) for t, p in pairs}
    right = sorted((pair for pair in pairs if not errors[pair[0].id]), key=lambda pair: -pair[1].confidence)
    wrong = sorted(
        (pair for pair in pairs if errors[pair[0].id]), key=lambda pair: (-errors[pair[0].id], -pair[1].confidence)
    )
    groups = [
        ("random", [pairs[i] for i in sorted(wanted.tolist())]),
        ("best: right, the surest first", right[:BEST]),
        ("worst: most characters wrong, the surest first", wrong[:WORST]),
    ]
    return [(heading, found) for heading, found in groups if found]


def write_epoch_picture(
    folder: Path, tracks: Sequence[Track], predictions: Sequence[Prediction], epoch: int, best_epoch: int
) -> None:
    """Write `folder`/epoch_NNN.png, and delete those that are neither among the last few nor the best epoch's."""
    rows: list[Pixels] = []
    for heading, pairs in chosen(tracks, predictions, epoch):
        drawn = [track_picture(read_lr_images(track)[0], prediction, track.text) for track, prediction in pairs]
        rows += [_heading(f"epoch {epoch}, {heading}", drawn[0].shape[1]), *drawn]
    with atomic_path(folder / f"epoch_{epoch:03d}.png") as aside:
        # The fastest compression: twenty rows take tenths of a second, not seconds.
        Image.fromarray(np.concatenate(rows)).save(aside, compress_level=1)
    for path in folder.glob("epoch_*.png"):
        number = path.stem.removeprefix("epoch_")
        if number.isdigit() and int(number) <= epoch - KEPT and int(number) != best_epoch:
            path.unlink(missing_ok=True)


def _heading(text: str, width: int) -> Pixels:
    canvas = Image.new("RGB", (width, HEADING_PX), (235, 235, 235))
    ImageDraw.Draw(canvas).text((MARGIN_PX, 6), text, fill=(26, 26, 26), font=ImageFont.load_default(16))
    return np.asarray(canvas, dtype=np.uint8)
