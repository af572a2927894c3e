"""High-gamma envelopes: right amplitudes, right times, nothing from beyond their reach."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import scipy.signal

from braindecode_hub.errors import HubError
from braindecode_hub.types import Batch, Recording, Signal
from braindecode_hub_audio_seeg.bandpass import averages, band_kernel, pass_bands
from braindecode_hub_audio_seeg.highgamma import HighGamma, high_gamma_envelope
from braindecode_hub_audio_seeg.referencing import Reference, shafts_of

RATE = 1024.0


def sine(hz: float, seconds: float = 10, rate: float = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)[None]


def potentials(channels: int = 4, seconds: float = 12, seed: int = 0, rate: float = RATE) -> np.ndarray:
    """Brown noise on an offset: slow waves a thousand times larger than high gamma."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(channels, round(seconds * rate)))
    return (np.cumsum(steps, axis=-1) * 20 + 5000).astype(np.float32)


def recording(names: list[str], **more: Any) -> Recording:
    return Recording("r", "s", "1", Signal(None, RATE, "seeg", tuple(names)), **more)


def encode(x: np.ndarray, sensors: Recording | None = None, at: float = RATE, **how: Any) -> np.ndarray:
    return np.asarray(HighGamma(**how).encode(x[None], Batch(None, [], at, recording=sensors))[0])


