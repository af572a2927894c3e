"""What each electrode adds to a fitted decoder, measured by silencing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from braindecode_hub.types import Array, Batch
from braindecode_hub.view import View

LOOKED_AT = 48
"""Validation windows that a contribution is measured on."""


def contribution(decode: Callable[[Array], Array], batch: Batch) -> Array:
    """Return (channels,) float32: by how much the share of explained variance falls without each channel.

    `decode`: features (batch, channels, time) → mel (batch, frames, bins), the whole model. A silenced channel holds
    its mean over the batch. 1 is all of the target's variance; below 0 the model is better without the channel.
    """
    target = batch.target["mel"]
    total = float(((target - target.mean(axis=(0, 1))) ** 2).mean()) or 1.0

    def error(x: Array) -> float:
        return float(((decode(x) - target) ** 2).mean()) / total

    whole, mean = error(batch.brain), batch.brain.mean(axis=(0, 2))
    lost = []
    for channel in range(batch.brain.shape[1]):
        silenced = batch.brain.copy()
        silenced[:, channel] = mean[channel]
        lost.append(error(silenced) - whole)
    return np.array(lost, np.float32)


def some_windows(view: View, count: int) -> Batch:
    """Return at most `count` windows, evenly spaced over the view."""
    found = list(view.batches(1))
    chosen = [found[int(at)] for at in np.unique(np.linspace(0, len(found) - 1, count).astype(int))]
    brain = np.concatenate([batch.brain for batch in chosen])
    target = {name: np.concatenate([batch.target[name] for batch in chosen]) for name in chosen[0].target}
    return replace(chosen[0], brain=brain, target=target, trials=[trial for batch in chosen for trial in batch.trials])
