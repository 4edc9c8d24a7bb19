"""What the stronger recognisers are built of: squeeze-and-excitation residual blocks and SVTR-like mixing blocks.

Every branch beside a shortcut starts at exactly zero, so that a block begins as the identity: blocks added to a trained
network leave its outputs unchanged until they have learned something.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

#: Channels of the squeezed bottleneck, as a share of the map's: 1/16 in the paper, whose maps have up to 2048.
SQUEEZE = 8

#: Channels a head of attention at least, where the width allows it: those of SVTR's models.
HEAD_CHANNELS = 32

#: Width of a mixing block's MLP against its tokens'; half of SVTR's, for the sake of CPUs.
MLP_RATIO = 2


class SqueezeExcitation(nn.Module):
    """Scales each channel of a map by a weight in 0..1 drawn from all of them (Hu et al. 2018).

    Input and output float32 (B, K, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // SQUEEZE)
        self.excite = nn.Linear(channels // SQUEEZE, channels)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.excite(functional.relu(self.squeeze(x.mean((2, 3))))).sigmoid()  # (B, K)
        return x * weights[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and squeeze-and-excitation beside a shortcut (SE-ResNet's basic block).

    Input float32 (B, inputs, H, W), output (B, outputs, H / stride, W / stride), stride (rows, columns). Where the
    shape stays and the input is not negative (after a ReLU), the block is the identity at the start.
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        last = nn.BatchNorm2d(outputs)
        nn.init.zeros_(last.weight)
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            last,
            SqueezeExcitation(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != (1, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.branch(x))


def head_count(width: int) -> int:
    """How many heads attention of `width` channels has: as many as divide it into HEAD_CHANNELS or more each."""
    return next(heads for heads in range(max(1, width // HEAD_CHANNELS), 0, -1) if width % heads == 0)


class MixingBlock(nn.Module):
    """Tokens that look at their neighbours, at all others, and at themselves (SVTR's local and global mixing).

    Local mixing is a depthwise convolution, whose zero padding also tells the tokens where the border is (no position
    embedding, any size); global mixing is self-attention; each, and the MLP, stands behind a LayerNorm and beside a
    shortcut. Identity at the start. rows: height of the local window, odd.
    Input and output float32 (B, H, W, D): a map, or with H = 1 a sequence of T = W steps.
    """

    def __init__(self, width: int, rows: int, *, attention: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = head_count(width)
        # SVTR's local window is 7x11; a character is about 4 steps wide, and attention sees the rest.
        kernel = (rows, 7)
        self.local_norm = nn.LayerNorm(width)
        self.local = nn.Conv2d(width, width, kernel, padding=(kernel[0] // 2, 3), groups=width)
        self.attention = attention
        if attention:
            self.global_norm = nn.LayerNorm(width)
            self.query_key_value = nn.Linear(width, 3 * width)
            self.global_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, MLP_RATIO * width)
        self.mlp_out = nn.Linear(MLP_RATIO * width, width)
        self.dropout = nn.Dropout(dropout)
        for last in [self.local, self.mlp_out, *([self.global_out] if attention else [])]:
            for weights in last.parameters():
                nn.init.zeros_(weights)

    def forward(self, x: Tensor) -> Tensor:
        # (B, H, W, D) seen as (B, D, H, W) is channels last as it lies, the layout that convolutions like best.
        x = x + self.dropout(self.local(self.local_norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        if self.attention:
            x = x + self.dropout(self.global_out(self._attend(self.global_norm(x))))
        x = x + self.dropout(self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x)))))
        return x

    def _attend(self, x: Tensor) -> Tensor:
        """Softmax attention of all tokens, (B, H, W, D) -> (B, H, W, D)."""
        batch, height, width, channels = x.shape
        shape = batch, height * width, 3, self.heads, channels // self.heads
        # (B, H, W, 3 D) -> (3, B, heads, N, depth), N tokens of depth channels a head
        query, key, value = self.query_key_value(x).reshape(shape).permute(2, 0, 3, 1, 4)
        # Written out: with 32 to 128 tokens it trains faster on a CPU than scaled_dot_product_attention (1.34 against
        # 1.50 times the time of the network without).
        weights = ((query * shape[-1] ** -0.5) @ key.transpose(2, 3)).softmax(-1)
        mixed: Tensor = (weights @ value).transpose(1, 2)  # (B, N, heads, depth)
        return mixed.reshape(x.shape)
