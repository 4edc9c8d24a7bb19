"""The spatial transformer: it turns, shifts, shears and scales each picture so that the backbone sees plates alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Height and width, px, of what the localisation looks at: enough to see where a plate lies, not to read it.
GLANCE = (16, 64)


class _Standardised(nn.BatchNorm1d):
    """Numbers with mean 0 and standard deviation 1 over the pictures, one alone by those before: float32 (B, units)."""

    def __init__(self, units: int) -> None:
        super().__init__(units, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) > 1:
            return super().forward(x)
        return functional.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


class SpatialTransformer(nn.Module):
    """Samples each picture anew under an affine transform that a small network draws from it (Jaderberg et al. 2015).

    Input and output float32 (B, C, H, W). The transform starts as the identity, which it is up to rounding; what lies
    outside the picture repeats its border.

    What is drawn is standardised over the pictures, twice, and weighed by a gain that starts at zero. Adam moves a unit
    of 2,048 inputs by its whole range in one step, whatever the gradient is worth: without the first its units end the
    same for all pictures, and the transform with them; without the second it can push all pictures aside alike, which
    costs their far characters. Both happened, after 1.3 million frames and after 100,000.
    """

    centres: Tensor
    identity: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            *(nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
            nn.Flatten(),
        )
        cells = (GLANCE[0] // 4) * (GLANCE[1] // 4)
        self.localise = nn.Sequential(
            *(nn.Linear(32 * cells, 64, bias=False), _Standardised(64), nn.Tanh()),
            *(nn.Linear(64, 6, bias=False), _Standardised(6)),
        )
        self.gain = nn.Parameter(torch.zeros(6))
        # Homogeneous coordinates (x, y, 1) of the pixels' centres, -1 and 1 the picture's edges: (H, W, 3).
        y, x = torch.meshgrid(
            (torch.arange(height) * 2 + 1) / height - 1, (torch.arange(width) * 2 + 1) / width - 1, indexing="ij"
        )
        self.register_buffer("centres", torch.stack([x, y, torch.ones_like(x)], -1), persistent=False)
        self.register_buffer("identity", torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        transform = self.transform(pictures)
        # (B, H, W, 2); written out, because mixed precision would shorten a matrix product and shift pixels by half.
        grid = (transform[:, None, None] * self.centres[:, :, None]).sum(-1)
        return functional.grid_sample(pictures.float(), grid, padding_mode="border", align_corners=False)

    def transform(self, pictures: Tensor) -> Tensor:
        """Where each picture is sampled: float32 (B, 2, 3), from homogeneous places in the result to places in it."""
        # In full precision: what the pictures have in common is far larger than what tells them apart.
        with torch.autocast(pictures.device.type, enabled=False):
            glance = functional.interpolate(pictures.float(), GLANCE, mode="bilinear", align_corners=False)
            drawn: Tensor = self.gain * self.localise(self.features(glance))
        return self.identity + drawn.reshape(-1, 2, 3)
