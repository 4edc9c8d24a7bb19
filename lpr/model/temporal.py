"""Frames of a track that look at each other before they are classified: learned temporal fusion inside the network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import MLP_RATIO, head_count

#: A step looks at most so many steps to either side. The crops of a track are cut alike, but not equally: in `hard`
#: tracks a character stands up to about two steps from where it stands in another frame.
REACH = 5

#: Longer tracks are read in equal parts of at most so many frames: attention's memory grows with their square.
MOST_FRAMES = 16


class TemporalBlock(nn.Module):
    """Attention of every step over the near steps of all frames of its track, then an MLP.

    Each stands behind a LayerNorm and beside a shortcut, and begins as the identity. A learned bias says how far to
    look, in the own frame and in others; another one, drawn from a frame's mean over its steps, how much the frame is
    worth looking at. Frames have no positions, so that their order does not matter (of a track that is read in parts it
    says which frames are in one part).
    Input and output float32 (G, F, T, D): G tracks of F frames each, T steps.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = head_count(width)
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.quality = nn.Linear(width, self.heads, bias=False)
        #: By head, for the own frame and for others, by shift in steps from -REACH to REACH.
        self.shift = nn.Parameter(torch.zeros(self.heads, 2, 2 * REACH + 1))
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, MLP_RATIO * width)
        self.mlp_out = nn.Linear(MLP_RATIO * width, width)
        self.dropout = nn.Dropout(dropout)
        for last in (self.quality, self.attention_out, self.mlp_out):
            for weights in last.parameters():
                nn.init.zeros_(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention_out(self._attend(self.attention_norm(x))))
        x = x + self.dropout(self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x)))))
        return x

    def _attend(self, x: Tensor) -> Tensor:
        """Softmax attention within each track, (G, F, T, D) -> (G, F, T, D)."""
        tracks, frames, steps, width = x.shape
        shape = tracks, frames * steps, 3, self.heads, width // self.heads
        # (G, F, T, 3 D) -> (3, G, heads, F T, depth)
        query, key, value = self.query_key_value(x).reshape(shape).permute(2, 0, 3, 1, 4)
        weights = (query * shape[-1] ** -0.5) @ key.transpose(2, 3)  # (G, heads, F T, F T)
        bias = self._bias(frames, steps).to(weights.dtype)  # (heads, F, T, F, T)
        worth = self.quality(x.mean(2))  # (G, F, heads)
        weights = weights.unflatten(3, (frames, steps)).unflatten(2, (frames, steps)) + bias
        weights = weights + worth.to(weights.dtype).transpose(1, 2)[:, :, None, None, :, None]
        mixed: Tensor = weights.flatten(4).flatten(2, 3).softmax(-1) @ value  # (G, heads, F T, depth)
        return mixed.transpose(1, 2).reshape(x.shape)

    def _bias(self, frames: int, steps: int) -> Tensor:
        """What a step adds to its look at another, (heads, F, T, F, T); minus infinity beyond REACH."""
        at = torch.arange(steps, device=self.shift.device)
        shift = at[None, :] - at[:, None]  # (T, T)
        near = self.shift[:, :, shift.clamp(-REACH, REACH) + REACH]  # (heads, 2, T, T)
        near = near.masked_fill(shift.abs() > REACH, -torch.inf)
        own = torch.eye(frames, dtype=torch.bool, device=at.device)[:, None, :, None]  # (F, 1, F, 1)
        return torch.where(own, near[:, 0, None, :, None, :], near[:, 1, None, :, None, :])


class TemporalFusion(nn.Module):
    """A row of blocks over the sequences of single frames.

    Input and output float32 (B, T, D). `tracks` int64 (B,): equal numbers side by side are frames of one track; None:
    every frame is a track of its own.
    """

    def __init__(self, blocks: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TemporalBlock(width, dropout) for _ in range(blocks))

    def forward(self, sequences: Tensor, tracks: Tensor | None) -> Tensor:
        if tracks is None:
            tracks = torch.arange(len(sequences), device=sequences.device)
        result = torch.empty_like(sequences)
        # Tracks of one length at a time: nothing is padded.
        for rows in _rows(tracks):
            x = sequences[rows]  # (G, F, T, D)
            for block in self.blocks:
                x = block(x)
            result[rows] = x.to(result.dtype)
        return result


def _rows(tracks: Tensor) -> list[Tensor]:
    """Where the frames of each track stand among all, int64 (G, F) for every number F of frames, F <= MOST_FRAMES."""
    lengths = torch.unique_consecutive(tracks, return_counts=True)[1].tolist()
    by_length: dict[int, list[range]] = {}
    start = 0
    for length in lengths:
        parts = -(-length // MOST_FRAMES)
        ends = [start + length * part // parts for part in range(parts + 1)]
        for first, end in pairwise(ends):
            by_length.setdefault(end - first, []).append(range(first, end))
        start += length
    return [torch.tensor([list(part) for part in parts], device=tracks.device) for parts in by_length.values()]
