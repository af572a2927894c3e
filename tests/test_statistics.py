"""Nulls say p <= .05 in one null of twenty, and intervals hold the truth as often as they claim."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from braindecode_hub import controls, intervals, lazy, metrics, nulls, surrogates
from braindecode_hub.errors import HubError

Array = npt.NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def autoregressive(*shape: int, a: float, rng: np.random.Generator) -> Array:
    """AR(1) along the first axis, started in its stationary state."""
    drive = rng.normal(size=shape)
    drive[0] /= math.sqrt(1 - a * a)
    return np.asarray(lfilter([1.0], [1.0, -a], drive, axis=0))


def loop_null(target: Array, predicted: Array, unit: int, mask: npt.NDArray[np.bool_] | None) -> Array:
    """The definition of `shift_null`, one shift after the other."""
    end = len(target) // unit * unit
    blocks = target[:end].reshape(-1, unit, target.shape[1])
    counted = None if mask is None else mask[:end].reshape(-1, unit)
    null = []
    for shift in range(len(target)):
        moved = np.roll(predicted, shift, axis=0)[:end].reshape(blocks.shape)
        null.append(metrics.correlation_per_unit(blocks, moved, counted).mean())
    return np.array(null)


# Shifts


def silent(x: Array) -> Array:
    x[30:75] = 0
    return x


def faint(x: Array) -> Array:
    x[30:75] = 1 + 1e-5 * x[30:75]
    return x


def dim(x: Array) -> Array:
    x[30:75] = 1 + 2e-4 * x[30:75]
    return x


def stepped(x: Array) -> Array:
    x[40:, 1] = -2
    x[:40, 1] = 3
    x[:, 0] = 4
    return x


def broken(x: Array) -> Array:
    x[50, 1], x[70, 0] = np.nan, np.inf
    return x


def lifted(x: Array) -> Array:
    return x + 1e5


def tiny(x: Array) -> Array:
    return x * 1e-300


@pytest.mark.parametrize("spoil", [np.asarray, silent, faint, dim, stepped, broken, lifted, tiny])
@pytest.mark.parametrize("frames", [120, 113])
@pytest.mark.parametrize("unit", [20, "all"])
@pytest.mark.parametrize("masked", [False, True])
def test_shift_null_equals_the_loop(
    spoil: Callable[[Array], Array], frames: int, unit: int | str, masked: bool
) -> None:
    target = noise(frames, 3)
    target[20:40, 2] = 1.5
    predicted = spoil(0.5 * target + noise(frames, 3, seed=1))
    length = frames if unit == "all" else int(unit)
    mask = noise(frames, seed=2) > -0.5 if masked else None
    null = nulls.shift_null(target, predicted, length, mask)
    assert null == pytest.approx(loop_null(target, predicted, length, mask), abs=1e-6)


def test_a_faint_stretch_beside_a_loud_one_is_not_lost_in_rounding() -> None:
    target, predicted = np.zeros((3000, 1)), noise(3000, 1, seed=1)
    target[:20] = noise(20, 1)
    predicted[100:200] = 1 + 2e-5 * predicted[100:200]
    null = nulls.shift_null(target, predicted, 20) * 150  # one unit of 150 can be scored
    assert null == pytest.approx(loop_null(target, predicted, 20, None) * 150, abs=1e-7)


def test_shift_null_does_not_depend_on_its_block_of_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    target, predicted = noise(150, 7), silent(noise(150, 7, seed=1))
    null = nulls.shift_null(target, predicted, 30)
    monkeypatch.setattr(lazy, "CHUNK", 1)
    assert nulls.shift_null(target, predicted, 30) == pytest.approx(null, abs=1e-12)


def test_shift_null_ignores_what_the_mask_leaves_out_and_scores_constants_0() -> None:
    target, predicted = noise(100, 2), noise(100, 2, seed=1)
    mask = np.arange(100) % 3 > 0
    null = nulls.shift_null(target, predicted, 25, mask)
    target[~mask] = np.nan
    assert nulls.shift_null(target, predicted, 25, mask) == pytest.approx(null, abs=1e-12)
    assert not nulls.shift_null(target, np.ones((100, 2)), 25, mask).any()
    assert not nulls.shift_null(np.ones((100, 2)), predicted, 25).any()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(0, 59))
def test_rolling_the_prediction_rolls_the_null(seed: int, shift: int) -> None:
    target, predicted = noise(2, 60, 2, seed=seed)
    null = nulls.shift_null(target, predicted, 15)
    rolled = nulls.shift_null(target, 3 * np.roll(predicted, shift, axis=0) - 7, 15)
    assert rolled == pytest.approx(np.roll(null, -shift), abs=1e-9)


@pytest.mark.slow
def test_all_shifts_cost_less_than_a_hundredth_of_a_loop_over_a_thousand() -> None:
    target, predicted = noise(30_000, 23), noise(30_000, 23, seed=1)
    nulls.shift_null(target, predicted, 30_000)
    fast = min(_cpu(lambda: nulls.shift_null(target, predicted, 30_000)) for _ in range(3))
    ten = _cpu(lambda: [_unit_score(target, np.roll(predicted, s, axis=0)) for s in range(10)])
    assert 100 * fast < 100 * ten


def _unit_score(target: Array, predicted: Array) -> Array:
    return metrics.correlation_per_unit(target[None], predicted[None])


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def test_shift_p_counts_the_observed_and_its_neighbours() -> None:
    assert nulls.shift_p([0.5, 0.4, 0.6, 0.5], effective=100) == (0.75, 0.01)
    assert nulls.shift_p([0.9, 0.4, 0.6, 0.5], effective=2) == (0.5, 0.5)
    assert nulls.shift_p([0.9, 0.4], effective=0.1) == (1, 1)
    assert nulls.shift_p(np.zeros(50), effective=50)[0] == 1


def test_a_planted_signal_reaches_the_smallest_p() -> None:
    target = autoregressive(2000, 3, a=0.8, rng=np.random.default_rng(0))
    predicted = target + 2 * noise(2000, 3)
    effective = 2000 / (2 * nulls.autocorrelation_time(target))
    p, smallest = nulls.shift_p(nulls.shift_null(target, predicted, 100), effective=effective)
    assert p == smallest < 0.05


def false_alarms_of_shifts(simulations: int, frames: int, a: float, seed: int) -> float:
    rng, alarms = np.random.default_rng(seed), 0
    for _ in range(simulations):
        target, predicted = autoregressive(frames, 2, 3, a=a, rng=rng).transpose(1, 0, 2)
        null = nulls.shift_null(target, predicted, frames // 10)
        effective = frames / (2 * nulls.autocorrelation_time(target))
        alarms += nulls.shift_p(null, effective=effective)[0] <= 0.05
    return alarms / simulations


def test_shifts_of_autocorrelated_noise_are_calibrated() -> None:
    assert 0.02 <= false_alarms_of_shifts(600, 1000, a=0.9, seed=0) <= 0.07


@pytest.mark.parametrize(("a", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_autocorrelation_time_of_a_known_process(a: float, expected: float) -> None:
    x = autoregressive(20_000, 4, a=a, rng=np.random.default_rng(0))
    assert nulls.autocorrelation_time(5 + 3 * x) == pytest.approx(expected, rel=0.15)


def test_autocorrelation_time_of_constants_and_rhythms() -> None:
    assert nulls.autocorrelation_time(np.ones((100, 2))) == 1
    wave = np.sin(np.arange(1000) * 2 * np.pi / 40)
    assert nulls.autocorrelation_time(wave) > 10
    with pytest.raises(HubError):
        nulls.autocorrelation_time(np.full((10, 1), np.nan))


# Exchange


def test_exchange_p_is_the_exact_share_of_pairings() -> None:
    scores = noise(5, 5)
    means = [scores[range(5), order].mean() for order in itertools.permutations(range(5))]
    exact = np.mean(np.array(means) >= np.trace(scores) / 5 - 1e-12)
    p, smallest, null = nulls.exchange_p(scores, seed=0, permutations=40_000)
    assert p == pytest.approx(exact, abs=0.01)
    assert smallest == pytest.approx(1 / math.factorial(5))
    assert set(np.round(null, 9)) <= set(np.round(means, 9))


def test_exchange_p_of_perfect_and_of_tied_scores() -> None:
    assert nulls.exchange_p(np.eye(30), seed=0)[:2] == pytest.approx((1e-4, 1e-4), rel=1e-3)
    assert nulls.exchange_p(np.eye(3), seed=0)[0] >= 1 / 6
    assert nulls.exchange_p(np.full((12, 12), 0.1), seed=0)[0] == 1


def test_exchange_stays_within_its_blocks() -> None:
    blocks = ["a", "b"] * 6
    same = np.equal.outer(blocks, blocks)
    p, smallest, null = nulls.exchange_p(same * 1.0, seed=0, blocks=blocks)
    assert p == 1
    assert (null == 1).all()
    assert smallest == 1 / 10_001
    assert nulls.exchange_p(same * 1.0, seed=0)[0] < 0.05
    pairs = nulls.exchange_p(np.eye(4), seed=0, blocks=[0, 0, 1, 1])
    assert pairs[1] == pytest.approx(1 / 4)
    assert pairs[0] == pytest.approx(1 / 4, abs=0.02)


def test_exchange_is_the_same_for_the_same_seed_only() -> None:
    first, second, other = (nulls.exchange_p(noise(9, 9), seed=seed)[2] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_exchanging_units_without_signal_is_calibrated() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for seed in range(600):
        target, predicted = autoregressive(15 * 40, 2, a=0.8, rng=rng).T.reshape(2, 15, 40)
        alarms += nulls.exchange_p(np.corrcoef(predicted, target)[:15, 15:], seed=seed, permutations=400)[0] <= 0.05
    assert 0.02 <= alarms / 600 <= 0.07


# Intervals


def coverage(draw: Callable[[np.random.Generator, int], Array], truth: float, n: int, repeats: int = 400) -> float:
    rng, held = np.random.default_rng(0), 0
    for seed in range(repeats):
        found = intervals.interval(draw(rng, n), seed=seed, draws=1000)
        assert found is not None
        held += found[0] <= truth <= found[1]
    return held / repeats


@pytest.mark.parametrize("n", [10, 12, 30])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, n: rng.normal(size=n), 0.0),
        (lambda rng, n: rng.beta(1, 4, size=n), 0.2),
        (lambda rng, n: -rng.exponential(size=n), -1.0),
    ],
    ids=["gaussian", "skewed", "strongly skewed"],
)
def test_intervals_cover_the_truth(draw: Callable[[np.random.Generator, int], Array], truth: float, n: int) -> None:
    assert 0.925 <= coverage(draw, truth, n) <= 0.99


def subject_coverage(subjects: int, of_these: bool) -> float:
    rng, held, labels = np.random.default_rng(0), 0, np.repeat(range(subjects), 8).tolist()
    for seed in range(300):
        offsets = rng.normal(size=(subjects, 1))
        scores = offsets + rng.normal(size=(subjects, 8))
        found = intervals.interval(scores.ravel(), seed=seed, subjects=labels, draws=1000)
        assert found is not None
        held += found[0] <= (offsets.mean() if of_these else 0) <= found[1]
    return held / 300


def test_two_subjects_speak_of_themselves_and_many_of_everybody() -> None:
    assert subject_coverage(2, of_these=True) >= 0.93
    assert subject_coverage(2, of_these=False) < 0.8
    assert subject_coverage(8, of_these=False) >= 0.93


def test_no_interval_under_ten_units_or_without_spread() -> None:
    assert intervals.interval(noise(9), seed=0) is None
    assert intervals.interval(np.zeros(40), seed=0) is None
    assert intervals.interval(np.full(12, 0.1), seed=0, subjects=list("abcdefghijkl")) is None
    assert intervals.interval(noise(10), seed=0) is not None


def test_hits_and_misses_have_wilsons_interval() -> None:
    assert intervals.wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert intervals.wilson(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert intervals.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    hits = np.array([1.0] * 17 + [0.0] * 3)
    found = intervals.interval(hits, seed=0)
    assert found == pytest.approx(intervals.wilson(0.85, 20))
    assert found == intervals.interval(hits, seed=0, subjects=list("aabb" * 5))
    assert found != intervals.interval(hits, seed=0, subjects=list("abcdef" * 3 + "ab")), "subjects at large"
    assert intervals.interval(hits, seed=0, level=0.8)[0] > found[0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_interval_of_hits_and_misses_covers_their_share(share: float) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(1000):
        found = intervals.interval((rng.random(24) < share) * 1.0, seed=0)
        held += [] if found is None else [found[0] <= share <= found[1]]
    assert 0.92 <= np.mean(held) <= 0.985


def test_one_unit_of_difference_is_no_difference() -> None:
    found = intervals.paired_interval([1.0] * 20, [0.0] + [1.0] * 19, seed=0)
    assert found is not None
    assert found[0] < 0


def test_an_interval_repeats_with_its_seed_and_a_wider_level_is_wider() -> None:
    x = noise(20)
    found, wide = intervals.interval(x, seed=3), intervals.interval(x, seed=3, level=0.99)
    assert found == intervals.interval(x, seed=3)
    assert found is not None
    assert wide is not None
    assert wide[0] < found[0] < x.mean() < found[1] < wide[1]


def test_paired_intervals_are_of_the_differences() -> None:
    a = noise(30)
    b = a - 0.2 + 0.01 * noise(30, seed=1)
    found = intervals.paired_interval(a, b, seed=0)
    assert found is not None
    assert 0.19 < found[0] < 0.2 < found[1] < 0.21
    assert found == intervals.interval(a - b, seed=0)
    assert intervals.paired_interval(a, a, seed=0) == (0, 0)
    assert intervals.paired_interval(a[:5], a[:5], seed=0) is None
    with pytest.raises(HubError):
        intervals.paired_interval(a, b[:5], seed=0)


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_an_interval_moves_with_its_scores(seed: int, scale: float, offset: float) -> None:
    x = noise(14, seed=seed)
    found = intervals.interval(x, seed=0, draws=500)
    moved = intervals.interval(scale * x + offset, seed=0, draws=500)
    assert found is not None
    assert moved == pytest.approx([scale * edge + offset for edge in found], rel=1e-6, abs=1e-9)


# Controls and surrogates


def test_a_control_is_above_chance_by_two_errors_and_by_a_margin() -> None:
    assert controls.above_chance([0.2, 0.21, 0.19], 0.0, 0.1) is True
    assert controls.above_chance([0.09, 0.08, 0.085], 0.0, 0.1) is False  # certain, but does not matter
    assert controls.above_chance([0.0, 0.6, 0.0], 0.0, 0.1) is False  # large, but not certain
    assert controls.above_chance([0.9, 0.9], 0.0, 0.1) is None
    with pytest.raises(HubError):
        controls.above_chance([0.1, 0.2, np.nan], 0.0, 0.1)


@pytest.mark.parametrize("samples", [1, 2, 3, 256, 257, 1009, 2 * 1009])
def test_a_surrogate_keeps_spectra_and_cross_spectra_and_forgets_time(samples: int) -> None:
    x = (20 + np.cumsum(noise(3, samples), axis=1)).astype(np.float32)
    y = surrogates.surrogate(x, np.random.default_rng(1))
    assert y.dtype == np.float32
    assert y.shape == x.shape
    before, after = np.fft.rfft(x.astype(np.float64)), np.fft.rfft(y.astype(np.float64))
    before, after = before / np.abs(before).max(), after / np.abs(before).max()
    assert np.abs(after) == pytest.approx(np.abs(before), abs=1e-6)
    assert after[0] * after[1].conj() == pytest.approx(before[0] * before[1].conj(), abs=1e-6)
    assert after[:, 0] == pytest.approx(before[:, 0], abs=1e-6)
    if samples > 200:
        centred = x - x.mean(axis=1, keepdims=True)
        assert abs(np.corrcoef(np.diff(centred[0]), np.diff(y[0]))[0, 1]) < 0.25


def test_surrogates_repeat_with_their_seed_and_do_not_depend_on_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = noise(4, 300)
    first = surrogates.surrogate(x, np.random.default_rng(1))
    monkeypatch.setattr(lazy, "CHUNK", 1)
    assert np.array_equal(first, surrogates.surrogate(x, np.random.default_rng(1)))
    assert not np.array_equal(first, surrogates.surrogate(x, np.random.default_rng(2)))


def test_bad_input_is_said_with_a_remedy() -> None:
    x = noise(20, 2)
    for bad in (
        lambda: nulls.shift_null(x, x[:10], 5),
        lambda: nulls.shift_null(x, x, 21),
        lambda: nulls.shift_null(np.full((20, 2), np.nan), x, 5),
        lambda: nulls.shift_null(x, x, 5, np.ones(20)),
        lambda: nulls.shift_p([], effective=3),
        lambda: nulls.shift_p([0.1], effective=np.nan),
        lambda: nulls.exchange_p(x, seed=0),
        lambda: nulls.exchange_p(np.eye(3), seed=0, blocks=["a"]),
        lambda: intervals.interval([np.nan] * 12, seed=0),
        lambda: intervals.interval(np.zeros(12), seed=0, subjects=["a"]),
        lambda: surrogates.surrogate(np.full((2, 9), np.nan), np.random.default_rng(0)),
        lambda: surrogates.surrogate(np.zeros(9), np.random.default_rng(0)),
    ):
        with pytest.raises(HubError) as caught:
            bad()
        assert caught.value.remedy
