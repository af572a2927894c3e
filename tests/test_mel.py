"""Log-mel spectrograms: the numbers that pretrained vocoders expect, at the times that the audio says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech
from braindecode_hub.types import Batch
from braindecode_hub_audio_seeg.mel import (
    Mel,
    MelSpec,
    band_edges,
    empty_bins,
    log_mel_spectrogram,
    mel_filters,
    resample,
)

SPEC = MelSpec()
HTK = MelSpec(scale="htk", norm=None)


def tone(hz: float, seconds: float, rate: float = 22050, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def slow_log_mel(audio: np.ndarray, frame: int) -> np.ndarray:
    """One frame by the definition: a direct Fourier sum at each bin, and triangles drawn in a loop."""
    n = np.arange(1024)
    at = frame * 256 - 512 + n
    at = np.abs(at)
    at = np.where(at >= len(audio), 2 * (len(audio) - 1) - at, at)
    windowed = audio[at] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 1024))
    magnitude = np.array([abs(np.sum(windowed * np.exp(-2j * np.pi * k * n / 1024))) for k in range(513)])

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(8) / np.log(6.4)
    out = np.zeros(80)
    for band in range(80):
        left, peak, right = (hz(top * (band + i) / 81) for i in range(3))
        for k, value in enumerate(magnitude):
            f = k * 22050 / 1024
            if left < f <= peak:
                out[band] += value * (f - left) / (peak - left) * 2 / (right - left)
            elif peak < f < right:
                out[band] += value * (right - f) / (right - peak) * 2 / (right - left)
    return np.log(np.maximum(out, 1e-5))


@pytest.mark.parametrize("frame", [0, 1, 37, 84, 85, 86])
def test_every_number_follows_the_definition(frame: int) -> None:
    audio = speech.audio("ferry")[20000 : 20000 + 22050].astype(np.float64)
    mel = log_mel_spectrogram(audio, SPEC)
    assert mel.shape == (1 + 22050 // 256, 80)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel[frame], slow_log_mel(audio, frame), atol=2e-5)


def test_golden_values_of_a_tone() -> None:
    """A sine of amplitude .5 on bin 40 of the Fourier transform has magnitudes 64, 128, 64 under the Hann
    window.

    Slaney's scale is linear there, 66.67 Hz a mel, and 8 kHz is mel 45.245: the filters are 37.24 Hz apart,
    equal in area, and together weigh each magnitude by 1 / 37.24. The tone stands at filter spacing 23.13, so
    in filter 22.
    """
    mel = log_mel_spectrogram(tone(40 * 22050 / 1024, 1.0), SPEC)[40]
    assert mel.argmax() == 22
    assert np.isclose(np.exp(mel[15:30]).sum(), 256 / 37.2387, rtol=1e-3)
    assert log_mel_spectrogram(tone(1016, 1.0), HTK)[40].argmax() == 28  # mel 1011.4 of 2840.0: 28.85 of 81
    assert np.all(log_mel_spectrogram(np.zeros(5000), SPEC) == np.float32(np.log(1e-5)))


@pytest.mark.parametrize("spec", [SPEC, HTK, MelSpec(n_mels=40, fmin=125.0, fmax=7600.0, scale="htk")])
def test_filters_are_those_of_librosa(spec: MelSpec) -> None:
    filters = pytest.importorskip("librosa").filters.mel(
        sr=spec.rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.fmax,
        htk=spec.scale == "htk", norm=spec.norm, dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(mel_filters(spec), filters, atol=1e-12)


def test_wrong_filters_are_nats_off() -> None:
    """Un-normalised HTK mels of the same speech: a pretrained vocoder makes noise of them."""
    audio = speech.audio("stars")[: 22050 * 10]
    ours, theirs = log_mel_spectrogram(audio, SPEC), log_mel_spectrogram(audio, HTK)
    loud = ours.mean(axis=1) > -7
    assert 3.0 < (theirs - ours)[loud].mean() < 5.0


def test_a_shorter_window_is_centred() -> None:
    short = dataclasses.replace(SPEC, win=512)
    click = np.zeros(22050)
    click[256 * 40] = 1.0
    mel = log_mel_spectrogram(click, short)
    alive = np.flatnonzero(mel.max(axis=1) > np.log(1e-5) + 1e-3)
    assert alive.tolist() == [40]


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 512, 513, 1024])
def test_short_audio_has_its_frames(samples: int) -> None:
    mel = log_mel_spectrogram(np.full(samples, 0.25), SPEC)
    assert mel.shape == (1 + samples // 256, 80)
    assert np.isfinite(mel).all()


def test_integers_are_divided_by_full_scale() -> None:
    audio = np.round(tone(440, 0.5) * 32768).astype(np.int16)
    np.testing.assert_array_equal(log_mel_spectrogram(audio, SPEC), log_mel_spectrogram(audio / 32768, SPEC))
    wide = audio.astype(np.int32) * 65536
    np.testing.assert_array_equal(log_mel_spectrogram(wide, SPEC), log_mel_spectrogram(audio / 32768, SPEC))


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros((100, 2)), r"shape \(100, 2\).*\n.*average"),
        (np.zeros(0), "empty"),
        (np.array([0.0, np.nan, 0.0, np.inf]), "2 samples .* first at 1"),
        (np.zeros(5, complex), "complex"),
    ],
)
def test_what_is_no_audio_is_refused(audio: np.ndarray, words: str) -> None:
    with pytest.raises(HubError, match=words):
        log_mel_spectrogram(audio, SPEC)


def test_specs_compare_and_name_their_differences() -> None:
    assert MelSpec() == SPEC
    assert SPEC.differences(SPEC) == ""
    assert SPEC.differences(HTK) == "scale slaney, not htk; norm slaney, not None"
    assert SPEC.frame_rate == 22050 / 256
    for wrong in ({"fmax": 12000.0}, {"win": 2048}, {"scale": "bark"}, {"floor": 0.0}):
        with pytest.raises(HubError):
            MelSpec(**wrong)  # type: ignore[arg-type]


def test_bins_above_the_sources_nyquist_are_known() -> None:
    empty = empty_bins(SPEC, 11025)
    assert empty.sum() == 8
    assert empty[72:].all()
    assert band_edges(SPEC)[72] > 11025 / 2 > band_edges(SPEC)[71]
    assert not empty_bins(SPEC, 22050).any()
    audio = np.random.default_rng(0).normal(size=11025) * 0.1
    mel = log_mel_spectrogram(resample(audio, 11025, 22050), SPEC)
    assert mel[5:-5, 75:].max() < mel[5:-5, :60].min() - 2


@pytest.mark.parametrize("rate", [8000.0, 11025.0, 16000.0, 24414.0625, 44100.0, 48000.0])
def test_frames_stand_at_the_same_second_at_any_rate(rate: float) -> None:
    """A click at second 0.8 and a chirp: the mel from resampled audio is the mel from native audio."""

    def sound(at: float) -> np.ndarray:
        t = np.arange(round(1.6 * at)) / at
        return np.sin(2 * np.pi * (300 * t + 400 * t**2)) * np.exp(-(((t - 0.8) / 0.1) ** 2)) * 0.5

    native = Mel().encode(sound(22050)[None], Batch(None, [], 22050.0))[0]
    other = Mel().encode(sound(rate)[None], Batch(None, [], rate))[0]
    frames = min(len(native), len(other))
    assert abs(len(native) - len(other)) <= 1
    loud = native[:frames] > -6
    assert loud.sum() > 100
    np.testing.assert_allclose(other[:frames][loud], native[:frames][loud], atol=2e-2)


def test_resampling_keeps_the_band_and_stops_aliases() -> None:
    kept = resample(tone(8000, 1.0, 48000), 48000, 22050)[2000:-2000]
    assert np.isclose(np.abs(kept).max(), 0.5, atol=1e-3)
    alias = resample(tone(15000, 1.0, 48000), 48000, 22050)[2000:-2000]
    assert np.abs(alias).max() < 1e-4
    with pytest.raises(HubError, match="too slow"):
        resample(np.zeros(100), 100.0, 22050)


def test_the_encoder_is_its_spec() -> None:
    encoder = Mel(n_mels=40, scale="htk")
    assert Mel(**encoder.configuration()).spec == encoder.spec == MelSpec(n_mels=40, scale="htk")
    assert encoder.produces.refuses(Mel(n_mels=40).produces) is None
    assert Mel().produces.rate == 86.1328125
    audio = np.stack([tone(300, 1.0), tone(600, 1.0)])
    assert encoder.encode(audio).shape == (2, 87, 40)


@pytest.mark.parametrize("rate", [22050.0, 11025.0, 44100.0])
def test_support_is_what_it_says(rate: float) -> None:
    """Noise beyond `support_s` from a frame leaves it bit for bit as it was."""
    rng = np.random.default_rng(1)
    audio = rng.normal(size=(1, int(rate))) * 0.1
    other = audio.copy()
    other[:, int(0.5 * rate) :] = rng.normal(size=other[:, int(0.5 * rate) :].shape)
    encoder = Mel()
    before, after = (encoder.encode(x, Batch(None, [], rate))[0] for x in (audio, other))
    last = int((0.5 - encoder.support_s) * encoder.spec.frame_rate)
    np.testing.assert_allclose(before[: last + 1], after[: last + 1], atol=1e-6)
    assert np.abs(before[last + 4 :] - after[last + 4 :]).max() > 0.5
