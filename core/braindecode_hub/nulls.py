"""What a score is held against: nulls with honest p.

Continuous predictions are tested against all circular shifts, neighbours included; discrete ones against exchanged
units. Every p comes with the smallest p attainable.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

from braindecode_hub import lazy
from braindecode_hub.circular import Circle
from braindecode_hub.errors import HubError
from braindecode_hub.intervals import SLACK, rows_of
from braindecode_hub.metrics import Array, frame_mask, standardised


def autocorrelation_time(x: npt.ArrayLike) -> float:
    """Integrated autocorrelation time in frames: 1 + 2 x the sum of r(lag) up to its first zero.

    x: (frames, bins), or (frames,). The autocorrelation is the mean over the bins that vary, each
    centred and scaled to unit variance. White noise gives about 1, AR(1) (1 + a) / (1 - a), nothing
    less than 1; a constant gives 1. The sum stops at the first zero crossing, so the negative lobes
    of a rhythm never shorten it: with frames / (2 x time) independent shifts this errs on the safe
    side. Raises HubError when x is empty or not finite. Sokal 1997, "Monte Carlo methods in
    statistical mechanics", section 3 (there half of this, with another window).
    """
    series = _stretch(x, "x")
    if not np.isfinite(series).all():
        raise HubError("x holds NaN or infinity", "mask those frames out first")
    frames = len(series)
    wave, varies = standardised(series[None], frame_mask(None, (1, frames)))
    if not varies.any():
        return 1.0
    size = fft.next_fast_len(2 * frames, real=True)
    power = sum(np.abs(fft.rfft(bin_, n=size)) ** 2 for bin_ in wave[0].T[varies[0]])
    r = fft.irfft(power, n=size)[:frames] / varies.sum()
    below = np.flatnonzero(r <= 0)
    end = int(below[0]) if below.size else frames
    return max(1.0, float(1.0 + 2.0 * r[1:end].sum()))


def shift_null(
    target: npt.ArrayLike, predicted: npt.ArrayLike, unit_frames: int, mask: npt.ArrayLike | None = None
) -> Array:
    """Mean over units of `correlation_per_unit` for every circular shift of the prediction.

    target, predicted: (frames, bins), the stitched test stretch; unit_frames: frames in a unit (a
    last, shorter one is not scored, but its prediction stays in the circle); mask: (frames,) bool,
    the target frames that count. Returns (frames,): entry s is the score of
    `np.roll(predicted, s, axis=0)`, so entry 0 is the observed one and its neighbours follow.
    Computed by FFT, equal to the loop within 1e-6, in blocks of bins of a few tens of MB. Raises
    HubError on shapes that do not fit and a target that is not finite.
    """
    true, guess = _stretch(target, "target"), _stretch(predicted, "predicted")
    frames = len(true)
    if true.shape != guess.shape or not 2 <= unit_frames <= frames:
        raise HubError(
            f"target has shape {true.shape}, predicted {guess.shape}, and a unit {unit_frames} frames",
            "give two arrays of one shape and a unit of 2 to all frames",
        )
    counted = frame_mask(None if mask is None else np.asarray(mask)[None], (1, frames))[0, :, 0]
    if not np.isfinite(true[counted]).all():
        raise HubError("the target holds NaN or infinity", "mask those frames out")
    units = frames // unit_frames
    counted = counted[: units * unit_frames].reshape(units, unit_frames)
    waves, scored = standardised(true[: units * unit_frames].reshape(units, unit_frames, -1), counted[:, :, None])
    waves /= units * np.maximum(scored.sum(axis=1), 1)[:, None, None]
    null = np.zeros(frames)
    step = max(1, lazy.CHUNK // frames)
    for start in range(0, true.shape[1], step):
        some = slice(start, start + step)
        circle = Circle(guess[:, some], unit_frames)
        for unit in range(units):
            r = circle.scores(waves[unit, :, some].T, counted[unit], scored[unit, some])
            null += np.roll(r[::-1], 1 + unit * unit_frames)  # window w = unit's start - shift
    return null


def shift_p(null: npt.ArrayLike, *, effective: float) -> tuple[float, float]:
    """P of the observed score null[0] among all shifts, and the smallest p attainable.

    null: (frames,) from `shift_null`; effective: how many shifts are independent, frames over twice
    the autocorrelation time. p is the share of shifts, the observed one included, that score as
    high, and never below 1 / max(1, effective). Raises HubError on an empty or non-finite null.
    """
    scores = np.asarray(null, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all() or not effective >= 0:
        raise HubError(f"no p from a null of shape {scores.shape}", "give what shift_null returns")
    smallest = 1.0 / max(1.0, effective)
    return max(float(np.mean(scores >= scores[0] - SLACK)), smallest), smallest


def exchange_p(
    scores: npt.ArrayLike,
    *,
    seed: int,
    permutations: int = 10_000,
    blocks: Sequence[Hashable] | None = None,
) -> tuple[float, float, Array]:
    """P of the mean score of matched pairs against pairings in which units are exchanged.

    scores: (n, n), entry (i, j) the score of prediction i against target j; blocks: n labels
    (subjects), units being exchanged only within one. Returns p = (1 + count) / (1 + permutations),
    the smallest p attainable, which the number of distinct pairings bounds when n is small, and the
    null (permutations,). Raises HubError unless scores is square and finite. Phipson and Smyth 2010.
    """
    table = np.asarray(scores, dtype=np.float64)
    n = len(table) if table.ndim else 0
    if table.shape != (n, n) or n == 0 or not np.isfinite(table).all() or permutations < 1:
        raise HubError(f"no exchange of scores of shape {table.shape}", "give a finite (n, n) matrix")
    groups = rows_of(blocks, n)
    rng, flat = np.random.default_rng(seed), table.ravel()
    null = np.zeros(permutations)
    rows = max(1, lazy.CHUNK // n)
    for start in range(0, permutations, rows):
        part = null[start : start + rows]
        for members in groups:
            order = rng.permuted(np.tile(members, (len(part), 1)), axis=1)
            part += flat[order + members * n].sum(axis=1)
    null /= n
    observed = float(np.trace(table)) / n
    count = int(np.sum(null >= observed - SLACK * max(1.0, abs(observed))))
    pairings = sum(math.lgamma(len(members) + 1) for members in groups)
    smallest = max(1.0 / (1 + permutations), math.exp(-pairings))
    return max((1 + count) / (1 + permutations), smallest), smallest, null


def _stretch(x: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise HubError(f"{name} has shape {array.shape}", "give (frames, bins), none of them empty")
    return array