def middle(x: np.ndarray) -> float:
    return float(x[..., x.shape[-1] // 4 : -x.shape[-1] // 4].mean())


# The envelope


@pytest.mark.parametrize(("hz", "golden"), [(120, 0.797), (150, 0.793), (100, 0.006)])
def test_legacy_gives_the_published_amplitudes(hz: float, golden: float) -> None:
    envelope = high_gamma_envelope(sine(hz, 60), RATE, legacy=True)
    assert envelope.dtype == np.float64
    assert np.isclose(envelope.mean(), golden, atol=0.003)


def test_legacy_is_its_recipe() -> None:
    """Transfer functions instead of filters: |H|² of each of the three, on the spectrum of a long signal."""
    hz = np.array([75.0, 99.0, 101.5, 120.0, 150.0, 165.0])
    gain = np.ones(len(hz))
    for mid in (50, 100):
        b = scipy.signal.ellip(8, 0.5, 60, (mid - 0.5, mid + 0.5), "bandstop", output="zpk", fs=RATE)
        gain *= np.abs(scipy.signal.freqz_zpk(*b, worN=hz, fs=RATE)[1]) ** 2
    b = scipy.signal.butter(8, (70, 170), "bandpass", output="zpk", fs=RATE)
    gain *= np.abs(scipy.signal.freqz_zpk(*b, worN=hz, fs=RATE)[1]) ** 2
    measured = [middle(high_gamma_envelope(sine(f, 40), RATE, legacy=True)) for f in hz]
    np.testing.assert_allclose(measured, gain, atol=2e-3)


def test_a_sine_in_the_band_gives_its_amplitude_and_the_line_nothing() -> None:
    for hz in (80, 90, 110, 120, 125, 135, 160):
        assert np.isclose(middle(high_gamma_envelope(3 * sine(hz), RATE)), 3.0, rtol=0.02), hz
    for hz in (10, 50, 60, 65, 100, 150, 175, 200, 300):
        assert middle(high_gamma_envelope(sine(hz), RATE)) < 1e-3, hz
    assert np.isclose(middle(high_gamma_envelope(sine(70), RATE)), 0.5, atol=0.01)
    assert middle(high_gamma_envelope(sine(120), RATE, line_freq=60)) < 1e-3
    assert middle(high_gamma_envelope(sine(150), RATE, line_freq=60)) > 0.98
    assert middle(high_gamma_envelope(sine(150), RATE, line_freq=0)) > 0.98
    assert np.all(high_gamma_envelope(np.full((1, 5000), 8000.0), RATE) < 1e-6)


def test_the_envelope_is_a_plain_convolution() -> None:
    x = potentials(seconds=9)
    kernel = band_kernel(RATE, 70, 170, 50)
    padded = np.pad(x.astype(np.float64), ((0, 0), (512, 512)), mode="reflect")
    direct = np.stack([np.abs(np.convolve(channel, kernel, "valid")) for channel in padded])
    envelope = high_gamma_envelope(x, RATE)
    assert envelope.dtype == np.float32
    np.testing.assert_allclose(envelope, direct, atol=1e-5 * direct.mean())


def test_an_amplitude_modulation_comes_back_in_time() -> None:
    """Linear phase: a 3 Hz modulation of a 120 Hz carrier returns without delay or loss."""
    t = np.arange(10 * 1024) / RATE
    wanted = 1 + 0.5 * np.sin(2 * np.pi * 3 * t)
    envelope = high_gamma_envelope((wanted * np.sin(2 * np.pi * 120 * t))[None], RATE)[0]
    np.testing.assert_allclose(envelope[600:-600], wanted[600:-600], atol=0.01)


@pytest.mark.parametrize("legacy", [False, True])
def test_integers_give_real_numbers(legacy: bool) -> None:
    x = np.round(potentials(2, 4) / 4).astype(np.int16)
    ours = high_gamma_envelope(x, RATE, legacy=legacy)
    assert ours.dtype.kind == "f"
    np.testing.assert_array_equal(ours, high_gamma_envelope(x.astype(np.float64), RATE, legacy=legacy))


def test_channels_do_not_touch_one_another() -> None:
    x = potentials(11, 3)
    together = high_gamma_envelope(x, RATE)
    np.testing.assert_array_equal(together[9:10], high_gamma_envelope(x[9:10], RATE))


@pytest.mark.parametrize(
    ("x", "rate", "words"),
    [
        (np.zeros((2, 999)), 340.0, "340 Hz holds nothing up to 170"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), RATE, "channel 1 .* sample 1"),
        (np.zeros(999), RATE, "channels, time"),
        (np.zeros((2, 0)), RATE, "channels, time"),
    ],
)
def test_what_cannot_be_filtered_is_refused(x: np.ndarray, rate: float, words: str) -> None:
    for legacy in (False, True):
        with pytest.raises(HubError, match=words):
            high_gamma_envelope(x, rate, legacy=legacy)


def test_bands_are_what_the_line_leaves() -> None:
    assert pass_bands(70, 170, 50) == [(70, 97.5), (102.5, 147.5), (152.5, 170)]
    assert pass_bands(70, 170, 60) == [(70, 117.5), (122.5, 170)]
    assert pass_bands(70, 150, 50) == [(70, 97.5), (102.5, 147.5)]
    assert pass_bands(70, 170, 0) == [(70, 170)]
    with pytest.raises(HubError, match="nothing of"):
        pass_bands(99, 101, 50)


# The encoder


def test_frames_stand_where_they_say() -> None:
    """A burst at second 3.5 peaks in frame 350, at any rate of the recording."""
    for rate in (500.0, 1000.0, 1024.0, 2048.0, 1999.7):
        t = np.arange(round(6 * rate)) / rate
        burst = np.exp(-(((t - 3.5) / 0.05) ** 2)) * np.sin(2 * np.pi * 120 * t) + 1e-4 * np.sin(700 * t)
        out = encode(burst[None], at=rate)
        assert out.shape == (1, 1 + int((len(t) - 1) * 100 / rate))
        assert out.argmax() == 350


def test_the_encoder_averages_the_envelope() -> None:
    """By the definition: the root of the mean power under a Hann window of ± 20 ms around n / 100."""
    x = potentials(2, 5)
    power = high_gamma_envelope(x, RATE).astype(np.float64) ** 2
    out = encode(x, log=False)
    for frame in (0, 1, 123, 250, out.shape[1] - 1):
        distance = (np.arange(x.shape[1]) / RATE - frame / 100) / 0.02
        weight = np.where(np.abs(distance) < 1, 1 + np.cos(np.pi * distance), 0)
        np.testing.assert_allclose(out[:, frame] ** 2, power @ weight / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(encode(x), np.log(out), atol=1e-5)


def test_averaging_does_not_alias() -> None:
    weights = averages(10 * 1024, RATE, 100.0)
    for hz in (60.0, 98.0, 130.0):
        out = weights @ np.sin(2 * np.pi * hz * np.arange(10 * 1024) / RATE)
        assert np.abs(out[10:-10]).max() < 0.03, hz
    with pytest.raises(HubError, match="2000 frames"):
        averages(1000, RATE, 2000.0)


@pytest.mark.parametrize("how", [{}, {"rate": None}, {"rate": 64.0, "log": False}, {"reference": "car"}])
@pytest.mark.parametrize("rate", [1024.0, 1000.0])
def test_chunks_equal_the_whole(how: dict[str, Any], rate: float) -> None:
    x = potentials(seconds=31, rate=rate)
    whole = encode(x, at=rate, **how)
    encoder = HighGamma(**how)
    frames = encoder.frame_rate or rate
    assert encoder.support_s is not None
    margin = int(np.ceil(encoder.support_s))
    for start, stop in ((0, 7), (7, 20), (20, 31)):
        first, last = max(0, start - margin), min(31, stop + margin)
        part = encode(x[:, int(first * rate) : int(last * rate)], at=rate, **how)
        skip = int((start - first) * frames)
        wanted = whole[:, int(start * frames) : int(stop * frames)]
        part = part[:, skip : skip + wanted.shape[1]]
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).mean())


