"""`scripts/read_in_bulk.py` reads what lpr.infer reads, and goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason='pip install "ray[data]"')

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("--checkpoint", "brazil-fast", "--set", "read.views=1")


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True)


def records(path: Path) -> list[dict]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for one in found:
        del one["audit"]["time"]
    return found


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk") / "tracks"
    done = call("-m", "lpr.synth", "--out", folder, "--tracks", 8, "--hardness", "easy", "--split", "test", "--seed", 1)
    assert not done.returncode, done.stderr
    return folder


@pytest.fixture(scope="module")
def plain(tracks: Path) -> Path:
    out = tracks.parent / "plain"
    done = call("-m", "lpr.infer", "--tracks", tracks, "--out", out, *SETTINGS)
    assert not done.returncode, done.stderr
    return out


def test_it_reads_as_infer_does_and_goes_on_after_a_kill(tracks: Path, plain: Path):
    out = tracks.parent / "bulk"
    out.mkdir()
    # What a killed call leaves: some readings, out of order, and one that was cut short.
    lines = (plain / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "unfinished.jsonl").write_text(lines[5] + lines[2] + lines[0][:40])
    done = call("scripts/read_in_bulk.py", tracks, "--out", out, "--batch", 3, "--readers", 1, *SETTINGS)
    assert not done.returncode, done.stderr
    assert "2 of 8 tracks are read already" in done.stderr
    assert records(out / "predictions.jsonl") == records(plain / "predictions.jsonl")
    assert (out / "predictions.zip").read_bytes() == (plain / "predictions.zip").read_bytes()
    assert (out / "review.csv").read_bytes() == (plain / "review.csv").read_bytes()
    assert not (out / "unfinished.jsonl").exists()


def test_it_does_not_go_on_with_other_settings(tracks: Path, plain: Path):
    out = tracks.parent / "other"
    out.mkdir()
    (out / "unfinished.jsonl").write_text((plain / "predictions.jsonl").read_text())
    done = call("scripts/read_in_bulk.py", tracks, "--out", out, *SETTINGS[:2], "--set", "read.views=2")
    assert done.returncode == 1 and "other settings" in done.stderr
    assert len(records(out / "unfinished.jsonl")) == 8
