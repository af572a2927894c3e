"""What an estimate is made of: a linear lagged path for each subject, and SimpleConv beside it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from braindecode_hub_speech_wav2vec.simpleconv import SimpleConv


class Rows(NamedTuple):
    """What is known of each row of a batch.

    `places`: (layouts, channels, 2), `grids`: (layouts, points, channels); `which` layout each row has (batch,);
    `subject`: (batch,) int64, the last number for one who is unknown.
    """

    places: Tensor
    grids: Tensor
    which: Tensor
    subject: Tensor


class LinearPath(nn.Module):
    """estimate[t] = Σ weights[lag] · x[t + lag] + offset; each subject has weights of its own on its own channels.

    An unknown subject's (the last) weights stand on the common grid. Weights begin where `kernels` say (closed-form
    solutions), and what is learned is a share of their own size: (subjects, lags, channels, dims), `pooled`
    (lags, points, dims), `offsets` (subjects + 1, dims). `sd`: (subjects, channels) and `pooled_sd` (points,), of
    the inputs. `lags`: in samples. Before the first and after the last sample, x goes on as it was there.
    """

    kernels: Tensor
    sizes: Tensor
    pooled: Tensor
    pooled_sizes: Tensor

    def __init__(self, lags: list[int], shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        subjects, channels, points, dims = shape
        self.lags = lags
        for name, size in (("kernels", (subjects, len(lags), channels, dims)), ("pooled", (len(lags), points, dims))):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("sizes", torch.zeros(subjects, 1, channels, 1))
        self.register_buffer("pooled_sizes", torch.zeros(1, points, 1))
        self.changes = nn.Parameter(torch.zeros(subjects, len(lags), channels, dims))
        self.pooled_changes = nn.Parameter(torch.zeros(len(lags), points, dims))
        self.offsets = nn.Parameter(torch.zeros(subjects + 1, dims))

    def start_from(self, kernels: Tensor, pooled: Tensor, offsets: Tensor, sd: Tensor, pooled_sd: Tensor) -> None:
        """Begin at closed-form solutions; a weight then changes by shares of the typical one of its subject."""
        with torch.no_grad():
            self.kernels.copy_(kernels)
            self.pooled.copy_(pooled)
            self.offsets.copy_(offsets)
            self.sizes.copy_(_sizes(kernels, sd[:, None, :, None]))
            self.pooled_sizes.copy_(_sizes(pooled[None], pooled_sd[None, None, :, None])[0])

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Map (batch, channels, time) to (batch, dims, time)."""
        out = x.new_zeros(len(x), self.offsets.shape[1], x.shape[2])
        for subject in torch.unique(rows.subject).tolist():
            at = torch.nonzero(rows.subject == subject)[:, 0]
            if subject == len(self.kernels):
                weights = self.pooled + self.pooled_sizes * self.pooled_changes
                out[at] = _lagged(torch.bmm(rows.grids[rows.which[at]], x[at]), weights, self.lags)
            else:
                weights = self.kernels[subject] + self.sizes[subject] * self.changes[subject]
                out[at] = _lagged(x[at], weights, self.lags)
        return out + self.offsets[rows.subject][:, :, None]


def _lagged(x: Tensor, weights: Tensor, lags: list[int]) -> Tensor:
    """Return Σ over lags of weights (lags, channels, dims) times x (batch, channels, time) at that lag."""
    before, after, time = max(0, -min(lags)), max(0, *lags), x.shape[2]
    longer = torch.cat([x[:, :, :1].expand(-1, -1, before), x, x[:, :, -1:].expand(-1, -1, after)], dim=2)
    beside = torch.cat([longer[:, :, before + lag : before + lag + time] for lag in lags], dim=1)
    return weights.flatten(0, 1).t() @ beside  # beside: (batch, lags · channels, time)


def _sizes(kernels: Tensor, sd: Tensor) -> Tensor:
    """Return what 1 of a change means: the root mean square of a subject's weights, in units of each input's SD."""
    typical = (kernels * sd).pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return torch.where(sd > 0, typical / sd.clamp_min(1e-30), torch.zeros_like(sd))


class BrainNetwork(nn.Module):
    """Linear path and SimpleConv, either of which may be missing, added: (batch, channels, time) → (batch, dims, time).

    The convolutions see x less the mean of its first `baseline` samples (0: as it is), and `shift` samples later:
    the brain follows what is heard. In training a subject counts as unknown with probability `forgotten`.
    """

    def __init__(
        self, linear: LinearPath | None, conv: SimpleConv | None, shift: int, baseline: int, forgotten: float
    ) -> None:
        super().__init__()
        self.linear, self.conv = linear, conv
        self.shift, self.baseline, self.forgotten = shift, baseline, forgotten

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """Estimate at every sample of x; where the shift leaves no brain, the last estimate is repeated."""
        if self.training and self.forgotten:
            dropped = torch.rand(len(x)).to(x.device) < self.forgotten
            unknown = self.conv.subjects if self.conv is not None else len(self.linear.changes)  # type: ignore[union-attr]
            rows = rows._replace(subject=torch.where(dropped, unknown, rows.subject))
        out = x.new_zeros(()) if self.linear is None else self.linear(x, rows)
        if self.conv is None:
            return out
        centred = x - x[:, :, : self.baseline].mean(dim=2, keepdim=True) if self.baseline else x
        made = self.conv(centred[:, :, self.shift :], rows.places, rows.which, rows.subject)
        if self.shift:
            made = torch.cat([made, made[:, :, -1:].expand(-1, -1, self.shift)], dim=2)
        estimate: Tensor = out + made
        return estimate
