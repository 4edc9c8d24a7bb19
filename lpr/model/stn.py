"""The spatial transformer: it turns, shifts, shears and scales each picture so that the backbone sees plates alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Height and width, px, of what the localisation looks at: enough to see where a plate lies, not to read it.
GLANCE = (16, 64)


class SpatialTransformer(nn.Module):
    """Samples each picture anew under an affine transform that a small network draws from it (Jaderberg et al. 2015).

    Input and output float32 (B, C, H, W). The transform starts as the identity, which it is up to rounding; what lies
    outside the picture repeats its border.
    """

    centres: Tensor
    identity: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, 2, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        offset = nn.Linear(32, 6)
        for weights in offset.parameters():
            nn.init.zeros_(weights)
        cells = (GLANCE[0] // 4) * (GLANCE[1] // 4)
        self.localise = nn.Sequential(nn.Linear(32 * cells, 32), nn.ReLU(inplace=True), offset)
        # Homogeneous coordinates (x, y, 1) of the pixels' centres, -1 and 1 the picture's edges: (H, W, 3).
        y, x = torch.meshgrid(
            (torch.arange(height) * 2 + 1) / height - 1, (torch.arange(width) * 2 + 1) / width - 1, indexing="ij"
        )
        self.register_buffer("centres", torch.stack([x, y, torch.ones_like(x)], -1), persistent=False)
        self.register_buffer("identity", torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        glance = functional.interpolate(pictures, GLANCE, mode="bilinear", align_corners=False)
        offset = self.localise(self.features(glance)).float().reshape(-1, 2, 3)
        transform = self.identity + offset
        # (B, H, W, 2); written out, because mixed precision would shorten a matrix product and shift pixels by half.
        grid = (transform[:, None, None] * self.centres[:, :, None]).sum(-1)
        return functional.grid_sample(pictures.float(), grid, padding_mode="border", align_corners=False)
