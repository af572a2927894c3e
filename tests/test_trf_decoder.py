"""speech_wav2vec/trf in a study: as good as ridge where it should be, honest about what it looked at, and drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy import Doctored, Toy, toy_fold, toy_study

from braindecode_hub.errors import HubError
from braindecode_hub.files import save_arrays
from braindecode_hub.metrics import pearson_over_time
from braindecode_hub.study import Study
from braindecode_hub.types import Array, Trial
from braindecode_hub.view import Window
from braindecode_hub_speech_wav2vec import trf_figures, trf_report
from braindecode_hub_speech_wav2vec.trf_decoder import TrfDecoder, stimuli

QUICK: dict[str, Any] = {"lags_s": (0.0, 0.2), "forward_lags_s": (-0.1, 0.3), "permutations": 40}
TOY: dict[str, Any] = {"stimuli": 7, "seconds": 12.0, "snr": 0.3}


def fitted(study: Study) -> Any:
    return study.fit(toy_fold(study), study.ctx)


def score(study: Study, fit: Any) -> float:
    fold = toy_fold(study)
    predictions = fit.predict(study.view(fold, "test", hidden=True))
    truth = study.truth(fold, "test")
    pairs = [(true["features"], made["features"]) for true, made in zip(truth, predictions, strict=True)]
    return float(np.mean([pearson_over_time(true[None], made[None]).mean() for true, made in pairs]))


@pytest.fixture(scope="module")
def done() -> tuple[Study, Any]:
    study = toy_study(decoder=TrfDecoder(**QUICK), **TOY)
    return study, fitted(study)


def test_the_planted_lag_and_channels_are_found(done: tuple[Study, Any]) -> None:
    study, fit = done
    decoder = fit.decoder
    assert decoder.kernels_.shape == (2, 21, 4)
    assert decoder.forward_kernels_.shape == (2, 41, 4)
    size = np.abs(decoder.forward_kernels_).sum(axis=(0, 2))
    assert decoder.forward_lags_[size.argmax()] == pytest.approx(0.12, abs=0.02)
    assert decoder.forward_r_.max() > 0.1
    assert decoder.forward_p_.min() == pytest.approx(1 / 41)
    dataset: Any = study.pipeline.dataset
    strength = np.linalg.norm(dataset.mixing(4), axis=1)
    assert decoder.forward_r_.argmax() == strength.argmax()


def test_backward_it_is_what_its_kernels_say_and_decodes() -> None:
    ridge = toy_study(**TOY)
    study = toy_study(decoder=TrfDecoder(**QUICK), **TOY)
    ours, theirs = score(study, fitted(study)), score(ridge, fitted(ridge))
    assert ours > 0.5
    assert ours > theirs - 0.02


def test_nothing_of_the_test_side_is_learned(done: tuple[Study, Any]) -> None:
    study, fit = done
    trials = toy_fold(study).test
    brain = {t.recording: [(t.start, t.stop)] for t in trials}
    heard = {str(t.stimulus): [(0.0, 1e3)] for t in trials}
    other = toy_study(Doctored(Toy(**TOY), brain, heard), decoder=TrfDecoder(**QUICK))
    assert [t.id for t in toy_fold(other).test] == [t.id for t in trials]
    before, after = fit.state(), fitted(other).state()
    assert before[1] == after[1]
    for name, value in before[0].items():
        np.testing.assert_array_equal(value, after[0][name])


def test_a_control_is_spared_the_forward_analysis_and_decodes_the_same(done: tuple[Study, Any]) -> None:
    fit = done[1]
    copy = fit.decoder.for_controls()
    assert copy.configuration() == fit.decoder.configuration() | {"forward": False}
    lean = fitted(toy_study(decoder=copy, **TOY)).decoder
    assert not hasattr(lean, "forward_r_")
    np.testing.assert_array_equal(lean.kernels_, fit.decoder.kernels_)


@pytest.mark.parametrize("extra", [0, 2])
def test_montages_of_unequal_width_keep_their_own_channels(extra: int) -> None:
    study = toy_study(decoder=TrfDecoder(**QUICK), subjects=2, extra=extra, **TOY)
    fold = toy_fold(study)
    for number, group in enumerate(study.groups()):
        decoder = study.fit(study.of_group(fold, group), study.ctx).decoder
        wide = 4 + extra * number
        assert decoder.forward_r_.shape == (wide,)
        assert len(decoder.channels_) == len(decoder.positions_) == wide


def test_faster_brain_is_averaged_around_the_frame() -> None:
    decoder = TrfDecoder()
    decoder.rate_, decoder.brain_rate_, decoder.context_s_, decoder.lead_ = 50.0, 200.0, 0.1, 5
    ramp = (np.arange(200) / 200.0 - 0.1)[None, None]
    found = decoder._at_frames(ramp, 30)[0, :, 0]
    np.testing.assert_allclose(found[1:-1], np.arange(-5, 35)[1:-1] / 50.0, atol=1e-9)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(HubError, match="context") as told:
        fitted(toy_study(decoder=TrfDecoder(lags_s=(0.0, 0.5)), **TOY))
    assert "window.context_s=0.5" in told.value.remedy
    with pytest.raises(HubError, match="over time"):
        fitted(toy_study(Toy(static=True, stimuli=12), decoder=TrfDecoder(), window=Window(2.0, None, 0.3)))


def test_overlapping_presentations_are_one_stimulus() -> None:
    def heard(stimulus: str, start: float, stop: float) -> Trial:
        return Trial("t", "r", 0.0, stop - start, stimulus, start, stop)

    trials = [
        heard("a", 0, 5),
        heard("a", 5, 9),
        heard("b", 0, 5),
        heard("a", 4, 5),
        heard("a", 7, 12),
        heard("a", 20, 21),
    ]
    labels = stimuli(trials)
    assert [labels.index(label) for label in labels] == [0, 1, 2, 0, 1, 5]


# The report


def report(path: Path, states: dict[str, Any], **decoder: Any) -> str:
    for name, fit in states.items():
        arrays, values = fit.state()
        (path / "fold-0").mkdir(exist_ok=True)
        save_arrays(path / "fold-0" / f"{name}.state.safetensors", arrays, {"values": values})
    run: Any = SimpleNamespace(path=path, config={"decoder": {"use": "speech_wav2vec/trf", **decoder}})
    (section,) = trf_report.sections(run)
    assert section.title == "Temporal response functions"
    return section.html


def test_the_report_shows_map_null_kernels_and_p(done: tuple[Study, Any], tmp_path: Path) -> None:
    html = report(tmp_path, {"s0": done[1]})
    assert "test side was not looked at" in html
    assert html.count("<figure") == 3  # one target: map, null, its bins
    decoder = done[1].decoder
    assert f"{decoder.forward_r_.mean():.3f}" in html
    assert f"{int((decoder.forward_p_ <= 0.05).sum())} of 4" in html


def test_the_report_says_why_there_is_nothing(tmp_path: Path) -> None:
    few = toy_study(decoder=TrfDecoder(**QUICK), stimuli=3, seconds=12.0)
    assert "2 stimuli are too few" in report(tmp_path, {"s0": fitted(few)})
    lean = fitted(toy_study(decoder=TrfDecoder(**{**QUICK, "forward": False}), **TOY))
    assert "switched off" in report(tmp_path, {"s0": lean}, forward=False)
    (tmp_path / "fold-0" / "s0.state.safetensors").write_bytes(b"damaged")
    assert "cannot be read" in report(tmp_path, {})
    run: Any = SimpleNamespace(path=tmp_path, config={"decoder": {"use": "core/ridge"}})
    assert trf_report.sections(run) == []


@pytest.mark.parametrize("count", [2, 3, 32])
@pytest.mark.parametrize("placed", [True, False])
def test_every_number_of_channels_can_be_drawn(count: int, placed: bool) -> None:
    rng = np.random.default_rng(0)
    r, names = rng.standard_normal(count), [f"C{number}" for number in range(count)]
    positions: Array = rng.standard_normal((count, 3)) if placed else np.zeros((0, 3))
    figure = trf_figures.topography_figure(r, positions, r > 0, names)
    assert len(figure.axes) == (2 if placed and count >= 4 else 1)


def test_a_map_has_the_vertex_in_its_middle_and_left_on_the_left() -> None:
    places = np.array([[0.0, 0.0, 0.1], [-0.1, 0.0, 0.0], [0.0, 0.1, 0.0]])
    np.testing.assert_allclose(trf_figures.flat(places), [[0, 0], [-np.pi / 2, 0], [0, np.pi / 2]], atol=1e-12)
