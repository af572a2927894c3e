"""The network behind audio_seeg/conv_gru: strided convolutions, positions, a bidirectional GRU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Front:
    """Sizes of a front end: convolutions (kernels, strides, filters), pooling, positions, GRU units and layers."""

    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    pool: int
    hidden: int
    layers: int
    positions: int = 32
    dropout: float = 0.1


SMALL = Front((64, 64), (9, 5), (2, 2), 1, 64, 1)
PAPER = Front((50, 75, 100), (25, 11, 5), (3, 3, 3), 2, 333, 3)
"""Kohler et al. 2022, as given for 1024 Hz: 1230 samples become 23 steps."""


def sinusoids(steps: int, size: int) -> Tensor:
    """Return positions 0 … steps - 1 as sines and cosines: (steps, size), Vaswani et al. 2017."""
    rates = torch.exp(torch.arange(0, size, 2) * (-9.210340371976184 / size))
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class ConvGruNetwork(nn.Module):
    """(batch, channels, time) → (batch, layers + steps, 2 · hidden).

    The first `layers` rows are the last states of each GRU layer, forwards and backwards: what a decoder starts
    from. The others are the last layer's outputs, one a step: what a decoder attends to.
    """

    def __init__(self, channels: int, front: Front) -> None:
        super().__init__()
        wide = [channels, *front.filters]
        sizes = zip(wide[:-1], wide[1:], front.kernels, front.strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv1d(i, o, k, s, padding=k // 2) for i, o, k, s in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(filters) for filters in front.filters)
        sizes_in = [wide[-1] + front.positions] + [2 * front.hidden] * (front.layers - 1)
        self.grus = nn.ModuleList(nn.GRU(size, front.hidden, batch_first=True, bidirectional=True) for size in sizes_in)
        self.front = front

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, time) to (batch, layers + steps, 2 · hidden)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.elu(norm(convolution(x)))
        if self.front.pool > 1:
            x = functional.max_pool1d(x, self.front.pool)
        x = x.transpose(1, 2)
        positions = sinusoids(x.shape[1], self.front.positions).to(x)
        x = torch.cat([x, positions.expand(len(x), -1, -1)], dim=-1)
        last = []
        for gru in self.grus:
            x = functional.dropout(x, self.front.dropout, self.training)
            x, state = gru(x)
            last.append(state.transpose(0, 1).flatten(1))
        return torch.cat([torch.stack(last, dim=1), x], dim=1)
