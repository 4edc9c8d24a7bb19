"""Writes synthetic tracks in the competition's layout: the same seed gives the same bytes, however many workers.

A track is made in DIR/.partial and then renamed, so nothing half-written is ever read as one. DIR/synth.json
holds the arguments: the same call again goes on where an interrupted one stopped, another one is refused.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..files import write_text
from ..formats import PlateFormat, load_formats
from ..types import InputError
from .camera import photograph
from .codec import check_codec
from .draw import PlateDraws, draw_plate, draw_plate_parameters, record, size_of
from .fonts import folder_faces
from .hardness import FrameDraws, TrackDraws, draw_track, level
from .jobs import claim, digest, make_all, store
from .scene import build_scene
from .spec import check_drawing
from .texts import Letters, Split, TrackPlan, plan_tracks, with_letters
from .wear import WearDraws, apply_wear, draw_wear

#: File of Scenario B, saved from an already compressed frame.
_JPEG_QUALITY = 92

_CORNER_NAMES = ("top-left", "top-right", "bottom-right", "bottom-left")


@dataclass(frozen=True, slots=True)
class _Job:
    root: Path
    plan: TrackPlan
    format: PlateFormat
    seed: int
    hardness: str
    split: Split
    codec: str
    fonts: Path | None


def write_tracks(
    out: Path,
    n: int,
    hardness: str,
    seed: int,
    *,
    split: Split = "train",
    formats: Sequence[str] = ("brazilian", "mercosur"),
    letters: Letters = "series",
    codec: str = "jpeg",
    fonts: Path | None = None,
    workers: int = 0,
    first: int | None = None,
    progress: bool = True,
) -> Path:
    """Write `n` tracks below `out`; returns `out`, or for a test set the path of its truth.

    train: DIR/Scenario-A/LAYOUT/track_00001/{lr,hr}-00i.png with annotations.json, Scenario-B as .jpg.
    test: DIR/track_10001/lr-00i.jpg alone; beside DIR stand NAME_truth.csv (track_id, text, layout, scenario) and
    NAME_synthetic.jsonl (every draw). `letters`: see texts.with_letters.
    `codec` is what Scenario B's frames went through, "jpeg" or "h264". `fonts`:
    a folder of typefaces for formats that are drawn with fonts. `workers` 0 takes one process a core, 1 none beside
    this one. `first`: make only so many of the `n` now; the same call without it goes on. InputError for a count
    below 1, unknown hardness, format or codec, and a folder that is not this set's or cannot be written.
    """
    if n < 1:
        raise InputError(f"the number of tracks must be at least 1, not {n}")
    check_codec(codec)
    specs = {f.name: with_letters(f, letters) for f in load_formats(formats)}
    out, fonts = Path(out).resolve(), Path(fonts).resolve() if fonts else None
    for plate_format in specs.values():
        check_drawing(plate_format, fonts)
    arguments = {
        "generator": level(hardness).generator,
        "tracks": n,
        "hardness": hardness,
        "seed": seed,
        "split": split,
        "formats": list(formats),
        "codec": codec,
        "drawings": digest(specs.values()),
        **({"letters": letters} if letters != "series" else {}),
        **({"fonts": list(folder_faces(fonts))} if fonts else {}),
    }
    claim(out, arguments)
    jobs = [
        _Job(out, plan, specs[plan.format], seed, hardness, split, codec, fonts)
        for plan in plan_tracks(n, seed, split, list(specs.values()))
    ]
    todo = [job for job in jobs[:first] if not (out / job.plan.folder).exists()]
    make_all(_write_track, todo, out, workers=workers, what="drawing tracks" if progress else None)
    return _write_truth(out, jobs) if split == "test" else out


def _draws(job: _Job) -> tuple[PlateDraws, WearDraws | None, TrackDraws, tuple[FrameDraws, ...]]:
    """Everything random of a track. A plate's own draws depend on its text, so a repeated plate is the same car."""
    plate_format = job.format
    hard = level(job.hardness)
    own = zlib.crc32(job.plan.text.encode())
    plate = draw_plate_parameters(np.random.default_rng([job.seed, 1, own]), plate_format, job.plan.text, job.fonts)
    wear = None
    if hard.worn:
        age = float(plate_format.drawing.get("age", 1.0))
        wear = draw_wear(np.random.default_rng([job.seed, 3, own]), size_of(plate_format, plate), age)
        plate = replace(
            plate,
            stroke=round(plate.stroke * wear.stroke, 3),
            fade=round(min(plate.fade * age, 0.6), 3),
            dirt=round(min(plate.dirt * age, 0.8), 3),
        )
    track_rng = np.random.default_rng([job.seed, 2, job.plan.index])
    track, frames = draw_track(track_rng, job.plan.scenario, hard, hr=job.split == "train")
    return plate, wear, track, frames


def _write_track(job: _Job) -> None:
    """Draw, photograph and store one track."""
    plate, wear, track, frames = _draws(job)
    picture, outline = draw_plate(job.format, job.plan.text, plate, job.fonts, edition=level(job.hardness).edition)
    if wear:
        picture, outline = apply_wear(picture, outline, wear)
    scene = build_scene(
        picture,
        outline,
        body=plate.body,
        night=track.night,
        shade=track.shade,
        frame=plate.frame,
        texture=plate.texture,
        worn=wear is not None,
        details=level(job.hardness).edition > 1,
    )
    suffix = ".png" if job.plan.scenario == "A" else ".jpg"
    files: dict[str, bytes] = {}
    corners: dict[str, dict[str, list[int]]] = {}
    photographs = photograph(scene, track, frames, job.codec if job.plan.scenario == "B" else "jpeg")
    for frame, (image, points) in zip(frames, photographs, strict=True):
        name = frame.name + suffix
        options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        files[name] = data.tobytes()
        corners[name] = {key: [round(x), round(y)] for key, (x, y) in zip(_CORNER_NAMES, points.tolist(), strict=True)}
    if job.split == "train":
        annotations = {
            "plate_layout": job.format.layout,
            "plate_text": job.plan.text,
            "corners": corners if job.plan.scenario == "A" else {},
            "synthetic": _record(job),
        }
        files["annotations.json"] = (json.dumps(annotations) + "\n").encode()
    store(job.root, job.root / job.plan.folder, files)


def _record(job: _Job) -> dict[str, Any]:
    """Every draw of a track, as plain values."""
    plate, wear, track, frames = _draws(job)
    return {
        "generator": level(job.hardness).generator,
        "seed": job.seed,
        "hardness": job.hardness,
        "plate": record(plate),
        **({"wear": asdict(wear)} if wear else {}),
        "track": record(track),
        "frames": [asdict(frame) for frame in frames],
    }


def _write_truth(out: Path, jobs: Sequence[_Job]) -> Path:
    """Store a test set's truth and draws beside its folder: inside, a reader might look at them."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("track_id", "text", "layout", "scenario"))
    for job in jobs:
        writer.writerow((job.plan.id, job.plan.text, job.format.layout, job.plan.scenario))
    truth = out.parent / f"{out.name}_truth.csv"
    draws = (json.dumps({"track_id": job.plan.id, "synthetic": _record(job)}) for job in jobs)
    write_text(out.parent / f"{out.name}_synthetic.jsonl", "\n".join(draws) + "\n")
    write_text(truth, table.getvalue())
    return truth
