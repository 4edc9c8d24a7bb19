"""lpr.infer where ids, names, devices or decoders are unusual: nothing that was read is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from data_samples import write_image, write_track

from lpr import infer
from lpr.decode.records import read_predictions
from lpr.submission import read_submission
from lpr.types import InputError, UsageError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, without a calibration."""
    from lpr.config import load_config
    from lpr.model.checkpoint import save
    from lpr.model.recogniser import build_recogniser

    target = tmp_path_factory.mktemp("run") / "best" / "model.safetensors"
    target.parent.mkdir()
    config = load_config(["phase1", "cpu"], ["input.width=64", "model.hidden=8"])
    save(target, build_recogniser(config), config, {})
    return target


def make(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        write_track(folder / name, None, lr=1, hr=0)
    return folder


def read(tracks: Path, out: Path, checkpoint: Path, *more: str) -> int:
    words = ["--tracks", str(tracks), "--out", str(out), "--checkpoint", str(checkpoint), "--device", "cpu"]
    return infer.main([*words, "--pictures", "0", *more])


def test_an_id_that_no_submission_may_hold_costs_the_zip_and_nothing_else(tmp_path, checkpoint, capsys):
    tracks, out = make(tmp_path / "in", ("track_1", "track 2", "track,3")), tmp_path / "out"
    assert read(make(tmp_path / "early", ("track_1",)), out, checkpoint) == 0
    capsys.readouterr()
    assert read(tracks, out, checkpoint) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "predictions.jsonl")
    assert re.search(r"left out: track id 'track 2'.*and 1 more", " ".join(said.err.split()))
    assert sorted(p.track_id for p in read_predictions(out / "predictions.jsonl")) == ["track 2", "track,3", "track_1"]
    assert not (out / "predictions.zip").exists()  # nor that of the earlier reading
    assert said.err.count("no predictions.zip") == 2


def test_strict_stops_at_such_an_id_before_the_checkpoint_is_looked_for(tmp_path):
    tracks = make(tmp_path / "in", ("track_1", "track 2"))
    with pytest.raises(InputError, match="track id 'track 2'"):
        read(tracks, tmp_path / "out", tmp_path / "none", "--strict")
    assert not (tmp_path / "out").exists()


def test_two_tracks_with_one_id_have_a_line_each(tmp_path, checkpoint):
    make(tmp_path / "in" / "x", ("track_1",))
    make(tmp_path / "in" / "y", ("track_1",))
    assert read(tmp_path / "in", tmp_path / "out", checkpoint) == 0
    assert [p.track_id for p in read_submission(tmp_path / "out" / "predictions.zip")] == ["track_1", "y_track_1"]


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_free_texts_stay_in_the_jsonl_and_leave_the_zip_out(tmp_path, checkpoint, capsys, decoder):
    tracks = make(tmp_path / "in", ("track_1", "track_2"))
    assert read(tracks, tmp_path / "out", checkpoint, "--set", f"read.decoder={decoder}") == 0
    said = capsys.readouterr()
    assert "was left out" in said.err and said.out.strip() == str(tmp_path / "out" / "predictions.jsonl")
    assert len(read_predictions(tmp_path / "out" / "predictions.jsonl")) == 2
    assert not (tmp_path / "out" / "predictions.zip").exists()


def test_repeated_options_add_up(tmp_path, checkpoint):
    settings = ("--set", "read.fusion=max_score", "--set", "read.review_below=0.25")
    formats = ("--format", "brazilian", "--format", "mercosur")
    assert read(make(tmp_path / "in", ("track_1",)), tmp_path / "out", checkpoint, *settings, *formats) == 0
    audit = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["audit"]
    found = audit["config"]["read"]
    assert (found["fusion"], found["review_below"], found["formats"]) == ("max_score", 0.25, ["brazilian", "mercosur"])


