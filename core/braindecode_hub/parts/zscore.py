"""core/zscore: every feature to zero mean and unit variance, fitted on the training side only."""

from __future__ import annotations

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import ANY, Array, Batch, Context, Space
from braindecode_hub.view import View

FLOOR = 1e-3
"""A feature whose SD is below this share of the median SD is dropped: set to 0, and named in `dropped_`."""


class ZScore(Encoder):
    """Subtract the training mean and divide by the training SD, per feature, over time and trials.

    `clip`: limit in SDs, null for none. Works on either side; `invert` gives the input back, and the mean for
    features that were dropped because they hardly vary. `dropped_` lists those. Channels that a montage lacks are
    not counted, and are 0 behind it.
    """

    version = "2"
    channels_ = False

    def __init__(self, *, clip: float | None = None) -> None:
        self.clip = clip

    @property
    def consumes(self) -> Space:
        """Anything."""
        return ANY

    @property
    def produces(self) -> Space:
        """The same space."""
        return ANY

    def fit(self, train: View, val: View, ctx: Context) -> None:
        """Measure mean and SD of every feature over the training segments."""
        axis = train.space.time_axis
        count, mean, squares = np.zeros(1), np.zeros(1), np.zeros(1)
        for batch in train.segments():
            x = _features_last(np.asarray(batch.brain, np.float64), axis)
            flat = x.reshape(-1, *x.shape[2:]) if axis is not None else x
            there = _there(batch, batch.brain, train.space)
            n = np.float64(len(flat)) if there is None else len(flat) * there[0].reshape(-1, *[1] * (flat.ndim - 2))
            m = flat.mean(axis=0)
            delta = m - mean
            total = np.maximum(count + n, 1.0)
            squares = squares + ((flat - m) ** 2).sum(axis=0) + delta**2 * count * n / total
            mean = mean + delta * n / total
            count = count + n
        if count.max() < 2:
            raise HubError("core/zscore has nothing to fit on", "the training side needs at least two frames")
        sd = np.sqrt(squares / np.maximum(count - 1, 1.0))
        varying = sd[sd > 0]
        floor = FLOOR * float(np.median(varying)) if varying.size else 0.0
        dropped = sd <= floor
        self.mean_ = mean.astype(np.float32)
        self.sd_ = np.where(dropped, 0.0, sd).astype(np.float32)
        self.dropped_ = [int(k) for k in np.flatnonzero(dropped)]
        self.time_axis_ = axis
        self.channels_ = train.space.dims[:1] == ("channels",)
        if self.dropped_:
            ctx.log(
                {
                    "kind": "note",
                    "text": f"{train.space.name}: features {self.dropped_} hardly vary and are dropped",
                }
            )

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Scale (batch, …) to zero mean and unit SD, float32."""
        with np.errstate(divide="ignore"):
            gain = np.where(self.sd_ > 0, 1.0 / self.sd_, 0.0).astype(np.float32)
        out = (np.asarray(x, np.float32) - self._shaped(self.mean_)) * self._shaped(gain)
        there = _there(batch, out, None) if self.channels_ else None
        if there is not None:
            out = np.where(there.reshape(*there.shape, *[1] * (out.ndim - 2)), out, np.float32(0.0))
        return out if self.clip is None else np.clip(out, -self.clip, self.clip)

    def invert(self, x: Array) -> Array:
        """Undo `encode` (but for what `clip` cut off)."""
        return np.asarray(x, np.float32) * self._shaped(self.sd_) + self._shaped(self.mean_)

    def _shaped(self, per_feature: Array) -> Array:
        """Give per-feature values the axes of one item: a time axis of 1 where time runs."""
        values = np.asarray(per_feature)
        return values if self.time_axis_ is None else np.expand_dims(values, self.time_axis_)


def _there(batch: Batch | None, x: Array, space: Space | None) -> Array | None:
    """Return which channels of `x` (batch, channels, …) each montage has, (batch, channels) bool; None: all of them.

    `space`: what x is in; None where it is known to have channels first.
    """
    mask = None if batch is None else batch.channel_mask
    if mask is None or mask.all() or (space is not None and space.dims[:1] != ("channels",)):
        return None
    return mask if mask.shape == x.shape[:2] else None


def _features_last(x: Array, axis: int | None) -> Array:
    """Move the time axis of (batch, …) next to the batch axis."""
    return x if axis is None else np.moveaxis(x, axis + 1, 1)
