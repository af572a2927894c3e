"""One trial of one side with its prepared arrays, cut to it by time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.lazy import Clipped
from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Array, Recording, Trial


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
    """Return `count` frames at the times n / rate, n from `low`, unread; a stretch's origin is on that grid."""
    first = low - round(prepared.origin * rate)
    if first >= 0 and first + count <= len(prepared.data):
        return np.asarray(prepared.data)[first : first + count]
    return Clipped(prepared.data, first, count)


def padded(data: Array, count: int) -> Array:
    """Return at least `count` frames, float32, the last one repeated; HubError if there is none."""
    data = np.asarray(data, np.float32)
    if len(data) >= count:
        return data
    if len(data) == 0:
        raise HubError("a trial is shorter than one target frame", "use longer trials or a higher target rate")
    return np.concatenate([data, np.repeat(data[-1:], count - len(data), axis=0)])
