"""Writes synthetic tracks in the competition's layout: the same seed gives the same bytes, however many workers.

A track is made in DIR/.partial and then renamed, so nothing half-written is ever read as one. DIR/synth.json
holds the arguments: the same call again goes on where an interrupted one stopped, another one is refused.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track as track_progress

from ..files import writable_folder, write_text
from ..formats import load_format, load_formats
from ..types import InputError
from .camera import photograph
from .codec import check_codec
from .draw import PlateDraws, draw_plate, draw_plate_parameters, record
from .hardness import FrameDraws, TrackDraws, draw_track, level
from .scene import build_scene
from .texts import Split, TrackPlan, plan_tracks
from .wear import WearDraws, apply_wear, draw_wear

#: Tracks a worker makes per request: enough to hide the cost of asking, few enough for an even progress bar.
_CHUNK = 8
#: Below this many tracks starting processes costs more than it saves.
_FEW = 48
#: File of Scenario B, saved from an already compressed frame.
_JPEG_QUALITY = 92

_CORNER_NAMES = ("top-left", "top-right", "bottom-right", "bottom-left")


@dataclass(frozen=True, slots=True)
class _Job:
    root: Path
    plan: TrackPlan
    seed: int
    hardness: str
    split: Split
    codec: str


def write_tracks(
    out: Path,
    n: int,
    hardness: str,
    seed: int,
    *,
    split: Split = "train",
    formats: Sequence[str] = ("brazilian", "mercosur"),
    codec: str = "jpeg",
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Write `n` tracks below `out`; returns `out`, or for a test set the path of its truth.

    train: DIR/Scenario-A/LAYOUT/track_00001/{lr,hr}-00i.png with annotations.json, Scenario-B as .jpg.
    test: DIR/track_10001/lr-00i.jpg alone; beside DIR stand NAME_truth.csv (track_id, text, layout, scenario) and
    NAME_synthetic.jsonl (every draw). `codec` is what Scenario B's frames went through, "jpeg" or "h264". `workers` 0 takes one process a core, 1 none beside this one. InputError for
    a count below 1, unknown hardness, format or codec, and a folder that is not this set's or cannot be written.
    """
    if n < 1:
        raise InputError(f"the number of tracks must be at least 1, not {n}")
    check_codec(codec)
    specs = load_formats(formats)
    out = Path(out).resolve()
    arguments = {
        "generator": level(hardness).generator,
        "tracks": n,
        "hardness": hardness,
        "seed": seed,
        "split": split,
        "formats": list(formats),
        "codec": codec,
    }
    _claim(out, arguments)
    jobs = [_Job(out, plan, seed, hardness, split, codec) for plan in plan_tracks(n, seed, split, specs)]
    try:
        shutil.rmtree(out / ".partial", ignore_errors=True)
        todo = [job for job in jobs if not (out / job.plan.folder).exists()]
        steps = _run(todo, workers)
        stderr = Console(stderr=True)
        for _ in track_progress(
            steps, "drawing tracks", len(todo), console=stderr, transient=True, disable=not progress
        ):
            pass
        return _write_truth(out, jobs) if split == "test" else out
    finally:
        shutil.rmtree(out / ".partial", ignore_errors=True)


