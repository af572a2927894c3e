"""Noise in place of the test side: in the raw samples that a dataset hands out, and in a test view.

The raw substitution is made in the dataset's *class*, so it reaches whoever asks: the view, and a component that
builds the dataset for itself. Shapes, dtypes, rates and the NaN mask stay as they were.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from braindecode_hub.interfaces import Dataset
from braindecode_hub.splits import Fold, Interval, left_of, merge
from braindecode_hub.types import Array, Recording, Signal
from braindecode_hub.view import Item, View

AMPLITUDE = 3.0
"""SD of the noise, in SDs of what it replaces."""
LOOKED_AT = 4096
"""Samples from which that SD is estimated."""


@dataclass(frozen=True)
class HeldOut:
    """What the test side of a fold has for itself: seconds of recordings, and seconds of stimuli.

    An interval of a stimulus is (-inf, inf) where all of it belongs to the test side, as without a clock. A stimulus
    that training or validation presents too (a closed set) keeps what they present.
    """

    brain: Mapping[str, Sequence[Interval]] = field(default_factory=dict)
    stimuli: Mapping[str, Sequence[Interval]] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()


def held_out(fold: Fold) -> HeldOut:
    """Return what only the test side of a fold has."""
    others = [*fold.train, *fold.val]
    brain: dict[str, list[Interval]] = defaultdict(list)
    stimuli: dict[str, list[Interval]] = defaultdict(list)
    for trial in fold.test:
        brain[trial.recording].append((trial.start, trial.stop))
        stimuli[str(trial.stimulus)] += left_of(trial, others)
    shared = frozenset(str(trial.stimulus) for trial in others)
    return HeldOut(
        {id: merge(some) for id, some in brain.items()},
        {id: merge(some) for id, some in stimuli.items() if some},
        shared,
    )


@contextmanager
def raw_noise(
    dataset: type[Dataset], side: HeldOut | None, within: Callable[[bool], None] = lambda inside: None
) -> Iterator[None]:
    """Make every instance of a dataset's class hand out noise on the test side; None: change nothing.

    `within(True)` and `within(False)` are called when a call from outside enters and leaves the dataset. What the
    dataset asks of itself (a simulation its own stimuli) is not changed.
    """
    depth = 0

    def wrapped(name: str, change: Callable[[Any, str], Any]) -> Callable[..., Any]:
        original = getattr(dataset, name)

        @functools.wraps(original)
        def method(self: Dataset, *given: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            within(True)
            try:
                found = original(self, *given, **named)
            finally:
                depth -= 1
                if not depth:
                    within(False)
            if depth or side is None or found is None:
                return found
            return change(found, str(given[0] if given else named.get("id")))

        return method

    changes: dict[str, Callable[[Any, str], Any]] = {
        "prepare": lambda found, id: found,
        "trials": lambda found, id: found,
        "recording": lambda found, id: _noisy_recording(found, id, side),
        "stimulus": lambda found, id: _noisy_stimulus(found, id, side),
        "oracle": lambda found, id: _noisy_brain(found, id, side),
    }
    own = {name: vars(dataset).get(name) for name in changes}
    for name, change in changes.items():
        setattr(dataset, name, wrapped(name, change))
    try:
        yield
    finally:
        for name, original in own.items():
            if original is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, original)


def view_noise(view: View, rng: np.random.Generator) -> View:
    """Return a test view whose features and targets are noise, its order, ids and groups permuted.

    The arrays keep shape and dtype; who is shown as which subject and session is permuted too.
    """

    def change(items: list[Item]) -> list[Item]:
        order = rng.permutation(len(items))
        made: dict[int, Any] = {}
        out = []
        for place, giver in enumerate(order):
            item = items[giver]
            if id(item.brain) not in made:
                made[id(item.brain)] = replace(item.brain, data=_like(np.asarray(item.brain.data), rng))
            targets = {name: None if a is None else _like(np.asarray(a), rng) for name, a in item.targets.items()}
            shown = replace(item.shown, id=items[place].shown.id, groups=items[order[place - 1]].shown.groups)
            out.append(replace(item, brain=made[id(item.brain)], targets=targets, shown=shown))
        return out

    return view.replace_targets(change)


def others_noise(view: View, keep: int, rng: np.random.Generator) -> View:
    """Return a test view in which all items but one have noise for features; shapes and order stay."""

    def change(items: list[Item]) -> list[Item]:
        return [
            item
            if number == keep
            else replace(item, brain=replace(item.brain, data=_like(np.asarray(item.brain.data), rng)))
            for number, item in enumerate(items)
        ]

    return view.replace_targets(change)


class Noisy:
    """An array that is read lazily, some of its samples along one axis replaced by noise that the place decides."""

    def __init__(self, data: Array, axis: int, intervals: Sequence[tuple[int, int]]) -> None:
        self.data, self.axis, self.intervals = data, axis % len(data.shape), list(intervals)
        self.shape = tuple(int(n) for n in data.shape)
        self.ndim = len(self.shape)
        first = [slice(None)] * self.ndim
        first[self.axis] = slice(0, LOOKED_AT)
        seen = np.asarray(data[tuple(first)])
        self.dtype = seen.dtype
        known = np.nan_to_num(seen.astype(np.float64)) if seen.size else np.zeros(1)
        self.mean, self.sd = float(known.mean()), float(known.std()) or 1.0

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[(slice(None),) * self.ndim], dtype=dtype)

    def __getitem__(self, key: Any) -> Array:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [k for k in keys if not isinstance(k, np.ndarray)]:
            at = next(n for n, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        if len(keys) != self.ndim or not all(isinstance(k, slice) for k in keys):
            return np.asarray(self)[key]
        found = np.array(self.data[tuple(keys)])
        places = [np.arange(n)[k] for n, k in zip(self.shape, keys, strict=True)]
        times = places[self.axis]
        changed = np.zeros(len(times), bool)
        for low, high in self.intervals:
            changed |= (times >= low) & (times < high)
        if not changed.any():
            return found
        places[self.axis] = times[changed]
        where = [slice(None)] * self.ndim
        where[self.axis] = changed  # type: ignore[call-overload]
        old = found[tuple(where)]
        found[tuple(where)] = _keep_nan(old, _cast(self.mean + AMPLITUDE * self.sd * _hashed(places), found.dtype))
        return found


def _noisy_recording(recording: Recording, id: str, side: HeldOut | None) -> Recording:
    return replace(recording, brain=_noisy_brain(recording.brain, id, side))


def _noisy_brain(signal: Signal, id: str, side: HeldOut | None) -> Signal:
    some = side.brain.get(id, ()) if side is not None else ()
    if not some or signal.rate is None:
        return signal
    return replace(signal, data=Noisy(signal.data, -1, [_samples(one, signal.rate) for one in some]))


def _noisy_stimulus(signal: Signal, id: str, side: HeldOut | None) -> Signal:
    assert side is not None
    some = side.stimuli.get(id, ())
    if not some:
        return signal
    if not hasattr(signal.data, "shape"):
        return replace(signal, data=_other_words(signal.data, some))
    if signal.rate is None:  # no clock: a test stimulus only if nobody else sees any of it
        if id in side.shared:
            return signal
        whole = np.atleast_1d(np.asarray(signal.data))
        return replace(signal, data=np.asarray(Noisy(whole, 0, [(0, 2**62)])).reshape(np.shape(signal.data)))
    # One sample less at either end: a stretch of another side may round its own first sample to this one.
    ends = [_samples(one, signal.rate) for one in some]
    return replace(signal, data=Noisy(signal.data, 0, [(low + 1, high - 1) for low, high in ends]))


def _other_words(data: Any, intervals: Sequence[Interval]) -> Any:
    """Turn round the texts of a caption, or of the words (text, start, stop) that the test side hears."""
    if isinstance(data, str):
        return data[::-1] + "?"
    if not isinstance(data, list | tuple):
        return data

    def other(word: Any) -> Any:
        if isinstance(word, str):
            return word[::-1] + "?"
        if isinstance(word, list | tuple) and len(word) == 3 and isinstance(word[0], str):
            text, start, stop = word
            heard = any(low < stop and start < high for low, high in intervals)
            return (text[::-1] + "?", start, stop) if heard else word
        return word

    return type(data)(other(word) for word in data)


def _samples(interval: Interval, rate: float) -> tuple[int, int]:
    """Return the samples [first, last) that lie in an interval of seconds."""
    low, high = interval
    first = 0 if math.isinf(low) else math.ceil(low * rate - 1e-6)
    return first, 2**62 if math.isinf(high) else math.ceil(high * rate - 1e-6)


def _hashed(places: Sequence[Array]) -> Array:
    """Return noise of mean 0 and SD 1 that depends on each element's place alone, however it is sliced."""
    total = np.zeros((1,) * len(places))
    for axis, (index, step) in enumerate(zip(places, (12.9898, 78.233, 37.719, 4.581, 9.137), strict=False)):
        shape = [1] * len(places)
        shape[axis] = len(index)
        total = total + (index.astype(np.float64) * step).reshape(shape)
    turned = np.sin(total) * 43758.5453
    return np.asarray((turned - np.floor(turned) - 0.5) * math.sqrt(12.0))


def _cast(values: Array, dtype: Any) -> Array:
    if dtype == np.bool_:
        return np.asarray(values > np.median(values))
    if np.issubdtype(dtype, np.integer):
        about = np.iinfo(dtype)
        return np.asarray(np.clip(np.rint(values), about.min, about.max), dtype)
    return np.asarray(values, dtype)


def _keep_nan(old: Array, new: Array) -> Array:
    return np.where(np.isnan(old), old, new) if np.issubdtype(old.dtype, np.inexact) else new


def _like(data: Array, rng: np.random.Generator) -> Array:
    """Return noise of the same shape and dtype, NaN where it was NaN."""
    scale = float(np.nan_to_num(np.asarray(data, np.float64)).std()) or 1.0
    return _keep_nan(data, _cast(AMPLITUDE * scale * rng.standard_normal(data.shape), data.dtype))
