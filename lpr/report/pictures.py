"""Pictures of tracks: the frames in a row, what each was read as, and the fused reading with its confidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..data.images import read_image
from ..data.merge import merged_picture
from ..files import atomic_path
from ..types import InputError, Prediction, Problem, Track, printable
from .metrics import align

Pixels = NDArray[np.uint8]

#: Size of one enlarged frame: an LR frame of 48x17 px becomes about 3.5 times as large, in its own aspect.
FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 168, 64
#: Frames drawn of one track; the competition has five. More are counted in words. Beside them what is merged of all.
MAX_FRAMES = 5
RESULT_WIDTH_PX = 236
MARGIN_PX = 8
ROW_HEIGHT_PX = FRAME_HEIGHT_PX + 38

INK, PALE, WRONG = (26, 26, 26), (110, 110, 110), (200, 16, 32)


def read_lr_images(track: Track) -> tuple[dict[str, Pixels], list[Problem]]:
    """The LR frames of a track, {printable file name: uint8 (H, W, 3) RGB}, and a problem for each unreadable one."""
    images, problems = {}, []
    for frame in track.lr:
        try:
            images[printable(frame.path.name)] = read_image(frame.path)
        except InputError as error:
            problems.append(error.problem)
    return images, problems


def marked(text: str, truth: str | None) -> list[tuple[str, bool]]:
    """The characters of a reading with whether each is wrong; without truth none is.

    A character of the truth that was not read appears as a wrong "_" in its place.
    """
    if truth is None:
        return [(character, False) for character in text]
    return [(got or "_", got != expected) for expected, got in align(truth, text)]


def track_picture(images: Mapping[str, Pixels], prediction: Prediction, truth: str | None = None) -> Pixels:
    """Draw one track as a row: its first five frames, each frame's reading and score, all merged, the fused reading.

    `images`: {file name: uint8 (H, W, 3) RGB}; names are those of `Prediction.per_frame`. With a `truth`, wrong
    characters are red and the truth stands beside. Returns uint8 (ROW_HEIGHT_PX, W, 3) RGB, W the same for every track.
    """
    pitch = FRAME_WIDTH_PX + MARGIN_PX
    width = (MAX_FRAMES + 1) * pitch + RESULT_WIDTH_PX + MARGIN_PX
    canvas = Image.new("RGB", (width, ROW_HEIGHT_PX), "white")
    draw = ImageDraw.Draw(canvas)
    readings = {reading.file: reading for reading in prediction.per_frame}
    for column, (name, pixels) in enumerate(list(images.items())[:MAX_FRAMES]):
        left = MARGIN_PX + column * pitch
        _paste(canvas, pixels, left)
        top = MARGIN_PX + FRAME_HEIGHT_PX + 3
        if name in readings:
            end = _draw_text(draw, (left, top), marked(readings[name].text, truth), 18, FRAME_WIDTH_PX - 36)
            draw.text((end + 8, top + 5), f"{readings[name].score:.2f}", fill=PALE, font=ImageFont.load_default(13))
        else:
            draw.text((left, top + 3), "not read", fill=PALE, font=ImageFont.load_default(13))
    if not images:
        draw.text((MARGIN_PX, MARGIN_PX + 24), "no readable frame", fill=PALE, font=ImageFont.load_default(16))

    merged = merged_picture(list(images.values()))
    if merged is not None:
        left = MARGIN_PX + min(len(images), MAX_FRAMES) * pitch
        _paste(canvas, merged, left)
        top = MARGIN_PX + FRAME_HEIGHT_PX + 6
        draw.text((left, top), "merged", fill=PALE, font=ImageFont.load_default(13))

    left = width - RESULT_WIDTH_PX
    draw.line([(left - MARGIN_PX, MARGIN_PX), (left - MARGIN_PX, ROW_HEIGHT_PX - MARGIN_PX)], fill=(220, 220, 220))
    more = f"  (+{len(images) - MAX_FRAMES} frames)" if len(images) > MAX_FRAMES else ""
    draw.text((left, MARGIN_PX), _shortened(prediction.track_id, 26) + more, fill=PALE, font=ImageFont.load_default(13))
    _draw_text(draw, (left, MARGIN_PX + 18), marked(prediction.text, truth), 34, RESULT_WIDTH_PX - MARGIN_PX)
    line = f"confidence {prediction.confidence:.2f}"
    if truth is not None and prediction.text != truth:
        line += f"   truth {truth}"
    # Beside a truth of eleven characters the line would not fit.
    size = min(15, 15 * (RESULT_WIDTH_PX - MARGIN_PX) / draw.textlength(line, ImageFont.load_default(15)))
    draw.text((left, MARGIN_PX + 66), line, fill=INK, font=ImageFont.load_default(max(1, size)))
    return np.asarray(canvas, dtype=np.uint8)


def write_sheet(tracks: Iterable[Track], predictions: Sequence[Prediction], target: Path) -> None:
    """Write one PNG with a row for each prediction; frames and, where known, truths come from its track by id."""
    by_id = {track.id: track for track in tracks}
    rows = []
    for prediction in predictions:
        track = by_id[prediction.track_id]
        rows.append(track_picture(read_lr_images(track)[0], prediction, track.text))
    if rows:
        with atomic_path(target) as aside:
            Image.fromarray(np.concatenate(rows)).save(aside, optimize=True)


def _paste(canvas: Image.Image, pixels: Pixels, left: int) -> None:
    """Lay a picture into the middle of the cell that begins at `left`."""
    frame = Image.fromarray(_fit(pixels, FRAME_WIDTH_PX, FRAME_HEIGHT_PX))
    inset_x, inset_y = (FRAME_WIDTH_PX - frame.width) // 2, (FRAME_HEIGHT_PX - frame.height) // 2
    canvas.paste(frame, (left + inset_x, MARGIN_PX + inset_y))


def _fit(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize to fit into a box, keeping the aspect."""
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _draw_text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], characters: list[tuple[str, bool]], size: int, room_px: int
) -> float:
    """Draw characters one by one, wrong ones red, in cells of one width so that positions line up; returns the end.

    Longer texts than a plate of seven shrink to the room.
    """
    pitch = 0.8 * size
    if characters and pitch * len(characters) > room_px:
        pitch = room_px / len(characters)
    font = ImageFont.load_default(max(1, min(size, pitch / 0.8)))
    x, y = at
    for character, wrong in characters:
        draw.text((x + pitch / 2, y), character, fill=WRONG if wrong else INK, font=font, anchor="ma")
        x += pitch
    return x


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else "..." + text[-length + 3 :]
