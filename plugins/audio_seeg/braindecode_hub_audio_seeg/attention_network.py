"""The network behind audio_seeg/attention: one frame a step, each from the place in memory that it attends to.

After Kohler et al. 2022, who follow Tacotron 2 (Shen et al. 2018) with the location-sensitive attention of
Chorowski et al. 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from braindecode_hub_audio_seeg.conv_gru_network import sinusoids

FILTERS, TAPS = 32, 31
"""Of the convolution that looks at where attention was before."""


@dataclass(frozen=True)
class Sizes:
    """Units of the decoder's parts; `dropout` acts in the prenet, the head and the postnet while training.

    `guided`: attention begins at the frame's own time instead of anywhere.
    """

    prenet: int
    hidden: int
    postnet: int
    guided: bool
    positions: int = 32
    dropout: float = 0.1


SMALL = Sizes(prenet=64, hidden=64, postnet=64, guided=True)
PAPER = Sizes(prenet=256, hidden=333, postnet=256, guided=False)


class Where(nn.Module):
    """Attention: which of the memory's `steps` a frame looks at. Keys are also the values: (batch, steps, hidden).

    `location`: energies v · tanh(query + key + convolution of the previous and the cumulative weights); else
    the scaled dot product of query and key.
    """

    def __init__(self, queries: int, units: int, hidden: int, location: bool) -> None:
        super().__init__()
        self.query = nn.Linear(queries, hidden, bias=False)
        self.memory = nn.Linear(units, hidden, bias=False)
        self.location = location
        self.scale = hidden**-0.5
        if location:
            self.convolution = nn.Conv1d(2, FILTERS, TAPS, padding=TAPS // 2, bias=False)
            self.spread = nn.Linear(FILTERS, hidden, bias=False)
            self.energy = nn.Linear(hidden, 1, bias=False)

    def begin(self, memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Do once what no frame changes: the keys (batch, steps, hidden), and the location filters as one matrix."""
        keys = self.memory(memory)
        return keys, self._folded(keys.shape[1]) if self.location else None

    def _folded(self, steps: int) -> Tensor:
        """Return convolution and projection as one matrix: (2 · steps, steps · hidden)."""
        identity = torch.eye(2 * steps, device=self.spread.weight.device).view(2 * steps, 2, steps)
        folded: Tensor = self.spread(self.convolution(identity).transpose(1, 2))
        return folded.flatten(1)

    def forward(self, asked: Tensor, keys: Tensor, folded: Tensor | None, past: Tensor, prior: Tensor) -> Tensor:
        """Return weights (batch, steps), from asked (batch, queries) and past (batch, 2 · steps) weights."""
        query = self.query(asked)
        if folded is None:
            return torch.softmax(torch.bmm(keys, query[:, :, None])[:, :, 0] * self.scale + prior, dim=1)
        energies = torch.addmm(keys.flatten(1), past, folded).view(keys.shape)
        energies = energies.add_(query[:, None]).tanh_()
        return torch.softmax(self.energy(energies)[:, :, 0] + prior, dim=1)


class Postnet(nn.Module):
    """Five convolutions over the whole sequence: (batch, frames, bins) → what is to be added, same shape."""

    def __init__(self, bins: int, channels: int, dropout: float) -> None:
        super().__init__()
        wide = [bins, *[channels] * 4, bins]
        self.convolutions = nn.ModuleList(nn.Conv1d(i, o, 5, padding=2) for i, o in pairwise(wide))
        self.norms = nn.ModuleList(nn.BatchNorm1d(o) for o in wide[1:])
        self.dropout = dropout

    def forward(self, frames: Tensor) -> Tensor:
        """Map (batch, frames, bins) to the same shape."""
        x = frames.transpose(1, 2)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x))
            x = functional.dropout(torch.tanh(x) if number < 4 else x, self.dropout, self.training)
        return x.transpose(1, 2)


