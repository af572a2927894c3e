"""What the predictions of a study are worth: every metric, identification, and the same for anything beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.interfaces import Metric
from braindecode_hub.scoring import Scored, Units
from braindecode_hub.study import Study
from braindecode_hub.types import Array

Items = dict[str, list[Scored]]
"""Scored stretches by target."""


@dataclass
class Evaluation:
    """Scores by short name, the per-unit scores and nulls behind them, and why anything is missing."""

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_unit: dict[str, Array] = field(default_factory=dict)
    nulls: dict[str, Array] = field(default_factory=dict)
    units: dict[str, Units] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Judge:
    """Scores the items of one study; `train` holds the training targets (frames, …) of every target."""

    def __init__(self, study: Study, train: Mapping[str, Array], seed: int) -> None:
        self.study = study
        self.seed = seed
        self.train = dict(train)
        self.main = next(iter(study.pipeline.targets))
        self.metrics: dict[str, tuple[str, Metric]] = {}
        uses = [part if isinstance(part, str) else part["use"] for part in study.pipeline.config.get("metrics") or []]
        for use, metric in zip(uses, study.pipeline.metrics, strict=True):
            self.metrics[use.split("/")[-1]] = (self.main if metric.space == "*" else metric.space, metric)

    def evaluate(self, items: Items) -> Evaluation:
        """Score predictions in full: value, interval, chance, p."""
        done = Evaluation(units=self.units(items))
        for name, (target, metric) in self.metrics.items():
            units = done.units[target]
            done.scores[name], done.per_unit[name], done.nulls[name] = scoring.score(
                metric, units, self.study.rate(target), self.seed
            )
        units = done.units[self.main]
        if len(set(units.ids)) < 2:
            for name in ("identification", "identification_rank"):
                done.reasons[f"scores.{name}"] = f"only {len(set(units.ids))} test candidate"
        else:
            entries, per_unit = scoring.score_identification(units, self._center(), self.seed)
            done.scores |= entries
            done.per_unit |= per_unit
        for name, entry in done.scores.items():
            if entry["ci95"] is None:
                few = f"{len(units)} units: no interval is given under 10"
                done.reasons[f"scores.{name}.ci95"] = few if len(units) < 10 else "all units score the same"
        return done

    def values(self, items: Items) -> dict[str, Array]:
        """Score another prediction of the same stretches: per-unit scores by short name."""
        units = self.units(items)
        found = {name: scoring.values(metric, units[target]) for name, (target, metric) in self.metrics.items()}
        main = units[self.main]
        if len(set(main.ids)) >= 2:
            found |= scoring.identification_values(main, main.predicted, self._center(), self.seed)
        return found

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

    def _mean(self, target: str) -> Array:
        return np.asarray(self.train[target], np.float64).mean(axis=0)

    def _center(self) -> Array:
        return self._mean(self.main)
