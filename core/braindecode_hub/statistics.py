"""What a score is held against: nulls with honest p, intervals with honest coverage, control rules.

The unit of every interval and p is a non-overlapping presentation, or a block of at least twice the
autocorrelation time. Continuous predictions are tested against all circular shifts, neighbours
included; discrete ones against exchanged units. Every p comes with the smallest p attainable.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import stdtrit

from braindecode_hub.errors import HubError
from braindecode_hub.metrics import CONSTANT, Array, Bools, Rows, frame_mask, standardised

SLACK = 1e-12  # scores closer than this are equal when a null is counted
FEWEST_UNITS = 10  # below this no interval is given
FEWEST_SUBJECTS = 6  # below this an interval speaks of these subjects, from here on of subjects at large
CHUNK = 1 << 19  # float64 values held in one working array (4 MB)
FAINT = 1e-9  # windows below this share of the energy are too faint for sums over all of it


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
    step = max(1, CHUNK // frames)
    for start in range(0, true.shape[1], step):
        some = slice(start, start + step)
        circle = _Circle(guess[:, some], unit_frames)
        for unit in range(units):
            r = circle.scores(waves[unit, :, some].T, counted[unit], scored[unit, some])
            null += np.roll(r[::-1], 1 + unit * unit_frames)  # window w = unit's start - shift
    return null


class _Circle:
    """The prediction on a circle, ready to be correlated with a unit placed at any frame.

    Windows are named by the frame where they start. Sums over a window come from FFTs; where the
    window holds too little of the bin's energy for their precision, the stretch is taken alone.
    """

    def __init__(self, predicted: Array, length: int, *, inner: bool = False) -> None:
        finite = np.isfinite(predicted)
        wave = np.where(finite, predicted, 0.0).T  # (bins, frames)
        peak = np.abs(wave).max(axis=1, keepdims=True)
        self.raw = wave / np.where(peak > 0, peak, 1.0)
        self.frames, self.length, self.inner = len(predicted), length, inner
        fast = fft.next_fast_len(self.frames, real=True)
        self.size = fast if fast == self.frames else fft.next_fast_len(self.frames + length, real=True)
        self.flat = _flat_windows(self.raw, length)
        centred = self.raw - self.raw.mean(axis=1, keepdims=True)
        self.energy = np.einsum("bf,bf->b", centred, centred)[:, None]
        self.spectrum = self._spectrum(centred)
        self.square = self._spectrum(centred**2)
        self.broken = None if finite.all() else self._spectrum(1.0 - finite.T)
        self.counted: Bools | None = None

    def scores(self, wave: Array, counted: Bools, scored: Bools) -> Array:
        """Sum over bins of wave (bins, length) times the standardised window: (frames,)."""
        if self.counted is None or not np.array_equal(self.counted, counted):
            self.counted, (self.scale, self.faint) = counted, self._norms(counted)
        r = self._slide(wave, self.spectrum) * self.scale
        for row in np.flatnonzero(scored & self.faint.any(axis=1)):
            starts = np.flatnonzero(self.faint[row])
            for run in np.split(starts, np.flatnonzero(np.diff(starts) > 1) + 1):
                r[row, run] = self._closer(row, run, wave[row])
        return np.asarray(r.sum(axis=0))

    def _norms(self, counted: Bools) -> tuple[Array, Bools]:
        """1 / norm of every centred window (0: no score), and which windows are faint."""
        ones = counted[None].astype(np.float64)
        n = max(1, int(counted.sum()))
        energy = self._slide(ones, self.square) - self._slide(ones, self.spectrum) ** 2 / n
        broken = np.zeros(energy.shape, dtype=np.bool_)
        if self.broken is not None:
            broken = self._slide(ones, self.broken) > 0.5
        none = self.flat | broken
        faint = ~none & (energy <= np.maximum(FAINT * self.energy, n * CONSTANT**2))
        usable = ~none & ~faint
        return np.where(usable, 1.0 / np.sqrt(np.where(usable, energy, 1.0)), 0.0), faint

    def _closer(self, row: np.intp, run: Rows, wave: Array) -> Array:
        """R of neighbouring faint windows: by FFT of their stretch alone, and at last one by one."""
        assert self.counted is not None
        stretch = self.raw[row, np.arange(run[0], run[-1] + self.length) % self.frames]
        if not self.inner and run.size > 1:
            alone = _Circle(stretch[:, None], self.length, inner=True)
            return alone.scores(wave[None], self.counted, np.ones(1, dtype=np.bool_))[: run.size]
        windows = np.lib.stride_tricks.sliding_window_view(stretch, self.length)[:, :, None]
        r = np.empty(run.size)
        for rows in _row_blocks(run.size, self.length):
            counted = np.broadcast_to(self.counted[:, None], windows[rows].shape)
            r[rows] = standardised(windows[rows], counted)[0][:, :, 0] @ wave
        return r

    def _spectrum(self, x: Array) -> npt.NDArray[np.complex128]:
        extended = x if self.size == self.frames else x[:, np.arange(self.size) % self.frames]
        return np.asarray(fft.rfft(extended, axis=1))

    def _slide(self, pattern: Array, spectrum: npt.NDArray[np.complex128]) -> Array:
        """Sum of pattern (bins or 1, length) times every window: (bins, frames)."""
        product = np.conj(fft.rfft(pattern, n=self.size, axis=1)) * spectrum
        return np.asarray(fft.irfft(product, n=self.size, axis=1)[:, : self.frames])


def _flat_windows(x: Array, length: int) -> Bools:
    """Which circular windows of x (bins, frames) are constant, by `standardised`'s rule.

    Extremes come from windows twice as long at each pass; no flat short one, no flat long one.
    """
    high, low, flat = x, x, np.ones(x.shape, dtype=np.bool_)
    size = 1
    while size < length and flat.any():
        hop = min(size, length - size)
        high = np.maximum(high, np.roll(high, -hop, axis=1))
        low = np.minimum(low, np.roll(low, -hop, axis=1))
        flat = high - low <= CONSTANT * np.maximum(np.abs(high), np.abs(low))
        size += hop
    return flat


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
    groups = _groups(blocks, n)
    rng, flat = np.random.default_rng(seed), table.ravel()
    null = np.zeros(permutations)
    rows = max(1, CHUNK // n)
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


def interval(
    per_unit: npt.ArrayLike,
    *,
    seed: int,
    subjects: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
) -> tuple[float, float] | None:
    """Interval of the mean over units, by a studentised hierarchical bootstrap.

    per_unit: (n,) scores of non-overlapping units; subjects: n labels. From 6 subjects on, subjects
    and then their units are resampled, and the interval speaks of subjects at large; with 2 to 5,
    units within each, and it speaks of *these* subjects; with one, units. Neither side is narrower
    than Student's t. None under 10 units, and where every unit scores the same: resampling cannot
    tell how much they would vary. Raises HubError on scores that are not finite.
    Measured at 95 % on 10, 12 and 30 units: gaussian .95-.96, skewed .94-.97, two subjects as
    themselves .94-.97, 6 to 12 drawn at random .95-.97 (.93 where subjects are exponential).
    Hall 1992, "The bootstrap and Edgeworth expansion", section 3.10.
    """
    x = np.asarray(per_unit, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise HubError(f"no interval of scores of shape {x.shape}", "give (n,) finite scores")
    if not (0 < level < 1 and draws >= 100):
        raise HubError(f"level {level} with {draws} draws", "give 0 < level < 1 and 100 draws or more")
    groups = _groups(subjects, len(x))
    if len(x) < FEWEST_UNITS:
        return None
    parts = [x[members] for members in groups]
    rng = np.random.default_rng(seed)
    if len(parts) >= FEWEST_SUBJECTS:
        error, t, freedom = _resample_subjects(parts, rng, draws)
    else:
        error, t, freedom = _resample_units(parts, rng, draws)
    if error <= SLACK * np.abs(x).max():
        return None
    tail = (1.0 - level) / 2
    low, high = np.quantile(t, [tail, 1.0 - tail])
    student = float(stdtrit(freedom, 1.0 - tail))
    mean = float(x.mean())
    return mean - max(float(high), student) * error, mean - min(float(low), -student) * error


def paired_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    seed: int,
    subjects: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
) -> tuple[float, float] | None:
    """`interval` of the mean of a - b, unit by unit: is one pipeline better than another?

    a, b: (n,) scores of the same units. Equal scores throughout give (0, 0): the two are the same.
    Raises HubError when the lengths differ, and what `interval` raises.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise HubError(f"{first.shape} scores against {second.shape}", "score both on the same units")
    if len(first) >= FEWEST_UNITS and np.array_equal(first, second):
        return 0.0, 0.0
    return interval(first - second, seed=seed, subjects=subjects, level=level, draws=draws)