@pytest.mark.parametrize("how", [{}, {"rate": None}, {"reference": "car", "rate": 50.0}])
def test_nothing_beyond_the_support_is_seen(how: dict[str, Any]) -> None:
    x = potentials(seconds=8)
    changed = x.copy()
    changed[:, 4 * 1024 :] = potentials(seconds=4, seed=9) * 3
    before, after = encode(x, **how), encode(changed, **how)
    encoder = HighGamma(**how)
    frames = encoder.frame_rate or RATE
    assert encoder.support_s is not None and encoder.support_s < 0.6
    last = int((4 - encoder.support_s) * frames)
    np.testing.assert_allclose(before[:, :last], after[:, :last], atol=1e-6)
    assert np.abs(before[:, last + int(0.3 * frames) :] - after[:, last + int(0.3 * frames) :]).max() > 0.1


def test_legacy_encodes_exactly_the_function_unless_asked() -> None:
    x = potentials(3, 6)
    function = high_gamma_envelope(x, RATE, legacy=True)
    np.testing.assert_allclose(encode(x, legacy=True), function, rtol=1e-6)
    assert HighGamma(legacy=True).support_s is None
    assert HighGamma(legacy=True).produces.rate == "*"
    asked = encode(x, legacy=True, rate=100.0, log=True)
    assert asked.shape == (3, 600)
    with pytest.raises(HubError, match="too few"):
        encode(x[:, :50], legacy=True)


def test_bad_and_flat_channels_are_zero_and_do_no_harm() -> None:
    x = potentials(4, 6)
    x[1] = np.nan
    x[2] = 17.0
    out = encode(x, recording(["A1", "A2", "A3", "A4"], bads=("A2",)), reference="car")
    assert not out[1].any() and not out[2].any()
    assert np.isfinite(out).all() and out[0].std() > 0.1
    with pytest.raises(HubError, match="channel A2 holds NaN"):
        encode(x, recording(["A1", "A2", "A3", "A4"]))
    with pytest.raises(HubError, match="no channel has a name"):
        encode(x, recording([], bads=("A2",)))


def test_a_dropout_is_zero_where_it_is_flat() -> None:
    x = potentials(1, 9)
    x[:, 3 * 1024 : 6 * 1024] = x[0, 3 * 1024]
    out = encode(x)[0]
    assert not out[315:585].any()
    assert np.all(out[:280] != 0) and np.all(out[620:] != 0)


def test_the_line_is_the_recordings_or_fifty() -> None:
    x = sine(120) + 1e-3 * sine(80)
    american = recording(["A1"], line_freq=60.0)
    assert middle(encode(x, log=False)) > 0.98
    assert middle(encode(x, american, log=False)) < 2e-3
    assert middle(encode(x, american, log=False, line_freq=50.0)) > 0.98
    assert middle(encode(sine(100), log=False, line_freq=0)) > 0.98


def test_common_noise_leaves_with_the_common_average() -> None:
    rng = np.random.default_rng(3)
    own, common = rng.normal(size=(16, 8192)), 30 * rng.normal(size=8192)
    clean, noisy = encode(own, log=False), encode(own + common, log=False)
    cleaned = encode(own + common, log=False, reference="car")
    assert noisy.mean() > 10 * clean.mean()
    assert np.corrcoef(clean.ravel(), cleaned.ravel())[0, 1] > 0.9
    with pytest.raises(HubError, match="1 good channel"):
        encode(own[:1], reference="car")


def test_bipolar_pairs_neighbours_on_a_shaft() -> None:
    names = ["LA1", "LA10", "LA2", "LB1", "LB2", "LB3", "LC1"]
    sensors = recording(names, bads=("LB2",))
    assert shafts_of(sensors) == ("LA", "LA", "LA", "LB", "LB", "LB", "LC")
    found = Reference.of("bipolar", 7, sensors)
    pairs = {names[row]: names[found.partner[row]] for row in found.alive}
    assert pairs == {"LA1": "LA2", "LA2": "LA10", "LA10": "LA2", "LB1": "LB3", "LB3": "LB1"}
    x = potentials(7, 4)
    out = encode(x, sensors, reference="bipolar", log=False)
    assert not out[4].any() and not out[6].any()
    np.testing.assert_allclose(out[0], encode(x[:1] - x[2:3].astype(float), log=False)[0], rtol=1e-5)
    named = recording(names, shafts=("p",) * 6 + ("q",))
    assert Reference.of("bipolar", 7, named).partner.tolist()[-1] == -1
    with pytest.raises(HubError, match="share a shaft"):
        encode(x, reference="bipolar")


def test_the_encoder_says_what_it_lacks() -> None:
    with pytest.raises(HubError, match="sampling rate"):
        HighGamma().encode(np.zeros((1, 1, 1000)))
    with pytest.raises(HubError, match="names for 2 channels"):
        encode(np.zeros((2, 2000)), recording(["A1"]))
    with pytest.raises(HubError, match="unknown"):
        encode(np.zeros((2, 2000)), reference="laplace")


@pytest.mark.slow
def test_a_minute_of_a_hundred_channels_is_cheap() -> None:
    x = np.random.default_rng(0).normal(size=(100, 60 * 1024)).astype(np.float32)
    encode(x[:1])
    begin = time.process_time()
    encode(x, reference="car")
    assert time.process_time() - begin < 0.8
