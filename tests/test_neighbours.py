"""Plates of other countries: presets, the choice of weights by format, a country added by files, and every command."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

import lpr.calibrate
import lpr.candidates
import lpr.evaluate
import lpr.infer
import lpr.synth
import lpr.train
from lpr import reader as reader_module
from lpr.config import Config, load_config
from lpr.data.images import read_image
from lpr.data.scan import scan
from lpr.formats import FORMATS_DIR, load_format, load_formats
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.model.steps import stages, step_table
from lpr.plates.images import write_images
from lpr.reader import SHIPPED_WEIGHTS, Reader, find_checkpoint
from lpr.types import InputError, UsageError

DIGITS = "0123456789"
BRAZIL = SHIPPED_WEIGHTS / "brazil.safetensors"


def tiny(*presets: str, **formats: str) -> Config:
    return load_config(["cpu", *presets], ["model.hidden=8"])


def save(path: Path, config: Config) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, build_recogniser(config), config, {})
    return path


@pytest.mark.parametrize(
    ("preset", "size", "alphabet", "slots", "steps"),
    [
        ("algerian", (64, 200, 3), DIGITS, 11, 50),
        ("indian", (64, 256, 3), DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10, 64),
        ("digits5", (64, 128, 1), DIGITS, 5, 32),
    ],
)
def test_presets(preset: str, size: tuple[int, int, int], alphabet: str, slots: int, steps: int) -> None:
    config = load_config(["cpu", preset])
    assert (config.input.height, config.input.width, config.input.channels) == size
    assert config.model.alphabet == alphabet and config.read.formats == (preset,)
    model = build_recogniser(config)
    assert (model.slots, model.steps) == (slots, steps)
    assert model.classifier.out_features == len(alphabet) + 1


def test_the_two_row_threshold_lies_between_the_plates_of_the_format_file() -> None:
    limit = load_config(["cpu", "indian"]).input.two_rows_below
    drawing = load_format("indian").drawing
    (one, spread), (two, narrow) = drawing["image"]["aspect"], drawing["variants"]["two_lines"]["image"]["aspect"]
    # Crops scatter about these; two standard deviations of each lie on their own side.
    assert two + 2 * narrow < limit < one - 2 * spread


def test_the_step_table_shows_every_size_and_what_the_labels_need() -> None:
    config = tiny("algerian")
    model = build_recogniser(config).train()
    lines = step_table(model, config.input, load_formats(["algerian"]), ["12345678901", "00000211616"])
    assert [line.split() for line in lines[:-1]] == [
        ["picture", "3", "x", "64", "x", "200"],
        ["stem.0", "Conv2d", "32", "x", "32", "x", "100"],
        ["body.0.0", "Conv2d", "64", "x", "16", "x", "50"],
        ["body.2.0", "Conv2d", "96", "x", "8", "x", "50"],
        ["body.4.0", "Conv2d", "128", "x", "4", "x", "50"],
    ]
    # Eleven characters, four blanks between the zeros and one between the ones.
    assert lines[-1] == "T = 50 steps; algerian can need 21, the longest label, 00000211616, needs 16"
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_the_sizes_of_the_report_network_are_those_of_its_poolings() -> None:
    config = load_config(["seed-crnn"], ["model.hidden=8"])
    found = stages(build_recogniser(config), config.input)
    assert [(one.kind, one.height, one.width) for one in found] == [
        ("MaxPool2d", 16, 64), ("MaxPool2d", 8, 32), ("MaxPool2d", 4, 32), ("MaxPool2d", 2, 32)
    ]  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose shipped weights are for Algeria and Brazil, called from a folder without runs."""
    weights = tmp_path / "weights"
    save(weights / "a.safetensors", tiny("algerian"))
    save(weights / "b.safetensors", tiny())
    monkeypatch.setattr(reader_module, "SHIPPED_WEIGHTS", weights)
    monkeypatch.delenv("LPR_CHECKPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    return weights


def test_weights_are_found_by_the_format_that_they_say_they_serve(shelf: Path) -> None:
    assert find_checkpoint(None, ["algerian"]) == (shelf / "a.safetensors", "shipped weights")
    assert find_checkpoint(None, ["mercosur"])[0] == find_checkpoint(None, ["mercosur", "brazilian"])[0]
    assert find_checkpoint(None, ["mercosur"])[0] == shelf / "b.safetensors"
    # Without a name, and for `auto`, those of the default formats, whatever sorts first.
    assert find_checkpoint()[0] == find_checkpoint(None, ["auto"])[0] == shelf / "b.safetensors"
    for names in (["indian"], ["algerian", "mercosur"], [str(FORMATS_DIR / "indian.yaml")]):
        with pytest.raises(InputError) as error:
            find_checkpoint(None, names)
        assert "a.safetensors (algerian); b.safetensors (brazilian, mercosur)" in str(error.value)
    with pytest.raises(InputError, match="did you mean 'indian'"):
        find_checkpoint(None, ["indien"])
    assert find_checkpoint("x", ["indian"]) == (Path("x"), "as given")
    # Shipped weights have names; of two for the same formats the plain one is taken unless the other is named.
    save(shelf / "b-fast.safetensors", tiny())
    assert find_checkpoint()[0] == shelf / "b.safetensors"
    assert find_checkpoint("b-fast") == (shelf / "b-fast.safetensors", "shipped weights")


def test_the_newest_run_that_serves_a_format_comes_before_shipped_weights(shelf: Path) -> None:
    for age, (name, config) in enumerate((("old", tiny("algerian")), ("new", tiny("algerian")), ("newest", tiny()))):
        path = save(Path("runs") / name / "best" / "model.safetensors", config)
        os.utime(path, (1000 + age, 1000 + age))
    assert find_checkpoint(None, ["algerian"])[0] == Path("runs/new/best/model.safetensors")
    assert find_checkpoint()[0] == Path("runs/newest/best/model.safetensors")
    assert find_checkpoint(None, ["auto"])[0] == Path("runs/newest/best/model.safetensors")


def test_an_alphabet_that_cannot_spell_a_format_is_an_error(shelf: Path) -> None:
    with pytest.raises(InputError, match=r"position 1 \(L\) of template LLDDLLDDDD"):
        Reader(shelf / "a.safetensors", format="indian")
    assert Reader(shelf / "a.safetensors", format="digits5").formats == (load_format("digits5"),)


def test_auto_weighs_all_formats_of_the_checkpoint_by_their_priors(shelf: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    plain, auto = Reader(), Reader(format="auto")
    assert [one.name for one in auto.formats] == ["brazilian", "mercosur"]
    assert auto.config.read.format_priors and not plain.config.read.format_priors
    before, after = (dict(one.read(frame).format_probs) for one in (plain, auto))
    assert sum(after.values()) == pytest.approx(1)
    odds = load_format("brazilian").prior / load_format("mercosur").prior
    assert after["brazilian"] / after["mercosur"] == pytest.approx(odds * before["brazilian"] / before["mercosur"])
    # A part of them, and more than one by name.
    assert Reader(format=["mercosur"]).read(frame).format == "mercosur"
    assert len(Reader(format=["mercosur", "brazilian"]).formats) == 2
    with pytest.raises(UsageError, match="auto"):
        Reader(format=["auto", "mercosur"])


URUGUAY = """
templates: [LLLDDDD, LLDDDD]
prior: 0.5
drawing:
  size_mm: [400, 130]
  corner_mm: 12
  area_mm: [18, 30, 364, 72]
  character_mm: 60
  gap: [0.1, 0.2]
  groups: kind
  faces: [engschrift]
  colours:
    private: {weight: 1, ground: [224, 224, 224], ink: [22, 22, 24]}
  image: {suffix: .png, width_px: [160, 0.25, 80, 300], aspect: [2.6, 0.3]}
"""


@pytest.fixture
def country(tmp_path: Path) -> Path:
    """The format file of a country that the project does not know, and its preset, as docs/countries.md says."""
    path = tmp_path / "uruguay.yaml"
    path.write_text(URUGUAY, encoding="utf-8")
    (tmp_path / "preset.yaml").write_text(f"read:\n  formats: ['{path}']\ndata:\n  hr_frames: none\n", encoding="utf-8")
    return path


@pytest.mark.skipif(not BRAZIL.is_file(), reason="no weights shipped")
def test_shipped_weights_read_another_country_by_its_format_file(country: Path, tmp_path: Path) -> None:
    found = scan(write_images(tmp_path / "plates", 8, load_format(str(country)), 1, workers=1, progress=False))
    reader = Reader(BRAZIL, format=str(country))
    argentine = Reader(BRAZIL, format="argentina")
    for track in found.tracks:
        prediction = reader.read(track.frames[0].path)
        assert prediction.format == "uruguay" and load_format(str(country)).matches(prediction.text)
        other = argentine.read(read_image(track.frames[0].path))
        assert other.format == "argentina" and load_format("argentina").matches(other.text)


def train(folder: Path, data: Path, *presets: str) -> Path:
    """A run of two tiny epochs."""
    settings = [
        "model.hidden=8", "data.workers=0", "train.epochs=2", "train.batch_size=8", "split.val_share=0.3",
        "train.threads=1", "model.slot_head=false",
    ]  # fmt: skip
    arguments = ["--preset", "cpu", *presets, "--data", str(data), "--run", str(folder / "run"), "--set", *settings]
    assert lpr.train.main(arguments) == 0
    return folder / "run"


def read(folder: Path, run: Path, data: Path, name: str) -> list[dict[str, object]]:
    arguments = ["--checkpoint", str(run), "--tracks", str(data), "--out", str(folder / "out"), "--pictures", "1"]
    assert lpr.infer.main([*arguments, "--format", name]) == 0
    return [json.loads(line) for line in (folder / "out" / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["algerian", "argentina", "digits5", "indian"])
def test_every_command_serves_every_format(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, presets = tmp_path / "data", [] if name == "argentina" else [name]
    lpr.synth.main(["--out", str(data), "--format", name, "--count", "30", "--workers", "1", "--hardness", "easy"])
    if name == "argentina":
        (tmp_path / "own.yaml").write_text("read: {formats: [argentina]}\ndata: {hr_frames: none}\n")
        presets = [str(tmp_path / "own.yaml")]
    run = train(tmp_path, data, *presets)
    assert "T = " in capsys.readouterr().err
    records = read(tmp_path, run, data, name)
    assert len(records) == 30 and all(load_format(name).matches(str(record["text"])) for record in records)

    truth = tmp_path / "truth.csv"
    with truth.open("w", newline="") as handle:
        # Nothing is right after two tiny epochs: every second text is taken for the true one, so that both occur.
        other = load_format(name).sample(np.random.default_rng(7))
        rows = [(r["track_id"], r["text"] if i % 2 else other) for i, r in enumerate(records)]
        csv.writer(handle).writerows([("track_id", "text"), *rows])
    arguments = [str(tmp_path / "out" / "predictions.jsonl"), "--truth", str(truth), "--out", str(tmp_path / "report")]
    assert not lpr.evaluate.main(arguments)
    assert "exact match" in capsys.readouterr().out
    assert lpr.calibrate.main(["--checkpoint", str(run), "--tracks", str(data), "--truth", str(truth)]) == 0
    found = ["--checkpoint", str(run), "--tracks", str(data), "--out", str(tmp_path / "found"), "--top", "3"]
    assert lpr.candidates.main([*found, "--format", "auto"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "found" / "candidates.jsonl").read_text().splitlines()]
    assert len(lines) == 30 and all(len(line["candidates"]) == 3 for line in lines)
    texts = [one["text"] for line in lines for one in line["candidates"]]
    assert all(load_format(name).matches(text) for text in texts)


def test_a_country_in_a_folder_of_its_own_is_made_trained_and_read(country: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    lpr.synth.main(["--out", str(data), "--format", str(country), "--count", "30", "--workers", "1"])
    run = train(tmp_path, data, str(tmp_path / "preset.yaml"))
    # The checkpoint carries the format: it is found by its name when the file is gone.
    country.unlink()
    load_format.cache_clear()
    records = read(tmp_path, run, data, "uruguay")
    assert len(records) == 30 and {record["format"] for record in records} == {"uruguay"}


def test_plates_of_haryana_are_no_hr_frames(tmp_path: Path) -> None:
    out = write_images(tmp_path / "one", 1, load_format("indian"), 0, workers=1, progress=False)
    (picture,) = out.glob("*.jpg")
    folder = tmp_path / "named"
    folder.mkdir()
    for name in ("HR34569", "HR26DK8337", "KA011234"):
        (folder / f"{name}.jpg").write_bytes(picture.read_bytes())
    assert sorted(track.text or "" for track in scan(folder).tracks) == ["HR26DK8337", "HR34569", "KA011234"]


@pytest.mark.parametrize("path", sorted(SHIPPED_WEIGHTS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_weights_have_a_calibration_for_the_way_they_read(path: Path) -> None:
    assert Reader(path, device="cpu").decoder.calibrated


def test_the_brazilian_weights_serve_argentina_when_asked() -> None:
    path = SHIPPED_WEIGHTS / "brazil.safetensors"
    usual, asked = (Reader(path, format=names, device="cpu").formats for names in ((), "argentina"))
    assert [one.name for one in usual] == ["brazilian", "mercosur"] and [one.name for one in asked] == ["argentina"]
    assert find_checkpoint(None, ["argentina", "mercosur"])[0] == path
    assert find_checkpoint(None, ["argentina"])[0] == SHIPPED_WEIGHTS / "argentina.safetensors", "which has its own"
