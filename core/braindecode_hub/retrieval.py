"""Retrieval: which of all that was presented on the test side was it, and how good is the rank of the right answer.

All distinct test windows of a fit are candidates (its learned space is its own), one for each stimulus interval,
however many subjects heard it. Similarity is the cosine; ties miss. Chance is exact.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.linalg import block_diag
from scipy.special import gammaln

from braindecode_hub.interfaces import Metric
from braindecode_hub.intervals import interval, of_clusters
from braindecode_hub.metrics import similarity
from braindecode_hub.nulls import exchange_p
from braindecode_hub.scoring import Scored, Units, Word
from braindecode_hub.types import Array

WORD_S = 1.0
"""Seconds of the windows in which words are looked up: a sixth before the word begins."""

Queries = Literal["each", "averaged", "context", "words"]


class RankMetric(Metric):
    """A score of the rank of what was presented: 1 is best; `queries` says what is looked up.

    "each": every test window; "averaged": the mean prediction of all windows that presented the same, of all subjects
    and repeats of a fit; "context": every window, where candidates gain by how well the rest of its presentation fits
    the presentation that they come from; "words": every word, among the vocabulary of the test side, the probability
    of candidates with the same word in their centre being summed.
    """

    needs = "candidates"
    queries: ClassVar[Queries] = "each"
    limits: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    confirmed_by: ClassVar[str | None] = None
    """The metric that must also be above chance for a control to count: shares of hits are bounded below."""

    @abstractmethod
    def of_ranks(self, rank: Array, candidates: Array) -> Array:
        """Score ranks (…), from 1 to `candidates` (…)."""

    def per_unit(self, target: Array, predicted: Array) -> Array:
        """Score units (units, …) and (units, …) that are all candidates: (units,)."""
        count = np.full(len(target), len(target))
        return self.of_ranks(np.diagonal(ranks(similarity(target, predicted))), count)

    def pairs(self, target: Array, predicted: Array) -> Array:
        """Score every target against every prediction: (targets, predictions)."""
        table = ranks(similarity(target, predicted))
        return self.of_ranks(table, np.full(table.shape, len(target))).T

    def margin_at(self, chance: float) -> float:
        """Return how far above chance a control must be."""
        return chance

    def can_fail(self, candidates: int) -> bool:
        """Say whether ranks among so many candidates differ in score: all of 10 are among the nearest 10."""
        each = self.of_ranks(np.arange(1, candidates + 1), np.full(candidates, candidates))
        return bool(each.min() < each.max())


@dataclass(frozen=True)
class Pool:
    """What one fit looks up: `scores` (queries, candidates), and `own` (queries,), the right candidate of each.

    `ids` of the candidates and `first`, the query whose target each is; `subjects` of the queries; `rows`: which units
    the queries are. `said`, of words: the occurrence that each query is of, and the candidate of each occurrence; else
    an occurrence is a candidate. `together`, with context: the trial of each query, the presentation of each candidate;
    those of one are right or wrong as one.
    """

    fit: str
    scores: Array
    own: Array
    ids: list[str]
    first: Array
    subjects: list[str]
    rows: Array
    said: tuple[Array, Array] | None = None
    together: tuple[Array, Array] | None = None

    @cached_property
    def ranks(self) -> Array:
        """The rank of every candidate for every query: (queries, candidates)."""
        return ranks(self.scores)

    @property
    def occurrences(self) -> tuple[Array, Array]:
        """Which occurrence each query is of, and which candidate each occurrence is."""
        return (self.own, np.arange(len(self.ids))) if self.said is None else self.said


def pools(units: Units, center: Array) -> list[Pool]:
    """Return the pool of every fit of units; a fit with a single candidate has none."""
    found = []
    for fit in sorted(set(units.fits)):
        rows = np.array([k for k, one in enumerate(units.fits) if one == fit])
        ids = [units.ids[k] for k in rows]
        names, first, own = np.unique(ids, return_index=True, return_inverse=True)
        if len(names) < 2:
            continue
        target, predicted = (np.asarray(array[rows], np.float64) for array in (units.target, units.predicted))
        middle = np.broadcast_to(center, target.shape[1:])
        scores = similarity(target[first], predicted, middle)
        subjects = [units.subjects[k] for k in rows]
        found.append(Pool(fit, scores, own, [str(name) for name in names], first, subjects, rows))
    return found


def averaged(units: Units, center: Array) -> Units:
    """Return one unit for each stimulus interval of a fit: the mean of the directions that were predicted for it."""
    keys = [f"{fit} {id}" for fit, id in zip(units.fits, units.ids, strict=True)]
    _, first, own = np.unique(keys, return_index=True, return_inverse=True)
    moved = np.asarray(units.predicted, np.float64) - center
    norms = np.linalg.norm(moved.reshape(len(moved), -1), axis=1).reshape((-1,) + (1,) * (moved.ndim - 1))
    total = np.zeros((len(first), *moved.shape[1:]))
    np.add.at(total, own, moved / np.maximum(norms, 1e-12))
    counts = np.bincount(own).reshape((-1,) + (1,) * (moved.ndim - 1))
    return replace(
        units,
        target=units.target[first],
        predicted=(total / counts + center).astype(np.float32),
        subjects=["" for _ in first],
        ids=[units.ids[k] for k in first],
        fits=[units.fits[k] for k in first],
        presentations=[units.presentations[k] for k in first],
    )


def in_context(pool: Pool, units: Units) -> Pool:
    """Return a pool in which every candidate gains by its presentation: the group context bias, without training.

    To a candidate's similarity is added, for every other query of the same trial (contiguous brain), how much better
    the best window of the candidate's presentation fits than the best of as many windows drawn from all: a long
    presentation gains nothing by being long. Of the test side only its trials are known.
    """
    asked = np.array([units.presentations[k][0] for k in pool.rows])
    offered = np.array([units.presentations[pool.rows[k]][1] for k in pool.first])
    bias = np.empty_like(pool.scores)
    groups = {name: np.flatnonzero(offered == name) for name in set(offered.tolist())}
    gain = {name: _gain(pool.scores, members) for name, members in groups.items()}
    for trial in set(asked.tolist()):
        own = np.flatnonzero(asked == trial)
        for name, members in groups.items():
            some = gain[name][own]
            bias[np.ix_(own, members)] = (some.sum() - some)[:, None]
    return replace(pool, scores=pool.scores + bias, together=(asked, offered))


def words_of(pool: Pool, said: Sequence[str]) -> Pool:
    """Return the pool of words: candidates with the same text become one, whose probability is the sum of theirs.

    said: the text of every candidate. Probability is the softmax of a query's similarities in units of their own SD.
    """
    spread = pool.scores.std(axis=1, keepdims=True)
    power = np.exp((pool.scores - pool.scores.max(axis=1, keepdims=True)) / np.maximum(spread, 1e-12))
    names, first, own = np.unique(list(said), return_index=True, return_inverse=True)
    summed = np.zeros((len(power), len(names)))
    np.add.at(summed.T, own, (power / power.sum(axis=1, keepdims=True)).T)
    texts = [str(name) for name in names]
    return replace(pool, scores=summed, own=own[pool.own], ids=texts, first=pool.first[first], said=(pool.own, own))


def word_windows(
    items: Sequence[Scored], words: Mapping[str, Sequence[Word]], rate: float, frames: int
) -> Units | None:
    """Cut one window of `frames` around every word (a sixth of it before the word begins: Défossez et al. 2023).

    Words whose window is not wholly on the test side are left out; None where fewer than two words differ.
    """
    found: list[tuple[Scored, str, float, slice]] = []
    for item in items:
        for text, start, _ in words.get(item.stimulus, ()):
            low = round((start - item.start) * rate) - frames // 6
            if low >= 0 and low + frames <= len(item.target):
                found.append((item, text.casefold(), start, slice(low, low + frames)))
    if len({text for _, text, _, _ in found}) < 2:
        return None
    return Units(
        name="word",
        frames=frames,
        target=np.stack([item.target[where] for item, _, _, where in found]),
        predicted=np.stack([item.predicted[where] for item, _, _, where in found]),
        subjects=[item.subject for item, _, _, _ in found],
        ids=[f"{item.stimulus}@{start:.2f} {text}" for item, text, start, _ in found],
        seconds=frames / rate,
        effective=float(len(found)),
        fits=[item.fit for item, _, _, _ in found],
        presentations=[(item.name, text) for item, text, _, _ in found],
    )


def ranks(scores: Array) -> Array:
    """Return the rank of every candidate for every query, from 1: (queries, candidates). Equal scores all miss."""
    order = np.sort(scores, axis=1)
    return np.stack([len(row) - np.searchsorted(up, row, side="left") for up, row in zip(order, scores, strict=True)])


def ask(queries: Queries, units: Units, center: Array) -> list[Pool]:
    """Return the pools of windows, of averages, with context, or (of `word_windows`) of words."""
    if queries == "averaged":
        units = averaged(units, center)
    found = pools(units, center)
    if queries == "context":
        return [in_context(pool, units) for pool in found]
    if queries == "words":
        return [words_of(pool, [units.presentations[pool.rows[k]][1] for k in pool.first]) for pool in found]
    return found


def values(metric: RankMetric, asked: Sequence[Pool]) -> Array:
    """Return the score of every query, in the order of the units where each of them is one: (queries,)."""
    scored = [metric.of_ranks(_own_ranks(pool), np.full(len(pool.own), pool.scores.shape[1])) for pool in asked]
    return np.asarray(np.concatenate(scored)[_order(asked)], np.float64)


def clusters(asked: Sequence[Pool]) -> list[str] | None:
    """Return the trial of every query, in the order of `values`, where those of one trial are no independent units."""
    trials = [pool.together[0] for pool in asked if pool.together is not None]
    return [str(name) for name in np.concatenate(trials)[_order(asked)]] if trials else None


def chance(metric: RankMetric, asked: Sequence[Pool]) -> float:
    """Return the score of a guess, weighted by the queries of each pool.

    Of windows, the mean over all ranks; of words, some of which are said more often, that of exchanged occurrences.
    """
    each = [_guess(metric, pool) for pool in asked]
    return float(np.average(each, weights=[len(pool.own) for pool in asked]))


def score(metric: RankMetric, asked: Sequence[Pool], seed: int) -> tuple[dict[str, Any], Array, Array]:
    """Return one entry of `metrics.json`'s scores, the per-query scores, and the null of exchanged candidates.

    The null exchanges candidates among themselves, for all subjects at once: what several subjects make of one
    stimulus is not several chances. With context, whole presentations are exchanged, and the interval counts trials.
    """
    per_query = values(metric, asked)
    sign = 1.0 if metric.higher_is_better else -1.0
    p, smallest, null = exchange_p(sign * _paired(metric, asked), seed=seed, blocks=_fits(asked))
    whose = clusters(asked)
    if whose is None:
        subjects = np.concatenate([pool.subjects for pool in asked])
        some = interval(per_query, seed=seed, subjects=[str(name) for name in subjects[_order(asked)]])
    else:
        some = of_clusters(per_query, whose, seed=seed)
    counts = sorted({pool.scores.shape[1] for pool in asked})
    value = float(per_query.mean())
    entry = {
        "value": value,
        "ci95": None if some is None else [float(end) for end in np.clip(some, *metric.limits)],
        "chance": chance(metric, asked),
        "p": p,
        "smallest_p": smallest,
        "higher_is_better": metric.higher_is_better,
        "unit": f"of {' or '.join(map(str, counts))} {'words' if metric.queries == 'words' else 'candidates'}",
    }
    return entry, per_query, sign * np.concatenate([[sign * value], null])


def _order(asked: Sequence[Pool]) -> Array:
    """Return where the queries of all pools, one after the other, stand among the units: (queries,)."""
    return np.argsort(np.concatenate([pool.rows for pool in asked]), kind="stable")


def _gain(scores: Array, members: Array) -> Array:
    """Return how much better each query's best of `members` is than the best of as many candidates, drawn from all.

    In units of its similarities, (queries,): the best of more candidates is higher, and varies less. Its mean and SD
    are exact, over all draws.
    """
    (usual, spread), (_, single) = (_best_of(scores, count) for count in (len(members), 1))
    above = (scores[:, members].max(axis=1) - usual) * single
    return np.divide(above, spread, out=np.zeros_like(above), where=spread > 1e-9 * single)


def _best_of(scores: Array, count: int) -> tuple[Array, Array]:
    """Return mean and SD, (queries,), of the best of `count` candidates drawn from all without replacement."""
    total = scores.shape[1]
    number = np.arange(count, total + 1)  # the best one is number k in rising order: (k - 1 choose count - 1) draws
    logs = gammaln(number) - gammaln(number - count + 1) - gammaln(count)
    chances = np.exp(logs - (gammaln(total + 1) - gammaln(count + 1) - gammaln(total - count + 1)))
    up = np.sort(scores, axis=1)[:, count - 1 :]
    mean = up @ chances
    return mean, np.sqrt(np.maximum((up - mean[:, None]) ** 2 @ chances, 0.0))


def _own_ranks(pool: Pool) -> Array:
    return np.asarray(pool.ranks[np.arange(len(pool.own)), pool.own])


def _guess(metric: RankMetric, pool: Pool) -> float:
    count = len(pool.ids)
    if pool.said is None:
        return float(metric.of_ranks(np.arange(1, count + 1), np.full(count, count)).mean())
    asked, candidates = pool.said
    each = metric.of_ranks(pool.ranks, np.full(pool.scores.shape, count)).mean(axis=0)
    return float(each[candidates[asked]].mean())


def _paired(metric: RankMetric, asked: Sequence[Pool]) -> Array:
    """Return (occurrences, occurrences) whose mean diagonal is the score: queries added up by what was presented."""
    tables = []
    for pool in asked:
        scored = metric.of_ranks(pool.ranks, np.full(pool.scores.shape, len(pool.ids)))
        own, candidates = pool.occurrences
        table = np.zeros((len(candidates), len(candidates)))
        np.add.at(table, own, scored[:, candidates])
        tables.append(table if pool.together is None else _of_presentations(table, pool.together[1]))
    joined = np.asarray(block_diag(*tables), np.float64)
    return joined * (len(joined) / sum(len(pool.own) for pool in asked))


def _of_presentations(table: Array, offered: Array) -> Array:
    """Return (presentations, presentations) of (candidates, candidates): one for another, window by window.

    Where the other has fewer windows, it begins anew.
    """
    members = [np.flatnonzero(offered == name) for name in sorted(set(offered.tolist()))]
    return np.array([[table[own, np.resize(other, len(own))].sum() for other in members] for own in members])


def _fits(asked: Sequence[Pool]) -> list[str]:
    sizes = [len(pool.occurrences[1]) if pool.together is None else len(set(pool.together[1])) for pool in asked]
    return [pool.fit for pool, size in zip(asked, sizes, strict=True) for _ in range(size)]
