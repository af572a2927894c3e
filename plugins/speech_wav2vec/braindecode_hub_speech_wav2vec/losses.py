"""The losses that teach which speech was heard: contrastive over the candidates of a batch.

With `torch.distributed` running, the candidates of all processes are everybody's negatives, and the mean over
processes of the gradients is that of one process with the whole batch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SAME = 0.999
"""Candidates whose cosine is at least this are one and the same."""
SCALE, BIAS = math.log(10.0), -10.0
"""Where SigLIP's log-temperature and bias begin (Zhai et al. 2023)."""
TINY = 1e-8


def clip_loss(
    estimate: Tensor, candidate: Tensor, same: Tensor | None = None, scale: Tensor | float | None = None
) -> Tensor:
    """Return how surely each estimate chooses its own candidate among all: a scalar, the mean cross entropy.

    estimate: (B, C, T); candidate: (N, C, T), N ≥ B, the first B in the estimates' order. Scores are
    ⟨estimate, candidate / ‖candidate‖⟩ over (C, T); the estimate is not normalised, there is no temperature, and
    only candidates are chosen among, not estimates (Défossez et al. 2023). `same`: (B, N) bool, pairs of equal sound
    (see `same_sound`), each of which is a right choice; by default only an estimate's own is. `scale`: factor on the
    scores, where a learned temperature is wanted.
    """
    everybody, first = gathered(candidate)
    scores = estimate.flatten(1) @ unit(everybody).t()
    scores = scores if scale is None else scores * scale
    if same is None:
        return functional.cross_entropy(scores, torch.arange(len(estimate), device=estimate.device) + first)
    right = torch.logsumexp(scores.masked_fill(~same, -math.inf), dim=1)
    return (torch.logsumexp(scores, dim=1) - right).mean()


def siglip_loss(
    estimate: Tensor,
    candidate: Tensor,
    same: Tensor | None = None,
    scale: Tensor | float = SCALE,
    bias: Tensor | float = BIAS,
) -> Tensor:
    """Return the pairwise sigmoid loss of Zhai et al. 2023 that knows duplicates: a scalar, the sum over pairs / B.

    estimate: (B, C, T); candidate: (N, C, T), N ≥ B, the first B in the estimates' order. Logits are
    exp(scale) · cosine + bias. `same`: (B, N) bool, which pairs belong together; by default those whose own
    candidate has a cosine of at least .999 with the other: identical sound heard by several subjects is no negative.
    """
    everybody, _ = gathered(candidate)
    if same is None:
        same = same_sound(candidate[: len(estimate)], candidate)
    logits = torch.exp(torch.as_tensor(scale)) * (unit(estimate) @ unit(everybody).t()) + bias
    sign = torch.where(same, 1.0, -1.0)
    return -functional.logsigmoid(sign * logits).sum() / len(estimate)


def same_sound(own: Tensor, candidate: Tensor) -> Tensor:
    """Return (B, all N) bool: which candidates of all processes equal each of `own` (the first B of this process).

    Equal: a cosine of at least .999 over everything but the first axis. Ask it of what was heard, not of a learned
    embedding: one that makes everything alike would be always right.
    """
    with torch.no_grad():
        everybody, first = gathered(candidate)
        same: Tensor = unit(own) @ unit(everybody).t() >= SAME
        place = torch.arange(len(own), device=own.device)
        same[place, place + first] = True  # its own, even where it is silence
    return same


def unit(x: Tensor) -> Tensor:
    """Return the rows of x (N, …) as vectors of norm 1, (N, values); rows of 0 stay 0."""
    flat = x.flatten(1)
    out: Tensor = flat / (flat.norm(dim=1, keepdim=True) + TINY)
    return out


def gathered(x: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes, and the number of this process's first; gradients find their way back.

    Every process must give as many rows. Without `torch.distributed`, x itself.
    """
    spread = torch.distributed
    if not (spread.is_available() and spread.is_initialized()) or spread.get_world_size() == 1:
        return x, 0
    rows: Tensor = _Gather.apply(x)
    return rows, spread.get_rank() * len(x)


class _Gather(torch.autograd.Function):
    """All-gather whose gradient is the sum of what every process's loss says of these rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        total = given[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        first = torch.distributed.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
