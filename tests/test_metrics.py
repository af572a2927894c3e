"""Scores cannot be flattered: not by constants, ties, duplicates, scale, offset or float noise."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from braindecode_hub import metrics
from braindecode_hub.errors import HubError

Array = npt.NDArray[np.float64]
floats = st.floats(allow_nan=False, allow_infinity=False)
seeds = st.integers(0, 2**32 - 1)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def frames(*columns: list[float]) -> Array:
    """One trial (1, frames, bins) from its bins."""
    return np.array(columns, dtype=np.float64).T[None]


# Pearson's r over time


def test_pearson_golden_values_by_hand() -> None:
    target = frames([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, -1, 1, -1])
    predicted = frames([10, 20, 30, 40], [4, 3, 2, 1], [1, 3, 2, 4], [1, 1, -1, -1])
    assert metrics.pearson_over_time(target, predicted) == pytest.approx([1, -1, 0.8, 0], abs=1e-12)
    assert metrics.correlation_per_unit(target, predicted) == pytest.approx([0.2], abs=1e-12)


def test_pearson_is_numpys_corrcoef_averaged_over_trials() -> None:
    target, predicted = noise(3, 50, 4), noise(3, 50, 4, seed=1)
    r = np.array(
        [[np.corrcoef(t[:, b], p[:, b])[0, 1] for b in range(4)] for t, p in zip(target, predicted, strict=True)]
    )
    assert metrics.pearson_over_time(target, predicted) == pytest.approx(r.mean(axis=0), abs=1e-12)
    assert metrics.correlation_per_unit(target, predicted) == pytest.approx(r.mean(axis=1), abs=1e-12)


def test_a_constant_spectrum_scores_0_though_it_correlates_over_bins() -> None:
    spectrum = np.linspace(5, 0, 20)
    target = spectrum + 0.5 * noise(4, 100, 20)
    predicted = np.broadcast_to(spectrum, target.shape)
    assert np.corrcoef(target[0].ravel(), predicted[0].ravel())[0, 1] > 0.8
    assert not metrics.pearson_over_time(target, predicted).any()


@pytest.mark.parametrize("level", [0.0, 1.0, -3e4, 1e30, 1e-310])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_with_float_noise_is_a_constant(level: float, dtype: type) -> None:
    flat = np.full((2, 40, 3), level, dtype=dtype)
    flat = flat * (1 + 1e-9 * noise(2, 40, 3)).astype(dtype)
    assert not metrics.pearson_over_time(noise(2, 40, 3), flat).any()
    assert metrics.constant_bins(flat).all()
    assert not metrics.scorable_units(flat).any()


@pytest.mark.parametrize("scale", [1e-310, 1e-160, 1e-3, 1e160, 1e300])
def test_neither_huge_nor_subnormal_values_lose_their_shape(scale: float) -> None:
    target, predicted = noise(1, 60, 2), noise(1, 60, 2, seed=1)
    expected = metrics.pearson_over_time(target, predicted)
    assert metrics.pearson_over_time(target * scale, predicted * scale) == pytest.approx(expected, abs=1e-9)


def test_no_cancellation_on_a_large_offset() -> None:
    wave = noise(1, 200, 2)
    assert metrics.pearson_over_time(wave + 1e5, wave - 1e5) == pytest.approx([1, 1], abs=1e-9)


def test_constant_target_bins_are_excluded_and_counted() -> None:
    target = noise(2, 30, 3)
    target[0, :, 1] = 7
    target[:, :, 2] = 0
    r = metrics.pearson_over_time(target, target)
    assert r == pytest.approx([1, 1, 0])
    assert metrics.constant_bins(target).tolist() == [False, False, True]
    assert metrics.correlation_per_unit(target, target) == pytest.approx([1, 1])


def test_a_mask_equals_dropping_the_frames_whatever_stands_there() -> None:
    target, predicted = noise(2, 50, 3), noise(2, 50, 3, seed=1)
    mask = np.zeros((2, 50), dtype=bool)
    mask[:, 10:30] = True
    expected = metrics.pearson_over_time(target[:, 10:30], predicted[:, 10:30])
    target[~mask], predicted[~mask] = np.nan, np.inf
    assert metrics.pearson_over_time(target, predicted, mask=mask) == pytest.approx(expected, abs=1e-12)
    mask[0] = False
    only_second = metrics.pearson_over_time(target[1:], predicted[1:], mask=mask[1:])
    assert metrics.pearson_over_time(target, predicted, mask=mask) == pytest.approx(only_second)
    assert metrics.scorable_units(target, mask).tolist() == [False, True]


def test_a_prediction_that_is_not_finite_scores_0_in_its_trial_and_bin_only() -> None:
    target = noise(2, 30, 2)
    predicted = target.copy()
    predicted[0, 5, 0] = np.nan
    assert metrics.pearson_over_time(target, predicted) == pytest.approx([0.5, 1])


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (2, 2, 6, 2), elements=floats))
def test_no_input_makes_a_nan(both: Array) -> None:
    for scores in (metrics.pearson_over_time(*both), metrics.correlation_per_unit(*both)):
        assert np.isfinite(scores).all()
        assert (np.abs(scores) <= 1).all()


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.floats(-1e2, 1e2))
def test_correlation_ignores_gain_and_offset(seed: int, gain: float, offset: float) -> None:
    target, predicted = noise(2, 2, 20, 3, seed=seed)
    assume(gain > 1e-2 or abs(offset) < 10)
    moved = metrics.correlation_per_unit(target, gain * predicted + offset)
    assert moved == pytest.approx(metrics.correlation_per_unit(target, predicted), abs=1e-8)
    assert metrics.correlation_per_unit(target, -predicted) == pytest.approx(-moved, abs=1e-8)


@pytest.mark.parametrize(
    ("target", "predicted", "mask"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), None),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 5)), None),
        (np.zeros((0, 3, 4)), np.zeros((0, 3, 4)), None),
        (np.full((2, 3, 4), np.nan), np.zeros((2, 3, 4)), None),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.ones((2, 3))),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.ones((3, 2), dtype=bool)),
    ],
)
def test_what_does_not_fit_is_said_with_a_remedy(target: Array, predicted: Array, mask: Array | None) -> None:
    with pytest.raises(HubError) as caught:
        metrics.pearson_over_time(target, predicted, mask=mask)
    assert caught.value.remedy


# Identification


def loop_ranks(target: Array, predicted: Array, center: Array) -> list[int]:
    """Ranks among all targets, as one would write them down from the definition."""
    ranks = []
    for i, guess in enumerate(predicted):
        score = [
            float((guess - center) @ (t - center) / np.linalg.norm(guess - center) / np.linalg.norm(t - center))
            for t in target
        ]
        ranks.append(1 + sum(s >= score[i] for j, s in enumerate(score) if j != i))
    return ranks


def test_a_perfect_prediction_is_always_found() -> None:
    target = noise(80, 4, 5)
    found = metrics.identification(target, 0.01 * target)
    assert found == {
        "top1": 1,
        "top5": 1,
        "mean_rank": 1,
        "rank_percentile": 1,
        "chance_top1": 0.02,
        "pool": 50,
    }


def test_identification_by_hand() -> None:
    target = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    predicted = np.array([[1.0, 0.1], [1.0, 0.2], [-1.0, -0.1]])  # ranks 1, 2, 1
    found = metrics.identification_per_unit(target, predicted)
    assert found["mean_rank"].tolist() == [1, 2, 1]
    assert found["rank_percentile"].tolist() == [1, 0.5, 1]
    assert found["top1"].tolist() == [1, 0, 1]
    assert metrics.identification(target, predicted)["chance_top1"] == pytest.approx(1 / 3)


def test_ranks_are_those_of_the_loop() -> None:
    target, center = noise(30, 7), noise(7, seed=2)
    predicted = target + 2 * noise(30, 7, seed=1)
    ranks = metrics.identification_per_unit(target, predicted, center=center)["mean_rank"]
    assert ranks.tolist() == loop_ranks(target, predicted, center)


def test_pools_average_to_the_hypergeometric_expectation() -> None:
    n, pool = 120, 20
    target = noise(n, 10)
    predicted = target + 2 * noise(n, 10, seed=1)
    rivals = np.array(loop_ranks(target, predicted, np.zeros(10))) - 1
    none = [math.comb(n - 1 - b, pool - 1) / math.comb(n - 1, pool - 1) for b in rivals]
    found = metrics.identification(target, predicted, pool=pool)
    assert found["top1"] == pytest.approx(np.mean(none), abs=0.02)
    assert found["mean_rank"] == pytest.approx(1 + np.mean(rivals) * (pool - 1) / (n - 1), abs=0.15)
    assert found["rank_percentile"] == pytest.approx(1 - np.mean(rivals) / (n - 1), abs=0.01)
    assert found == metrics.identification(target, predicted, pool=pool)
    assert found != metrics.identification(target, predicted, pool=pool, seed=1)


def test_no_signal_is_at_chance() -> None:
    found = metrics.identification(noise(2000, 20), noise(2000, 20, seed=1))
    assert found["top1"] == pytest.approx(0.02, abs=0.008)
    assert found["rank_percentile"] == pytest.approx(0.5, abs=0.02)
    assert found["mean_rank"] == pytest.approx(25.5, abs=1)


def test_centred_cosine_finds_shrunken_predictions_around_a_mean_where_the_raw_one_does_not() -> None:
    mean = 3 * noise(40)
    pattern = noise(50, 40, seed=1)
    predicted = mean + 0.03 * (pattern + 2 * noise(50, 40, seed=2))
    centred = metrics.identification(mean + pattern, predicted, center=mean)
    raw = metrics.identification(mean + pattern, predicted)
    assert centred["top1"] > 0.4
    assert raw["top1"] < 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predicting_the_mean_never_identifies(dtype: type) -> None:
    target = 5 + noise(60, 30)
    center = target.mean(axis=0)
    predicted = np.broadcast_to(center, target.shape).astype(dtype)
    found = metrics.identification(target, predicted, center=center)
    assert (found["top1"], found["top5"], found["mean_rank"], found["rank_percentile"]) == (0, 0, 50, 0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_predictions_without_direction_are_misses_even_in_a_pool_of_two(value: float) -> None:
    target = noise(2, 6)
    predicted = target.copy()
    predicted[0] = value
    found = metrics.identification_per_unit(target, predicted)
    assert found["top1"].tolist() == [0, 1]
    assert found["top5"].tolist() == [0, 1]


def test_ties_are_misses() -> None:
    target = np.repeat(noise(10, 6), 2, axis=0)
    tied = metrics.identification(target, target)
    assert tied["top1"] == 0
    assert tied["mean_rank"] == 2


def test_duplicates_of_a_stimulus_are_one_candidate() -> None:
    target = np.repeat(noise(10, 6), 27, axis=0)
    ids = np.repeat([f"story {i}" for i in range(10)], 27)
    found = metrics.identification(target, target, ids=ids)
    assert found["top1"] == 1
    assert found["pool"] == 10
    assert len(metrics.identification_per_unit(target, target, ids=ids)["top1"]) == 270


def test_a_target_equal_to_the_center_cannot_be_found() -> None:
    target = noise(10, 6)
    found = metrics.identification_per_unit(target, target, center=target[3])
    assert found["top1"][3] == 0


def test_similarity_is_the_cosine_of_predictions_with_targets() -> None:
    target, predicted = np.array([[3.0, 4.0], [1.0, 1.0]]), np.array([[4.0, 5.0], [1.0, 1.0], [np.nan, 0]])
    raw = metrics.similarity(target, predicted, center=np.array([1.0, 1.0]))
    assert raw == pytest.approx(np.array([[(3 * 2 + 4 * 3) / math.sqrt(25 * 13), 0], [0, 0], [0, 0]]))


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.integers(2, 30))
def test_identification_ignores_scale_and_order(seed: int, scale: float, pool: int) -> None:
    target, predicted = noise(2, 12, 5, seed=seed)
    ranks = metrics.identification_per_unit(target, predicted, pool=12)["mean_rank"]
    order = np.random.default_rng(seed).permutation(12)
    again = metrics.identification_per_unit(target[order], scale * predicted[order], pool=12)["mean_rank"]
    assert again.tolist() == ranks[order].tolist()
    found = metrics.identification(target, predicted, pool=pool)
    size = min(pool, 12)
    assert found["chance_top1"] == 1 / size
    assert 1 <= found["mean_rank"] <= size
    assert found["rank_percentile"] == pytest.approx((size - found["mean_rank"]) / (size - 1))


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (2, 5, 3), elements=floats), arrays(np.float64, 3, elements=floats))
def test_no_input_makes_identification_leave_its_range(both: Array, center: Array) -> None:
    found = metrics.identification(*both, center=center)
    assert 0 <= found["top1"] <= found["top5"] <= 1
    assert 1 <= found["mean_rank"] <= 5


def test_identification_says_what_is_wrong() -> None:
    target = noise(4, 3)
    for bad in (
        {"predicted": noise(5, 3)},
        {"predicted": target, "ids": ["a", "b"]},
        {"predicted": target, "ids": ["a"] * 4},
        {"predicted": target, "pool": 1},
        {"predicted": target, "center": np.zeros(2)},
        {"predicted": target, "center": np.full(3, np.nan)},
    ):
        with pytest.raises(HubError):
            metrics.identification(target, **bad)
