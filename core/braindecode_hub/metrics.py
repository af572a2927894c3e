"""Scores of a prediction: correlation over time, and identification among candidates.

Pure functions of arrays, in the field's conventions: frames run along time, bins along frequency,
and a *unit* is one non-overlapping presentation or block. Inputs of any float type are computed in
float64; no NaN and no infinity ever leaves.

Two rules hold everywhere. Correlation runs over time within one bin, never over bins (over mel bins
a constant spectrum scores 0.53). A tie is never a hit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from braindecode_hub.errors import HubError

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

CONSTANT = 1e-6  # a stretch whose range is below this share of its largest magnitude is float noise
TIE = 1e-9  # cosines closer than this are equal
POOLS = 200  # seeded pools that identification averages over
QUERIES = 2048  # rows of the similarity matrix held at once


def pearson_over_time(target: npt.ArrayLike, predicted: npt.ArrayLike, *, mask: npt.ArrayLike | None = None) -> Array:
    """Mean over trials of Pearson's r along frames, for each bin.

    target, predicted: (trials, frames, bins), same shape; mask: (trials, frames) bool, the frames
    that count (speech only). Returns (bins,) in [-1, 1]. A constant or non-finite prediction scores
    0; trials where the target bin is constant are left out of that bin's mean, and a bin that is
    constant in every trial scores 0 and is named by `constant_bins`. Raises HubError on shapes that
    do not fit and on a target that is not finite.
    """
    r, scored = correlations(target, predicted, mask)
    return _mean_where(r, scored, axis=0)


def correlation_per_unit(target: npt.ArrayLike, predicted: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Array:
    """Mean over bins of Pearson's r along frames, for each unit: what intervals and p stand on.

    target, predicted: (units, frames, bins); mask: (units, frames) bool. Returns (units,) in
    [-1, 1]. Constant target bins are left out of their unit's mean; a unit with nothing to score
    (see `scorable_units`) gives 0. Raises as `pearson_over_time` does.
    """
    r, scored = correlations(target, predicted, mask)
    return _mean_where(r, scored, axis=1)


def correlation_over_presentations(target: npt.ArrayLike, predicted: npt.ArrayLike) -> Array:
    """Each presentation's part in Pearson's r over presentations, for static targets.

    target, predicted: (n, features), a row a presentation. r is taken over rows within each feature,
    then averaged over the features that vary. Returns (n,): r plus the presentation's influence on
    it, so that their mean is r itself and their spread gives its standard error; 0 where a
    prediction is constant. Raises HubError as `pearson_over_time` does. Hampel 1974, "The influence
    curve and its role in robust estimation"; Devlin, Gnanadesikan and Kettenring 1975.
    """
    wave, other, scored = _presentations(target, predicted)
    n = len(wave)
    r = np.einsum("nf,nf->f", wave, other)
    varies = other.any(axis=0)
    own = n * (wave * other - r / 2 * (wave**2 + other**2)) + r
    return _mean_where(np.where(varies, own, 0.0), np.broadcast_to(scored, own.shape), axis=1)


def presentation_pairs(target: npt.ArrayLike, predicted: npt.ArrayLike) -> Array:
    """What every pairing adds to the correlation over presentations: (n targets, n predictions).

    target, predicted: (n, features). The mean along any pairing is the r that it would have.
    """
    wave, other, scored = _presentations(target, predicted)
    used = wave[:, scored]
    return np.asarray(len(wave) * (used @ other[:, scored].T) / max(1, int(scored.sum())))


def _presentations(target: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Array, Array, Bools]:
    true, guess = np.asarray(target, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if true.shape != guess.shape or true.ndim != 2 or 0 in true.shape:
        raise HubError(f"target has shape {true.shape} and predicted {guess.shape}", "give (presentations, features)")
    if not np.isfinite(true).all():
        raise HubError("the target holds NaN or infinity", "drop those presentations")
    counted = frame_mask(None, (1, len(true)))
    wave, scored = standardised(true[None], counted)
    return wave[0], standardised(guess[None], counted)[0][0], scored[0]


def constant_bins(target: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Bools:
    """Which bins are constant in every trial, so that no correlation exists: (bins,) bool."""
    return np.logical_not(np.asarray(_varies(target, mask).any(axis=0)))


def scorable_units(target: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Bools:
    """Which units have at least one bin that varies over its counted frames: (units,) bool."""
    return np.asarray(_varies(target, mask).any(axis=1))


def correlations(
    target: npt.ArrayLike, predicted: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> tuple[Array, Bools]:
    """Pearson's r along frames for each unit and bin, and which of them the target allows.

    target, predicted: (units, frames, bins); mask: (units, frames) bool. Returns r (units, bins),
    0 wherever either side is constant or the prediction is not finite, and scored (units, bins)
    bool, False where the target is constant. Raises as `pearson_over_time` does.
    """
    true = _cube(target, "target")
    guess = _cube(predicted, "predicted")
    if true.shape != guess.shape:
        raise HubError(
            f"target has shape {true.shape} and predicted {guess.shape}",
            "cut both to the same (units, frames, bins)",
        )
    counted = frame_mask(mask, true.shape)
    wave, scored = standardised(true, counted)
    if not np.isfinite(np.where(counted, true, 0.0)).all():
        raise HubError("the target holds NaN or infinity", "mask those frames or drop the trial")
    other, _ = standardised(guess, counted)
    r = np.einsum("ufb,ufb->ub", wave, other)
    return np.clip(r, -1.0, 1.0), scored


def standardised(x: Array, counted: Bools) -> tuple[Array, Bools]:
    """Each unit's bins centred over the counted frames and scaled to unit norm, and which vary.

    x: (units, frames, bins) float64; counted: (units, frames, 1) bool. Returns wave, of x's shape,
    0 on frames that do not count and in bins that are constant or not finite, and varies
    (units, bins) bool. Values are scaled by their largest magnitude before anything is summed, so
    neither 1e300 nor a subnormal loses its shape.
    """
    finite = np.asarray(np.isfinite(x).all(axis=1, where=counted))
    safe = np.where(counted & finite[:, None], x, 0.0)
    peak = np.abs(safe).max(axis=1, keepdims=True)
    safe = safe / np.where(peak > 0, peak, 1.0)
    high = safe.max(axis=1, where=counted, initial=-2.0)
    low = safe.min(axis=1, where=counted, initial=2.0)
    varies = high - low > CONSTANT
    frames = np.maximum(counted.sum(axis=1, keepdims=True), 1)
    safe = np.where(counted, safe - safe.sum(axis=1, keepdims=True) / frames, 0.0)
    norm = np.sqrt(np.einsum("ufb,ufb->ub", safe, safe))
    return safe * np.where(varies, 1.0 / np.where(varies, norm, 1.0), 0.0)[:, None], varies


def frame_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    """The frames that count as (units, frames, 1) bool; None counts them all."""
    if mask is None:
        return np.ones((shape[0], shape[1], 1), dtype=np.bool_)
    counted = np.asarray(mask)
    if counted.dtype != np.bool_ or counted.shape != shape[:2]:
        raise HubError(
            f"the mask is {counted.dtype} of shape {counted.shape}, not bool of shape {shape[:2]}",
            "give one True or False for each frame of each unit",
        )
    return counted[:, :, None]


def _varies(target: npt.ArrayLike, mask: npt.ArrayLike | None) -> Bools:
    true = _cube(target, "target")
    return standardised(true, frame_mask(mask, true.shape))[1]


def _cube(x: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape:
        raise HubError(f"{name} has shape {array.shape}", "give (units, frames, bins), none of them empty")
    return array


def _mean_where(r: Array, scored: Bools, axis: int) -> Array:
    total = np.where(scored, r, 0.0).sum(axis=axis)
    mean: Array = total / np.maximum(scored.sum(axis=axis), 1)
    return mean


def identification(
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    pool: int = 50,
    seed: int = 0,
    center: npt.ArrayLike | None = None,
    ids: Iterable[object] | None = None,
) -> dict[str, float]:
    """How often a prediction finds its own stimulus in a pool of candidates.

    target, predicted: (n, ...), same shape; center: (...), subtracted from both before the cosine
    (core passes the training targets' mean; None centres nothing); ids: n stimulus names: equal
    names are one candidate, whose features are those of its first row, and None makes every row its
    own. Each prediction is ranked in 200 seeded pools of its own candidate and N - 1 others,
    N = min(pool, distinct ids); rank = 1 + the others that score as high or higher.

    Returns means over predictions and pools: "top1", "top5" in [0, 1]; "mean_rank" in [1, N];
    "rank_percentile", the share of others strictly below (1 best, chance .5); and "chance_top1" =
    1/N and "pool" = N. A prediction with no direction, zero after centring or not finite, is a miss.
    Raises HubError on shapes that do not fit, a target that is not finite, or fewer than two ids.
    """
    size, scores = _ranked(target, predicted, pool, seed, center, ids)
    means = {name: float(values.mean()) for name, values in scores.items()}
    return means | {"chance_top1": 1.0 / size, "pool": float(size)}


def identification_per_unit(
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    pool: int = 50,
    seed: int = 0,
    center: npt.ArrayLike | None = None,
    ids: Iterable[object] | None = None,
) -> dict[str, Array]:
    """`identification` for each prediction, averaged over pools only: what intervals stand on.

    Takes and raises what `identification` does. Returns "top1", "top5", "mean_rank" and
    "rank_percentile", each (n,) float64.
    """
    return _ranked(target, predicted, pool, seed, center, ids)[1]


def similarity(target: npt.ArrayLike, predicted: npt.ArrayLike, center: npt.ArrayLike | None = None) -> Array:
    """Cosine of every prediction with every candidate, after subtracting `center` from both.

    target: (candidates, ...); predicted: (n, ...); center: (...) or None. Returns (n, candidates)
    in [-1, 1]: 0 along the row of a prediction, and the column of a candidate, that has no direction
    (not finite, or no longer than float noise after centring). Raises HubError on shapes that do
    not fit and on a target that is not finite.
    """
    candidates, queries, middle = _flat(target, predicted, center)
    return np.clip(_directions(queries, middle) @ _directions(candidates, middle).T, -1.0, 1.0)


def _ranked(
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    pool: int,
    seed: int,
    center: npt.ArrayLike | None,
    ids: Iterable[object] | None,
) -> tuple[int, dict[str, Array]]:
    true, guess, middle = _flat(target, predicted, center)
    if true.shape != guess.shape:
        raise HubError(f"{len(true)} targets for {len(guess)} predictions", "give each prediction its target")
    own, first = _candidates(ids, len(true))
    size = min(pool, len(first))
    if size < 2:
        raise HubError(
            f"identification needs two candidates: the pool is {pool} and {len(first)} ids differ",
            "score more distinct stimuli, or ask for a pool of at least 2",
        )
    pools = _draw_pools(len(first), size, seed)
    candidates = _directions(true[first], middle)
    if len(first) > pools.size:
        return size, _shares_of(_few_ranks(guess, middle, candidates, own, pools), size)
    ranks = np.concatenate(
        [
            _ranks(_directions(guess[rows], middle), candidates, own[rows], pools)
            for rows in np.array_split(np.arange(len(true)), -(-len(true) // QUERIES))
        ]
    )
    return size, _shares_of(ranks, size)


def _shares_of(ranks: Array, size: int) -> dict[str, Array]:
    found = ranks <= size  # a prediction without direction is ranked behind everybody
    ranks = np.minimum(ranks, size)
    return {
        "top1": np.asarray((found & (ranks <= 1)).mean(axis=1)),
        "top5": np.asarray((found & (ranks <= 5)).mean(axis=1)),
        "mean_rank": np.asarray(ranks.mean(axis=1)),
        "rank_percentile": np.asarray(((size - ranks) / (size - 1)).mean(axis=1)),
    }


def _ranks(queries: Array, candidates: Array, own: npt.NDArray[np.intp], pools: npt.NDArray[np.intp]) -> Array:
    """Rank (n, pools) of each query's own candidate, all pools in one matrix product.

    A pool is N ids drawn for all queries. One that lacks the query's own gives up its last id for
    it, so either way the N - 1 others are a uniform draw from the other ids.
    """
    scores = queries @ candidates.T
    rivals = (scores >= scores[np.arange(len(own)), own][:, None] - TIE).astype(np.float32)
    member = np.zeros((len(candidates), len(pools)), dtype=np.float32)
    member[pools.T, np.arange(len(pools))] = 1.0
    surplus = np.where(member[own] > 0, 1.0, rivals[:, pools[:, -1]])
    lost = np.logical_not(queries.any(axis=1) & candidates[own].any(axis=1))
    ranks = 1.0 + rivals @ member - surplus
    return np.where(np.asarray(lost)[:, None], pools.shape[1] + 1.0, ranks)


def _few_ranks(guess: Array, middle: Array, candidates: Array, own: Rows, pools: Rows) -> Array:
    """Do what `_ranks` does where most candidates are in no pool: a query meets its own and those in pools alone."""
    drawn = np.unique(pools)
    places = np.searchsorted(drawn, pools)
    member = np.zeros((len(drawn), len(pools)), dtype=np.float32)
    member[places.T, np.arange(len(pools))] = 1.0
    found = []
    for rows in np.array_split(np.arange(len(guess)), -(-len(guess) // QUERIES)):
        queries, true = _directions(guess[rows], middle), candidates[own[rows]]
        score = np.einsum("nd,nd->n", queries, true)[:, None]
        rivals = (queries @ candidates[drawn].T >= score - TIE).astype(np.float32)
        at = np.searchsorted(drawn, own[rows])
        there = (at < len(drawn)) & (drawn[np.minimum(at, len(drawn) - 1)] == own[rows])
        inside = np.where(there[:, None], member[np.minimum(at, len(drawn) - 1)], 0.0)
        surplus = np.where(inside > 0, 1.0, rivals[:, places[:, -1]])
        lost = np.logical_not(queries.any(axis=1) & true.any(axis=1))
        found.append(np.where(lost[:, None], pools.shape[1] + 1.0, 1.0 + rivals @ member - surplus))
    return np.concatenate(found)


def _draw_pools(candidates: int, size: int, seed: int) -> Rows:
    if size == candidates:  # every pool is the same one
        return np.arange(candidates)[None]
    order = np.random.default_rng(seed).random((POOLS, candidates)).argsort(axis=1)
    return order[:, :size]


def _candidates(ids: Iterable[object] | None, n: int) -> tuple[Rows, Rows]:
    """Each row's candidate number, and the first row of each candidate."""
    numbers: dict[object, int] = {}
    names = list(range(n)) if ids is None else list(ids)
    if len(names) != n:
        raise HubError(f"{len(names)} ids for {n} targets", "give one id for each target")
    own = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)
    return own, np.unique(own, return_index=True)[1]


