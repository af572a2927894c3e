"""One pipeline on one dataset: folds, views, a fit, its predictions. The runner decides what to do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braindecode_hub.cache import Cache
from braindecode_hub.chain import Chain
from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.fitted import Fitted
from braindecode_hub.interfaces import Dataset, Decoder, Renderer
from braindecode_hub.lazy import Joined
from braindecode_hub.pipeline import Pipeline
from braindecode_hub.privacy import codes
from braindecode_hub.scoring import Scored
from braindecode_hub.sensor_positions import position_notes
from braindecode_hub.silence import without_silence
from braindecode_hub.splits import Fold, Side, Split, split_from_config
from braindecode_hub.stretches import (
    Prepared,
    channels_behind,
    prepare_brain,
    prepare_stimulus,
    rate_after,
    stimulus_stretches,
    stretches,
)
from braindecode_hub.types import Array, Context, Prediction, Recording, Space, Trial
from braindecode_hub.view import View, Window, make_item


class Study:
    """A built pipeline with its prepared dataset: `folds`, views of a side, fits."""

    def __init__(self, pipeline: Pipeline, ctx: Context, *, subjects: Sequence[str] | None = None) -> None:
        self.pipeline = pipeline
        self.ctx = ctx
        self.brain_cache = self.stimulus_cache = ctx.cache if ctx.cache is not None else Cache(None)
        self.renderers: dict[str, Renderer] = {}
        self._rates: dict[str, float | None] = {}
        self.trials = without_silence(pipeline, _of_subjects(pipeline.dataset, subjects), ctx.log)
        self.codes = codes(trial.groups.get("subject", "") for trial in pipeline.dataset.trials())
        self.split: Split = split_from_config(
            pipeline.config.get("split") or {}, seed=ctx.seed, closed_set=pipeline.dataset.closed_set
        )

    def renderer(self, fit: str) -> Renderer | None:
        """Return the renderer that a fit has fitted, else the pipeline's as it is."""
        return self.renderers.get(fit, self.pipeline.renderer)

    def notes(self) -> list[str]:
        """Return what the user should know of the recordings: positions that are no metres, or unknown."""
        return position_notes(self.pipeline.dataset.recording(id) for id in sorted({t.recording for t in self.trials}))

    def folds(self, trials: Sequence[Trial] | None = None) -> list[Fold]:
        """Return the folds of this study's trials, or of others (a control's)."""
        return self.split.make(self.trials if trials is None else trials)

    def groups(self, decoder: Decoder | None = None) -> list[list[str]]:
        """Return the subjects that one fit of a decoder (the pipeline's) serves together: all, or each by itself."""
        subjects = sorted({trial.groups.get("subject", "") for trial in self.trials})
        together = (self.pipeline.decoder if decoder is None else decoder).across_subjects
        return [subjects] if together else [[subject] for subject in subjects]

    def of_group(self, fold: Fold, group: Sequence[str]) -> Fold:
        """Return the fold's trials of some subjects; HubError if a side has none of them."""
        sides = [
            tuple(t for t in side if t.groups.get("subject", "") in group) for side in (fold.train, fold.val, fold.test)
        ]
        for name, side in zip(("train", "val", "test"), sides, strict=True):
            if not side:
                raise HubError(
                    f"fold {fold.number}: subject {', '.join(group)} has no {name} trials",
                    "use a decoder that works across subjects, or split within subjects (time_block, stimulus)",
                )
        return Fold(fold.number, sides[0], sides[1], sides[2], fold.purged_s)

    def view(
        self,
        fold: Fold,
        side: Side,
        dataset: Dataset | None = None,
        encoder: Chain | None = None,
        *,
        hidden: bool = False,
    ) -> View:
        """Return the view of one side of a fold: what the continuous part makes of each stretch, cut to trials.

        `dataset`, `encoder`: another dataset and continuous part (a control's, the oracle's); `hidden`: no targets,
        and trials in an order that says nothing of when they were. All sides are as wide as the widest montage.
        """
        dataset = self.pipeline.dataset if dataset is None else dataset
        chain = self.pipeline.encoder.continuous_part() if encoder is None else encoder
        recordings = {
            id: dataset.recording(id)
            for id in sorted({t.recording for s in (fold.train, fold.val, fold.test) for t in s})
        }
        prepared = self._brain(fold, side, dataset, chain, recordings)
        trials = fold.side(side)
        shown = self.ctx.rng("order", fold.number).permutation(len(trials)) if hidden else range(len(trials))
        stimuli = None if hidden else self._stimuli(dataset, trials)
        spaces = {name: self._target_rate(name, dataset, trials) for name in self.pipeline.targets}
        items = [
            make_item(
                trials[place],
                brain=_containing(prepared, trials[place]),
                recording=recordings[trials[place].recording].about(),
                spaces=spaces,
                stimuli=None if stimuli is None else {n: _heard(some, trials[place]) for n, some in stimuli.items()},
                hidden_as=number if hidden else None,
            )
            for number, place in enumerate(shown)
        ]
        rates = {one.rate for some in prepared.values() for one, _ in some}
        if len(rates) > 1:
            told = ", ".join(sorted(f"{rate:g}" for rate in rates))
            raise HubError(
                f"the recordings reach the decoder at different rates: {told} Hz",
                "give the encoder an output rate, such as --set encoder.0.rate=100",
            )
        space = chain.check(replace(dataset.brain, rate="*" if dataset.brain.rate is not None else None), "dataset")
        return View(
            items,
            window=self.window(),
            space=replace(space, rate=rates.pop()) if space.rate is not None else space,
            targets={name: self._target_space(name, spaces[name]) for name in self.pipeline.targets},
            subjects=sorted({recording.subject for recording in recordings.values()}),
            channels=self._widest(prepared, recordings, dataset, chain),
            order=[int(place) for place in shown],
        )

    def window(self) -> Window:
        """Return the pipeline's window; HubError if targets run in time and it has no length."""
        window = self.pipeline.window
        clocked = [name for name in self.pipeline.targets if self.pipeline.frozen_target_space(name).rate is not None]
        if clocked and not window.length_s:
            raise HubError(
                f"target {clocked[0]} runs in time, but the window has no length",
                "--set window.length_s=…",
                usage=True,
            )
        return window

    def fitted_steps(self) -> Chain:
        """Return fresh copies of the encoder's steps between its continuous part and what is trained jointly."""
        encoder = self.pipeline.encoder
        return encoder.after(encoder.continuous_part()).split()[0].fresh()

    def fit(
        self,
        fold: Fold,
        ctx: Context,
        dataset: Dataset | None = None,
        change: Callable[[View], View] | None = None,
        *,
        control: bool = False,
        decoder: Decoder | None = None,
    ) -> Fitted:
        """Fit every stage on the training side of a fold, choices made on validation.

        `change` alters both views first (a control's exchange of stimuli); `control`: on the control's budget;
        `decoder`: an unfitted one in place of the pipeline's.
        """
        train, val = (self.view(fold, side, dataset) for side in ("train", "val"))  # type: ignore[arg-type]
        if change is not None:
            train, val = change(train), change(val)
        if decoder is None:
            decoder = self.pipeline.decoder.for_controls() if control else self.pipeline.decoder.fresh()
        encoder = self.pipeline.encoder.after(self.pipeline.encoder.continuous_part())
        return self.fit_views(train, val, ctx, decoder, encoder.fresh(), self.pipeline.renderer)

    def fit_views(
        self,
        train: View,
        val: View,
        ctx: Context,
        decoder: Decoder,
        encoder: Chain,
        renderer: Renderer | None = None,
    ) -> Fitted:
        """Fit the targets' steps, then the encoder's, then the decoder, on given views."""
        targets = {}
        for name, chain in self.pipeline.targets.items():
            targets[name] = chain.after(chain.frozen_part()).fresh()
            targets[name].fit(train.of(name), val.of(name), ctx)
            train, val = (view.with_targets(name, *targets[name].steps) for view in (train, val))
        frozen, tail = encoder.split()
        frozen.fit(train, val, ctx)
        train, val = train.through(*frozen.steps), val.through(*frozen.steps)
        decoder.fit(train, val, ctx, encoder=tail)
        fitted = Fitted(targets, frozen, tail, decoder, renderer.fresh() if renderer else None)
        if fitted.renderer is not None:
            fitted.renderer.fit(train, val, ctx, predict=fitted.decode)
        return fitted

    def truth(self, fold: Fold, side: Side, dataset: Dataset | None = None) -> list[dict[str, Array]]:
        """Return the true targets of one side, trial by trial, in their own units, unread: for scoring only."""
        dataset = self.pipeline.dataset if dataset is None else dataset
        trials = fold.side(side)
        stimuli = self._stimuli(dataset, trials)
        spaces = {name: self._target_rate(name, dataset, trials) for name in stimuli}
        nothing = Prepared(np.zeros((0, 0), np.float32), None, 0.0)
        nobody = Recording("", "", "", _no_signal())
        items = [
            make_item(
                t,
                brain=nothing,
                recording=nobody,
                spaces=spaces,
                stimuli={n: _heard(s, t) for n, s in stimuli.items()},
            )
            for t in trials
        ]
        return [{name: value for name, value in item.targets.items() if value is not None} for item in items]

    def training_targets(self, fold: Fold, name: str) -> Array:
        """Return the training side's target (frames, …), unread, or static (trials, …): for means and oracles."""
        found = [truth[name] for truth in self.truth(fold, "train")]
        return np.stack(found) if self.rate(name) is None else Joined(found)

    def rate(self, name: str) -> float | None:
        """Return the frame rate of a target."""
        if name not in self._rates:  # read off a training trial: the test side is not looked at for it
            self._rates[name] = self._target_rate(name, self.pipeline.dataset, self.folds()[0].train)
        return self._rates[name]

    def scored(
        self,
        fold: Fold,
        side: Side,
        predictions: Sequence[Prediction],
        truth: Sequence[Mapping[str, Array]],
        fit: str = "",
    ) -> dict[str, list[Scored]]:
        """Put predictions beside the truth, by target, one entry a trial; `fit` names the fit that made them."""
        learned = [name for name in (truth[0] if truth else ()) if name not in self.pipeline.targets]
        found: dict[str, list[Scored]] = {name: [] for name in [*self.pipeline.targets, *learned]}
        for number, (trial, predicted, true) in enumerate(zip(fold.side(side), predictions, truth, strict=True)):
            subject = trial.groups.get("subject", "")
            code = self.codes.get(subject, "")  # names become file names, and are passed on
            name = f"fold-{fold.number}-{code}-{number:03d}" if code else f"fold-{fold.number}-{number:03d}"
            for target, some in found.items():
                start, wanted = trial.stimulus_start or 0.0, np.asarray(true[target], np.float32)
                some.append(Scored(name, subject, str(trial.stimulus), start, wanted, predicted[target], fit))
        return found

    def _brain(
        self, fold: Fold, side: Side, dataset: Dataset, chain: Chain, recordings: Mapping[str, Recording]
    ) -> dict[str, list[tuple[Prepared, float]]]:
        lengths = {id: recording.seconds for id, recording in recordings.items()}
        breaks = {id: recording.breaks for id, recording in recordings.items()}
        found: dict[str, list[tuple[Prepared, float]]] = {}
        for stretch in stretches(fold, side, lengths, breaks, self.split.gap_s):
            prepared = prepare_brain(dataset, chain.steps, stretch, self.brain_cache, recordings[stretch.source])
            found.setdefault(stretch.source, []).append((prepared, stretch.stop))
        return found

    def _widest(
        self,
        prepared: Mapping[str, list[tuple[Prepared, float]]],
        recordings: Mapping[str, Recording],
        dataset: Dataset,
        chain: Chain,
    ) -> int:
        """Return the most channels that any recording of the fold has behind the continuous part of the chain.

        For montages that stand on other sides only, the chain runs on silence: no sample of theirs is read.
        """
        widths = {_montage(recordings[id]): int(some[0][0].data.shape[0]) for id, some in prepared.items()}
        for recording in recordings.values():
            if _montage(recording) not in widths:
                widths[_montage(recording)] = channels_behind(dataset, chain.steps, recording)
        return max(widths.values())

    def _stimuli(
        self, dataset: Dataset, trials: Sequence[Trial]
    ) -> dict[str, list[tuple[str, float, float, Prepared]]]:
        found: dict[str, list[tuple[str, float, float, Prepared]]] = {}
        for name, chain in self.pipeline.targets.items():
            space = self.pipeline.stimulus_space(name)
            cut = stimulus_stretches(trials, space.rate is not None)
            frozen = chain.frozen_part()
            found[name] = [
                (
                    s.source,
                    s.start,
                    s.stop,
                    prepare_stimulus(dataset, space, frozen.steps, s, self.stimulus_cache),
                )
                for s in cut
            ]
        return found

    def _target_rate(self, name: str, dataset: Dataset, trials: Sequence[Trial]) -> float | None:
        space = self.pipeline.frozen_target_space(name)
        if space.rate != "*":
            return None if space.rate is None else float(space.rate)
        stimulus = self.pipeline.stimulus_space(name)
        signal = dataset.stimulus(str(trials[0].stimulus), stimulus)
        return rate_after(stimulus, self.pipeline.targets[name].frozen_part().steps, signal.rate)

    def _target_space(self, name: str, rate: float | None) -> Space:
        return replace(self.pipeline.frozen_target_space(name), rate=rate)


