"""The ear of the phantom: gammatone filters, compression, adaptation. What it returns drives the model brain.

It shares nothing with any target encoder: no short-time spectrum, no mel filter, no logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braindecode_hub.phantom.noise import Complexes, Floats, Reals, cross_spectrum

COMPRESSION = 0.3
"""Exponent of the basilar membrane's input-output curve (0.2 to 0.4; Oxenham & Plack 1997, JASA 101:3666)."""

ADAPTED = 0.7
"""Share of the running mean that is subtracted: a held tone keeps 0.3 of its onset. Our choice."""

THRESHOLD = 1e-4
"""Envelopes below it (-80 dB of full scale) are not heard, so silence gives exact zeros. Our choice."""

_CHUNK, _MARGIN, _OVERSAMPLED = 8, 1, 32


@dataclass(frozen=True)
class DriveStatistics:
    """What an observer may know of the drives in general: `mean`, `sd` (bands,), in the drives' own units.

    `spectrum` (taps // 2 + 1, bands, bands): cross-spectrum of the drives after z-scoring, at `frame_rate`
    Hz.
    """

    mean: Reals
    sd: Reals
    spectrum: Complexes
    frame_rate: float

    @property
    def taps(self) -> int:
        """Length in frames of the windows that `spectrum` was measured in."""
        return int(2 * (self.spectrum.shape[0] - 1))

    @property
    def covariance(self) -> Reals:
        """Covariance (bands, bands) of the z-scored drives: the mean of `spectrum` over both signs of
        frequency.
        """
        both = 2 * self.spectrum.real.sum(axis=0) - self.spectrum[0].real - self.spectrum[-1].real
        return np.asarray(both / self.taps)

    def zscore(self, drives: NDArray[Any]) -> Reals:
        """Return drives (bands, frames) minus the mean, over the SD."""
        return np.asarray((drives - self.mean[:, None]) / self.sd[:, None])

    def unscore(self, z: Reals) -> Reals:
        """Undo `zscore`."""
        return z * self.sd[:, None] + self.mean[:, None]


def drive_statistics(drives: NDArray[Any], frame_rate: float, *, taps: int = 256) -> DriveStatistics:
    """Measure the statistics of drives (bands, frames); a corpus is concatenated along the frames.

    A band that never moves gets an SD of 1. Raises ValueError for fewer than `taps` frames.
    """
    mean = drives.mean(axis=1, dtype=float)
    spread = drives.std(axis=1, dtype=float)
    sd = np.where(spread > 1e-9, spread, 1.0)
    spectrum = cross_spectrum((drives - mean[:, None]) / sd[:, None], taps)
    return DriveStatistics(mean, sd, spectrum, frame_rate)


def erb(freq: Reals) -> Reals:
    """Return the equivalent rectangular bandwidth in Hz at `freq` Hz (Glasberg & Moore 1990, Hear. Res.
    47:103).
    """
    return 24.7 * (4.37e-3 * freq + 1)


def erb_space(low: float, high: float, bands: int) -> Reals:
    """Return `bands` centre frequencies in Hz, equally spaced on the ERB-rate scale (Glasberg & Moore
    1990).
    """
    ends = 21.4 * np.log10(1 + 4.37e-3 * np.array([low, high]))
    return np.asarray((10 ** (np.linspace(ends[0], ends[1], bands) / 21.4) - 1) / 4.37e-3)


