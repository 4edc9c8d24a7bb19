"""Writes synthetic pictures of single plates: DIR/TEXT.jpg (a second one of the same plate TEXT_2.jpg) and labels.csv.

Formats whose drawing has an `image` part are made so. The picture is photographed like a frame of a track, or, with
`flat: true`, is the drawing itself in grey.
"""

from __future__ import annotations

import csv
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..files import write_text
from ..formats import PlateFormat
from ..types import InputError
from .camera import photograph
from .draw import Image, draw_plate, draw_plate_parameters, size_of, variant_of
from .fonts import folder_faces
from .hardness import Sizes, draw_track, level
from .jobs import claim, digest, make_all, store
from .scene import build_scene
from .spec import check_drawing
from .texts import Letters, Split, fresh_text, with_letters
from .wear import apply_wear, draw_wear

#: The codec of the camera has been through it; this is the file.
_JPEG_QUALITY = 95
#: Noise of flat pictures, grey levels: the largest standard deviation.
_FLAT_NOISE = 6.0


@dataclass(frozen=True, slots=True)
class _Job:
    root: Path
    index: int
    name: str
    text: str
    format: PlateFormat
    seed: int
    hardness: str
    fonts: Path | None


def write_images(
    out: Path,
    n: int,
    plate_format: PlateFormat,
    seed: int,
    *,
    hardness: str = "photo",
    split: Split = "train",
    letters: Letters = "series",
    fonts: Path | None = None,
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Write `n` pictures below `out` and then their list, DIR/labels.csv (path, text, layout); returns `out`.

    No text of a test set is in a training set of the same format, whatever their seeds; texts differ but for the
    share that the format's `image.repeated` names. `letters`: see texts.with_letters. `fonts`: a folder of
    typefaces instead of the format's own.
    InputError for a count below 1 or above the number of texts, and a folder that is not this set's.
    """
    if n < 1:
        raise InputError(f"the number of images must be at least 1, not {n}")
    out, fonts = Path(out).resolve(), Path(fonts).resolve() if fonts else None
    check_drawing(plate_format, fonts)
    plate_format = with_letters(plate_format, letters)
    arguments = {
        "generator": level(hardness).generator,
        "images": n,
        "hardness": hardness,
        "seed": seed,
        "split": split,
        "formats": [plate_format.name],
        "codec": "jpeg",
        "drawings": digest([plate_format]),
        **({"letters": letters} if letters != "series" else {}),
        **({"fonts": list(folder_faces(fonts))} if fonts else {}),
    }
    names = _names(n, plate_format, seed, split)
    claim(out, arguments)
    jobs = [
        _Job(out, i, name, text, plate_format, seed, hardness, fonts) for i, (name, text) in enumerate(names.items(), 1)
    ]
    todo = [job for job in jobs if not (out / job.name).exists()]
    make_all(_write_image, todo, out, workers=workers, what="drawing plates" if progress else None)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "text", "layout"))
    writer.writerows((name, text, plate_format.layout) for name, text in names.items())
    write_text(out / "labels.csv", table.getvalue())
    return out


def _names(n: int, plate_format: PlateFormat, seed: int, split: Split) -> dict[str, str]:
    """File names and their texts."""
    rng = np.random.default_rng([seed, 0])
    image = plate_format.drawing["image"]
    groups = ("test",) if split == "test" else ("A", "B")
    seen: set[str] = set()
    times: dict[str, int] = {}
    texts: list[str] = []
    names: dict[str, str] = {}
    for _ in range(n):
        if texts and rng.random() < image.get("repeated", 0.0):
            text = texts[int(rng.integers(len(texts)))]
        else:
            text = fresh_text(rng, plate_format, groups, seen)
            texts.append(text)
        times[text] = times.get(text, 0) + 1
        number = f"_{times[text]}" if times[text] > 1 else ""
        names[f"{text}{number}{image['suffix']}"] = text
    return names


def _write_image(job: _Job) -> None:
    own = zlib.crc32(job.text.encode())
    plate_rng, rng = np.random.default_rng([job.seed, 1, own]), np.random.default_rng([job.seed, 2, job.index])
    plate = draw_plate_parameters(plate_rng, job.format, job.text, job.fonts)
    hard = level(job.hardness)
    # Single pictures came with the second edition, `easy` ones too.
    edition = max(hard.edition, 1)
    picture, outline = draw_plate(job.format, job.text, plate, job.fonts, edition=edition)
    image = variant_of(job.format.drawing, plate.setting.variant if plate.setting else "")["image"]
    if image.get("flat"):
        shown = _flat(picture, rng)
    else:
        if hard.worn:
            wear = draw_wear(np.random.default_rng([job.seed, 3, own]), size_of(job.format, plate))
            picture, outline = apply_wear(picture, outline, wear)
        median, sigma, low, high = image["width_px"]
        aspect = (float(np.clip(rng.normal(*image["aspect"]), 1.8, 4.5)), 0.1)
        sizes = Sizes((median, sigma, low, high), (median, sigma, low, high), aspect, aspect, 2.0)
        track, frames = draw_track(rng, "A", hard, hr=False, sizes=sizes)
        scene = build_scene(
            picture,
            outline,
            body=plate.body,
            night=False,
            shade=track.shade,
            frame=plate.frame,
            texture=plate.texture,
            worn=hard.worn,
        )
        # The last far frame has the width that was drawn for it.
        ((shown, _),) = photograph(scene, track, frames[-1:])
        if image.get("grey"):
            shown = np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if image["suffix"] == ".jpg" else []
    coded = shown if shown.ndim == 2 else cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    store(job.root, job.root / job.name, cv2.imencode(image["suffix"], coded, options)[1].tobytes())


def _flat(picture: Image, rng: np.random.Generator) -> Image:
    """The drawing in grey, uint8 (H, W), with a little noise."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey += rng.standard_normal(grey.shape, np.float32) * np.float32(rng.uniform(0, _FLAT_NOISE))
    return np.asarray(np.clip(grey, 0, 255), np.uint8)
