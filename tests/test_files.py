"""Writing files: whole or not at all, and clear errors where the disk or the folder refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lpr.files import atomic_path, writable_folder, write_text
from lpr.types import InputError

ROOT = Path(__file__).resolve().parent.parent


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "predictions.txt"
    write_text(target, "old\n")
    with pytest.raises(RuntimeError), atomic_path(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old\n" and [p.name for p in tmp_path.iterdir()] == ["predictions.txt"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"report\.csv: cannot be written: No space left"),
        atomic_path(tmp_path / "report.csv"),
    ):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written_are_named_even_for_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "below", Path("/proc/nothing")):
        with pytest.raises(InputError, match="choose another output folder"):
            writable_folder(folder)
    assert writable_folder(tmp_path / "a" / "b").is_dir() and not list((tmp_path / "a" / "b").iterdir())


def test_a_disk_that_fills_up_while_tracks_are_written_is_one_line(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a full disk: writing fails with an OSError in the middle.
    command = f"ulimit -f 4; exec {sys.executable} -m lpr.synth --out {tmp_path}/x --tracks 3 --split test"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    assert not [p for p in (tmp_path / "x").glob("track_*") if len(list(p.iterdir())) != 5]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_writer_that_is_stopped_leaves_no_half_file(tmp_path: Path, number: signal.Signals, code: int) -> None:
    script = (
        "import sys, time\nfrom lpr.cli import run\nfrom lpr.files import atomic_path\n"
        "def main(argv):\n"
        "    with atomic_path(argv[0]) as aside, aside.open('w') as lines:\n"
        "        lines.write('half a line'); lines.flush(); print('writing', flush=True); time.sleep(60)\n"
        "run(main)\n"
    )
    target = tmp_path / "predictions.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert writer.stdout and writer.stdout.readline() == "writing\n"
    time.sleep(0.1)
    writer.send_signal(number)
    assert writer.wait(20) == code
    assert not target.exists()
    # What a killed writer leaves is hidden; scans and globs of names pass it over.
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def test_what_a_killed_writer_left_goes_with_the_next_run(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    old = (f".a.{ended.pid}.tmp.npz", f".b.{ended.pid}.tmp", f".a.{os.getpid()}.tmp.npz")
    young, others = f".c.{ended.pid}.tmp.npz", [".x.tmp", "a.npz"]
    for name in (*old, young, *others):
        (tmp_path / name).write_text("")
    for name in (*old, *others):
        os.utime(tmp_path / name, (0, 0))
    writable_folder(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f".a.{os.getpid()}.tmp.npz", young, *others}


def test_a_file_where_the_folder_should_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "file" / "x.json", "{}")
