"""The optimiser Muon: what it turns, what it leaves to AdamW, that it learns, and that a run with it resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from training_case import TINY, interrupt_before, make_data

from lpr.config import load_config
from lpr.model.recogniser import build_recogniser
from lpr.training import loop
from lpr.training.muon import Muon, orthogonal
from lpr.training.state import Trained, read_state


@pytest.mark.parametrize("shape", [(32, 32), (24, 100), (100, 24)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_all_directions_of_a_matrix_are_turned_alike(shape: tuple[int, int], scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=generator))
    v, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=generator))
    # Singular values from 1 to 1/20.
    matrix = scale * u @ torch.diag(torch.logspace(0, -1.3, min(shape))) @ v.T
    turned = orthogonal(matrix)
    along = torch.diagonal(u.T @ turned @ v)
    assert turned.dtype == torch.float32 and turned.shape == matrix.shape
    assert along.min() > 0.6 and along.max() < 1.3
    assert (u.T @ turned @ v - torch.diag(along)).abs().max() < 0.1, "directions are kept"


def test_no_gradient_in_a_direction_gives_no_step_there() -> None:
    assert torch.equal(orthogonal(torch.zeros(30, 40)), torch.zeros(30, 40))
    one = orthogonal(torch.outer(torch.ones(30), torch.ones(40)))
    assert torch.linalg.matrix_rank(one, rtol=0.05) == 1 and bool(one.isfinite().all())


def test_outputs_and_small_shapes_are_left_to_adamw() -> None:
    model = build_recogniser(load_config(["phase1", "cpu"], ["model.residual=1", "model.mixing=1"]))
    rest, hidden = Muon(model, 1e-3, 0).param_groups
    names = {id(weights): name for name, weights in model.named_parameters()}
    turned = {names[id(weights)] for weights in hidden["params"]}
    assert {"backbone.body.1.0.weight", "lstm.weight_hh_l0", "mixing.0.mlp_in.weight"} <= turned
    assert not [name for name in turned if name.startswith(("classifier", "slot_head")) or "squeeze" in name]
    assert len(rest["params"]) + len(hidden["params"]) == len(names)
    assert all(weights.ndim < 2 or names[id(weights)] not in turned for weights in rest["params"])


def test_a_step_is_as_long_as_one_of_adamw_and_the_rest_is_adamw() -> None:
    model = nn.Sequential(nn.Conv2d(32, 48, 3), nn.BatchNorm2d(48))
    before = [weights.detach().clone() for weights in model.parameters()]
    optimizer = Muon(model, 1e-2, 0.0)
    for weights in model.parameters():
        weights.grad = torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    moved = [new.detach() - old for new, old in zip(model.parameters(), before, strict=True)]
    assert moved[0].square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.2)
    # The first step of Adam is the rate, against the sign of the gradient.
    for way, weights in list(zip(moved, model.parameters(), strict=True))[1:]:
        assert weights.grad is not None
        torch.testing.assert_close(way, -1e-2 * weights.grad.sign(), rtol=1e-3, atol=1e-6)
    assert len(optimizer.param_groups) == 2


def test_weights_without_a_gradient_stay() -> None:
    model = nn.Linear(32, 32)
    before = model.weight.detach().clone()
    Muon(model, 1e-2, 0.5).step()
    assert torch.equal(model.weight, before)


def test_it_solves_what_it_is_given() -> None:
    torch.manual_seed(0)
    model, wanted, inputs = nn.Linear(32, 32), torch.randn(32, 32) / 6, torch.randn(256, 32)
    optimizer = Muon(model, 5e-2, 0.0)
    losses = []
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 5e-2 * (1 - step / 200)
        loss = (model(inputs) - inputs @ wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_a_float16_step_that_overflowed_is_left_out() -> None:
    model = nn.Linear(32, 32)
    optimizer, scaler = Muon(model, 1e-2, 0.0), torch.amp.GradScaler("cpu", init_scale=2.0)
    before = model.weight.detach().clone()
    scaler.scale(model(torch.full((1, 32), torch.inf)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.weight, before) and scaler.get_scale() == 1.0


def test_a_run_with_it_resumes_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path / "data")
    config = load_config(["phase1", "cpu"], [*TINY, "model.hidden=32", "train.optimizer=muon"])
    assert isinstance(Trained.start(build_recogniser(config), config, None).optimizer, Muon)
    assert loop.train(config, data, tmp_path / "straight") == ""
    interrupt_before(monkeypatch, 4)
    assert loop.train(config, data, tmp_path / "run") == "interrupted"
    monkeypatch.undo()
    assert loop.train(config, data, tmp_path / "run", resume=True) == ""
    ends = [read_state(tmp_path / name / "last.pt") for name in ("straight", "run")]
    for name, weights in ends[0]["model"].items():
        assert torch.equal(weights, ends[1]["model"][name]), name