class AttentionNetwork(nn.Module):
    """(batch, rows + steps, units) of memory → (batch, frames, bins).

    `rows`: how many of the memory's first rows are the encoder's last states. `residual`: what is made is added to
    `skip`, and begins as 0. `times`: (frames,) and (steps,) in seconds, for guided attention.
    """

    apart: Tensor

    def __init__(
        self, units: int, rows: int, bins: int, sizes: Sizes, kind: str, residual: bool, times: tuple[Tensor, Tensor]
    ) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.rows, self.bins, self.sizes = rows, bins, sizes
        self.bridge = nn.Linear(max(1, rows) * units, hidden)
        self.prenet = nn.ModuleList(
            [nn.Linear(bins, sizes.prenet, bias=False), nn.Linear(sizes.prenet, sizes.prenet, bias=False)]
        )
        queries = hidden if kind == "bahdanau" else sizes.prenet + sizes.positions + hidden
        self.where = Where(queries, units, hidden, kind == "bahdanau")
        self.gru = nn.GRUCell(sizes.prenet + hidden + sizes.positions, hidden)
        self.head = nn.ModuleList([nn.Linear(2 * hidden, hidden), nn.Linear(hidden, bins)])
        self.postnet = Postnet(bins, sizes.postnet, sizes.dropout)
        self.register_buffer("apart", times[1][None, :] - times[0][:, None], persistent=False)
        if sizes.guided:
            self.delay = nn.Parameter(torch.tensor(0.15))
            self.sharpness = nn.Parameter(torch.tensor(2.5))
        if residual:
            for parameter in (*self.head[1].parameters(), *self.postnet.norms[-1].parameters()):
                nn.init.zeros_(parameter)

    def forward(
        self, memory: Tensor, skip: Tensor | None = None, target: Tensor | None = None, forced: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return frames (batch, frames, bins), the same before the postnet, and weights (batch, frames, steps).

        `skip`, `target`: (batch, frames, bins); `forced`: (batch,) bool, whose next frame follows the target
        instead of what was made (teacher forcing, Williams & Zipser 1989), in training only.
        """
        rows = memory[:, : self.rows].flatten(1) if self.rows else memory.mean(dim=1)
        keys, folded = self.where.begin(memory[:, self.rows :])
        frames = self.apart.shape[0]
        positions = sinusoids(frames, self.sizes.positions).to(memory)
        came = self.gru.input_size - self.sizes.positions
        weights = self.gru.weight_ih[:, :came], self.gru.weight_ih[:, came:]
        placed = functional.linear(positions, weights[1], self.gru.bias_ih)
        prior = self._prior()
        follows = forced[:, None] if self.training and forced is not None and target is not None else None

        h = torch.tanh(self.bridge(rows))
        context = keys.new_zeros(len(keys), keys.shape[2])
        past = keys.new_zeros(len(keys), 2, keys.shape[1])
        frame = keys.new_zeros(len(keys), self.bins)
        made, attended = [], []
        for t in range(frames):
            seen = self._drop(functional.elu(self.prenet[0](frame)))
            seen = self._drop(functional.elu(self.prenet[1](seen)))
            h = self._turn(torch.cat([seen, context], dim=1), placed[t], weights[0], h)
            asked = h if folded is not None else torch.cat([seen, positions[t].expand(len(h), -1), h], dim=1)
            weight = self.where(asked, keys, folded, past.flatten(1), prior[t])
            past = torch.stack([weight, past[:, 1] + weight], dim=1) if folded is not None else past
            context = torch.bmm(weight[:, None], keys)[:, 0]
            frame = self.head[1](self._drop(functional.elu(self.head[0](torch.cat([h, context], dim=1)))))
            frame = frame if skip is None else frame + skip[:, t]
            made.append(frame)
            attended.append(weight)
            if follows is not None:
                frame = torch.where(follows, target[:, t], frame)  # type: ignore[index]
        first = torch.stack(made, dim=1)
        return first + self.postnet(first), first, torch.stack(attended, dim=1)

    def _prior(self) -> Tensor:
        """Return what is added to energies (frames, steps): a bell around the frame's own time plus a learned delay."""
        if not self.sizes.guided:
            return torch.zeros_like(self.apart)
        return -(((self.apart - self.delay) * functional.softplus(self.sharpness) ** 2) ** 2)

    def _turn(self, x: Tensor, placed: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        """Take one step of the GRU (Cho et al. 2014): (batch, hidden); `placed` is the position's share."""
        came = torch.addmm(placed, x, weight.t())
        kept = functional.linear(h, self.gru.weight_hh, self.gru.bias_hh)
        size = h.shape[1]
        gates = torch.sigmoid(came[:, : 2 * size] + kept[:, : 2 * size])
        new = torch.tanh(torch.addcmul(came[:, 2 * size :], gates[:, :size], kept[:, 2 * size :]))
        return torch.lerp(new, h, gates[:, size:])

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.sizes.dropout, self.training)
