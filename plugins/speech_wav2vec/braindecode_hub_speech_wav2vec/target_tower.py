"""The other side of a contrastive estimate: what a target becomes before it is compared."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from braindecode_hub_speech_wav2vec.losses import BIAS, SCALE
from braindecode_hub_speech_wav2vec.simpleconv import Block

MOMENTUM = 0.1
"""Share of a batch in the running mean that embeddings are centred by."""

NEAR = 0.02
"""Nats by which a temperature may miss the best cross entropy."""


class Centre(nn.Module):
    """Subtract the mean over a batch and its times in training, the mean of the training side afterwards.

    Not `active`: what comes has a mean of 0 already.
    """

    mean: Tensor

    def __init__(self, dims: int, active: bool) -> None:
        super().__init__()
        self.active = active
        self.register_buffer("mean", torch.zeros(dims))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (batch, dims, time) centred, and the mean (dims,)."""
        moving = self.training and self.active
        mean = x.mean(dim=(0, 2)) if moving else self.mean
        if moving:
            with torch.no_grad():
                self.mean.lerp_(mean, MOMENTUM)
        return x - mean[:, None], mean


class TargetTower(nn.Module):
    """Targets (batch, bins, time) → embeddings (batch, dims, time).

    `deep`: `depth` dilated convolutions of `hidden` channels, as the brain network's (deep mel: Défossez et al.
    2023), else the target itself. `identity`: what they make is added to the target, with a linear mixture of its
    bins, and begins as 0 (then dims = bins).
    """

    def __init__(self, bins: int, dims: int, hidden: int, depth: int, period: int, deep: bool, identity: bool) -> None:
        super().__init__()
        self.identity = identity
        self.blocks: nn.Module | None = None
        if deep:
            self.blocks = nn.Sequential(
                *(Block((bins if k == 0 else hidden, hidden), 2 ** (k % period), k % 2 == 1, 0.0) for k in range(depth))
            )
            self.out = nn.Conv1d(hidden, dims, 1)
            self.mixture = nn.Conv1d(bins, dims, 1, bias=False) if identity else None
            if self.mixture is not None:
                for weight in (self.mixture.weight, self.out.weight, self.out.bias):
                    nn.init.zeros_(weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Embed targets."""
        if self.blocks is None:
            return x
        out: Tensor = self.out(self.blocks(x))
        return out if self.mixture is None else x + self.mixture(x) + out


class Comparison(nn.Module):
    """Estimates and targets brought to one space, and the numbers of the loss that are learned with it.

    `log_scale`, `bias`: of the scores; learned only if `learned`.
    """

    def __init__(self, tower: TargetTower, dims: int, loss: str, learned: bool, centred: bool) -> None:
        super().__init__()
        self.tower, self.centre = tower, Centre(dims, centred)
        start = SCALE if loss == "siglip" else 0.0
        self.log_scale = nn.Parameter(torch.tensor(start), requires_grad=learned)
        self.bias = nn.Parameter(torch.tensor(BIAS), requires_grad=learned and loss == "siglip")

    def forward(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Centre estimates (batch, dims, time) and embed targets (batch, bins, time)."""
        candidate, mean = self.centre(self.tower(target))
        return estimate - mean[:, None], candidate


def best_log_scale(scores: Tensor, right: Tensor) -> float:
    """Return the log of the factor on scores (B, N) that suits them; `right`: (B, N) bool.

    The smallest whose cross entropy is at most 0.02 above the best: where all are told apart already, ever larger
    ones are ever better, and leave nothing to learn.
    """
    found = []
    for exponent in range(-16, 17):
        scaled = scores * 2.0 ** (exponent / 2)
        chosen = torch.logsumexp(scaled.masked_fill(~right, -math.inf), dim=1)
        found.append(float((torch.logsumexp(scaled, dim=1) - chosen).mean()))
    first = next(number for number, loss in enumerate(found) if loss <= min(found) + NEAR)
    return (first - 16) / 2 * math.log(2.0)
