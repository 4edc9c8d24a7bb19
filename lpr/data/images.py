"""Reading images, and the one preprocessing that training, reading and export share."""

from __future__ import annotations

import math
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import InputConfig
from ..types import Frame, InputError, Problem, Track

Image = NDArray[np.uint8]

#: A plate of seven characters has at least 3 px a character at 4 px height; anything below is a stub.
MIN_SIDE_PX = 4
MAX_SIDE_PX = 10_000
#: 40 megapixels are 120 MB as RGB; the largest HR crop of the competition has 0.01 megapixels.
MAX_AREA_PX = 40_000_000
#: Larger than any PNG within MAX_AREA_PX that is worth reading; keeps a mistaken video out of memory.
MAX_FILE_BYTES = 200_000_000

#: A picture of 16-bit values that use no more bits than these is taken for what a sensor gave, not for a dark one.
SENSOR_BITS = 12

#: Height of either row of a two-row plate, of the crop's: half, and a twentieth more for crops that sit high or low.
ROW_SHARE = 0.55

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_WITH_ALPHA = (4, 6)
# Start-of-frame markers: all of C0-CF but the tables DHT (C4), JPG (C8) and DAC (CC).
_JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SOS = 0xDA
_JPEG_EOI = b"\xff\xd9"


def as_image(array: Any) -> Image:
    """Name the type of what OpenCV returns for uint8 input: its stubs speak of arrays of any number."""
    result: Image = array
    return result


@dataclass(frozen=True, slots=True)
class _Header:
    """What an image file says of itself. `damage` is what is wrong with it, or empty.

    `deep`: its values have 16 bits.
    """

    width: int
    height: int
    damage: str = ""
    transparent: bool = False
    deep: bool = False


def read_image(path: Path | str) -> Image:
    """Read a PNG or JPEG file, told apart by content, as RGB.

    Returns uint8 (H, W, 3). Grey is repeated, 16 bits keep their upper 8 (where at most SENSOR_BITS are used, the upper
    8 of those), transparency is laid over white, CMYK is converted, an EXIF rotation is applied. Raises InputError with
    the path for a file that is missing, not an image, empty, cut short, smaller than 4 px or larger than 10,000 px a
    side or 40 megapixels; the size is taken from the header before anything is decoded.
    """
    return decode_image(read_bytes(path), path)


def read_bytes(path: Path | str) -> bytes:
    """Read a whole image file; InputError if it is missing, no plain file, empty or over 200 MB.

    Python opens the file, not OpenCV, so that any path works on any system.
    """
    try:
        status = os.stat(path)
        # A named pipe would block for ever, a directory gives a confusing message.
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a file", where=path)
        if status.st_size > MAX_FILE_BYTES:
            raise InputError(f"has {status.st_size / 1e6:.0f} MB: not a picture of a plate", where=path)
        with open(path, "rb", buffering=0) as handle:
            data = handle.readall()
    except FileNotFoundError as error:
        raise InputError("no such file", where=path) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=path) from error
    if not data:
        raise InputError("is empty (0 bytes)", where=path, fix="copy it again")
    return data


