"""Times in an NWB file: every series on the file's one clock, by a rate or by timestamps, with its gaps.

A recording's own seconds are samples over its nominal rate. A `Clock` maps file seconds to them piece by piece, so
that another start, a drifting oscillator and lost samples are all accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array

TOLERANCE_S = 0.005
"""Timestamps may lie this far (or half a sample, if that is more) off a straight line; a longer step is a gap."""

USUAL = (
    *(100, 128, 200, 250, 256, 400, 500, 512, 600, 1000, 1024, 1200, 2000, 2048, 2400, 2500, 4000, 4096, 5000, 8000),
    *(10000, 11025, 16000, 20000, 22050, 24000, 25000, 30000, 32000, 44100, 48000, 50000, 88200, 96000, 192000),
)
"""Rates in Hz that amplifiers and sound cards are set to."""

NOMINAL = 1e-3
"""A measured rate within this share of a usual one, or of a whole number, is that; the clock keeps the true step."""

SHORTEST_S = 0.1
"""Brain and sound that overlap for less than this are not paired."""

SHORTEST_RUN_S = 0.5
"""Timestamps whose pieces between gaps are shorter than this on average are called irregular."""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Run:
    """Samples without a gap: `count` of them from index `first`; the n-th is at `start` + n * `step` file seconds."""

    first: int
    count: int
    start: float
    step: float

    @property
    def stop(self) -> float:
        """File seconds at which its last sample ends."""
        return self.start + self.count * self.step


@dataclass(frozen=True)
class Clock:
    """The nominal rate in Hz of a series, and its runs on the file's clock."""

    rate: float
    runs: tuple[Run, ...]

    @property
    def breaks(self) -> tuple[float, ...]:
        """The series' own seconds (samples / rate) at which a gap was closed up."""
        return tuple(run.first / self.rate for run in self.runs[1:])

    def own(self, run: Run, at: float) -> float:
        """Return the series' own seconds of file second `at`, which lies in `run`."""
        return (run.first + (at - run.start) / run.step) / self.rate


@dataclass(frozen=True)
class Meeting:
    """A stretch that brain and sound both have, each in its own seconds."""

    start: float
    stop: float
    sound_start: float
    sound_stop: float


def meetings(brain: Clock, sound: Clock, start: float = -math.inf, stop: float = math.inf) -> Iterator[Meeting]:
    """Yield where both run without a gap between file seconds `start` and `stop`."""
    for ours in brain.runs:
        for theirs in sound.runs:
            low, high = max(ours.start, theirs.start, start), min(ours.stop, theirs.stop, stop)
            if high - low >= SHORTEST_S:
                yield Meeting(
                    brain.own(ours, low), brain.own(ours, high), sound.own(theirs, low), sound.own(theirs, high)
                )


def clock_of(group: Any, samples: int, where: str) -> Clock:
    """Return the clock of a TimeSeries group with so many samples; `where` names it in errors.

    Raises HubError for a rate that is none, and for timestamps of another number, not finite, not rising or irregular.
    """
    if "timestamps" in group:
        return _from_timestamps(group["timestamps"], samples, where)
    if "starting_time" not in group:
        raise HubError(f"{where} has neither a rate nor timestamps", "write one of them, as NWB asks")
    start = float(np.asarray(group["starting_time"][()]).reshape(-1)[0])
    rate = float(group["starting_time"].attrs.get("rate", math.nan))
    if not (math.isfinite(start) and math.isfinite(rate) and rate > 0):
        raise HubError(f"{where} starts at {start:g} s with a rate of {rate:g} Hz", "repair its starting_time")
    return Clock(nominal(rate), (Run(0, samples, start, 1.0 / rate),))


def nominal(rate: float) -> float:
    """Return a rate in Hz as what the device was set to, without its oscillator's drift."""
    near = [*sorted(USUAL, key=lambda usual: abs(usual - rate)), round(rate)]
    return next((float(one) for one in near if one and abs(rate - one) <= NOMINAL * one), rate)


def _from_timestamps(stamps: Any, samples: int, where: str) -> Clock:
    if len(stamps) != samples:
        raise HubError(f"{where} has {samples} samples, but {len(stamps)} timestamps", "write one for each sample")
    if samples < 2:
        raise HubError(f"{where} has {samples} timestamps, from which no rate follows", "give its rate")
    step = float(np.nanmedian(np.diff(np.asarray(stamps[:_BLOCK], np.float64))))
    if not (math.isfinite(step) and step > 0):
        raise HubError(f"the timestamps of {where} do not rise", "repair them, or give its rate")
    tolerance = max(TOLERANCE_S, 0.5 * step)
    firsts = [0, *_gaps(stamps, step + tolerance, where), samples]
    if (samples * step) / (len(firsts) - 1) < min(SHORTEST_RUN_S, samples * step):
        raise HubError(
            f"{where} has {len(firsts) - 2} gaps in {samples * step:.1f} s: its timestamps are irregular",
            "resample it to a regular rate first",
        )
    runs = tuple(_run(stamps, low, high, step) for low, high in pairwise(firsts))
    _check_straight(stamps, runs, tolerance, where)
    counted = sum(run.count for run in runs)
    return Clock(nominal(counted / sum(run.count * run.step for run in runs)), runs)


def _gaps(stamps: Any, longest: float, where: str) -> list[int]:
    """Return the indices of samples that come more than `longest` seconds after the one before."""
    found: list[int] = []
    last = math.nan
    for low in range(0, len(stamps), _BLOCK):
        block = np.asarray(stamps[low : low + _BLOCK], np.float64)
        steps = np.diff(block, prepend=last)
        wrong = ~np.isfinite(block) | (steps <= 0)  # the first step is nan, and no comparison with it holds
        if wrong.any():
            at = low + int(wrong.argmax())
            kind = "is not finite" if not np.isfinite(block[at - low]) else "comes before the one above it"
            raise HubError(f"timestamp {at} of {where} {kind}", "repair the timestamps, or give its rate")
        found.extend((low + np.flatnonzero(steps > longest)).tolist())
        last = float(block[-1])
    return found


def _run(stamps: Any, low: int, high: int, step: float) -> Run:
    start, last = float(stamps[low]), float(stamps[high - 1])
    count = high - low
    return Run(low, count, start, (last - start) / (count - 1) if count > 1 else step)


def _check_straight(stamps: Any, runs: tuple[Run, ...], tolerance: float, where: str) -> None:
    for run in runs:
        for low in range(0, run.count, _BLOCK):
            count = min(_BLOCK, run.count - low)
            block: Array = np.asarray(stamps[run.first + low : run.first + low + count], np.float64)
            off = np.abs(block - run.start - (low + np.arange(count)) * run.step)
            if off.max() > tolerance:
                raise HubError(
                    f"the timestamps of {where} are irregular: {off.max() * 1000:.0f} ms off a straight line "
                    f"at {block[off.argmax()]:.2f} s",
                    "resample it to a regular rate, or take the jitter out of its timestamps",
                )
