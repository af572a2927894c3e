"""SimpleConv: the brain network of Défossez et al. 2023, written from the paper.

Sensors → spatial attention → 1×1 → subject layer → dilated convolutions with gates → a head that makes the estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

MARGIN = 0.2
"""Room around the unit square before places repeat in the Fourier features."""
EMBEDDED = 64
"""Dimensions of a subject embedding."""
REMEMBERED = 256
"""Layouts whose attention is kept at inference."""


@dataclass(frozen=True)
class Sizes:
    """Units of the network's parts.

    `virtual`: channels behind attention; `fourier`: features of a place (2 · a square); `depth` convolutions of
    `hidden` channels, dilations doubling from 1 to 2 ** (`period` − 1) again and again. In training: `radius` of the
    disc in which all sensors are dropped, `subject_dropout`: how often a subject counts as unknown, `dropout` behind
    each convolution. Without subject dropout an unknown subject gets the mean of all.
    """

    virtual: int
    fourier: int
    hidden: int
    depth: int
    period: int
    radius: float = 0.2
    subject_dropout: float = 0.0
    dropout: float = 0.0


PAPER = Sizes(virtual=270, fourier=2048, hidden=320, depth=10, period=5)
SMALL = Sizes(virtual=32, fourier=288, hidden=48, depth=4, period=4, subject_dropout=0.1, dropout=0.1)
SIZES = {"paper": PAPER, "small": SMALL}


class SpatialAttention(nn.Module):
    """Virtual channels, each a softmax over the sensors of a layout by where they are.

    Places (layouts, channels, 2) in [0, 1]², NaN for a sensor that is left out. Energies are a learned vector times
    cosines and sines of 2πk / (1 + 2 · 0.2) of the place. In training the sensors within `radius` of a random point
    are dropped; a layout of which nothing is left gives 0.
    """

    def __init__(self, virtual: int, fourier: int, radius: float) -> None:
        super().__init__()
        self.waves = math.isqrt(fourier // 2)
        if 2 * self.waves**2 != fourier:
            raise ValueError(f"{fourier} Fourier features are not twice a square")
        self.radius = radius
        self.heads = nn.Parameter(torch.randn(virtual, fourier) / math.sqrt(fourier))
        self._kept: dict[bytes, Tensor] = {}

    def train(self, mode: bool = True) -> SpatialAttention:
        """Switch modes; the attention that was kept belongs to weights that may change now."""
        self._kept.clear()
        return super().train(mode)

    def embed(self, places: Tensor) -> Tensor:
        """Return the Fourier features (…, fourier) of places (…, 2)."""
        k = torch.arange(self.waves, device=places.device, dtype=places.dtype)
        x, y = (places + MARGIN).unbind(-1)
        step = 2.0 * math.pi / (1.0 + 2.0 * MARGIN)
        phase = step * (x[..., None, None] * k[:, None] + y[..., None, None] * k[None, :])
        phase = phase.flatten(-2)
        return torch.cat([phase.cos(), phase.sin()], dim=-1)

    def weights(self, places: Tensor) -> Tensor:
        """Return (layouts, virtual, channels) for places (layouts, channels, 2): sums of 1 over sensors, or 0."""
        there = torch.isfinite(places).all(dim=-1)
        placed = torch.where(there[..., None], places, torch.zeros_like(places))
        if self.training and self.radius:
            centre = torch.rand(2).to(places)
            there = there & ((placed - centre).norm(dim=-1) > self.radius)
        elif not torch.is_grad_enabled():
            return torch.stack([self._remembered(*one) for one in zip(placed, there, strict=True)])
        return self._softmax(placed, there)

    def _remembered(self, placed: Tensor, there: Tensor) -> Tensor:
        key = placed.cpu().numpy().tobytes() + there.cpu().numpy().tobytes()
        if key not in self._kept:
            if len(self._kept) >= REMEMBERED:
                self._kept.clear()
            self._kept[key] = self._softmax(placed[None], there[None])[0]
        return self._kept[key]

    def _softmax(self, placed: Tensor, there: Tensor) -> Tensor:
        energies = self.heads @ self.embed(placed).transpose(1, 2)
        left_out = ~there[:, None]
        # not -inf: the softmax of nothing but -inf is NaN
        weights = torch.softmax(energies.masked_fill(left_out, -1e9), dim=2)
        return weights.masked_fill(left_out, 0.0)

    def forward(self, x: Tensor, places: Tensor, which: Tensor) -> Tensor:
        """Map x (batch, channels, time) to (batch, virtual, time); `which` layout each row has: (batch,)."""
        weights = self.weights(places)[which]
        there = torch.isfinite(places).all(dim=-1)[which]
        return torch.bmm(weights, x.masked_fill(~there[:, :, None], 0.0))


class SubjectLayer(nn.Module):
    """One matrix for each subject, (batch, channels, time) → the same; number `subjects` is the unknown one."""

    def __init__(self, subjects: int, channels: int, unknown: bool) -> None:
        super().__init__()
        rows = subjects + int(unknown)
        self.subjects = subjects
        self.matrices = nn.Parameter(torch.randn(rows, channels, channels) / math.sqrt(channels))

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Multiply each row of x by its subject's matrix."""
        return torch.einsum("bct,bcd->bdt", x, _row(self.matrices, self.subjects, subject))


