"""Lagged ridge regression equals its textbook formula, and its lags mean what the documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import RATE, Decimate, Doctored, toy_fold, toy_study

from braindecode_hub.chain import Chain
from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.fitted import unfitted
from braindecode_hub.parts.ridge import Ridge
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Context
from braindecode_hub.view import View, Window

LAGS = {"lags_s": (-0.04, 0.2), "lag_step_s": 0.04}


def sides(study: Study) -> tuple[View, View]:
    fold = toy_fold(study)
    return study.view(fold, "train"), study.view(fold, "val")


def lagged(study: Study, side: str, ridge: Ridge) -> tuple[Array, Array]:
    """Design matrix and targets, sample by sample, from the dataset itself: no view, no window."""
    dataset, rows, heard = study.pipeline.dataset, [], []
    for trial in toy_fold(study).side(side):  # type: ignore[arg-type]
        recording = dataset.recording(trial.recording).brain.data
        stimulus = dataset.stimulus(str(trial.stimulus), dataset.stimuli_spaces[0]).data
        for frame in range(round(trial.seconds * RATE)):
            row = []
            for lag in ridge.lags():
                row.extend(recording[:, round((trial.start + lag) * RATE) + frame])
            rows.append(row)
            heard.append(stimulus[frame])
    return np.array(rows, np.float64), np.array(heard, np.float64)


def least_squares(x: Array, y: Array, alpha: float) -> tuple[Array, Array]:
    """Ridge on standardised columns as an augmented least-squares problem, solved by QR: alpha per frame."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / sd
    penalty = np.sqrt(alpha * len(x)) * np.eye(z.shape[1])
    top = np.concatenate([z, penalty])
    right = np.concatenate([y - y.mean(axis=0), np.zeros((z.shape[1], y.shape[1]))])
    q, r = np.linalg.qr(top)
    weights = np.linalg.solve(r, q.T @ right) / sd[:, None]
    return weights, y.mean(axis=0) - mean @ weights


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0])
def test_it_equals_brute_force_lagged_least_squares(alpha: float) -> None:
    study = toy_study(stimuli=3, targets=())
    train, val = sides(study)
    ridge = Ridge(**LAGS, alphas=(alpha,))
    ridge.fit(train, val, study.ctx, encoder=Chain())
    x, y = lagged(study, "train", ridge)
    weights, intercept = least_squares(x, y, alpha)
    np.testing.assert_allclose(ridge.weights_, weights, atol=2e-5)
    np.testing.assert_allclose(ridge.intercept_, intercept, atol=2e-5)
    held, heard = lagged(study, "val", ridge)
    error = np.mean((held @ weights + intercept - heard) ** 2)
    assert ridge.errors_ == pytest.approx([error], rel=1e-4)


def test_predictions_are_the_regression_of_each_frame() -> None:
    study = toy_study(stimuli=3, targets=(), window=Window(1.0, 0.4, 0.3))
    train, val = sides(study)
    ridge = Ridge(**LAGS)
    ridge.fit(train, val, study.ctx, encoder=Chain())
    found = study.view(toy_fold(study), "val", hidden=True).predict(lambda b: ridge.decode(b.brain, b.brain))
    x, _ = lagged(study, "val", ridge)
    expected = x @ ridge.weights_.astype(np.float64) + ridge.intercept_
    np.testing.assert_allclose(np.concatenate([one["features"] for one in found]), expected, atol=1e-4)


def test_the_penalty_is_the_best_on_validation() -> None:
    """Few frames and many weights: the largest penalty but the smallest error is chosen, as brute force says."""
    study = toy_study(stimuli=3, seconds=4.0, channels=20, snr=0.3, targets=())
    train, val = sides(study)
    ridge = Ridge(**LAGS)
    ridge.fit(train, val, study.ctx, encoder=Chain())
    x, y = lagged(study, "train", ridge)
    held, heard = lagged(study, "val", ridge)
    errors = []
    for alpha in ridge.alphas:
        weights, intercept = least_squares(x, y, alpha)
        errors.append(float(np.mean((held @ weights + intercept - heard) ** 2)))
    assert ridge.errors_ == pytest.approx(errors, rel=1e-4)
    assert ridge.alpha_ == ridge.alphas[int(np.argmin(errors))]
    assert ridge.alpha_ not in (ridge.alphas[0], ridge.alphas[-1])


