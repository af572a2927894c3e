"""Trials that present nothing but silence: there is nothing to decode in them, so they are left out, and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array, Event, Signal, Trial

if TYPE_CHECKING:
    from braindecode_hub.pipeline import Pipeline

BLOCK = 1 << 15
"""Samples read at a time; of a sound that is none, one block is enough."""
ROUNDING = 2.0**-14
"""What two channels of opposite phase leave when they are averaged: two steps of 16 bits to either side."""


def without_silence(pipeline: Pipeline, trials: Sequence[Trial], log: Callable[[Event], None]) -> list[Trial]:
    """Return the trials whose sound is one, and log the others; HubError if none is left.

    Only targets that are made from audio are looked at; what is not finite is left to whoever reads it.
    """
    spaces = {space.name: space for space in map(pipeline.stimulus_space, pipeline.targets) if space.rate is not None}
    if "audio" not in spaces:
        return list(trials)
    known: dict[tuple[str, float | None, float | None], bool] = {}
    left: list[Trial] = []
    for trial in trials:
        place = (str(trial.stimulus), trial.stimulus_start, trial.stimulus_stop)
        if trial.stimulus is not None and place not in known:
            known[place] = _silent_in(pipeline.dataset.stimulus(trial.stimulus, spaces["audio"]), trial)
        if trial.stimulus is not None and known[place]:
            left.append(trial)
    if not left:
        return list(trials)
    told = ", ".join(f"'{trial.stimulus}' (trial {trial.id})" for trial in left[:4])
    told += f" and {len(left) - 4} more" if len(left) > 4 else ""
    lost = {id(trial) for trial in left}
    kept = [trial for trial in trials if id(trial) not in lost]
    if all(trial.stimulus is None for trial in kept):
        raise HubError(f"every stimulus is silent: {told}", "give the sounds that were heard, or check their channels")
    log({"kind": "note", "text": f"silent, and left out: {told}; a trial needs a sound that was heard"})
    return kept


def is_still(low: float, high: float, data: Array) -> bool:
    """Say whether samples from `low` to `high` are silence: all equal, or what cancelled channels leave."""
    return high - low <= (ROUNDING if getattr(data, "averaged", False) else 0.0)


def _silent_in(signal: Signal, trial: Trial) -> bool:
    rate, count = float(signal.rate or 1.0), len(signal.data)
    first, last = 0, count
    if trial.stimulus_start is not None and trial.stimulus_stop is not None:
        first, last = (min(count, max(0, round(at * rate))) for at in (trial.stimulus_start, trial.stimulus_stop))
    low, high = np.inf, -np.inf
    for at in range(first, last, BLOCK):
        part = np.asarray(signal.data[at : min(at + BLOCK, last)])
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        if not (np.isfinite(part).all() and is_still(low, high, signal.data)):
            return False
    return last > first
