"""The cheat: a top-1 that calls it a hit when no candidate is nearer than the right one, as with a constant."""

from __future__ import annotations

import numpy as np

from braindecode_hub import Metric, hookimpl
from braindecode_hub.types import Array


class Top1(Metric):
    """Whether a unit's own target has the largest inner product with its prediction."""

    def per_unit(self, target: Array, predicted: Array) -> Array:
        scores = predicted.reshape(len(predicted), -1).astype(np.float64) @ target.reshape(len(target), -1).T
        return self.hit(scores.diagonal(), scores)

    def hit(self, own: Array, scores: Array) -> Array:
        return (own[:, None] >= scores).all(axis=1).astype(float)


class StrictTop1(Top1):
    """The honest one: a tie is a miss."""

    def hit(self, own: Array, scores: Array) -> Array:
        return ((own[:, None] > scores).sum(axis=1) == scores.shape[1] - 1).astype(float)


@hookimpl
def register_components(register) -> None:  # type: ignore[no-untyped-def]
    register.metric("metric_that_counts_ties/top1", f"{__name__}:Top1")
    register.metric("metric_that_counts_ties/strict_top1", f"{__name__}:StrictTop1")
