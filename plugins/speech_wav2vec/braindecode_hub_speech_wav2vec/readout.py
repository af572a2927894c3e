"""From a learned space back to the target that it was learned from: a linear read-out in closed form."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from braindecode_hub.types import Array

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Tried on validation, as shares of the mean variance of an estimate."""

Pairs = Iterable[tuple[Array, Array]]
"""(rows, dims) of estimates and (rows, bins) of targets, part by part."""


def fit_readout(train: Pairs, val: Pairs, prior: Array | None) -> tuple[Array, Array]:
    """Return weights (dims, bins) and offset (bins,) float32 with the smallest squared error on validation.

    Ridge regression that draws the weights towards `prior` (None: 0); `prior` itself, with no offset, is one of
    those that are tried.
    """
    learned, held = _Moments(train), _Moments(val)
    start = np.zeros((learned.xx.shape[0], learned.xy.shape[1])) if prior is None else np.asarray(prior, np.float64)
    x_mean, y_mean = learned.x / learned.n, learned.y / learned.n
    gram = learned.xx / learned.n - np.outer(x_mean, x_mean)
    cross = learned.xy / learned.n - np.outer(x_mean, y_mean) - gram @ start
    unit = np.trace(gram) / len(gram) or 1.0
    tried = [] if prior is None else [(start, np.zeros(start.shape[1]))]
    for penalty in PENALTIES:
        weights = start + np.linalg.solve(gram + penalty * unit * np.eye(len(gram)), cross)
        tried.append((weights, y_mean - x_mean @ weights))
    weights, offset = min(tried, key=lambda one: held.error(*one))
    return weights.astype(np.float32), offset.astype(np.float32)


class _Moments:
    """Sums over pairs, from which solutions and errors follow."""

    def __init__(self, pairs: Pairs) -> None:
        self.n = 0
        for x, y in pairs:
            x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
            if not self.n:
                self.x, self.y, self.yy = np.zeros(x.shape[1]), np.zeros(y.shape[1]), 0.0
                self.xx, self.xy = np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1], y.shape[1]))
            self.n += len(x)
            self.x, self.y, self.yy = self.x + x.sum(axis=0), self.y + y.sum(axis=0), self.yy + float((y**2).sum())
            self.xx, self.xy = self.xx + x.T @ x, self.xy + x.T @ y

    def error(self, weights: Array, offset: Array) -> float:
        """Return the mean squared error of x @ weights + offset."""
        fitted = np.sum(weights * (self.xx @ weights)) - 2 * np.sum(weights * self.xy)
        moved = 2 * offset @ (self.x @ weights) - 2 * offset @ self.y + self.n * offset @ offset
        return float(self.yy + fitted + moved) / self.n