def _flat(target: npt.ArrayLike, predicted: npt.ArrayLike, center: npt.ArrayLike | None) -> tuple[Array, Array, Array]:
    true, guess = np.asarray(target, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    middle = np.zeros(true.shape[1:]) if center is None else np.asarray(center, dtype=np.float64)
    if true.ndim < 2 or 0 in true.shape or 0 in guess.shape or not (true.shape[1:] == guess.shape[1:] == middle.shape):
        raise HubError(
            f"target has shape {true.shape}, predicted {guess.shape} and center {middle.shape}",
            "give (n, ...) twice, and a center of one target's shape",
        )
    if not (np.isfinite(true).all() and np.isfinite(middle).all()):
        raise HubError("the target or its center holds NaN or infinity", "drop those stimuli")
    return true.reshape(len(true), -1), guess.reshape(len(guess), -1), middle.reshape(-1)


def _directions(x: Array, center: Array) -> Array:
    """Rows minus center at unit length; all 0 for a row that is not finite or (nearly) the center."""
    finite = np.isfinite(x).all(axis=1, keepdims=True)
    safe = np.where(finite, x, 0.0)
    peak = np.maximum(np.abs(safe).max(axis=1, keepdims=True), np.abs(center).max())
    peak = np.where(peak > 0, peak, 1.0)
    offset = safe / peak - center / peak
    largest = np.abs(offset).max(axis=1, keepdims=True)
    pointing = finite & (largest > CONSTANT)
    offset = offset / np.where(pointing, largest, 1.0)
    return np.where(pointing, offset / np.where(pointing, np.linalg.norm(offset, axis=1, keepdims=True), 1.0), 0.0)
