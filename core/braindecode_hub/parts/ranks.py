"""core/top1 … core/mean_rank: the rank of what was presented among all distinct windows of the test side."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from braindecode_hub.retrieval import RankMetric
from braindecode_hub.types import Array


class MeanRank(RankMetric):
    """The mean rank; 1 is best, (N + 1) / 2 is chance among N."""

    higher_is_better = False
    limits = (1.0, np.inf)

    def of_ranks(self, rank: Array, candidates: Array) -> Array:
        """Return the ranks themselves."""
        return np.asarray(rank, np.float64)

    def margin_at(self, chance: float) -> float:
        """Return a tenth of the candidates: a guess is at (N + 1) / 2."""
        return 0.1 * (2.0 * chance - 1.0)


class _Top(RankMetric):
    k: ClassVar[int]
    limits = (0.0, 1.0)
    confirmed_by = "mean_rank"

    def of_ranks(self, rank: Array, candidates: Array) -> Array:
        """Return 1 where the rank is at most k, else 0."""
        return np.asarray(rank <= self.k, np.float64)


class Top1(_Top):
    """The share of windows whose own candidate is the nearest of all N; chance is 1 / N."""

    k = 1


class Top5(_Top):
    """The share of windows whose own candidate is among the nearest 5 of N; chance is 5 / N."""

    k = 5


class Top10(_Top):
    """The share of windows whose own candidate is among the nearest 10 of N; chance is 10 / N."""

    k = 10


class Top1Averaged(Top1):
    """`top1` when all that the subjects of a fit made of one window, in all its repeats, is averaged first."""

    queries = "averaged"


class Top10Averaged(Top10):
    """`top10` when all that the subjects of a fit made of one window, in all its repeats, is averaged first."""

    queries = "averaged"


class Top1Context(Top1):
    """`top1` with the group context bias: candidates gain by how well the window's whole presentation fits theirs."""

    queries = "context"


class Top10Context(Top10):
    """`top10` with the group context bias: candidates gain by how well the window's whole presentation fits theirs."""

    queries = "context"


class WordTop1(Top1):
    """The share of words that are the most probable of the test side's vocabulary; equal words add up."""

    queries = "words"


class WordTop10(Top10):
    """The share of words that are among the 10 most probable of the test side's vocabulary; equal words add up."""

    queries = "words"
