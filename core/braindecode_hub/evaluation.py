"""What the predictions of a study are worth: every metric, identification, and the same for anything beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub import retrieval, scoring
from braindecode_hub.interfaces import Metric
from braindecode_hub.lazy import mean
from braindecode_hub.rendering import media_pair
from braindecode_hub.retrieval import Pool, Queries, RankMetric
from braindecode_hub.scoring import Scored, Units, Word
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Space

if TYPE_CHECKING:
    from braindecode_hub.pipeline import Pipeline
    from braindecode_hub.runfolder import Run

Items = dict[str, list[Scored]]
"""Scored stretches by target."""

WORDS = "words"
"""The stimulus space of timed words: `Signal.data` is a sequence of (text, start, stop), seconds of the stimulus."""


def items_of(run: Run, pipeline: Pipeline) -> Items:
    """Return the scored stretches of a finished run, by target: the pipeline's own first, then what was learned."""
    found: Items = {}
    for one in run.items():
        about = one.about
        known = about["subject"], about["stimulus"], about["start"]
        for name in [*pipeline.targets, *sorted(one.target.keys() - pipeline.targets.keys())]:
            fit = str(about.get("fit", ""))
            found.setdefault(name, []).append(Scored(one.name, *known, one.target[name], one.predicted[name], fit))
    return found


