"""What was presented beside what was recorded: clocks, lengths, trials, and whether sound is in the electrodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from braindecode_hub.contamination import Contamination, Coupling
from braindecode_hub.interfaces import Dataset
from braindecode_hub.rates import fitting_rates
from braindecode_hub.signal_checks import read, spread
from braindecode_hub.silence import is_still
from braindecode_hub.types import Array, Context, Recording, Signal, Trial

SOUND_S = 10.0
LOOK_S, LOOKED_AT_S = 4.0, 60.0
"""So much of every sound is looked at, in stretches of 4 s spread over it."""
MOST_STIMULI = 64
"""So many sounds of a recording are opened for their length."""


@dataclass(frozen=True)
class Sound:
    """The check for sound in the electrodes: the largest index, its channel and p; `why`: it was not made."""

    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    index: float | None = None
    level: float | None = None
    p: float | None = None
    channel: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Clocks:
    """Stimuli and clocks: parts per million by which the recording is longer than the stimulus.

    `ppm`: from the trials' two clocks, weighted by length (`low`, `high`: smallest and largest trial); `length_ppm`:
    from the lengths of one whole recording and one whole sound; `fits`: usual rates that would make them equal.
    `faults`: which stimuli are silent, or not finite.
    """

    stimuli: int
    seconds: float | None
    rate: float | None
    ppm: float | None
    low: float | None
    high: float | None
    length_ppm: float | None
    fits: tuple[float, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trials:
    """The trials of a recording in seconds; `outside`, `overlapping`: ids; `gaps`: smallest and largest between two."""

    count: int
    seconds: tuple[float, float, float]
    gaps: tuple[float, float] | None
    outside: tuple[str, ...]
    overlapping: tuple[str, ...]
    repeated: int
    kinds: dict[str, int] = field(default_factory=dict)


def clocks_of(dataset: Dataset, recording: Recording, trials: Sequence[Trial]) -> Clocks:
    """Compare the clocks of a recording and of what was presented in it, and look at up to a minute of each sound."""
    shown = sorted({str(trial.stimulus) for trial in trials if trial.stimulus is not None})
    sounds = _opened(dataset, shown[:MOST_STIMULI])
    clocked = [
        (t.seconds, t.stimulus_stop - t.stimulus_start)
        for t in trials
        if t.stimulus_start is not None and t.stimulus_stop is not None and t.stimulus_stop > t.stimulus_start
    ]
    ppm = [1e6 * (brain / stimulus - 1) for brain, stimulus in clocked]
    weighted = 1e6 * (sum(b for b, _ in clocked) / sum(s for _, s in clocked) - 1) if clocked else None
    lengths = [len(one.data) / one.rate for one in sounds if one.rate]
    apart, fits = None, tuple[float, ...]()
    if len(trials) == len(lengths) == 1 and _whole(trials[0], recording.seconds, lengths[0]):
        off = recording.seconds - lengths[0]
        apart = 0.0 if abs(off) * (recording.brain.rate or 1.0) < 1.5 else 1e6 * off / lengths[0]
        near = fitting_rates(int(recording.brain.data.shape[-1]), lengths[0])
        fits = tuple(rate for rate, left in near if abs(left) < abs(apart))
    return Clocks(
        stimuli=len(shown),
        seconds=sum(lengths) if lengths else None,
        rate=next((float(one.rate) for one in sounds if one.rate), None),
        ppm=weighted,
        low=min(ppm, default=None),
        high=max(ppm, default=None),
        length_ppm=apart,
        fits=fits,
        faults=tuple(fault for id, one in zip(shown, sounds, strict=False) if (fault := _fault(id, one)) is not None),
    )


def _fault(id: str, signal: Signal) -> str | None:
    """Say what is wrong with the samples of a stimulus, in up to a minute of it; None if nothing is."""
    if not signal.rate:
        return None
    low, high = np.inf, -np.inf
    for start, stop in spread(len(signal.data) / signal.rate, LOOK_S, LOOKED_AT_S):
        part = np.asarray(signal.data[round(start * signal.rate) : round(stop * signal.rate)], np.float64)
        if not np.isfinite(part).all():
            first = int(np.argwhere(~np.isfinite(part))[0][0])
            return f"'{id}' is not finite at {start + first / signal.rate:.3f} s: a run stops there"
        low, high = min(low, float(part.min(initial=np.inf))), max(high, float(part.max(initial=-np.inf)))
    return f"'{id}' is silent: no sample differs from another" if is_still(low, high, signal.data) else None


def _whole(trial: Trial, brain_s: float, sound_s: float) -> bool:
    """Say whether a trial is all of a recording and all of a sound, cut to the shorter of both."""
    ends = (trial.stop, trial.stimulus_stop)
    return trial.start == trial.stimulus_start == 0.0 and ends == (min(brain_s, sound_s),) * 2


def _opened(dataset: Dataset, ids: Sequence[str]) -> list[Signal]:
    space = next((space for space in dataset.stimuli_spaces if space.rate is not None), None)
    return [] if space is None else [dataset.stimulus(id, space) for id in ids]


def trials_of(recording: Recording, trials: Sequence[Trial]) -> Trials:
    """Summarise the trials of a recording."""
    ordered = sorted(trials, key=lambda t: (t.start, t.stop))
    lengths = [t.seconds for t in ordered]
    gaps = [b.start - a.stop for a, b in pairwise(ordered)]
    slack = 1.0 / (recording.brain.rate or 1.0)
    shown = [t.stimulus for t in ordered if t.stimulus is not None]
    kinds: dict[str, int] = {}
    for trial in ordered:
        for key in trial.groups:
            kinds[key] = len({t.groups.get(key) for t in ordered})
    return Trials(
        count=len(ordered),
        seconds=(min(lengths), float(np.median(lengths)), max(lengths)),
        gaps=(min(gaps), max(gaps)) if gaps else None,
        outside=tuple(t.id for t in ordered if t.start < -slack or t.stop > recording.seconds + slack),
        overlapping=tuple(b.id for b, gap in zip(ordered[1:], gaps, strict=True) if gap < -slack),
        repeated=len(shown) - len({(t.stimulus, t.stimulus_start) for t in ordered if t.stimulus is not None}),
        kinds=kinds,
    )


def sound_in(
    dataset: Dataset, recording: Recording, trials: Sequence[Trial], good: Array, seconds: float
) -> Coupling | str:
    """Look for the presented sound in the good channels (channels,); or say why that cannot be done.

    `seconds`: so much of the trials is compared, in stretches of 10 s spread over them.
    """
    rate = float(recording.brain.rate or 0.0)
    audio = next((space for space in dataset.stimuli_spaces if space.name == "audio"), None)
    heard = [t for t in trials if t.stimulus is not None and t.stimulus_start is not None and t.seconds >= 5.0]
    if audio is None or not heard:
        return "no sound of 5 s or more was presented"
    check = Contamination(len(good), rate)
    for trial, start, stop in _inside(heard, seconds):
        signal = dataset.stimulus(str(trial.stimulus), audio)
        if signal.rate is None:
            continue
        cut = trial.cut(start, stop, trial.id)
        first, last = (round((at or 0.0) * signal.rate) for at in (cut.stimulus_start, cut.stimulus_stop))
        brain = read(recording.brain.data, rate, start, stop)
        check.add(brain, np.asarray(signal.data[first:last]), signal.rate, good & np.isfinite(brain).all(axis=1))
    found = check.result(Context(seed=0).rng("inspect", "sound", recording.id))
    if found is None:
        return f"at {rate:g} Hz there are too few frequencies to compare, or the sound is silent"
    return found


def told_of(found: Coupling | str, names: Sequence[str], good: Array) -> Sound:
    """Return the result for the channel with the largest index among the good ones."""
    if isinstance(found, str):
        return Sound(why=found)
    worst = int(np.argmax(np.where(good, found.index, -np.inf)))
    index, p = float(found.index[worst]), float(found.p[worst])
    return Sound(found.seconds, found.low, found.high, index, found.level, p, names[worst])


def _inside(trials: Sequence[Trial], seconds: float) -> list[tuple[Trial, float, float]]:
    """Return stretches (trial, start, stop) of up to 10 s inside trials, evenly spread over all of them."""
    cells = [
        (trial, start, min(start + SOUND_S, trial.stop))
        for trial in trials
        for start in np.arange(trial.start, max(trial.stop - SOUND_S / 2, trial.start + 1e-9), SOUND_S)
    ]
    count = min(len(cells), max(1, int(seconds // SOUND_S)))
    return [cells[int(k)] for k in np.unique(np.linspace(0, len(cells) - 1, count).astype(int))]
