"""What the predictions of a study are worth: every metric, identification, and the same for anything beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.interfaces import Metric
from braindecode_hub.lazy import mean
from braindecode_hub.rendering import media_pair
from braindecode_hub.scoring import Scored, Units, Word
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Space

Items = dict[str, list[Scored]]
"""Scored stretches by target."""

WORDS = "words"
"""The stimulus space of timed words: `Signal.data` is a sequence of (text, start, stop), seconds of the stimulus."""


@dataclass
class Evaluation:
    """Scores by short name, the per-unit scores and nulls behind them, and why anything is missing."""

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_unit: dict[str, Array] = field(default_factory=dict)
    nulls: dict[str, Array] = field(default_factory=dict)
    units: dict[str, Units] = field(default_factory=dict)
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
        for name, (target, metric) in self.metrics.items():
            units = (
                done.units[target] if metric.needs == "prediction" else self.media_units(metric, items[target], target)
            )
            rate = self.study.rate(target)
            done.scores[name], done.per_unit[name], done.nulls[name] = scoring.score(metric, units, rate, self.seed)
        for name, some in self._identified(done.units, items).items():
            if len(set(some.ids)) < 2:
                done.reasons |= {f"scores.{name}{end}": "only one test candidate" for end in ("", "_rank")}
                continue
            entries, per_unit = scoring.score_identification(some, self._center(), self.seed, name)
            done.scores |= entries
            done.per_unit |= per_unit
        for name, entry in done.scores.items():
            if entry["ci95"] is None:
                count = len(done.per_unit[name])
                few = f"{count} units: no interval is given under 10"
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
        found = {}
        for name, (target, metric) in self.metrics.items():
            if metric.needs == "prediction":
                found[name] = scoring.values(metric, units[target])
            elif media:
                found[name] = scoring.values(metric, self.media_units(metric, items[target], target))
        for name, some in self._identified(units, items).items():
            if len(set(some.ids)) >= 2:
                found |= scoring.identification_values(some, self._center(), self.seed, name)
        return found

    def chances(self, items: Items) -> dict[str, float]:
        """Return what these items score by themselves: top-1 of so many candidates, a metric with the training mean."""
        identified = self._identified(self.units(items), items)
        found = {name: 1.0 / max(1, min(scoring.POOL, len(set(some.ids)))) for name, some in identified.items()}
        mean = self.units(self.mean(items))
        for name, (target, metric) in self.metrics.items():
            if metric.needs == "prediction":
                found[name] = float(scoring.values(metric, mean[target]).mean())
        return found

    def media_units(self, metric: Metric, items: Sequence[Scored], target: str) -> Units:
        """Cut originals and renderings, at the metric's `media_rate`, into the units of their target."""
        frame_rate = self.study.rate(target)
        pairs = [self._media(item, target, metric.media_rate) for item in items]
        heard = [replace(item, target=true, predicted=made) for item, (true, made) in zip(items, pairs, strict=True)]
        if frame_rate is None or metric.media_rate is None:
            return scoring.cut_units(heard, None, 0.0, media=True)
        unit_s = self._cut(target, items).seconds
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
                name: scoring.values(self.metrics[name][1], self._cut(self.metrics[name][0], list(some)))
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

    def margin(self, name: str) -> float:
        """Return how far above chance a control's score must be to matter (identification_rank: .1)."""
        return self.metrics[name][1].margin if name in self.metrics else 0.1

    def units(self, items: Items) -> dict[str, Units]:
        """Cut every target's items into units."""
        return {target: self._cut(target, some) for target, some in items.items()}

    def _cut(self, target: str, items: Sequence[Scored]) -> Units:
        return scoring.cut_units(items, self.study.rate(target), self.study.pipeline.unit_s)

    def _identified(self, units: Mapping[str, Units], items: Items) -> dict[str, Units]:
        """Return the units in which the main target is identified: presentations or blocks, and words where timed."""
        found = {"identification": units[self.main]}
        rate = self.study.rate(self.main)
        if rate is not None and WORDS in [space.name for space in self.study.pipeline.dataset.stimuli_spaces]:
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

    def _words(self, stimulus: str) -> Sequence[Word]:
        signal = self.study.pipeline.dataset.stimulus(stimulus, Space(WORDS))
        return [(str(text), float(start), float(stop)) for text, start, stop in signal.data]

    def _mean(self, target: str) -> Array:
        if target not in self._means:
            self._means[target] = mean(self.train[target])
        return self._means[target]

    def _center(self) -> Array:
        return self._mean(self.main)