@dataclass
class Evaluation:
    """Scores by short name, the per-unit scores and nulls behind them, and why anything is missing.

    `clusters`: of a score whose units are not independent, the label of each; those of one label are one unit.
    """

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_unit: dict[str, Array] = field(default_factory=dict)
    nulls: dict[str, Array] = field(default_factory=dict)
    units: dict[str, Units] = field(default_factory=dict)
    clusters: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Judge:
    """Scores the items of one study; `train` holds the training targets (frames, …) of every target.

    `renderings`: how many are expected, for the display of progress.
    """

    def __init__(self, study: Study, train: Mapping[str, Array], seed: int) -> None:
        self.study = study
        self.seed = seed
        self.train = dict(train)
        self.main = next(iter(study.pipeline.targets))
        self.metrics: dict[str, tuple[str, Metric]] = {}
        self.renderings = 0
        self._means: dict[str, Array] = {}
        self._rendered: dict[tuple[str, str, float | None, str], tuple[Array, Array]] = {}
        uses = [part if isinstance(part, str) else part["use"] for part in study.pipeline.config.get("metrics") or []]
        for use, metric in zip(uses, study.pipeline.metrics, strict=True):
            self.metrics[use.split("/")[-1]] = (self.main if metric.space == "*" else metric.space, metric)

    def evaluate(self, items: Items) -> Evaluation:
        """Score predictions in full: value, interval, chance, p."""
        done = Evaluation(units=self.units(items))
        asking = self.asking(items, done.units)
        for name, (target, metric) in self.metrics.items():
            if isinstance(metric, RankMetric):
                asked = _telling(metric, asking)
                if not asked:
                    done.reasons[f"scores.{name}"] = _nothing_asked(metric, asking(metric.queries))
                    continue
                found = retrieval.score(metric, asked, self.seed)
                whose = retrieval.clusters(asked)
                done.clusters |= {} if whose is None else {name: whose}
            else:
                media = metric.needs == "media"
                units = self.media_units(metric, items[target], target) if media else done.units[target]
                found = scoring.score(metric, units, self.study.rate(target), self.seed)
            done.scores[name], done.per_unit[name], done.nulls[name] = found
        for name, some in self._identified(done.units, items).items():
            if len(set(some.ids)) < 2:
                done.reasons |= {f"scores.{name}{end}": "only one test candidate" for end in ("", "_rank")}
                continue
            entries, per_unit = scoring.score_identification(some, self.center(), self.seed, name)
            done.scores |= entries
            done.per_unit |= per_unit
        for name, entry in done.scores.items():
            if entry["ci95"] is None:
                whose = done.clusters.get(name)
                count = len(done.per_unit[name]) if whose is None else len(set(whose))
                few = f"{count} {'units' if whose is None else 'trials'}: no interval is given under 10"
                done.reasons[f"scores.{name}.ci95"] = few if count < 10 else "all units score the same"
        main = done.units[self.main]
        if main.dropped_s > 0.05:
            done.reasons["unit.dropped"] = f"{main.dropped_s:.1f} s at the ends of test pieces are shorter than a unit"
        return done

    def values(self, items: Items, *, media: bool = True) -> dict[str, Array]:
        """Score another prediction of the same stretches: per-unit scores by short name.

        `media`: also what needs rendering, which a control's refits are spared.
        """
        units = self.units(items)
        asking = self.asking(items, units)
        found: dict[str, Array] = {}
        for name, (target, metric) in self.metrics.items():
            if isinstance(metric, RankMetric):
                asked = _telling(metric, asking)
                found |= {name: retrieval.values(metric, asked)} if asked else {}
            elif metric.needs == "prediction":
                found[name] = scoring.values(metric, units[target])
            elif media:
                found[name] = scoring.values(metric, self.media_units(metric, items[target], target))
        for name, some in self._identified(units, items).items():
            if len(set(some.ids)) >= 2:
                found |= scoring.identification_values(some, self.center(), self.seed, name)
        return found

    def chances(self, items: Items) -> dict[str, float]:
        """Return what these items score by themselves: top-1 of so many candidates, a metric with the training mean."""
        identified = self._identified(self.units(items), items)
        found = {name: 1.0 / max(1, min(scoring.POOL, len(set(some.ids)))) for name, some in identified.items()}
        mean = self.units(self.mean(items))
        asking = self.asking(items, mean)
        for name, (target, metric) in self.metrics.items():
            if isinstance(metric, RankMetric):
                asked = _telling(metric, asking)
                found |= {name: retrieval.chance(metric, asked)} if asked else {}
            elif metric.needs == "prediction":
                found[name] = float(scoring.values(metric, mean[target]).mean())
        return found

    def retrieval(self, items: Items) -> str:
        """Return the space in which candidates are compared: the one that was learned, else the main target."""
        return next((name for name in items if name not in self.study.pipeline.targets), self.main)

    def asking(self, items: Items, units: Mapping[str, Units]) -> Callable[[Queries], list[Pool]]:
        """Return what looks up, once for all metrics that look up alike: the pools of every fit.

        There are none where nothing distinct is there to choose from.
        """
        space = self.retrieval(items)

        @cache
        def ask(queries: Queries) -> list[Pool]:
            some = self._word_windows(items[space], units[space]) if queries == "words" else units[space]
            return [] if some is None else retrieval.ask(queries, self._pooled(some, space), self.center(space))

        return ask

    def pools(self, items: Items) -> list[Pool]:
        """Return every fit's candidates and how alike each test window's prediction is to them."""
        return self.asking(items, self.units(items))("each")

    def _pooled(self, units: Units, space: str) -> Units:
        """Return units whose candidates are shared by the fits of a fold, unless each has learned its own space."""
        learned = space not in self.study.pipeline.targets
        return units if learned else replace(units, fits=[fit.split("/")[0] for fit in units.fits])

    def _word_windows(self, items: Sequence[Scored], units: Units) -> Units | None:
        rate = self.study.rate(self.main)
        if rate is None or not self._has_words():
            return None
        said = {id: self._words(id) for id in {item.stimulus for item in items}}
        return retrieval.word_windows(items, said, rate, min(units.frames, round(retrieval.WORD_S * rate)))

    def media_units(self, metric: Metric, items: Sequence[Scored], target: str) -> Units:
        """Cut originals and renderings, at the metric's `media_rate`, into the units of their target."""
        frame_rate = self.study.rate(target)
        pairs = [self._media(item, target, metric.media_rate) for item in items]
        heard = [replace(item, target=true, predicted=made) for item, (true, made) in zip(items, pairs, strict=True)]
        if frame_rate is None or metric.media_rate is None:
            return scoring.cut_units(heard, None, 0.0, media=True)
        unit_s = self._cut(target, {target: list(items)}).seconds
        return scoring.cut_units(heard, metric.media_rate, unit_s, media=True)

    def references(self, items: Items) -> dict[str, dict[str, Array]]:
        """Score the metrics' own oracles: {oracle: {metric: per-unit scores}}."""
        found: dict[str, dict[str, Array]] = {}
        for name, (target, metric) in self.metrics.items():
            for number, item in enumerate(items[target]):
                for oracle, predicted in metric.references(self.train[target], item.target).items():
                    column = found.setdefault(oracle, {}).setdefault(name, [None] * len(items[target]))  # type: ignore[arg-type]
                    column[number] = replace(item, predicted=predicted)
        return {
            oracle: {
                name: scoring.values(
                    self.metrics[name][1], self._cut(self.metrics[name][0], {self.metrics[name][0]: list(some)})
                )
                for name, some in columns.items()
            }
            for oracle, columns in found.items()
        }

    def mean(self, items: Items) -> Items:
        """Return the items with the training mean as prediction."""
        return {
            target: [replace(item, predicted=np.broadcast_to(self._mean(target), item.target.shape)) for item in some]
            for target, some in items.items()
        }

    def margin(self, name: str, chance: float) -> float:
        """Return how far above chance a control's score must be to matter (top-1: chance; identification_rank: .1)."""
        if name.endswith("identification"):
            return chance
        metric = self.metrics[name][1] if name in self.metrics else None
        if isinstance(metric, RankMetric):
            return metric.margin_at(chance)
        return 0.1 if metric is None else metric.margin

    def confirmed_by(self, name: str) -> str | None:
        """Return the score of ranks that must agree before a control's share of hits, bounded at 0, is believed."""
        if name.endswith("identification"):
            return f"{name}_rank"
        metric = self.metrics[name][1] if name in self.metrics else None
        wanted = metric.confirmed_by if isinstance(metric, RankMetric) else None
        return wanted if wanted is None or wanted in self.metrics else "identification_rank"

    def units(self, items: Items) -> dict[str, Units]:
        """Cut every target's items into units."""
        return {target: self._cut(target, items) for target in items}

    def _cut(self, target: str, items: Items) -> Units:
        """Cut a target's items into units; a learned space's into those of the main target, frame by frame."""
        pipeline = self.study.pipeline
        if target in pipeline.targets:
            return scoring.cut_units(items[target], self.study.rate(target), pipeline.unit_s)
        seconds = self._cut(self.main, items).seconds
        return scoring.cut_units(items[target], self.study.rate(self.main), seconds, media=True)

    def _identified(self, units: Mapping[str, Units], items: Items) -> dict[str, Units]:
        """Return the units in which the main target is identified: presentations or blocks, and words where timed."""
        found = {"identification": units[self.main]}
        rate = self.study.rate(self.main)
        if rate is not None and self._has_words():
            some = items[self.main]
            said = {id: self._words(id) for id in {item.stimulus for item in some}}
            words = scoring.word_units(some, rate, said)
            if words is not None:
                found["word_identification"] = words
        return found

    def _media(self, item: Scored, target: str, rate: float | None) -> tuple[Array, Array]:
        """Return original and rendering of an item, rendered once for all metrics."""
        made = hashlib.sha256(np.ascontiguousarray(item.predicted).tobytes()).hexdigest()
        key = (item.name, target, rate, made)
        if key not in self._rendered:
            self._rendered[key] = media_pair(self.study, item, target, rate)
            done, total = len(self._rendered), max(self.renderings, len(self._rendered))
            self.study.ctx.log({"kind": "progress", "stage": "score sound", "done": done, "total": total})
        return self._rendered[key]

    def _has_words(self) -> bool:
        return WORDS in [space.name for space in self.study.pipeline.dataset.stimuli_spaces]

    def _words(self, stimulus: str) -> Sequence[Word]:
        signal = self.study.pipeline.dataset.stimulus(stimulus, Space(WORDS))
        return [(str(text), float(start), float(stop)) for text, start, stop in signal.data]

    def _mean(self, target: str) -> Array:
        if target not in self._means:  # a learned space has its own centre at 0
            known = target in self.train
            self._means[target] = mean(self.train[target]) if known else np.zeros((), np.float64)
        return self._means[target]

    def center(self, target: str | None = None) -> Array:
        """Return what is subtracted before cosines in a target space: the training mean; 0 in a learned one."""
        return self._mean(self.main if target is None else target)


def _telling(metric: RankMetric, asking: Callable[[Queries], list[Pool]]) -> list[Pool]:
    """Return the pools that a metric looks up in; none where it is the same whatever was predicted."""
    asked = asking(metric.queries)
    return asked if any(metric.can_fail(len(pool.ids)) for pool in asked) else []


def _nothing_asked(metric: RankMetric, asked: Sequence[Pool]) -> str:
    if asked:
        return f"it cannot fail with {max(len(pool.ids) for pool in asked)} candidates"
    if metric.queries == "words":
        return "no two words with times lie, with a window around them, on the test side"
    return "only one test candidate"
