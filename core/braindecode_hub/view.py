"""View: the one way in which data reaches a component, as windows of one side of a split.

Windows belong to the view. Each window's `brain` begins `context_s` before its first target frame and ends as much
after its last; a test view has no targets, and its trials show a number, subject and session only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.gathering import Gathering, positions_of
from braindecode_hub.interfaces import Encoder
from braindecode_hub.items import Item, make_item, padded
from braindecode_hub.places import Places, one_each, tiled
from braindecode_hub.stitching import Overlap
from braindecode_hub.types import Array, Batch, NoTargets, Prediction, Space, Trial

__all__ = ["SEGMENT_S", "Item", "View", "Window", "make_item"]

SEGMENT_S = 30.0
"""`segments()` cuts longer trials here, so that the drift of the stimulus clock never adds up."""


LONGEST_S = 3600.0
"""Windows are arrays in memory, however short their trial."""


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
        longest = max(self.length_s or 0.0, self.context_s)
        if longest > LONGEST_S:
            raise HubError(
                f"a window of {longest:g} s is too long",
                f"give window.length_s and context_s up to {LONGEST_S:g}",
                usage=True,
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


class View:
    """Windows of one side. `through(encoder)` feeds what an encoder makes; `of(name)` feeds a target instead.

    `space`: what `Batch.brain` is in; `targets`: the target spaces; `rates`: their frame rates; `trials`. `channels`:
    the widest montage of the study, to which all are padded; `order`: which trial of the side each item is.
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
        channels: int = 0,
        order: Sequence[int] | None = None,
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
        self._channels = max([channels, *(item.brain.data.shape[0] for item in self.items)])
        self.order = list(range(len(self.items)) if order is None else order)
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
        places = self._places(self.window.length_s, self.window.hop_s, cover=True)
        order = np.arange(len(places)) if rng is None else rng.permutation(len(places))
        for start in range(0, len(order), size):
            yield self._batch(places[order[start : start + size]])

    def segments(self, seconds: float = SEGMENT_S) -> Iterator[Batch]:
        """Yield contiguous segments one by one (batch of 1, lengths differ), no frame twice."""
        places = self._places(seconds if self.clock else self.window.length_s, None, cover=False)
        for number in range(len(places)):
            yield self._batch(places[number : number + 1])

    def __len__(self) -> int:
        return len(self._places(self.window.length_s, self.window.hop_s, cover=True))

    def predict(self, decode: Callable[[Batch], Prediction], size: int = 64) -> list[Prediction]:
        """Decode every window and overlap-add the frames: for each item, arrays (frames, …) by target name.

        The predictions stand in the order of the side's trials, in whatever order they were shown.
        """
        found: list[Prediction] = [{} for _ in self.items]
        for number, name, first, values in self.flow(decode, size):
            frames = self._frames_in(number, name)
            if not frames:
                found[number][name] = values
                continue
            if name not in found[number]:
                found[number][name] = np.zeros((frames, *values.shape[1:]), np.float32)
            found[number][name][first : first + len(values)] = values
        return [found[number] for number in np.argsort(self.order)]

    def flow(self, decode: Callable[[Batch], Prediction], size: int = 64) -> Iterator[tuple[int, str, int, Array]]:
        """Decode window after window and yield (item, target, first frame, values) as soon as they are final.

        Only what later windows still add to is kept in memory. A static target comes once, with first frame 0.
        """
        places = self._covering()
        open_: dict[tuple[int, str], Overlap] = {}
        for start in range(0, len(places), size):
            some = places[start : start + size]
            for name, values in decode(self._batch(some)).items():
                for (number, frame, _), value in zip(some.rows(), np.asarray(values), strict=True):
                    if (number, name) not in open_:
                        open_[number, name] = Overlap(self._frames_in(number, name), value)
                    open_[number, name].add(value, self._frame_on(name, frame))
            following = next(places[start + size : start + size + 1].rows(), None)
            for (number, name), overlap in list(open_.items()):
                last = following is None or following[0] != number
                until = None if last or following is None else self._frame_on(name, following[1])
                first, done = overlap.take(until)
                if last:
                    del open_[number, name]
                if last or len(done):
                    yield number, name, first, done

    def _covering(self) -> Places:
        """Return every window; HubError naming a trial that holds none."""
        places = self._places(self.window.length_s, self.window.hop_s, cover=True)
        without = {*range(len(self.items))} - {*places.item.tolist()}
        if without:
            trial = self.items[min(without)].trial
            raise HubError(
                f"trial {trial.id} ({trial.seconds:g} s) holds no frame of {self.clock}",
                "leave it out, or make it longer",
            )
        return places

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
            "channels": self._channels,
            "order": self.order,
        } | changed
        return View(kept.pop("items"), **kept)

    def _trial_s(self) -> float:
        return min((item.trial.seconds for item in self.items), default=0.0)

    def _frames_in(self, number: int, name: str) -> int:
        """Return how many frames of a target an item has; of what a decoder has learned, as many as of the clock."""
        frames = self.items[number].frames
        return frames[name] if name in frames or self.clock is None else frames[self.clock]

    def _frame_on(self, name: str, clock_frame: int) -> int:
        """Return the frame of target `name` at which a window begins that begins at `clock_frame` of the clock."""
        if name == self.clock or self.clock is None or name not in self.rates:
            return clock_frame
        return round(clock_frame / (self.rates[self.clock] or 1.0) * (self.rates[name] or 0.0))

    def _places(self, length_s: float | None, hop_s: float | None, *, cover: bool) -> Places:
        """Tile every item: `cover` moves the last window back so that all are whole; else the last is short."""
        if self.clock is None:
            return one_each(len(self.items))
        totals = [item.frames[self.clock] for item in self.items]
        return tiled(totals, self.rates[self.clock] or 1.0, length_s, hop_s, cover=cover)

    @cached_property
    def _gathering(self) -> Gathering:
        clock, length_s = self.clock, self.window.length_s or self._trial_s()
        rate = None if clock is None else self.rates[clock]
        context_s = self.window.context_s
        return Gathering(self.items, self._channels, context_s, clock=clock, rate=rate, length_s=length_s)

    def _batch(self, places: Places) -> Batch:
        items = [self.items[number] for number in places.item.tolist()]
        rate = items[0].brain.rate
        x, mask = self._gathering.windows(places)
        batch = Batch(
            brain=x,
            trials=[item.shown for item in items],
            rate=rate,
            target=NoTargets() if items[0].targets[self._any_target()] is None else self._target(places),
            subject=np.array([self._numbers[item.recording.subject] for item in items]),
            positions=positions_of(items, x.shape[1]),
            channel_mask=mask,
        )
        for step in self._steps:
            batch = batch.behind(step.produces, step.encode(batch.brain, batch))
        if self._source != "brain":
            batch.brain, batch.rate = batch.target[self._source], self.rates[self._source]
            batch.channel_mask = batch.positions = None
        return batch

    def _any_target(self) -> str:
        return next(iter(self.targets))

    def _target(self, places: Places) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name in self.targets:
            cut = []
            for number, frame, clock_count in places.rows():
                item = self.items[number]
                data = item.targets[name]
                if item.frames[name]:
                    first, count = self._frame_on(name, frame), self._count_on(name, clock_count)
                    data = padded(data[first : first + count], count)  # type: ignore[index]
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
