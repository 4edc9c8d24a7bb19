"""The queue for a person, corrections fed back, pseudo-labels, and test sets that give none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lpr import check, infer
from lpr.config import Config
from lpr.data.declared import declared_test
from lpr.data.scan import scan
from lpr.decode.confidence import Calibration, method_name
from lpr.decode.decode import UNLIKE
from lpr.decode.records import audit_record, to_record
from lpr.decode.review import corrections, pseudo_labels, reason, review_row, track_path, write_review
from lpr.formats import load_formats
from lpr.report.drift import drift
from lpr.report.outcomes import read_truth
from lpr.types import InputError, Prediction, Problem, Reading, UsageError


def prediction(name: str, text: str, sure: float, *others: tuple[str, float], frames: str = "", wrong: str = ""):
    readings = tuple(Reading(frame, 0.9, -1.0) for frame in (frames or text).split())
    problems = (Problem(name, wrong),) if wrong else ()
    return Prediction(name, text, sure, "mercosur", readings, others, problems)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two unlabelled tracks of two frames, and a single image."""
    import cv2

    pixels = np.random.default_rng(0).integers(0, 255, (20, 50, 3)).astype(np.uint8)
    for name in ("track_1/lr-001.png", "track_1/lr-002.png", "track_2/lr-001.png", "track_2/lr-002.png", "img1.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), pixels)
    return tmp_path / "in"


def test_reasons():
    assert reason(Prediction("t", "AAA0A00", 0.0)) == "no readable LR frame"
    assert reason(prediction("t", "ABC1D23", 0.01, wrong=f"{UNLIKE} x")) == "does not look like a plate"
    assert reason(prediction("t", "ABC1D23", 0.4, ("ABC1D28", 0.3))) == "character 7: 3 or 8"
    split = prediction("t", "ABC1D23", 0.4, ("ABC1D28", 0.1), frames="ABC1D23 ABC1D29 XBC1D23")
    assert reason(split) == "1 of 3 frames read this text"
    assert reason(prediction("t", "ABC1D23", 0.1, ("ABC1D28", 0.01))) == "blurred: no text is likely"


def test_corrections_are_labels_and_truth_and_blank_lines_are_not(folder, tmp_path):
    paths = {track.id: track_path(track) for track in scan(folder).tracks}
    assert paths["track_1"] == str(folder / "track_1") and paths["img1"] == str(folder / "img1.png")
    rows = [review_row(prediction(name, "ABC1D23", sure), paths[name]) for name, sure in
            (("track_1", 0.3), ("track_2", 0.2), ("img1", 0.1))]  # fmt: skip
    target = tmp_path / "out" / "review.csv"
    write_review(target, rows)
    with target.open(newline="") as handle:
        written = list(csv.DictReader(handle))
    assert [row["track_id"] for row in written] == ["img1", "track_2", "track_1"]
    assert {row["correction"] for row in written} == {""}
    for row, correction in zip(written, ("abc-1d28", "", "00420"), strict=True):
        row["correction"] = correction
    with target.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, written[0])
        writer.writeheader()
        writer.writerows(written)
    found = {track.id: track for track in scan(target).tracks}
    assert {name: track.text for name, track in found.items()} == {"img1": "ABC1D28", "track_1": "00420"}
    assert len(found["track_1"].frames) == 2
    truth, problems = read_truth(target)
    assert {track.id: track.text for track in truth} == {"img1": "ABC1D28", "track_1": "00420"}
    assert [problem.where for problem in problems] == ["track_2"]


def test_pseudo_labels_are_a_label_list_of_sure_unlabelled_tracks(folder, tmp_path):
    tracks = scan(folder).tracks
    read = [prediction(track.id, "ABC1D23", {"track_1": 0.99}.get(track.id, 0.5)) for track in tracks]
    (tmp_path / "pseudo_labels.csv").write_text(pseudo_labels(list(zip(tracks, read, strict=True)), 0.9))
    (only,) = scan(tmp_path / "pseudo_labels.csv").tracks
    assert (only.id, only.text, only.layout, len(only.lr)) == ("track_1", "ABC1D23", "mercosur", 2)


