"""Is the sound itself in the electrodes? Microphonic pick-up, cross-talk and loudspeaker fields look like decoding.

After Roussel et al. 2020 (J. Neural Eng. 17:056028): where sound is coupled in, a channel's spectrogram follows the
sound's *at the same frequency*. A brain that hears follows loudness, in bands of its own, so that its high gamma goes
with the sound's neighbouring frequencies just as well. What is measured here is the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braindecode_hub.types import Array

WINDOW_S, HOP_S = 0.2, 0.05
LOW_HZ, HIGH_HZ = 60.0, 1000.0
ASIDE = (4, 8)
"""Bins (of 5 Hz) by which the frequencies differ that a channel is compared with: 20 to 40 Hz to both sides."""

SLACK_S = 0.1
"""Brain and sound may be misaligned by so much."""

DRAWS = 999
SHORTEST_S = 4.0


@dataclass(frozen=True)
class Coupling:
    """The result: (channels,) `index` (mean r at its frequency minus that beside it), `p` over channels and shifts.

    `p` is corrected for looking at all channels (the largest index of each draw); `level`: the index that 1 draw in
    100 exceeds somewhere; `seconds` looked at; `low`, `high`: Hz.
    """

    index: Array
    p: Array
    level: float
    seconds: float
    low: float
    high: float


class Contamination:
    """Feed it stretches of brain and the sound that was heard meanwhile; `result` draws the null by circular shifts."""

    def __init__(self, channels: int, rate: float) -> None:
        self.channels, self.rate = channels, rate
        self.seconds, self.high = 0.0, LOW_HZ
        self._found: list[Array] = []

    def add(self, brain: Array, sound: Array, sound_rate: float, usable: Array) -> None:
        """Take (channels, samples) and the sound (samples,) of the same seconds; silent or short ones are passed over.

        `usable`: (channels,) bool; other channels count as 0 in this stretch.
        """
        seconds = min(brain.shape[1] / self.rate, len(sound) / sound_rate)
        bins = _bins(min(self.rate, sound_rate))
        if seconds < SHORTEST_S or len(bins) <= 2 * ASIDE[1] or not np.any(sound):
            return
        heard = _amplitudes(np.asarray(sound, np.float64)[None], sound_rate, seconds, bins)[0]
        contrast = _contrast(_standard(heard))
        kept = slice(ASIDE[1], len(bins) - ASIDE[1])
        frames = heard.shape[1]
        there = np.conj(np.fft.rfft(contrast, axis=-1))
        out = np.zeros((self.channels, frames), np.float32)
        for channel in np.flatnonzero(usable):
            own = _amplitudes(np.asarray(brain[channel], np.float64)[None], self.rate, seconds, bins[kept])[0]
            product = (np.fft.rfft(_standard(own), axis=-1) * there).sum(axis=0)
            out[channel] = np.fft.irfft(product, frames) / (frames * contrast.shape[0])
        self._found.append(out)
        self.seconds += seconds
        self.high = float(bins[kept][-1])

    def result(self, rng: np.random.Generator) -> Coupling | None:
        """Return index and p of every channel; None if no stretch could be used."""
        if not self._found:
            return None
        slack = round(SLACK_S / HOP_S)
        reach = np.arange(-slack, slack + 1)
        observed = _around(self._found, [0] * len(self._found), reach)
        drawn = np.empty((DRAWS, self.channels))
        for row in drawn:
            shifts = [_shift(rng, one.shape[1]) for one in self._found]
            row[:] = _around(self._found, shifts, reach)
        largest = drawn.max(axis=1)
        p = (1 + (largest[:, None] >= observed).sum(axis=0)) / (DRAWS + 1)
        level = float(np.quantile(largest, 0.99))
        return Coupling(observed, p, level, self.seconds, float(LOW_HZ + 5 * ASIDE[1]), self.high)


def _bins(rate: float) -> Array:
    """Return the frequencies in Hz, 5 apart, that both signals have."""
    return np.arange(LOW_HZ, min(HIGH_HZ, 0.45 * rate), 1 / WINDOW_S)


def _amplitudes(x: Array, rate: float, seconds: float, freqs: Array) -> Array:
    """Return (channels, freqs, frames): the amplitude at each frequency in Hann windows of 0.2 s, every 0.05 s."""
    length = round(WINDOW_S * rate)
    frames = int((seconds - WINDOW_S) / HOP_S)
    starts = np.rint(np.arange(frames) * HOP_S * rate).astype(int)
    pieces = np.stack([x[:, start : start + length] for start in starts], axis=1) * np.hanning(length)
    at = np.rint(freqs * length / rate).astype(int)
    return np.asarray(np.abs(np.fft.rfft(pieces, axis=-1)[..., at]).transpose(0, 2, 1))


def _standard(x: Array) -> Array:
    """Return (…, frames) with mean 0 and SD 1 over frames; a constant becomes 0."""
    centred = x - x.mean(axis=-1, keepdims=True)
    sd = centred.std(axis=-1, keepdims=True)
    return np.asarray(np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 0))


def _contrast(z: Array) -> Array:
    """Return z (freqs, frames) minus the mean of the frequencies beside it, without the outermost ones."""
    near, far = ASIDE
    count = len(z) - 2 * far
    beside = [z[far + s * d : far + s * d + count] for d in range(near, far + 1) for s in (-1, 1)]
    return np.asarray(z[far : far + count] - np.mean(beside, axis=0))


def _shift(rng: np.random.Generator, frames: int) -> int:
    """Draw a circular shift of at least 1 s, and of at most all but 1 s."""
    least = round(1.0 / HOP_S)
    return int(rng.integers(least, max(least + 1, frames - least)))


def _around(found: list[Array], shifts: list[int], reach: Array) -> Array:
    """Return (channels,): the largest mean over stretches within `reach` frames of those shifts."""
    total = sum(one[:, (shift + reach) % one.shape[1]] for one, shift in zip(found, shifts, strict=True))
    return np.asarray(total).max(axis=1) / len(found)
