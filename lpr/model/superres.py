"""The optional super-resolution head: it draws the plate at twice the size, in training only.

As a separate step before reading it brings nothing; trained jointly it makes the first layers keep what tells
characters apart. Its pairs come from degrading an HR frame, because LR and HR frames of a track are different moments.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

#: Twice the input: HR frames are about twice as large as LR frames (median 81x35 against 44x20 px).
SCALE = 2


class SuperResolutionHead(nn.Module):
    """From a backbone's early features to the picture at twice the size, as a correction of its enlargement.

    early: float32 (B, K, H/stride, W/stride); images: float32 (B, C, H, W) in [0, 1].
    Returns float32 (B, C, 2H, 2W), about [0, 1], not clipped (clipping would stop the gradient).
    """

    def __init__(self, early_channels: int, stride: int, channels: int) -> None:
        super().__init__()
        up = SCALE * stride
        self.layers = nn.Sequential(
            nn.Conv2d(early_channels, early_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(early_channels, channels * up * up, 3, padding=1),
            nn.PixelShuffle(up),  # (B, C up², h, w) -> (B, C, h up, w up)
        )

    def forward(self, early: Tensor, images: Tensor) -> Tensor:
        enlarged = functional.interpolate(images, scale_factor=SCALE, mode="bilinear", align_corners=False)
        correction: Tensor = self.layers(early)
        return enlarged + correction