def cochleagram(
    audio: NDArray[Any],
    rate: float,
    *,
    bands: int = 16,
    low: float = 80.0,
    high: float = 7000.0,
    frame_rate: float = 100.0,
) -> Floats:
    """Return the drives (bands, frames), float32 ≥ 0, of audio (samples,) in [-1, 1] at `rate` Hz.

    Gammatone filters of order 4 (Patterson et al. 1992; Slaney 1993, Apple TR 35), their Hilbert envelope,
    power 0.3, then adaptation to the recent mean of each band. Frame k belongs to the time k /
    `frame_rate`; there are ceil(samples · frame_rate / rate) of them. Silence gives 0, so gaps may be
    filled with zeros; a sound card whose clock is off is given by its true `rate`, which need not be whole.
    Raises ValueError for audio that is not one channel, or a `high` whose filter does not fit below the
    Nyquist frequency.
    """
    if audio.ndim != 1:
        raise ValueError(f"audio is (samples,), not {audio.shape}")
    if not 0 < low < high <= 0.95 * rate / 2:
        raise ValueError(f"filters from {low:g} to {high:g} Hz do not fit audio at {rate:g} Hz")
    centres = erb_space(low, high, bands)
    frames = int(np.ceil(round(audio.size * frame_rate / rate, 6)))
    compressed = np.zeros((bands, frames), np.float32)
    per_chunk = round(_CHUNK * frame_rate)
    for first in range(0, frames, per_chunk):
        part = compressed[:, first : first + per_chunk]
        part[:] = _compressed(audio, rate, first / frame_rate, centres, frame_rate)[:, : part.shape[1]]
    return adapted(compressed, centres, frame_rate)


def adapted(compressed: Floats, centres: Reals, frame_rate: float) -> Floats:
    """Subtract from each band (bands, frames) a share of its running mean, and keep what is positive.

    The time constant falls from 0.30 s at 80 Hz to 0.10 s at 7 kHz (Willmore et al. 2016, J. Neurosci.
    36:280).
    """
    from scipy import signal

    out = np.empty_like(compressed)
    for row, band, centre in zip(out, compressed, centres, strict=True):
        kept = np.exp(-1 / (frame_rate * (0.5 - 0.105 * np.log10(centre))))
        recent = signal.lfilter([0.0, 1 - kept], [1.0, -kept], band)
        row[:] = np.maximum(band - ADAPTED * recent, 0)
    return out


def _compressed(audio: NDArray[Any], rate: float, start: float, centres: Reals, frame_rate: float) -> Floats:
    """Return one chunk of frames from `start` seconds on: compressed envelopes (bands, _CHUNK · frame_rate).

    Of every filter only the bins around its centre are transformed back: that is its complex envelope, at a
    rate that is enough for its bandwidth.
    """
    from scipy import fft, signal

    seconds = _CHUNK + 2 * _MARGIN
    spectrum = fft.rfft(_cut(audio, round((start - _MARGIN) * rate), round(seconds * rate)))
    size = round(seconds * _OVERSAMPLED * frame_rate)
    out = np.empty((centres.size, size), np.float32)
    for row, centre in zip(out, centres, strict=True):
        first = round(centre * seconds) - size // 2
        bins = np.arange(max(first, 0), min(first + size, spectrum.size))
        response = (1 + 1j * (bins / seconds - centre) / (1.019 * erb(centre))) ** -4
        around = np.zeros(size, np.complex64)
        around[bins - bins[0]] = spectrum[bins] * response.astype(np.complex64)
        row[:] = np.abs(fft.ifft(around, overwrite_x=True)) * np.float32(2 * size / (seconds * rate))
    smooth = np.hanning(2 * _OVERSAMPLED + 1).astype(np.float32) / _OVERSAMPLED
    loud = np.maximum(out**COMPRESSION - np.float32(THRESHOLD**COMPRESSION), 0)
    frames = signal.upfirdn(smooth, loud, down=_OVERSAMPLED, axis=1)
    skipped = round(_MARGIN * frame_rate) + 1
    return np.asarray(frames[:, skipped : skipped + round(_CHUNK * frame_rate)], np.float32)


def _cut(audio: NDArray[Any], first: int, size: int) -> Floats:
    """Return `size` samples from `first` on, zeros where there is no audio."""
    out = np.zeros(size, np.float32)
    start, stop = max(first, 0), min(first + size, audio.size)
    if start < stop:
        out[start - first : stop - first] = audio[start:stop]
    return out