def test_the_audit_names_the_checkpoint_as_a_person_would(tmp_path, checkpoint, monkeypatch):
    tracks = make(tmp_path / "in", ("track_1",))
    monkeypatch.chdir(checkpoint.parents[1])
    for given in (checkpoint, Path("best/model.safetensors"), checkpoint.parent):
        assert read(tracks, tmp_path / "out", given) == 0
        audit = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["audit"]
        assert audit["checkpoint"] == "best/model.safetensors"


def test_it_says_whether_confidences_are_calibrated(tmp_path, checkpoint, capsys):
    from lpr.decode.confidence import Calibration
    from lpr.model.checkpoint import recalibrate

    tracks, out, own = make(tmp_path / "in", ("track_1",)), tmp_path / "out", tmp_path / "model.safetensors"
    own.write_bytes(checkpoint.read_bytes())

    def calibrated(*more: str) -> bool:
        assert read(tracks, out, own, *more) == 0
        found = json.loads((out / "predictions.jsonl").read_text())["audit"]["calibrated"]
        assert ("not calibrated" in capsys.readouterr().err) is not found
        return found

    assert not calibrated()
    recalibrate(own, Calibration(0.7, 0.4, "constrained/sequence/0.5").to_dict(), {"fusion": "sequence"}, (), own)
    assert calibrated()
    assert not calibrated("--set", "read.fusion=max_score")


def test_names_that_are_not_utf_8_are_read_and_written(tmp_path, checkpoint):
    folder = tmp_path / "in"
    write_image(folder / "plain.jpg").rename(folder / os.fsdecode(b"ABC1234_\xff.jpg"))
    (folder / os.fsdecode(b"XYZ1D23_\xfe.jpg")).write_bytes(b"")
    assert read(tmp_path / "in", tmp_path / "out", checkpoint, "--set", "read.review_below=1") == 0
    good, empty = read_predictions(tmp_path / "out" / "predictions.jsonl")
    assert good.track_id == "ABC1234_\ufffd" and good.per_frame[0].file == "ABC1234_\ufffd.jpg"
    assert empty.problems[0].where.endswith("XYZ1D23_\ufffd.jpg")
    assert "ABC1234_\ufffd.jpg" in (tmp_path / "out" / "review.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta", "-1"])
def test_a_device_that_is_not_there_is_a_usage_error(tmp_path, checkpoint, device):
    tracks = make(tmp_path / "in", ("track_1",))
    with pytest.raises(UsageError, match=f"--device {device}: "):
        read(tracks, tmp_path / "out", checkpoint, f"--device={device}")
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint_leaves_no_empty_folder(tmp_path):
    tracks = make(tmp_path / "in", ("track_1",))
    with pytest.raises(InputError, match="no such checkpoint"):
        read(tracks, tmp_path / "out", tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_results_do_not_go_among_the_tracks(tmp_path, checkpoint, monkeypatch):
    tracks = make(tmp_path / "in", ("track_1",))
    monkeypatch.chdir(tracks)
    for out in (tracks, tracks / "out", Path("out")):
        with pytest.raises(UsageError, match="lies in --tracks"):
            read(tracks, out, checkpoint)
    assert [path.name for path in tracks.iterdir()] == ["track_1"]


def test_a_page_of_doubtful_tracks_is_written_where_there_are_images_and_an_old_one_goes(tmp_path, checkpoint, capsys):
    tracks, out = make(tmp_path / "in", ("track_1", "track_2")), tmp_path / "out"
    assert read(tracks, out, checkpoint, "--set", "read.review_below=1", "--save-posteriors") == 0
    assert (out / "review.html").read_text().count("<article") == 2
    assert str(out / "review.html") in " ".join(capsys.readouterr().err.split()).replace(" ", "")
    assert read(tracks, out, checkpoint, "--set", "read.review_below=0") == 0
    assert not (out / "review.html").exists()
    (out / "review.html").write_text("an old one")
    assert read(out / "posteriors.npz", out, checkpoint, "--set", "read.review_below=1") == 0
    assert not (out / "review.html").exists() and len((out / "review.csv").read_text().splitlines()) == 3
