"""Several checkpoints that read together."""

from __future__ import annotations

import numpy as np
import pytest

from lpr import infer
from lpr.config import Config
from lpr.data.scan import scan
from lpr.decode.records import read_predictions
from lpr.decode.stored import StoredPosteriors
from lpr.ensemble import Ensemble
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.types import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two networks of different T, one of another alphabet, and one track of two frames."""
    import cv2

    folder = tmp_path_factory.mktemp("ensemble")
    sizes = {"a": {"width": 128}, "b": {"width": 160}}
    for name, size in sizes.items():
        config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}, "input": size})
        checkpoint.save(folder / f"{name}.safetensors", build_recogniser(config), config, {})
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8, "alphabet": alphabet}})
    checkpoint.save(folder / "other.safetensors", build_recogniser(config), config, {})
    (folder / "in" / "track_1").mkdir(parents=True)
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 50, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "in" / "track_1" / f"lr-00{number}.png"), pixels)
    return folder


def test_posteriors_of_all_checkpoints_are_those_of_each(made):
    tracks = scan(made / "in").tracks
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    ((together, _),) = Ensemble(paths, device="cpu").posteriors(tracks)
    alone = [next(Ensemble([path], device="cpu").posteriors(tracks))[0] for path in paths]
    assert [len(array) for array in together.log_probs] == [32, 32, 40, 40]
    assert together.files == ("lr-001.png", "lr-002.png") * 2
    for array, wanted in zip(together.log_probs, (*alone[0].log_probs, *alone[1].log_probs), strict=True):
        assert np.allclose(array, wanted, atol=1e-6)


def test_their_order_changes_no_text_and_no_confidence(made):
    tracks = scan(made / "in").tracks
    found = []
    for names in ("ab", "ba"):
        ensemble = Ensemble([str(made / f"{name}.safetensors") for name in names], device="cpu")
        ((posteriors, problems),) = ensemble.posteriors(tracks)
        found.append(ensemble.decoder.decode(posteriors, problems))
    assert found[0].text == found[1].text and found[0].confidence == pytest.approx(found[1].confidence)


def test_infer_takes_several_and_their_posteriors_can_be_read_back(made, tmp_path):
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    words = ["--pictures", "0", "--device", "cpu", "--out"]
    tracks = ["--tracks", str(made / "in"), "--checkpoint", *paths, "--save-posteriors"]
    assert infer.main([*tracks, *words, str(tmp_path / "one")]) == 0
    stored = tmp_path / "one" / "posteriors.npz"
    assert StoredPosteriors(stored).decoder.checkpoint == "+".join(paths)
    assert infer.main(["--tracks", str(stored), *words, str(tmp_path / "two")]) == 0
    one, two = (read_predictions(tmp_path / name / "predictions.jsonl") for name in ("one", "two"))
    assert one == two and len(one[0].per_frame) == 4
    with pytest.raises(InputError, match="was made by model"):
        infer.main(["--tracks", str(stored), *words, str(tmp_path / "two"), "--checkpoint", paths[0]])


def test_one_checkpoint_twice_and_another_alphabet_are_refused(made):
    one, other = str(made / "a.safetensors"), str(made / "other.safetensors")
    with pytest.raises(InputError, match="holds the weights of"):
        Ensemble([one, one], device="cpu")
    with pytest.raises(InputError, match="alphabet"):
        Ensemble([one, other], device="cpu")
