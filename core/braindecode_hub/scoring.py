"""Scores of one run: units, chance, p, intervals, identification. What is scored is in the target's own units.

A continuous test side is stitched per subject and cut into non-overlapping blocks (`unit_s`, and at least twice the
target's autocorrelation time); a side of short presentations has one unit a presentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln

from braindecode_hub.interfaces import Metric
from braindecode_hub.intervals import FEWEST_UNITS, interval, paired_interval
from braindecode_hub.metrics import identification, identification_per_unit, similarity
from braindecode_hub.nulls import autocorrelation_time, exchange_p, shift_p
from braindecode_hub.types import Array

POOL = 50
DRAWS = 10_000
MOST_EXCHANGED = 2000
"""Units whose pairs are exchanged for p, at most."""
WORD_FRAMES = 16
SHORTEST_WORD = 5
"""Frames: words are brought to the first length, and left out below the second."""

Word = tuple[str, float, float]
"""Its text, and when it starts and stops, in seconds of the stimulus."""


@dataclass(frozen=True)
class Scored:
    """One stretch of the test side: what was predicted and what was true, (frames, …) or static (…).

    `start`: seconds of its stimulus; `fit`: which fit predicted it.
    """

    name: str
    subject: str
    stimulus: str
    start: float
    target: Array
    predicted: Array
    fit: str = ""


@dataclass(frozen=True)
class Units:
    """The test side cut into units: arrays (units, frames, …) or static (units, …), and whose each is.

    `fits`: which fit predicted each; `presentations`: the stretch of brain that each is from, and what was presented
    in all of it; `occurrences`: where in the stimuli each is, if their ids do not tell.
    """

    name: str
    frames: int
    target: Array
    predicted: Array
    subjects: list[str]
    ids: list[str]
    seconds: float
    effective: float
    dropped_s: float = 0.0
    fits: Sequence[str] = ()
    presentations: Sequence[tuple[str, str]] = ()
    occurrences: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.target)


def cut_units(items: Sequence[Scored], rate: float | None, unit_s: float, *, media: bool = False) -> Units:
    """Cut scored stretches into units; every array of one target.

    `media`: the arrays are sound or pictures, whose own autocorrelation says nothing about units.
    """
    if rate is None:
        frames, label = 1, "presentation"
        pieces = [(item, slice(None), item.start) for item in items]
    else:
        tau = 1.0 if media else autocorrelation_time(np.concatenate([_flat(item.target) for item in items]))
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
    dropped = 0 if rate is None else sum(len(item.target) for item in items) - total
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
        dropped_s=dropped / rate if rate else 0.0,
        fits=[item.fit for item, _, _ in pieces],
        presentations=[(item.name, f"{item.stimulus}@{item.start:.2f}") for item, _, _ in pieces],
    )


def word_units(items: Sequence[Scored], rate: float, words: Mapping[str, Sequence[Word]]) -> Units | None:
    """Cut scored stretches into the words that lie wholly in them, each brought to the same number of frames.

    `words`: (text, start, stop) in seconds of each stimulus. The unit's id is the text: one candidate a word, however
    often it was said. None where fewer than two words differ.
    """
    found: list[tuple[Scored, str, str, slice]] = []
    for item in items:
        for text, start, stop in words.get(item.stimulus, ()):
            low, high = round((start - item.start) * rate), round((stop - item.start) * rate)
            if low >= 0 and high <= len(item.target) and high - low >= SHORTEST_WORD:
                found.append((item, text.casefold(), f"{item.stimulus}@{start:.2f}", slice(low, high)))
    if len({text for _, text, _, _ in found}) < 2:
        return None
    return Units(
        name="word",
        frames=WORD_FRAMES,
        target=np.stack([_stretched(item.target[where]) for item, _, _, where in found]),
        predicted=np.stack([_stretched(item.predicted[where]) for item, _, _, where in found]),
        subjects=[item.subject for item, _, _, _ in found],
        ids=[text for _, text, _, _ in found],
        seconds=0.0,
        effective=float(len(found)),
        occurrences=[said for _, _, said, _ in found],
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


def score_identification(
    units: Units, center: Array, seed: int, name: str = "identification"
) -> tuple[dict[str, dict[str, Any]], dict[str, Array]]:
    """Return the entries `name` (top-1) and `name`_rank, and their per-unit scores."""
    predicted, target, middle = _rows(units.predicted), _rows(units.target), _middle(units, center)
    overall = identification(target, predicted, pool=POOL, seed=seed, center=middle, ids=units.ids)
    per_unit = identification_values(units, center, seed, name)
    pool = int(overall["pool"])
    some = exchanged(units, seed)
    ids = [units.ids[n] for n in some]
    top1, share = _pairings(similarity(target[some], predicted[some], middle), ids, min(pool, len(set(ids))))
    candidates = f"1 of {pool}" + (f", {units.seconds:.3g} s each" if units.seconds else "")
    entries = {}
    for key, value, chance, pairs in (
        (name, overall["top1"], 1.0 / pool, top1),
        (f"{name}_rank", overall["rank_percentile"], 0.5, share),
    ):
        p, smallest, _ = _exchange_p(pairs, units, some, seed)
        entries[key] = {
            "value": float(value),
            "ci95": _shares(interval(per_unit[key], seed=seed, subjects=units.subjects)),
            "chance": chance,
            "p": p,
            "smallest_p": smallest,
            "higher_is_better": True,
            "unit": candidates,
        }
    entries[name] |= {"top5": float(overall["top5"]), "mean_rank": float(overall["mean_rank"])}
    return entries, per_unit


def identification_values(units: Units, center: Array, seed: int, name: str = "identification") -> dict[str, Array]:
    """Return the per-unit identification scores of a prediction: what baselines and controls are compared by."""
    target, predicted, middle = _rows(units.target), _rows(units.predicted), _middle(units, center)
    each = identification_per_unit(target, predicted, pool=POOL, seed=seed, center=middle, ids=units.ids)
    return {name: each["top1"], f"{name}_rank": each["rank_percentile"]}


def difference(
    a: Array, b: Array, subjects: Sequence[str] | None, seed: int, *, clusters: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the paired difference a − b with its interval; `clusters`: of units that are not independent."""
    few = clusters is not None and len(set(clusters)) < FEWEST_UNITS
    whose = subjects if clusters is None else clusters
    ends = None if few else paired_interval(a, b, seed=seed, subjects=whose)
    return {"value": float(np.mean(a - b)), "ci95": _listed(ends)}


