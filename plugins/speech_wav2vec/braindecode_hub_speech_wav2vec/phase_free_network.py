"""The network of speech_wav2vec/phase_free: spatial filters, power in planes, a score for each candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braindecode_hub.types import Array

FLOOR = 0.1
"""Added to a candidate's share of power before the logarithm: an empty plane is no proof against a candidate."""


class PhaseFreeNetwork(nn.Module):
    """(batch, channels, samples) → scores (batch, candidates), equal for any phase of a candidate's sinusoids.

    planes: (candidates, harmonics, 2, samples), orthonormal; whitening: (channels, channels). Both are given, not
    learned, and no part of the stored weights.
    """

    planes: Tensor
    whitening: Tensor

    def __init__(self, planes: Array, whitening: Array) -> None:
        super().__init__()
        harmonics, channels = planes.shape[1], len(whitening)
        self.register_buffer("planes", torch.tensor(planes), persistent=False)
        self.register_buffer("whitening", torch.tensor(whitening), persistent=False)
        self.filters = nn.Parameter(torch.eye(channels).repeat(harmonics, 1, 1))
        self.weights = nn.Parameter(torch.zeros(harmonics))
        self.sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Score every candidate for each window."""
        white = torch.einsum("dc,nct->ndt", self.whitening, x - x.mean(dim=-1, keepdim=True))
        inside = torch.einsum("ndt,khqt->nkhqd", white, self.planes)
        power = torch.einsum("hrd,nkhqd->nkhqr", self.filters, inside).square().sum(dim=(3, 4))
        share = power / power.mean(dim=1, keepdim=True).clamp_min(1e-12)
        weights = torch.softmax(self.weights, 0) * len(self.weights)
        return self.sharpness.exp() * (torch.log(share + FLOOR) @ weights)