def _resample_units(parts: list[Array], rng: np.random.Generator, draws: int) -> tuple[float, Array, int]:
    """Standard error, t of each draw (draws,), degrees of freedom: units drawn within each subject.

    The units' variance is pooled over subjects, so a subject with one unit is no trouble.
    """
    n = sum(len(part) for part in parts)
    freedom = max(1, n - len(parts))
    total, spread = np.zeros(draws), np.zeros(draws)
    for part in parts:
        for rows in _row_blocks(draws, len(part)):
            drawn = part[rng.integers(0, len(part), (rows.stop - rows.start, len(part)))]
            total[rows] += drawn.sum(axis=1) - part.sum()
            spread[rows] += drawn.var(axis=1) * len(part)
    variance = sum(float(part.var()) * len(part) for part in parts) / freedom / n
    return math.sqrt(variance), _studentise(total / n, spread / freedom / n, variance, n), freedom


def _resample_subjects(parts: list[Array], rng: np.random.Generator, draws: int) -> tuple[float, Array, int]:
    """As `_resample_units`, but subjects are drawn first; the error is the cluster-robust one."""
    count = len(parts)
    chosen = rng.integers(0, count, (draws, count))
    sizes = np.array([len(part) for part in parts], dtype=np.float64)
    means = np.zeros((draws, count))
    for subject, part in enumerate(parts):
        where = np.flatnonzero(chosen.ravel() == subject)
        for rows in _row_blocks(where.size, len(part)):
            index = rng.integers(0, len(part), (rows.stop - rows.start, len(part)))
            means.ravel()[where[rows]] = part[index].mean(axis=1)
    drawn, errors = _clustered(means, sizes[chosen])
    mean, variance = _clustered(np.array([[part.mean() for part in parts]]), sizes[None])
    error = float(variance[0])
    return math.sqrt(error), _studentise(drawn - mean, errors, error, count), count - 1


