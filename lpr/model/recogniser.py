"""The recogniser: a picture of a plate in, log-posteriors of CTC classes out, with training-only heads beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import Config
from ..formats import PlateFormat, load_formats, worst_case_steps
from ..types import InputError
from .backbones import build_backbone
from .blocks import MixingBlock
from .stn import SpatialTransformer
from .superres import SuperResolutionHead
from .temporal import TemporalFusion

#: Least standard deviation, of the range 0..1, that standardising a picture divides by: a black or blank crop's sensor
#: noise (about 2 of 255 grey levels) must not be blown up to the contrast of characters.
MIN_CONTRAST = 8 / 255

#: Weights under these names serve training only; a later phase may add or drop them.
AUXILIARY = ("slot_head.", "sr_head.")

#: Weights under these names start as the identity; a later phase may add them and reads as well as before.
GROWN = ("backbone.residual.", "mixing.", "stn.", "temporal.")


@dataclass(frozen=True, slots=True)
class TrainingOutputs:
    """What the losses need. T steps, C classes, L slots.

    logits: float32 (B, T, C), before log-softmax; alone: the same without a look at other frames, or None where there
    is none. slot_logits: float32 (B, L, C) or None. sr: float32 (N, K, 2H, 2W) in about [0, 1] for the N samples asked
    for, K colour channels, or None.
    """

    logits: Tensor
    slot_logits: Tensor | None
    sr: Tensor | None
    alone: Tensor | None = None


class SlotHead(nn.Module):
    """One learned query a character slot, pooling the sequence by attention; it says what stands where without CTC.

    Input float32 (B, T, D); output float32 (B, L, D), to be classified by the same layer as the CTC steps (class 0, the
    blank, for an empty slot). A plain classification loss on it gives the features a gradient from the first step on,
    where CTC alone spends thousands on blanks; the shared classifier hands CTC the characters ready-made (after 2,400
    steps of 16 easy frames 57 % of held-out tracks were right, with a classifier of its own 1 %).
    """

    def __init__(self, features: int, steps: int, slots: int) -> None:
        super().__init__()
        self.key = nn.Linear(features, slots)
        # Characters stand side by side, so slot i starts out looking at its share of the width; training moves it.
        centre = (torch.arange(slots) + 0.5) * steps / slots  # (L,) in steps
        offset = (torch.arange(steps) + 0.5)[None, :] - centre[:, None]  # (L, T)
        self.position = nn.Parameter(-0.5 * (offset / (steps / slots / 2)) ** 2)

    def forward(self, sequence: Tensor) -> Tensor:
        attention: Tensor = self.key(sequence).transpose(1, 2) + self.position  # (B, T, L) -> (B, L, T)
        return attention.softmax(-1) @ sequence  # (B, L, T) @ (B, T, D) -> (B, L, D)


class Recogniser(nn.Module):
    """Spatial transformer where asked for, backbone, bidirectional LSTM or self-attention, linear classifier.

    With `model.temporal` the frames of a track then look at each other; without, each is read on its own. Slot and
    super-resolution heads serve training, where asked for.

    Pictures are uint8 (B, C, H, W); scaling and standardising happen inside, so that training, reading and export
    cannot differ. `steps` is T, `slots` L.
    """

    def __init__(self, config: Config, formats: Sequence[PlateFormat]) -> None:
        super().__init__()
        size, settings = config.input, config.model
        if settings.stn and settings.super_resolution:
            raise InputError(
                "the super-resolution head would draw the plate where the spatial transformer has moved it from",
                where="model.stn",
                fix="--set model.super_resolution=false, or model.stn=false",
            )
        self.stn = SpatialTransformer(size.channels, size.height, size.width) if settings.stn else None
        self.backbone = build_backbone(config)
        with torch.no_grad():
            self.backbone.eval()
            early, features = self.backbone(torch.zeros(1, size.channels, size.height, size.width))
            self.backbone.train()
        _, depth, rows, self.steps = features.shape
        self.slots = max(f.max_length for f in formats)
        classes = len(settings.alphabet) + 1
        self.mixing = nn.Sequential(
            *(MixingBlock(depth * rows, 1, attention=True, dropout=settings.dropout) for _ in range(settings.mixing))
        )
        width = 2 * settings.hidden
        self.encoder: nn.Sequential | None = None
        if settings.sequence == "attention":
            self.encoder = nn.Sequential(
                nn.Linear(depth * rows, width),
                *(MixingBlock(width, 1, attention=True, dropout=settings.dropout) for _ in range(settings.layers)),
                nn.LayerNorm(width),
            )
        else:
            self.lstm = nn.LSTM(
                depth * rows,
                settings.hidden,
                settings.layers,
                batch_first=True,
                bidirectional=True,
                # torch's dropout acts between LSTM layers and warns where there is only one.
                dropout=settings.dropout if settings.layers > 1 else 0.0,
            )
        self.temporal = TemporalFusion(settings.temporal, width, settings.dropout) if settings.temporal else None
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(width, classes)
        self.slot_head: SlotHead | None = None
        if settings.slot_head:
            self.slot_head = SlotHead(width, self.steps, self.slots)
        self.sr_head: SuperResolutionHead | None = None
        if settings.super_resolution:
            scale = size.width // early.shape[3]
            if (early.shape[2] * scale, early.shape[3] * scale) != (size.height, size.width):
                raise InputError(
                    f"the super-resolution head needs sizes that {scale} divides, not {size.height}x{size.width}",
                    where="input.height",
                    fix="--set model.super_resolution=false, or other sizes",
                )
            self.sr_head = SuperResolutionHead(early.shape[1], size.width // early.shape[3], size.channels)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.classifier.weight.device

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> log-posteriors float32 (B, T, C), natural log, of each picture on its own."""
        sequence, _ = self._sequence(standardise(images))
        return self._classified(sequence)

    def together(self, images: Tensor, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """Log-posteriors of each picture on its own, and with a look at the others of its track, (B, T, C) both.

        images: uint8 (B, C, H, W); tracks: int64 (B,), equal numbers side by side are frames of one track. Without
        `model.temporal` both are the same.
        """
        sequence, _ = self._sequence(standardise(images))
        alone = self._classified(sequence)
        return alone, alone if self.temporal is None else self._classified(self.temporal(sequence, tracks))

    def _classified(self, sequence: Tensor) -> Tensor:
        logits: Tensor = self.classifier(sequence)
        return logits.float().log_softmax(-1)

    def training_outputs(
        self, images: Tensor, sr_mask: Tensor | None = None, tracks: Tensor | None = None
    ) -> TrainingOutputs:
        """uint8 (B, C, H, W) -> the outputs of all heads.

        sr_mask bool (B,) says which samples to enlarge; tracks int64 (B,), which are frames of one track (`together`).
        """
        sequence, early = self._sequence(standardise(images))
        slot_logits = None if self.slot_head is None else self.classifier(self.slot_head(sequence)).float()
        sr = None
        if self.sr_head is not None and sr_mask is not None and bool(sr_mask.any()):
            sr = self.sr_head(early[sr_mask], images[sr_mask].float() / 255).float()
        logits, alone = self.classifier(sequence).float(), None
        if self.temporal is not None:
            logits, alone = self.classifier(self.dropout(self.temporal(sequence, tracks))).float(), logits
        return TrainingOutputs(logits, slot_logits, sr, alone)

    def _sequence(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        if self.stn is not None:
            pictures = self.stn(pictures)
        early, features = self.backbone(pictures)
        # (B, D, h, T) -> (B, T, D h): every step sees its whole column.
        sequence = features.permute(0, 3, 1, 2).flatten(2)
        # Mixing blocks take a map, here of one row: (B, 1, T, D h).
        if len(self.mixing):
            sequence = self.mixing(sequence[:, None])[:, 0]
        return self.dropout(self._along(sequence)), early

    def _along(self, sequence: Tensor) -> Tensor:
        """What reads along the steps, (B, T, D h) -> (B, T, 2 hidden)."""
        if self.encoder is not None:
            outputs: Tensor = self.encoder(sequence[:, None])[:, 0]
        elif sequence.is_cuda and torch.get_autocast_dtype("cuda") is torch.bfloat16:
            # Autocast would hand float16 to cuDNN's LSTM whatever its own type, and without a scaler small gradients
            # are lost there.
            with torch.autocast("cuda", enabled=False):
                outputs, _ = self.lstm(sequence.float())
        else:
            outputs, _ = self.lstm(sequence)
        return outputs


def standardise(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) -> float32, each picture of mean 0 and standard deviation 1 over all its values.

    Exposure jumps from frame to frame and from day to night; reading needs the shapes only.
    """
    pictures = images.float() / 255
    variance, mean = torch.var_mean(pictures, (1, 2, 3), keepdim=True)
    return (pictures - mean) / variance.sqrt().clamp(min=MIN_CONTRAST)


def build_recogniser(config: Config, formats: Sequence[PlateFormat] | None = None) -> Recogniser:
    """The network that `config` describes, with random weights.

    formats: those it shall serve, by default `config.read.formats`; the longest gives the slot head its L. InputError
    where the steps T cannot spell a format's worst case (2 L - 1 steps for L equal characters).
    """
    formats = load_formats(config.read.formats) if formats is None else formats
    model = Recogniser(config, formats)
    needed = worst_case_steps(formats)
    if model.steps < needed:
        width = config.input.width
        names = " and ".join(f.name for f in formats)
        raise InputError(
            f"the network gives T = {model.steps} CTC steps, but {names} can need {needed}",
            where="input.width",
            fix=f"--set input.width={-(-needed * width // model.steps // 8) * 8} or larger",
        )
    return model
