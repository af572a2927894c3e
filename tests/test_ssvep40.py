"""Forty flickers: the file as published, candidates scored whatever their phase, and the real EEG decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

import braindecode_hub as bdh
from braindecode_hub.errors import HubError
from braindecode_hub.metrics import similarity
from braindecode_hub.runfolder import Run
from braindecode_hub.types import Context, Space
from braindecode_hub_speech_wav2vec.phase_free import PhaseFree
from braindecode_hub_speech_wav2vec.sinusoids import Candidates, Sinusoids
from braindecode_hub_speech_wav2vec.ssvep40 import FREQUENCIES, SHA256, URI, Ssvep40

SAMPLES = 300
"""Of a made-up presentation: 1.2 s."""

QUICK = {"dataset.seconds": 1.0, "targets.sinusoids.0.seconds": 1.0, "split.folds": 3, "decoder.max_steps": 30}


def write(path: Path, *, amplitude: float = 0.25, blocks: int = 3) -> Path:
    """Write made-up EEG in the published layout: every target's flicker, at a phase of its own, in mixed noise."""
    rng = np.random.default_rng(0)
    noise = np.einsum("cs,bist->ictb", rng.standard_normal((9, 9)), rng.standard_normal((blocks, 40, 9, SAMPLES)))
    phases = 2 * np.pi * np.array(FREQUENCIES)[:, None] * np.arange(SAMPLES) / 250.0
    flicker = np.sin(phases[..., None] + rng.uniform(0, 2 * np.pi, (40, 1, blocks)))
    where = rng.standard_normal(9)
    scipy.io.savemat(path, {"eeg": noise + amplitude * where[None, :, None, None] * flicker[:, None]})
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ssvep40") / "trcadata.mat")


def read(path: Path, **parameters: Any) -> Ssvep40:
    dataset = Ssvep40(**{"seconds": 1.0, **parameters})
    dataset.read(path)
    return dataset


def decoded(path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Run:
    monkeypatch.setattr(Ssvep40, "prepare", lambda self, ctx: self.read(path))
    monkeypatch.setattr(PhaseFree, "control_refits", 3)
    return bdh.run("speech_wav2vec", preset="ssvep40", out=out, folds=1, jobs=1, set={**QUICK, **changes})


# The file


def test_frequencies_are_those_of_the_speller() -> None:
    assert FREQUENCIES[:9] == (8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 8.2)
    assert sorted(FREQUENCIES) == pytest.approx(np.arange(8.0, 15.9, 0.2))


def test_samples_come_out_as_they_went_in(file: Path) -> None:
    eeg, dataset = scipy.io.loadmat(file)["eeg"], read(file)
    recording = dataset.recording("block-2")
    assert recording.brain.data.shape == (9, 40 * SAMPLES)
    assert recording.brain.channels[7] == "Oz"
    for target in (0, 17, 39):
        shown = recording.brain.data[:, target * SAMPLES : (target + 1) * SAMPLES]
        np.testing.assert_array_equal(shown, eeg[target, :, :, 1].astype(np.float32))
    np.testing.assert_allclose(recording.breaks, np.arange(1, 40) * SAMPLES / 250.0)


def test_a_trial_begins_one_latency_behind_the_onset(file: Path) -> None:
    trials = read(file).trials()
    assert len(trials) == 3 * 40
    trial = trials[40 + 9]
    assert (trial.recording, trial.stimulus, trial.stimulus_start) == ("block-2", "9.2 Hz", None)
    assert (trial.start, trial.seconds) == pytest.approx((9 * 1.2 + 0.14, 1.0))
    assert trial.groups == {"subject": "ssvep40", "session": "1", "block": "block-2", "target": "9.2 Hz"}
    assert read(file).stimulus("9.2 Hz", Space("flicker", (1,))).data == np.float32(9.2)


def test_it_asks_for_the_pinned_file(file: Path) -> None:
    asked = {}

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        asked[uri] = sha256
        return file

    Ssvep40(seconds=1.0).prepare(Context(downloads=downloads))
    assert asked == {URI: SHA256}


def test_files_that_cannot_be_are_refused(file: Path, tmp_path: Path) -> None:
    eeg = scipy.io.loadmat(file)["eeg"]
    holed = eeg.copy()
    holed[3, 2, 1, 0] = np.nan
    for content, why in (
        ({"eeg": eeg[:39]}, r"shape \(39, 9"),
        ({"eeg": eeg[..., 0]}, "shape"),
        ({"eeg": holed}, "NaN"),
        ({"meg": eeg}, "KeyError"),
    ):
        scipy.io.savemat(tmp_path / "odd.mat", content)
        with pytest.raises(HubError, match=why):
            read(tmp_path / "odd.mat")
    (tmp_path / "text.mat").write_text("no MATLAB file at all, but long enough to be taken for one\n" * 9)
    for path in (tmp_path / "text.mat", tmp_path / "missing.mat"):
        with pytest.raises(HubError, match="layout"):
            read(path)


def test_mistakes_are_named(file: Path) -> None:
    with pytest.raises(HubError, match="not prepared"):
        Ssvep40().trials()
    with pytest.raises(HubError, match=r"at most 1\.06"):
        read(file, seconds=1.1)
    with pytest.raises(HubError, match="block-1"):
        read(file).recording("block-0")
    with pytest.raises(HubError, match=r"8\.0 Hz"):
        read(file).stimulus("7.0 Hz", Space("flicker", (1,)))
    with pytest.raises(HubError, match="126 Hz at a rate of 250 Hz"):
        Sinusoids(harmonics=10).encode(np.array([[14.0]]))


def test_the_fingerprint_follows_data_and_configuration(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "trcadata.mat", amplitude=0.0)
    assert len({one.fingerprint() for one in (read(file), read(file, seconds=0.5), read(other))}) == 3
    assert read(file).fingerprint() == read(file).fingerprint()


# Scores that do not know the phase


def candidates(count: int = 40, counts: np.ndarray | None = None) -> Candidates:
    templates = Sinusoids(seconds=1.0).encode(np.array(FREQUENCIES[:count])[:, None])
    return Candidates(templates, np.ones(count, int) if counts is None else counts)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_the_cosine_that_core_takes_is_the_score(seed: int | None) -> None:
    rng = np.random.default_rng(seed or 0)
    some = candidates(counts=None if seed is None else rng.integers(1, 9, 40))
    scores = rng.standard_normal((7, 40))
    center = np.average(some.templates.astype(np.float64), axis=0, weights=some.counts)
    cosines = similarity(some.templates, some.placed(scores), center)
    for cosine, score in zip(cosines, scores, strict=True):
        assert np.corrcoef(cosine, score)[0, 1] == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_array_equal(np.argsort(cosine), np.argsort(score))


def test_a_score_does_not_change_with_the_phase() -> None:
    import torch

    from braindecode_hub_speech_wav2vec.phase_free_network import PhaseFreeNetwork

    network = PhaseFreeNetwork(candidates().planes(), np.eye(2, dtype=np.float32))
    times, order = np.arange(250) / 250.0, np.arange(1, 6)[:, None]
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (4, 5, 1))
    turned = np.sin(2 * np.pi * 11.0 * order * times + phases).sum(axis=1)
    with torch.inference_mode():
        scores = network(torch.tensor(np.stack([turned, 0 * turned], axis=1), dtype=torch.float32)).numpy()
    assert [FREQUENCIES[best] for best in scores.argmax(axis=1)] == [11.0] * 4
    np.testing.assert_allclose(scores[:, 3], scores[0, 3], atol=0.05 * np.ptp(scores))
    with_phase = np.abs(candidates().templates[3, 0] @ turned.T)  # the sine alone: what a zero-phase candidate sees
    assert with_phase.min() < 0.7 * with_phase.max()