@pytest.mark.parametrize("noisy", ["val", "test"])
def test_validation_chooses_the_penalty_and_nothing_more(noisy: str) -> None:
    study = toy_study(stimuli=3, targets=())
    fold = toy_fold(study)
    brain = {"s0-r0": [(t.start, t.stop) for t in fold.side(noisy)]}  # type: ignore[arg-type]
    other = toy_study(Doctored(study.pipeline.dataset, brain, {}), targets=())  # type: ignore[arg-type]
    fits = []
    for one in (study, other):
        ridge = Ridge(alphas=(0.1,))
        ridge.fit(*sides(one), one.ctx, encoder=Chain())
        fits.append(ridge)
    np.testing.assert_array_equal(fits[0].weights_, fits[1].weights_)
    assert (fits[0].errors_ == fits[1].errors_) == (noisy == "test")


@pytest.mark.parametrize("lag_s", [0.12, 0.0, -0.08])
def test_a_positive_lag_means_that_the_brain_follows(lag_s: float) -> None:
    """All of the weight stands at the lag that was planted: stimulus at t, brain at t + lag."""
    study = toy_study(stimuli=4, lag_s=lag_s, snr=10.0, channels=6, targets=(), window=Window(2.0, 1.0, 0.4))
    ridge = Ridge(lags_s=(-0.2, 0.3), lag_step_s=0.02, alphas=(1e-3,))
    ridge.fit(*sides(study), study.ctx, encoder=Chain())
    strength = np.abs(ridge.kernels()).sum(axis=(1, 2))
    assert ridge.kernels().shape == (26, 6, 2)
    assert ridge.lags()[int(np.argmax(strength))] == pytest.approx(lag_s)
    assert np.sort(strength)[-1] > 3 * np.sort(strength)[-2]


def test_kernels_name_lag_channel_and_bin() -> None:
    study = toy_study(stimuli=3, snr=30.0, targets=())
    ridge = Ridge(lags_s=(0.12, 0.12), alphas=(1e-6,))
    ridge.fit(*sides(study), study.ctx, encoder=Chain())
    mixing = study.pipeline.dataset.mixing(4)  # type: ignore[attr-defined]
    np.testing.assert_allclose(mixing.T @ ridge.kernels()[0] * 30.0, np.eye(2), atol=0.02)


def test_brain_at_another_rate_than_the_target() -> None:
    """Brain at 25 Hz, features at 100 Hz: the lag that was planted is still where the weight stands."""
    study = toy_study(stimuli=4, lag_s=0.12, snr=10.0, encoder=[Decimate()], targets=(), window=Window(2.0, 1.0, 0.4))
    ridge = Ridge(lags_s=(-0.2, 0.3), lag_step_s=0.04, alphas=(1e-3,))
    ridge.fit(*sides(study), study.ctx, encoder=Chain())
    strength = np.abs(ridge.kernels()).sum(axis=(1, 2))
    assert ridge.lags()[int(np.argmax(strength))] == pytest.approx(0.12, abs=0.04)


def test_static_targets_are_predicted_from_the_start_of_the_trial() -> None:
    study = toy_study(
        static=True, stimuli=240, seconds=0.5, channels=8, lag_s=0.1, targets=(), window=Window(0.5, None, 0.0)
    )
    train, val = sides(study)
    ridge = Ridge(lags_s=(0.0, 0.4), lag_step_s=0.1, alphas=(1e-3, 1e-1))
    ridge.fit(train, val, study.ctx, encoder=Chain())
    dataset, fold = study.pipeline.dataset, toy_fold(study)

    def rows(side: str) -> tuple[Array, Array]:
        x, y, brain = [], [], dataset.recording("s0-r0").brain.data
        for trial in fold.side(side):  # type: ignore[arg-type]
            x.append(np.concatenate([brain[:, round((trial.start + lag) * RATE)] for lag in ridge.lags()]))
            y.append(dataset.stimulus(str(trial.stimulus), dataset.stimuli_spaces[0]).data)
        return np.array(x, np.float64), np.array(y, np.float64)

    weights, intercept = least_squares(*rows("train"), ridge.alpha_)
    np.testing.assert_allclose(ridge.weights_, weights, atol=1e-4)
    view = study.view(fold, "test", hidden=True)
    found = np.stack([one["label"] for one in view.predict(lambda b: ridge.decode(b.brain, b.brain))])
    x, y = rows("test")
    np.testing.assert_allclose(found, x @ weights + intercept, atol=1e-3)
    assert np.corrcoef(found.ravel(), y.ravel())[0, 1] > 0.9


