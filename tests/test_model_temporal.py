"""Frames that look at each other: what they may see, that order does not matter, and the way to files and readings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decode_cases import decode_track
from safetensors.torch import load_file
from torch import nn
from training_case import TINY, make_data

from lpr.config import ReadConfig, load_config
from lpr.data.dataset import collate, epoch_looks, flat
from lpr.decode.stored import Decoder, StoredPosteriors, writing
from lpr.ensemble import Ensemble
from lpr.formats import load_formats
from lpr.model import checkpoint
from lpr.model.inference import Stack, folded, looks, posteriors_of, stack, view
from lpr.model.recogniser import Recogniser, build_recogniser
from lpr.model.temporal import MOST_FRAMES, REACH, TemporalBlock, TemporalFusion
from lpr.training.batches import epoch_batches
from lpr.training.loop import train
from lpr.training.losses import compute_losses
from lpr.training.setup import initialise
from lpr.training.step import Stepper
from lpr.training.stopping import StopRequest
from lpr.types import ALPHABET, Frame, InputError, Posteriors, Track

SMALL = ["model.hidden=8", "input.height=16", "input.width=64"]


def _awake(module: nn.Module) -> nn.Module:
    """The branches that begin at zero, moved: only then do frames see each other."""
    generator = torch.Generator().manual_seed(3)
    for block in module.modules():
        if isinstance(block, TemporalBlock):
            for layer in (block.quality, block.attention_out, block.mlp_out):
                nn.init.normal_(layer.weight, std=0.3, generator=generator)
            nn.init.normal_(block.shift, generator=generator)
    return module


def _images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 16, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _stack(name: str, frames: np.ndarray, files: str, merged: int = 0) -> Stack:
    return stack(name, frames, files, ReadConfig(merged=merged))


def _network(*settings: str) -> Recogniser:
    torch.manual_seed(0)
    return build_recogniser(load_config(["cpu"], [*SMALL, "model.temporal=2", *settings])).eval()


def test_it_begins_as_the_network_without(tmp_path: Path) -> None:
    before = load_config(["cpu"], SMALL)
    path = tmp_path / "small.safetensors"
    model = build_recogniser(before).eval()
    checkpoint.save(path, model, before, {"split": {"select": ["A"], "calibrate": ["B"]}})
    grown = _network()
    initialise(grown, load_config(["cpu"], [*SMALL, "model.temporal=2", f"train.init_from={path}"]))
    alone, together = grown.eval().together(_images(6), torch.tensor([0, 0, 0, 1, 1, 2]))
    torch.testing.assert_close(alone, model(_images(6)))
    torch.testing.assert_close(together, alone)


@torch.no_grad()
def test_frames_see_their_own_track_and_no_other() -> None:
    model = _awake(_network())
    images, tracks = _images(6), torch.tensor([4, 4, 4, 9, 9, 4])
    alone, together = model.together(images, tracks)
    assert (together - alone).abs().max() > 0.1
    images[3] = 255 - images[3]
    _, after = model.together(images, tracks)
    changed = (after - together).abs().amax((1, 2)) > 1e-3
    # The last one is of a track that happens to have the number of the first.
    assert changed.tolist() == [False, False, False, True, True, False]


@torch.no_grad()
def test_neither_order_nor_neighbours_matter() -> None:
    model = _awake(_network())
    images, tracks = _images(7), torch.tensor([0, 0, 0, 1, 2, 2, 2])
    _, together = model.together(images, tracks)
    order = [2, 0, 1, 3, 6, 4, 5]
    _, turned = model.together(images[order], tracks)
    torch.testing.assert_close(turned, together[order], rtol=0, atol=1e-5)
    _, only = model.together(images[:3], tracks[:3])
    torch.testing.assert_close(only, together[:3], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_step_looks_no_further_than_its_reach() -> None:
    block = _awake(TemporalBlock(16))
    x = torch.randn(1, 2, 20, 16, generator=torch.Generator().manual_seed(2))
    nn.init.zeros_(block.quality.weight)  # a frame's worth is drawn from all its steps
    before = block(x)
    x[0, 0, 10] = -x[0, 0, 10]
    changed = (block(x) - before).abs().amax(3)[0] > 1e-6
    near = [abs(step - 10) <= REACH for step in range(20)]
    assert changed.tolist() == [near, near]


@torch.no_grad()
def test_long_tracks_are_read_in_parts() -> None:
    fusion = _awake(TemporalFusion(1, 16)).eval()
    x = torch.randn(MOST_FRAMES + 3, 8, 16, generator=torch.Generator().manual_seed(2))
    tracks = torch.zeros(len(x), dtype=torch.int64)
    whole = fusion(x, tracks)
    half = len(x) // 2
    torch.testing.assert_close(whole[:half], fusion(x[:half], tracks[:half]))
    torch.testing.assert_close(whole[half:], fusion(x[half:], tracks[half:]))


def test_everything_in_it_learns() -> None:
    model = _awake(_network()).train()
    targets = torch.tensor([1, 2, 3] * 6)
    outputs = model.training_outputs(_images(6), None, torch.tensor([0, 0, 0, 1, 1, 2]))
    assert outputs.alone is not None and not torch.equal(outputs.alone, outputs.logits)
    config = load_config(["cpu"], SMALL).train
    compute_losses(outputs, targets, torch.full((6,), 3), None, config).total.backward()
    assert model.temporal is not None
    still = [n for n, p in model.temporal.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert not still
    # Without the others the loss is the mean of two equal ones.
    same = replace(outputs, alone=outputs.logits)
    both, one = (
        compute_losses(o, targets, torch.full((6,), 3), None, config).ctc for o in (same, replace(outputs, alone=None))
    )
    torch.testing.assert_close(both, one)


def _tracks(sizes: list[tuple[int, int]]) -> list[Track]:
    return [
        Track(f"t{n}", tuple(Frame(Path("x"), i + 1, kind) for kind, f in (("lr", lr), ("hr", hr)) for i in range(f)))
        for n, (lr, hr) in enumerate(sizes)
    ]


def test_epochs_are_of_whole_tracks_and_batches_do_not_cut_them() -> None:
    tracks = _tracks([(5, 5), (5, 0), (1, 0), (3, 4), (0, 2), (7, 0)])
    config = load_config(["phase1", "cpu"], ["model.temporal=1", "train.batch_size=6", "train.curriculum_steps=0"])
    looks = epoch_looks(tracks, config, 0)
    for look in looks:
        (track,) = {sample.track for sample in look}
        (kind,) = {sample.kind for sample in look}
        whole = len(tracks[track].lr if kind == "lr" else tracks[track].hr)
        assert [sample.frame for sample in look] == list(range(whole))
        assert len({sample.seed for sample in look}) == 1, "one geometry for all of them"
    assert {look[0].track for look in looks if look[0].kind == "lr"} == {0, 1, 2, 3, 5}
    batches = epoch_batches(tracks, config, 0, 0)
    assert flat([look for batch in batches for look in batch]) == flat(looks)
    assert all(len(flat(batch)) <= 6 or len(batch) == 1 for batch in batches)
    assert max(len(flat(batch)) for batch in batches) == 7


def test_two_looks_at_one_track_are_told_apart() -> None:
    images = {"image": torch.zeros(1), "target": torch.ones(1, dtype=torch.int64), "track": 3}
    keys = [("lr", (0, 0, 3, 0))] * 2 + [("hr", (0, 0, 3, 0))] + [("lr", (0, 0, 3, 1))] * 2
    batch = collate([{**images, "look": key} for key in keys])
    assert batch["looks"].tolist() == [0, 0, 1, 2, 2] and batch["tracks"].tolist() == [3] * 5


def test_an_epoch_is_as_long_as_asked_and_its_curriculum_as_fast() -> None:
    tracks = _tracks([(5, 5)] * 300)
    settings = ["train.batch_size=10", "train.curriculum_steps=100", "data.hr_frames=degraded"]
    clean: dict[int, list[float]] = {}
    for temporal in (0, 1):
        config = load_config(["phase1", "cpu"], [*settings, f"model.temporal={temporal}", "data.epoch_samples=2000"])
        batches = [flat(batch) for batch in epoch_batches(tracks, config, 0, 0)]
        assert sum(map(len, batches)) == 2000 and len(batches) == 200
        clean[temporal] = [sum(s.kind == "hr" for b in batches[i : i + 20] for s in b) / 200 for i in range(0, 200, 20)]
    assert clean[1] == pytest.approx(clean[0], abs=0.1)
    assert clean[1][0] > 0.8 and clean[1][5:] == [0] * 5
    mixed = [replace(track, source="tracks") for track in tracks[:100]]
    mixed += [replace(track, source="single") for track in _tracks([(1, 0)] * 100)]
    config = load_config(
        ["cpu"], ["model.temporal=1", "data.mix={tracks: 0.4, single: 0.6}", "data.epoch_samples=2600"]
    )
    assert sum(map(len, epoch_looks(mixed, config, 0))) == 0.4 * 1000 * 5 + 0.6 * 1000


def test_training_resumes_bit_equal_with_whole_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path / "data")
    config = load_config(["phase1", "cpu"], [*TINY, "model.super_resolution=false", "model.temporal=1"])
    assert train(config, data, tmp_path / "whole") == ""
    step, steps = Stepper.step, [0]

    def stop_in_the_middle(self: Stepper, *args: Any) -> dict[str, float]:
        steps[0] += 1
        if steps[0] == 3:
            monkeypatch.setattr(StopRequest, "reason", "interrupted")
        return step(self, *args)

    monkeypatch.setattr(Stepper, "step", stop_in_the_middle)
    assert train(config, data, tmp_path / "cut") == "interrupted"
    monkeypatch.setattr(StopRequest, "reason", "")
    assert train(config, data, tmp_path / "cut", resume=True) == ""
    whole, cut = (load_file(tmp_path / run / "best" / "model.safetensors") for run in ("whole", "cut"))
    assert any(name.startswith("temporal.") for name in whole)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_views_of_stored_posteriors_and_of_an_ensemble(tmp_path: Path) -> None:
    paths = []
    for number, views in enumerate((2, 1)):
        config = load_config(["cpu"], [*SMALL, f"model.temporal={number}", f"read.views={views}"])
        torch.manual_seed(number)
        paths.append(tmp_path / f"{number}.safetensors")
        checkpoint.save(paths[-1], build_recogniser(config), config, {})
    both = Ensemble([str(path) for path in paths])
    found, _ = both.look(_images(1)[0].numpy().transpose(1, 2, 0), "a")
    assert len(found.log_probs) == len(found.weights) == len(found.files) == 2 * 2 and len(found.alone) == 2
    assert len(both.decoder.decode(found).per_frame) == 2
    with writing(tmp_path / "p.npz", both.decoder, ALPHABET) as file:
        file.add(found, ())
    stored = StoredPosteriors(tmp_path / "p.npz")
    stored.require_looks(ReadConfig(views=2))
    with pytest.raises(InputError, match=r"was made with read\.views=2, not 1"):
        stored.require_looks(ReadConfig(views=1))
    with pytest.raises(InputError, match=r"was made with read\.merged=0, not 2") as caught:
        stored.require_looks(ReadConfig(views=2, merged=2))
    assert "--set read.merged=0" in str(caught.value)


def test_readings_of_frames_stay_their_own(tmp_path: Path) -> None:
    model = _awake(_network())
    frames = _images(5).numpy()
    stacks = [_stack("a", frames[:3], "xyz"), _stack("none", frames[:0], ""), _stack("b", frames[3:], "uv")]
    found = posteriors_of(folded(model), stacks, ALPHABET)
    assert [len(one.alone) for one in found] == [3, 0, 2]
    a = found[0]
    formats, read = load_formats(["brazilian", "mercosur"]), ReadConfig()
    together, apart = (decode_track(one, read, formats, None) for one in (a, replace(a, log_probs=a.alone, alone=())))
    assert together.per_frame == apart.per_frame
    assert together.confidence != pytest.approx(apart.confidence)
    votes = read.model_copy(update={"fusion": "position_vote"})
    vote, same = (decode_track(one, votes, formats, None) for one in (a, replace(a, log_probs=a.alone, alone=())))
    assert vote.text == same.text

    config = load_config(["cpu"], SMALL)
    decoder = Decoder(config, tuple(formats), None, "hash", "model")
    with writing(tmp_path / "p.npz", decoder, ALPHABET) as file:
        for one in found:
            file.add(one, ())
    for before, (after, _) in zip(found, StoredPosteriors(tmp_path / "p.npz"), strict=True):
        for ours, theirs in ((before.log_probs, after.log_probs), (before.alone, after.alone)):
            assert len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def test_views_are_further_frames() -> None:
    torch.manual_seed(0)
    model = build_recogniser(load_config(["cpu"], SMALL)).eval()
    frames = _images(6).numpy()
    stacks = [
        _stack("a", frames[:1], "a"), _stack("none", frames[:0], ""), _stack("b", frames[1:3], "bc"),
        _stack("d", frames[3:], "def"),
    ]  # fmt: skip
    plain, none, plain_two, plain_many = posteriors_of(model, stacks, ALPHABET)
    three, still_none, two, many = posteriors_of(model, stacks, ALPHABET, 3)
    assert none == still_none
    # A track is looked at until it has three looks: one frame three times, two frames twice each.
    assert [(len(one.log_probs), "".join(one.files)) for one in (three, two, many)] == [
        (3, "aaa"), (4, "bcbc"), (3, "def"),
    ]  # fmt: skip
    for seen, as_it_is in ((three, plain), (two, plain_two), (many, plain_many)):
        count = len(as_it_is.log_probs)
        assert np.allclose(seen.log_probs[:count], as_it_is.log_probs, atol=1e-5)
        if seen is not many:
            assert all(map(np.array_equal, seen.alone, seen.log_probs[:count]))
            assert not np.allclose(seen.log_probs[count], as_it_is.log_probs[0])
    read, formats = ReadConfig(), load_formats(["brazilian", "mercosur"])
    one, more = (decode_track(found, read, formats, None) for found in (plain, three))
    assert one.per_frame == more.per_frame, "a frame has one reading, of itself as it is"
    # As many as there are views of a frame, and no more.
    assert [len(found.log_probs) for found in posteriors_of(model, stacks, ALPHABET, 35)] == [7, 0, 14, 21]
    assert looks(5, 10) == 2 and looks(5, 35) == 7
    # Larger about the middle: what stands in the middle stays, what stands right of it moves right.
    picture = np.zeros((1, 3, 32, 128), np.uint8)
    picture[..., 62:66] = picture[..., 94:98] = 255
    wide = view(picture, 1)[0, 0, 16].astype(int)
    assert (wide[62:66] > 200).all() and wide[96:100].min() > 100 and wide[94] < 50
    # Turned about the middle, one way and the other: what stands right of it moves up by sin(2 degrees) * 60, or down.
    spot = np.zeros((1, 1, 32, 128), np.uint8)
    spot[0, 0, 15:17, 122:126] = 255
    rows = [view(spot, number)[0, 0].astype(float).sum(1) @ np.arange(32) / spot.sum() for number in (0, 5, 6)]
    assert rows[0] == pytest.approx(15.5)
    assert [row - rows[0] for row in rows[1:]] == pytest.approx([-2.1, 2.1], abs=0.2)


def test_merged_pictures_are_further_frames_but_no_frames() -> None:
    frames = _images(6).numpy()
    frames[1:] = np.clip(frames[0].astype(int) + np.random.default_rng(0).normal(0, 30, frames[1:].shape), 0, 255)
    stacks = [
        _stack("a", frames[:1], "a", 2), _stack("none", frames[:0], "", 2), _stack("b", frames[1:], "bcdef", 2)
    ]  # fmt: skip
    for model in (build_recogniser(load_config(["cpu"], SMALL)).eval(), _awake(_network())):
        one, none, many = posteriors_of(model, stacks, ALPHABET)
        # Of one frame nothing can be merged.
        assert len(one.log_probs) == 1 and not none.log_probs
        assert len(many.log_probs) == 7 and many.files == (*"bcdef", "", "") and len(many.alone) == 5
        # They are no further frames to those that look at each other, nor are frames to them.
        bare = posteriors_of(model, [_stack("b", frames[1:], "bcdef")], ALPHABET)[0]
        own = posteriors_of(model, [_stack("m", stacks[2].merged, "mm")], ALPHABET)[0]
        assert np.allclose(many.log_probs, [*bare.log_probs, *own.log_probs], atol=1e-4)
    prediction = decode_track(many, ReadConfig(merged=2), load_formats(["brazilian"]), None)
    assert [reading.file for reading in prediction.per_frame] == list("bcdef")


def test_a_merged_picture_is_never_called_a_frame_without_a_plate() -> None:
    log_probs = [np.full((32, 37), -20.0, np.float32) for _ in range(3)]
    for array, text in zip(log_probs, ("ABC1234", "ABC1234", ""), strict=True):
        array[:, 0] = 0.0
        for place, character in enumerate(text):
            array[4 * place, [0, 1 + ALPHABET.index(character)]] = -20.0, 0.0
    found = Posteriors("t", tuple(log_probs), ALPHABET, ("a.png", "b.png", ""), alone=tuple(log_probs[:2]))
    bare = replace(found, files=("a.png", "b.png", "c.png"), alone=())
    formats = load_formats(["brazilian"])
    assert not decode_track(found, ReadConfig(), formats, None).problems
    # Frames in which hardly a plate is seen stay frames of it beside what is merged of them.
    dim = np.log(np.exp(log_probs[0]) * 0.2 + 0.8 / 37).astype(np.float32)
    blurred = Posteriors("t", (dim, dim, log_probs[0]), ALPHABET, ("a.png", "b.png", ""), alone=(dim, dim))
    assert not decode_track(blurred, ReadConfig(), formats, None).problems
    assert decode_track(replace(blurred, files=("a", "b", "c")), ReadConfig(), formats, None).problems
    assert "c.png" in str(decode_track(bare, ReadConfig(), formats, None).problems[0])


@torch.no_grad()
def test_folded_networks_read_alike() -> None:
    torch.manual_seed(0)
    for settings in (["model.residual=1"], ["model.name=svtr"], ["model.name=se-resnet"], ["model.name=seed-crnn"]):
        model = build_recogniser(load_config(["cpu"], [*SMALL, *settings]))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.weight)
        less = folded(model)
        assert model.training and not less.training
        torch.testing.assert_close(less(_images(3)), model.eval()(_images(3)), rtol=0, atol=1e-3)
        assert not any(
            isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d)
            for row in less.modules()
            if isinstance(row, nn.Sequential)
            for a, b in zip(row, list(row)[1:], strict=False)
        )
