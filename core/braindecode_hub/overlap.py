"""Does the test side hold what shipped weights were trained on? Stimuli are known by the hashes of their seconds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Component
from braindecode_hub.pipeline import Pipeline
from braindecode_hub.splits import Fold, Interval, Side, merge
from braindecode_hub.types import Array, Signal, Trial

LEAST = 64
"""Media of fewer numbers, or of no more than two different ones (labels, triggers, silence), are equal by chance."""

WHOLE: Interval = (-math.inf, math.inf)


def media_hashes(signal: Signal, interval: Interval = WHOLE) -> dict[str, float]:
    """Return the hash of every whole second of a stimulus, and at which second it begins; a still has one, at 0.

    Seconds are counted on the stimulus's own clock, from 0, and only those that lie in `interval` (s). Sound is
    hashed as 16-bit samples, so that a file and its lossless copy agree; anything else bit by bit. A second
    that says too little (`LEAST`) has none. Returns {} for text and labels.
    """
    if not hasattr(signal.data, "shape"):
        return {}
    if signal.rate is None:
        return dict.fromkeys(_hash(np.asarray(signal.data)), 0.0)
    count = int(signal.data.shape[0])
    first, last = max(0, math.ceil(interval[0] - 1e-6)) if interval[0] > 0 else 0, min(interval[1], count / signal.rate)
    found: dict[str, float] = {}
    for second in range(first, math.floor(last + 1e-6)):
        low, high = (round(at * signal.rate) for at in (second, second + 1))
        for name in _hash(np.asarray(signal.data[low:high])):
            found[name] = float(second)
    if not found and count < signal.rate:
        return dict.fromkeys(_hash(np.asarray(signal.data[:count])), 0.0)
    return found


def hashes_of(pipeline: Pipeline, trials: Sequence[Trial]) -> dict[str, tuple[str, float]]:
    """Return the hashes of everything that trials present, in every space that a target is made from.

    {hash: (stimulus, second)}.
    """
    heard: dict[str, list[Interval]] = {}
    for trial in trials:
        clock = (trial.stimulus_start, trial.stimulus_stop)
        heard.setdefault(str(trial.stimulus), []).append(WHOLE if None in clock else clock)  # type: ignore[arg-type]
    found: dict[str, tuple[str, float]] = {}
    spaces = {space.name: space for space in (pipeline.stimulus_space(name) for name in pipeline.targets)}
    for space in spaces.values():
        for id, intervals in sorted(heard.items()):
            signal = pipeline.dataset.stimulus(id, space)
            for interval in merge(intervals):
                found |= {name: (id, second) for name, second in media_hashes(signal, interval).items()}
    return found


def check_overlap(pipeline: Pipeline, folds: Sequence[Fold], side: Side) -> None:
    """Raise HubError if weights of any component were trained on a stimulus of the side that is scored."""
    known = {name: frozenset(part.trained_on()) for name, part in components(pipeline).items()}
    if not any(known.values()):
        return
    held = hashes_of(pipeline, [trial for fold in folds for trial in fold.side(side)])
    for name, hashes in known.items():
        both = sorted((held[one], one) for one in hashes & held.keys())
        if both:
            (stimulus, second), _ = both[0]
            raise HubError(
                f"the weights of {name} were trained on what the {side} side presents: {stimulus} at {second:g} s"
                + (f", and {len(both) - 1} more" if len(both) > 1 else ""),
                "use weights that have not seen these stimuli, or keep the stimuli out of the dataset",
            )


def components(pipeline: Pipeline) -> dict[str, Component]:
    """Return every component of a pipeline by where it stands in the configuration."""
    found: dict[str, Any] = {}
    for target, chain in pipeline.targets.items():
        found |= {f"targets.{target}.{n}": step for n, step in enumerate(chain.steps)}
    found |= {f"encoder.{n}": step for n, step in enumerate(pipeline.encoder.steps)}
    found |= {"decoder": pipeline.decoder, "renderer": pipeline.renderer, "baseline": pipeline.baseline}
    found |= {f"beside.{n}": part for n, part in enumerate(pipeline.beside.values())}
    return {name: part for name, part in found.items() if part is not None}


def _hash(data: Array) -> list[str]:
    """Return the hash of one second or still, none where it says too little."""
    if data.size < LEAST or ((data == data.min()) | (data == data.max())).all():
        return []
    if np.issubdtype(data.dtype, np.floating) and data.ndim == 1 and float(np.abs(data).max()) <= 1.0:
        data = np.asarray(np.clip(np.rint(data.astype(np.float64) * 32768), -32768, 32767), np.int16)
    kept = np.ascontiguousarray(data)
    return [hashlib.sha256(f"{kept.dtype} {kept.shape}".encode() + kept.tobytes()).hexdigest()]