class SubjectEmbedding(nn.Module):
    """A learned vector for each subject beside the channels: (batch, channels, time) → 64 channels more."""

    def __init__(self, subjects: int, unknown: bool) -> None:
        super().__init__()
        self.subjects = subjects
        self.vectors = nn.Parameter(torch.randn(subjects + int(unknown), EMBEDDED))

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Append each row's vector at every time."""
        vector = _row(self.vectors, self.subjects, subject)
        return torch.cat([x, vector[:, :, None].expand(-1, -1, x.shape[2])], dim=1)


def _row(table: Tensor, subjects: int, subject: Tensor) -> Tensor:
    """Return each subject's row; for the unknown one, its own, or where there is none the mean of all."""
    if len(table) == subjects:
        table = torch.cat([table, table.mean(dim=0, keepdim=True)])
    return table[subject]


class Block(nn.Module):
    """A dilated convolution with batch norm and GELU, added to its input if that is as wide; then, maybe, a gate."""

    def __init__(self, wide: tuple[int, int], dilation: int, gated: bool, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(*wide, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm1d(wide[1])
        self.gate = nn.Conv1d(wide[1], 2 * wide[1], 3, padding=1) if gated else None
        self.residual = wide[0] == wide[1]
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, time) to (batch, hidden, time)."""
        out = functional.gelu(self.norm(self.convolution(x)))
        out = functional.dropout(out, self.dropout, self.training)
        out = out + x if self.residual else out
        return out if self.gate is None else functional.glu(self.gate(out), dim=1)


class SimpleConv(nn.Module):
    """Brain (batch, channels, time) → an estimate (batch, dims, time), whatever the montage.

    `subjects`: how many; `subject`: what is learned of each, a "layer", an "embedding", "both" or "none". With
    `PAPER`, 27 subjects and 1024 dims there are 9,565,054 parameters; an estimate looks 67 samples to either side.
    """

    def __init__(
        self,
        subjects: int,
        dims: int = 1024,
        sizes: Sizes = PAPER,
        subject: Literal["layer", "embedding", "both", "none"] = "layer",
    ) -> None:
        super().__init__()
        self.subjects, self.sizes = subjects, sizes
        unknown, virtual, hidden = sizes.subject_dropout > 0, sizes.virtual, sizes.hidden
        self.attention = SpatialAttention(virtual, sizes.fourier, sizes.radius)
        self.initial = nn.Conv1d(virtual, virtual, 1)
        self.layer = SubjectLayer(subjects, virtual, unknown) if subject in ("layer", "both") else None
        self.embedding = SubjectEmbedding(subjects, unknown) if subject in ("embedding", "both") else None
        first = virtual + (EMBEDDED if self.embedding is not None else 0)
        self.blocks = nn.Sequential(
            *(
                Block((first if k == 0 else hidden, hidden), 2 ** (k % sizes.period), k % 2 == 1, sizes.dropout)
                for k in range(sizes.depth)
            )
        )
        self.head = nn.Sequential(nn.Conv1d(hidden, 2 * hidden, 1), nn.GELU(), nn.Conv1d(2 * hidden, dims, 1))

    def forward(self, x: Tensor, places: Tensor, which: Tensor, subject: Tensor) -> Tensor:
        """Estimate from x (batch, channels, time).

        `places`: (layouts, channels, 2) in [0, 1]², NaN for what a layout lacks (its values are not looked at);
        `which` of them each row has, (batch,); `subject`: (batch,) int64, `subjects` for one who is unknown.
        """
        x = self.initial(self.attention(x, places, which))
        x = x if self.layer is None else self.layer(x, subject)
        x = x if self.embedding is None else self.embedding(x, subject)
        estimate: Tensor = self.head(self.blocks(x))
        return estimate

    def start_at_zero(self) -> None:
        """Let the estimate begin as 0, whatever comes: what is learned is then added to something else."""
        for parameter in self.head[2].parameters():
            nn.init.zeros_(parameter)