def exchanged(units: Units, seed: int) -> Array:
    """Return the units whose pairs are exchanged for p: all, or `MOST_EXCHANGED` drawn by the seed.

    Pairs of all with all take memory by the square; p of some units is as honest, and less sure.
    """
    if len(units) <= MOST_EXCHANGED:
        return np.arange(len(units))
    return np.sort(np.random.default_rng(seed).choice(len(units), MOST_EXCHANGED, replace=False))


def _null(metric: Metric, units: Units, rate: float | None, seed: int) -> tuple[float, float, Array]:
    """Return p, the smallest p attainable, and the null with the observed score first; larger is better in it."""
    sign = 1.0 if metric.higher_is_better else -1.0
    if rate is None or units.name == "presentation" or metric.needs == "media":
        some = exchanged(units, seed)
        pairs = sign * np.asarray(metric.pairs(units.target[some], units.predicted[some]), np.float64)
        p, smallest, null = _exchange_p(pairs, units, some, seed)
        return p, smallest, np.concatenate([[pairs.diagonal().mean()], null])
    alike: dict[tuple[str, ...], list[Array]] = {}
    for subject in sorted(set(units.subjects)):
        own = [k for k, whose in enumerate(units.subjects) if whose == subject]
        target, predicted = (_stitched(array[own]) for array in (units.target, units.predicted))
        shifted = sign * metric.shifted(target, predicted, units.frames)
        alike.setdefault(tuple(units.ids[k] for k in own), []).append(shifted)
    counts = [len(ids) * len(some) for ids, some in alike.items()]
    nulls = [np.mean(some, axis=0) for some in alike.values()]  # who met the same is shifted together
    effective = units.effective * sum(map(len, alike)) / sum(counts)
    if len(nulls) == 1:
        p, smallest = shift_p(nulls[0], effective=min(effective, len(nulls[0])))
        return p, smallest, nulls[0]
    rng = np.random.default_rng(seed)
    drawn = np.average([null[rng.integers(0, len(null), DRAWS)] for null in nulls], axis=0, weights=counts)
    observed = float(np.average([null[0] for null in nulls], weights=counts))
    smallest = max(1.0 / (DRAWS + 1), 1.0 / max(1.0, effective))
    p = max(smallest, (1 + int((drawn >= observed - 1e-12).sum())) / (1 + DRAWS))
    return p, smallest, np.concatenate([[observed], drawn])


