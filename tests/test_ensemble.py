"""Several checkpoints that read together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from decode_cases import BRAZIL, posteriors_of

import lpr
from lpr import calibrate, candidates, infer
from lpr.config import Config
from lpr.data.scan import scan
from lpr.decode.confidence import Calibration
from lpr.decode.ctc import FLOOR
from lpr.decode.records import read_predictions
from lpr.decode.stored import StoredPosteriors, writing
from lpr.ensemble import Ensemble, respelled
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.plates.texts import fresh_text
from lpr.reader import SHIPPED_WEIGHTS, Reader
from lpr.types import ALPHABET, InputError, Posteriors, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two networks of different T, one of another alphabet, and one track of two frames."""
    import cv2

    folder = tmp_path_factory.mktemp("ensemble")
    sizes = {"a": {"width": 128}, "b": {"width": 160}}
    for name, size in sizes.items():
        config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}, "input": size, "read": {"views": 1}})
        checkpoint.save(folder / f"{name}.safetensors", build_recogniser(config), config, {})
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8, "alphabet": alphabet}, "read": {"views": 1}})
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


def test_one_checkpoint_twice_is_refused(made):
    one = str(made / "a.safetensors")
    with pytest.raises(InputError, match="holds the weights of"):
        Ensemble([one, one], device="cpu")


def test_each_checkpoint_looks_at_a_short_track_as_often(made, tmp_path):
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    both = Ensemble(paths, settings=["read.views=3"], device="cpu")
    both.weights = (2.0, 1.0)
    ((found, _),) = both.posteriors(scan(made / "in").tracks)
    # Two frames are looked at twice to have three looks; only the first looks are the frames' own readings.
    assert [len(array) for array in found.log_probs] == [32] * 4 + [40] * 4 and len(found.alone) == 4
    assert found.weights == (2.0,) * 4 + (1.0,) * 4
    assert len(both.decoder.decode(found).per_frame) == 4


def test_alphabets_may_differ_as_long_as_they_spell_the_formats(made):
    tracks = scan(made / "in").tracks
    paths = [str(made / f"{name}.safetensors") for name in ("a", "other")]
    ((posteriors, _),) = Ensemble(paths, device="cpu").posteriors(tracks)
    ((alone, _),) = Ensemble(paths[1:], device="cpu").posteriors(tracks)
    for character in "A7":
        column = alone.log_probs[0][:, alone.alphabet.index(character) + 1]
        assert np.array_equal(posteriors.log_probs[2][:, posteriors.alphabet.index(character) + 1], column)
    # A character that a network does not know is out of the question for it.
    array = np.log(np.full((1, 3), 1 / 3, np.float32))
    found = respelled(array, "AB", "BC")
    assert found[0] == pytest.approx([*array[0, :2], FLOOR])


