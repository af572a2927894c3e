"""Overlap-add: windows that arrive in order become one stretch, without seams and without stretching time."""

from __future__ import annotations

import numpy as np

from braindecode_hub.types import Array


class Overlap:
    """Adds windows with triangular weights; `take` hands on the frames that no later window reaches, and forgets them.

    `frames`: how many there are in all; 0: static, one value that is the mean over windows. `example`: one window.
    """

    def __init__(self, frames: int, example: Array) -> None:
        self.frames = frames
        self.first = 0
        shape = (len(example), *example.shape[1:]) if frames else example.shape
        self._sum = np.zeros(shape, np.float64)
        self._weight = np.zeros((len(example),) + (1,) * (example.ndim - 1) if frames else (), np.float64)

    def add(self, value: Array, start: int) -> None:
        """Add one window (frames, …) that begins at frame `start`; what reaches beyond the last frame is left out."""
        if not self.frames:
            self._sum += value
            self._weight += 1.0
            return
        count = min(len(value), self.frames - start)
        ramp = np.minimum(np.arange(1, len(value) + 1), np.arange(len(value), 0, -1)).astype(np.float64)[:count]
        ramp = ramp.reshape((-1,) + (1,) * (self._sum.ndim - 1))
        low = start - self.first
        self._reach(low + count)
        self._sum[low : low + count] += value[:count] * ramp
        self._weight[low : low + count] += ramp

    def take(self, until: int | None) -> tuple[int, Array]:
        """Return (first frame, values float32) of what lies before frame `until`, or of all that is left."""
        if not self.frames:
            return 0, _divided(self._sum, self._weight) if until is None else np.zeros(0, np.float32)
        first, count = self.first, (self.frames if until is None else min(until, self.frames)) - self.first
        self._reach(count)
        done = _divided(self._sum[:count], self._weight[:count])
        self._sum, self._weight = self._sum[count:].copy(), self._weight[count:].copy()
        self.first += count
        return first, done

    def _reach(self, length: int) -> None:
        missing = length - len(self._sum)
        if missing > 0:
            self._sum = np.concatenate([self._sum, np.zeros((missing, *self._sum.shape[1:]))])
            self._weight = np.concatenate([self._weight, np.zeros((missing, *self._weight.shape[1:]))])


def _divided(total: Array, weight: Array) -> Array:
    return (total / np.maximum(weight, 1e-12)).astype(np.float32)
