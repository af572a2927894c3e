"""Scores of one run: units, chance, p, intervals, identification. What is scored is in the target's own units.

A continuous test side is stitched per subject and cut into non-overlapping blocks (`unit_s`, and at least twice the
target's autocorrelation time); a side of short presentations has one unit a presentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln

from braindecode_hub.interfaces import Metric
from braindecode_hub.metrics import identification, identification_per_unit, similarity
from braindecode_hub.statistics import autocorrelation_time, exchange_p, interval, paired_interval, shift_p
from braindecode_hub.types import Array

POOL = 50
DRAWS = 10_000


@dataclass(frozen=True)
class Scored:
    """One stretch of the test side: what was predicted and what was true, (frames, …) or static (…)."""

    name: str
    subject: str
    stimulus: str
    start: float
    target: Array
    predicted: Array


@dataclass(frozen=True)
class Units:
    """The test side cut into units: arrays (units, frames, …) or static (units, …), and whose each is."""

    name: str
    frames: int
    target: Array
    predicted: Array
    subjects: list[str]
    ids: list[str]
    seconds: float
    effective: float

    def __len__(self) -> int:
        return len(self.target)


def cut_units(items: Sequence[Scored], rate: float | None, unit_s: float) -> Units:
    """Cut scored stretches into units; every array of one target."""
    if rate is None:
        frames, label = 1, "presentation"
        pieces = [(item, slice(None), item.start) for item in items]
    else:
        tau = autocorrelation_time(np.concatenate([_flat(item.target) for item in items]))
        wanted = max(round(unit_s * rate), int(np.ceil(2 * tau)))
        shortest, longest = min(len(item.target) for item in items), max(len(item.target) for item in items)
        frames = wanted if longest >= wanted else shortest
        label = f"{frames / rate:.3g} s block" if longest >= wanted else "presentation"
        pieces = [
            (item, slice(at, at + frames), item.start + at / rate)
            for item in items
            for at in range(0, len(item.target) - frames + 1, frames)
        ]
    stack = {
        "target": np.stack([np.asarray(item.target[where], np.float32) for item, where, _ in pieces]),
        "predicted": np.stack([np.asarray(item.predicted[where], np.float32) for item, where, _ in pieces]),
    }
    total = len(pieces) * frames
    effective = float(len(pieces)) if rate is None else total / (2 * tau)
    return Units(
        name=label,
        frames=frames,
        target=stack["target"],
        predicted=stack["predicted"],
        subjects=[item.subject for item, _, _ in pieces],
        ids=[f"{item.stimulus}@{start:.2f}" for item, _, start in pieces],
        seconds=frames / rate if rate else 0.0,
        effective=effective,
    )


def values(metric: Metric, units: Units, predicted: Array | None = None) -> Array:
    """Return the metric's score of every unit, float64 (units,)."""
    return np.asarray(metric.per_unit(units.target, units.predicted if predicted is None else predicted), np.float64)


def score(metric: Metric, units: Units, rate: float | None, seed: int) -> tuple[dict[str, Any], Array, Array]:
    """Return one entry of `metrics.json`'s scores, the per-unit scores, and the null of mismatched pairs."""
    per_unit = values(metric, units)
    p, smallest, null = _null(metric, units, rate, seed)
    sign = 1.0 if metric.higher_is_better else -1.0
    entry = {
        "value": float(per_unit.mean()),
        "ci95": _listed(interval(per_unit, seed=seed, subjects=units.subjects)),
        "chance": float(sign * null[1:].mean()) if len(null) > 1 else None,
        "p": p,
        "smallest_p": smallest,
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
    }
    return entry, per_unit, sign * null


def score_identification(units: Units, center: Array, seed: int) -> tuple[dict[str, dict[str, Any]], dict[str, Array]]:
    """Return the entries `identification` and `identification_rank`, and their per-unit scores."""
    predicted, target = _rows(units.predicted), _rows(units.target)
    middle = np.broadcast_to(center, units.target.shape[1:]).reshape(-1)
    options: dict[str, Any] = {"pool": POOL, "seed": seed, "center": middle, "ids": units.ids}
    overall = identification(target, predicted, **options)
    each = identification_per_unit(target, predicted, **options)
    pool = int(overall["pool"])
    chances = _top1_chances(similarity(target, predicted, middle), units.ids, pool)
    p, smallest, _ = exchange_p(chances, seed=seed, blocks=units.subjects)
    per_unit = {"identification": each["top1"], "identification_rank": each["rank_percentile"]}
    candidates = f"1 of {pool}" + (f", {units.seconds:.3g} s each" if units.seconds else "")
    entries = {}
    for name, value, chance in (
        ("identification", overall["top1"], 1.0 / pool),
        ("identification_rank", overall["rank_percentile"], 0.5),
    ):
        entries[name] = {
            "value": float(value),
            "ci95": _listed(interval(per_unit[name], seed=seed, subjects=units.subjects)),
            "chance": chance,
            "p": p if name == "identification" else _rank_p(target, predicted, middle, units, seed)[0],
            "smallest_p": smallest,
            "higher_is_better": True,
            "unit": candidates,
        }
    entries["identification"]["top5"] = float(overall["top5"])
    entries["identification"]["mean_rank"] = float(overall["mean_rank"])
    return entries, per_unit


