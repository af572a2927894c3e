"""What can be measured on a recording without any stimulus: scale, flat and clipped channels, likeness, mains.

Each measure takes stretches (channels, samples) one by one and keeps no samples, so that a recording of any length
can be looked at in bounded memory. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from braindecode_hub.types import Array

MAINS = (50.0, 60.0)
HARMONICS = 4
LINE_HZ, BESIDE_HZ = 0.75, (1.5, 5.0)
"""Hz around a harmonic that count as the line, and Hz on both sides of it that count as its neighbours."""

USUAL = 5.0
"""A channel whose SD is so many times larger or smaller than the median one's is left out of averages."""

RUN = 3
"""So many equal samples in a row, at a channel's largest or smallest value, are clipped ones."""

LEVELS = 32
"""Signals of fewer different values (spike counts, labels) stay at their largest by nature."""


class Measures:
    """All measures of one recording; `add` every stretch, then read the attributes.

    `bads`: (channels,) bool, marked bad: left out of averages; `shafts`: a name for each channel, or ().
    """

    def __init__(self, channels: int, rate: float, bads: Array, shafts: Sequence[str] = ()) -> None:
        self.rate = rate
        self.marked = np.asarray(bads, bool)
        self.groups = [np.array([name == shaft for name in shafts]) for shaft in dict.fromkeys(shafts)]
        self.stretches, self.samples = 0, 0
        self.nan, self.inf = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        self.flat = np.zeros(channels, np.int64)
        self.scales: list[Array] = []
        self.top, self.bottom = Rail(channels), Rail(channels)
        self.raw_likeness, self.car_likeness = Likeness(channels), Likeness(channels)
        self.mains = {kind: Mains(channels, rate) for kind in ("raw", "car", "shafts")}

    def add(self, x: Array) -> None:
        """Take one stretch (channels, samples), in the recording's own units; it may hold NaN and infinities."""
        x = np.asarray(x, np.float64)
        self.stretches, self.samples = self.stretches + 1, self.samples + x.shape[1]
        nan, finite = np.isnan(x), np.isfinite(x)
        self.nan += nan.sum(axis=1)
        self.inf += (~finite & ~nan).sum(axis=1)
        whole = finite.all(axis=1)
        x = np.where(finite, x, 0.0)
        flat = whole & (x.max(axis=1) == x.min(axis=1))
        self.flat += flat
        middle = np.median(x, axis=1)
        self.top.add(x, middle)
        self.bottom.add(-x, -middle)
        scale = np.where(whole, robust_sd(x, middle), np.nan)
        self.scales.append(scale)
        x = detrended(x)
        usable = whole & ~flat
        good = usable & ~self.marked & is_usual(scale)
        self.raw_likeness.add(x, usable)
        self.mains["raw"].add(x, usable)
        if good.sum() >= 3:
            car = x - x[good].mean(axis=0)
            self.car_likeness.add(car, usable)
            self.mains["car"].add(car, usable)
        self._by_shaft(x, usable, good)

    @property
    def sd(self) -> Array:
        """(channels,) the median over stretches of the robust SD; NaN where no stretch was finite."""
        scales = np.array(self.scales).reshape(len(self.scales), len(self.nan))
        seen = np.isfinite(scales).any(axis=0) if len(scales) else np.zeros(len(self.nan), bool)
        out = np.full(len(self.nan), np.nan)
        if seen.any():
            out[seen] = np.nanmedian(scales[:, seen], axis=0)
        return out

    @property
    def clipped(self) -> Array:
        """(channels,) how many samples stick to the largest or the smallest value; 0 where that is no clipping."""
        return self.top.clipped() + self.bottom.clipped()

    def _by_shaft(self, x: Array, usable: Array, good: Array) -> None:
        if len(self.groups) < 2:
            return
        seen = np.zeros(len(x), bool)
        out = x.copy()
        for members in self.groups:
            if (members & good).sum() >= 2:
                out[members] -= x[members & good].mean(axis=0)
                seen |= members
        self.mains["shafts"].add(out, usable & seen)


class Rail:
    """Samples that stay at the largest value that a channel ever reaches."""

    def __init__(self, channels: int) -> None:
        self.level = np.full(channels, -np.inf)
        self.stuck, self.near, self.seen = (np.zeros(channels, np.int64) for _ in range(3))
        self.middle = np.full(channels, -np.inf)

    def add(self, x: Array, middle: Array) -> None:
        """Take a stretch (channels, samples) and its medians (channels,)."""
        highest = x.max(axis=1)
        higher = highest > self.level
        self.level = np.maximum(self.level, highest)
        self.stuck[higher] = self.near[higher] = 0
        self.middle = np.maximum(self.middle, middle)
        self.seen += x.shape[1]
        at = x == self.level[:, None]
        runs = at[:, : x.shape[1] - RUN + 1].copy()
        for step in range(1, RUN):
            runs &= at[:, step : step + runs.shape[1]]
        within = np.zeros_like(at)
        for step in range(RUN):
            within[:, step : step + runs.shape[1]] |= runs
        for channel in np.flatnonzero(within.any(axis=1)):
            if len(np.unique(x[channel])) >= LEVELS:
                self.stuck[channel] += within[channel].sum()
        below = self.level - 0.02 * (self.level - middle)
        self.near += ((x >= below[:, None]) & ~at).sum(axis=1)

    def clipped(self) -> Array:
        """(channels,) samples in runs at the level, if they outnumber those just below it and are 1 in 10,000.

        A channel whose usual value is its extreme (envelopes: mostly 0), or that has few levels, is not clipped.
        """
        enough = np.maximum(2 * RUN, 1e-4 * self.seen)
        real = (self.stuck > self.near) & (self.stuck >= enough) & (self.level > self.middle)
        return np.where(real, self.stuck, 0)


