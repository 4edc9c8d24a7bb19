"""Checkpoints as ONNX: they read as the network does, say what they are, and nothing damaged is read with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from data_samples import picture, write_image, write_track

import lpr.calibrate
import lpr.export
import lpr.infer
from lpr.config import Config, load_config
from lpr.formats import load_formats
from lpr.model import checkpoint, exported
from lpr.model.recogniser import build_recogniser
from lpr.plates.images import write_images
from lpr.reader import SHIPPED_WEIGHTS, Reader
from lpr.training.setup import initialise
from lpr.types import InputError, UsageError

SMALL = ["model.hidden=8", "input.height=16", "input.width=64", "model.stn=true", "model.mixing=1", "read.merged=1"]


def save(path: Path, *settings: str, presets: tuple[str, ...] = ("cpu",)) -> tuple[Path, Config]:
    config = load_config(presets, settings)
    torch.manual_seed(0)
    model = build_recogniser(config)
    with torch.no_grad():
        model.classifier.weight *= 100  # else it gives all classes alike, whatever it sees
    if model.stn is not None:
        # As it is after some training: it turns pictures.
        torch.nn.init.normal_(model.stn.gain, std=0.1)
        for module in model.stn.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_var.fill_(40.0)
    checkpoint.save(path, model, config, {"figures": {"exact": 0.5}})
    return path, config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("export")
    source, _ = save(folder / "small.safetensors", *SMALL)
    assert lpr.export.main(["--checkpoint", str(source), "--out", str(folder / "out" / "small.onnx")]) == 0
    return source, folder / "out" / "small.onnx"


def test_it_reads_as_the_network_does(files: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = (Reader(path, device="cpu", settings="read.amp=false") for path in files)
    rng = np.random.default_rng(0)
    for count in (1, 2, 5):
        # Of one plate, or none would be registered onto another.
        frames = [np.clip(picture() + rng.normal(0, 8, (17, 48, 3)), 0, 255).astype(np.uint8) for _ in range(count)]
        one, other = ours.look(frames, "a")[0], theirs.look(frames, "a")[0]
        assert len(one.log_probs) == len(other.log_probs) == (3 if count == 1 else (6 if count == 5 else 5))
        np.testing.assert_allclose(np.exp(one.log_probs), np.exp(other.log_probs), atol=1e-4)
        assert ours.read(frames).text == theirs.read(frames).text
    assert np.ptp(np.exp(one.log_probs), axis=0).max() > 1e-3, "the network looks at what it is shown"

    for name in "ab":
        write_track(tmp_path / "tracks" / f"track_{name}", None, hr=0)
    arguments = ["--tracks", str(tmp_path / "tracks"), "--checkpoint", str(files[1]), "--out", str(tmp_path / "out")]
    assert lpr.infer.main(arguments) == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [record["track_id"] for record in records] == ["track_a", "track_b"]
    assert {record["audit"]["model_hash"] for record in records} == {theirs.checkpoint.hash} != {ours.checkpoint.hash}


def test_another_program_finds_what_it_needs(files: tuple[Path, Path]) -> None:
    session = onnxruntime.InferenceSession(files[1], providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["lpr"])
    assert told["alphabet"] == load_config().model.alphabet and told["input"]["width"] == 64
    assert [one["name"] for one in told["formats"]] == ["brazilian", "mercosur"] and told["figures"] == {"exact": 0.5}
    images = np.zeros((3, 3, 16, 64), np.uint8)
    (log_probs,) = session.run(None, {session.get_inputs()[0].name: images})
    assert log_probs.shape == (3, 16, 37)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("settings", [["model.name=svtr"], ["model.sequence=attention", "model.layers=1"]])
def test_other_networks(settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = save(tmp_path / "a.safetensors", *SMALL[:3], *settings)
    write_tracks(tmp_path / "tracks", 20)
    arguments = ["--checkpoint", str(source), "--out", str(tmp_path / "a.onnx"), "--tracks", str(tmp_path / "tracks")]
    assert lpr.export.main(arguments) == 0
    assert "20 of 20 tracks are read alike" in capsys.readouterr().err


def write_tracks(folder: Path, count: int) -> None:
    for number in range(count):
        write_track(folder / f"track_{number:02d}", "ABC1D23", hr=0, lr=2)


def test_eight_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "digits", 120, load_formats(["digits5"])[0], 7, split="test")
    target = tmp_path / "digits.onnx"
    arguments = ["--checkpoint", "digits5", "--int8", "--tracks", str(tmp_path / "digits"), "--out", str(target)]
    assert lpr.export.main(arguments) == 0
    said = capsys.readouterr().err
    alike = int(said.split(" of 60 tracks are read alike")[0].split()[-1])
    assert alike >= 58
    told = exported.load(target)
    source = checkpoint.load(SHIPPED_WEIGHTS / "digits5.safetensors")
    assert told.calibration == source.calibration and told.hash != source.hash
    about = json.loads(onnx.load(target).metadata_props[0].value)
    assert about["int8"] is True and about["exported_from"] == source.hash
    kinds = {node.op_type for node in onnx.load(target).graph.node}
    assert "QuantizeLinear" in kinds
    # Of these weights most are the LSTM's, which stay as they are.
    assert target.stat().st_size < 0.8 * (SHIPPED_WEIGHTS / "digits5.safetensors").stat().st_size
    reader = Reader(target)
    found = [reader.read([path]).text == path.stem[:5] for path in sorted((tmp_path / "digits").glob("*.png"))[:40]]
    assert sum(found) >= 39


def test_calibrating_keeps_network_and_hash(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = exported.load(files[1])
    read = load_config(["cpu"], ["read.focus=2"]).read.model_dump(mode="json")
    target = tmp_path / "again.onnx"
    exported.recalibrate(files[1], {"slope": 2.0, "intercept": -1.0}, read, before.formats, target)
    after = exported.load(target)
    assert after.hash == before.hash and after.config.read.focus == 2
    assert json.loads(onnx.load(target).metadata_props[0].value)["exported_from"] == checkpoint.load(files[0]).hash
    assert after.calibration == {"slope": 2.0, "intercept": -1.0} and before.calibration is None
    with pytest.raises(UsageError, match=r"FILE\.onnx"):
        lpr.calibrate.main(["--checkpoint", str(target), "--tracks", "x", "--out", "y.safetensors"])
    # Of shipped weights, by their name.
    with pytest.raises(UsageError, match=r"FILE\.onnx"):
        lpr.calibrate.main(["--checkpoint", "brazil-fast", "--tracks", "x", "--out", "y.safetensors"])


def test_damaged_and_strange_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    data = files[1].read_bytes()
    path = tmp_path / "bad.onnx"

    def refused(content: bytes, match: str) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=match):
            Reader(path)

    refused(data[: len(data) // 2], "is cut short or no ONNX file")
    refused(b"nonsense", "is cut short or no ONNX file")
    weights = max(onnx.load(files[1]).graph.initializer, key=lambda one: len(one.raw_data)).raw_data
    at = data.index(weights[:64]) + 3
    refused(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :], "altered or damaged after it was saved")
    proto = onnx.load(files[1])
    told = json.loads(proto.metadata_props[0].value)
    told["config"]["input"]["width"] = 128
    proto.metadata_props[0].value = json.dumps(told)
    refused(proto.SerializeToString(), "does not fit its metadata")
    proto.metadata_props[0].value = "{"
    refused(proto.SerializeToString(), "none that lpr.export wrote")
    with pytest.raises(InputError, match="cannot be read"):
        Reader(tmp_path / "none.onnx")


def test_what_it_cannot_do_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = files
    with pytest.raises(InputError, match="is exported, to be read with only"):
        initialise(build_recogniser(load_config(["cpu"], SMALL)), load_config(["cpu"], [f"train.init_from={target}"]))
    with pytest.raises(InputError, match="is exported, to be read with only"):
        lpr.export.main(["--checkpoint", str(target), "--out", str(tmp_path / "b.onnx")])
    with pytest.raises(UsageError, match="read on the CPU"):
        Reader(target, device="meta")
    with pytest.raises(UsageError, match="--int8 needs --tracks"):
        lpr.export.main(["--checkpoint", str(source), "--out", str(tmp_path / "b.onnx"), "--int8"])
    with pytest.raises(UsageError, match=r"--out is FILE\.onnx"):
        lpr.export.main(["--checkpoint", str(source), "--out", str(tmp_path / "b.pt")])
    write_image(tmp_path / "few" / "ABC1D23.png")
    with pytest.raises(InputError, match="holds 1 readable tracks, too few"):
        lpr.export.main(
            ["--checkpoint", str(source), "--out", str(tmp_path / "b.onnx"), "--tracks", str(tmp_path / "few")]
        )
    temporal, _ = save(tmp_path / "t.safetensors", "model.hidden=8", "model.temporal=1")
    with pytest.raises(InputError, match="its frames look at each other"):
        lpr.export.main(["--checkpoint", str(temporal), "--out", str(tmp_path / "b.onnx")])
    assert not (tmp_path / "b.onnx").exists()
