"""A new subject beside a fit that is there: adapted to so many minutes, or fitted anew, and scored on one test side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braindecode_hub.calibration import Minutes
from braindecode_hub.chain import Chain
from braindecode_hub.comparisons import others
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.interfaces import Decoder
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import Pipeline, short
from braindecode_hub.refits import training_targets
from braindecode_hub.scoring import difference
from braindecode_hub.splits import Fold
from braindecode_hub.study import Fitted, Study
from braindecode_hub.types import Array, Context, Trial
from braindecode_hub.view import View

UNKNOWN, ADAPTED, ALONE = "unknown subject", "adapted", "fitted alone"
"""How a rung came about: the shared fit as it is, the shared fit adapted, a fit on these minutes and nothing else."""
SILENT = "scores of rendered media are left out of a curve over minutes"


class Listener(Study):
    """The study of one new subject, whose one fold says what may be learned from at most, and what is tested."""

    def __init__(self, pipeline: Pipeline, ctx: Context, subject: str) -> None:
        super().__init__(pipeline, ctx, subjects=[subject])
        self.subject = subject
        self._fold: Fold | None = None

    def set_minutes(self, minutes: Minutes) -> Fold:
        """Take the division of the subject's trials; returns it as a fold that learns from all there is."""
        self._fold = Fold(0, minutes.pool, (), minutes.test, 0.0)
        return self._fold

    def folds(self, trials: Sequence[Trial] | None = None) -> list[Fold]:
        """Return the one fold."""
        return super().folds(trials) if self._fold is None or trials is not None else [self._fold]


@dataclass
class Rung:
    """One point of the curve: `minutes` asked for, how it came about, what it was learned from, what it scored.

    `scores` as in metrics.json; `baselines`: {name: {score: value}} of the same minutes alone; `differences`: {name:
    {score: paired difference from it}}; `fitted`: what was learned, None at 0 minutes.
    """

    minutes: float
    how: str
    train_s: float = 0.0
    val_s: float = 0.0
    trials: int = 0
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    fitted: Fitted | None = None
    per_unit: dict[str, Array] = field(default_factory=dict)


def adapted(fitted: Fitted, train: View, val: View, ctx: Context) -> Fitted:
    """Let a shared fit learn a new subject from its views, in place; what all subjects share is not touched."""
    for name, chain in fitted.targets.items():
        train, val = (view.with_targets(name, *chain.steps) for view in (train, val))
    fitted.frozen.adapt(train, val, ctx)
    train, val = train.through(*fitted.frozen.steps), val.through(*fitted.frozen.steps)
    fitted.decoder.adapt(train, val, ctx, encoder=fitted.tail)
    return fitted


class Bench:
    """Where every rung is scored alike: one hidden test view, one truth, one judge."""

    def __init__(self, study: Listener, whole: Fold, seed: int) -> None:
        self.study, self.whole, self.seed = study, whole, seed
        self.view = study.view(whole, "test", hidden=True)
        self.truth: list[dict[str, Array]] = study.truth(whole, "test")
        self.judge = Judge(study, training_targets(study, whole), seed)
        self.judge.metrics = {name: one for name, one in self.judge.metrics.items() if one[1].needs != "media"}
        found = {name: one for name, one in others(study).items() if not one.across_subjects}
        self.alone: dict[str, Decoder] = found or {"ridge": Ridge()}

    def items(self, fitted: Fitted) -> Items:
        """Predict the test side from the brain alone, then put the truth beside it."""
        predictions = fitted.predict(self.view)
        truth = self.truth
        if fitted.decoder.learned_space is not None:
            main, window = next(iter(self.study.pipeline.targets)), self.study.window()
            rate = self.study.rate(main) or 0.0
            truth = [one | fitted.embed(one[main], main, window, rate) for one in truth]
        return self.study.scored(self.whole, "test", predictions, truth, f"fold-0/{self.study.subject}")

    def check(self, items: Items, minutes: Minutes) -> int:
        """Return how many units are tested; HubError if there are not two different ones to tell apart."""
        units = self.judge.units(items)[self.judge.main]
        distinct = len(set(units.ids))
        if distinct < 2:
            raise HubError(
                f"{distinct} test candidate, of {minutes.candidates} trials ({minutes.heard} of which the run was "
                "fitted on): nothing to choose among",
                "give the new subject more that the run was not fitted on, or a smaller unit_s when you run",
            )
        return len(units.ids)

    def score(self, rung: Rung, items: Items) -> None:
        """Score a rung's predictions, in full."""
        done = self.judge.evaluate(items)
        rung.scores, rung.per_unit, rung.reasons = done.scores, done.per_unit, done.reasons

    def beside(self, rung: Rung, fold: Fold, ctx: Context) -> None:
        """Fit the linear baseline, and what else works for one subject, on the same minutes alone; score each alike."""
        silent = dataclasses.replace(ctx, out=None, log=lambda event: None)
        train, val = self.study.view(fold, "train"), self.study.view(fold, "val")
        for name, decoder in self.alone.items():
            try:
                fresh = type(decoder)(**decoder.configuration())
                alone = self.study.fit_views(train, val, silent, fresh, Chain())
            except HubError as problem:
                rung.reasons[f"baselines.{name}"] = problem.cause
                continue
            found = self.judge.values(self.items(alone), media=False)
            rung.baselines[name] = {score: float(np.mean(values)) for score, values in found.items()}
            rung.differences[name] = {
                score: difference(rung.per_unit[score], values, None, self.seed)
                for score, values in found.items()
                if score in rung.per_unit and len(rung.per_unit[score]) == len(values)
            }


def main_score(pipeline: Pipeline, scores: Mapping[str, Any]) -> str:
    """Return the score that the curve is about: the first of the pipeline's metrics that there is, else the first."""
    wanted = [short(part) for part in pipeline.config.get("metrics") or []]
    return next((name for name in wanted if name in scores), next(iter(scores), ""))
