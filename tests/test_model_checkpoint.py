"""Checkpoints: what goes in comes out, and everything that is not ours is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lpr.config import Config, load_config
from lpr.data.splits import HeldOut
from lpr.model import checkpoint
from lpr.model.recogniser import Recogniser, build_recogniser
from lpr.types import InputError

SPLIT = {"select": ["ABC1D23", "0000000"], "calibrate": ["XYZ1234"]}


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(["cpu"], ["model.hidden=8", "model.layers=1", "model.slot_head=true"])


@pytest.fixture
def saved(tmp_path: Path, config: Config) -> tuple[Path, Recogniser]:
    torch.manual_seed(3)
    model = build_recogniser(config)
    path = tmp_path / "run" / "best" / "model.safetensors"
    checkpoint.save(path, model, config, {"split": SPLIT, "calibration": {"a": 1.5}, "figures": {"epoch": 2}})
    return path, model


def _rewrite(path: Path, **changes: object) -> None:
    """Alter metadata entries; None removes one."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["lpr"])
    metadata.update(changes)
    metadata = {key: value for key, value in metadata.items() if value is not None}
    save_file(load_file(path), path, {"lpr": json.dumps(metadata)})


def test_round_trip_from_file_best_folder_and_run_folder(saved: tuple[Path, Recogniser], config: Config) -> None:
    path, model = saved
    images = torch.randint(0, 256, (2, 3, config.input.height, config.input.width), dtype=torch.uint8)
    with torch.no_grad():
        expected = model.eval()(images)
    for place in (path, path.parent, path.parent.parent):
        loaded = checkpoint.load(place)
        assert not loaded.model.training
        with torch.no_grad():
            assert torch.equal(loaded.model(images), expected)
        assert loaded.config == config
        assert loaded.alphabet == config.model.alphabet
        assert [f.templates for f in loaded.formats] == [("LLLDDDD",), ("LLLDLDD",)]
        assert loaded.calibration == {"a": 1.5}
        assert loaded.split == HeldOut(frozenset(SPLIT["select"]), frozenset(SPLIT["calibrate"]))
        assert loaded.figures["epoch"] == 2
        assert loaded.path == path


def test_hash_names_the_weights_and_nothing_else(saved: tuple[Path, Recogniser], config: Config) -> None:
    path, model = saved
    first = checkpoint.load(path).hash
    assert len(first) == 64
    assert checkpoint.save(path, model, config, {"calibration": {"a": 9.0}}) == first
    channels_last = model.to(memory_format=torch.channels_last)
    assert checkpoint.model_hash(channels_last.state_dict()) == first
    with torch.no_grad():
        model.classifier.bias[0] += 1e-3
    assert checkpoint.save(path, model, config, {}) != first


@pytest.mark.parametrize("keep", [0, 4, 100, 5_000, -1])
def test_cut_short_is_refused(saved: tuple[Path, Recogniser], keep: int) -> None:
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cut short") as caught:
        checkpoint.load(path)
    assert caught.value.problem.where == str(path)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.safetensors"])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_refused(tmp_path: Path, name: str, legacy: bool) -> None:
    path = tmp_path / name
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"pickle|cut short or no safetensors"):
        checkpoint.load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="no checkpoint of lpr"):
        checkpoint.load(path)


def test_other_alphabets_are_refused(saved: tuple[Path, Recogniser], config: Config) -> None:
    path, _ = saved
    _rewrite(path, alphabet="0123456789")
    with pytest.raises(InputError, match="its alphabet 0123456789 is not that of its configuration"):
        checkpoint.load(path)
    values = config.model_dump(mode="json")
    values["model"]["alphabet"] = "0123456789"
    _rewrite(path, config=values)
    with pytest.raises(InputError, match="37 classes, but its alphabet needs 11"):
        checkpoint.load(path)


@pytest.mark.parametrize("key", ["config", "alphabet", "formats", "hash"])
def test_missing_metadata_is_named(saved: tuple[Path, Recogniser], key: str) -> None:
    path, _ = saved
    _rewrite(path, **{key: None})
    with pytest.raises(InputError, match=f"no '{key}'"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("formats", [], "names no format"),
        ("formats", [1], "a format in its metadata is 1"),
        ("formats", [{"name": "x", "templates": [], "layout": "x", "prior": 1}], "no template"),
        ("formats", [{"name": "x", "templates": "LLL", "layout": "x", "prior": 1}], "'templates' in its metadata"),
        ("calibration", [1, 2], r"'calibration' in its metadata is \[1, 2\]"),
        ("figures", 3, "'figures' in its metadata is 3"),
        ("split", {"select": "ABC", "calibrate": []}, "'select' in its metadata is 'ABC'"),
        ("hash", 5, "'hash' in its metadata is 5"),
    ],
)
def test_wrong_metadata_is_named(saved: tuple[Path, Recogniser], key: str, value: object, message: str) -> None:
    _rewrite(saved[0], **{key: value})
    with pytest.raises(InputError, match=message):
        checkpoint.load(saved[0])


def test_altered_weights_are_refused(saved: tuple[Path, Recogniser]) -> None:
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="altered or damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(saved: tuple[Path, Recogniser], config: Config, value: float) -> None:
    path, model = saved
    with torch.no_grad():
        model.classifier.bias[1] = value
    checkpoint.save(path, model, config, {})
    with pytest.raises(InputError, match=r"not finite \(classifier\.bias"):
        checkpoint.load(path)


def test_loading_draws_no_random_numbers(saved: tuple[Path, Recogniser]) -> None:
    before = torch.get_rng_state()
    checkpoint.load(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_unknown_and_misshapen_tensors_are_named(saved: tuple[Path, Recogniser]) -> None:
    path, _ = saved
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()

    def write(changed: dict[str, torch.Tensor]) -> None:
        save_file(changed, path, metadata)

    write({k: v for k, v in tensors.items() if k != "classifier.bias"})
    with pytest.raises(InputError, match=r"lacks 'classifier.bias'"):
        checkpoint.load(path)
    write(tensors | {"extra": torch.zeros(1)})
    with pytest.raises(InputError, match="holds 'extra'"):
        checkpoint.load(path)
    write(tensors | {"classifier.bias": torch.zeros(5)})
    with pytest.raises(InputError, match=r"classifier.bias has shape \(5,\), its network needs \(37,\)"):
        checkpoint.load(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        checkpoint.load(tmp_path)
