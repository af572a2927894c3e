"""What ridge adds to an estimate for one new subject: closed form, strength and penalty chosen on validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from braindecode_hub.types import Array

ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Penalties tried, per frame, for inputs of unit variance (as `core/ridge`)."""
SHARES = (1.0, 0.5, 0.2, 0.1)
"""How much of the present estimate stays beside what is added, as shares of its regression slope on the target."""
FEWEST = 3
"""Validation windows without which nothing is added."""
SAME = 0.999
"""Targets whose cosine is at least this are one and the same."""
LEAST_SLOPE = 0.02
"""Where the present estimate says nothing of the target, or its opposite, it still counts so much."""


@dataclass(frozen=True)
class Windows:
    """Some windows of the subject: inputs (windows, frames, lags · channels), what is estimated now and what should be.

    `estimate`, `target`: (windows, frames, dims), in the space that is compared, around its centre.
    """

    inputs: Array
    estimate: Array
    target: Array


@dataclass(frozen=True)
class Addition:
    """What is added to the estimate: weights (lags · channels, dims) and offset (dims,), float32.

    `alpha` None: nothing; `matched`: what validation says of it, `before` of the estimate as it was.
    """

    weights: Array
    offset: Array
    alpha: float | None
    share: float
    matched: float
    before: float


def solve(train: Iterable[Windows], val: Iterable[Windows]) -> Addition:
    """Return the addition with which validation windows match their own targets best; nothing, if none surely helps.

    It must match better by more than a standard error over windows: few minutes are to do no harm. The target less a
    share of the estimate is regressed on the inputs; the solution, divided by that share, is added: the estimate's own
    scale stays. A small share or penalty leaves little of what was estimated before.
    """
    sums, held = _Sums(train), [*val]
    start = matched(*_joined(held, None))
    before = float(start.mean())
    nothing = np.zeros((sums.xx.shape[0], len(sums.t)), np.float32), np.zeros(len(sums.t), np.float32)
    best = Addition(*nothing, None, 0.0, before, before)
    slope = max(sums.slope(), LEAST_SLOPE)
    for share in SHARES:
        for alpha, weights, offset in sums.solutions(share * slope):
            each = matched(*_joined(held, (weights, offset)))
            if each.mean() > best.matched and _surely(each - start):
                best = Addition(weights, offset, alpha, share, float(each.mean()), before)
    return best


def matched(estimate: Array, target: Array) -> Array:
    """Return by how much each estimate (windows, …) is more like its own target than like the others': (windows,).

    In cosines, the others' mean. Windows of equal target are no others; with no others at all, only its own counts.
    """
    own, every = (_units(x) for x in (estimate, target))
    scores = own @ every.T
    other = every @ every.T < SAME
    rest: Array = (scores * other).sum(axis=1) / np.maximum(other.sum(axis=1), 1)
    return np.asarray(scores.diagonal() - rest)


def _surely(more: Array) -> bool:
    """Say whether the mean of differences is above 0 by more than its standard error."""
    return len(more) >= FEWEST and float(more.mean()) > float(more.std(ddof=1)) / np.sqrt(len(more))


class _Sums:
    """Sums over windows, from which slope and solutions follow: x inputs, e estimate, t target, frame by frame."""

    def __init__(self, windows: Iterable[Windows]) -> None:
        self.n, first = 0, True
        for some in windows:
            x, e, t = (_rows(one) for one in (some.inputs, some.estimate, some.target))
            found: dict[str, Any] = {"x": x.sum(axis=0), "e": e.sum(axis=0), "t": t.sum(axis=0)}
            found |= {
                "xx": x.T @ x,
                "xe": x.T @ e,
                "xt": x.T @ t,
                "ee": float((e * e).sum()),
                "et": float((e * t).sum()),
            }
            self.n += len(x)
            for name, value in found.items():
                setattr(self, name, value if first else getattr(self, name) + value)
            first = False

    def slope(self) -> float:
        """Return how much of the target one unit of the estimate stands for, by least squares through the means."""
        squares = self.ee - float(self.e @ self.e) / self.n  # type: ignore[attr-defined]
        return (self.et - float(self.e @ self.t) / self.n) / squares if squares > 0 else 0.0  # type: ignore[attr-defined]

    def solutions(self, kept: float) -> Iterator[tuple[float, Array, Array]]:
        """Yield, for every penalty, weights and offset of what is left of t beside `kept` · e, divided by `kept`."""
        x, y = self.x / self.n, (self.t - kept * self.e) / self.n  # type: ignore[attr-defined]
        gram = self.xx / self.n - np.outer(x, x)  # type: ignore[attr-defined]
        cross = (self.xt - kept * self.xe) / self.n - np.outer(x, y)  # type: ignore[attr-defined]
        sd = np.sqrt(np.maximum(np.diag(gram), 0.0))
        there = sd > 1e-6 * sd.max(initial=0.0)
        scale = np.where(there, 1.0 / np.where(there, sd, 1.0), 0.0)
        values, vectors = scipy.linalg.eigh(gram * np.outer(scale, scale))
        rotated = vectors.T @ (scale[:, None] * cross)
        for alpha in ALPHAS:
            weights = scale[:, None] * (vectors @ (rotated / (np.maximum(values, 0.0) + alpha)[:, None])) / kept
            yield alpha, weights.astype(np.float32), (y / kept - x @ weights).astype(np.float32)


def _joined(windows: Iterable[Windows], added: tuple[Array, Array] | None) -> tuple[Array, Array]:
    """Return estimates, with what is added, and targets of all windows."""
    parts = []
    for some in windows:
        extra = 0.0 if added is None else some.inputs @ added[0] + added[1]
        parts.append((some.estimate + extra, some.target))
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


def _units(x: Array) -> Array:
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0)


def _rows(x: Array) -> Array:
    return np.asarray(x, np.float64).reshape(-1, x.shape[-1])