def _claim(out: Path, arguments: dict[str, Any]) -> None:
    """Make `out` ours, or refuse it: a folder with other content or of another call is never written into."""
    marker = out / "synth.json"
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", where=out, fix="choose another output folder")
    if marker.is_file():
        try:
            before = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if isinstance(before, dict):
            # Sets made before there was a choice of codec do not name theirs.
            before = {"codec": "jpeg", **before}
        if before != arguments:
            changed = [key for key in arguments if not isinstance(before, dict) or before.get(key) != arguments[key]]
            raise InputError(
                f"was made with other arguments ({', '.join(changed) or 'unreadable synth.json'})",
                where=out,
                fix="choose another output folder, delete this one, or call with its arguments (see synth.json)",
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError("exists and holds other files", where=out, fix="choose a new or empty output folder")
    writable_folder(out)
    if not marker.is_file():
        write_text(marker, json.dumps(arguments, indent=2) + "\n")


def _run(jobs: list[_Job], workers: int) -> Iterator[None]:
    """Make the tracks; yields once a track."""
    workers = workers or _cores()
    if workers == 1 or len(jobs) < _FEW:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            for job in jobs:
                _write_track(job)
                yield
        finally:
            cv2.setNumThreads(threads)
        return
    # spawn: forking a process that already runs torch's threads can deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        chunks = (jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK))
        futures = [pool.submit(_write_chunk, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                for _ in range(future.result()):
                    yield
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed, perhaps for want of memory",
                where=jobs[0].root,
                fix="call again with fewer --workers: it goes on where it stopped",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    """Cores this process may use; a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent ends the pool in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _write_chunk(jobs: list[_Job]) -> int:
    for job in jobs:
        _write_track(job)
    return len(jobs)


def _draws(job: _Job) -> tuple[PlateDraws, WearDraws | None, TrackDraws, tuple[FrameDraws, ...]]:
    """Everything random of a track. A plate's own draws depend on its text, so a repeated plate is the same car."""
    plate_format = load_format(job.plan.format)
    hard = level(job.hardness)
    own = zlib.crc32(job.plan.text.encode())
    plate = draw_plate_parameters(np.random.default_rng([job.seed, 1, own]), plate_format, job.plan.text)
    wear = None
    if hard.worn:
        wear = draw_wear(np.random.default_rng([job.seed, 3, own]), plate_format.drawing["size_mm"])
        plate = replace(plate, stroke=round(plate.stroke * wear.stroke, 3))
    track_rng = np.random.default_rng([job.seed, 2, job.plan.index])
    track, frames = draw_track(track_rng, job.plan.scenario, hard, hr=job.split == "train")
    return plate, wear, track, frames


def _write_track(job: _Job) -> None:
    """Draw, photograph and store one track."""
    plate, wear, track, frames = _draws(job)
    picture, outline = draw_plate(load_format(job.plan.format), job.plan.text, plate)
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
            "plate_layout": load_format(job.plan.format).layout,
            "plate_text": job.plan.text,
            "corners": corners if job.plan.scenario == "A" else {},
            "synthetic": _record(job),
        }
        files["annotations.json"] = (json.dumps(annotations) + "\n").encode()
    _store(job.root / job.plan.folder, job.root / ".partial" / f"{job.plan.id}.{os.getpid()}", files)


def _store(folder: Path, aside: Path, files: dict[str, bytes]) -> None:
    try:
        aside.mkdir(parents=True)
        for name, data in files.items():
            (aside / name).write_bytes(data)
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            where=folder,
            fix="free some space or choose another output folder; the same call goes on where this one stopped",
        ) from error


def _record(job: _Job) -> dict[str, Any]:
    """Every draw of a track, as plain values."""
    plate, wear, track, frames = _draws(job)
    return {
        "generator": level(job.hardness).generator,
        "seed": job.seed,
        "hardness": job.hardness,
        "plate": record(plate),
        **({"wear": asdict(wear)} if wear else {}),
        "track": asdict(track),
        "frames": [asdict(frame) for frame in frames],
    }


def _write_truth(out: Path, jobs: Sequence[_Job]) -> Path:
    """Store a test set's truth and draws beside its folder: inside, a reader might look at them."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("track_id", "text", "layout", "scenario"))
    for job in jobs:
        writer.writerow((job.plan.id, job.plan.text, load_format(job.plan.format).layout, job.plan.scenario))
    truth = out.parent / f"{out.name}_truth.csv"
    draws = (json.dumps({"track_id": job.plan.id, "synthetic": _record(job)}) for job in jobs)
    write_text(out.parent / f"{out.name}_synthetic.jsonl", "\n".join(draws) + "\n")
    write_text(truth, table.getvalue())
    return truth
