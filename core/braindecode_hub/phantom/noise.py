"""What is in a recording besides the answer: 1/f background, line, drift, bad contacts; and the Wiener
filter.

Every maker takes (n_channels, n_samples, rate, rng) and returns float32 (n_channels, n_samples) with an
expected SD of 1, unless it says otherwise; the models multiply by volts. All noise is stationary Gaussian,
drawn bin by bin in the Fourier domain (Timmer & König 1995, Astron. Astrophys. 300:707), so a minute costs
milliseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]
Complexes = NDArray[np.complex128]


def pink(
    n_channels: int,
    n_samples: int,
    rate: float,
    rng: np.random.Generator,
    *,
    exponent: float | Reals = 2.0,
    low: float = 0.5,
    high: float = np.inf,
    mixing: Reals | None = None,
) -> Floats:
    """Return noise whose power falls as 1 / f ** `exponent` from `low` to `high` Hz and is flat below `low`.

    `exponent`: one, or (n_channels,). `mixing` (n_channels, n_channels), rows of unit norm, makes channels
    share it: see `along_shaft`. Cortical recordings show exponents of 2 to 4 (Miller et al. 2009, PLoS
    Comput. Biol. 5:e1000609).
    """
    freqs = _freqs(n_samples, rate)
    steepness = np.broadcast_to(np.asarray(exponent, float), (n_channels,))[:, None]
    amplitude = np.maximum(freqs, low)[None] ** (-steepness / 2)
    amplitude[:, (freqs == 0) | (freqs > high)] = 0.0
    return _shaped(amplitude, n_channels, n_samples, 0, rng, mixing)


def band(n_channels: int, n_samples: int, rate: float, rng: np.random.Generator, *, low: float, high: float) -> Floats:
    """Return noise that is flat between `low` and `high` Hz and nothing elsewhere.

    Raises ValueError for a band that is empty or above the Nyquist frequency.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"no band from {low:g} to {high:g} Hz at {rate:g} Hz")
    inside = np.flatnonzero((_freqs(n_samples, rate) >= low) & (_freqs(n_samples, rate) <= high))
    if not inside.size:
        return np.zeros((n_channels, n_samples), np.float32)
    return _shaped(np.ones((1, inside.size)), n_channels, n_samples, int(inside[0]), rng)


def drift(n_channels: int, n_samples: int, rate: float, rng: np.random.Generator, *, period: float = 10.0) -> Floats:
    """Return the slow wander of electrodes: power 1 / f² at periods of `period` seconds and longer only."""
    freqs = _freqs(n_samples, rate)
    slow = freqs[(freqs > 0) & (freqs <= 1 / period)]
    if not slow.size:
        return np.zeros((n_channels, n_samples), np.float32)
    return _shaped(1 / slow[None], n_channels, n_samples, 1, rng)


def line(
    n_channels: int,
    n_samples: int,
    rate: float,
    rng: np.random.Generator,
    *,
    freq: float = 50.0,
    harmonics: int | None = None,
) -> Floats:
    """Return mains hum at `freq` Hz and its harmonics below the Nyquist frequency (or the first `harmonics`).

    The fundamental has an expected SD of 1, harmonic h of 1 / h. Amplitude (10 %) and phase (0.3 rad, so
    the peak stays sharp) wander over tens of seconds, together in all channels, as mains does; every
    channel picks it up with its own gain and phase.
    """
    highest = int(np.ceil(rate / 2 / freq)) - 1
    count = highest if harmonics is None else min(harmonics, highest)
    time = np.arange(n_samples) / rate
    out = np.zeros((n_channels, n_samples), np.float32)
    for h in range(1, count + 1):
        phase, level = drift(2, n_samples, rate, rng)
        wave = (1 + 0.1 * level) * np.exp(1j * (2 * np.pi * h * freq * time + 0.3 * phase))
        pickup = np.exp(0.4 * rng.standard_normal(n_channels) - 0.16)
        turned = np.exp(1j * rng.normal(rng.uniform(0, 2 * np.pi), 0.3, n_channels))
        wave = wave.astype(np.complex64)
        for channel, gain in zip(out, np.sqrt(2) / h * pickup * turned, strict=True):
            channel += np.float32(gain.real) * wave.real - np.float32(gain.imag) * wave.imag
    return out


def bad(n_channels: int, n_samples: int, rate: float, rng: np.random.Generator) -> Floats:
    """Return broken contacts: the first exactly flat (zeros), the next very noisy, and so on in turns.

    A noisy one is white noise with steps of its level every 10 s or so (a loose plug).
    """
    out = np.zeros((n_channels, n_samples), np.float32)
    for channel in out[1::2]:
        jumps = rng.random(n_samples, dtype=np.float32) < 1 / (10 * rate)
        steps = np.cumsum(jumps * rng.standard_normal(n_samples, dtype=np.float32))
        channel[:] = rng.standard_normal(n_samples, dtype=np.float32) + steps - steps.mean()
    return out


def along_shaft(positions: Reals, length: float = 0.007) -> Reals:
    """Return the mixing that makes the correlation of neighbours exp(-distance / `length`).

    `positions` (contacts, 3) and `length` in metres; the result (contacts, contacts) is lower triangular.
    """
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return np.asarray(np.linalg.cholesky(np.exp(-distance / length)))


