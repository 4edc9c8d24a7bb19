"""The camera's codecs: the same bytes again, errors that say what to install, a table of quality."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lpr.plates import codec
from lpr.plates.codec import check_codec, compress
from lpr.plates.hardness import draw_track, level
from lpr.plates.write import write_tracks
from lpr.types import InputError


def windows(kinds: int = 5) -> tuple[list[np.ndarray], list]:
    _, frames = draw_track(np.random.default_rng(0), "B", level("hard"))
    rng = np.random.default_rng(1)
    pictures = [
        cv2.GaussianBlur(rng.integers(0, 256, (f.height_px + 20, f.width_px + 20, 3), np.uint8), (0, 0), 1.5)
        for f in frames
    ]
    return pictures, list(frames)


@pytest.mark.parametrize("name", codec.CODECS)
def test_pictures_keep_their_size_and_lose_more_at_lower_quality(name: str) -> None:
    if name == "h264":
        pytest.importorskip("av")
    pictures, frames = windows()
    losses = []
    for quality in (90, 25, 12):
        coded = compress(name, pictures, frames, quality)
        assert [c.shape for c in coded] == [p.shape for p in pictures]
        assert all(c.dtype == np.uint8 for c in coded)
        again = compress(name, pictures, frames, quality)
        assert all(np.array_equal(a, b) for a, b in zip(coded, again, strict=True))
        pairs = zip(coded, pictures, strict=True)
        losses.append(float(np.mean([np.abs(c.astype(float) - p).mean() for c, p in pairs])))
    assert 0 < losses[0] < losses[1] < losses[2] < 50


def test_a_set_names_its_codec_and_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from lpr.plates import jobs

    monkeypatch.setattr(jobs, "_FEW", 1)
    sets = [write_tracks(tmp_path / str(n), 4, "hard", 3, codec="h264", workers=n, progress=False) for n in (1, 2)]
    files = [{p.relative_to(s): p.read_bytes() for p in s.rglob("*") if p.is_file()} for s in sets]
    assert files[0] == files[1]
    assert json.loads((sets[0] / "synth.json").read_text(encoding="utf-8"))["codec"] == "h264"
    jpeg = write_tracks(tmp_path / "jpeg", 4, "hard", 3, workers=1, progress=False)
    other = {p.relative_to(jpeg): p.read_bytes() for p in jpeg.rglob("*") if p.is_file()}
    changed = {p.parts[0] for p in other if other[p] != files[0][p]}
    assert changed == {"Scenario-B", "synth.json"}
    with pytest.raises(InputError, match=r"other arguments \(codec\)"):
        write_tracks(sets[0], 4, "hard", 3, progress=False)


def test_sets_from_before_the_choice_of_codec_go_on(tmp_path: Path) -> None:
    out = write_tracks(tmp_path / "old", 2, "easy", 3, progress=False)
    marker = out / "synth.json"
    arguments = json.loads(marker.read_text(encoding="utf-8"))
    del arguments["codec"]
    marker.write_text(json.dumps(arguments), encoding="utf-8")
    assert write_tracks(out, 2, "easy", 3, progress=False) == out


def test_unknown_and_missing_codecs_are_clear_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"did you mean 'h264'(.|\n)*jpeg, h264"):
        check_codec("h265")
    monkeypatch.setattr(codec, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install av, or take --codec jpeg"):
        write_tracks(tmp_path / "out", 2, "hard", 1, codec="h264", progress=False)
    assert not (tmp_path / "out").exists()
