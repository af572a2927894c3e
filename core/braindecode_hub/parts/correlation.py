"""core/correlation: Pearson correlation over time, per bin, then averaged."""

from __future__ import annotations

from braindecode_hub.interfaces import Metric
from braindecode_hub.metrics import correlation_per_unit
from braindecode_hub.statistics import shift_null
from braindecode_hub.types import Array


class Correlation(Metric):
    """Pearson r over the frames of a unit, averaged over the bins that vary; a constant prediction scores 0."""

    unit = "r"

    def mask(self, target: Array) -> Array | None:
        """Return which frames of target (units, frames, bins) count, as (units, frames) bool; None: all."""
        return None

    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score (units, frames, bins) against (units, frames, bins): (units,) in [-1, 1]."""
        return correlation_per_unit(target, predicted, self.mask(target))

    def shifted(self, target: Array, predicted: Array, unit_frames: int) -> Array:
        """Score every circular shift of (frames, bins), neighbours included, by FFT: (frames,)."""
        used = len(target) // unit_frames * unit_frames
        mask = self.mask(target[:used].reshape(-1, unit_frames, target.shape[-1]))
        return shift_null(target[:used], predicted[:used], unit_frames, None if mask is None else mask.reshape(-1))
