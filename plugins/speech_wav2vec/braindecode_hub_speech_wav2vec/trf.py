"""Temporal response functions in numpy: what the brain makes of speech, and speech from the brain.

Forward: features of the stimulus at several lags predict each channel; backward: all channels at several lags predict
each feature. Banded ridge, leave-one-trial-out. Crosse et al. 2016, "The multivariate temporal response function
toolbox"; Nunez-Elizalde, Huth & Gallant 2019, "Voxelwise encoding models with non-spherical multivariate normal
priors".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array
from braindecode_hub_speech_wav2vec.trf_moments import Moments, Penalties, Solver, Weights, total
from braindecode_hub_speech_wav2vec.trf_statistics import Held, correlation

ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)
LAGS_S = {"forward": (-0.1, 0.5), "backward": (0.0, 0.25)}
BLOCKS = 5
"""Into so many groups of trials the training trials are dealt where penalties are chosen."""


@dataclass(frozen=True)
class CrossValidated:
    """Trials predicted by models that never saw them, nor chose their penalties by them.

    `predicted`, `actual`: for each trial (rows, outputs), rows whose lags lie inside the trial; `r`: (trials, outputs)
    Pearson's r over time, 0 where either is constant; `penalties`: for each trial, the penalty of every band;
    `held`: what `max_statistic` needs to fit all of it again.
    """

    predicted: list[Array]
    actual: list[Array]
    r: Array
    penalties: list[dict[str, float]]
    held: Held

    @property
    def mean_r(self) -> Array:
        """Mean of r over trials weighted by their length: (outputs,)."""
        return np.average(self.r, axis=0, weights=[len(one) for one in self.actual])


class Trf:
    """A temporal response function; stimulus x (samples, features), brain y (samples, channels), at one `rate` in Hz.

    `direction`: "forward" predicts y from x, "backward" x from y. `lags_s`: (first, last) = brain time − stimulus time,
    in both directions: positive means that the brain follows; defaults (−0.1, 0.5) and (0, 0.25). `bands`: groups
    of predictors by name, {"mel": [2, 3, 4]}, that get a penalty each; None: one for all. `alphas`: penalties tried,
    in units of the predictors' variance, per sample; one alone is taken as it is.

    Learned: `kernels_` (features, lags, channels), in units of what is predicted per unit of what predicts; `lags_`
    (lags,) seconds; `intercept_` (channels,) or, backward, (features,); `penalties_` by band.
    """

    def __init__(
        self,
        direction: Literal["forward", "backward"] = "forward",
        lags_s: tuple[float, float] | None = None,
        bands: Mapping[str, Sequence[int]] | None = None,
        alphas: Sequence[float] = ALPHAS,
    ) -> None:
        if direction not in LAGS_S:
            raise HubError(f"a TRF has no direction {direction!r}", "choose forward or backward", usage=True)
        self.direction = direction
        self.lags_s = LAGS_S[direction] if lags_s is None else lags_s
        self.bands = None if bands is None else {name: list(columns) for name, columns in bands.items()}
        self.alphas = tuple(float(alpha) for alpha in alphas)
        if not self.alphas or not all(np.isfinite(alpha) and alpha > 0 for alpha in self.alphas):
            raise HubError(f"penalties {self.alphas}", "give one or more numbers above 0", usage=True)
        if not self.lags_s[0] <= self.lags_s[1]:
            raise HubError(
                f"lags from {self.lags_s[0]:g} to {self.lags_s[1]:g} s", "give the smaller lag first", usage=True
            )

    def fit(
        self,
        x: Sequence[Array],
        y: Sequence[Array],
        rate: float,
        *,
        lead: int = 0,
        groups: Sequence[Hashable] | None = None,
        held: tuple[Sequence[Array], Sequence[Array]] | None = None,
    ) -> Trf:
        """Learn from trials; penalties are chosen on the trials `held` = (x, y), or by leaving out blocks of trials.

        `lead`: samples of brain before each x begins, and as many after it ends, that y holds besides. `groups`: one
        label a trial; trials with one label (one stimulus heard twice) are never apart. Raises HubError for trials
        that do not fit together, hold NaN, or are shorter than the lags.
        """
        trials = self._moments(x, y, rate, lead)
        chooser = self._penalties()
        if held is not None:
            other = self._moments(held[0], held[1], rate, lead)
            steps = chooser.choose([("all", total(trials), total(other))])
        else:
            steps = chooser.choose(_folds(trials, _blocks(groups, len(trials)), chooser))
        whole = total(trials)
        self._keep(Solver(whole, chooser.vector(steps), len(self.lags_)).weights(whole), chooser, steps)
        return self

    def predict(self, signals: Sequence[Array], *, lead: int = 0) -> list[Array]:
        """Predict (samples, channels) from each x or, backward, (samples − 2 · lead, features) from each y.

        Outside its trial a signal is taken to be at its training mean.
        """
        found = []
        for number, signal in enumerate(signals):
            rows = _matrix(signal, "x" if self.direction == "forward" else "y", number)
            self._check_width(rows.shape[1])
            shifts, ahead = self._shifts(), 0 if self.direction == "forward" else lead
            at = abs(shifts).max()
            outside = np.broadcast_to(self._mean, (at, rows.shape[1]))
            padded = np.concatenate([outside, rows, outside])
            lagged = _lagged(padded, shifts, at + ahead, len(rows) - 2 * ahead)
            found.append(lagged @ self._weights.slope + self._weights.intercept)
        return found

    def cross_validate(
        self,
        x: Sequence[Array],
        y: Sequence[Array],
        rate: float,
        *,
        lead: int = 0,
        groups: Sequence[Hashable] | None = None,
    ) -> CrossValidated:
        """Predict every trial from the others: leave-one-trial-out, or one group out; arguments as of `fit`.

        Penalties are chosen anew for each: trials are dealt into five blocks (as many as there are groups, if fewer),
        and those of a trial are chosen by leaving out blocks other than its own, with its own never in training.
        So two solutions for each pair of blocks serve for all; with up to five groups it is nested leave-one-out.
        """
        trials = self._moments(x, y, rate, lead)
        labels, blocks = _labels(groups, len(trials)), _blocks(groups, len(trials))
        chooser = self._penalties()
        if len(set(labels)) < 2 or (len(chooser.alphas) > 1 and len(set(blocks)) < 3):
            cause = f"{len(set(labels))} independent trials are too few to leave one out"
            raise HubError(cause, "give 3 or more; 2 do where a single penalty is given")
        steps = {block: chooser.choose(_folds(trials, blocks, chooser, without=block)) for block in sorted(set(blocks))}
        solvers: dict[Hashable, Solver] = {}
        predicted, actual = [], []
        for number, label in enumerate(labels):
            rest = total([one for one, other in zip(trials, labels, strict=True) if other != label])
            if label not in solvers:
                solvers[label] = Solver(rest, chooser.vector(steps[blocks[number]]), len(self.lags_))
            weights = solvers[label].weights(rest)
            rows, true = self._rows(x[number], y[number], number, lead)
            predicted.append(rows @ weights.slope + weights.intercept)
            actual.append(true)
        r = np.stack([correlation(one, other) for one, other in zip(actual, predicted, strict=True)])
        held = Held(labels, solvers, lambda number: self._rows(x[number], y[number], number, lead))
        return CrossValidated(predicted, actual, r, [self._named(chooser, steps[block]) for block in blocks], held)

    def _moments(self, x: Sequence[Array], y: Sequence[Array], rate: float, lead: int) -> list[Moments]:
        if len(x) != len(y) or not len(x):
            raise HubError(f"{len(x)} stimuli and {len(y)} brain signals", "give one or more of each, as many of both")
        if not (np.isfinite(rate) and rate > 0):
            raise HubError(f"signals at {rate:g} Hz", "give their rate, above 0 Hz", usage=True)
        first, last = (int(np.rint(lag * rate)) for lag in self.lags_s)
        self.rate_, self.lags_ = float(rate), np.arange(first, last + 1) / rate
        found = []
        for number in range(len(x)):
            rows, true = self._rows(x[number], y[number], number, lead)
            if found and (rows.shape[1], true.shape[1]) != (len(found[0].x), len(found[0].y)):
                raise HubError(f"trial {number} has other features or channels than trial 0", "give the same in each")
            found.append(Moments.of(rows, true))
        self._columns = len(found[0].x) // len(self.lags_)
        return found

    def _rows(self, x: Array, y: Array, number: int, lead: int) -> tuple[Array, Array]:
        """Return lagged predictors (rows, columns · lags) and responses (rows, outputs) of one trial."""
        stimulus, brain = _matrix(x, "x", number), _matrix(y, "y", number)
        if len(brain) != len(stimulus) + 2 * lead:
            cause = (
                f"trial {number}: {len(brain)} samples of brain for {len(stimulus)} of stimulus and a lead of {lead}"
            )
            raise HubError(cause, "give y as long as x, plus lead before and after it")
        shifts = self._shifts()
        forward = self.direction == "forward"
        predictor, ahead = (stimulus, 0) if forward else (brain, lead)
        low = max(0 if not forward else -lead, -ahead - shifts.min())
        high = min(len(stimulus) + (lead if forward else 0), len(stimulus) + ahead - shifts.max())
        if high - low < 2:
            seconds = len(stimulus) / self.rate_
            raise HubError(
                f"trial {number} of {seconds:.2f} s is shorter than the lags", "give longer trials, or fewer lags"
            )
        response = brain[low + lead : high + lead] if forward else stimulus[low:high]
        return _lagged(predictor, shifts, low + ahead, high - low), response

    def _shifts(self) -> Array:
        """Return by how many samples the predictor is read later than the response: (lags,) int."""
        lags = np.rint(self.lags_ * self.rate_).astype(int)
        return -lags if self.direction == "forward" else lags

    def _penalties(self) -> Penalties:
        bands = {"all": list(range(self._columns))} if self.bands is None else self.bands
        if sorted(column for some in bands.values() for column in some) != list(range(self._columns)):
            told = ", ".join(f"{name}: {list(some)}" for name, some in bands.items())
            raise HubError(
                f"bands {{{told}}} do not hold each of {self._columns} predictors once", "name each one once"
            )
        return Penalties({name: np.asarray(some) for name, some in bands.items()}, len(self.lags_), self.alphas)

    def _keep(self, weights: Weights, chooser: Penalties, steps: tuple[int, ...]) -> None:
        self._weights, self.intercept_ = weights, weights.intercept
        self._mean = weights.mean.reshape(self._columns, -1).mean(axis=1)
        kernels = weights.slope.reshape(self._columns, len(self.lags_), -1)
        self.kernels_ = kernels if self.direction == "forward" else np.ascontiguousarray(kernels.transpose(2, 1, 0))
        self.penalties_ = self._named(chooser, steps)

    def _named(self, chooser: Penalties, steps: tuple[int, ...]) -> dict[str, float]:
        return {name: chooser.alphas[step] for name, step in zip(chooser.bands, steps, strict=True)}

    def _check_width(self, width: int) -> None:
        if not hasattr(self, "_weights"):
            raise HubError("this TRF was not fitted", "call fit(x, y, rate) first")
        if width != self._columns:
            raise HubError(f"a signal has {width} columns, the TRF was fitted on {self._columns}", "give the same ones")


def _folds(
    trials: list[Moments], blocks: list[int], chooser: Penalties, without: int | None = None
) -> list[tuple[object, Moments, Moments]]:
    """Return for each block (but one, which nobody sees) its training and held-out sums, and what names the former."""
    if len(chooser.alphas) == 1:
        return []
    found: list[tuple[object, Moments, Moments]] = []
    for block in sorted(set(blocks) - {without}):
        gone = frozenset({block, without})
        train = [one for one, other in zip(trials, blocks, strict=True) if other not in gone]
        if not train:
            raise HubError("one trial is too few to choose penalties by", "give more, or a single penalty, or `held`")
        held = [one for one, other in zip(trials, blocks, strict=True) if other == block]
        found.append((gone, total(train), total(held)))
    return found


def _labels(groups: Sequence[Hashable] | None, count: int) -> list[Hashable]:
    labels = list(range(count)) if groups is None else list(groups)
    if len(labels) != count:
        raise HubError(f"{len(labels)} groups for {count} trials", "give one label for each trial")
    return labels


def _blocks(groups: Sequence[Hashable] | None, count: int) -> list[int]:
    """Return the block of each trial: groups are dealt in order of first appearance."""
    labels = _labels(groups, count)
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [order[label] % BLOCKS for label in labels]


def _lagged(x: Array, shifts: Array, first: int, count: int) -> Array:
    """Return (count, predictors · lags): row t holds x[first + t + shift] for every shift."""
    index = first + np.arange(count)[:, None] + shifts[None, :]
    return np.ascontiguousarray(x.T[:, index].transpose(1, 0, 2).reshape(count, -1))


def _matrix(values: Array, name: str, number: int) -> Array:
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise HubError(f"{name} of trial {number} has shape {matrix.shape}", "give (samples, columns)")
    if not np.isfinite(matrix).all():
        raise HubError(f"{name} of trial {number} holds NaN or infinity", "repair or leave out the trial")
    return matrix
