"""Temporal response functions: known kernels come back, lags have one sign, held-out trials stay held out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import scipy.stats

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array
from braindecode_hub_speech_wav2vec.trf import Trf
from braindecode_hub_speech_wav2vec.trf_statistics import correlation, max_statistic

RATE = 50.0


def smooth(rng: np.random.Generator, samples: int, columns: int, pole: float = 0.7) -> Array:
    """AR(1) of unit variance, as features and EEG are."""
    noise = rng.standard_normal((samples + 100, columns))
    return scipy.signal.lfilter([np.sqrt(1 - pole**2)], [1, -pole], noise, axis=0)[100:]


def kernels(features: int, channels: int) -> Array:
    """(features, 31 lags of −0.1 to 0.5 s, channels): a deflection at 100 ms and another at 220 ms."""
    lags, rng = np.arange(-5, 26) / RATE, np.random.default_rng(7)
    shapes = np.stack([np.exp(-(((lags - at) / 0.035) ** 2)) for at in (0.1, 0.22)])
    return np.einsum("fcs,sl->flc", rng.standard_normal((features, channels, 2)), shapes)


def respond(x: Array, kernel: Array, first_lag: int = -5) -> Array:
    """y(t) = Σ kernel(lag) x(t − lag), sample by sample, straight from the definition."""
    y = np.zeros((len(x), kernel.shape[2]))
    for number in range(kernel.shape[1]):
        lag = first_lag + number
        low, high = max(0, lag), min(len(x), len(x) + lag)
        y[low:high] += x[low - lag : high - lag] @ kernel[:, number]
    return y


def simulate(trials: int = 6, samples: int = 500, noise: float = 2.0, seed: int = 0) -> tuple[list[Array], list[Array]]:
    rng = np.random.default_rng(seed)
    x = [smooth(rng, samples, 2) for _ in range(trials)]
    clean = [respond(one, kernels(2, 4)) for one in x]
    return x, [one + noise * one.std() * smooth(rng, len(one), 4, 0.9) for one in clean]


# Kernels


def test_known_kernels_come_back() -> None:
    x, y = simulate(trials=12, noise=1.0)
    found = Trf().fit(x, y, RATE)
    assert found.kernels_.shape == (2, 31, 4)
    np.testing.assert_allclose(found.lags_, np.arange(-5, 26) / RATE)
    for feature in range(2):
        for channel in range(4):
            pair = found.kernels_[feature, :, channel], kernels(2, 4)[feature, :, channel]
            assert np.corrcoef(*pair)[0, 1] > 0.9
    scale = np.sum(found.kernels_ * kernels(2, 4)) / np.sum(kernels(2, 4) ** 2)
    assert 0.8 < scale < 1.1


def test_without_noise_and_penalty_they_are_exact() -> None:
    x, y = simulate(trials=4, noise=0.0)
    np.testing.assert_allclose(Trf(alphas=[1e-12]).fit(x, y, RATE).kernels_, kernels(2, 4), atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_brain_that_follows_by_200_ms_has_its_weight_at_plus_200_ms(direction: str) -> None:
    rng = np.random.default_rng(1)
    x = [rng.standard_normal((400, 1)) for _ in range(4)]
    y = [np.roll(one, 10, axis=0) + 0.1 * rng.standard_normal((400, 1)) for one in x]
    found = Trf(direction, (-0.3, 0.4)).fit(x, y, RATE)  # type: ignore[arg-type]
    assert found.kernels_.shape == (1, 36, 1)
    assert found.lags_[np.abs(found.kernels_[0, :, 0]).argmax()] == pytest.approx(0.2)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("lead", [0, 8])
def test_prediction_is_the_kernel_applied(direction: str, lead: int) -> None:
    x, y = simulate(trials=4, samples=300)
    inner = [one[lead : len(one) - lead] for one in x]
    found = Trf(direction, (-0.1, 0.2)).fit(inner, y, RATE, lead=lead)  # type: ignore[arg-type]
    (made,) = found.predict([inner[0]] if direction == "forward" else [y[0]], lead=lead)
    assert made.shape == (len(inner[0]), 4 if direction == "forward" else 2)
    t, lags = 60, np.arange(-5, 11)
    if direction == "forward":
        expected = sum(inner[0][t - lag] @ found.kernels_[:, lag + 5] for lag in lags)
    else:
        expected = sum(found.kernels_[:, lag + 5] @ y[0][t + lead + lag] for lag in lags)
    np.testing.assert_allclose(made[t], expected + found.intercept_, rtol=1e-8)


def test_backward_reconstructs_and_units_do_not_matter() -> None:
    x, y = simulate(trials=6, noise=1.0)
    first = Trf("backward").cross_validate(x, y, RATE)
    other = Trf("backward").cross_validate([3.0 + 50 * one for one in x], [1e-6 * one - 2e-6 for one in y], RATE)
    assert first.mean_r.min() > 0.5
    np.testing.assert_allclose(first.r, other.r, atol=1e-6)


# Leaving out


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("alphas", [[3.0], [1e-1, 1.0, 10.0, 100.0]])
def test_leave_one_out_equals_brute_force(direction: str, alphas: list[float]) -> None:
    """A fit on the other trials, its penalties chosen by leaving out one of *them*: the same numbers."""
    x, y = simulate(trials=5, samples=160)
    bands = {"a": [0], "b": list(range(1, 2 if direction == "forward" else 4))}

    def make() -> Trf:
        return Trf(direction, (-0.1, 0.2), bands, alphas)  # type: ignore[arg-type]

    found = make().cross_validate(x, y, RATE)
    for out in range(5):
        rest = [number for number in range(5) if number != out]
        fitted = make().fit([x[n] for n in rest], [y[n] for n in rest], RATE)
        assert fitted.penalties_ == found.penalties[out]
        (made,) = fitted.predict([x[out] if direction == "forward" else y[out]])
        low, high = (10, 155) if direction == "forward" else (5, 150)
        np.testing.assert_allclose(made[low:high], found.predicted[out], atol=1e-9)
        actual = (y if direction == "forward" else x)[out][low:high]
        np.testing.assert_array_equal(found.actual[out], actual)
        np.testing.assert_allclose(found.r[out], correlation(actual, made[low:high]), atol=1e-9)


@pytest.mark.parametrize("trials", [7, 12])
def test_nothing_of_a_trial_reaches_its_own_prediction(trials: int) -> None:
    x, y = simulate(trials=trials, samples=120)
    changed = [y[0] + 100.0 * np.random.default_rng(3).standard_normal(y[0].shape), *y[1:]]
    bands = {"a": [0], "b": [1]}
    first, other = (Trf("forward", (0.0, 0.2), bands).cross_validate(x, some, RATE) for some in (y, changed))
    np.testing.assert_array_equal(first.predicted[0], other.predicted[0])
    assert first.penalties[0] == other.penalties[0]
    assert not np.array_equal(first.predicted[1], other.predicted[1])


def test_trials_of_one_stimulus_are_left_out_together() -> None:
    x, y = simulate(trials=6, samples=120)
    groups = ["a", "b", "c", "a", "d", "e"]
    changed = [*y[:3], y[3] + 100.0, *y[4:]]
    changed[3] = 100.0 * np.random.default_rng(3).standard_normal(y[3].shape)
    first, other = (Trf("forward", (0.0, 0.2)).cross_validate(x, some, RATE, groups=groups) for some in (y, changed))
    np.testing.assert_array_equal(first.predicted[0], other.predicted[0])


def test_banded_ridge_beats_plain_where_bands_differ() -> None:
    """One feature drives the brain, thirty others do not: one penalty for all must choose between two evils."""
    rng = np.random.default_rng(5)
    x = [np.concatenate([smooth(rng, 250, 1), rng.standard_normal((250, 30))], axis=1) for _ in range(8)]
    y = [respond(one[:, :1], kernels(1, 3)[:, 5:16], 0) for one in x]
    y = [one + 2.0 * one.std() * smooth(rng, len(one), 3) for one in y]
    bands = {"heard": [0], "noise": list(range(1, 31))}
    plain = Trf("forward", (0.0, 0.2)).cross_validate(x, y, RATE)
    banded = Trf("forward", (0.0, 0.2), bands).cross_validate(x, y, RATE)
    assert banded.mean_r.mean() > plain.mean_r.mean() + 0.05
    assert all(one["noise"] > 10 * one["heard"] for one in banded.penalties)


# p


def test_p_is_uniform_where_there_is_nothing() -> None:
    """250 brains that heard nothing, penalties chosen each time: the smallest p over channels is uniform."""
    found = []
    for seed in range(250):
        rng = np.random.default_rng([11, seed])
        x = [smooth(rng, 80, 2) for _ in range(4)]
        mixing = rng.standard_normal((3, 3))
        y = [smooth(rng, 80, 3) @ mixing for _ in range(4)]
        done = Trf("forward", (0.0, 0.06), {"a": [0], "b": [1]}, [1.0, 100.0]).cross_validate(x, y, RATE)
        p, null, smallest = max_statistic(done.held, seed=seed, permutations=99)
        assert p.shape == (3,) and null.shape == (99,) and smallest == pytest.approx(1 / 100)
        found.append(p.min())
    assert 0.015 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert 0.15 <= np.mean(np.array(found) <= 0.25) <= 0.34
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


def test_p_is_small_where_there_is_something_and_only_there() -> None:
    x, y = simulate(trials=6)
    y = [np.concatenate([one[:, :2], smooth(np.random.default_rng(n), len(one), 2)], axis=1) for n, one in enumerate(y)]
    done = Trf().cross_validate(x, y, RATE)
    p, null, _ = max_statistic(done.held, permutations=150)
    assert p[:2].max() < 0.03 < 0.05 < p[2:].min()
    assert done.mean_r[:2].min() > np.quantile(null, 0.99)


def test_the_null_fits_again_what_cross_validation_fitted() -> None:
    """A draw whose shifts are known is the cross-validation of brains shifted by as much."""
    x, y = simulate(trials=4, samples=120)
    make = Trf("forward", (0.0, 0.0), alphas=[1.0])
    _, null, _ = max_statistic(make.cross_validate(x, y, RATE).held, seed=5, permutations=1)
    rng = np.random.default_rng(5)
    moved = [np.roll(one, rng.integers(0, len(one), 1)[0], axis=0) for one in y]
    assert null[0] == pytest.approx(make.cross_validate(x, moved, RATE).mean_r.max(), abs=1e-9)


def test_few_independent_shifts_bound_p() -> None:
    t = np.arange(60) / RATE
    slow = [np.sin(2 * np.pi * 0.8 * t + phase)[:, None] for phase in (0.0, 0.1)]
    p, _, smallest = max_statistic(Trf(lags_s=(0.0, 0.0), alphas=[1.0]).cross_validate(slow, slow, RATE).held)
    assert smallest > 0.02
    assert p[0] >= smallest


# What is wrong is said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x, y[:-1]), "brain signals"),
        (lambda x, y: ([x[0][:-1], *x[1:]], y), "samples of brain"),
        (lambda x, y: ([np.full_like(x[0], np.nan), *x[1:]], y), "NaN"),
        (lambda x, y: ([one[:20] for one in x], [one[:20] for one in y]), "shorter than the lags"),
        (lambda x, y: (x[:1], y[:1]), "too few"),
        (lambda x, y: ([x[0][:, :1], *x[1:]], y), "other features"),
        (lambda x, y: ([one[:, 0] for one in x], y), "shape"),
        (lambda x, y: ([], []), "0 stimuli"),
    ],
)
def test_trials_that_do_not_fit_are_refused(change: object, told: str) -> None:
    x, y = change(*simulate(trials=3, samples=100))  # type: ignore[operator]
    for do in (Trf().fit, Trf().cross_validate):
        with pytest.raises(HubError, match=told):
            do(x, y, RATE)


def test_settings_that_do_not_fit_are_refused() -> None:
    x, y = simulate(trials=3, samples=100)
    for made, told in (
        (lambda: Trf("sideways"), "direction"),  # type: ignore[arg-type]
        (lambda: Trf(alphas=[0.0]), "penalties"),
        (lambda: Trf(lags_s=(0.2, 0.1)), "smaller lag first"),
        (lambda: Trf(bands={"a": [0]}).fit(x, y, RATE), "once"),
        (lambda: Trf(bands={"a": [0, 1], "b": [1]}).fit(x, y, RATE), "once"),
        (lambda: Trf().fit(x, y, 0.0), "0 Hz"),
        (lambda: Trf().predict(x), "not fitted"),
        (lambda: Trf().fit(x, y, RATE).predict([one[:, :1] for one in x]), "columns"),
        (lambda: Trf().fit(x, y, RATE, groups=["a"]), "groups"),
        (lambda: Trf().cross_validate(x, y, RATE, groups=["a", "a", "b"]), "too few"),
    ):
        with pytest.raises(HubError, match=told):
            made()


def test_constant_features_and_channels_cost_nothing() -> None:
    x, y = simulate(trials=4, samples=150)
    x = [np.concatenate([one, np.full((150, 1), 5.0)], axis=1) for one in x]
    y = [np.concatenate([one, np.zeros((150, 1))], axis=1) for one in y]
    done = Trf("forward", (0.0, 0.2)).cross_validate(x, y, RATE)
    assert np.isfinite(done.r).all()
    assert not done.r[:, 4].any()
    assert not Trf("forward", (0.0, 0.2)).fit(x, y, RATE).kernels_[2].any()


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from braindecode_hub_speech_wav2vec.trf import Trf;"
        "from braindecode_hub_speech_wav2vec import trf_decoder, trf_features, trf_report, trf_figures, mel;"
        "x = [np.random.randn(100, 1) for _ in range(3)]; Trf().cross_validate(x, x, 50.0);"
        "trf_features.envelope(np.random.randn(16000), 16000.0);"
        "sys.exit(sorted({'torch', 'transformers', 'mne'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("sys.exit(sorted", "print(sorted")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
