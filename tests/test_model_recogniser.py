"""The recognisers: shapes layer by layer, parameter counts, the heads, timm's strides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr.config import Config, ReadConfig, load_config
from lpr.model.backbones import SeedCnn
from lpr.model.recogniser import SlotHead, build_recogniser, standardise
from lpr.model.superres import SuperResolutionHead
from lpr.types import InputError


def _config(*settings: str) -> Config:
    return load_config(settings=settings)


def _images(config: Config, batch: int = 2) -> torch.Tensor:
    size = config.input
    shape = (batch, size.channels, size.height, size.width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_seed_layers_have_the_reports_shapes(channels: int) -> None:
    cnn = SeedCnn(channels).eval()
    x = torch.zeros(2, channels, 32, 128)
    expected = [(2, 64, 16, 64), (2, 128, 8, 32), (2, 256, 4, 32), (2, 512, 2, 32)]
    for layer, shape in zip((cnn.layer1, cnn.layer2, cnn.layer3, cnn.layer4), expected, strict=True):
        x = layer(x)
        assert x.shape == shape


# By hand for one channel: convolutions 640 + 73,856 + 295,168 + 1,180,160, BatchNorm 512 + 1,024, LSTM layers
# 2 x 4 x 256 x (1024 + 256 + 2) + 2 x 4 x 256 x (512 + 256 + 2), classifier 37 x 513.
SEED_PARAMETERS = 640 + 73_856 + 295_168 + 1_180_160 + 512 + 1_024 + 2_625_536 + 1_576_960 + 18_981


@pytest.mark.parametrize(("channels", "more"), [(1, 0), (3, 2 * 64 * 9)])
def test_seed_crnn_parameter_count(channels: int, more: int) -> None:
    model = build_recogniser(_config(f"input.channels={channels}"))
    assert SEED_PARAMETERS == 5_772_837
    assert sum(p.numel() for p in model.parameters()) == SEED_PARAMETERS + more


def test_seed_crnn_sequence_is_32_steps_of_1024_values_and_37_classes() -> None:
    config = _config()
    model = build_recogniser(config).eval()
    assert (model.steps, model.lstm.input_size, model.lstm.num_layers, model.lstm.hidden_size) == (32, 1024, 2, 256)
    assert model.lstm.dropout == model.dropout.p == 0.3
    log_probs = model(_images(config))
    assert log_probs.shape == (2, 32, 37)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 32))


@pytest.mark.parametrize(("width", "steps"), [(96, 24), (128, 32)])
def test_cpu_recogniser_is_small_and_steps_by_four_pixels(width: int, steps: int) -> None:
    config = load_config(["cpu"], [f"input.width={width}"])
    model = build_recogniser(config).eval()
    assert model.steps == steps
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) < 1.5e6
    assert model(_images(config)).shape == (2, steps, 37)


def test_reading_does_not_depend_on_the_batch() -> None:
    config = load_config(["cpu"])
    model = build_recogniser(config).eval()
    images = _images(config, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[2:3], model(images[2:3]), atol=1e-5, rtol=1e-5)


def test_standardise_removes_exposure_but_does_not_amplify_a_blank_picture() -> None:
    images = torch.randint(60, 120, (1, 3, 8, 16), dtype=torch.uint8)
    brighter = (images.float() * 2).to(torch.uint8)
    torch.testing.assert_close(standardise(images), standardise(brighter))
    noise = torch.randint(4, 6, (1, 3, 32, 128), dtype=torch.uint8)  # a black crop's noise of one grey level
    assert standardise(noise).std() < 0.1


def test_training_outputs_of_all_heads() -> None:
    config = load_config(["cpu"], ["model.slot_head=true", "model.super_resolution=true"])
    model = build_recogniser(config)
    mask = torch.tensor([True, False, True])
    outputs = model.training_outputs(_images(config, 3), mask)
    assert outputs.logits.shape == (3, 32, 37)
    assert outputs.slot_logits is not None and outputs.slot_logits.shape == (3, 7, 37)
    assert outputs.sr is not None and outputs.sr.shape == (2, 3, 64, 256)
    without = model.training_outputs(_images(config, 3), torch.zeros(3, dtype=torch.bool))
    assert without.sr is None


def test_auxiliary_heads_do_not_change_the_reading() -> None:
    plain = load_config(["cpu"], ["model.slot_head=false"])
    heads = load_config(["cpu"], ["model.slot_head=true", "model.super_resolution=true"])
    with_heads = build_recogniser(heads).eval()
    bare = build_recogniser(plain).eval()
    bare.load_state_dict(with_heads.state_dict(), strict=False)
    images = _images(plain)
    assert torch.equal(bare(images), with_heads(images))


def test_slots_look_from_left_to_right_at_the_start() -> None:
    head = SlotHead(features=4, steps=32, slots=7)
    centres = head.position.softmax(-1) @ torch.arange(32.0)
    assert (centres.diff() > 3).all()
    assert centres[0] < 3 and centres[-1] > 28


def test_slots_share_the_classifier_of_the_steps() -> None:
    config = load_config(["cpu"])
    model = build_recogniser(config)
    slots = model.training_outputs(_images(config)).slot_logits
    assert slots is not None
    slots.square().sum().backward()
    gradient = model.classifier.weight.grad
    assert gradient is not None and bool((gradient != 0).any())
    assert not [name for name, _ in model.named_parameters() if name.startswith("slot_head.classif")]


def test_super_resolution_starts_near_the_enlarged_input() -> None:
    head = SuperResolutionHead(8, stride=2, channels=1)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    flat = torch.full((1, 1, 8, 16), 0.25)
    assert torch.equal(head(torch.randn(1, 8, 4, 8), flat), torch.full((1, 1, 16, 32), 0.25))


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto", "efficientnet_lite0"])
def test_timm_cnns_step_by_at_most_four_pixels(name: str) -> None:
    config = load_config(["timm"], [f"model.timm_name={name}", "model.hidden=16", "model.layers=1"])
    model = build_recogniser(config).eval()
    assert 29 <= model.steps <= 32
    assert model(_images(config)).shape == (2, model.steps, 37)


def test_timm_model_that_cannot_serve_is_named() -> None:
    with pytest.raises(InputError, match="'resnet188', did you mean 'resnet18"):
        build_recogniser(load_config(["timm"], ["model.timm_name=resnet188"]))
    with pytest.raises(InputError, match="'vit_tiny_patch16_224' cannot serve as a backbone"):
        build_recogniser(load_config(["timm"], ["model.timm_name=vit_tiny_patch16_224"]))


def test_too_few_steps_for_the_formats_is_an_error_with_its_fix() -> None:
    with pytest.raises(InputError, match="T = 8 CTC steps, but brazilian and mercosur can need 1") as caught:
        build_recogniser(_config("input.width=32"))
    assert "input.width=" in caught.value.problem.fix
    fixed = caught.value.problem.fix.split()[1]
    build_recogniser(_config(fixed))


def test_many_frames_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from lpr.model import inference

    model = build_recogniser(load_config(["phase1", "cpu"], ["model.hidden=8"])).eval()
    frames = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 128), np.uint8)
    read = ReadConfig(merged=1)
    stacks = [inference.stack("a", frames[:5], "abcde", read), inference.stack("b", frames[5:], "fg", read)]
    whole = inference.posteriors_of(model, stacks, "AB")
    monkeypatch.setattr(inference, "MOST_FRAMES", 3)
    for one, other in zip(whole, inference.posteriors_of(model, stacks, "AB"), strict=True):
        assert len(one.log_probs) == len(other.log_probs) and one.files == other.files
        np.testing.assert_allclose(np.array(one.log_probs), np.array(other.log_probs), atol=1e-4)


def test_bfloat16_is_taken_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from lpr.model import inference

    model = build_recogniser(load_config(["phase1", "cpu"], ["model.hidden=8", "model.stn=true"])).eval()
    frames = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 128), np.uint8)
    stacks = [inference.stack("a", frames, "abcde", ReadConfig())]

    def probabilities(*, amp: bool, able: bool) -> np.ndarray:
        monkeypatch.setattr(inference, "has_bfloat16", lambda device: able)
        return np.exp(inference.posteriors_of(model, stacks, "AB", amp=amp)[0].log_probs)

    plain = probabilities(amp=False, able=True)
    np.testing.assert_array_equal(plain, probabilities(amp=True, able=False))
    short = probabilities(amp=True, able=True)
    assert short.dtype == np.float32 and 1e-6 < np.abs(short - plain).max() < 0.05
    np.testing.assert_allclose(short.sum(-1), 1, atol=1e-5)


def test_the_super_resolution_head_refuses_odd_sizes() -> None:
    config = load_config(["phase1", "cpu"], ["model.super_resolution=true", "input.height=33"])
    with pytest.raises(InputError, match="sizes that 2 divides, not 33x128"):
        build_recogniser(config)
