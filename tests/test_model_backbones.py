"""The stronger recognisers and the spatial transformer: shapes at every input size, parameter counts, what they do."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lpr.config import load_config
from lpr.model import checkpoint
from lpr.model.backbones import build_backbone
from lpr.model.recogniser import build_recogniser
from lpr.model.stn import SpatialTransformer
from lpr.types import InputError

SIZES = [(32, 128), (64, 200), (64, 256)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("name", "early", "depth"), [("se-resnet", 64, 512), ("svtr", 32, 256)])
def test_backbones_keep_a_step_every_four_pixels(name: str, early: int, depth: int, height: int, width: int) -> None:
    config = load_config(settings=[f"model.name={name}", f"input.height={height}", f"input.width={width}"])
    backbone = build_backbone(config).eval()
    with torch.no_grad():
        first, last = backbone(torch.zeros(1, 3, height, width))
    assert first.shape == (1, early, height // 2, width // 2)
    assert last.shape == (1, depth, height // 16, width // 4)


def test_se_resnet_has_the_parameters_of_resnet18_and_its_excitations() -> None:
    backbone = build_backbone(load_config(settings=["model.name=se-resnet"]))

    # By hand. A block: 3x3 convolutions, two BatchNorms, squeeze to an eighth and back with biases; a 1x1 shortcut.
    def block(inputs: int, outputs: int) -> int:
        count = 9 * inputs * outputs + 9 * outputs**2 + 4 * outputs
        count += 2 * outputs * (outputs // 8) + outputs + outputs // 8
        return count + (inputs * outputs + 2 * outputs if inputs != outputs else 0)

    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    expected = 27 * 64 + 128 + sum(block(a, b) for a, b in pairwise(widths))
    assert sum(p.numel() for p in backbone.parameters()) == expected


@pytest.mark.parametrize("preset", ["speed", "balanced", "accuracy", "low-memory"])
def test_presets_train_every_weight_and_come_back_from_their_file(preset: str, tmp_path: Path) -> None:
    config = load_config(["phase1", preset], ["input.width=64", "model.dropout=0"])
    torch.manual_seed(0)
    model = build_recogniser(config)
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):  # what stands behind several zeros gets a gradient once those have moved
        optimizer.zero_grad()
        outputs = model.training_outputs(images)
        loss = outputs.logits[:, :, 1].sum() + (
            0 if outputs.slot_logits is None else outputs.slot_logits[:, :, 2].sum()
        )
        loss.backward()
        optimizer.step()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, config, {})
    with torch.no_grad():
        assert torch.equal(checkpoint.load(path).model(images), model.eval()(images))


def test_attention_reads_in_place_of_the_lstm() -> None:
    config = load_config(["cpu"], ["model.sequence=attention", "model.hidden=16", "model.layers=2"])
    model = build_recogniser(config).eval()
    names = {name.split(".")[0] for name in model.state_dict()}
    assert "encoder" in names and "lstm" not in names
    images = torch.randint(0, 256, (2, 3, 32, 128), dtype=torch.uint8)
    assert model(images).shape == (2, 32, 37)


def test_mixed_precision_gives_nearly_the_same_posteriors() -> None:
    config = load_config(["cpu"], ["model.sequence=attention", "model.hidden=16", "model.mixing=1", "model.stn=true"])
    torch.manual_seed(0)
    model = build_recogniser(config).eval()
    images = torch.randint(0, 256, (2, 3, 32, 128), dtype=torch.uint8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        short = model(images)
    with torch.no_grad():
        torch.testing.assert_close(short, model(images), atol=0.1, rtol=0)


def _turned(theta: list[float], pictures: torch.Tensor) -> torch.Tensor:
    """`pictures` under an affine transform given as its six numbers' differences from the identity."""
    stn = SpatialTransformer(*pictures.shape[1:]).eval()
    with torch.no_grad():
        stn.localise = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(6))
        stn(pictures)
        stn.localise[1].weight.zero_()
        stn.localise[1].bias.copy_(torch.tensor(theta))
        stn.gain.fill_(1)
        return stn(pictures)


def test_spatial_transformer_by_hand() -> None:
    pictures = torch.randn(2, 3, 16, 64)
    torch.testing.assert_close(_turned([0.0] * 6, pictures), pictures, atol=1e-4, rtol=0)
    # x' = -x mirrors; x' = x + 2/W x 4 looks four pixels further right, and repeats the border.
    torch.testing.assert_close(_turned([-2.0, 0, 0, 0, 0, 0], pictures), pictures.flip(3), atol=1e-4, rtol=0)
    shifted = _turned([0, 0, 2 / 64 * 4, 0, 0, 0], pictures)
    torch.testing.assert_close(shifted[..., :60], pictures[..., 4:], atol=1e-4, rtol=0)
    torch.testing.assert_close(shifted[..., 60:], pictures[..., 63:].expand(-1, -1, -1, 4), atol=1e-4, rtol=0)


def test_spatial_transformer_turns_pictures_and_does_not_push_them_all_aside() -> None:
    """Asked for pictures that lie alike, it looks where each one's blot is; asked for a shift of all, it cannot."""
    torch.manual_seed(0)
    columns = torch.arange(64.0)
    places = torch.randint(20, 44, (256,)).float()
    pictures = (-((columns - places[:, None]) ** 2) / 18).exp()[:, None, None].expand(-1, 1, 16, -1).contiguous()
    middle = (-((columns - 31.5) ** 2) / 18).exp()
    for goal in (middle, middle.roll(20)):
        stn = SpatialTransformer(1, 16, 64)
        optimizer = torch.optim.Adam(stn.parameters(), 1e-2)
        for _ in range(80):
            optimizer.zero_grad()
            batch = pictures[torch.randperm(256)[:32]]
            (stn(batch) - goal).square().mean().backward()
            optimizer.step()
        stn.eval()
        with torch.no_grad():
            shift = stn.transform(pictures)[:, 0, 2] * 32
        if goal is middle:
            assert torch.corrcoef(torch.stack([shift, places]))[0, 1] > 0.9
        assert abs(float(shift.mean())) < 3


def test_gradients_that_mean_nothing_do_not_make_the_transform_the_same_for_all_pictures() -> None:
    torch.manual_seed(0)
    stn = SpatialTransformer(3, 32, 128)
    optimizer = torch.optim.Adam(stn.parameters(), 3e-3)
    # Pictures as they are, with much in common.
    pictures = torch.randn(1, 3, 32, 128) * 2 + torch.randn(64, 3, 32, 128)
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            looked = stn(pictures[torch.randperm(64)[:16]])
        (looked * torch.randn_like(looked)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        stn.gain.fill_(1)
        for mode in (True, False):
            spread = stn.train(mode).transform(pictures).std(0)
            assert spread.min() > 0.3 and spread.max() < 3, (mode, spread)


def test_one_picture_alone_can_be_trained_on() -> None:
    stn = SpatialTransformer(1, 16, 64).train()
    assert stn(torch.randn(1, 1, 16, 64)).shape == (1, 1, 16, 64)


def test_spatial_transformer_follows_the_picture_size_and_not_the_precision() -> None:
    stn = SpatialTransformer(1, 64, 200)
    pictures = torch.randn(1, 1, 64, 200)
    with torch.autocast("cpu", torch.bfloat16):
        moved = stn(pictures)
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved, pictures, atol=1e-3, rtol=0)


def test_spatial_transformer_and_super_resolution_exclude_each_other() -> None:
    with pytest.raises(InputError, match="super-resolution head would draw the plate where"):
        build_recogniser(load_config(["cpu"], ["model.stn=true", "model.super_resolution=true"]))
