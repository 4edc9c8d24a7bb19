"""Writing files so that nobody ever sees half of one: aside first, then renamed over the target; and what CSVs are."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import dropwhile
from pathlib import Path

from .types import InputError

#: What a writer has not touched for so long is not being written by a process on another machine either, s.
STALE_S = 60.0


def delimiter_of(header: str, column: str) -> str:
    """What parts the columns of a CSV whose first line is `header`: spreadsheets save with commas, `;`, tabs or bars.

    Of several marks that which parts the wanted column (lower case) from others, else the first.
    """
    marks = [mark for mark in ",;\t|" if mark in header]
    parted = (m for m in marks if column in (cell.strip(' "\r\n\ufeff') for cell in header.lower().split(m)))
    return next(parted, marks[0] if marks else ",")


def csv_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines of a CSV from its header on, with their numbers from 1, however a spreadsheet saved it.

    UTF-8 or UTF-16; blank lines and one such as `sep=;` before the header are passed over. A byte of another encoding
    becomes U+FFFD, which no plate holds. Lines end at line feeds alone.
    """
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    lines = enumerate(io.StringIO(text, newline=""), start=1)
    return dropwhile(lambda line: not line[1].strip() or line[1].lower().startswith("sep="), lines)


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Turn an OSError of the block (full disk, read-only folder) into an InputError that names `target`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            where=target,
            fix="free some space or choose another output folder that you may write to",
        ) from error


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success rename it over `target`, on any failure delete it.

    The file is flushed to disk before the rename, so that a power cut leaves the old file or the new one. An
    OSError (full disk, read-only folder) becomes an InputError that names the target.
    """
    target = Path(target)
    # The suffix stays last: writers such as numpy and zipfile look at it. The process id keeps parallel writers apart.
    aside = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield aside
            with aside.open("rb+") as handle:
                os.fsync(handle.fileno())
            aside.replace(target)
    finally:
        # What forbade writing (a read-only disk, a file where a folder should be) may forbid this too.
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def write_text(target: Path | str, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, atomically."""
    with atomic_path(target) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(target: Path | str, content: bytes | memoryview) -> None:
    """Write bytes atomically.

    For formats whose own writers turn a full disk into other errors (torch, safetensors): they write to memory.
    """
    with atomic_path(target) as aside:
        aside.write_bytes(content)


def writable_folder(folder: Path | str) -> Path:
    """Create `folder` if needed and prove that files can be made in it, before hours of work depend on it.

    A probe file is written because permission bits say nothing to root or on a read-only mount. What a killed
    `atomic_path` left there is deleted.
    """
    folder = Path(folder)
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
        delete_stale(folder)
    except OSError as error:
        raise InputError(
            f"cannot be written to: {error.strerror or error}", where=folder, fix="choose another output folder"
        ) from error
    return folder


def delete_stale(folder: Path) -> None:
    """Delete the temporary files of `atomic_path` in `folder` whose process has ended."""
    for path in folder.glob(".*.tmp*"):
        pid = path.name.rpartition(".tmp")[0].rpartition(".")[2]
        # A zombie or a stranger that got the same number counts as alive; the file goes at a later run.
        if pid.isdigit() and not Path("/proc", pid).exists() and time.time() - path.stat().st_mtime > STALE_S:
            path.unlink(missing_ok=True)
