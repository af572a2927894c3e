"""Speech scores: what counts as speech, what loudness alone would earn, and what silence must not."""

from __future__ import annotations

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.metrics import correlation_per_unit
from braindecode_hub.phantom import speech
from braindecode_hub_audio_seeg.mel import log_mel_spectrogram
from braindecode_hub_audio_seeg.scores import (
    MelCorrelation,
    MelCorrelationSpeech,
    loudness_oracle,
    speech_frames,
)

STORIES = speech.stories()


def mel_of(story: str) -> np.ndarray:
    return log_mel_spectrogram(speech.audio(story))


def spoken(story: speech.Story, frames: int) -> np.ndarray:
    """Which frames are centred inside a word."""
    at = np.arange(frames) * 256 / 22050
    out = np.zeros(frames, bool)
    for word in story.words:
        out |= (at >= word.start) & (at < word.stop)
    return out


def in_units(mel: np.ndarray, frames: int = 431) -> np.ndarray:
    """Cut into 5 s blocks: (units, frames, bins)."""
    return mel[: len(mel) // frames * frames].reshape(-1, frames, mel.shape[1])


@pytest.mark.parametrize("story", STORIES, ids=[story.id for story in STORIES])
def test_speech_frames_are_those_of_the_words(story: speech.Story) -> None:
    mel = mel_of(story.id)
    words, found = spoken(story, len(mel)), speech_frames(mel)
    assert found.shape == (len(mel),) and found.dtype == bool
    assert found[words].mean() > 0.92  # stops are silent inside words
    assert found[~words].mean() < 0.08


def test_speech_frames_do_not_depend_on_volume_or_on_empty_bins() -> None:
    mel = mel_of("train").astype(np.float64)
    clear = mel.mean(axis=1) > -9  # away from the floor, where volume cannot shift
    louder = np.where(clear[:, None], mel + 2.0, mel)
    np.testing.assert_array_equal(speech_frames(louder), speech_frames(mel))
    padded = np.concatenate([mel, np.full((len(mel), 8), np.log(1e-5))], axis=1)
    assert (speech_frames(padded) == speech_frames(mel)).mean() > 0.95


def test_the_loud_frames_of_all_units_are_the_measure() -> None:
    """A unit of mere background has no speech, although each frame of it is as loud as the others."""
    mel = in_units(mel_of("ferry"))[:3].copy()
    mel[1] = -10.0 + 0.1 * np.random.default_rng(0).normal(size=mel[1].shape)
    mask = speech_frames(mel)
    assert mask.shape == mel.shape[:2]
    assert not mask[1].any() and mask[0].mean() > 0.6
    assert speech_frames(np.full((2, 5, 80), -3.0)).all()
    assert speech_frames(np.zeros((0, 80))).shape == (0,)
    with pytest.raises(HubError, match="NaN"):
        speech_frames(np.full((5, 80), np.nan))


def test_the_oracle_is_a_regression_on_loudness() -> None:
    train, test = mel_of("ferry").astype(np.float64), mel_of("train").astype(np.float64)
    predicted = loudness_oracle(train, test)
    for mel_bin in (0, 40, 79):
        slope, intercept = np.polyfit(train.mean(axis=1), train[:, mel_bin], 1)
        np.testing.assert_allclose(predicted[:, mel_bin], slope * test.mean(axis=1) + intercept, atol=1e-8)
    flat = loudness_oracle(np.full((10, 4), 2.0), np.ones((3, 4)))
    np.testing.assert_array_equal(flat, np.full((3, 4), 2.0))


def test_loudness_earns_much_over_all_frames_and_less_over_speech() -> None:
    train = np.concatenate([mel_of(story.id) for story in STORIES[:4]])
    target = mel_of("mountain")
    metrics = (MelCorrelation(), MelCorrelationSpeech())
    scores = []
    for metric in metrics:
        oracle = in_units(metric.references(train, target)["loudness_oracle"])
        scores.append(metric.per_unit(in_units(target), oracle).mean())
    assert scores[0] > 0.8
    assert scores[1] < scores[0] - 0.15


def test_a_silence_detector_earns_nothing_over_speech() -> None:
    """Two levels, speech and pause, known without error: .7 over all frames, near nothing over speech."""
    target = in_units(mel_of("garden")).astype(np.float64)
    detector = speech_frames(target)[..., None] * np.ones(80)
    assert MelCorrelation().per_unit(target, detector).mean() > 0.6
    assert np.abs(MelCorrelationSpeech().per_unit(target, detector)).max() < 1e-9


def test_the_metrics_are_correlations_over_time() -> None:
    rng = np.random.default_rng(0)
    target = in_units(mel_of("radio"))[:4]
    predicted = target + rng.normal(size=target.shape)
    plain, spoken_only = MelCorrelation(), MelCorrelationSpeech()
    assert plain.mask(target) is None
    np.testing.assert_allclose(
        plain.per_unit(target, predicted),
        [
            np.mean([np.corrcoef(t[:, b], p[:, b])[0, 1] for b in range(80)])
            for t, p in zip(target, predicted, strict=True)
        ],
        atol=1e-6,
    )
    mask = spoken_only.mask(target)
    np.testing.assert_allclose(
        spoken_only.per_unit(target, predicted), correlation_per_unit(target, predicted, mask), atol=0
    )
    again = [
        np.mean([np.corrcoef(t[m, b], p[m, b])[0, 1] for b in range(80)])
        for t, p, m in zip(target, predicted, mask, strict=True)
    ]
    np.testing.assert_allclose(spoken_only.per_unit(target, predicted), again, atol=1e-3)
    constant = np.broadcast_to(target.mean(axis=1, keepdims=True), target.shape)
    assert np.abs(plain.per_unit(target, constant)).max() < 1e-9
    np.testing.assert_allclose(plain.per_unit(target, target), 1.0, atol=1e-9)
