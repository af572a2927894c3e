"""High-gamma envelopes of depth electrodes, 70-170 Hz: the part of the local field that follows speech.

Two recipes. The default is a linear-phase analytic band-pass of one second with the line's harmonics cut out:
what it makes of a moment depends on half a second to either side and on nothing else, so no test sample
reaches training. `legacy` repeats the recipe of Kohler et al. 2022: zero-phase filters and a Hilbert
transform over the whole signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import scipy.signal

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Recording, Space
from braindecode_hub_audio_seeg.bandpass import (
    KERNEL_S,
    REACH,
    averages,
    band_kernel,
    band_power,
    check_band,
    flat,
    frame_samples,
)
from braindecode_hub_audio_seeg.referencing import Reference

GROUP = 8
"""Channels filtered at once: bounds memory on long recordings."""


def high_gamma_envelope(
    x: Array,
    rate: float,
    *,
    legacy: bool = False,
    low: float = 70.0,
    high: float = 170.0,
    line_freq: float = 50.0,
) -> Array:
    """Return the amplitude of `low` to `high` Hz in x (channels, time) at `rate` Hz: same shape and units.

    A sine of amplitude 1 in the band gives 1. float32; harmonics of `line_freq` (0: none) are cut out, edges
    are reflected. With `legacy` (Kohler et al. 2022; band and line frequencies fixed at 70-170, 50 and 100
    Hz): float64, as their figures describe it, 150 Hz left in. Raises HubError for NaN, or a rate of no more
    than twice `high`.
    """
    x = checked(x)
    if legacy:
        return legacy_envelope(x, rate)
    kernel = band_kernel(rate, low, high, line_freq)
    out = np.empty(x.shape, np.float32)
    for rows in groups(len(x)):
        out[rows] = np.sqrt(band_power(x[rows], kernel))
    return out


def legacy_envelope(x: Array, rate: float) -> Array:
    """Return the envelope of x (channels, time) by the recipe of 2022: float64, all samples on each other.

    Elliptic band-stops of order 8 (rp 0.5 dB, rs 60 dB) at 50 and 100 ± 0.5 Hz, Butterworth band-pass of
    order 8, 70-170 Hz, all forwards and backwards; then the magnitude of the analytic signal. Raises HubError
    if too short.
    """
    check_band(rate, 70.0, 170.0)
    stops = [(mid - 0.5, mid + 0.5) for mid in (50.0, 100.0)]
    filters = [scipy.signal.ellip(8, 0.5, 60.0, stop, btype="bandstop", output="sos", fs=rate) for stop in stops]
    filters.append(scipy.signal.butter(8, (70.0, 170.0), btype="bandpass", output="sos", fs=rate))
    shortest = 1 + 3 * (2 * max(len(sos) for sos in filters) + 1)
    if x.shape[-1] <= shortest:
        raise HubError(f"{x.shape[-1]} samples are too few for the legacy filters", f"give more than {shortest}")
    out = np.empty(x.shape, np.float64)
    for rows in groups(len(x)):
        filtered = x[rows].astype(np.float64)
        for sos in filters:
            filtered = scipy.signal.sosfiltfilt(sos, filtered, axis=-1)
        out[rows] = np.abs(scipy.signal.hilbert(filtered, axis=-1))
    return out


def checked(x: Array, rows: Sequence[int] | None = None, names: Sequence[str] = ()) -> Array:
    """Return x (channels, time) if it is real, and finite in `rows`; HubError names the first bad channel."""
    x = np.asarray(x)
    if x.ndim != 2 or x.size == 0 or x.dtype.kind not in "iufb":
        raise HubError(
            f"a signal of shape {x.shape} and type {x.dtype} is no (channels, time)",
            "give real numbers, time last",
        )
    for row in (range(len(x)) if rows is None else rows) if x.dtype.kind == "f" else ():
        if not math.isfinite(float(x[row].sum(dtype=np.float64))) and not np.isfinite(x[row]).all():
            first = int(np.flatnonzero(~np.isfinite(x[row]))[0])
            name = names[row] if row < len(names) else row
            raise HubError(
                f"channel {name} holds NaN or infinity, first at sample {first}",
                "mark it bad, or cut that stretch out",
            )
    return x


def groups(channels: int) -> Iterator[Any]:
    """Yield slices of at most GROUP channels."""
    for start in range(0, channels, GROUP):
        yield slice(start, start + GROUP)


class HighGamma(Encoder):
    """Depth electrodes become high-gamma amplitude, or its logarithm, per channel and frame.

    Frame n is at second n / `rate`: the root of the band's mean power under a Hann window of four frame
    periods, as its natural logarithm if `log`. `rate`: Hz; None: the recording's; "auto": 100, or the
    recording's if `legacy`. `log`: "auto" is no for `legacy`, which so is `high_gamma_envelope(legacy=True)`
    and nothing else. `line_freq`: Hz; None: the recording's, else 50; 0: nothing is cut out. `reference`: see
    `Reference`. Channels marked bad, and stretches where a channel stands still for 0.2 s, come out as 0: a
    floor taken from the data would carry it from test to training.
    """

    continuous = True

    def __init__(
        self,
        *,
        legacy: bool = False,
        low: float = 70.0,
        high: float = 170.0,
        rate: float | Literal["auto"] | None = "auto",
        log: bool | Literal["auto"] = "auto",
        reference: Literal["none", "car", "bipolar"] = "none",
        line_freq: float | None = None,
    ) -> None:
        self.legacy = legacy
        self.low = low
        self.high = high
        self.rate = rate
        self.log = log
        self.reference = reference
        self.line_freq = line_freq

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; None: as many as the recording has samples. HubError for a rate that is none."""
        if self.rate == "auto":
            return None if self.legacy else 100.0
        if self.rate is not None and not 0 < self.rate < math.inf:
            cause = f"audio_seeg/high_gamma: rate is {self.rate:g}"
            raise HubError(cause, "give Hz, such as 100, or null for the recording's own rate", usage=True)
        return self.rate

    @property
    def consumes(self) -> Space:
        """Raw potentials."""
        return Space("seeg", ("channels", "time"), "*")

    @property
    def produces(self) -> Space:
        """Amplitude, or its logarithm, per channel."""
        return Space("high_gamma", ("channels", "time"), self.frame_rate or "*")

    @property
    def support_s(self) -> float | None:
        """Half the band-pass and two frame periods; None with `legacy`: the whole signal."""
        if self.legacy:
            return None
        return KERNEL_S / 2 + (REACH / self.frame_rate if self.frame_rate else 0.0)

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Map (batch, channels, samples) at `batch.rate` Hz to (batch, channels, frames) float32.

        Frames are 1 + floor((samples - 1) * rate / batch.rate). `batch.recording` (or None) gives names, bad
        channels, shafts and line frequency. Raises HubError for NaN in a good channel (named), and for a
        recording too slow for the band or for `rate`.
        """
        if batch is None or not batch.rate:
            raise HubError("high gamma needs the recording's sampling rate", "give a batch whose rate is set")
        return np.stack([self._encode(signal, float(batch.rate), batch.recording) for signal in x])

    def _encode(self, x: Array, rate: float, sensors: Recording | None) -> Array:
        reference = Reference.of(self.reference, len(x), sensors)
        x = checked(x, reference.good, reference.names)
        line = self.line_freq if self.line_freq is not None else (sensors.line_freq if sensors else None)
        kernel = None if self.legacy else band_kernel(rate, self.low, self.high, 50.0 if line is None else line)
        frame_rate = self.frame_rate
        average = averages(x.shape[-1], rate, frame_rate) if frame_rate else None
        at = frame_samples(x.shape[-1], rate, frame_rate or rate)
        out = np.zeros((len(x), len(at)), np.float32)
        common = reference.common(x)
        for first in range(0, len(reference.alive), GROUP):
            rows = reference.alive[first : first + GROUP]
            signal = reference.apply(x, rows, common)
            power = legacy_envelope(signal, rate) ** 2 if kernel is None else band_power(signal, kernel)
            if average is not None:
                power = (average @ power.T).T
            still = flat(x[rows], at, rate) | flat(signal, at, rate) if kernel is not None else False
            out[rows] = np.where(still, 0.0, self._scaled(power))
        return out

    def _scaled(self, power: Array) -> Array:
        if self.log is True or (self.log == "auto" and not self.legacy):
            return 0.5 * np.log(np.maximum(power, np.finfo(np.float32).tiny))
        return np.sqrt(power)