def _exchange_p(pairs: Array, units: Units, some: Array, seed: int) -> tuple[float, float, Array]:
    """Return `exchange_p` of the pairs of some units, (some, some), stimuli being exchanged for all subjects at once.

    What several subjects made of one stimulus is not several chances; what one made of its repeats is. Stimuli are
    exchanged among those that the same subjects met.
    """
    keys, subjects = units.occurrences or units.ids, units.subjects
    met: dict[tuple[str, int], list[int]] = {}
    times: Counter[tuple[str, str]] = Counter()
    for row, unit in enumerate(some):
        who = keys[unit], subjects[unit]
        met.setdefault((who[0], times[who]), []).append(row)
        times[who] += 1
    share = np.zeros((len(met), len(some)))
    for stimulus, rows in enumerate(met.values()):
        share[stimulus, rows] = 1.0
    table = share @ pairs @ (share / share.sum(axis=1, keepdims=True)).T * (len(met) / len(some))
    return exchange_p(table, seed=seed, blocks=[frozenset(subjects[some[k]] for k in rows) for rows in met.values()])


def _pairings(scores: Array, ids: Sequence[str], pool: int) -> tuple[Array, Array]:
    """Return, for every query i and target j, (n, n) twice: the chance that i ranks j first in a pool, and j's rank.

    The pool holds j and `pool` − 1 random others; ties miss; equal ids are one candidate. The rank is the share of
    the others that score below. Exchanging the columns gives the null of both.
    """
    _, first, own = np.unique(np.asarray(ids), return_index=True, return_inverse=True)
    candidates = scores[:, first]
    below = np.stack([np.searchsorted(np.sort(row), row, "left") for row in candidates])
    others, drawn = len(first) - 1, pool - 1
    logs = _log_choose(below, drawn) - _log_choose(np.full_like(below, others), drawn)
    top1 = np.where(below >= drawn, np.exp(logs), 0.0)
    return top1[:, own], (below / others)[:, own]


def _middle(units: Units, center: Array) -> Array:
    """Return the training mean in the shape of one flattened unit."""
    return np.broadcast_to(center, units.target.shape[1:]).reshape(-1)


def _log_choose(n: Array, k: int) -> Array:
    n = np.asarray(n, np.float64)
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)


def _stretched(x: Array) -> Array:
    """Interpolate (frames, …) to `WORD_FRAMES` frames."""
    at = np.linspace(0, len(x) - 1, WORD_FRAMES)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(x) - 1)
    share = (at - low).reshape((-1,) + (1,) * (x.ndim - 1)).astype(np.float32)
    return np.asarray(x[low] * (1 - share) + x[high] * share, np.float32)


def _rows(x: Array) -> Array:
    return np.asarray(x, np.float64).reshape(len(x), -1)


def _flat(x: Array) -> Array:
    return np.asarray(x).reshape(len(x), -1)


def _stitched(x: Array) -> Array:
    return x.reshape(-1, int(np.prod(x.shape[2:])) if x.ndim > 2 else 1)


def _shares(pair: tuple[float, float] | None) -> list[float] | None:
    """Return the interval of a share, which lies in [0, 1]."""
    return None if pair is None else [max(0.0, float(pair[0])), min(1.0, float(pair[1]))]


def _listed(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else [float(pair[0]), float(pair[1])]
