"""Typefaces beside our own stroke outlines: files of font packages from PyPI, or a user's folder (`--fonts DIR`).

No font file lies in this repository. A face is called by its file's stem; the packages stand in requirements.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from ..types import InputError
from .glyphs import FACES, LATEST, draw_glyph

#: Package on PyPI -> its module, the folder of its fonts, and the faces used of it: 27 faces of 17 families.
PACKAGES = {
    "font-amatic-sc": ("font_amatic_sc", "files", ("AmaticSC-Bold.ttf",)),
    "font-caladea": ("font_caladea", "files", ("Caladea-Regular.ttf", "Caladea-Bold.ttf")),
    "font-fredoka-one": ("font_fredoka_one", "files", ("FredokaOne-Regular.ttf",)),
    "font-hanken-grotesk": ("font_hanken_grotesk", "files", ("HankenGrotesk-Regular.otf", "HankenGrotesk-Bold.otf")),
    "font-intuitive": ("font_intuitive", "files", ("Intuitive.ttf",)),
    "font-manrope": ("font_manrope", "files", ("Manrope-Regular.ttf", "Manrope-ExtraBold.ttf")),
    "font-roboto": ("font_roboto", "files", ("Roboto-Regular.ttf", "Roboto-Bold.ttf")),
    "font-source-sans-pro": (
        "font_source_sans_pro", "files", ("SourceSansPro-Regular.ttf", "SourceSansPro-Bold.ttf"),
    ),
    "font-source-serif-pro": (
        "font_source_serif_pro", "files", ("SourceSerifPro-Regular.ttf", "SourceSerifPro-Bold.ttf"),
    ),
    "ttf-opensans": ("ttf_opensans", "ttf", ("OpenSans-Regular.ttf", "OpenSans-Bold.ttf")),
    "matplotlib": (
        "matplotlib", "mpl-data/fonts/ttf",
        ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSerif.ttf",
         "DejaVuSerif-Bold.ttf",
         "STIXGeneral.ttf", "STIXGeneralBol.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf"),
    ),
}  # fmt: skip

_SUFFIXES = (".ttf", ".otf")
#: A glyph's picture reaches so far above the digits and below the base line, in units of their height.
_ABOVE, _BELOW = 0.25, 0.35


def packaged_faces() -> tuple[str, ...]:
    """Names of the faces of PACKAGES, whether installed or not."""
    return tuple(Path(file).stem for _, _, files in PACKAGES.values() for file in files)


def folder_faces(folder: Path) -> tuple[str, ...]:
    """Names of the faces in a user's folder, sorted; InputError if there is none or the folder does not exist."""
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, fix="name a folder that holds .ttf or .otf files")
    names = sorted({path.stem for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES})
    if not names:
        raise InputError("holds no font", where=folder, fix="put .ttf or .otf files there")
    return tuple(names)


def check_faces(names: Sequence[str], characters: str, folder: Path | None, where: object) -> None:
    """InputError if a face is unknown, its package missing, its file broken, or a character not in it."""
    for name in names:
        if name in FACES:
            missing = [c for c in characters if c not in FACES[name].glyphs]
            path: object = where
        else:
            path = _find(name, folder, where)
            missing = [c for c in characters if not _has(str(path), c)]
        if missing:
            raise InputError(
                f"typeface {name} lacks {' '.join(map(repr, missing[:5]))}", where=path, fix="take another typeface"
            )


def glyph(
    name: str,
    character: str,
    height_px: float,
    *,
    stroke: float,
    width: float,
    radius: float,
    folder: Path | None,
    edition: int = LATEST,
) -> tuple[NDArray[np.uint8], float]:
    """Ink uint8 (H, W) cut tightly at left and right, and how far above the characters' top it begins, px.

    `stroke`, `radius` and `edition` are for stroke faces; weights of fonts are faces of their own.
    """
    if name in FACES:
        sizes = {"stroke": stroke, "width": width, "radius": radius}
        return draw_glyph(character, FACES[name], height_px, **sizes, edition=edition), 0.0
    ink = _font_ink(str(_find(name, folder, "")), character, round(height_px * 4) / 4)
    if abs(width - 1) > 0.01:
        size = (max(1, round(ink.shape[1] * width)), ink.shape[0])
        ink = np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), np.uint8)
    return ink, _ABOVE * height_px


@cache
def _find(name: str, folder: Path | None, where: object) -> Path:
    """The file of a face."""
    if folder is not None:
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    for package, (module, below, files) in PACKAGES.items():
        for file in files:
            if Path(file).stem != name:
                continue
            spec = find_spec(module)
            places = list(spec.submodule_search_locations or ()) if spec else []
            for place in places:
                if (path := Path(place) / below / file).is_file():
                    return path
            raise InputError(
                f"typeface {name} is not installed", fix=f"pip install {package}, or name your own fonts with --fonts"
            )
    known = ", ".join([*FACES, *packaged_faces()])
    raise InputError(f"unknown typeface {name!r}", where=where, fix=f"known: {known}")


@cache
def _font(path: str, size: float) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        raise InputError(f"is not a font that can be read: {error}", where=path, fix="remove it") from error


def _has(path: str, character: str) -> bool:
    """Whether the font draws the character: not as nothing, and not as its sign for what it lacks."""
    font = _font(path, 40)
    mask, lacking = font.getmask(character), font.getmask("\uffff")
    return mask.getbbox() is not None and (mask.size != lacking.size or bytes(mask) != bytes(lacking))


@cache
def _font_ink(path: str, character: str, height_px: float) -> NDArray[np.uint8]:
    """Ink of a font's character whose digits are `height_px` high."""
    left, top, right, bottom = _font(path, 200).getbbox("0", anchor="ls")
    font = _font(path, max(200 * height_px / (bottom - top), 1.0))
    left, _, right, _ = font.getbbox(character, anchor="ls")
    size = (int(right - left) + 4, round(height_px * (1 + _ABOVE + _BELOW)))
    picture = PillowImage.new("L", size, 0)
    ImageDraw.Draw(picture).text((2 - left, height_px * (1 + _ABOVE)), character, 255, font, anchor="ls")
    ink = np.asarray(picture, np.uint8)
    used = np.flatnonzero(ink.any(0))
    return ink[:, used[0] : used[-1] + 1] if len(used) else ink