def decode_image(data: bytes, path: Path | str) -> Image:
    """Decode the bytes of a PNG or JPEG file to uint8 (H, W, 3) RGB; `path` names it in errors. See `read_image`."""
    if data.startswith(_PNG_SIGNATURE):
        header = _png_header(data)
    elif data.startswith(b"\xff\xd8\xff"):
        header = _jpeg_header(data)
    else:
        raise InputError("is not a PNG or JPEG image", where=path, fix="convert it, or remove it")
    if header.damage:
        raise InputError(f"is damaged: {header.damage}", where=path, fix="copy it again")
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise InputError(f"is too small ({header.width}x{header.height} px)", where=path)
    if max(header.width, header.height) > MAX_SIDE_PX or header.width * header.height > MAX_AREA_PX:
        raise InputError(
            f"is too large ({header.width}x{header.height} px)", where=path, fix="cut out the plate, or scale it down"
        )
    if header.transparent:
        return _decode_over_white(data, path)
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if header.deep else 0)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise InputError("is damaged: it cannot be decoded", where=path, fix="copy it again") from error
    if image is None:
        raise InputError("is damaged: it cannot be decoded", where=path, fix="copy it again")
    if image.dtype == np.uint16:
        image = _upper_bits(image)
    return as_image(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def preprocess(image: Image, config: InputConfig, two_rows: bool | None = None) -> Image:
    """Bring a crop to the network's input: grey or RGB, optional equalisation, two rows side by side, then resizing.

    uint8 (H, W, 3) RGB of any size -> uint8 (C, config.height, config.width), C = config.channels, contiguous. The
    aspect ratio is not kept: plates of one format have one aspect, and every column counts at 6 px a character. Where
    W / H is below `config.two_rows_below`, see `side_by_side`; `two_rows` says so of a crop that has been turned since.
    """
    grey = config.channels == 1
    picture: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image
    if config.equalize:
        picture = cv2.equalizeHist(picture) if grey else _equalize_luminance(picture)
    if has_two_rows(image, config) if two_rows is None else two_rows:
        picture = side_by_side(picture)
    height, width = picture.shape[:2]
    # AREA averages and so does not alias when shrinking; when growing it would repeat pixels.
    shrinking = config.height * config.width < height * width
    picture = cv2.resize(
        picture, (config.width, config.height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    )
    # (H, W) -> (1, H, W) or (H, W, 3) -> (3, H, W)
    return as_image(picture[None] if grey else np.ascontiguousarray(picture.transpose(2, 0, 1)))


def has_two_rows(image: Image, config: InputConfig) -> bool:
    """Whether a crop, uint8 (H, W, ...), is taken for one of a plate of two rows."""
    return bool(image.shape[1] < config.two_rows_below * image.shape[0])


def side_by_side(image: Image) -> Image:
    """Cut a crop of a two-row plate in the middle and lay the lower row to the right of the upper one.

    uint8 (H, W) or (H, W, 3) -> uint8 (about 0.55 H, 2 W, as before), so that the text reads from left to right.
    """
    rows = math.ceil(ROW_SHARE * len(image))
    return np.concatenate([image[:rows], image[-rows:]], axis=1)


def read_frames(track: Track, config: InputConfig) -> tuple[Image, tuple[Frame, ...], tuple[Problem, ...]]:
    """Read and preprocess the LR frames of a track; its HR frames are never opened.

    Returns uint8 (F, C, H, W), the F frames that could be read, and one problem for each of the others. F may be 0.
    """
    images: list[Image] = []
    frames: list[Frame] = []
    problems: list[Problem] = []
    for frame in track.lr:
        try:
            images.append(preprocess(read_image(frame.path), config))
        except InputError as error:
            problems.append(error.problem)
        else:
            frames.append(frame)
    empty = np.empty((0, config.channels, config.height, config.width), dtype=np.uint8)
    return (np.stack(images) if images else empty), tuple(frames), tuple(problems)


def _equalize_luminance(image: Image) -> Any:
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    planes[..., 0] = cv2.equalizeHist(np.ascontiguousarray(planes[..., 0]))
    return cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)


def _png_header(data: bytes) -> _Header:
    """Walk the chunks of a PNG file and verify their checksums (3 us for a crop): libpng shows a grey rest instead."""
    width = height = depth = colour = 0
    has_pixels = transparent = False
    offset = len(_PNG_SIGNATURE)
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind = data[offset + 4 : offset + 8]
        end = offset + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[offset + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return _Header(width, height, f"chunk {kind.decode('latin-1')} has a wrong checksum")
        if kind == b"IHDR" and length >= 13:
            width, height, depth, colour = struct.unpack_from(">IIBB", data, offset + 8)
        elif kind == b"IDAT":
            has_pixels = True
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"IEND":
            damage = "" if has_pixels and width else "it holds no pixels"
            return _Header(width, height, damage, transparent or colour in _PNG_WITH_ALPHA, depth == 16)
        offset = end + 4
    return _Header(width, height, "it is cut short (no PNG end)")


def _jpeg_header(data: bytes) -> _Header:
    """Walk the segments of a JPEG file up to its first scan, and look for the end marker after it.

    Entropy-coded data never holds FF D9 (FF is stuffed), while a thumbnail before the scan may.
    """
    width = height = 0
    offset = 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            return _Header(width, height, "its JPEG segments are garbled")
        marker = data[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a body
            offset += 2
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        if marker in _JPEG_SOF and offset + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, offset + 5)
        elif marker == _JPEG_SOS:
            if data.find(_JPEG_EOI, offset + 2 + length) < 0:
                break
            return _Header(width, height, "" if width else "it holds no picture")
        offset += 2 + length
    return _Header(width, height, "it is cut short (no JPEG end)")


def _decode_over_white(data: bytes, path: Path | str) -> Image:
    """Decode a PNG with transparency: OpenCV would show whatever colour lies hidden in its transparent pixels."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(BytesIO(data)) as stored:
            opened = ImageOps.exif_transpose(stored)
            if opened.mode.startswith("I"):
                return _deep_grey_over_white(np.asarray(opened), opened.info.get("transparency"))
            layer = opened.convert("RGBA")
            paper = Pillow.new("RGBA", layer.size, "white")
            return np.array(Pillow.alpha_composite(paper, layer).convert("RGB"))
    # Pillow's decoders raise a dozen kinds of errors on broken data; one bad file must not end a batch.
    except Exception as error:
        raise InputError("is damaged: it cannot be decoded", where=path, fix="copy it again") from error


def _upper_bits(image: NDArray[Any]) -> Image:
    """uint16 of any shape -> uint8, the upper 8 of the bits in use: the 10 or 12 of a sensor are often stored as is."""
    used = int(image.max()).bit_length()
    return (image >> (max(used - 8, 0) if used <= SENSOR_BITS else 8)).astype(np.uint8)


def _deep_grey_over_white(grey: NDArray[Any], transparent: Any) -> Image:
    """16-bit grey (H, W) with one transparent value -> uint8 (H, W, 3); Pillow's own conversion clips at 255."""
    upper = _upper_bits(np.where(grey == transparent, 0, grey))
    upper[grey == transparent] = 255
    return np.repeat(upper[..., None], 3, axis=2)