def test_a_declared_test_set_is_recognised(folder, tmp_path):
    tracks = scan(folder).tracks
    assert declared_test(folder, tracks) is None
    (folder / "track_2" / "TEST_SET").touch()
    assert "TEST_SET" in declared_test(folder, tracks)
    (folder / "track_2" / "TEST_SET").unlink()
    (folder / "synth.json").write_text(json.dumps({"split": "train"}))
    assert declared_test(folder / "track_1") is None
    (folder / "synth.json").write_text(json.dumps({"split": "test"}))
    assert "synth.json" in declared_test(folder / "track_1")
    (tmp_path / "data" / "Test").mkdir(parents=True)
    (tmp_path / "harmless").symlink_to(tmp_path / "data" / "Test")
    assert "is called test" in declared_test(tmp_path / "harmless")
    for name in ("blind_test", "Test-public", "lrlpr blind"):
        (tmp_path / name / "track_1").mkdir(parents=True)
        assert "is called" in declared_test(tmp_path / name)
    for name in ("public_test", "blind_test", "Private-Test-Set2"):
        inner = tmp_path / "competition" / name / "part1"
        inner.mkdir(parents=True)
        assert "is called" in declared_test(inner), "a part of it is one too"
    (tmp_path / "test_bench" / "part1").mkdir(parents=True)
    assert declared_test(tmp_path / "test_bench" / "part1") is None
    (tmp_path / "protest").mkdir()
    assert declared_test(tmp_path / "protest") is None


def test_infer_writes_the_queue_and_the_labels_and_refuses_a_test_set(folder, tmp_path, capsys):
    from lpr.config import Config
    from lpr.model import checkpoint
    from lpr.model.recogniser import build_recogniser

    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}})
    checkpoint.save(tmp_path / "m.safetensors", build_recogniser(config), config, {})
    read = config.read.model_dump(mode="json")
    path = tmp_path / "m.safetensors"
    method = method_name(config.read, load_formats(config.read.formats))
    checkpoint.recalibrate(path, Calibration(method=method).to_dict(), read, (), path)
    words = ["--tracks", str(folder), "--checkpoint", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "out")]
    words += ["--pictures", "0", "--device", "cpu", "--pseudo-labels", "0.9"]
    assert infer.main(words) == 0
    # An untrained network is sure of nothing.
    assert len((tmp_path / "out" / "review.csv").read_text().splitlines()) == 4
    assert (tmp_path / "out" / "pseudo_labels.csv").read_text() == "path,text,layout,confidence\n"
    with pytest.raises(UsageError, match="sharpen"):
        infer.main([*words, "--set", "read.sharpen=8"])
    with pytest.raises(UsageError, match="no calibration for this way to read"):
        infer.main([*words, "--set", "read.fusion=majority_vote"])
    (folder / "TEST_SET").touch()
    with pytest.raises(InputError, match="is a test set"):
        infer.main(words)
    with pytest.raises(UsageError):
        infer.main([*words[:-1], "95"])


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_review_with_corrections_is_not_written_over(folder, tmp_path, delimiter):
    from lpr.config import Config
    from lpr.model import checkpoint
    from lpr.model.recogniser import build_recogniser

    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}})
    checkpoint.save(tmp_path / "m.safetensors", build_recogniser(config), config, {})
    words = ["--tracks", str(folder), "--checkpoint", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "out")]
    words += ["--pictures", "0", "--device", "cpu"]
    target = tmp_path / "out" / "review.csv"
    assert infer.main(words) == 0 and corrections(target) == 0 and infer.main(words) == 0
    with target.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows[0]["correction"] = "ABC1D23"
    with target.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    before = target.read_bytes()
    with pytest.raises(InputError, match="holds 1 corrections") as caught:
        infer.main(words)
    assert "another --out" in str(caught.value) and target.read_bytes() == before
    truth, _ = read_truth(target)
    assert [track.text for track in truth] == ["ABC1D23"]


