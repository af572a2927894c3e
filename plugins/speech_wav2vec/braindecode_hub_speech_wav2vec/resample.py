"""speech_wav2vec/resample: every recording at one rate, filtered by short FIRs that reach a stated time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.signal
import scipy.sparse

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.types import Array, Batch, Recording, Space

NAME = "speech_wav2vec/resample"
PERIODS = 10
"""Half the low-pass, in periods of the output rate: its edge is 0.18 of that rate wide."""
BETA = 5.65
"""Kaiser parameter: about 60 dB outside the band (Kaiser 1974)."""
CUTOFF = 0.4
"""Default middle of the low-pass's edge, as a share of the output rate: nothing is left at half of it."""


class Resample(Encoder):
    """Brain at `rate` Hz: frame n is at second n / `rate`, behind a linear-phase low-pass and, if asked, a high-pass.

    (batch, channels, samples) → (batch, channels, frames) float32, frames = 1 + floor((samples − 1) · rate / rate in).
    `low_pass`: Hz, null: 0.4 · `rate`; `high_pass`: Hz, null: none; `high_pass_s`: how far it reaches, null: one
    period of `high_pass`. Both are windowed sincs in continuous time, so recordings of different rates come out
    alike. Channels marked bad come out as 0. `rate` is 120 in Défossez et al. 2023.
    """

    continuous = True

    def __init__(
        self,
        *,
        rate: float = 50.0,
        low_pass: float | None = None,
        high_pass: float | None = None,
        high_pass_s: float | None = None,
    ) -> None:
        self.rate = rate
        self.low_pass = low_pass
        self.high_pass = high_pass
        self.high_pass_s = high_pass_s

    @property
    def consumes(self) -> Space:
        """Any channels over time."""
        return Space("*", ("channels", "time"), "*")

    @property
    def produces(self) -> Space:
        """The same channels at `rate`."""
        return Space("brain", ("channels", "time"), float(self.rate))

    @property
    def support_s(self) -> float:
        """Half the low-pass and half the high-pass. HubError for a rate that is none."""
        if not self.rate > 0:
            raise HubError(f"{NAME}: rate is {self.rate:g}", "give Hz, such as 50", usage=True)
        return PERIODS / self.rate + self._reach()

    def encode(self, x: Array, batch: Batch | None = None) -> Array:
        """Resample x from `batch.rate` Hz. HubError for a slower recording, or filters that leave nothing."""
        if batch is None or not batch.rate:
            raise HubError(f"{NAME} needs the recording's sampling rate", "give a batch whose rate is set")
        self._check(float(batch.rate), batch.recording)
        x = np.asarray(x, np.float32)
        low = CUTOFF * self.rate if self.low_pass is None else self.low_pass
        matrix = _lowpass(x.shape[-1], float(batch.rate), self.rate, low)
        middle = np.median(x, axis=-1, keepdims=True)  # float32 keeps little beside a large offset
        flat = (x - middle).reshape(-1, x.shape[-1])
        out = np.asarray((matrix @ flat.T).T, np.float64).reshape(*x.shape[:-1], -1) + middle
        if self.high_pass:
            out = out - _slow(out, self.rate, self.high_pass, self._reach())
        if batch.recording is not None and batch.recording.bads:
            names = batch.recording.brain.channels
            bad = [number for number, name in enumerate(names[: x.shape[1]]) if name in batch.recording.bads]
            out[:, bad] = 0.0
        return out.astype(np.float32)

    def _reach(self) -> float:
        if not self.high_pass:
            return 0.0
        return 1.0 / self.high_pass if self.high_pass_s is None else self.high_pass_s

    def _check(self, rate: float, sensors: Recording | None) -> None:
        of = f"recording {sensors.id} at {rate:g} Hz" if sensors is not None else f"a recording at {rate:g} Hz"
        if not self.rate > 0 or rate < self.rate * (1 - 1e-9):
            raise HubError(
                f"{NAME}: no {self.rate:g} Hz can be made of {of} without inventing samples",
                f"give its `rate` at most {rate:g}",
                usage=True,
            )
        low = CUTOFF * self.rate if self.low_pass is None else self.low_pass
        if not (self.high_pass or 0.0) < low <= self.rate / 2 or (self.high_pass is not None and self.high_pass <= 0):
            raise HubError(
                f"{NAME}: nothing lies between high_pass {self.high_pass} and low_pass {low:g} at {self.rate:g} Hz",
                "give 0 < high_pass < low_pass <= rate / 2, or null",
                usage=True,
            )


def _lowpass(samples: int, rate: float, out_rate: float, cutoff: float) -> Any:
    """Return the sparse (frames, samples) matrix that low-passes and samples at n / out_rate; rows sum to 1."""
    reach = PERIODS * rate / out_rate
    centres = np.arange(1 + math.floor((samples - 1) * out_rate / rate + 1e-9)) * (rate / out_rate)
    columns = np.ceil(centres - reach).astype(np.int64)[:, None] + np.arange(int(2 * reach) + 1)
    distance = columns - centres[:, None]
    window = np.i0(BETA * np.sqrt(np.maximum(0.0, 1.0 - (distance / reach) ** 2)))
    inside = (np.abs(distance) <= reach) & (columns >= 0) & (columns < samples)
    weights = np.where(inside, np.sinc(2.0 * cutoff / rate * distance) * window, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    starts = np.arange(len(centres) + 1) * columns.shape[1]
    kept = (weights.ravel(), np.clip(columns, 0, samples - 1).ravel(), starts)
    return scipy.sparse.csr_array(kept, shape=(len(centres), samples))


def _slow(x: Array, rate: float, cutoff: float, reach_s: float) -> Array:
    """Return what of x (…, frames) is slower than `cutoff` Hz; edges reflected."""
    half = int(reach_s * rate)
    distance = np.arange(-half, half + 1)
    kernel = np.sinc(2.0 * cutoff / rate * distance) * np.kaiser(2 * half + 1, BETA)
    kernel /= kernel.sum()
    edges = [(0, 0)] * (x.ndim - 1) + [(half, half)]
    padded = np.pad(x, edges, mode="reflect" if x.shape[-1] > half else "edge")
    return scipy.signal.oaconvolve(padded, kernel.reshape(*[1] * (x.ndim - 1), -1), mode="valid", axes=-1)
