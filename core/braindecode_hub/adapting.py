"""A new subject beside a fit that is there: adapted to so many minutes, or fitted anew, and scored on one test side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.stats

from braindecode_hub.calibration import Minutes
from braindecode_hub.chain import Chain
from braindecode_hub.comparisons import others
from braindecode_hub.errors import HubError
from braindecode_hub.evaluation import Items, Judge
from braindecode_hub.fitted import Fitted
from braindecode_hub.interfaces import Decoder
from braindecode_hub.metrics import similarity
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.pipeline import Pipeline, short
from braindecode_hub.refits import training_targets
from braindecode_hub.scoring import difference
from braindecode_hub.splits import Fold
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Batch, Context, Trial
from braindecode_hub.view import View

UNKNOWN, ADAPTED, ALONE = "unknown subject", "adapted", "fitted alone"
"""How a rung came about: the shared fit as it is, the shared fit adapted, a fit on these minutes and nothing else."""
FEWEST = 4
"""Different validation windows without which a shared fit stays as it is."""
SAME = 0.999
"""Targets whose cosine is at least this are one and the same."""
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
    clusters: dict[str, list[str]] = field(default_factory=dict)


def adapted(load: Callable[[], Fitted], train: View, val: View, ctx: Context) -> tuple[Fitted, str]:
    """Let a shared fit learn a new subject from its views; return it, or as it was, and why: few minutes do no harm.

    `load` returns the fit as it was saved. What all subjects share is not touched. What was learned is kept if
    validation windows surely match their own targets better than before (paired, one-sided t test at 5 %).
    """
    fitted = load()
    before = matched(fitted, val)
    if len(before) < FEWEST:
        return fitted, f"{len(before)} different validation windows do not tell if it helps; {FEWEST} are needed"
    views = {"train": train, "val": val}
    for name, chain in fitted.targets.items():
        views = {side: view.with_targets(name, *chain.steps) for side, view in views.items()}
    fitted.frozen.adapt(views["train"], views["val"], ctx)
    views = {side: view.through(*fitted.frozen.steps) for side, view in views.items()}
    fitted.decoder.adapt(views["train"], views["val"], ctx, encoder=fitted.tail)
    more = matched(fitted, val) - before
    spread = float(more.std(ddof=1)) / math.sqrt(len(more))
    if more.mean() > spread * float(scipy.stats.t.ppf(0.95, len(more) - 1)):
        return fitted, ""
    return load(), f"on {len(more)} validation windows the adapted fit is not surely better"


def matched(fitted: Fitted, val: View) -> Array:
    """Return by how much each different validation window is more like its own target than like others: (windows,).

    In cosines, in the space that candidates are compared in. Of windows with equal targets the first counts.
    """
    main = next(iter(fitted.targets))
    pairs = [_pair(fitted, batch, main) for batch in val.batches(64)]
    predicted, target = (np.concatenate(some) for some in zip(*pairs, strict=True))
    alike = similarity(target, target) > SAME
    first = np.flatnonzero(np.argmax(alike, axis=1) == np.arange(len(target)))
    scores = similarity(target[first], predicted[first])
    others = (scores.sum(axis=1) - scores.diagonal()) / max(1, len(first) - 1)
    return np.asarray(scores.diagonal() - others, np.float64)


def _pair(fitted: Fitted, batch: Batch, main: str) -> tuple[Array, Array]:
    """Return what is predicted for a batch and what is true, in the space that is compared."""
    found, true = fitted.decode(batch), fitted.targets[main].encode(batch.target[main])
    learned = fitted.decoder.learned_space
    if learned is None:
        return found[main], np.asarray(true)
    [placed] = fitted.decoder.embed(true).values()
    return found[learned.name], placed


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
        rung.scores, rung.per_unit, rung.reasons, rung.clusters = (
            done.scores,
            done.per_unit,
            done.reasons,
            done.clusters,
        )

    def beside(self, rung: Rung, fold: Fold, ctx: Context) -> None:
        """Fit the linear baseline, and what else works for one subject, on the same minutes alone; score each alike."""
        silent = dataclasses.replace(ctx, out=None, log=lambda event: None)
        train, val = self.study.view(fold, "train"), self.study.view(fold, "val")
        for name, decoder in self.alone.items():
            try:
                alone = self.study.fit_views(train, val, silent, decoder.fresh(), Chain())
            except HubError as problem:
                rung.reasons[f"baselines.{name}"] = problem.cause
                continue
            found = self.judge.values(self.items(alone), media=False)
            rung.baselines[name] = {score: float(np.mean(values)) for score, values in found.items()}
            rung.differences[name] = {
                score: difference(rung.per_unit[score], values, None, self.seed, clusters=rung.clusters.get(score))
                for score, values in found.items()
                if score in rung.per_unit and len(rung.per_unit[score]) == len(values)
            }


def main_score(pipeline: Pipeline, scores: Mapping[str, Any]) -> str:
    """Return the score that the curve is about: the first of the pipeline's metrics that there is, else the first."""
    wanted = [short(part) for part in pipeline.config.get("metrics") or []]
    return next((name for name in wanted if name in scores), next(iter(scores), ""))