def test_check_writes_the_drift_and_says_where_tracks_are_too_few(tmp_path, capsys):
    from lpr.check import main

    audit = audit_record("ab" * 32, "x", Config())
    for name, sure in (("old", [0.1, 0.2, 0.3]), ("new", [0.7, 0.8, 0.9])):
        records = [to_record(prediction(f"t{at}", "ABC1D23", value), audit) for at, value in enumerate(sure)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("old", "new")]
    assert main([*files, "--json", str(tmp_path / "drift.json")]) == 0
    assert "too few tracks to tell" in capsys.readouterr().out
    found = json.loads((tmp_path / "drift.json").read_text())
    assert found["distance"] == 1.0 and found["counts"] == [3, 3] and found["drifted"] is False
    assert main([files[0], files[0]]) == 0
    said = capsys.readouterr().out
    assert "no drift" in said and "not made alike" not in said
    # Other weights and settings are named: their confidences differ for that alone.
    other = audit_record("cd" * 32, "x", Config(read={"focus": 2.0}))
    (tmp_path / "other.jsonl").write_text(json.dumps(to_record(prediction("t", "ABC1D23", 0.5), other)) + "\n")
    main([files[0], str(tmp_path / "other.jsonl")])
    said = capsys.readouterr().out
    assert f"not made alike: model_hash {'ab' * 32} then, {'cd' * 32} now" in said
    assert "not made alike: read.focus 0.5 then, 2.0 now" in said


def test_drift_by_hand_and_by_chance():
    rng = np.random.default_rng(0)
    one = drift([0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6])
    assert one.distance == pytest.approx(0.5) and one.at == pytest.approx(0.2) and not one.drifted
    same = [drift(rng.beta(5, 2, 400), rng.beta(5, 2, 300)) for _ in range(100)]
    assert sum(found.drifted for found in same) <= 3
    assert 0.3 < np.mean([found.p for found in same]) < 0.7
    assert drift(rng.beta(5, 2, 400), rng.beta(3, 2, 300)).drifted
    # Sure to differ, but by too little to matter.
    tiny = drift(np.linspace(0, 1, 100_000), np.linspace(0.03, 1, 100_000))
    assert tiny.p < 0.001 and not tiny.drifted


def test_check_compares_two_files_of_predictions(tmp_path, capsys):
    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 0.4)):
        lines = []
        for number in range(200):
            confidence = min(1.0, number / 200 * 0.6 + shift)
            record = {"track_id": str(number), "text": "A", "confidence": confidence, "format": None}
            lines.append(json.dumps({**record, "frames": [], "runners_up": [], "problems": []}))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    a, b, c = (str(tmp_path / f"{name}.jsonl") for name in "abc")
    assert check.main([a, b]) == 0 and "no drift" in capsys.readouterr().out
    assert check.main([a, c]) == 1 and "confidences drifted" in capsys.readouterr().out
    with pytest.raises(UsageError):
        check.main([a, b, c])
    with pytest.raises(UsageError):
        check.main([str(tmp_path), str(tmp_path)])


def test_links_to_a_store_are_named_where_they_lie(tmp_path):
    import cv2

    store, photos = tmp_path / "store", tmp_path / "photos"
    for number, name in enumerate(("f3a9", "07bc")):
        store.mkdir(exist_ok=True)
        photos.mkdir(exist_ok=True)
        cv2.imwrite(str(store / f"{name}.png"), np.full((20, 50, 3), 90, np.uint8))
        (photos / f"{'ab'[number]}.png").symlink_to(store / f"{name}.png")
    assert [track_path(track) for track in scan(photos).tracks] == [str(photos / "a.png"), str(photos / "b.png")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"track_id\ttext\tcorrection\nt\tABC1D23\tABC1D28\n", 1),
        (b"Track_id,Text, Correction \nt,ABC1D23,ABC1D28\nu,ABC1D23,\n", 1),
        ("track_id,text,correction\nt,ABC1D23,ABC1D28\n".encode("utf-16"), 1),
        (b"sep=;\ntrack_id;text;correction\nt;ABC1D23;ABC1D28\n", 1),
        (b"track_id,text\nt,ABC1D23\n", "cannot be read"),
        (b"track_id,text,correction,notes\nt,ABC1D23,,blurred\nu,ABC1D23,ABC1D28,\n", 1),
        (b"track_id,text,correction\nt,ABC1D23,,ABC1D28\n", 1),
        (b"", 0),
    ],
)
def test_a_review_that_may_hold_corrections_is_not_taken_for_empty(tmp_path, content, said):
    target = tmp_path / "review.csv"
    target.write_bytes(content)
    if isinstance(said, int):
        assert corrections(target) == said
    else:
        with pytest.raises(InputError, match=said):
            corrections(target)
