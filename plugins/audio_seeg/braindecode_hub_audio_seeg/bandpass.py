"""One frequency band of a signal: its analytic filter, its power, and that power's averages at another rate.

Everything here reaches a stated time to either side and no further, so a signal may be worked on in chunks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array

KERNEL_S = 1.0
"""Length of the band-pass in seconds: twice its reach."""

BETA = 6.5
"""Kaiser parameter: about 70 dB outside the band, edges 4.5 Hz wide."""

NOTCH_HZ = 2.5
"""Half the width of what is cut out around each harmonic of the line."""

REACH = 2.0
"""Half the length of the averaging window, in frame periods."""

FLAT_S = 0.1
"""A sample with this many seconds of one value to either side has no signal."""


def band_kernel(rate: float, low: float, high: float, line_freq: float = 50.0) -> Array:
    """Return the analytic (one-sided) band-pass of `low` to `high` Hz without the line: complex (taps,).

    Taps are odd in number and centred; gain 2 in the band, exactly 0 at 0 Hz. The real part is a linear-phase
    band-pass (window design, Oppenheim & Schafer), the imaginary part its Hilbert transform: convolving a
    real signal gives the band's analytic signal. Raises HubError if no band is left.
    """
    check_band(rate, low, high)
    half = int(KERNEL_S / 2 * rate)
    n = np.arange(-half, half + 1)
    window = np.kaiser(len(n), BETA)
    response = np.zeros(len(n), np.complex128)
    for start, stop in pass_bands(low, high, line_freq):
        width, middle = (stop - start) / rate, (stop + start) / 2 / rate
        response += 2.0 * width * np.sinc(n * width) * np.exp(2j * np.pi * n * middle)
    kernel = response * window
    return kernel - window * (kernel.sum() / window.sum())


def pass_bands(low: float, high: float, line_freq: float) -> list[tuple[float, float]]:
    """Return what the line's harmonics leave of `low` to `high` Hz; raises HubError if that is nothing."""
    bands, start = [], low
    for harmonic in range(1, int((high + NOTCH_HZ) / line_freq) + 1) if line_freq > 0 else ():
        middle = harmonic * line_freq
        if middle + NOTCH_HZ <= low:
            continue
        bands.append((start, min(middle - NOTCH_HZ, high)))
        start = middle + NOTCH_HZ
    bands = [(first, last) for first, last in [*bands, (start, high)] if last - first >= NOTCH_HZ]
    if not bands:
        raise HubError(
            f"nothing of {low:g}-{high:g} Hz is left beside the line's harmonics",
            "widen the band, or set line_freq: 0",
        )
    return bands


def band_power(x: Array, kernel: Array) -> Array:
    """Return the squared magnitude of x (channels, time) convolved with a complex kernel (taps,): float32.

    Edges are reflected. By overlap-save (Stockham 1966) in float64: slow potentials are a thousand times
    larger than high gamma.
    """
    half = len(kernel) // 2
    size = scipy.fft.next_fast_len(8 * len(kernel))
    step = size - 2 * half
    samples = x.shape[-1]
    tail = -samples % step
    padded = np.pad(np.pad(x.astype(np.float64), ((0, 0), (half, half)), mode="reflect"), ((0, 0), (0, tail)))
    response = scipy.fft.fft(np.roll(np.pad(kernel, (0, size - len(kernel))), -half))
    out = np.empty((len(x), samples + tail), np.float32)
    for start in range(0, samples, step):
        spectrum = scipy.fft.fft(padded[:, start : start + size], axis=-1) * response
        analytic = scipy.fft.ifft(spectrum, axis=-1, overwrite_x=True)[:, half : half + step]
        out[:, start : start + step] = analytic.real**2 + analytic.imag**2
    return out[:, :samples]


def check_band(rate: float, low: float, high: float) -> None:
    """Raise HubError unless `low` to `high` Hz can be found in a signal at `rate` Hz."""
    if not 0 < low < high:
        raise HubError(f"{low:g}-{high:g} Hz is no band", "choose 0 < low < high")
    if rate <= 2 * high:
        raise HubError(
            f"a recording at {rate:g} Hz holds nothing up to {high:g} Hz",
            f"use one at more than {2 * high:g} Hz, or lower `high`",
        )


def averages(samples: int, rate: float, frame_rate: float) -> Any:
    """Return the sparse (frames, samples) matrix that averages around each second n / frame_rate: float32.

    Weights are a Hann window of REACH frame periods to either side, summing to 1. The window's spectrum is
    zero at frame_rate / 2, so what is averaged does not alias. Raises HubError if frame_rate > rate.
    """
    if not 0 < frame_rate <= rate:
        raise HubError(
            f"no {frame_rate:g} frames per second can be made of a recording at {rate:g} Hz",
            f"set rate to {rate:g} or less",
        )
    reach = REACH * rate / frame_rate
    centres = frame_samples(samples, rate, frame_rate)
    columns = np.ceil(centres - reach).astype(np.int64)[:, None] + np.arange(int(2 * reach) + 1)
    distance = np.abs(columns - centres[:, None])
    weights = np.where(
        (distance < reach) & (columns >= 0) & (columns < samples), 1 + np.cos(np.pi * distance / reach), 0.0
    )
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    starts = np.arange(len(centres) + 1) * columns.shape[1]
    kept = (weights.ravel(), np.clip(columns, 0, samples - 1).ravel(), starts)
    return scipy.sparse.csr_array(kept, shape=(len(centres), samples))


def frame_samples(samples: int, rate: float, frame_rate: float) -> Array:
    """Return the samples, fractions too, on which frames at `frame_rate` are centred: (frames,) float64."""
    return np.arange(1 + math.floor((samples - 1) * frame_rate / rate + 1e-9)) * (rate / frame_rate)


def flat(x: Array, at: Array, rate: float) -> Array:
    """Tell where x (channels, time) keeps one value for FLAT_S around the samples `at`: (channels,
    len(at)).
    """
    changes = x[:, 1:] != x[:, :-1]
    before = np.clip(np.ceil(at - FLAT_S * rate), 0, changes.shape[1]).astype(np.int64)
    after = np.clip(np.floor(at + FLAT_S * rate), 0, changes.shape[1]).astype(np.int64)
    out = np.zeros((len(x), len(at)), np.bool_)
    for row in np.flatnonzero(~changes.all(axis=1)):
        count = np.concatenate([[0], np.cumsum(changes[row], dtype=np.int64)])
        out[row] = count[after] == count[before]
    return out
