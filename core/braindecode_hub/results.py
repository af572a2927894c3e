"""From scores and what stands beside them to `metrics.json`: flags, differences, reasons, digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braindecode_hub import scoring
from braindecode_hub.controls import above_chance
from braindecode_hub.evaluation import Evaluation, Items, Judge
from braindecode_hub.files import load_arrays
from braindecode_hub.fitted import STATE
from braindecode_hub.intervals import interval, of_clusters
from braindecode_hub.metrics import constant_bins, correlations
from braindecode_hub.splits import Fold, Side
from braindecode_hub.study import Study
from braindecode_hub.types import Array


@dataclass
class Beside:
    """What stands beside the pipeline's scores: per-unit scores of baselines and ceiling, refits of controls.

    `chances`: what the refits' own test sides score by themselves (they may hold fewer candidates, and other stimuli);
    `left_out`: controls that this data cannot have, and why; `missing`: decoders that could not be fitted beside.
    """

    baselines: dict[str, dict[str, Array]] = field(default_factory=dict)
    controls: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    chances: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    ceiling: dict[str, Array] = field(default_factory=dict)


@dataclass
class Outcome:
    """Everything that a finished run knows about its scores."""

    study: Study
    folds: Sequence[Fold]
    side: Side
    judge: Judge
    items: Items
    done: Evaluation
    beside: Beside
    looks: int
    seconds: Mapping[str, float]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.study.ctx.seed

    def details(self) -> dict[str, Array]:
        """Return the arrays behind the scores, as details.safetensors holds them."""
        done, beside = self.done, self.beside
        arrays = {f"units/{name}": values for name, values in done.per_unit.items()}
        arrays |= {f"null/{name}": values for name, values in done.nulls.items()}
        arrays |= {f"units/baseline/{b}/{m}": v for b, some in beside.baselines.items() for m, v in some.items()}
        arrays |= {f"units/ceiling/{name}": values for name, values in beside.ceiling.items()}
        arrays |= {f"controls/{k}/{m}": np.asarray(v) for k, some in beside.controls.items() for m, v in some.items()}
        for name, (target, metric) in self.judge.metrics.items():
            units = done.units[target]
            if units.target.ndim == 3 and metric.needs != "candidates":
                arrays[f"bins/{name}"] = correlations(units.target, units.predicted)[0].mean(axis=0)
        return arrays

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json, all but the digest."""
        study, done, beside = self.study, self.done, self.beside
        units = done.units[self.judge.main]
        scores = {name: dict(entry) for name, entry in done.scores.items()}
        return {
            "schema": 1,
            "pipeline": study.pipeline.name,
            "seed": self.seed,
            "simulated": study.pipeline.dataset.simulated,
            "closed_set": study.split.closed_set,
            "flags": self.flags(),
            "digest": None,
            "dataset": {
                "use": study.pipeline.config["dataset"]["use"],
                "fingerprint": study.pipeline.dataset.fingerprint(),
                "subjects": len(set(units.subjects)),
                "trials": {side: sum(len(fold.side(side)) for fold in self.folds) for side in ("train", "val", "test")},
            },
            "split": {"by": list(study.split.by), "gap_s": study.split.gap_s},
            "side": self.side,
            "unit": {
                "name": units.name,
                "n": len(units),
                "effective_shifts": units.effective,
                "smallest_p": max((entry["smallest_p"] for entry in scores.values()), default=None),
            },
            "test_looks": self.looks,
            "scores": scores,
            "baselines": {b: _means(some) for b, some in beside.baselines.items()},
            "controls": {kind: _means(some) for kind, some in beside.controls.items()},
            "intervals": {
                "baselines": {
                    b: {m: self._interval(m, v) for m, v in some.items()} for b, some in beside.baselines.items()
                },
                "controls": {k: {m: [min(v), max(v)] for m, v in some.items()} for k, some in beside.controls.items()},
            },
            "control_refits": {kind: len(next(iter(some.values()))) for kind, some in beside.controls.items()},
            "differences": {f"pipeline-{b}": self._differences(some) for b, some in beside.baselines.items()},
            "ceiling": _means(beside.ceiling) or None,
            "by_subject": self._by_subject(),
            "folds": [self._by_fold(fold) for fold in self.folds],
            "reasons": self.reasons(),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def flags(self) -> list[str]:
        """Return what must be said beside every score: SIMULATED, CLOSED SET, UNVERIFIED, DEV, CHANCE, LEAK."""
        dataset = self.study.pipeline.dataset
        flags = ["SIMULATED"] if dataset.simulated else []
        flags += ["CLOSED SET"] if self.study.split.closed_set else []
        flags += ["UNVERIFIED"] if dataset.unverified else []
        flags += ["DEV"] if self.side != "test" else []
        for kind, some in self.beside.controls.items():
            if any(self.control_above_chance(name, kind) for name in some):
                flags.append("CHANCE" if kind == "shuffled" else "LEAK")
        if any(self.above_ceiling(name) for name in self.beside.ceiling):
            flags.append("LEAK")
        return list(dict.fromkeys(flags))

    def above_ceiling(self, name: str) -> bool:
        """Say whether a score is better than the oracle's whole interval."""
        ends, value = self._interval(name, self.beside.ceiling[name]), float(self.done.per_unit[name].mean())
        if ends is None:
            return False
        return value > ends[1] if self.done.scores[name]["higher_is_better"] else value < ends[0]

    def control_above_chance(self, name: str, kind: str) -> bool:
        """Say whether a control's refits exceed chance by the rule of `controls.above_chance`.

        The bar is mismatched pairs or the mean predictor, on the run's test side or the refits' own, whichever scores
        best; top-1 counts only where the rank agrees: docs/decisions/0007-control-rule.md says why. For the shuffled
        control it is also the untrained decoder, where there is one: docs/decisions/0012-untrained.md.
        """
        entry, refits = self.done.scores.get(name), self.beside.controls[kind]
        if entry is None or entry["chance"] is None or name not in refits:
            return False
        rank = self.judge.confirmed_by(name)
        top1 = rank is not None
        own = self.beside.chances.get(kind, {}).get(name, [])
        chance = max([entry["chance"], *own]) if top1 else entry["chance"]
        sign = 1.0 if entry["higher_is_better"] else -1.0
        mean = self.beside.baselines.get("mean", {}).get(name)
        known = [chance, *([] if mean is None else [float(mean.mean())]), *([float(np.mean(own))] if own else [])]
        untrained = self.beside.baselines.get("untrained", {}).get(name) if kind == "shuffled" else None
        known += [] if untrained is None else [float(untrained.mean())]
        bar = max(sign * one for one in known)
        margin = self.judge.margin(name, chance)
        above = bool(above_chance(sign * np.asarray(refits[name]), bar, margin))
        return above and (rank is None or self.control_above_chance(rank, kind))

    def reasons(self) -> dict[str, str]:
        """Return, by path in metrics.json, why something is missing."""
        reasons = dict(self.done.reasons)
        units = self.done.units[self.judge.main]
        if self.side != "test":
            reasons["controls"] = "a --dev run scores validation only; controls belong to the test"
        if not self.beside.ceiling:
            reasons["ceiling"] = "the forward model is not known: real recordings have no oracle"
        if self.study.pipeline.baseline is None:
            reasons["baselines.ridge"] = "the pipeline names no baseline"
        reasons |= {f"controls.{kind}": why for kind, why in self.beside.left_out.items()}
        reasons |= {f"baselines.{name}": why for name, why in self.beside.missing.items()}
        spared = [name for name, (_, metric) in self.judge.metrics.items() if metric.needs == "media"]
        reasons |= {f"controls.{name}": "needs rendering, which the refits are spared" for name in spared}
        for oracle, some in self.beside.baselines.items():
            for name in self.done.scores:
                if name not in some:
                    reasons[f"baselines.{oracle}.{name}"] = f"{oracle} belongs to other scores"
        if units.target.ndim == 3:
            dropped = constant_bins(units.target)
            if dropped.any():
                bins = ", ".join(map(str, np.flatnonzero(dropped)))
                reasons["scores.excluded_bins"] = (
                    f"bins {bins} of {dropped.size} never vary on this side and are left out"
                )
        return reasons

    def _interval(self, name: str, values: Array) -> list[float] | None:
        whose = self._clusters(name, len(values))
        if whose is not None:
            found = of_clusters(values, whose, seed=self.seed)
        else:
            found = interval(values, seed=self.seed, subjects=self._subjects(len(values)))
        return None if found is None else [float(found[0]), float(found[1])]

    def _differences(self, others: Mapping[str, Array]) -> dict[str, Any]:
        own = self.done.per_unit
        return {
            m: scoring.difference(own[m], v, self._subjects(len(v)), self.seed, clusters=self._clusters(m, len(v)))
            for m, v in others.items()
            if m in own
        }

    def _clusters(self, name: str, count: int) -> list[str] | None:
        whose = self.done.clusters.get(name)
        return whose if whose is not None and len(whose) == count else None

    def _subjects(self, count: int) -> list[str] | None:
        """Return whose each of `count` units is, where they are the main target's."""
        subjects = self.done.units[self.judge.main].subjects
        return subjects if len(subjects) == count else None

    def _by_subject(self) -> dict[str, dict[str, float]]:
        subjects = np.array(self.done.units[self.judge.main].subjects)
        alike = {name: values for name, values in self.done.per_unit.items() if len(values) == len(subjects)}
        return {
            self.study.codes.get(s, s): {m: float(v[subjects == s].mean()) for m, v in alike.items()}
            for s in sorted(set(subjects))
            if s
        }

    def _by_fold(self, fold: Fold) -> dict[str, Any]:
        own = {
            t: [one for one in some if one.name.startswith(f"fold-{fold.number}-")] for t, some in self.items.items()
        }
        return {"fold": fold.number, **{name: float(v.mean()) for name, v in self.judge.values(own).items()}}


def digest(folder: Path, metrics: Mapping[str, Any]) -> str:
    """Hash what was learned, predicted, scored and split in a run folder; not times, paths, events or the report."""
    found = hashlib.sha256()
    for path in [*sorted(folder.glob(f"fold-*/*{STATE}")), folder / "predictions.safetensors"]:
        arrays, _ = load_arrays(path)
        for name, array in sorted(arrays.items()):
            found.update(f"{path.name} {name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    told = {name: metrics[name] for name in ("scores", "baselines", "controls", "ceiling", "folds", "unit")}
    found.update(json.dumps(told, sort_keys=True).encode())
    found.update((folder / "split.json").read_bytes())
    return found.hexdigest()


class Looks:
    """Counts how often one test side was looked at: one empty file a run, so that a resumed run counts once."""

    def __init__(self, home: Path, study: Study, folds: Sequence[Fold]) -> None:
        told = json.dumps(
            [study.pipeline.dataset.fingerprint(), [fold.as_data()["sides"]["test"] for fold in folds]],
            sort_keys=True,
        )
        self._folder = home / ".test-looks" / hashlib.sha256(told.encode()).hexdigest()[:16]

    def add(self, run: str) -> None:
        """Note that the run called `run` looks now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / run).touch()

    def count(self) -> int:
        """Return how many runs have looked."""
        return len(list(self._folder.iterdir())) if self._folder.is_dir() else 0


def _means(some: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in some.items()}