def ln_band_power(
    x: Reals, rate: float, frame_rate: float, band: tuple[float, float], *, avoid: float, window: float
) -> Reals:
    """Return ln power in `band` (Hz) of one channel x (samples,): (round(samples · frame_rate / rate),).

    Leaves out 2 Hz to each side of the harmonics of `avoid` Hz; smooths power by a Hann window of `window`
    seconds.
    """
    from scipy import fft, signal

    seconds = int(np.ceil(x.size / rate)) + 1
    spectrum = fft.rfft(x, round(seconds * rate))
    freqs = np.arange(spectrum.size) / seconds
    inside = (freqs >= band[0]) & (freqs <= band[1])
    used = np.flatnonzero(inside & (np.abs(freqs - avoid * np.round(freqs / avoid)) > 2))
    shifted = np.zeros(round(4 * frame_rate * seconds), np.complex128)
    shifted[used - np.flatnonzero(inside)[0]] = spectrum[used]
    power = np.abs(fft.ifft(shifted)) ** 2
    weights = np.hanning(round(window * 4 * frame_rate) + 1)
    smooth = signal.fftconvolve(power, weights / weights.sum(), mode="same")[::4]
    return np.asarray(np.log(np.maximum(smooth[: round(x.size * frame_rate / rate)], 1e-30)))


def hann_response(freqs: Reals, window: float) -> Reals:
    """Return what a Hann window of `window` seconds leaves of modulations at `freqs` Hz."""
    at = freqs * window
    return np.asarray(np.sinc(at) + 0.5 * np.sinc(at - 1) + 0.5 * np.sinc(at + 1))


def cross_spectrum(x: NDArray[Any], taps: int) -> Complexes:
    """Return the cross-spectrum of x (channels, frames) by Welch's method: (taps // 2 + 1, channels,
    channels).

    Hann windows of `taps` frames, half overlapping; scaled so that the mean over all `taps` bins is the
    covariance. Raises ValueError when x is shorter than one window.
    """
    if x.shape[1] < taps:
        raise ValueError(f"{x.shape[1]} frames are fewer than the {taps} of one window")
    window = np.hanning(taps + 1)[:-1]
    window /= np.sqrt((window**2).mean())
    centred = x - x.mean(axis=1, keepdims=True)
    pieces = np.lib.stride_tricks.sliding_window_view(centred, taps, axis=1)[:, :: taps // 2]
    bins = np.fft.rfft(pieces * window, axis=-1).transpose(2, 0, 1)
    return np.asarray(bins @ bins.conj().swapaxes(1, 2) / (taps * pieces.shape[1]))


def wiener(transfer: Complexes, signal: Complexes, noise: Complexes) -> Complexes:
    """Return the filter (freqs, sources, channels) with the least squared error at every frequency.

    Channels = `transfer` (freqs, channels, sources) · sources + noise; `signal` (freqs, sources, sources) and
    `noise` (freqs, channels, channels) are cross-spectra (Wiener 1949; Kay 1993, Statistical Signal
    Processing I).
    """
    reach = transfer @ signal
    total = reach @ transfer.conj().swapaxes(1, 2) + noise
    return np.asarray(np.linalg.solve(total, reach).conj().swapaxes(1, 2))


def filtered(kernel: Complexes, x: NDArray[Any]) -> Reals:
    """Apply a non-causal filter (freqs, sources, channels) to x (channels, frames): (sources, frames).

    The filter's `2 * (freqs - 1)` taps are centred on lag 0 and tapered; x is padded, so nothing wraps round.
    """
    from scipy import fft

    taps = 2 * (kernel.shape[0] - 1)
    impulse = np.roll(np.fft.irfft(kernel, taps, axis=0), taps // 2, axis=0)
    impulse *= np.hanning(taps + 1)[:-1, None, None] ** 0.25
    size = fft.next_fast_len(x.shape[1] + taps, real=True)
    spectrum = fft.rfft(x, size, axis=1)
    out = np.empty((kernel.shape[1], x.shape[1]))
    for source, row in enumerate(out):
        response = fft.rfft(impulse[:, source].T, size, axis=1)
        whole = fft.irfft((response * spectrum).sum(axis=0), size)
        row[:] = whole[taps // 2 : taps // 2 + x.shape[1]]
    return out


def _freqs(n_samples: int, rate: float) -> Reals:
    from scipy import fft

    size = fft.next_fast_len(max(n_samples, 1), real=True)
    return np.fft.rfftfreq(size, 1 / rate)


def _shaped(
    amplitude: NDArray[Any],
    n_channels: int,
    n_samples: int,
    first: int,
    rng: np.random.Generator,
    mixing: Reals | None = None,
) -> Floats:
    """Give the bins from `first` on random normal values times `amplitude` (1 or n_channels, bins)."""
    from scipy import fft

    size = fft.next_fast_len(max(n_samples, 1), real=True)
    bins = np.zeros((n_channels, size // 2 + 1), np.complex64)
    inside = bins[:, first : first + amplitude.shape[1]]
    inside.real = rng.standard_normal(inside.shape, dtype=np.float32)
    inside.imag = rng.standard_normal(inside.shape, dtype=np.float32)
    if mixing is not None:
        inside[:] = mixing.astype(np.float32) @ inside
    power = 4 * (np.asarray(amplitude, float) ** 2).sum(axis=1, keepdims=True)
    scale = np.divide(size, np.sqrt(power), out=np.zeros_like(power), where=power > 0)
    inside *= (amplitude * scale).astype(np.float32)
    return np.asarray(fft.irfft(bins, size, axis=1, overwrite_x=True)[:, :n_samples])