def test_saved_and_loaded_it_predicts_bit_for_bit_the_same(tmp_path: Path) -> None:
    """The whole fit of a study, targets' scaler and all, through one safetensors file and its JSON."""
    study = toy_study(stimuli=3)
    fold = toy_fold(study)
    fit = study.fit(fold, study.ctx)
    arrays, values = fit.state()
    save_arrays(tmp_path / "fit.safetensors", arrays, {"values": values})
    again = unfitted(study.pipeline)
    read, info = load_arrays(tmp_path / "fit.safetensors")
    again.load_state(read, info["values"])
    view = study.view(fold, "test", hidden=True)
    for a, b in zip(fit.predict(view), again.predict(view), strict=True):
        np.testing.assert_array_equal(a["features"], b["features"])


def test_a_second_fit_forgets_the_first() -> None:
    first, second = toy_study(stimuli=3), toy_study(stimuli=3, seed=4, lag_s=0.0)
    once, twice = Ridge(), Ridge()
    once.fit(*sides(second), second.ctx, encoder=Chain())
    twice.fit(*sides(first), first.ctx, encoder=Chain())
    twice.fit(*sides(second), second.ctx, encoder=Chain())
    for (a, plain_a), (b, plain_b) in [(once.state(), twice.state())]:
        assert plain_a == plain_b
        assert all(np.array_equal(a[name], b[name]) for name in a | b)


def test_a_channel_that_never_varies_gets_no_weight() -> None:
    study = toy_study(stimuli=3, targets=())

    train, val = copies(study)
    for item in (*train.items, *val.items):
        item.brain.data[1] = 3.0
    ridge = Ridge()
    ridge.fit(train, val, study.ctx, encoder=Chain())
    assert np.isfinite(ridge.weights_).all()
    assert not ridge.kernels()[:, 1].any()
    assert ridge.kernels()[:, 0].any()


def copies(study: Study) -> list[View]:
    """Views whose arrays may be written to."""
    views = []
    for view in sides(study):
        for item in view.items:
            object.__setattr__(item.brain, "data", np.array(item.brain.data))
        views.append(view)
    return views


@pytest.mark.parametrize("offset", [100.0, 3000.0])
def test_a_large_offset_changes_nothing_but_the_intercept(offset: float) -> None:
    """Without a z-score before it: sums in single precision would lose the signal behind the mean."""
    study = toy_study(stimuli=3, targets=())
    plain = Ridge(alphas=(1e-2,))
    plain.fit(*sides(study), study.ctx, encoder=Chain())
    views = copies(study)
    for data in {id(item.brain): item.brain.data for view in views for item in view.items}.values():
        data += np.float32(offset)
    moved = Ridge(alphas=(1e-2,))
    moved.fit(*views, study.ctx, encoder=Chain())
    np.testing.assert_allclose(moved.weights_, plain.weights_, atol=0.02 * np.abs(plain.weights_).max())
    assert moved.errors_ == pytest.approx(plain.errors_, rel=1e-3)


def test_wrong_lags_and_nothing_to_fit_on_are_one_line() -> None:
    with pytest.raises(HubError, match=r"lags_s goes from 0.3 to 0"):
        Ridge(lags_s=(0.3, 0.0)).lags()
    study = toy_study(stimuli=3)
    train, _ = sides(study)
    options: dict[str, Any] = {"window": train.window, "space": train.space, "targets": train.targets}
    with pytest.raises(HubError, match="core/ridge has nothing to fit on"):
        Ridge().fit(View([], subjects=[], **options), train, Context(), encoder=Chain())