def test_candidates_that_do_not_fit_the_windows_are_refused(file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(HubError, match="250 samples, its sinusoids have 500"):
        decoded(file, tmp_path, monkeypatch, **{"targets.sinusoids.0.seconds": 2.0})


def test_a_target_that_was_never_trained_on_is_refused() -> None:
    with pytest.raises(HubError, match="never trained on"):
        candidates(3).numbers(candidates(4).templates)


# Decoded


def test_made_up_flicker_is_found_and_what_needs_no_training_is_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = decoded(file, tmp_path, monkeypatch)
    metrics = run.metrics
    top1 = {name: some["identification"] for name, some in (metrics["baselines"] | metrics["controls"]).items()}
    score = metrics["scores"]["identification"]
    assert metrics["flags"] == ["CLOSED SET"]
    assert score["chance"] == 1 / 40
    assert score["p"] < 0.001
    assert score["value"] > top1["untrained"] > 10 / 40
    assert top1["untrained"] > top1["shuffled"]
    assert max(top1["noise"], top1["relabelled"]) < 4 / 40
    assert f"untrained, it reaches {top1['untrained']:.2f}" in str(bdh.verdict.judge(metrics))


def test_nothing_is_found_where_nothing_flickers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = decoded(write(tmp_path / "a.mat", amplitude=0.0), tmp_path / "runs", monkeypatch).metrics
    assert metrics["scores"]["identification"]["p"] > 0.01
    assert metrics["scores"]["identification"]["value"] < 5 / 40


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("network")
def test_real_eeg_is_decoded_in_every_block(tmp_path: Path) -> None:
    metrics = bdh.run("speech_wav2vec", preset="ssvep40", folds=6, out=tmp_path, jobs=2).metrics
    score, controls = metrics["scores"]["identification"], metrics["controls"]
    assert metrics["flags"] == ["CLOSED SET"]
    assert metrics["unit"]["n"] == 240
    assert score["value"] >= 0.9
    assert all(fold["identification"] >= 0.9 for fold in metrics["folds"])
    assert score["p"] <= 0.001
    assert controls["noise"]["identification"] < 2 / 40
    assert controls["relabelled"]["identification"] < 2 / 40
    assert metrics["baselines"]["cca"]["identification"] >= 0.9
    assert 2 / 40 < metrics["baselines"]["untrained"]["identification"] < score["value"]
    assert controls["shuffled"]["identification"] < metrics["baselines"]["untrained"]["identification"]