class Likeness:
    """Pearson correlation of every pair of channels, averaged over stretches."""

    def __init__(self, channels: int) -> None:
        self._sum, self._count = np.zeros((channels, channels)), np.zeros((channels, channels))

    def add(self, x: Array, usable: Array) -> None:
        """Take a detrended stretch (channels, samples)."""
        norm = np.sqrt((x**2).sum(axis=1))
        alive = usable & (norm > 0)
        unit = x[alive] / norm[alive, None]
        both = np.ix_(alive, alive)
        self._sum[both] += unit @ unit.T
        self._count[both] += 1

    @property
    def r(self) -> Array:
        """(channels, channels) mean r; 0 where two channels were never usable together."""
        return np.asarray(self._sum / np.maximum(self._count, 1))

    def mean(self, good: Array) -> float | None:
        """Return the mean r between different channels of `good`; None if there are fewer than 2."""
        good = good & (np.diag(self._count) > 0)
        count = int(good.sum())
        if count < 2:
            return None
        r = self.r[np.ix_(good, good)]
        return float((r.sum() - np.trace(r)) / (count * (count - 1)))


class Mains:
    """How much louder the mains and its harmonics are than their neighbours, in dB, for 50 and for 60 Hz."""

    def __init__(self, channels: int, rate: float) -> None:
        top = rate / 2 - BESIDE_HZ[1]
        self.lines = {f: [k * f for k in range(1, HARMONICS + 1) if k * f < top] for f in MAINS}
        self._rate = rate
        self._sum = {line: np.zeros(channels) for some in self.lines.values() for line in some}
        self._count = {line: np.zeros(channels) for line in self._sum}

    def add(self, x: Array, usable: Array) -> None:
        """Take a detrended stretch (channels, samples) of at least 2 s; shorter ones resolve no line."""
        samples = x.shape[1]
        if samples < 2 * self._rate or not self._sum or not usable.any():
            return
        power = np.abs(np.fft.rfft(x[usable] * np.hanning(samples), axis=1)) ** 2
        freqs = np.arange(power.shape[1]) * self._rate / samples
        rows = np.flatnonzero(usable)
        for line, total in self._sum.items():
            apart = freqs - line
            own = power[:, np.abs(apart) <= LINE_HZ].mean(axis=1)
            low, high = BESIDE_HZ
            sides = [power[:, (s * apart >= low) & (s * apart <= high)].mean(axis=1) for s in (-1, 1)]
            beside = np.sqrt(sides[0] * sides[1])
            sound = (own > 0) & (beside > 0)
            total[rows[sound]] += 10 * np.log10(own[sound] / beside[sound])
            self._count[line][rows[sound]] += 1

    def db(self, line: float) -> Array:
        """(channels,) mean dB of one line over its neighbours; NaN where it was not measured."""
        count = self._count[line]
        return np.where(count > 0, self._sum[line] / np.maximum(count, 1), np.nan)

    def level(self, line: float, good: Array) -> float | None:
        """Return the median dB over the channels of `good`; None where none was measured."""
        db = self.db(line)[good]
        db = db[np.isfinite(db)]
        return float(np.median(db)) if db.size else None


def robust_sd(x: Array, middle: Array | None = None) -> Array:
    """Return (channels,) 1.4826 · median absolute deviation of (channels, samples): the SD of a Gaussian."""
    middle = np.median(x, axis=1) if middle is None else middle
    return np.asarray(1.4826 * np.median(np.abs(x - middle[:, None]), axis=1))


def is_usual(scale: Array) -> Array:
    """Return (channels,) bool: the SD is within a factor of `USUAL` of the median one."""
    known = scale[np.isfinite(scale) & (scale > 0)]
    if not known.size:
        return np.isfinite(scale)
    middle = float(np.median(known))
    return np.asarray((scale > middle / USUAL) & (scale < middle * USUAL))


def detrended(x: Array) -> Array:
    """Return (channels, samples) minus each channel's mean and straight line."""
    t = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    centred = x - x.mean(axis=1, keepdims=True)
    return np.asarray(centred - np.outer(centred @ t / max(float(t @ t), 1.0), t))


def spread(seconds: float, each_s: float, total_s: float) -> list[tuple[float, float]]:
    """Return stretches (start, stop) of `each_s`, evenly spread over `seconds`, `total_s` together; or all of it.

    The last one may be shorter where everything is read.
    """
    each_s = min(each_s, seconds)
    if total_s >= seconds:
        count = max(1, int(np.ceil(seconds / each_s - 1e-9)))
        found = [(k * each_s, min((k + 1) * each_s, seconds)) for k in range(count)]
        return [pair for pair in found if pair[1] - pair[0] > 0]
    count = max(1, int(total_s // each_s))
    return [(float(at), float(at) + each_s) for at in np.linspace(0.0, seconds - each_s, count)]


def read(data: Any, rate: float, start: float, stop: float) -> Array:
    """Return the samples (channels, samples) between two times of a lazy recording, as they are."""
    first, last = round(start * rate), min(round(stop * rate), int(data.shape[-1]))
    return np.asarray(data[:, first:last])
