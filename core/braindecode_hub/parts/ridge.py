"""core/ridge: lagged linear regression in closed form, its penalty chosen on validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Decoder, Encoder
from braindecode_hub.types import ANY, Array, Batch, Context, Prediction, Space
from braindecode_hub.view import View

MOST_LAGS = 100_000


class Ridge(Decoder):
    """Each target frame from the brain at several lags, by ridge regression.

    `lags_s`: [first, last] lag in seconds, brain time − stimulus time: positive means the brain follows.
    `lag_step_s`: their spacing. Features are scaled to unit variance; `alphas`: penalties tried, per frame; the one
    with the smallest squared error on validation stays. For static targets one frame is predicted, at the window's
    start. Hoerl & Kennard 1970; as a backward model of speech, Crosse et al. 2016.
    """

    control_refits = 20

    def __init__(
        self,
        *,
        lags_s: tuple[float, float] = (0.0, 0.3),
        lag_step_s: float = 0.04,
        alphas: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    ) -> None:
        self.lags_s = lags_s
        self.lag_step_s = lag_step_s
        self.alphas = alphas

    @property
    def consumes(self) -> Space:
        """Any features over time."""
        return ANY

    @property
    def produces(self) -> tuple[Space, ...]:
        """Every target of the pipeline."""
        return (ANY,)

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Solve for every penalty at once from the Gram matrix, and keep the best on validation."""
        if train.space.rate is None or train.space.time_axis not in (None, len(train.space.dims) - 1):
            raise HubError(
                f"core/ridge needs features over time, time last; it gets {train.space}",
                "choose another encoder",
            )
        if not self.alphas or not all(0 < alpha < np.inf for alpha in self.alphas):
            raise HubError(
                f"core/ridge: alphas are {list(self.alphas)}", "give penalties above 0: [0.1, 1, 10]", usage=True
            )
        self._check_context(train)
        sums, held = _Sums(self, train), _Sums(self, val)
        x_mean, y_mean = sums.x / sums.n, sums.y / sums.n
        gram = sums.xx / sums.n - np.outer(x_mean, x_mean)
        cross = sums.xy / sums.n - np.outer(x_mean, y_mean)
        scale = _safe_inverse(np.sqrt(np.maximum(np.diag(gram), 0.0)))
        values, vectors = scipy.linalg.eigh(gram * np.outer(scale, scale))
        rotated = vectors.T @ (scale[:, None] * cross)
        errors, solutions = [], []
        for alpha in self.alphas:
            weights = scale[:, None] * (vectors @ (rotated / (np.maximum(values, 0.0) + alpha)[:, None]))
            intercept = y_mean - x_mean @ weights
            errors.append(held.squared_error(weights, intercept))
            solutions.append((weights, intercept))
        best = int(np.argmin(errors))
        weights, intercept = solutions[best]
        self.weights_ = weights.astype(np.float32)
        self.intercept_ = intercept.astype(np.float32)
        self.alpha_ = float(self.alphas[best])
        self.errors_ = [float(error) for error in errors]
        self.layout_ = sums.layout
        self.times_ = {
            name: [float(t) for t in train.frame_times(name, _frames(train, name))] for name in train.targets
        }
        self.static_ = [name for name, rate in train.rates.items() if rate is None]
        self.rate_ = float(train.space.rate)
        for step, error in enumerate(errors):
            ctx.log({"kind": "scalar", "tag": "ridge/validation_error", "step": step, "value": float(error)})

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict, from z (batch, channels, time), every target as (batch, frames, …) or, static, (batch, …)."""
        out: Prediction = {}
        at = 0
        for name, shape in self.layout_:
            size = int(np.prod(shape))
            rows = self._features(z, np.asarray(self.times_[name]))
            values = rows @ self.weights_[:, at : at + size] + self.intercept_[at : at + size]
            values = values.reshape(len(z), -1, *shape)
            out[name] = values[:, 0] if name in self.static_ else values
            at += size
        return out

    def kernels(self) -> Array:
        """Return the weights as (lags, channels, target bins): what each electrode adds at each lag."""
        lags = len(self.lags())
        return self.weights_.reshape(lags, -1, self.weights_.shape[1])

    def lags(self) -> Array:
        """Return the lags in seconds."""
        first, last = self.lags_s
        if last < first:
            raise HubError(
                f"core/ridge: lags_s goes from {first:g} to {last:g}",
                "give the smaller lag first",
                usage=True,
            )
        if not self.lag_step_s > 0:
            raise HubError(f"core/ridge: lag_step_s is {self.lag_step_s:g}", "give seconds above 0", usage=True)
        if (last - first) / self.lag_step_s >= MOST_LAGS:
            raise HubError(
                f"core/ridge: lags_s from {first:g} to {last:g} s every {self.lag_step_s:g} s are too many",
                f"give fewer than {MOST_LAGS}",
                usage=True,
            )
        return np.arange(int((last - first) / self.lag_step_s + 1e-6) + 1) * self.lag_step_s + first

    def _check_context(self, view: View) -> None:
        """Refuse lags for which a window holds no brain."""
        context, lags = view.window.context_s, self.lags()
        after = context if view.clock else context + (view.window.length_s or 0.0)
        slack = 1.0 / float(view.space.rate or 1.0)
        if lags[0] < -context - slack or lags[-1] > after + slack:
            raise HubError(
                f"core/ridge looks from {lags[0]:g} to {lags[-1]:g} s, but a window's context is {context:g} s",
                f"--set window.context_s={max(abs(lags[0]), abs(lags[-1])):g}, or narrower lags_s",
                usage=True,
            )

    def _features(self, x: Array, times: Array, rate: float | None = None) -> Array:
        """Return (batch · frames, lags · channels) float32: x at every frame time plus every lag."""
        rate = self.rate_ if rate is None else rate
        index = np.rint((times[:, None] + self.lags()[None, :]) * rate).astype(int)
        index = np.clip(index, 0, x.shape[-1] - 1)
        gathered = np.moveaxis(np.asarray(x, np.float32), -1, 1)[:, index]
        return np.ascontiguousarray(gathered.reshape(len(x) * len(times), -1))


def _frames(view: View, name: str) -> int:
    return view.frames(name) or 1


def _safe_inverse(sd: Array) -> Array:
    floor = 1e-6 * float(sd.max(initial=0.0))
    return np.where(sd > floor, 1.0 / np.where(sd > floor, sd, 1.0), 0.0)


class _Sums:
    """Sums over one view, from which both the solution and the validation error follow."""

    def __init__(self, ridge: Ridge, view: View) -> None:
        self.n = 0
        self.layout: list[list[Any]] = []
        first = True
        for batch in view.segments():
            x, y = (rows.astype(np.float64) for rows in self._rows(ridge, view, batch))
            if first:
                width, bins = x.shape[1], y.shape[1]
                self.x, self.y, self.yy = np.zeros(width), np.zeros(bins), 0.0
                self.xx, self.xy = np.zeros((width, width)), np.zeros((width, bins))
                first = False
            self.n += len(x)
            self.x += x.sum(axis=0, dtype=np.float64)
            self.y += y.sum(axis=0, dtype=np.float64)
            self.yy += float((y.astype(np.float64) ** 2).sum())
            self.xx += x.T @ x
            self.xy += x.T @ y
        if self.n == 0:
            raise HubError("core/ridge has nothing to fit on", "the training and validation sides need data")

    def squared_error(self, weights: Array, intercept: Array) -> float:
        """Return the mean squared error of x @ weights + intercept over this view."""
        explained = np.sum(weights * (self.xx @ weights)) - 2 * np.sum(weights * self.xy)
        shifted = 2 * np.sum(intercept * (self.x @ weights)) - 2 * np.sum(intercept * self.y)
        return float((self.yy + explained + shifted + self.n * np.sum(intercept**2)) / (self.n * len(intercept)))

    def _rows(self, ridge: Ridge, view: View, batch: Batch) -> tuple[Array, Array]:
        rows_y, clocks, self.layout = [], set(), []
        for name, target in batch.target.items():
            clocked = view.rates[name] is not None
            values = target[0] if clocked else target
            rows_y.append(values.reshape(len(values), -1))
            clocks.add(view.rates[name])
            self.layout.append([name, list(values.shape[1:])])
            times = view.frame_times(name, len(values))
        if len(clocks) > 1:
            raise HubError("core/ridge predicts targets of one frame rate", "leave all but one target out", usage=True)
        return ridge._features(batch.brain, times, float(view.space.rate or 1.0)), np.concatenate(
            rows_y, axis=1
        ).astype(np.float32)
