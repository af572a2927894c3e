"""core/correlation: Pearson correlation over time (or over presentations), per bin, then averaged."""

from __future__ import annotations

import numpy as np

from braindecode_hub.interfaces import Metric
from braindecode_hub.metrics import correlation_over_presentations, correlation_per_unit, presentation_pairs
from braindecode_hub.nulls import shift_null
from braindecode_hub.types import Array


class Correlation(Metric):
    """Pearson r over the frames of a unit, averaged over the bins that vary; a constant prediction scores 0.

    Static targets (units, features) have no frames: there r runs over the presentations, within each feature.
    """

    unit = "r"

    def mask(self, target: Array) -> Array | None:
        """Return which frames of target (units, frames, bins) count, as (units, frames) bool; None: all."""
        return None

    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score (units, frames, bins) or (units, features): (units,), whose mean is in [-1, 1]."""
        if np.ndim(target) == 2:
            return correlation_over_presentations(target, predicted)
        return correlation_per_unit(target, predicted, self.mask(target))

    def pairs(self, target: Array, predicted: Array) -> Array:
        """Score every target against every prediction: (targets, predictions)."""
        return presentation_pairs(target, predicted) if np.ndim(target) == 2 else super().pairs(target, predicted)

    def shifted(self, target: Array, predicted: Array, unit_frames: int) -> Array:
        """Score every circular shift of (frames, bins), neighbours included, by FFT: (frames,)."""
        used = len(target) // unit_frames * unit_frames
        mask = self.mask(target[:used].reshape(-1, unit_frames, target.shape[-1]))
        return shift_null(target[:used], predicted[:used], unit_frames, None if mask is None else mask.reshape(-1))
