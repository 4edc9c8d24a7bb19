"""The convolutional halves of the recognisers: a picture in, a feature map out, whose width is the reading direction.

Every backbone returns two maps: `early` (first stage, for the super-resolution head) and the last one, whose width is
the number of CTC steps T.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Config
from ..types import InputError
from .blocks import MixingBlock, ResidualBlock

#: The widest step in px that still leaves two steps for the narrowest character of seven at width 128 (T = 32).
MAX_WIDTH_STRIDE = 4


class SeedCnn(nn.Module):
    """The four layers of the competition report's CRNN (section 4.3).

    Input float32 (B, C, H, W), C in {1, 3}. Output: early (B, 64, H/2, W/2), features (B, 512, H/16, W/4).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Convolutions before a BatchNorm keep their bias, as torch's default and the report's parameter table have it.
        self.layer1 = nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d((2, 2)))
        self.layer2 = nn.Sequential(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d((2, 2)))
        self.layer3 = nn.Sequential(
            nn.Conv2d(128, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(inplace=True), nn.MaxPool2d((2, 1))
        )
        self.layer4 = nn.Sequential(
            nn.Conv2d(256, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU(inplace=True), nn.MaxPool2d((2, 1))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        early = self.layer1(images)
        return early, self.layer4(self.layer3(self.layer2(early)))


def _conv(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    # No bias: BatchNorm's shift takes its place.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class CpuCnn(nn.Module):
    """Six convolutions of 32 to 128 channels behind a stride-2 stem, for training without a GPU.

    The stem halves the picture at once: full-resolution layers with many channels are what costs time on a CPU, and an
    LR plate of 44x20 px holds nothing that 16x64 samples of a 32x128 enlargement would lose.
    residual: squeeze-and-excitation residual blocks behind each of two stages, of 96 channels at H/8 and 128 at H/16,
    where a parameter costs least time: one block each takes 1.25 M parameters in all and 1.4 times the training time.
    residual_fine: such blocks of 64 channels at H/4, where a character is still eight rows high.
    Input float32 (B, C, H, W). Output: early (B, 32, H/2, W/2), features (B, 128, H/16, W/4).
    """

    def __init__(self, channels: int, residual: int = 0, residual_fine: int = 0) -> None:
        super().__init__()
        self.stem = _conv(channels, 32, (2, 2))
        self.body = nn.Sequential(
            _conv(32, 64, (2, 2)),
            _conv(64, 64, (1, 1)),
            _conv(64, 96, (2, 1)),
            _conv(96, 128, (1, 1)),
            _conv(128, 128, (2, 1)),
        )
        # Named by the stage they follow, and beside `body`, so that a network without them can grow into one with them.
        self.residual = nn.ModuleDict()
        for stage, width, count in ((1, 64, residual_fine), (2, 96, residual), (4, 128, residual)):
            if count:
                self.residual[str(stage)] = nn.Sequential(*(ResidualBlock(width, width) for _ in range(count)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        early = x = self.stem(images)
        for name, stage in self.body.named_children():
            x = stage(x)
            if name in self.residual:
                x = self.residual[name](x)
        return early, x


class SeResNet(nn.Module):
    """ResNet-18's eight blocks with squeeze-and-excitation, whose later strides are taken in height only.

    Input float32 (B, C, H, W). Output: early (B, 64, H/2, W/2), features (B, 512, H/16, W/4).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = _conv(channels, 64, (2, 2))
        self.body = nn.Sequential(
            *(ResidualBlock(64, 64) for _ in range(2)),
            *(ResidualBlock(64, 128, (2, 2)), ResidualBlock(128, 128)),
            *(ResidualBlock(128, 256, (2, 1)), ResidualBlock(256, 256)),
            *(ResidualBlock(256, 512, (2, 1)), ResidualBlock(512, 512)),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        early = self.stem(images)
        return early, self.body(early)


class Svtr(nn.Module):
    """Mixing blocks behind two convolutions, local ones first, then global ones; only height is merged between stages.

    Widths, depths and the order of mixing are SVTR-T's (Du et al. 2022), local mixing by convolution is SVTRv2's.
    Input float32 (B, C, H, W). Output: early (B, 32, H/2, W/2), features (B, 256, H/16, W/4).
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.stem = _conv(channels, 32, (2, 2))
        self.embed = _conv(32, 64, (2, 2))

        def blocks(width: int, local: int, everywhere: int) -> nn.Sequential:
            kinds = [False] * local + [True] * everywhere
            return nn.Sequential(*(MixingBlock(width, 3, attention=kind, dropout=dropout) for kind in kinds))

        self.stages = nn.ModuleList([blocks(64, 3, 0), blocks(128, 3, 3), blocks(256, 0, 3)])
        self.merges = nn.ModuleList([_conv(64, 128, (2, 1)), _conv(128, 256, (2, 1))])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        early = self.stem(images)
        x = self.embed(early)
        for number, stage in enumerate(self.stages):
            if number:
                x = self.merges[number - 1](x)
            # Mixing blocks take tokens, (B, H, W, D).
            x = stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return early, x


class TimmCnn(nn.Module):
    """A CNN of the timm library, untrained, with its later strides taken in height only.

    Input float32 (B, C, H, W). Output: the model's first feature map, and its last one at width stride 4.
    InputError where timm does not know the name, or the model is no CNN whose strides can be changed this way.
    """

    def __init__(self, name: str, channels: int, height: int, width: int) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            near = get_close_matches(name, timm.list_models(), 1)
            raise InputError(
                f"timm knows no model {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
                where="model.timm_name",
                fix="python -c 'import timm; print(timm.list_models())' lists them",
            )
        try:
            self.body: nn.Module = timm.create_model(name, pretrained=False, features_only=True, in_chans=channels)
            probe = torch.zeros(1, channels, height, width)
            _narrow_strides(self.body, probe)
            steps = self._shapes(probe)[-1][-1]
        except InputError:
            raise
        except Exception as error:  # timm and its models refuse in many ways; all mean that this model cannot serve
            raise _unfit(name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
        # Even kernels without padding lose one column each at the border; the stride is 4 all the same (3 stages).
        if steps < width // MAX_WIDTH_STRIDE - 3:
            raise _unfit(name, f"its {steps} steps from {width} px mean a width stride above {MAX_WIDTH_STRIDE}")

    def _shapes(self, probe: Tensor) -> list[torch.Size]:
        training = self.body.training
        self.body.eval()
        with torch.no_grad():
            maps = self.body(probe)
        self.body.train(training)
        if any(m.ndim != 4 or m.shape[1] != c for m, c in zip(maps, _channels(self.body), strict=True)):
            raise ValueError("its feature maps are not (B, C, H, W)")
        return [m.shape for m in maps]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.body(images)
        return maps[0], maps[-1]


def _channels(body: nn.Module) -> list[int]:
    return body.feature_info.channels()  # type: ignore[union-attr, operator, no-any-return]


def _unfit(name: str, why: str) -> InputError:
    return InputError(
        f"{name!r} cannot serve as a backbone: {why}",
        where="model.timm_name",
        fix="choose a CNN that supports features_only, such as resnet18, mobilenetv3_small_100 or convnext_atto",
    )


def _narrow_strides(body: nn.Module, probe: Tensor) -> None:
    """Set the width stride to 1 in every layer of `body` whose input is at width stride 4; a dry run finds them."""
    limit = probe.shape[-1] // MAX_WIDTH_STRIDE

    def narrow(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        # Before the layer runs, so that the widths seen further on are those of the changed network.
        layer: Any = module
        if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].ndim != 4 or inputs[0].shape[-1] > limit:
            return
        stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride, layer.stride)
        if len(stride) != 2 or stride[1] == 1:
            return
        layer.stride = (stride[0], 1)
        if isinstance(layer, nn.AvgPool2d):
            # A 2x2 mean that no longer steps sideways would only blur and lose a column.
            kernel = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
            layer.kernel_size = (kernel[0], 1)
            padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
            layer.padding = (padding[0], 0)

    hooks = [
        module.register_forward_pre_hook(narrow)
        for module in body.modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    body.eval()
    try:
        with torch.no_grad():
            body(probe)
    finally:
        for hook in hooks:
            hook.remove()
        body.train()


def build_backbone(config: Config) -> nn.Module:
    """The backbone that `config.model.name` names, for `config.input`'s size; random weights."""
    size, settings = config.input, config.model
    for name in ("residual", "residual_fine"):
        if getattr(settings, name) and settings.name != "cpu":
            raise InputError(
                f"{settings.name} takes no residual blocks, only cpu does",
                where=f"model.{name}",
                fix=f"--set model.{name}=0, or model.name=cpu",
            )
    if settings.name == "timm":
        return TimmCnn(settings.timm_name, size.channels, size.height, size.width)
    if settings.name == "cpu":
        return CpuCnn(size.channels, settings.residual, settings.residual_fine)
    if settings.name == "svtr":
        return Svtr(size.channels, settings.dropout)
    return SeResNet(size.channels) if settings.name == "se-resnet" else SeedCnn(size.channels)
