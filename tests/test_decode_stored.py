"""Posteriors on disk: what comes back is what went in, and decodes to the same predictions."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from decode_cases import BRAZIL, posteriors_of

from lpr import infer
from lpr.config import Config
from lpr.decode.confidence import Calibration, method_name
from lpr.decode.records import read_predictions
from lpr.decode.stored import Decoder, StoredPosteriors, writing
from lpr.types import ALPHABET, InputError, Posteriors, Problem

CURVE = Calibration(0.7, 0.4, method_name(Config().read, BRAZIL))
DECODER = Decoder(Config(), BRAZIL, CURVE, "ab" * 32, "model.safetensors")


def tracks() -> list[tuple[Posteriors, tuple[Problem, ...]]]:
    rng = np.random.default_rng(0)
    # Frames of a track may differ in T, and a track may have none.
    sizes = {"00420": (32, 32), "NA": (32, 24, 20), "é": ()}
    found = []
    for name, steps in sizes.items():
        arrays = tuple(posteriors_of("ABC1D", rng, steps=size) for size in steps)
        files = tuple(f"lr-{i}.png" for i in range(len(steps)))
        found.append((Posteriors(name, arrays, ALPHABET, files), (Problem(f"{name}/lr-9.png", "is empty", "x"),)))
    return found


@pytest.fixture
def file(tmp_path):
    with writing(tmp_path / "p.npz", DECODER, ALPHABET) as kept:
        for posteriors, problems in tracks():
            kept.add(posteriors, problems)
    return tmp_path / "p.npz"


def test_posteriors_survive_the_file(file):
    assert DECODER.calibrated
    stored = StoredPosteriors(file)
    assert stored.track_ids == ["00420", "NA", "é"] and stored.alphabet == ALPHABET
    for (before, problems), (after, found) in zip(tracks(), stored, strict=True):
        assert (after.track_id, after.files, found) == (before.track_id, before.files, problems)
        assert [a.dtype for a in after.log_probs] == [np.float32] * len(before.log_probs)
        assert all(np.array_equal(a, b) for a, b in zip(after.log_probs, before.log_probs, strict=True))
        assert stored.decoder.decode(after, found) == DECODER.decode(before, problems)
    assert stored.decoder.calibration == DECODER.calibration
    assert stored.decoder.audit()["model_hash"] == "ab" * 32


def test_numpy_alone_reads_the_file(file):
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["1"].shape == (32 + 24 + 20, 37)
        assert json.loads(arrays["index.json"])["tracks"][1]["steps"] == [32, 24, 20]


def test_settings_change_how_it_is_read_but_not_what_made_it(file):
    decoder = StoredPosteriors(file).decoder
    assert decoder.with_settings(["read.fusion=majority_vote"]).config.read.fusion == "majority_vote"
    assert [f.name for f in decoder.with_settings(["read.formats=[mercosur]"]).formats] == ["mercosur"]
    with pytest.raises(InputError, match=r"input\.width"):
        decoder.with_settings(["input.width=64"])


def test_infer_reads_it_back_without_a_network(file, tmp_path, capsys):
    assert infer.main(["--tracks", str(file), "--out", str(tmp_path / "out"), "--save-posteriors"]) == 0
    wanted = [DECODER.decode(*one) for one in tracks()]
    found = read_predictions(tmp_path / "out" / "predictions.jsonl")
    assert [(p.track_id, p.text, p.confidence) for p in found] == [(p.track_id, p.text, p.confidence) for p in wanted]
    assert [p.problems for p in found] == [p.problems for p in wanted]
    again = list(StoredPosteriors(tmp_path / "out" / "posteriors.npz"))
    assert [p.track_id for p, _ in again] == ["00420", "NA", "é"]
    with pytest.raises(InputError, match="is empty"):
        infer.main(["--tracks", str(file), "--out", str(tmp_path / "out"), "--strict"])


def broken(file, name, content):
    """A copy of `file` in which one member is another."""
    target = file.with_name("broken.npz")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return target


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"tracks": 3}'])
def test_a_broken_index_is_an_input_error(file, content):
    with pytest.raises(InputError, match="cut short"):
        StoredPosteriors(broken(file, "index.json", content))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_a_broken_array_is_an_input_error(file, content):
    with pytest.raises(InputError, match="damaged"):
        list(StoredPosteriors(broken(file, "1.npy", content)))


def test_a_file_cut_short_and_a_missing_one_are_input_errors(file, tmp_path):
    file.write_bytes(file.read_bytes()[:-100])
    for path in (file, tmp_path / "none.npz"):
        with pytest.raises(InputError):
            StoredPosteriors(path)