def test_calibrate_finds_the_weights_of_an_ensemble_and_infer_reads_its_file(made, tmp_path, capsys):
    """Of two networks the posteriors of the second are noise: it gets less weight than the first."""
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    ensemble = Ensemble(paths, device="cpu")
    rng = np.random.default_rng(0)
    with writing(tmp_path / "p.npz", ensemble.decoder, ALPHABET) as kept:
        lines = ["track_id,text"]
        for number in range(24):
            text = BRAZIL[number % 2].sample(rng)
            good = [posteriors_of(text, rng, peak=rng.uniform(2, 9)) for _ in range(2)]
            bad = [posteriors_of(BRAZIL[number % 2].sample(rng), rng, peak=7.0, steps=40) for _ in range(2)]
            kept.add(Posteriors(f"t{number}", (*good, *bad)), ())
            lines.append(f"t{number},{text}")
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    made_file = tmp_path / "ensemble.json"
    words = ["--tracks", str(tmp_path / "p.npz"), "--truth", str(tmp_path / "truth.csv"), "--device", "cpu"]
    assert calibrate.main(["--checkpoint", *paths, *words, "--out", str(made_file)]) == 0
    assert "after:" in capsys.readouterr().out
    read = Ensemble([str(made_file)], device="cpu")
    assert read.weights[0] > 0.7 and sum(read.weights) == pytest.approx(1)
    assert read.decoder.calibrated and read.decoder.calibration.tracks < 24
    words = ["--tracks", str(made / "in"), "--pictures", "0", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert infer.main([*words, "--checkpoint", str(made_file), "--save-posteriors"]) == 0
    ((posteriors, _),) = StoredPosteriors(tmp_path / "out" / "posteriors.npz")
    assert posteriors.weights == pytest.approx([read.weights[0]] * 2 + [read.weights[1]] * 2)
    # The file means these networks and no others.
    values = json.loads(made_file.read_text())
    values["members"].reverse()
    values["members"][0]["path"], values["members"][1]["path"] = (m["path"] for m in values["members"][::-1])
    made_file.write_text(json.dumps(values))
    with pytest.raises(InputError, match="not the one"):
        Ensemble([str(made_file)], device="cpu")
    made_file.write_text("{}")
    with pytest.raises(InputError, match="no ensemble file"):
        Ensemble([str(made_file)], device="cpu")
    with pytest.raises(InputError, match="--out"):
        calibrate.main(["--checkpoint", *paths, "--tracks", str(tmp_path / "p.npz")])


def test_formats_that_are_named_go_before_those_of_an_ensemble_file(made, tmp_path):
    ensemble = Ensemble([str(made / f"{name}.safetensors") for name in "ab"], device="cpu")
    ensemble.save(tmp_path / "e.json", Calibration())
    file = [str(tmp_path / "e.json")]
    assert [one.name for one in Ensemble(file, device="cpu").decoder.formats] == ["brazilian", "mercosur"]
    named = Ensemble(file, format=["mercosur"], device="cpu").decoder
    assert [one.name for one in named.formats] == ["mercosur"] and not named.config.read.format_priors
    assert Ensemble(file, format=["auto"], device="cpu").decoder.config.read.format_priors
    assert Ensemble(file, settings=["read.format_priors=true"], device="cpu").decoder.config.read.format_priors


def test_one_that_cannot_spell_the_formats_does_not_join(made):
    digits = str(SHIPPED_WEIGHTS / "digits5.safetensors")
    with pytest.raises(InputError, match=r"has no character in the checkpoint.s alphabet") as caught:
        Ensemble([str(made / "a.safetensors"), digits], device="cpu")
    assert "digits5" in str(caught.value)


def test_a_fusion_that_weighs_no_checkpoint_is_said_and_not_calibrated(made, tmp_path):
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    settings = ["read.fusion=log_prob_sum"]
    assert "only sequence weighs them" in Ensemble(paths, settings=settings, device="cpu").said
    (tmp_path / "truth.csv").write_text("track_id,text\ntrack_1,ABC1D23\n")
    words = ["--checkpoint", *paths, "--tracks", str(made / "in"), "--truth", str(tmp_path / "truth.csv")]
    with pytest.raises(UsageError, match="log_prob_sum does not weigh several checkpoints"):
        calibrate.main([*words, "--set", *settings, "--out", str(tmp_path / "e.json"), "--device", "cpu"])


def test_a_reader_of_one_checkpoint_refuses_an_ensemble_file(made, tmp_path):
    Ensemble([str(made / f"{name}.safetensors") for name in "ab"], device="cpu").save(
        tmp_path / "e.json", Calibration()
    )
    with pytest.raises(InputError, match="is an ensemble file"):
        Reader(tmp_path / "e.json")


def test_candidates_are_those_of_an_ensemble_too(made, tmp_path):
    Ensemble([str(made / f"{name}.safetensors") for name in "ab"], device="cpu").save(
        tmp_path / "e.json", Calibration()
    )
    words = ["--tracks", str(made / "in"), "--checkpoint", str(tmp_path / "e.json"), "--top", "3", "--device", "cpu"]
    assert candidates.main([*words, "--out", str(tmp_path / "out")]) == 0
    (line,) = (tmp_path / "out" / "candidates.jsonl").read_text().splitlines()
    assert len(json.loads(line)["candidates"]) == 3


def test_a_registered_plate_of_no_format_has_its_own_probability(tmp_path):
    """The best plate of the formats, all but impossible here, says nothing of it."""

    class Foreign:
        alphabet = ALPHABET
        decoder = Reader(SHIPPED_WEIGHTS / "brazil.safetensors", device="cpu").decoder

    sharp = np.full((32, 37), -30.0)
    sharp[:, 0] = 0.0
    for step, character in zip(range(2, 30, 4), "AB123CD", strict=True):
        sharp[step, 0], sharp[step, ALPHABET.index(character) + 1] = -30.0, 0.0
    (tmp_path / "plates.csv").write_text("text\nAB123CD\nABC1234\n")
    known = candidates.read_registry(tmp_path / "plates.csv", ALPHABET)
    find, _ = candidates._finder(Foreign(), known, None, 10)
    found = find(Posteriors("t", (sharp,) * 5, ALPHABET, ("",) * 5))["candidates"]
    assert [one["text"] for one in found] == ["AB123CD", "ABC1234"]
    assert found[0]["prob"] > 0.9 and sum(one["prob"] for one in found) <= 1


def test_a_calibration_of_one_member_is_not_the_ensembles(made, tmp_path):
    path = tmp_path / "calibrated.safetensors"
    config = Config.model_validate({"model": {"name": "cpu", "hidden": 8}, "read": {"views": 1}})
    extra = {"calibration": Calibration(tracks=9, right=5).to_dict()}
    checkpoint.save(path, build_recogniser(config), config, extra)
    assert Ensemble([str(path)], device="cpu").decoder.calibrated
    words = ["--tracks", str(made / "in"), "--checkpoint", str(path), str(made / "a.safetensors"), "--device", "cpu"]
    assert infer.main([*words, "--pictures", "0", "--save-posteriors", "--out", str(tmp_path / "out")]) == 0
    assert not StoredPosteriors(tmp_path / "out" / "posteriors.npz").decoder.calibrated
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["audit"]["calibrated"] is False
    with pytest.raises(UsageError, match="needs probabilities"):
        infer.main([*words, "--pseudo-labels", "0.9", "--out", str(tmp_path / "pseudo")])


def test_a_frame_of_another_type_is_refused_by_its_name() -> None:
    from PIL import Image

    reader = Reader(SHIPPED_WEIGHTS / "brazil.safetensors", device="cpu")
    pixels = np.zeros((20, 60, 3), np.uint8)
    for frames, said in (
        (Image.fromarray(pixels), "frame 1 is of the type Image"),
        (b"png", "frame 1 is of the type bytes"),
        ([pixels, None], "frame 2 is of the type NoneType"),
        ([], "no frame was given"),
        (pixels.astype(np.float32), "frame 1"),
        (pixels.transpose(2, 0, 1)[None], "frame 1"),
    ):
        with pytest.raises(InputError, match=said):
            reader.read(frames)  # type: ignore[arg-type]
    assert len(reader.read(one for one in (pixels, pixels)).per_frame) == 2  # type: ignore[arg-type]
    # A file that cannot be read is no mistake of the caller's.
    assert reader.read(["none.png", pixels]).problems and lpr.InputError is InputError
    assert "only 60x3 px" in reader.read([pixels, pixels[:3]]).problems[0].what
    one = Reader(SHIPPED_WEIGHTS / "brazil.safetensors", device="cpu", format=None, settings="read.views=1")
    assert one.config.read.views == 1 and len(one.read(pixels).per_frame) == 1


def test_an_ensemble_reads_what_a_reader_does(made, tmp_path):
    paths = [str(made / f"{name}.safetensors") for name in "ab"]
    both = Ensemble(paths, device="cpu", settings=["read.views=1"])
    pixels = np.random.default_rng(0).integers(0, 255, (20, 60, 3), dtype=np.uint8)
    found = both.read(one for one in (pixels, pixels))  # type: ignore[arg-type]
    assert len(found.per_frame) == 4 and found == both.read([pixels, pixels])


def test_weights_of_an_ensemble_are_chosen_on_half_of_the_generators_test_set():
    """Its texts share the last bits of their sums, see plates/texts.py."""
    texts = {str(at): fresh_text(np.random.default_rng(at), BRAZIL[1], ("test",), set()) for at in range(200)}
    choosing, rest = calibrate._folds(texts, [None, None], several=True)
    assert 60 < len(choosing) < 140 and len(choosing) + len(rest) == 200
