"""Running many small jobs on all cores, and storing what they make so that nothing half-written is ever read."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2
from rich.console import Console
from rich.progress import track as track_progress

from ..files import writable_folder, write_text
from ..formats import PlateFormat
from ..types import InputError

Job = TypeVar("Job")

#: Jobs a worker makes per request: enough to hide the cost of asking, few enough for an even progress bar.
_CHUNK = 8
#: Below this many jobs starting processes costs more than it saves.
_FEW = 48

#: Folder below a set's root where things are made before they are renamed to their place.
PARTIAL = ".partial"


def digest(formats: Iterable[PlateFormat]) -> str:
    """Of what formats look like and which texts they have: another drawing under the same name is another set."""
    found = [(one.name, one.templates, one.prior, one.drawing) for one in formats]
    return sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()[:16]


def claim(out: Path, arguments: dict[str, Any]) -> None:
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
            # Sets made before there was a choice of codec, or before the drawings were noted, do not name theirs.
            before = {"codec": "jpeg", "drawings": arguments["drawings"], **before}
        if before != arguments:
            every = {**arguments, **before} if isinstance(before, dict) else {}
            changed = [key for key in every if before.get(key) != arguments.get(key)]
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


def make_all(make: Callable[[Job], None], jobs: Sequence[Job], root: Path, *, workers: int, what: str | None) -> None:
    """Call `make` (a function of a module) for every job on `workers` processes (0: one a core).

    `what` is the text of the progress bar on stderr, None for no bar. What was being made below `root` when an
    earlier call was stopped is removed first, and again at the end.
    """
    try:
        shutil.rmtree(root / PARTIAL, ignore_errors=True)
        steps = _run(make, jobs, root, workers or _cores())
        stderr = Console(stderr=True)
        bar = track_progress(steps, what or "", len(jobs), console=stderr, transient=True, disable=what is None)
        for _ in bar:
            pass
    finally:
        shutil.rmtree(root / PARTIAL, ignore_errors=True)


def _run(make: Callable[[Job], None], jobs: Sequence[Job], root: Path, workers: int) -> Iterator[None]:
    """Do the jobs; yields once a job."""
    if workers == 1 or len(jobs) < _FEW:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            for job in jobs:
                make(job)
                yield
        finally:
            cv2.setNumThreads(threads)
        return
    # spawn: forking a process that already runs torch's threads can deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        chunks = (jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK))
        futures = [pool.submit(partial(_make_chunk, make), chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                for _ in range(future.result()):
                    yield
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed, perhaps for want of memory",
                where=root,
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


def _make_chunk(make: Callable[[Job], None], jobs: Sequence[Job]) -> int:
    for job in jobs:
        make(job)
    return len(jobs)


def store(root: Path, place: Path, content: bytes | dict[str, bytes]) -> None:
    """Write a file, or a folder of files by name, aside below `root` and rename it to `place`."""
    aside = root / PARTIAL / f"{place.name}.{os.getpid()}"
    try:
        if isinstance(content, bytes):
            aside.parent.mkdir(exist_ok=True)
            aside.write_bytes(content)
        else:
            aside.mkdir(parents=True)
            for name, data in content.items():
                (aside / name).write_bytes(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(place)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            where=place,
            fix="free some space or choose another output folder; the same call goes on where this one stopped",
        ) from error
