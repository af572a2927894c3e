"""A permutation p of a score: ours against scikit-learn's `permutation_test_score`, and against a loop over shifts.

    python benchmarks/permutations.py [--units 40] [--frames 500] [--bins 23] [--permutations 10000] [--loop 200]

scikit-learn permutes the targets, refits and scores for each; it is given an estimator that has nothing to fit and
hands its input through, so that what is compared is the p alone: of the mean correlation over units, by exchanging
units, at the same number of permutations, with the same score function. Ours scores every pair of units once and adds
up (`nulls.exchange_p`). Below that, all circular shifts of a continuous prediction (`nulls.shift_null`) against a loop
that scores each. scikit-learn and the loop do a part of the permutations, `--loop`, and their time is scaled up. CPU
seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import permutation_test_score

from braindecode_hub.metrics import correlation_per_unit
from braindecode_hub.nulls import exchange_p, shift_null


class Through(BaseEstimator):  # type: ignore[misc]
    """An estimator that learns nothing and predicts its input."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Through:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU time of a call, and what it returned."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=40)
    parser.add_argument("--frames", type=int, default=500, help="in a unit")
    parser.add_argument("--bins", type=int, default=23)
    parser.add_argument("--permutations", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=200)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    target = rng.standard_normal((given.units, given.frames, given.bins)).astype(np.float32)
    predicted = target + 40 * rng.standard_normal(target.shape).astype(np.float32)

    def ours() -> tuple[float, np.ndarray]:
        pairs = [correlation_per_unit(target, np.repeat(one[None], given.units, axis=0)) for one in predicted]
        p, _, null = exchange_p(np.stack(pairs, axis=1).T, seed=0, permutations=given.permutations)
        return p, null

    def theirs() -> tuple[float, np.ndarray]:
        flat, everything = predicted.reshape(given.units, -1), np.arange(given.units)
        _, null, p = permutation_test_score(
            Through(),
            flat,
            target.reshape(given.units, -1),
            scoring=lambda model, x, y: correlation_per_unit(
                y.reshape(target.shape), model.predict(x).reshape(target.shape)
            ).mean(),
            cv=[(everything, everything)],
            n_permutations=given.loop,
            random_state=0,
        )
        return p, null

    ours()
    fast, (p, null) = timed(ours)
    slow, (p_theirs, null_theirs) = timed(theirs)
    print(f"{given.units} units of {given.frames} frames x {given.bins} bins, {given.permutations} permutations")
    share = slow * given.permutations / given.loop
    print(f"  exchange of units: ours {fast:.3f} CPU-s, scikit-learn {share:.1f}: {share / fast:.0f} times as long")
    print(f"    p {p:.4f} and {p_theirs:.4f}; the nulls' SD {null.std():.5f} and {null_theirs.std():.5f}")

    stitched, made = target.reshape(-1, given.bins), predicted.reshape(-1, given.bins)
    shifts = np.linspace(0, len(made), given.loop, endpoint=False).astype(int)
    shift_null(stitched[:2000], made[:2000], given.frames)
    fast, every = timed(lambda: shift_null(stitched, made, given.frames))
    slow, some = timed(
        lambda: [correlation_per_unit(target, np.roll(made, s, axis=0).reshape(target.shape)).mean() for s in shifts]
    )
    share = slow * len(every) / len(shifts)
    print(f"  circular shifts: ours all {len(every)} in {fast:.3f} CPU-s, loop {len(shifts)} of them in {slow:.2f}")
    print(f"    at the same number of shifts {share / fast:.0f} times as long")
    print(f"    largest difference {np.abs(every[shifts] - np.array(some)).max():.1e}")


if __name__ == "__main__":
    main()