def identification_values(units: Units, predicted: Array, center: Array, seed: int) -> dict[str, Array]:
    """Return the per-unit identification scores of another prediction of the same units (a baseline, a control)."""
    middle = np.broadcast_to(center, units.target.shape[1:]).reshape(-1)
    each = identification_per_unit(
        _rows(units.target), _rows(predicted), pool=POOL, seed=seed, center=middle, ids=units.ids
    )
    return {"identification": each["top1"], "identification_rank": each["rank_percentile"]}


def difference(a: Array, b: Array, units: Units, seed: int) -> dict[str, Any]:
    """Return the paired difference a − b with its interval."""
    return {
        "value": float(np.mean(a - b)),
        "ci95": _listed(paired_interval(a, b, seed=seed, subjects=units.subjects)),
    }


def _null(metric: Metric, units: Units, rate: float | None, seed: int) -> tuple[float, float, Array]:
    """Return p, the smallest p attainable, and the null with the observed score first; larger is better in it."""
    sign = 1.0 if metric.higher_is_better else -1.0
    if rate is None or units.name == "presentation":
        pairs = sign * np.stack(
            [metric.per_unit(units.target, np.repeat(one[None], len(units), axis=0)) for one in units.predicted],
            axis=1,
        )
        p, smallest, null = exchange_p(pairs, seed=seed, blocks=units.subjects)
        return p, smallest, np.concatenate([[pairs.diagonal().mean()], null])
    nulls, counts = [], []
    for subject in sorted(set(units.subjects)):
        own = [k for k, whose in enumerate(units.subjects) if whose == subject]
        target, predicted = (_stitched(array[own]) for array in (units.target, units.predicted))
        nulls.append(sign * metric.shifted(target, predicted, units.frames))
        counts.append(len(own))
    effective = units.effective
    if len(nulls) == 1:
        p, smallest = shift_p(nulls[0], effective=min(effective, len(nulls[0])))
        return p, smallest, nulls[0]
    rng = np.random.default_rng(seed)
    drawn = np.average([null[rng.integers(0, len(null), DRAWS)] for null in nulls], axis=0, weights=counts)
    observed = float(np.average([null[0] for null in nulls], weights=counts))
    smallest = max(1.0 / (DRAWS + 1), 1.0 / max(1.0, effective))
    p = max(smallest, (1 + int((drawn >= observed - 1e-12).sum())) / (1 + DRAWS))
    return p, smallest, np.concatenate([[observed], drawn])


def _top1_chances(scores: Array, ids: Sequence[str], pool: int) -> Array:
    """Return (n, n): the chance that query i ranks target j first among j and pool − 1 random others; ties miss."""
    _, first = np.unique(np.asarray(ids), return_index=True)
    candidates = scores[:, np.sort(first)] if scores.shape[0] == len(ids) else scores
    below = np.stack([(candidates < scores[:, [j]]).sum(axis=1) for j in range(scores.shape[1])], axis=1)
    others, drawn = candidates.shape[1] - 1, pool - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = _log_choose(below, drawn) - _log_choose(np.full_like(below, others), drawn)
    return np.where(below >= drawn, np.exp(logs), 0.0)


def _rank_p(target: Array, predicted: Array, middle: Array, units: Units, seed: int) -> tuple[float, float, Array]:
    scores = similarity(target, predicted, middle)
    share = np.stack([(scores < scores[:, [j]]).mean(axis=1) for j in range(scores.shape[1])], axis=1)
    return exchange_p(share, seed=seed, blocks=units.subjects)


def _log_choose(n: Array, k: int) -> Array:
    n = np.asarray(n, np.float64)
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)


def _rows(x: Array) -> Array:
    return np.asarray(x, np.float64).reshape(len(x), -1)


def _flat(x: Array) -> Array:
    return np.asarray(x).reshape(len(x), -1)


def _stitched(x: Array) -> Array:
    return x.reshape(-1, int(np.prod(x.shape[2:])) if x.ndim > 2 else 1)


def _listed(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else [float(pair[0]), float(pair[1])]
