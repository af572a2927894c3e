"""View: the one way in which data reaches a component, as windows of one side of a split.

Windows belong to the view. Each window's `brain` begins `context_s` before its first target frame and ends as much
after its last; a test view has no targets, and its trials show a number, subject and session only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Encoder
from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Array, Batch, Prediction, Recording, Space, Trial

SEGMENT_S = 30.0
"""`segments()` cuts longer trials here, so that the drift of the stimulus clock never adds up."""


@dataclass(frozen=True)
class Window:
    """Length, hop and context in seconds; `length_s` None: one window a trial (its length given by the trials)."""

    length_s: float | None = None
    hop_s: float | None = None
    context_s: float = 0.0

    def __post_init__(self) -> None:
        for name, seconds in (("length_s", self.length_s), ("hop_s", self.hop_s)):
            if seconds is not None and not seconds > 0:
                raise HubError(
                    f"window.{name} is {seconds:g} s", f"--set window.{name}=… more than 0, or null", usage=True
                )
        if not self.context_s >= 0:
            raise HubError(
                f"window.context_s is {self.context_s:g} s", "--set window.context_s=… 0 or more", usage=True
            )
        if self.length_s is not None and self.hop_s is not None and self.hop_s > self.length_s:
            raise HubError(
                f"window.hop_s is {self.hop_s:g} s, longer than a window ({self.length_s:g} s)",
                "frames would be left out: give a hop of at most window.length_s",
                usage=True,
            )


@dataclass(frozen=True)
class Item:
    """One trial of one side with its prepared arrays.

    `targets`: by name, the array cut to the trial (None at test); `frames`: how many frames each has (0: static);
    `first_s`: seconds from the trial's start to frame 0 of each target; `scale`: recording s per stimulus s.
    """

    trial: Trial
    shown: Trial
    brain: Prepared
    recording: Recording
    targets: Mapping[str, Array | None]
    frames: Mapping[str, int]
    first_s: Mapping[str, float]
    scale: float = 1.0


@dataclass(frozen=True)
class _Place:
    """Where a window stands: its item, its first frame on the clock target, and how many frames."""

    item: int
    frame: int
    count: int


class View:
    """Windows of one side. `through(encoder)` feeds what an encoder makes; `of(name)` feeds a target instead.

    `space`: what `Batch.brain` is in; `targets`: the target spaces; `rates`: their frame rates; `trials`.
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        window: Window,
        space: Space,
        targets: Mapping[str, Space],
        subjects: Sequence[str],
        steps: Sequence[Encoder] = (),
        target_steps: Mapping[str, Sequence[Encoder]] | None = None,
        source: str = "brain",
    ) -> None:
        self.items = list(items)
        self.window = window
        self.space = space
        self.targets = dict(targets)
        self.subjects = list(subjects)
        self._steps = list(steps)
        self._target_steps = {name: list(some) for name, some in (target_steps or {}).items()}
        self._source = source
        self.clock = next((name for name, target in self.targets.items() if target.rate), None)
        self._channels = max((item.brain.data.shape[0] for item in self.items), default=0)
        self._numbers = {subject: number for number, subject in enumerate(self.subjects)}

    @property
    def trials(self) -> list[Trial]:
        """The trials of this side, as a component may see them."""
        return [item.shown for item in self.items]

    @property
    def rates(self) -> dict[str, float | None]:
        """Frames per second of every target."""
        return {name: None if target.rate is None else float(target.rate) for name, target in self.targets.items()}

    @property
    def seconds(self) -> float:
        """Presented seconds on this side."""
        return sum(item.trial.seconds for item in self.items)

    def frames(self, name: str) -> int:
        """Return how many frames of target `name` one window has (0: static)."""
        rate, length = self.rates[name], self.window.length_s
        if rate is None:
            return 0
        return round((length if length else self._trial_s()) * rate)

    def frame_times(self, name: str, count: int | None = None) -> Array:
        """Return (frames,) float64: seconds from the start of a window's `brain` to each frame of target `name`."""
        rate = self.rates[name]
        frames = self.frames(name) if count is None else count
        return self.window.context_s + np.arange(frames) / (rate or 1.0)

    def through(self, *encoders: Encoder) -> View:
        """Return the view of what `encoders` make of these windows."""
        if self._source != "brain":
            changed = self.with_targets(self._source, *encoders)
            return changed._like(space=changed.targets[self._source])
        space = self.space
        for encoder in encoders:
            space = encoder.produces.after(space)
        return self._like(steps=[*self._steps, *encoders], space=space)

    def of(self, name: str) -> View:
        """Return the view whose `brain` is target `name`: what a stimulus-side encoder is fitted on."""
        return self._like(source=name, space=self.targets[name])

    def with_targets(self, name: str, *encoders: Encoder) -> View:
        """Return the view whose target `name` went through `encoders` (a fitted z-score, a PCA)."""
        if not encoders:
            return self
        space = self.targets[name]
        for encoder in encoders:
            space = encoder.produces.after(space)
        added = {**self._target_steps, name: [*self._target_steps.get(name, []), *encoders]}
        return self._like(target_steps=added, targets={**self.targets, name: space})

    def replace_targets(self, change: Callable[[list[Item]], list[Item]]) -> View:
        """Return the view whose items were changed by `change` (controls exchange stimuli this way)."""
        return self._like(items=change(self.items))

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield every window once, `size` at a time, shuffled by `rng` when it is given."""
        places = list(self._places(self.window.length_s, self.window.hop_s, cover=True))
        order = np.arange(len(places)) if rng is None else rng.permutation(len(places))
        for start in range(0, len(order), size):
            yield self._batch([places[k] for k in order[start : start + size]])

    def segments(self, seconds: float = SEGMENT_S) -> Iterator[Batch]:
        """Yield contiguous segments one by one (batch of 1, lengths differ), no frame twice."""
        for place in self._places(seconds if self.clock else self.window.length_s, None, cover=False):
            yield self._batch([place])

    def __len__(self) -> int:
        return sum(1 for _ in self._places(self.window.length_s, self.window.hop_s, cover=True))

    def predict(self, decode: Callable[[Batch], Prediction], size: int = 64) -> list[Prediction]:
        """Decode every window and overlap-add the frames: for each item, arrays (frames, …) by target name."""
        places = list(self._places(self.window.length_s, self.window.hop_s, cover=True))
        without = {*range(len(self.items))} - {place.item for place in places}
        if without:
            trial = self.items[min(without)].trial
            raise HubError(
                f"trial {trial.id} ({trial.seconds:g} s) holds no frame of {self.clock}",
                "leave it out, or make it longer",
            )
        stitched: list[dict[str, _Stitch]] = [{} for _ in self.items]
        for start in range(0, len(places), size):
            some = places[start : start + size]
            for name, values in decode(self._batch(some)).items():
                for place, value in zip(some, np.asarray(values), strict=True):
                    item = self.items[place.item]
                    stitch = stitched[place.item].setdefault(name, _Stitch(item.frames[name], value))
                    stitch.add(value, self._frame_on(name, place.frame))
        return [{name: stitch.result() for name, stitch in item.items()} for item in stitched]

    def _like(self, **changed: Any) -> View:
        kept: dict[str, Any] = {
            "items": self.items,
            "window": self.window,
            "space": self.space,
            "targets": self.targets,
            "subjects": self.subjects,
            "steps": self._steps,
            "target_steps": self._target_steps,
            "source": self._source,
        } | changed
        return View(kept.pop("items"), **kept)

    def _trial_s(self) -> float:
        return min((item.trial.seconds for item in self.items), default=0.0)

    def _frame_on(self, name: str, clock_frame: int) -> int:
        """Return the frame of target `name` at which a window begins that begins at `clock_frame` of the clock."""
        if name == self.clock or self.clock is None:
            return clock_frame
        return round(clock_frame / (self.rates[self.clock] or 1.0) * (self.rates[name] or 0.0))

    def _places(self, length_s: float | None, hop_s: float | None, *, cover: bool) -> Iterator[_Place]:
        """Tile every item: `cover` moves the last window back so that all are whole; else the last is short."""
        for number, item in enumerate(self.items):
            if self.clock is None:
                yield _Place(number, 0, 1)
                continue
            rate, total = self.rates[self.clock] or 1.0, item.frames[self.clock]
            count = total if length_s is None else max(1, round(length_s * rate))
            hop = count if hop_s is None else max(1, round(hop_s * rate))
            if total <= 0:
                continue
            starts = list(range(0, max(1, total - count + 1), hop))
            if cover and starts[-1] + count < total:
                starts.append(total - count)
            if not cover:
                starts = list(range(0, total, hop))
            for start in starts:
                yield _Place(number, start, count if cover else min(count, total - start))

    def _batch(self, places: Sequence[_Place]) -> Batch:
        items = [self.items[place.item] for place in places]
        rate = items[0].brain.rate
        x, mask = self._brain(places)
        batch = Batch(
            brain=x,
            trials=[item.shown for item in items],
            rate=rate,
            target={} if items[0].targets[self._any_target()] is None else self._target(places),
            subject=np.array([self._numbers[item.recording.subject] for item in items]),
            positions=_positions(items, x.shape[1]),
            channel_mask=mask,
        )
        for step in self._steps:
            batch.brain = step.encode(batch.brain, batch)
        if self._source != "brain":
            batch.brain, batch.rate = batch.target[self._source], self.rates[self._source]
        return batch

    def _any_target(self) -> str:
        return next(iter(self.targets))

    def _brain(self, places: Sequence[_Place]) -> tuple[Array, Array]:
        """Gather (batch, channels, samples); outside its stretch a window repeats the stretch's edge."""
        samples = self._samples(places[0])
        x = np.zeros((len(places), self._channels, samples), np.float32)
        mask = np.zeros((len(places), self._channels), bool)
        for row, place in enumerate(places):
            item = self.items[place.item]
            data = item.brain.data
            start = round((self._begins(place) - self.window.context_s - item.brain.origin) * (item.brain.rate or 1.0))
            _copy(data, start, x[row, : data.shape[0]])
            mask[row, : data.shape[0]] = True
        return x, mask

    def _begins(self, place: _Place) -> float:
        """Return when, in seconds of the recording, a window's first frame is."""
        item = self.items[place.item]
        if self.clock is None:
            return item.trial.start
        rate = self.rates[self.clock] or 1.0
        return item.trial.start + item.first_s[self.clock] + place.frame / rate * item.scale

    def _samples(self, place: _Place) -> int:
        item = self.items[place.item]
        if self.clock is None:
            length = self.window.length_s or self._trial_s()
        else:
            length = place.count / (self.rates[self.clock] or 1.0)
        return max(1, math.ceil(round((length + 2 * self.window.context_s) * (item.brain.rate or 1.0), 6)))

    def _target(self, places: Sequence[_Place]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name in self.targets:
            cut = []
            for place in places:
                item = self.items[place.item]
                data = item.targets[name]
                if item.frames[name]:
                    first = self._frame_on(name, place.frame)
                    count = self._count_on(name, place.count)
                    data = _pad_end(data[first : first + count], count)  # type: ignore[index]
                cut.append(data)
            values = np.stack([np.asarray(one, np.float32) for one in cut])
            for step in self._target_steps.get(name, ()):
                values = step.encode(values)
            found[name] = values
        return found

    def _count_on(self, name: str, clock_count: int) -> int:
        if name == self.clock or self.clock is None:
            return clock_count
        return round(clock_count / (self.rates[self.clock] or 1.0) * (self.rates[name] or 0.0))


class _Stitch:
    """Overlap-adds windows with triangular weights, so that seams are smooth and no time is stretched."""

    def __init__(self, frames: int, example: Array) -> None:
        self.static = frames == 0
        shape = example.shape if self.static else (frames, *example.shape[1:])
        self.sum = np.zeros(shape, np.float64)
        self.weight = np.zeros(() if self.static else (frames,) + (1,) * (len(shape) - 1), np.float64)

    def add(self, value: Array, start: int) -> None:
        if self.static:
            self.sum += value
            self.weight += 1.0
            return
        count = min(len(value), len(self.sum) - start)
        ramp = np.minimum(np.arange(1, len(value) + 1), np.arange(len(value), 0, -1)).astype(np.float64)[:count]
        ramp = ramp.reshape((-1,) + (1,) * (self.sum.ndim - 1))
        self.sum[start : start + count] += value[:count] * ramp
        self.weight[start : start + count] += ramp

    def result(self) -> Array:
        return (self.sum / np.maximum(self.weight, 1e-12)).astype(np.float32)


def make_item(
    trial: Trial,
    *,
    brain: Prepared,
    recording: Recording,
    spaces: Mapping[str, float | None],
    stimuli: Mapping[str, Prepared] | None,
    hidden_as: int | None = None,
) -> Item:
    """Cut the prepared targets to one trial by time. Without `stimuli` (a test view) only frames are counted.

    `spaces`: the frame rate of every target (None: static); `hidden_as`: the number that a test trial shows.
    """
    frames: dict[str, int] = {}
    first_s: dict[str, float] = {}
    targets: dict[str, Array | None] = {}
    start, stop = trial.stimulus_start, trial.stimulus_stop
    clocked = start is not None and stop is not None
    scale = trial.seconds / (stop - start) if clocked and stop > start else 1.0  # type: ignore[operator]
    for name, rate in spaces.items():
        prepared = stimuli[name] if stimuli is not None else None
        if rate is None:
            frames[name], first_s[name] = 0, 0.0
            targets[name] = None if prepared is None else prepared.data
            continue
        if not clocked:
            raise HubError(
                f"trial {trial.id} has no stimulus clock, but target {name} runs in time",
                "give stimulus_start",
            )
        low = math.ceil(start * rate - 1e-6)  # type: ignore[operator]
        count = max(0, math.floor(stop * rate + 1e-6) - low)  # type: ignore[operator]
        first_s[name] = (low / rate - start) * scale  # type: ignore[operator]
        frames[name] = count
        targets[name] = None if prepared is None else _frames_of(prepared, low, count, rate)
    shown = trial if hidden_as is None else trial.without_answers(hidden_as)
    return Item(trial, shown, brain, recording, targets, frames, first_s, scale)


def _frames_of(prepared: Prepared, low: int, count: int, rate: float) -> Array:
    """Return `count` frames at the times n / rate, n from `low`; a stretch's origin is on that grid."""
    first = low - round(prepared.origin * rate)
    index = np.clip(np.arange(first, first + count), 0, len(prepared.data) - 1)
    return np.asarray(prepared.data[index], np.float32)


def _copy(data: Array, start: int, out: Array) -> None:
    """Copy data[:, start : start + samples] into `out`, repeating the edges outside."""
    samples, total = out.shape[-1], data.shape[-1]
    low, high = max(0, start), min(total, start + samples)
    if high <= low:
        out[:] = data[:, :1] if start + samples <= 0 else data[:, -1:]
        return
    out[:, low - start : high - start] = data[:, low:high]
    if low > start:
        out[:, : low - start] = data[:, low : low + 1]
    if high < start + samples:
        out[:, high - start :] = data[:, high - 1 : high]


def _pad_end(data: Array, count: int) -> Array:
    data = np.asarray(data, np.float32)
    if len(data) >= count:
        return data
    if len(data) == 0:
        raise HubError("a trial is shorter than one target frame", "use longer trials or a higher target rate")
    return np.concatenate([data, np.repeat(data[-1:], count - len(data), axis=0)])


def _positions(items: Sequence[Item], channels: int) -> Array:
    out = np.full((len(items), channels, 3), np.nan, np.float32)
    for row, item in enumerate(items):
        known = item.recording.positions
        if known is not None and len(known) == item.brain.data.shape[0]:
            out[row, : len(known)] = known
    return out
