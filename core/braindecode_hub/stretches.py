"""Cut first, then filter: contiguous stretches that belong to one side, and what encoders make of each.

A continuous encoder runs over one stretch, in chunks, into a cached array whose key includes the stretch. No window
edge is filtered, nothing is computed twice, and no test sample reaches training through a filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Dataset, Encoder
from braindecode_hub.lazy import give_back
from braindecode_hub.splits import SIDES, Fold, Side, merge
from braindecode_hub.types import Array, Batch, Recording, Space, Trial

REACH_S = 5.0
"""A stretch may begin and end this many idle seconds outside its trials: filters settle there."""
CHUNK_S = 60.0
LONGEST_MISSING_S = 0.25
"""A stimulus may end this much before the trial that presents it says so; its last frame is then repeated."""
BEYOND = 1e15
"""No sample in any unit is as large, and sums of the squares of larger ones leave float32."""
LEGACY_SHORTEST_S = 10.0
"""Encoders that look over the whole stretch need at least this much of it."""


@dataclass(frozen=True)
class Stretch:
    """Contiguous seconds of one recording (or stimulus) that belong to one side."""

    source: str
    start: float
    stop: float


@dataclass(frozen=True)
class Prepared:
    """What the continuous encoders made of one stretch: frame n is at `origin` + n / `rate` seconds.

    `data` has the axes of its space, float32; `rate` is None for a static stimulus, which has no clock.
    """

    data: Array
    rate: float | None
    origin: float


def stretches(
    fold: Fold, side: Side, lengths: Mapping[str, float], breaks: Mapping[str, Sequence[float]], gap_s: float
) -> list[Stretch]:
    """Return the stretches of one side of a fold, each reaching at most half-way to the other sides' trials.

    `lengths`: seconds of each recording; `breaks`: seconds at which its filters must restart.
    """
    found: list[Stretch] = []
    for recording in sorted({trial.recording for trial in fold.side(side)}):
        labelled = [(t.start, t.stop, s) for s in SIDES for t in fold.side(s) if t.recording == recording]
        groups = _runs(sorted(labelled))
        for number, (start, stop, owner) in enumerate(groups):
            if owner != side:
                continue
            before = groups[number - 1][1] if number else None
            after = groups[number + 1][0] if number + 1 < len(groups) else None
            low = max(0.0, start - _reach(before, start, gap_s))
            high = min(lengths[recording], stop + _reach(stop, after, gap_s))
            pieces = _between_breaks(recording, low, high, breaks.get(recording, ()))
            own = [trial for trial in fold.side(side) if trial.recording == recording]
            found += [one for one in pieces if any(t.start < one.stop and t.stop > one.start for t in own)]
    return found


def prepare_brain(
    dataset: Dataset,
    steps: Sequence[Encoder],
    stretch: Stretch,
    cache: Cache,
    recording: Recording | None = None,
) -> Prepared:
    """Run the continuous encoders over one stretch of a recording; (…, time) float32, computed once."""
    recording = dataset.recording(stretch.source) if recording is None else recording
    rate = recording.brain.rate
    if rate is None:
        raise HubError(f"recording {recording.id} has no rate", "give its sampling rate in Hz, as `rate`")
    first = math.ceil(stretch.start * rate - 1e-6)
    last = min(int(recording.brain.data.shape[-1]), math.floor(stretch.stop * rate + 1e-6))
    if not steps and getattr(recording.brain.data, "mapped", False):
        return Prepared(_Mapped(recording, first, last), rate, first / rate)
    out_rate = rate_after(dataset.brain, steps, rate)
    plan = _Plan(steps, rate, out_rate, last - first)
    seconds = (last - first) / rate
    if plan.whole and steps and seconds < LEGACY_SHORTEST_S:
        raise HubError(
            f"a stretch of {seconds:.1f} s of {recording.id} is too short for an encoder of unlimited support",
            "use encoders with a finite support_s, or a split that interleaves less finely",
        )

    def encode(low: int, high: int) -> Array:
        x = np.asarray(recording.brain.data[:, first + low : first + high], dtype=np.float32)[None]
        give_back([recording.brain.data])
        x = _finite(x, recording, (first + low) / rate)
        return _run(steps, x, rate, dataset.brain, recording.about())[0]

    key: dict[str, Any] = {
        "dataset": dataset.fingerprint(),
        "stretch": [stretch.source, first, last],
        "steps": _identity(steps),
    }
    return Prepared(cache.array(key, plan.build(encode)), out_rate, first / rate)


def channels_behind(dataset: Dataset, steps: Sequence[Encoder], recording: Recording) -> int:
    """Return how many channels the continuous encoders make of a recording, found on silence in its stead."""
    count, rate = int(recording.brain.data.shape[0]), recording.brain.rate
    if not steps or rate is None:
        return count
    silence = np.zeros((1, count, round(LEGACY_SHORTEST_S * rate)), np.float32)
    return int(_run(steps, silence, rate, dataset.brain, recording.about()).shape[1])


def prepare_stimulus(
    dataset: Dataset, space: Space, steps: Sequence[Encoder], stretch: Stretch, cache: Cache
) -> Prepared:
    """Run the frozen stimulus encoders over one stretch of a stimulus; time first, float32, computed once."""
    signal = dataset.stimulus(stretch.source, space)
    key: dict[str, Any] = {
        "dataset": dataset.fingerprint(),
        "stimulus": [stretch.source, space.name],
        "steps": _identity(steps),
    }
    if signal.rate is None:
        whole = np.asarray(signal.data)[None]
        if not steps:  # thousands of vectors: as they are, each in a file of its own they would only cost time
            return Prepared(_float32(whole[0]), None, 0.0)
        data = cache.array(key, lambda allocate: _float32(_run(steps, whole, None, space, None)[0]))
        return Prepared(data, None, 0.0)
    rate = rate_after(space, steps, signal.rate)
    assert rate is not None
    frame = math.ceil(stretch.start * rate - 1e-6)  # the stretch begins on the frame grid n / rate
    first = round(frame / rate * signal.rate)
    last = min(int(signal.data.shape[0]), math.floor(stretch.stop * signal.rate + 1e-6))
    if last <= first:
        length = signal.data.shape[0] / signal.rate
        raise HubError(
            f"stimulus {stretch.source} ends at {length:.2f} s, before {stretch.start:.2f} s",
            "check the trial's stimulus_start and stimulus_stop",
        )
    missing = stretch.stop - last / signal.rate
    if missing > LONGEST_MISSING_S:
        raise HubError(
            f"stimulus {stretch.source} is {missing:.2f} s shorter than the trials that present it say",
            "check stimulus_stop, or the stimulus file",
        )
    plan = _Plan(steps, signal.rate, rate, last - first, time_axis=0)

    def encode(low: int, high: int) -> Array:
        samples = np.asarray(signal.data[first + low : first + high])
        give_back([signal.data])
        if not np.isfinite(samples).all():
            at = (first + low + int(np.argwhere(~np.isfinite(samples))[0][0])) / float(signal.rate or 1)
            raise HubError(f"stimulus {stretch.source} is not finite at {at:.3f} s", "repair or cut the stimulus")
        try:
            return _float32(_run(steps, samples[None], signal.rate, space, None)[0])
        except HubError as error:
            if type(error) is not HubError:
                raise
            ends = " to ".join(f"{(first + at) / float(signal.rate or 1):.2f}" for at in (low, high))
            cause = f"stimulus {stretch.source}, {ends} s: {error.cause}"
            raise HubError(cause, error.remedy, usage=error.usage) from error

    key["samples"] = [first, last]
    return Prepared(cache.array(key, plan.build(encode)), rate, frame / rate)


class _Mapped:
    """A stretch that no encoder changes, of a recording that says it is `mapped`: read where it is sliced."""

    def __init__(self, recording: Recording, first: int, last: int) -> None:
        self._recording, self._first = recording, first
        self.shape = int(recording.brain.data.shape[0]), last - first

    def __getitem__(self, key: tuple[Any, slice]) -> Array:
        start, stop, step = key[1].indices(self.shape[1])
        at = self._first + start
        x = _float32(self._recording.brain.data[:, at : max(at, self._first + stop)])[None]
        return _finite(x, self._recording, at / (self._recording.brain.rate or 1.0))[0][key[0], ::step]


def stimulus_stretches(trials: Iterable[Trial], clocked: bool) -> list[Stretch]:
    """Return the merged stimulus intervals that these trials present."""
    by_id: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        if trial.stimulus is None:
            continue
        if clocked and (trial.stimulus_start is None or trial.stimulus_stop is None):
            raise HubError(
                f"trial {trial.id} does not say which seconds of {trial.stimulus} were heard",
                "give stimulus_start",
            )
        ends = (trial.stimulus_start or 0.0, trial.stimulus_stop or 0.0) if clocked else (0.0, 0.0)
        by_id.setdefault(trial.stimulus, []).append(ends)
    return [Stretch(id, start, stop) for id, some in sorted(by_id.items()) for start, stop in merge(some)]


def rate_after(space: Space, steps: Sequence[Encoder], rate: float | None) -> float | None:
    """Return the frame rate behind `steps` for a signal of `space` that runs at `rate`."""
    at = Space(space.name, space.dims, rate)
    for step in steps:
        at = step.produces.after(at)
    return None if at.rate is None else float(at.rate)


def _runs(labelled: list[tuple[float, float, Side]]) -> list[tuple[float, float, Side]]:
    runs: list[tuple[float, float, Side]] = []
    for start, stop, side in labelled:
        if runs and runs[-1][2] == side:
            runs[-1] = (runs[-1][0], max(runs[-1][1], stop), side)
        else:
            runs.append((start, stop, side))
    return runs


def _reach(before: float | None, after: float | None, gap_s: float) -> float:
    if before is None or after is None:
        return REACH_S
    return min(REACH_S, max(0.0, (after - before - gap_s) / 2))


def _between_breaks(recording: str, start: float, stop: float, breaks: Sequence[float]) -> list[Stretch]:
    edges = [start, *sorted(b for b in breaks if start < b < stop), stop]
    return [Stretch(recording, low, high) for low, high in pairwise(edges)]


class _Plan:
    """Which chunks to encode, with which margins, so that the result equals one run over the whole stretch.

    Chunks and margins hold whole numbers of samples and of frames; where no such number is short, or an encoder is of
    unlimited support, the stretch is one chunk, and lies in memory while it is encoded.
    """

    def __init__(
        self, steps: Sequence[Encoder], rate: float, out_rate: float | None, samples: int, time_axis: int = -1
    ) -> None:
        supports = [step.support_s for step in steps]
        self.whole = None in supports
        self.rate, self.out_rate, self.samples, self.axis = rate, out_rate or rate, samples, time_axis
        self.chunks, self.margin = [(0, samples)], 0
        unit = _common(rate, self.out_rate, samples)
        chunk = math.ceil(int(CHUNK_S * rate) / unit) * unit
        if not self.whole and samples > 2 * chunk:
            starts = list(range(0, samples - chunk, chunk))
            self.chunks = list(zip(starts, [*starts[1:], samples], strict=True))
            reach = math.ceil(math.ceil(sum(s for s in supports if s is not None)) * rate)
            self.margin = math.ceil(reach / unit) * unit

    def build(self, encode: Callable[[int, int], Array]) -> Callable[..., Array]:
        if len(self.chunks) == 1:
            return lambda allocate: np.asarray(encode(0, self.samples), dtype=np.float32)

        def into(allocate: Callable[..., Array]) -> Array:
            tail = self._encode(encode, *self.chunks[-1])
            at, shape = self._frame(self.chunks[-1][0]), list(tail.shape)
            shape[self.axis] += at
            out = allocate(tuple(shape), np.float32)
            along = np.moveaxis(out, self.axis, 0)
            along[at:] = np.moveaxis(tail, self.axis, 0)
            for low, high in self.chunks[:-1]:
                along[self._frame(low) : self._frame(high)] = np.moveaxis(self._encode(encode, low, high), self.axis, 0)
                give_back([out])
            return out

        return into

    def _encode(self, encode: Callable[[int, int], Array], low: int, high: int) -> Array:
        begin, end = max(0, low - self.margin), min(self.samples, high + self.margin)
        out, skip = encode(begin, end), self._frame(low - begin)
        stop = None if high == self.samples else skip + self._frame(high - low)
        return out[..., skip:stop] if self.axis == -1 else out[skip:stop]

    def _frame(self, samples: int) -> int:
        return round(samples / self.rate * self.out_rate)


def _common(rate: float, out_rate: float, samples: int) -> int:
    """Return the fewest samples that are a whole number of frames, to 1e-3 frames over the stretch."""
    ratio = Fraction(out_rate / rate).limit_denominator(1_000_000)
    exact = abs(float(ratio) - out_rate / rate) * samples < 1e-3
    return ratio.denominator if exact else max(1, samples)


def _identity(steps: Sequence[Encoder]) -> list[list[Any]]:
    """Name what decides the numbers: class, version, configuration."""
    return [[f"{type(s).__module__}:{type(s).__qualname__}", s.version, s.configuration()] for s in steps]


def _run(steps: Sequence[Encoder], x: Array, rate: float | None, space: Space, sensors: Recording | None) -> Array:
    at = Space(space.name, space.dims, rate)
    for step in steps:
        x = step.encode(x, Batch(x, [], None if at.rate is None else float(at.rate), recording=sensors))
        at = step.produces.after(at)
    return x


def _finite(x: Array, recording: Recording, start_s: float) -> Array:
    """Return (1, channels, samples) if it is finite; a channel that is marked bad is 0 where it is not."""
    bad = ~(np.abs(x[0]) < BEYOND)
    if not bad.any():
        return x
    names = recording.brain.channels
    broken = np.array([k < len(names) and names[k] in recording.bads for k in range(len(bad))])
    if bad[~broken].any():
        channel, sample = np.argwhere(bad & ~broken[:, None])[0]
        name = names[channel] if channel < len(names) else f"channel {channel}"
        seconds = start_s + sample / (recording.brain.rate or 1)
        what = f"reaches {x[0, channel, sample]:.3g}" if np.isfinite(x[0, channel, sample]) else "is not finite"
        raise HubError(
            f"recording {recording.id} {what} in {name} at {seconds:.3f} s",
            "mark the channel bad, or repair or cut the recording",
        )
    return np.where(bad, np.float32(0.0), x)


def _float32(values: Array) -> Array:
    return np.asarray(values, dtype=np.float32)
