"""Windows of brain signal, cut from the arrays of items and laid side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from braindecode_hub.items import Item
from braindecode_hub.lazy import Residents
from braindecode_hub.places import Places
from braindecode_hub.types import Array


class Gathering:
    """Gathers windows of items, as wide as `channels`, each with `context_s` before its first frame and as much after.

    `clock`: the target whose frames places count, at `rate` Hz; None: a window begins with its item and lasts
    `length_s`. Memory that cutting from files takes is given back now and then.
    """

    def __init__(
        self,
        items: Sequence[Item],
        channels: int,
        context_s: float,
        *,
        clock: str | None,
        rate: float | None,
        length_s: float,
    ) -> None:
        self.channels, self.context_s, self.length_s = channels, context_s, length_s
        self.rate = rate if clock is not None else None
        self._clocks = [_clock(item, clock) for item in items]
        self._residents = Residents(
            array for item in items for array in (item.brain.data, *item.targets.values()) if array is not None
        )

    def windows(self, places: Places) -> tuple[Array, Array]:
        """Return (batch, channels, samples) float32, and the mask (batch, channels) of channels that are there.

        Outside its stretch a window repeats the stretch's edge.
        """
        samples = self._samples(places)
        x = np.empty((len(places), self.channels, samples), np.float32)
        mask = np.zeros((len(places), self.channels), bool)
        frame_rate = self.rate or 1.0
        for row, (number, frame, _) in enumerate(places.rows()):
            data, begins, scale, origin, rate = self._clocks[number]
            start = round((begins + frame / frame_rate * scale - self.context_s - origin) * rate)
            channels, total = data.shape
            x[row, channels:] = 0.0
            if start >= 0 and start + samples <= total:
                x[row, :channels] = data[:, start : start + samples]
            else:
                _copy(data, start, x[row, :channels])
            mask[row, :channels] = True
            if self._residents.large:
                self._residents.count(channels, x[row].nbytes)
        return x, mask

    def _samples(self, places: Places) -> int:
        """Return how long the windows are, in samples."""
        brain_rate = self._clocks[int(places.item[0])][-1]
        length = self.length_s if self.rate is None else int(places.count[0]) / self.rate
        return max(1, math.ceil(round((length + 2 * self.context_s) * brain_rate, 6)))


def positions_of(items: Sequence[Item], channels: int) -> Array:
    """Return where the sensors of each item are, (items, channels, 3) float32, NaN where nobody knows."""
    out = np.full((len(items), channels, 3), np.nan, np.float32)
    for row, item in enumerate(items):
        known = item.recording.positions
        if known is not None and len(known) == item.brain.data.shape[0]:
            out[row, : len(known)] = known
    return out


def _clock(item: Item, clock: str | None) -> tuple[Array, float, float, float, float]:
    """Return an item's brain, when its first frame is (s), its scale, the brain's origin (s) and rate (Hz)."""
    begins = item.trial.start + (item.first_s[clock] if clock is not None else 0.0)
    data = item.brain.data
    if isinstance(data, np.ndarray):
        data = np.asarray(data)  # a view: slicing a memmap itself costs more than the copy
    return data, begins, item.scale, item.brain.origin, item.brain.rate or 1.0


def _copy(data: Array, start: int, out: Array) -> None:
    """Copy data[:, start : start + samples] into `out`, repeating the edges outside."""
    samples, total = out.shape[-1], data.shape[-1]
    low, high = max(0, start), min(total, start + samples)
    if high <= low:
        out[:] = data[:, :1] if start + samples <= 0 else data[:, -1:]
        return
    out[:, low - start : high - start] = data[:, low:high]
    if low > start:
        out[:, : low - start] = data[:, low : low + 1]
    if high < start + samples:
        out[:, high - start :] = data[:, high - 1 : high]
