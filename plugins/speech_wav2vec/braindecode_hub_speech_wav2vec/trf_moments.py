"""What a temporal response function needs to know of its trials: sums of products of lagged signals, and no samples.

They add up over trials, so leaving trials out is a subtraction, and every penalty is tried on the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import scipy.linalg

from braindecode_hub.types import Array


@dataclass(frozen=True)
class Moments:
    """Sums over `n` rows of predictors (columns,) and responses (outputs,): means, products, squares; float64.

    Columns are predictors × lags, the lags of one predictor beside one another.
    """

    n: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    @classmethod
    def of(cls, x: Array, y: Array) -> Moments:
        """Return the sums of x (rows, columns) and y (rows, outputs)."""
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, (y**2).sum(axis=0))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )


def total(some: list[Moments]) -> Moments:
    """Return the sum of one or more."""
    return reduce(add, some)


@dataclass(frozen=True)
class Weights:
    """A linear map: rows (…, columns) @ `slope` (columns, outputs) + `intercept` (outputs,); in the signals' units."""

    slope: Array
    intercept: Array
    mean: Array
    """Of the training predictors, (columns,)."""

    def squared_error(self, held: Moments) -> Array:
        """Return the summed squared error (outputs,) on the rows behind `held`."""
        slope, at = self.slope, self.intercept
        explained = np.einsum("po,po->o", slope, held.xx @ slope - 2.0 * held.xy)
        return held.yy + explained + 2.0 * at * (held.x @ slope - held.y) + held.n * at**2


class Solver:
    """Ridge on some training rows, factored once: each predictor at unit variance, `penalty` (columns,) per row.

    The SD of a predictor is taken over all of its lags, so that it is one number; a constant one gets weight 0.
    """

    def __init__(self, train: Moments, penalty: Array, lags: int) -> None:
        self.mean, self._n = train.x / train.n, train.n
        gram = train.xx / train.n - np.outer(self.mean, self.mean)
        sd = np.sqrt(np.maximum(np.diag(gram).reshape(-1, lags).mean(axis=1), 0.0))
        sd[sd <= 1e-6 * np.sqrt(np.diag(train.xx).reshape(-1, lags).mean(axis=1) / train.n)] = 0.0
        self._scale = np.repeat(np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0), lags)
        gram *= self._scale[:, None]
        gram *= self._scale
        gram[np.diag_indices_from(gram)] += penalty
        self._factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    def slope(self, xy: Array, y: Array) -> Array:
        """Return the slopes (columns, outputs) for sums of products (columns, outputs) and of outputs (outputs,)."""
        scale = self._scale[:, None]
        cross = scale * (xy / self._n - np.outer(self.mean, y / self._n))
        return scale * scipy.linalg.cho_solve(self._factor, cross, overwrite_b=True, check_finite=False)

    def weights(self, train: Moments) -> Weights:
        """Return the whole map for the responses of the training rows."""
        slope = self.slope(train.xy, train.y)
        return Weights(slope, train.y / train.n - self.mean @ slope, self.mean)


class Penalties:
    """Chooses one penalty for each band of predictors: a coarse search that ends where no neighbour is better.

    First one penalty for all bands among `alphas`; then, band by band, the grid is walked up and down. What is
    minimised is the squared error on what was held out, each output in units of its variance.
    """

    def __init__(self, bands: Mapping[str, Array], lags: int, alphas: tuple[float, ...]) -> None:
        self.bands = dict(bands)
        self.alphas = tuple(sorted(alphas))
        self.lags = lags
        self._solved: dict[tuple[object, tuple[int, ...]], Weights] = {}

    def vector(self, steps: tuple[int, ...]) -> Array:
        """Return the penalty of every column (columns,) for one place on the grid for each band."""
        size = sum(len(columns) for columns in self.bands.values())
        found = np.empty(size * self.lags)
        for columns, step in zip(self.bands.values(), steps, strict=True):
            for column in columns:
                found[column * self.lags : (column + 1) * self.lags] = self.alphas[step]
        return found

    def choose(self, folds: list[tuple[object, Moments, Moments]]) -> tuple[int, ...]:
        """Return the best places on the grid; `folds`: (name of the training rows, training, held out)."""
        scores: dict[tuple[int, ...], float] = {}
        if len(self.alphas) == 1:
            return (0,) * len(self.bands)

        def score(steps: tuple[int, ...]) -> float:
            if steps not in scores:
                scores[steps] = sum(self._error(name, train, held, steps) for name, train, held in folds)
            return scores[steps]

        best = min(((step,) * len(self.bands) for step in range(len(self.alphas))), key=score)
        while len(self.bands) > 1:
            before = best
            for band in range(len(self.bands)):
                near = [best[band] + move for move in (-1, 1, -2, 2) if 0 <= best[band] + move < len(self.alphas)]
                best = min([best, *((*best[:band], step, *best[band + 1 :]) for step in near)], key=score)
            if best == before:
                break
        return best

    def _error(self, name: object, train: Moments, held: Moments, steps: tuple[int, ...]) -> float:
        if (name, steps) not in self._solved:
            self._solved[name, steps] = Solver(train, self.vector(steps), self.lags).weights(train)
        variance = train.yy / train.n - (train.y / train.n) ** 2
        floor = 1e-12 * train.yy / train.n
        error = self._solved[name, steps].squared_error(held) / held.n
        return float(np.divide(error, variance, out=np.zeros_like(error), where=variance > floor).mean())
