"""speech_wav2vec/trf: speech from the brain by a backward TRF, and what each channel owes to speech by a forward one.

A decoder is never shown the test side's targets, so only the backward model is scored there, by core like any other.
The forward model, which predicts the brain, is therefore scored on the training and validation sides alone, every
stimulus left out in turn; its numbers are about those trials, and the test side stays unseen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Decoder, Encoder
from braindecode_hub.types import ANY, Array, Context, Prediction, Space, Trial
from braindecode_hub.view import View
from braindecode_hub_speech_wav2vec.trf import ALPHAS, Trf
from braindecode_hub_speech_wav2vec.trf_statistics import max_statistic

FEWEST = 3
"""Stimuli that a leave-one-out with choices inside it needs."""


@dataclass
class _Trials:
    """Segments of trials: x (frames, features), y (frames + 2 · lead, channels), and what each was a trial of."""

    x: list[Array] = field(default_factory=list)
    y: list[Array] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def __add__(self, other: _Trials) -> _Trials:
        return _Trials(self.x + other.x, self.y + other.y, self.trials + other.trials)


class TrfDecoder(Decoder):
    """Backward TRF: every target frame from all channels at several lags; numpy alone, one fit for each subject.

    `lags_s`: (first, last) in seconds, brain time − stimulus time; they must lie within the window's context.
    `alphas`: penalties tried, the best on validation stays. `forward`: also analyse what each channel owes to the
    targets, each target being a band with a penalty of its own: lags `forward_lags_s`, leave-one-stimulus-out over
    the training and validation sides, p by `permutations` refits, and for each target what is lost without it. For
    the report; a control's refit leaves it out. Brain above the targets' frame rate is averaged within frames.
    """

    control_refits = 20

    def __init__(
        self,
        *,
        lags_s: tuple[float, float] = (0.0, 0.25),
        alphas: tuple[float, ...] = ALPHAS,
        forward: bool = True,
        forward_lags_s: tuple[float, float] = (-0.1, 0.5),
        permutations: int = 400,
    ) -> None:
        self.lags_s = lags_s
        self.alphas = alphas
        self.forward = forward
        self.forward_lags_s = forward_lags_s
        self.permutations = permutations

    @property
    def consumes(self) -> Space:
        """Channels over time."""
        return ANY

    @property
    def produces(self) -> tuple[Space, ...]:
        """Every target of the pipeline."""
        return (ANY,)

    def for_controls(self) -> TrfDecoder:
        """Return an unfitted copy without the forward analysis, which no score depends on."""
        return type(self)(**{**self.configuration(), "forward": False})

    def fit(self, train: View, val: View, ctx: Context, *, encoder: Encoder) -> None:
        """Fit the backward model, its penalty chosen on validation; then analyse forward. HubError as `Trf.fit`."""
        self._describe(train)
        ours, held = self._trials(train), self._trials(val)
        backward = Trf("backward", self.lags_s, alphas=self.alphas)
        backward.fit(ours.x, ours.y, self.rate_, lead=self.lead_, held=(held.x, held.y))
        self.kernels_ = backward.kernels_.astype(np.float32)
        self.intercept_ = backward.intercept_.astype(np.float32)
        self.penalty_ = backward.penalties_["all"]
        if self.forward:
            self._analyse(ours + held, ctx)

    def decode(self, z: Array, x: Array) -> Prediction:
        """Predict, from z (batch, channels, time), every target: (batch, frames, …) float32."""
        frames = self.frames_
        brain = self._at_frames(z, frames).astype(np.float32)
        first = round(self.lags_s[0] * self.rate_)
        made = np.zeros((len(z), frames, len(self.kernels_)), np.float32)
        for number in range(self.kernels_.shape[1]):
            at = self.lead_ + first + number
            made += brain[:, at : at + frames] @ self.kernels_[:, number].T
        made += self.intercept_
        shapes = dict(zip(self.bands_, self.shapes_, strict=True))
        return {
            name: made[:, :, low:high].reshape(len(z), frames, *shapes[name])
            for name, (low, high) in self.bands_.items()
        }

    # What it is made of

    def _describe(self, view: View) -> None:
        """Note rates, sensors and which columns are which target's; HubError where targets have no common clock."""
        rates = set(view.rates.values())
        if len(rates) != 1 or None in rates or view.space.rate is None:
            told = ", ".join(f"{name} at {rate or 'no'} Hz" for name, rate in view.rates.items())
            raise HubError(f"a TRF needs brain and targets over time, on one clock: {told}", "give targets of one rate")
        self.rate_, self.brain_rate_ = float(rates.pop() or 1.0), float(view.space.rate)
        self.context_s_ = view.window.context_s
        self.lead_ = int(self.context_s_ * self.rate_ + 1e-6)
        if max(-self.lags_s[0], self.lags_s[1]) > self.lead_ / self.rate_ + 1e-6:
            cause = (
                f"lags reach {max(-self.lags_s[0], self.lags_s[1]):g} s, a window's context {view.window.context_s:g} s"
            )
            raise HubError(cause, f"--set window.context_s={max(-self.lags_s[0], self.lags_s[1]):g}", usage=True)
        batch = next(view.batches(1))
        self.frames_ = next(iter(batch.target.values())).shape[1]
        self.shapes_ = [list(values.shape[2:]) for values in batch.target.values()]
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes_)]).tolist()
        self.bands_ = {name: ends[number : number + 2] for number, name in enumerate(batch.target)}
        widest = max(view.items, key=lambda item: item.brain.data.shape[0])  # narrower montages are padded behind
        self.width_, sensors = int(widest.brain.data.shape[0]), widest.recording
        self.channels_, self.subject_ = list(sensors.brain.channels), sensors.subject
        places = np.zeros((0, 3)) if sensors.positions is None else np.asarray(sensors.positions, np.float32)
        whole = places.shape == (self.width_, 3) and bool(np.isfinite(places).all())
        self.positions_ = places if whole else np.zeros((0, 3), np.float32)

    def _trials(self, view: View) -> _Trials:
        found = _Trials()
        for batch in view.segments():
            x = np.concatenate([one[0].reshape(len(one[0]), -1) for one in batch.target.values()], axis=1)
            found.x.append(x.astype(np.float64))
            found.y.append(self._at_frames(batch.brain, len(x))[0])
            found.trials.append(batch.trials[0])
        return found

    def _at_frames(self, brain: Array, frames: int) -> Array:
        """Return (batch, frames + 2 · lead, channels) float64: brain (batch, channels, time) on the targets' clock."""
        width = 2 * (round(self.brain_rate_ / self.rate_) // 2) + 1  # odd, so that no frame is late by half a sample
        times = np.arange(-self.lead_, frames + self.lead_) / self.rate_
        first = np.rint((times + self.context_s_) * self.brain_rate_).astype(int) - width // 2
        index = np.clip(first[:, None] + np.arange(width), 0, brain.shape[-1] - 1)
        return np.moveaxis(np.asarray(brain, np.float64)[:, :, index].mean(axis=-1), 1, 2)

    def _analyse(self, ours: _Trials, ctx: Context) -> None:
        groups = stimuli(ours.trials)
        lags_s = self.forward_lags_s
        long = [number for number, x in enumerate(ours.x) if len(x) > (lags_s[1] - lags_s[0]) * self.rate_ + 3]
        x, y, groups = ([some[number] for number in long] for some in (ours.x, ours.y, groups))
        y = [one[self.lead_ : len(one) - self.lead_, : self.width_] for one in y]
        self.forward_stimuli_, self.forward_seconds_ = len(set(groups)), sum(map(len, x)) / self.rate_
        if len(set(groups)) < FEWEST:
            return  # the report says so
        bands = {name: list(range(low, high)) for name, (low, high) in self.bands_.items()}
        done = Trf("forward", lags_s, bands, self.alphas).cross_validate(x, y, self.rate_, groups=groups)
        model = Trf("forward", lags_s, bands, self.alphas).fit(x, y, self.rate_, groups=groups)
        seed = int(ctx.rng("trf", self.subject_).integers(2**31))
        p, null, smallest = max_statistic(done.held, seed=seed, permutations=self.permutations)
        self.forward_kernels_, self.forward_lags_ = model.kernels_.astype(np.float32), model.lags_
        self.forward_penalties_, self.forward_r_ = model.penalties_, done.mean_r
        self.forward_p_, self.forward_null_, self.forward_smallest_p_ = p, null, smallest
        self.forward_unique_ = np.stack([done.mean_r - self._without(name, x, y, groups) for name in self.bands_])

    def _without(self, name: str, x: list[Array], y: list[Array], groups: list[Hashable]) -> Array:
        """Return the leave-one-out r (channels,) of all targets but one; of none, 0."""
        low, high = self.bands_[name]
        if high - low == x[0].shape[1]:
            return np.zeros(y[0].shape[1])
        fewer = [np.delete(one, np.s_[low:high], axis=1) for one in x]
        bands, at = {}, 0
        for other, (first, last) in self.bands_.items():
            if other != name:
                bands[other] = list(range(at, at := at + last - first))
        return (
            Trf("forward", self.forward_lags_s, bands, self.alphas)
            .cross_validate(fewer, y, self.rate_, groups=groups)
            .mean_r
        )


def stimuli(trials: Iterable[Trial]) -> list[Hashable]:
    """Return a label for each trial: equal where trials present overlapping seconds of one stimulus."""
    intervals: dict[str, list[tuple[float, float]]] = {}
    some = list(trials)
    for trial in some:
        ends = (trial.stimulus_start or 0.0, trial.stimulus_stop or 0.0)
        intervals.setdefault(str(trial.stimulus), []).append(ends)
    apart = {name: _overlapping(found) for name, found in intervals.items()}
    found = []
    for trial in some:
        start = trial.stimulus_start or 0.0
        runs = apart[str(trial.stimulus)]
        found.append((str(trial.stimulus), max(low for low, _ in runs if low <= start)))
    return list(found)


def _overlapping(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the runs that overlapping intervals make; those that only touch stay apart."""
    runs: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if runs and start < runs[-1][1] - 1e-6:
            runs[-1] = (runs[-1][0], max(runs[-1][1], stop))
        else:
            runs.append((start, stop))
    return runs
