"""Published scores, to print beside ours: never a claim that ours are comparable.

Top-10 accuracy in percent of 3 s segments among all of the test set (Défossez et al. 2023, Nature Machine Intelligence
5:1097, Table 2: mean and SD over 3 seeds). The Broderick row's "random" does not agree with 10 of its 1054 candidates
(0.95 %), as the other three rows do with theirs; it is printed as published.
"""

from __future__ import annotations

MODELS = ("random", "mel, squared error", "mel", "deep mel", "wav2vec 2.0")
"""Columns of `TOP10`; all but the first two were trained with the contrastive loss."""

TOP10: dict[str, tuple[tuple[float, float], ...]] = {
    "brennan2019": ((5.3, 0.1), (6.0, 0.9), (8.0, 4.8), (24.7, 3.2), (25.7, 2.9)),
    "broderick2019": ((0.5, 0.1), (1.0, 0.3), (9.7, 1.0), (15.4, 1.6), (17.7, 0.6)),
    "gwilliams2022": ((0.7, 0.1), (12.4, 1.2), (55.1, 0.7), (64.4, 0.8), (70.7, 0.1)),
    "schoffelen2019": ((0.8, 0.1), (20.6, 1.8), (55.1, 0.9), (61.2, 0.6), (67.5, 0.4)),
}
"""Mean and SD in percent of each of `MODELS`."""

CANDIDATES = {"brennan2019": 190, "broderick2019": 1054, "gwilliams2022": 1284, "schoffelen2019": 1270}
"""Test segments among which one was looked for."""

SOURCE = "Défossez et al. 2023, Nature Machine Intelligence 5:1097, Table 2"
