"""Draws a plate flat, from its format's `drawing` and a record of what is its own.

The picture is 1 px a mm: at least 2.7 times finer than the largest frame of the competition (148 px a plate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..formats import PlateFormat, allowed
from ..types import InputError
from .fonts import folder_faces
from .glyphs import LATEST, draw_glyph, face
from .typeset import TypeDraws, typeset

Image = NDArray[np.uint8]


#: Car colours with their weights (white, silver, grey and black are most of the Brazilian fleet).
_BODIES = (
    ((228, 228, 226), 0.27), ((158, 160, 163), 0.22), ((24, 24, 26), 0.18), ((84, 86, 90), 0.13),
    ((150, 20, 24), 0.10), ((28, 48, 96), 0.05), ((120, 96, 70), 0.03), ((40, 70, 50), 0.02),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlateDraws:
    """What is this plate's own: the same on every track it appears on.

    `stroke`, `width` and `radius` multiply the typeface's; `spacing` the distances between characters;
    `setting` says how a text of free length is set (None: characters stand at the format's own places);
    `offsets_mm` shift single characters. `fade` mixes the ink with the ground, `dirt` is the largest share of
    light that dirt swallows. `body` is the car's colour, RGB. `texture` seeds the dirt's place and the car's shape.
    """

    use: str
    stroke: float
    width: float
    radius: float
    spacing: float
    offsets_mm: tuple[float, ...]
    separator: str
    banner: str
    tint: tuple[float, float, float]
    fade: float
    dirt: float
    frame: bool
    seal: bool
    body: tuple[int, int, int]
    texture: int
    setting: TypeDraws | None = None


def draw_plate_parameters(
    rng: np.random.Generator, plate_format: PlateFormat, text: str, fonts: Path | None = None
) -> PlateDraws:
    """Draw what is a plate's own. The spreads are those of the photographs, judged by eye.

    `fonts` is a folder whose faces take the place of the format's own.
    """
    spec, setting = plate_format.drawing, None
    if "area_mm" in spec or "variants" in spec:
        spec, setting = _draw_setting(rng, spec, text, fonts)
    separator = spec.get("separator")
    banner = spec.get("banner")
    body = _BODIES[int(rng.choice(len(_BODIES), p=[share for _, share in _BODIES]))][0]
    return PlateDraws(
        use=choose(rng, {name: float(c["weight"]) for name, c in spec["colours"].items()}),
        stroke=round(rng.uniform(0.88, 1.14), 3),
        width=round(rng.uniform(0.95, 1.05), 3),
        radius=round(rng.uniform(0.85, 1.15), 3),
        spacing=round(rng.uniform(0.97, 1.02), 3),
        offsets_mm=tuple(round(float(x), 1) for x in rng.normal(0, 0.9, len(text))),
        separator=choose(rng, separator["kinds"]) if separator else "none",
        banner=str(rng.choice(banner["texts"])) if banner else "",
        tint=tuple(round(float(x), 3) for x in rng.normal(1, 0.015, 3)),  # type: ignore[arg-type]
        fade=round(float(rng.beta(1, 6)) * 0.5, 3),
        dirt=round(float(rng.beta(1, 4)) * 0.6, 3),
        frame=bool(rng.random() < 0.25),
        seal=bool(rng.random() < 0.6),
        body=tuple(int(c) for c in np.clip(np.array(body) * rng.uniform(0.8, 1.15), 4, 245)),  # type: ignore[arg-type]
        texture=int(rng.integers(2**31)),
        setting=setting,
    )


def _draw_setting(
    rng: np.random.Generator, spec: Mapping[str, Any], text: str, fonts: Path | None
) -> tuple[Mapping[str, Any], TypeDraws]:
    """Choose variant and typeface and how the text is set; returns the drawing with its variant, too."""
    variant = ""
    if variants := spec.get("variants"):
        fitting = {
            name: float(v["weight"]) for name, v in variants.items() if fits(v.get("template", "X" * len(text)), text)
        }
        variant = choose(rng, fitting)
    spec = variant_of(spec, variant)
    faces = folder_faces(fonts) if fonts else spec["faces"]
    draws = TypeDraws(
        face=str(rng.choice(faces)),
        variant=variant,
        height=round(float(rng.random()), 3),
        gap=round(float(rng.random()), 3),
        group_gap=round(float(rng.random()), 3),
        at=(round(float(rng.random()), 3), round(float(rng.random()), 3)),
        mark=choose(rng, spec["marks"]) if "marks" in spec else "none",
    )
    return spec, draws


def variant_of(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The drawing with one of its variants laid over it."""
    return {**spec, **spec["variants"][name]} if name else spec


def size_of(plate_format: PlateFormat, draws: PlateDraws) -> tuple[int, int]:
    """Width and height of a plate in mm."""
    width, height = variant_of(plate_format.drawing, draws.setting.variant if draws.setting else "")["size_mm"]
    return width, height


def fits(template: str, text: str) -> bool:
    """Whether `text` obeys one template."""
    return len(template) == len(text) and all(c in allowed(t) for c, t in zip(text, template, strict=True))


def record(draws: Any) -> dict[str, Any]:
    """A draws object as plain values, without fields that are None: formats that have none keep their bytes."""
    return {name: value for name, value in asdict(draws).items() if value is not None}


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names, with probability in proportion to its weight."""
    values = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(values), p=values / values.sum()))]


def draw_plate(
    plate_format: PlateFormat, text: str, draws: PlateDraws, fonts: Path | None = None, *, edition: int = LATEST
) -> tuple[Image, Image]:
    """The flat plate, uint8 (H, W, 3) RGB at 1 px/mm, and its outline, uint8 (H, W), 255 inside.

    `fonts`: a folder of typefaces. `edition`: of the glyphs (see glyphs.Face).
    A format without a usable `drawing` part is an InputError that names the format and field.
    """
    try:
        variant = draws.setting.variant if draws.setting else ""
        return _draw(variant_of(plate_format.drawing, variant), text, draws, plate_format.name, fonts, edition)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"cannot be drawn: `drawing` lacks or misspells {error}",
            where=plate_format.path or f"{plate_format.name}.yaml",
            fix="compare it with configs/formats/brazilian.yaml",
        ) from error


def _draw(
    spec: Mapping[str, Any], text: str, draws: PlateDraws, name: str, fonts: Path | None, edition: int
) -> tuple[Image, Image]:
    width, height = spec["size_mm"]
    colours = spec["colours"][draws.use]
    ground = np.clip(np.array(colours["ground"], float) * draws.tint, 0, 255)
    ink = np.array(colours["ink"], float)
    ink = ink + (ground - ink) * draws.fade
    plate = np.empty((height, width, 3), np.uint8)
    plate[:] = ground
    outline = rounded_box(width, height, spec["corner_mm"])
    if "border" in spec:
        _border(plate, spec)
    if edition > 1 and "banner" in spec:
        _bead(plate, spec["corner_mm"], ground, np.random.default_rng([draws.texture, 4]))
    elif spec.get("rim", True):
        _rim(plate, spec["corner_mm"], ground)
    if band := spec.get("band"):
        # The country's name is a tab of light in far frames; on real plates it is seldom seen there.
        _band(plate, band, np.random.default_rng([draws.texture, 3]).uniform(0.2, 0.8) if edition > 1 else 0.0)
    if banner := spec.get("banner"):
        x, y = banner["centre_mm"]
        if edition > 1:
            # The tarjeta is a sheet of its own, riveted over the field.
            half = (0.41 * width, 0.85 * banner["height_mm"])
            edge = (
                plate[min(round(y), height - 1), min(round(x), width - 1)]
                * np.random.default_rng([draws.texture, 5]).uniform(0.6, 1.0)
            ).tolist()
            cv2.rectangle(plate, _point(x - half[0], y - half[1]), _point(x + half[0], y + half[1]), edge, 2)
        _small_text(plate, draws.banner, x, y, banner["height_mm"], ink)
    small = ink
    if edition > 1:
        # Small prints are fainter than characters and fade sooner, on some plates altogether.
        small = ink + (ground - ink) * np.random.default_rng([draws.texture, 1]).uniform(0.15, 0.9)
    if "qr_mm" in spec:
        _qr(plate, spec["qr_mm"], small, draws.texture)
    if "country_mm" in spec:
        x, y, size = spec["country_mm"]
        _small_text(plate, spec.get("country", "BR"), x + size * 0.8, y + size / 2, size, small)
    if draws.seal and "separator" in spec:
        cv2.ellipse(plate, (38, 30), (11, 7), 10, 0, 360, (140, 40, 40), -1, cv2.LINE_AA)
    _badges(plate, spec.get("badges", ()), draws.texture)
    if draws.setting:
        sizes = {"stroke": draws.stroke, "width": draws.width, "radius": draws.radius}
        for item in typeset(spec, text, draws.setting, **sizes, fonts=fonts, edition=edition):
            stamp(plate, item.ink, item.x + item.ink.shape[1] / 2, item.y, ink)
    else:
        _characters(plate, spec, text, draws, ink, name, edition)
    for x, y in spec.get("slots_mm", ()):
        cv2.rectangle(plate, _point(x - 7, y - 2.5), _point(x + 7, y + 2.5), (40, 38, 36), -1)
    if draws.dirt > 0.02:
        _dirty(plate, draws)
    return plate, outline


def _characters(
    plate: Image,
    spec: Mapping[str, Any],
    text: str,
    draws: PlateDraws,
    ink: NDArray[np.float64],
    name: str,
    edition: int,
) -> None:
    """Characters at the format's own places, and the separator between letters and digits."""
    typeface = face(spec["face"], f"configs/formats/{name}.yaml")
    centre = plate.shape[1] / 2
    for character, x_mm, offset in zip(text, spec["centres_mm"], draws.offsets_mm, strict=True):
        glyph = draw_glyph(
            character,
            typeface,
            spec["character_mm"],
            stroke=draws.stroke,
            width=draws.width,
            radius=draws.radius,
            edition=edition,
        )
        stamp(plate, glyph, centre + (x_mm - centre) * draws.spacing + offset, spec["top_mm"], ink)
    if draws.separator in ("dot", "dash"):
        x = centre + (spec["separator"]["x_mm"] - centre) * draws.spacing
        y = spec["top_mm"] + spec["character_mm"] * 0.5
        half = (5.0, 5.0) if draws.separator == "dot" else (9.0, 4.0)
        cv2.rectangle(plate, _point(x - half[0], y - half[1]), _point(x + half[0], y + half[1]), ink.tolist(), -1)


def stamp(plate: Image, glyph: Image, centre_x: float, top: float, ink: NDArray[np.float64]) -> None:
    """Blend a glyph (h, w) into the plate in place; parts outside the plate are cut off."""
    h, w = glyph.shape
    x, y = round(centre_x - w / 2), round(top)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, plate.shape[1]), min(y + h, plate.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    share = glyph[y0 - y : y1 - y, x0 - x : x1 - x, None] / 255.0
    part = plate[y0:y1, x0:x1]
    part[:] = part + (ink - part) * share


def rounded_box(width: int, height: int, radius: int) -> Image:
    """Filled box with round corners, uint8 (H, W), 255 inside."""
    box = np.zeros((height, width), np.uint8)
    cv2.rectangle(box, (radius, 0), (width - 1 - radius, height - 1), 255, -1)
    cv2.rectangle(box, (0, radius), (width - 1, height - 1 - radius), 255, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(box, (x, y), radius, 255, -1, cv2.LINE_AA)
    return box


def _point(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)


def _rim(plate: Image, radius: int, ground: NDArray[np.float64]) -> None:
    """The pressed rim: a light and a dark line a few millimetres inside the edge."""
    h, w = plate.shape[:2]
    inner = rounded_box(w - 8, h - 8, max(radius - 4, 1))
    edges, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(4, 4))
    cv2.drawContours(plate, edges, -1, (ground * 0.72).tolist(), 2, cv2.LINE_AA)
    cv2.rectangle(plate, (0, 0), (w - 1, h - 1), np.clip(ground * 1.06, 0, 255).tolist(), 2)


def _bead(plate: Image, radius: int, ground: NDArray[np.float64], rng: np.random.Generator) -> None:
    """The edge of pressed tin, which rises out of the field: now as bright as it, now the only part in the light."""
    h, w = plate.shape[:2]
    wide = int(rng.integers(6, 13))
    inner = np.zeros((h, w), np.uint8)
    inner[wide : h - wide, wide : w - wide] = rounded_box(w - 2 * wide, h - 2 * wide, max(radius - wide // 2, 3))
    lit = rng.uniform(1.3, 1.9) if rng.random() < 0.2 else rng.uniform(0.95, 1.25)
    # A plate in the light is as bright as before; where the bead is brighter than that, the field lies in the shade.
    dim = min(1.0, 250 / float(ground.max() * lit))
    plate[:] = np.clip(ground * dim, 0, 255)
    plate[inner < 128] = np.clip(ground * (lit * dim), 0, 255)
    edges, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(plate, edges, -1, (ground * dim * rng.uniform(0.5, 0.9)).tolist(), 3, cv2.LINE_AA)


def _small_text(plate: Image, text: str, x: float, y: float, height: float, ink: NDArray[np.float64]) -> None:
    """Hershey text centred at (x, y) mm; too small to be read in any frame, so its typeface does not matter."""
    scale = height / 21.0  # FONT_HERSHEY_SIMPLEX capitals are 21 px high at scale 1
    thickness = max(1, round(height / 7))
    (w, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    origin = _point(x - w / 2, y + height / 2)
    cv2.putText(plate, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink.tolist(), thickness, cv2.LINE_AA)


def _border(plate: Image, spec: Mapping[str, Any]) -> None:
    """A frame of its own colour inside the plate's edge."""
    h, w = plate.shape[:2]
    thick, colour = spec["border"]["width_mm"], spec["border"]["colour"]
    inner = rounded_box(w - 2 * thick, h - 2 * thick, max(spec["corner_mm"] - thick // 2, 1)) > 127
    outer = plate.copy()
    plate[:] = colour
    plate[thick : h - thick, thick : w - thick][inner] = outer[thick : h - thick, thick : w - thick][inner]


def _badges(plate: Image, badges: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Small coloured fields with a short text or rows of small digits, each on its share of the plates."""
    rng = np.random.default_rng(seed)
    for badge in badges:
        colour = badge["colours"][int(rng.integers(len(badge["colours"])))]
        if rng.random() >= badge["share"]:
            continue
        x, y, w, h = badge["place_mm"]
        if "ground" not in badge or badge["ground"]:
            cv2.rectangle(plate, (x, y), (x + w, y + h), colour, -1)
            colour = [235, 235, 235]
        if badge.get("text"):
            _small_text(plate, badge["text"], x + w / 2, y + h / 2, min(h * 0.4, w * 0.5), np.array(colour, float))
        rows = int(rng.choice(badge["digit_rows"])) if "digit_rows" in badge else 0
        for row in range(rows):
            number, middle = f"{int(rng.integers(1, 32)):02d}", y + h * (row + 0.5) / rows
            _small_text(plate, number, x + w / 2, middle, min(h * 0.6 / rows, w * 0.5), np.array(colour, float))


def _band(plate: Image, band: Mapping[str, Any], fade: float) -> None:
    """The upper edge with the country's name, which `fade` mixes with its ground, flag and emblem."""
    h, w = round(band["height_mm"]), plate.shape[1]
    cv2.rectangle(plate, (0, 0), (w - 1, h - 1), band["colour"], -1)
    text = np.array([200.0, 206, 216])
    text += (np.array(band["colour"], float) - text) * fade
    _small_text(plate, band["text"], w / 2, h * 0.48, band["text_mm"], text)
    if "flag_mm" not in band:
        return
    x, y, fw, fh = band["flag_mm"]
    cv2.rectangle(plate, (x, y), (x + fw, y + fh), (40, 100, 62), -1)
    cx, cy = x + fw // 2, y + fh // 2
    diamond = np.array([[cx, y + 2], [x + fw - 3, cy], [cx, y + fh - 2], [x + 3, cy]])
    cv2.fillConvexPoly(plate, diamond, (190, 172, 66), cv2.LINE_AA)
    cv2.circle(plate, (cx, cy), fh // 4, (30, 50, 120), -1, cv2.LINE_AA)
    x, y, ew, eh = band["emblem_mm"]
    cv2.ellipse(plate, (x + ew // 2, y + eh), (ew // 2, eh * 2 // 3), 0, 180, 360, (90, 115, 170), 1, cv2.LINE_AA)
    for k in range(4):
        cv2.circle(plate, (x + 6 + 6 * k, y + 3 + (k % 2) * 4), 1, (220, 225, 235), -1)


def _qr(plate: Image, place: tuple[int, int, int], ink: NDArray[np.float64], seed: int) -> None:
    x, y, side = place
    modules = np.random.default_rng(seed).random((side // 2, side // 2)) < 0.5
    code = np.kron(modules, np.ones((2, 2), bool))
    plate[y : y + code.shape[0], x : x + code.shape[1]][code] = ink


def _dirty(plate: Image, draws: PlateDraws) -> None:
    """Soft blotches of dust, more of them towards the lower edge, where wheels throw it."""
    h, w = plate.shape[:2]
    coarse = np.random.default_rng(draws.texture).random((5, 11), dtype=np.float32)
    cloud = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    cloud = cloud * np.linspace(0.5, 1.1, h, dtype=np.float32)[:, None]
    share = np.clip(cloud - 0.3, 0, 1)[:, :, None] * draws.dirt
    plate[:] = plate + (np.array([118, 104, 86], np.float32) - plate) * share
