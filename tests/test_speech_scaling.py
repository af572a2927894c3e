"""Robust scaling and resampling: the paper's numbers, recordings that come out alike, and nothing out of reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contrastive_toy as toy
import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.types import Array, Batch, Context, Recording, Signal
from braindecode_hub_speech_wav2vec.detrend import Detrend
from braindecode_hub_speech_wav2vec.resample import Resample
from braindecode_hub_speech_wav2vec.scaling import RobustScaler, RobustScaling


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Robust scaling


def test_a_dead_electrode_stays_dead_behind_detrending_and_scaling() -> None:
    """It stands still at some voltage: what rounding leaves of its trend must not become as large as the others."""
    x = rng().standard_normal((2, 3, 200)).astype(np.float32)
    x[:, 1] = 5.0
    flat = Detrend().encode(x)
    assert not flat[:, 1].any()
    assert flat[:, 0].std() > 0.5
    scaled = RobustScaler().fit(np.moveaxis(flat, 1, 2).reshape(-1, 3))
    assert scaled.scale_[1] == 1.0


def test_the_scaler_takes_the_middle_and_the_quartiles_of_what_is_in_order() -> None:
    x = np.array([[5.0, 1], [1, 1], [2, 1], [9, 1], [4, 1], [1000, 1]])
    scaler = RobustScaler().fit(x)
    assert scaler.center_.tolist() == [5.0, 1.0]  # of 1 2 4 5 9 1000: number 3, without interpolation
    assert scaler.scale_.tolist() == [9.0 - 2.0, 1.0]  # numbers 4 and 1; a scale of 0 counts as 1
    assert scaler.transform(x)[:5, 0].tolist() == pytest.approx([0, -4 / 7, -3 / 7, 4 / 7, -1 / 7])
    assert scaler.transform(x)[5, 0] == 20.0  # 142.1, limited
    assert RobustScaler(clamp=None).fit(x).transform(x)[5, 0] == pytest.approx(995 / 7)


def test_the_scaler_leaves_nan_out() -> None:
    x = rng().standard_normal((101, 2))
    holes = np.concatenate([x, np.full((7, 2), np.nan)])
    assert np.array_equal(RobustScaler().fit(holes).center_, RobustScaler().fit(x).center_)
    empty = RobustScaler().fit(np.full((5, 1), np.nan))
    assert (empty.center_, empty.scale_) == (0.0, 1.0)
    with pytest.raises(HubError, match="robust scaler"):
        RobustScaler().fit(np.zeros((0, 3)))


def fitted_scaling(**options: Any) -> RobustScaling:
    step = RobustScaling(**options)
    step.fit(toy.view(), toy.view(20, 24), Context())
    return step


def test_each_recording_is_scaled_by_its_own_training_windows() -> None:
    step = fitted_scaling()
    assert step.recordings_ == [["s0", "1"], ["s1", "1"], ["s2", "1"]]
    own = [b for b in toy.view().batches(1) if b.trials[0].groups["subject"] == "s1"]
    x = np.concatenate([b.brain[0].T for b in own])
    wanted = RobustScaler().fit(x)
    assert np.allclose(step.center_[1, :9], wanted.center_[:9], atol=1e-6)
    assert np.isnan(step.center_[1, 9:]).all() and np.isnan(step.scale_[0, 8:]).all()
    out = step.encode(own[0].brain, own[0])
    assert out.dtype == np.float32 and np.allclose(out[0, :9], wanted.transform(own[0].brain[0].T).T[:9], atol=1e-5)


def test_padding_bad_channels_and_nan_come_out_as_0() -> None:
    step, batch = fitted_scaling(), next(toy.view().batches(4))
    x = batch.brain.copy()
    x[:, 10] = 7.0  # padding of s0
    x[:, 2] = 0.0  # marked bad
    x[0, 1, 5] = np.nan
    out = step.encode(x, batch)
    assert np.isfinite(out).all() and not out[:, 8:].any() and not out[:, 2].any() and out[0, 1, 5] == 0.0
    assert np.array_equal(out[:, 3], step.encode(batch.brain, batch)[:, 3])


def test_whoever_is_not_known_takes_pooled_values() -> None:
    step, batch = fitted_scaling(), next(toy.view().batches(2))
    stranger = replace(batch, trials=[replace(t, groups={"subject": "new", "session": "9"}) for t in batch.trials])
    later = replace(batch, trials=[replace(t, groups={"subject": "s0", "session": "9"}) for t in batch.trials])
    pooled = (batch.brain - np.nanmedian(step.center_)) / np.nanmedian(step.scale_)
    assert np.allclose(step.encode(batch.brain, stranger)[:, :8], pooled[:, :8], atol=1e-5)
    assert np.allclose(step.encode(batch.brain, later), step.encode(batch.brain, batch))  # the subject's own


def test_scaling_saves_and_loads() -> None:
    step, batch, again = fitted_scaling(clamp=1.0), next(toy.view().batches(4)), RobustScaling(clamp=1.0)
    again.load_state(*step.state())
    assert np.array_equal(again.encode(batch.brain, batch), step.encode(batch.brain, batch))
    assert np.abs(step.encode(batch.brain, batch)).max() == 1.0


# Resampling


def wave(rate: float, hz: float, seconds: float = 10.0) -> Array:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)[None, None]


def resampled(x: Array, rate: float, recording: Recording | None = None, **options: Any) -> Array:
    return Resample(**options).encode(x, Batch(x, [], rate, recording=recording))


@pytest.mark.parametrize("rate", [100.0, 128.0, 250.0, 512.0, 1000.0])
def test_recordings_of_different_rates_come_out_alike(rate: float) -> None:
    out = resampled(wave(rate, 7.0), rate)
    assert out.shape == (1, 1, 1 + int((10 * rate - 1) * 50 / rate + 1e-9))
    wanted = wave(50.0, 7.0)[..., : out.shape[-1]]
    assert np.abs(out - wanted)[..., 15:-15].max() < 3e-3
    assert np.abs(resampled(wave(rate, 31.0), rate))[..., 15:-15].max() < 3e-3  # would fold to 19 Hz


def test_a_high_pass_removes_drift_and_keeps_the_rest() -> None:
    drift = 5.0 + wave(200.0, 0.05, 40.0) + wave(200.0, 6.0, 40.0)
    out = resampled(drift, 200.0, high_pass=0.5)
    assert np.abs(out - wave(50.0, 6.0, 40.0)[..., : out.shape[-1]])[..., 150:-150].max() < 0.05
    step = Resample(high_pass=0.5)
    assert step.support_s == pytest.approx(0.2 + 2.0)


@pytest.mark.parametrize("options", [{}, {"high_pass": 1.0}])
def test_a_sample_reaches_as_far_as_declared(options: dict[str, Any]) -> None:
    x = rng().standard_normal((1, 1, 2000)).astype(np.float32)
    other = x.copy()
    other[..., 1000] += 100.0
    moved = np.flatnonzero(np.abs(resampled(x, 200.0, **options) - resampled(other, 200.0, **options))[0, 0] > 1e-4)
    reach = Resample(**options).support_s + 1 / 50
    assert len(moved) and (np.abs(moved / 50.0 - 5.0) <= reach).all()


def test_resampling_refuses_what_it_cannot_do() -> None:
    with pytest.raises(HubError, match="inventing samples"):
        resampled(wave(40.0, 7.0), 40.0)
    with pytest.raises(HubError, match="nothing lies between"):
        resampled(wave(100.0, 7.0), 100.0, high_pass=30.0)


def test_channels_marked_bad_come_out_as_0() -> None:
    x = rng().standard_normal((1, 2, 400)).astype(np.float32)
    sensors = Recording("r", "s", "1", Signal(None, 100.0, "eeg", ("A", "B")), bads=("B",))
    out = resampled(x, 100.0, sensors)
    assert not out[:, 1].any() and np.array_equal(out[:, 0], resampled(x, 100.0)[:, 0])
