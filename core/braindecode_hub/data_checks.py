"""What is wrong with data before any pipeline sees it: samples scaled as a whole, one stimulus under two names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from braindecode_hub.overlap import hashes_of
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Recording

EXACT = 1e-4
"""A mean this near to 0 and an SD this near to 1, in every channel, are no accident."""
CHUNK = 1 << 16
"""Samples read at a time."""


def oddities(study: Study, fold: Fold) -> list[str]:
    """Return one line for each recording that was scaled as a whole, and each stimulus that has two names.

    What a dataset does before it hands out samples is seen by no canary: a mean and an SD of the whole recording,
    test side included, can only be recognised by being exactly 0 and 1.
    """
    return [*_scaled(study, fold), *_renamed(study, fold)]


def scaling(recording: Recording) -> str | None:
    """Say how a recording was scaled as a whole: to mean 0 and SD 1, or to a range of 1; None if it was not.

    Channels that are constant, not finite or marked bad do not count, nor does a range where all samples are whole
    numbers (spikes, triggers).
    """
    names = recording.brain.channels
    good = [n for n in range(recording.brain.data.shape[0]) if n >= len(names) or names[n] not in recording.bads]
    count, total, squares, whole = 0, 0.0, 0.0, True
    low, high = np.inf, -np.inf
    shift: Any = None
    for x in _chunks(recording.brain.data):
        x = np.asarray(x, np.float64)[good]
        shift = x[:, :1] if shift is None else shift
        count += x.shape[1]
        total, squares = total + (x - shift).sum(axis=1), squares + ((x - shift) ** 2).sum(axis=1)
        low, high = np.minimum(low, x.min(axis=1)), np.maximum(high, x.max(axis=1))
        whole = whole and bool((x == np.rint(x)).all())
    if count < 2:
        return None
    mean = total / count
    sd = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    mean = mean + shift[:, 0]
    there = np.isfinite(sd) & (sd > 0)
    if not there.any():
        return None
    if (np.abs(mean[there]) < EXACT).all() and (np.abs(sd[there] - 1) < EXACT).all():
        return "mean 0 and SD 1"
    ranges = [(0.0, 1.0), (-1.0, 1.0)] if not whole else []
    for a, b in ranges:
        if (np.abs(low - a)[there] < EXACT).all() and (np.abs(high - b)[there] < EXACT).all():
            return f"a range from {a:g} to {b:g}"
    return None


def _scaled(study: Study, fold: Fold) -> Iterator[str]:
    for id in sorted({trial.recording for trial in fold.test}):
        found = scaling(study.pipeline.dataset.recording(id))
        if found is not None:
            yield (
                f"recording {id} was scaled as a whole, test side included: {found} in every channel; "
                "hand out samples as they were recorded, and scale in a step such as core/zscore"
            )


def _renamed(study: Study, fold: Fold) -> Iterator[str]:
    if study.split.closed_set:
        return
    test = hashes_of(study.pipeline, fold.test)
    for side in ("train", "val"):
        other = hashes_of(study.pipeline, fold.side(side))  # type: ignore[arg-type]
        both = sorted((*test[one], *other[one]) for one in test.keys() & other.keys())
        if both:
            ours, at, theirs, there = both[0]
            yield (
                f"stimulus {ours} at {at:g} s (test) is the same as {theirs} at {there:g} s ({side}), "
                f"{len(both)} times so: one stimulus needs one name"
            )


def _chunks(data: Array) -> Iterator[Array]:
    for start in range(0, int(data.shape[-1]), CHUNK):
        yield data[:, start : start + CHUNK]
