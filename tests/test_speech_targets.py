"""Targets made of sound: frames at the times that the audio says, and audio that is none, named."""

from __future__ import annotations

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech
from braindecode_hub.types import Array, Batch
from braindecode_hub_speech_wav2vec.audio import at_16_khz, mono
from braindecode_hub_speech_wav2vec.mel import Mel, mel_power
from braindecode_hub_speech_wav2vec.trf_features import Envelope, Onset, envelope, onset


def click(at_s: float, rate: float, seconds: float = 2.0) -> Array:
    """A short burst of 1 kHz in faint noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    return noise + np.sin(2 * np.pi * 1000 * t) * np.exp(-(((t - at_s) / 0.008) ** 2))


# Audio


def test_stereo_is_averaged_and_integers_are_full_scale() -> None:
    left, right = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 1000))
    np.testing.assert_allclose(mono(np.stack([left, right], axis=1)), (left + right) / 2)
    np.testing.assert_allclose(mono(np.array([0, -32768, 16384], np.int16)), [0.0, -1.0, 0.5])


@pytest.mark.parametrize("rate", [8000.0, 11025.0, 22050.0, 44100.0, 48000.0])
def test_resampling_keeps_the_time_and_the_level(rate: float) -> None:
    t = np.arange(round(rate)) / rate
    out = at_16_khz(np.sin(2 * np.pi * 440 * t), rate)
    middle = slice(2000, 14000)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(out)) / 16000)
    np.testing.assert_allclose(out[middle], expected[middle], atol=2e-3)


@pytest.mark.parametrize(
    ("audio", "rate", "told"),
    [
        (np.zeros(20_000), 16000.0, "silent"),
        (np.full(20_000, 0.25), 16000.0, "silent"),
        (np.r_[np.ones(9_000), np.nan], 16000.0, "NaN"),
        (np.zeros(0), 16000.0, "shape"),
        (np.random.default_rng(0).standard_normal(300), 16000.0, "shorter"),
        (np.random.default_rng(0).standard_normal(300), 1000.0, "too slow"),
        (np.random.default_rng(0).standard_normal((2, 9000)), 16000.0, "shape"),
    ],
)
def test_audio_that_is_none_is_named(audio: Array, rate: float, told: str) -> None:
    with pytest.raises(HubError, match=told):
        Mel().encode(audio[None], Batch(audio[None], [], rate))


# Mel, envelope, onset


@pytest.mark.parametrize("rate", [16000.0, 22050.0, 44100.0])
@pytest.mark.parametrize("frame_rate", [50.0, 100.0, 120.0])
def test_mel_frames_stand_at_their_times(rate: float, frame_rate: float) -> None:
    audio = click(0.9, rate)
    mel = Mel(rate=frame_rate).encode(audio[None], Batch(audio[None], [], rate))[0]
    assert mel.shape == (int(2.0 * frame_rate) + 1, 40)
    assert mel.dtype == np.float32
    power = 10.0**mel
    centre = np.average(np.arange(len(mel)) / frame_rate, weights=power.sum(axis=1) - np.median(power.sum(axis=1)))
    assert abs(centre - 0.9) < 0.002


def test_the_mel_of_white_noise_is_what_parseval_says() -> None:
    """Noise at −26 dB has power 1 in every FFT bin, so a filter gives the sum of its weights."""
    from braindecode_hub_speech_wav2vec.mel import mel_filters

    audio = 10 ** (-26 / 20) * np.random.default_rng(0).standard_normal(16_000 * 30)
    ratio = mel_power(audio, 16000.0)[5:-5].mean(axis=0) / mel_filters(40).sum(axis=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.1)
    assert (mel_filters(120).sum(axis=1) > 0).all()


def test_the_mel_of_a_piece_is_that_of_the_whole_beyond_its_support() -> None:
    audio, step = speech.audio("ferry")[: 22050 * 8], Mel()
    whole = step.encode(audio[None], Batch(audio[None], [], 22050.0))[0]
    piece = audio[22050 * 2 : 22050 * 6]
    part = step.encode(piece[None], Batch(piece[None], [], 22050.0))[0]
    edge = int(np.ceil(step.support_s * 50)) + 1
    np.testing.assert_allclose(part[edge : 200 - edge], whole[100 + edge : 300 - edge], atol=1e-4)


def test_onsets_are_where_the_envelope_rises() -> None:
    audio = click(0.9, 16000.0)
    found = Envelope().encode(audio[None], Batch(audio[None], [], 16000.0))[0]
    rises = Onset().encode(audio[None], Batch(audio[None], [], 16000.0))[0]
    assert found.shape == rises.shape == (101, 1)
    assert found[:, 0].argmax() == 45
    assert rises[:, 0].argmax() in (44, 45)
    assert rises.min() == 0.0 and np.all(rises[47:60] < 0.2 * rises.max())
    np.testing.assert_allclose(onset(envelope(audio, 16000.0), 50.0), rises, rtol=1e-4, atol=1e-4)
