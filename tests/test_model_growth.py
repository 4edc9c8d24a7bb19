"""Networks that grow: blocks added to a trained network change nothing until they have learned something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lpr.config import load_config
from lpr.model import checkpoint
from lpr.model.blocks import MixingBlock, ResidualBlock
from lpr.model.recogniser import Recogniser, build_recogniser
from lpr.training.setup import initialise
from lpr.types import InputError

SMALL = ["model.hidden=8", "input.width=64"]


def _images(batch: int = 3, width: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, 32, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _trained(path: Path, *settings: str) -> tuple[Path, Recogniser]:
    """A checkpoint of a cpu network whose BatchNorms have seen pictures, as after training."""
    config = load_config(["cpu"], [*SMALL, *settings])
    torch.manual_seed(5)
    model = build_recogniser(config)
    for _ in range(3):
        model(_images(8))
    checkpoint.save(path, model, config, {"split": {"select": ["A"], "calibrate": ["B"]}})
    return path, model.eval()


GROWN = ["model.residual=1", "model.residual_fine=1", "model.mixing=1", "model.stn=true", "model.temporal=1"]


@pytest.mark.parametrize("settings", [*([one] for one in GROWN), GROWN, ["model.residual=2", "model.mixing=2"]])
def test_a_grown_network_starts_where_the_trained_one_stands(tmp_path: Path, settings: list[str]) -> None:
    path, before = _trained(tmp_path / "small.safetensors")
    config = load_config(["cpu"], [*SMALL, *settings, f"train.init_from={path}"])
    torch.manual_seed(6)
    model = build_recogniser(config)
    held_out, _ = initialise(model, config)
    assert held_out is not None and held_out.select == {"A"}
    assert len(model.state_dict()) > len(before.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(_images()), before(_images()), rtol=0, atol=1e-5)
        # ... in training mode as well: BatchNorms of the new blocks only feed branches that are zero.
        for one in (model, before):
            one.train().dropout.p = 0.0
        torch.testing.assert_close(model(_images()), before(_images()), rtol=0, atol=1e-5)


def test_grown_blocks_learn_from_the_first_step() -> None:
    config = load_config(["cpu"], [*SMALL, *GROWN])
    model = build_recogniser(config)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):  # the weights behind a zero get a gradient once that has moved
        optimizer.zero_grad()
        model(_images())[:, :, 1].sum().backward()
        optimizer.step()
    new = [name for name in before if name.startswith(("backbone.residual.", "mixing.", "stn."))]
    # A key's bias shifts all of a query's scores alike, so softmax never shows it; it lies within one vector of three.
    still = [name for name in new if torch.equal(before[name], model.get_parameter(name))]
    assert new and not still


def test_a_grown_network_goes_on_but_never_shrinks(tmp_path: Path) -> None:
    path, before = _trained(tmp_path / "grown.safetensors", *GROWN)
    config = load_config(["cpu"], [*SMALL, *GROWN, f"train.init_from={path}"])
    model = build_recogniser(config)
    initialise(model, config)
    assert checkpoint.model_hash(model.state_dict()) == checkpoint.model_hash(before.state_dict())
    config = load_config(["cpu"], [*SMALL, "model.mixing=1", f"train.init_from={path}"])
    with pytest.raises(InputError, match=r"another architecture: model\.residual 1 there, 0 here"):
        initialise(build_recogniser(config), config)


def test_real_mismatches_stay_errors(tmp_path: Path) -> None:
    path, _ = _trained(tmp_path / "small.safetensors")
    config = load_config(["cpu"], ["model.hidden=16", "input.width=64", *GROWN, f"train.init_from={path}"])
    with pytest.raises(InputError, match=r"model\.hidden 8 there, 16 here"):
        initialise(build_recogniser(config), config)
    model = build_recogniser(load_config(["cpu"], [*SMALL, *GROWN]))
    tensors = {name: t for name, t in model.state_dict().items() if name != "classifier.bias"}
    with pytest.raises(InputError, match=r"lacks 'classifier\.bias' \(1 missing, 0 unknown\)"):
        checkpoint.load_tensors(model, tensors, path, later_phase=True)
    grown = {**model.state_dict(), "backbone.residual.2.0.branch.0.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="has shape"):
        checkpoint.load_tensors(model, grown, path, later_phase=True)
    with pytest.raises(InputError, match=r"lacks 'backbone\.residual"):
        checkpoint.load(_without_residual(tmp_path))


def _without_residual(folder: Path) -> Path:
    """A damaged checkpoint: its configuration has blocks that its tensors lack."""
    model = build_recogniser(load_config(["cpu"], SMALL))
    path = folder / "damaged.safetensors"
    checkpoint.save(path, model, load_config(["cpu"], [*SMALL, "model.residual=1"]), {})
    return path


def test_residual_blocks_serve_the_cpu_network_only() -> None:
    with pytest.raises(InputError, match="seed-crnn takes no residual blocks"):
        build_recogniser(load_config(["seed-crnn"], ["model.residual=1"]))


def test_blocks_switched_off_draw_nothing() -> None:
    """The same seed gives the weights it always gave: sums taken before the blocks existed."""
    torch.manual_seed(0)
    model = build_recogniser(load_config(["cpu"]))
    assert not [name for name in model.state_dict() if name.startswith(("backbone.residual.", "mixing.", "stn."))]
    total = sum(float(p.detach().abs().sum(dtype=torch.float64)) for p in model.parameters())
    assert total == pytest.approx(28546.65380691208, rel=1e-9)


def test_residual_block_is_the_identity_after_a_relu_and_keeps_shapes_with_a_stride() -> None:
    x = torch.rand(2, 16, 4, 8)
    assert torch.equal(ResidualBlock(16, 16)(x), x)
    assert ResidualBlock(16, 24, (2, 1))(x).shape == (2, 24, 2, 8)


def test_mixing_by_hand() -> None:
    """Uniform attention over two tokens gives each their mean; LayerNorm of (a, -a) is (1, -1)."""
    block = MixingBlock(2, 1, attention=True).eval()
    x = torch.tensor([[[[3.0, -3.0], [-5.0, 5.0]]]])  # (1, 1, 2 steps, 2)
    assert torch.equal(block(x), x)
    for layer in (block.query_key_value, block.global_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        block.query_key_value.weight[4:] = torch.eye(2)  # values are the tokens, queries and keys 0
        block.global_out.weight.copy_(torch.eye(2))
    # Normalised (1, -1) and (-1, 1): their mean is 0.
    torch.testing.assert_close(block(x), x, atol=1e-4, rtol=0)
    with torch.no_grad():
        block.query_key_value.weight[:2] = block.query_key_value.weight[2:4] = 100 * torch.eye(2)
    # A sharp attention finds the token like itself.
    expected = x + torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])
    torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=0)


def test_local_mixing_reaches_three_steps_and_one_row() -> None:
    block = MixingBlock(4, 3, attention=False)
    nn.init.ones_(block.local.weight)
    x = torch.randn(1, 3, 12, 4, requires_grad=True)
    block(x)[0, 0, 5].square().sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1) > 0  # (H, W)
    assert seen.nonzero()[:, 0].unique().tolist() == [0, 1]
    assert seen[0].nonzero().flatten().tolist() == list(range(2, 9))


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (100, 2), (256, 8), (320, 10)])
def test_heads_divide_the_width(width: int, heads: int) -> None:
    block = MixingBlock(width, 1, attention=True)
    assert block.heads == heads
    assert block(torch.randn(1, 1, 5, width)).shape == (1, 1, 5, width)
