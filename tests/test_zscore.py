"""Zero mean and unit variance of the training side; what hardly varies is dropped, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import RATE, toy_fold, toy_study

from braindecode_hub.errors import HubError
from braindecode_hub.files import load_arrays, save_arrays
from braindecode_hub.parts.zscore import ZScore
from braindecode_hub.stretches import Prepared
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial
from braindecode_hub.view import View, Window, make_item


def view_of(data: Array, *, static: bool = False) -> View:
    """One trial of (channels, time), or many of them with one vector each."""
    rate = None if static else 50.0
    space = Space("label", (data.shape[1],)) if static else Space("mel", ("time", 2), 50.0)
    stop = 1.0 if static else data.shape[-1] / RATE
    nothing = np.zeros((1, 100), np.float32)
    rows = data if static else [np.zeros((round(stop * 50), 2), np.float32)]
    items = [
        make_item(
            Trial(f"t{n}", "r", 0.0, stop, f"x{n}", 0.0, stop),
            brain=Prepared(nothing if static else data, RATE, 0.0),
            recording=Recording("r", "s", "0", Signal(None, RATE, "toy")),
            spaces={space.name: rate},
            stimuli={space.name: Prepared(np.asarray(row, np.float32), rate, 0.0)},
        )
        for n, row in enumerate(rows)
    ]
    brain = Space("brain", ("channels", "time"), RATE)
    return View(items, window=Window(1.0), space=brain, targets={space.name: space}, subjects=["s"])


def fit(view: View, **options: Any) -> tuple[ZScore, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    scaler = ZScore(**options)
    scaler.fit(view, view, Context(log=said.append))
    return scaler, said


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_mean_and_sd_are_those_of_all_training_samples(offset: float) -> None:
    """Over segments of 30 s and a rest, in whatever pieces: numpy over everything says the same."""
    data = (np.random.default_rng(0).standard_normal((3, 7130)) * [[1.0], [20.0], [0.5]] + offset).astype(np.float32)
    scaler, _ = fit(view_of(data))
    np.testing.assert_allclose(scaler.mean_, data.mean(axis=1, dtype=np.float64), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(scaler.sd_, data.std(axis=1, ddof=1, dtype=np.float64), rtol=1e-4)
    z = scaler.encode(data[None])
    np.testing.assert_allclose(z.mean(axis=-1), 0.0, atol=2e-3 if offset else 1e-5)
    np.testing.assert_allclose(z.std(axis=-1), 1.0, atol=1e-3)
    assert z.dtype == np.float32


def test_it_works_on_targets_over_time_and_on_static_ones() -> None:
    study = toy_study(stimuli=3)
    view = study.view(toy_fold(study), "train").of("features")
    scaler, _ = fit(view)
    heard = np.concatenate([b.brain[0] for b in view.segments()])
    np.testing.assert_allclose(scaler.mean_, heard.mean(axis=0), atol=1e-5)
    z = scaler.encode(heard[None])[0]
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=1e-3)

    labels = np.random.default_rng(1).normal(5.0, 3.0, (40, 6)).astype(np.float32)
    scaler, _ = fit(view_of(labels, static=True).of("label"))
    np.testing.assert_allclose(scaler.encode(labels).mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaler.encode(labels).std(axis=0, ddof=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(scaler.invert(scaler.encode(labels)), labels, atol=1e-5)


def test_what_hardly_varies_is_dropped_and_named() -> None:
    """A dead channel is not blown up to unit variance: 0, and its mean when undone."""
    rng = np.random.default_rng(2)
    data = rng.standard_normal((5, 3000)).astype(np.float32)
    data[1] = 7.0
    data[3] = 2.0 + 1e-4 * data[3]
    scaler, said = fit(view_of(data))
    assert scaler.dropped_ == [1, 3]
    assert [event["text"] for event in said] == ["brain: features [1, 3] hardly vary and are dropped"]
    loud = scaler.encode(100.0 * data[None])
    assert not loud[0, [1, 3]].any()
    back = scaler.invert(scaler.encode(data[None]))[0]
    np.testing.assert_allclose(back[[0, 2, 4]], data[[0, 2, 4]], atol=1e-5)
    np.testing.assert_allclose(back[[1, 3]], [[7.0], [2.0]] * np.ones((2, 3000)), atol=1e-3)


def test_all_constant_is_all_dropped_and_finite() -> None:
    scaler, _ = fit(view_of(np.full((2, 3000), 4.0, np.float32)))
    assert scaler.dropped_ == [0, 1]
    assert not scaler.encode(np.random.default_rng(0).standard_normal((1, 2, 9))).any()


def test_clip_limits_at_so_many_sd() -> None:
    data = np.random.default_rng(3).standard_normal((2, 3000)).astype(np.float32)
    scaler, _ = fit(view_of(data), clip=1.5)
    z = scaler.encode(data[None])
    assert np.abs(z).max() == pytest.approx(1.5)
    inside = np.abs(z) < 1.5
    np.testing.assert_allclose(scaler.invert(z)[inside], data[None][inside], atol=1e-5)


def test_saved_and_loaded_it_scales_alike_and_a_second_fit_forgets_the_first(tmp_path: Path) -> None:
    first, second = (np.random.default_rng(k).normal(k, k, (2, 3000)).astype(np.float32) for k in (1, 2))
    scaler, _ = fit(view_of(first))
    arrays, values = scaler.state()
    save_arrays(tmp_path / "z.safetensors", arrays, {"values": values})
    read, info = load_arrays(tmp_path / "z.safetensors")
    again = ZScore()
    again.load_state(read, info["values"])
    np.testing.assert_array_equal(again.encode(first[None]), scaler.encode(first[None]))
    np.testing.assert_array_equal(again.invert(first[None]), scaler.invert(first[None]))
    scaler.fit(view_of(second), view_of(second), Context())
    fresh, _ = fit(view_of(second))
    np.testing.assert_array_equal(scaler.encode(first[None]), fresh.encode(first[None]))
    assert scaler.state()[1] == fresh.state()[1]


def test_nothing_to_fit_on_is_one_line() -> None:
    view = view_of(np.zeros((1, 100), np.float32))
    empty = View([], window=view.window, space=view.space, targets=view.targets, subjects=[])
    with pytest.raises(HubError, match="core/zscore has nothing to fit on"):
        ZScore().fit(empty, empty, Context())
