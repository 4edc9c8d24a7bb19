"""What the camera's codec leaves of its frames: a JPEG each, or a real H.264 stream.

H.264 needs the package `av` (PyAV), whose wheel carries libx264 under the GPL: it is optional, and asked for by name.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import groupby

import cv2
import numpy as np

from ..types import InputError
from .draw import Image
from .hardness import FrameDraws

CODECS = ("jpeg", "h264")

#: Constant rate factors of libx264 at JPEG qualities 25 and 92, judged by eye to leave about as much; below, the worst.
_CRF = ((10.0, 25.0, 92.0), (35.0, 31.0, 19.0))


def check_codec(name: str) -> None:
    """InputError for an unknown codec, or if the package it needs is missing."""
    if name not in CODECS:
        near = get_close_matches(name, CODECS, 1)
        raise InputError(
            f"unknown codec {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            fix=f"known: {', '.join(CODECS)}",
        )
    if name == "h264" and find_spec("av") is None:
        raise InputError("codec h264 needs the package av", fix="pip install av, or take --codec jpeg")


def compress(codec: str, pictures: Sequence[Image], frames: Sequence[FrameDraws], quality: int) -> list[Image]:
    """Code and decode the windows uint8 (H, W, 3) RGB of one track; `quality` is JPEG's, 1 to 100.

    h264 codes far and near frames as two streams: they are seconds apart.
    """
    if codec == "jpeg":
        return [_jpeg(p, quality, frame.grid) for p, frame in zip(pictures, frames, strict=True)]
    coded: list[Image] = []
    for _, group in groupby(zip(pictures, frames, strict=True), key=lambda pair: pair[1].name[:2]):
        coded += _h264(list(group), quality)
    return coded


def _jpeg(picture: Image, quality: int, grid: tuple[int, int]) -> Image:
    """JPEG and back, with the 8x8 blocks displaced by `grid` (x, y) px, as a crop out of a large frame sees them."""
    x, y = grid
    framed = cv2.copyMakeBorder(picture, y, 0, x, 0, cv2.BORDER_REPLICATE)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(framed, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)[y:, x:], np.uint8)


def _h264(group: Sequence[tuple[Image, FrameDraws]], quality: int) -> list[Image]:
    """One stream: a key frame, then predicted ones, each window at its own place on the canvas."""
    import av

    width = 16 * -(-max(p.shape[1] + f.grid[0] for p, f in group) // 16)
    height = 16 * -(-max(p.shape[0] + f.grid[1] for p, f in group) // 16)
    data = io.BytesIO()
    with av.open(data, "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread and no look-ahead: the same frames give the same bytes on any number of cores.
        crf = float(np.interp(quality, *_CRF))
        options: dict[str, str] = {"crf": f"{crf:.1f}", "preset": "veryfast", "bf": "0", "threads": "1"}
        stream.codec_context.thread_count = 1
        options["x264-params"] = "rc-lookahead=0:sync-lookahead=0:sliced-threads=0"
        stream.codec_context.options = options
        for picture, frame in group:
            x, y = frame.grid
            right, below = width - picture.shape[1] - x, height - picture.shape[0] - y
            canvas = cv2.copyMakeBorder(picture, y, below, x, right, cv2.BORDER_REPLICATE)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        out.mux(stream.encode(None))
    data.seek(0)
    with av.open(data, "r", format="h264") as source:
        source.streams.video[0].codec_context.thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return [
        np.asarray(whole[y : y + p.shape[0], x : x + p.shape[1]], np.uint8)
        for whole, (p, (x, y)) in zip(decoded, ((p, f.grid) for p, f in group), strict=True)
    ]