def _clustered(means: Array, sizes: Array) -> tuple[Array, Array]:
    """Mean over units and its variance from subjects' means and sizes, both (draws, subjects)."""
    weights = sizes / sizes.sum(axis=1, keepdims=True)
    mean = (weights * means).sum(axis=1)
    count = means.shape[1]
    spread = ((weights * (means - mean[:, None])) ** 2).sum(axis=1)
    return mean, spread * count / (count - 1)


def _studentise(offset: Array, variance: Array, observed: float, n: int) -> Array:
    """Offset / error, each draw's variance mixed with 1 / 2n of the observed one.

    Without it a draw of equal scores (common for hits and misses) would divide by zero.
    """
    share = 0.5 / n
    mixed = (variance + share * observed) / (1 + share)
    return offset / np.sqrt(np.where(mixed > 0, mixed, 1.0))


def _row_blocks(rows: int, width: int) -> list[slice]:
    step = max(1, CHUNK // width)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _groups(labels: Sequence[Hashable] | None, n: int) -> list[Rows]:
    """The rows of each label, in order of first appearance; None is one label for all."""
    if labels is None:
        return [np.arange(n)]
    if len(labels) != n:
        raise HubError(f"{len(labels)} labels for {n} units", "give one label for each unit")
    rows: dict[Hashable, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return [np.array(members, dtype=np.intp) for members in rows.values()]


def above_chance(refits: npt.ArrayLike, chance: float, margin: float) -> bool | None:
    """Whether a control is above chance: by two standard errors across refits, and by a margin.

    With few refits "two" is Student's 97.5 % quantile (4.3 of them for R = 3, 2.1 for 20): a spread
    estimated from three scores is often far too small.

    refits: (R,) scores of independent refits; margin: what does not matter below (r .1; for top-1,
    chance itself, so that twice chance is the bar). None with fewer than 3 refits: printed, not
    judged. Raises HubError on scores that are not finite.
    """
    scores = np.asarray(refits, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite([*scores, chance, margin]).all():
        raise HubError(f"no verdict on refits of shape {scores.shape}", "give (R,) finite scores")
    if len(scores) < 3:
        return None
    excess = float(scores.mean()) - chance
    errors = max(2.0, float(stdtrit(len(scores) - 1, 0.975)))
    return excess > margin and excess > errors * float(scores.std(ddof=1)) / math.sqrt(len(scores))


def surrogate(x: npt.ArrayLike, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A phase-randomised recording: the spectra of x, and no memory of when anything happened.

    x: (channels, time), a whole recording. The same random phases are added in all channels, so
    spectra and cross-spectra are kept; DC and Nyquist stay as they are. Returns float32 of x's
    shape, any length. Raises HubError when x is empty or not finite. Prichard and Theiler 1994.
    """
    recording = np.asarray(x)
    if recording.ndim != 2 or 0 in recording.shape:
        raise HubError(f"the recording has shape {recording.shape}", "give (channels, time)")
    channels, time = recording.shape
    turn = np.exp(2j * np.pi * rng.random(time // 2 + 1))
    turn[0] = 1.0
    if time % 2 == 0:
        turn[-1] = 1.0
    kernel, size = fft.irfft(turn, n=time), time
    if fft.next_fast_len(time, real=True) != time:  # a prime length: convolve in a longer one and fold
        size = fft.next_fast_len(2 * time, real=True)
    turned = fft.rfft(kernel, n=size)
    out = np.empty((channels, time), dtype=np.float32)
    for rows in _row_blocks(channels, time):
        spectrum = fft.rfft(recording[rows].astype(np.float64), n=size, axis=1)
        wave = fft.irfft(spectrum * turned, n=size, axis=1)
        wave[:, : min(time, size - time)] += wave[:, time : 2 * time]
        out[rows] = wave[:, :time]
    if not np.isfinite(out).all():
        raise HubError("the recording holds NaN or infinity", "fill or drop those samples first")
    return out


def _stretch(x: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise HubError(f"{name} has shape {array.shape}", "give (frames, bins), none of them empty")
    return array
