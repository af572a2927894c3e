"""A prediction on a circle: its correlation with a stretch of target placed at every frame, by FFT."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from braindecode_hub.lazy import row_blocks
from braindecode_hub.metrics import CONSTANT, Array, Bools, Rows, standardised

FAINT = 1e-9  # windows below this share of the energy are too faint for sums over all of it


class Circle:
    """The prediction on a circle, ready to be correlated with a unit placed at any frame.

    Windows are named by the frame where they start. Sums over a window come from FFTs; where the
    window holds too little of the bin's energy for their precision, the stretch is taken alone.
    """

    def __init__(self, predicted: Array, length: int, *, inner: bool = False) -> None:
        finite = np.isfinite(predicted)
        wave = np.where(finite, predicted, 0.0).T  # (bins, frames)
        peak = np.abs(wave).max(axis=1, keepdims=True)
        self.raw = wave / np.where(peak > 0, peak, 1.0)
        self.frames, self.length, self.inner = len(predicted), length, inner
        fast = fft.next_fast_len(self.frames, real=True)
        self.size = fast if fast == self.frames else fft.next_fast_len(self.frames + length, real=True)
        self.flat = _flat_windows(self.raw, length)
        centred = self.raw - self.raw.mean(axis=1, keepdims=True)
        self.energy = np.einsum("bf,bf->b", centred, centred)[:, None]
        self.spectrum = self._spectrum(centred)
        self.square = self._spectrum(centred**2)
        self.broken = None if finite.all() else self._spectrum(1.0 - finite.T)
        self.counted: Bools | None = None

    def scores(self, wave: Array, counted: Bools, scored: Bools) -> Array:
        """Sum over bins of wave (bins, length) times the standardised window: (frames,)."""
        if self.counted is None or not np.array_equal(self.counted, counted):
            self.counted, (self.scale, self.faint) = counted, self._norms(counted)
        r = self._slide(wave, self.spectrum) * self.scale
        for row in np.flatnonzero(scored & self.faint.any(axis=1)):
            starts = np.flatnonzero(self.faint[row])
            for run in np.split(starts, np.flatnonzero(np.diff(starts) > 1) + 1):
                r[row, run] = self._closer(row, run, wave[row])
        return np.asarray(r.sum(axis=0))

    def _norms(self, counted: Bools) -> tuple[Array, Bools]:
        """1 / norm of every centred window (0: no score), and which windows are faint."""
        ones = counted[None].astype(np.float64)
        n = max(1, int(counted.sum()))
        energy = self._slide(ones, self.square) - self._slide(ones, self.spectrum) ** 2 / n
        broken = np.zeros(energy.shape, dtype=np.bool_)
        if self.broken is not None:
            broken = self._slide(ones, self.broken) > 0.5
        none = self.flat | broken
        faint = ~none & (energy <= np.maximum(FAINT * self.energy, n * CONSTANT**2))
        usable = ~none & ~faint
        return np.where(usable, 1.0 / np.sqrt(np.where(usable, energy, 1.0)), 0.0), faint

    def _closer(self, row: np.intp, run: Rows, wave: Array) -> Array:
        """R of neighbouring faint windows: by FFT of their stretch alone, and at last one by one."""
        assert self.counted is not None
        stretch = self.raw[row, np.arange(run[0], run[-1] + self.length) % self.frames]
        if not self.inner and run.size > 1:
            alone = Circle(stretch[:, None], self.length, inner=True)
            return alone.scores(wave[None], self.counted, np.ones(1, dtype=np.bool_))[: run.size]
        windows = np.lib.stride_tricks.sliding_window_view(stretch, self.length)[:, :, None]
        r = np.empty(run.size)
        for rows in row_blocks(run.size, self.length):
            counted = np.broadcast_to(self.counted[:, None], windows[rows].shape)
            r[rows] = standardised(windows[rows], counted)[0][:, :, 0] @ wave
        return r

    def _spectrum(self, x: Array) -> npt.NDArray[np.complex128]:
        extended = x if self.size == self.frames else x[:, np.arange(self.size) % self.frames]
        return np.asarray(fft.rfft(extended, axis=1))

    def _slide(self, pattern: Array, spectrum: npt.NDArray[np.complex128]) -> Array:
        """Sum of pattern (bins or 1, length) times every window: (bins, frames)."""
        product = np.conj(fft.rfft(pattern, n=self.size, axis=1)) * spectrum
        return np.asarray(fft.irfft(product, n=self.size, axis=1)[:, : self.frames])


def _flat_windows(x: Array, length: int) -> Bools:
    """Which circular windows of x (bins, frames) are constant, by `standardised`'s rule.

    Extremes come from windows twice as long at each pass; no flat short one, no flat long one.
    """
    high, low, flat = x, x, np.ones(x.shape, dtype=np.bool_)
    size = 1
    while size < length and flat.any():
        hop = min(size, length - size)
        high = np.maximum(high, np.roll(high, -hop, axis=1))
        low = np.minimum(low, np.roll(low, -hop, axis=1))
        flat = high - low <= CONSTANT * np.maximum(np.abs(high), np.abs(low))
        size += hop
    return flat
