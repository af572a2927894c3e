"""Where a linear lagged path begins: ridge in closed form, for each subject and, on a common grid, for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braindecode_hub.chain import Chain
from braindecode_hub.errors import HubError
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.types import Array, Context
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.layout import GRID, OnGrid

BATCH = 64


@dataclass(frozen=True)
class Start:
    """Closed-form solutions, float32; see `brain_network.LinearPath.start_from`.

    `kernels` (subjects, lags, channels, dims), `pooled` (lags, points, dims), `offsets` (subjects + 1, dims), `sd`
    (subjects, channels) and `pooled_sd` (points,) of the inputs.
    """

    kernels: Array
    pooled: Array
    offsets: Array
    sd: Array
    pooled_sd: Array


def lag_samples(ridge: Ridge, rate: float) -> list[int]:
    """Return the lags of a ridge in samples at `rate` Hz."""
    return [int(lag) for lag in np.rint(ridge.lags() * rate)]


def frame_index(view: View, name: str) -> list[int]:
    """Return the sample of a window's brain at which each frame of target `name` is."""
    samples = np.rint(view.frame_times(name) * float(view.space.rate or 1.0)).astype(int)
    return [int(at) for at in samples]


def solve(train: View, val: View, ctx: Context, subjects: Sequence[str], ridge: Ridge) -> Start:
    """Fit a copy of `ridge` to each subject's own channels, and one to everybody's on the common grid.

    Each penalty is chosen on the same people's validation windows, where they have any. HubError if a subject has
    no training windows.
    """
    own = []
    for subject in subjects:
        one, held = _of(train, subject), _of(val, subject)
        if not len(one):
            raise HubError(f"subject {subject} has no training windows", "leave that subject out, or split otherwise")
        own.append(_fitted(ridge, one, held if len(held) else one, ctx))
    grid, sd = _fitted(ridge, train.through(OnGrid()), val.through(OnGrid()), ctx)
    offsets = [one.intercept_ for one, _ in own] + [grid.intercept_]
    return Start(
        np.stack([one.kernels() for one, _ in own]),
        grid.kernels(),
        np.stack(offsets),
        np.stack([sd for _, sd in own]),
        sd,
    )


def solve_one(train: View, val: View, ctx: Context, ridge: Ridge) -> Start:
    """Fit a copy of `ridge` to all channels as if they were one subject's, and nothing to the grid."""
    one, sd = _fitted(ridge, train, val, ctx)
    kernels = one.kernels()
    nothing = np.zeros((len(kernels), GRID**2, kernels.shape[2]), np.float32)
    offsets = np.stack([one.intercept_, one.intercept_])
    return Start(kernels[None], nothing, offsets, sd[None], np.zeros(GRID**2, np.float32))


def _of(view: View, subject: str) -> View:
    return view.replace_targets(lambda items: [i for i in items if i.trial.groups.get("subject", "") == subject])


def _fitted(ridge: Ridge, train: View, val: View, ctx: Context) -> tuple[Ridge, Array]:
    """Return a fitted copy of `ridge`, and the SD of its inputs (channels,)."""
    one = Ridge(lags_s=ridge.lags_s, lag_step_s=ridge.lag_step_s, alphas=ridge.alphas)
    one.fit(train, val, replace(ctx, log=lambda event: None), encoder=Chain())
    return one, _sd(train)


def _sd(view: View) -> Array:
    """Return the SD of every channel over the windows of a view: (channels,) float32."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for batch in view.batches(BATCH):
        x = np.asarray(batch.brain, np.float64)
        count += x.shape[0] * x.shape[2]
        total = total + x.sum(axis=(0, 2))
        squares = squares + (x**2).sum(axis=(0, 2))
    return np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0)).astype(np.float32)