def _containing(prepared: Mapping[str, list[tuple[Prepared, float]]], trial: Trial) -> Prepared:
    middle = (trial.start + trial.stop) / 2
    for one, stop in prepared[trial.recording]:
        if one.origin - 1e-6 <= middle <= stop + 1e-6:
            slack = 1.0 / (one.rate or 1.0)
            if trial.start < one.origin - slack or trial.stop > stop + slack:
                raise HubError(
                    f"trial {trial.id} runs across a break of {trial.recording}", "end the trial at the break"
                )
            return one
    raise HubError(
        f"trial {trial.id} lies outside its recording {trial.recording}",
        "check the trial's start and stop, in seconds",
    )


def _montage(recording: Recording) -> tuple[Any, ...]:
    """Return what decides how many channels a recording has behind a chain."""
    return recording.brain.data.shape[0], recording.brain.channels, recording.bads, recording.shafts


def _heard(stretches: Sequence[tuple[str, float, float, Prepared]], trial: Trial) -> Prepared:
    middle = ((trial.stimulus_start or 0.0) + (trial.stimulus_stop or 0.0)) / 2
    for source, start, stop, prepared in stretches:
        if source == trial.stimulus and (prepared.rate is None or start - 1e-6 <= middle <= stop + 1e-6):
            return prepared
    raise HubError(
        f"trial {trial.id} presents {trial.stimulus}, which the dataset does not have",
        "check the stimulus table",
    )


def _of_subjects(dataset: Dataset, subjects: Sequence[str] | None) -> list[Trial]:
    trials = list(dataset.trials())
    if subjects is None:
        return trials
    known = {trial.groups.get("subject", "") for trial in trials}
    for subject in subjects:
        if subject not in known:
            raise HubError(f"there is no subject '{subject}'", did_you_mean(subject, known), usage=True)
    return [trial for trial in trials if trial.groups.get("subject", "") in subjects]


def _no_signal() -> Any:
    from braindecode_hub.types import Signal

    return Signal(np.zeros((0, 0), np.float32), None, "none")
