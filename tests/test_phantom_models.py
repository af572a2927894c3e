"""The forward models do what they say: a planted signal is found where it was planted, and only there."""

from __future__ import annotations

import itertools
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import signal

from braindecode_hub.phantom import cochlea, eeg, noise, seeg, speech

RATE = speech.RATE


@cache
def drives() -> Any:
    """Drives (16, frames) at 100 Hz of all shipped stories, half a second of silence after each."""
    gap = np.zeros((16, 50), np.float32)
    parts = [part for story in speech.stories() for part in (cochlea.cochleagram(speech.audio(story.id), RATE), gap)]
    return np.concatenate(parts, axis=1)


@cache
def statistics() -> cochlea.DriveStatistics:
    return cochlea.drive_statistics(drives(), 100)


@cache
def recording(snr: float, seconds: int = 120) -> Any:
    model = seeg.SeegModel(snr=snr)
    return model.simulate(drives()[:, : 100 * seconds], 100, np.random.default_rng(5), statistics())


def high_gamma(x: Any, rate: float) -> Any:
    """Ln power between 70 and 170 Hz without mains, at 100 Hz: a plain time-domain front end."""
    x = x - x.mean(axis=0)
    x = signal.sosfiltfilt(signal.butter(4, (70, 170), "band", fs=rate, output="sos"), x, axis=1)
    for harmonic in (100, 150):
        x = signal.sosfiltfilt(signal.butter(2, (harmonic - 2, harmonic + 2), "stop", fs=rate, output="sos"), x, axis=1)
    power = signal.fftconvolve(x**2, np.hanning(82)[None] / 40.5, mode="same", axes=1)
    at = np.round(np.arange(int(x.shape[1] / rate * 100)) * rate / 100).astype(int)
    return np.log(np.maximum(power[:, at], 1e-20))


def correlation(a: Any, b: Any) -> Any:
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1) + 1e-30)


def tuned(model: seeg.SeegModel, seconds: int = 120) -> tuple[Any, Any]:
    """The responsive contacts, and their planted ln power (responsive, frames) before the delay."""
    heard = np.flatnonzero(model.responsive_contacts())
    z = statistics().zscore(drives()[:, : 100 * seconds])
    return heard, model.weights()[heard] @ z


def planted_r(snr: float) -> Any:
    model = seeg.SeegModel(snr=snr)
    heard, truth = tuned(model)
    seen = high_gamma(recording(snr), model.rate)[heard]
    shifts = np.round(model.latencies()[heard] * 100).astype(int)
    late = np.stack([np.roll(row, k) for row, k in zip(truth, shifts, strict=True)])
    return correlation(seen[:, 100:-100], late[:, 100:-100])


def ridge_scores(x: Any, y: Any, lags: Any, train: slice, test: slice) -> float:
    """Mean r on `test` of ridge from lagged x (channels, frames) to y, with the penalty that does best there.

    That choice flatters both, and the ridge on many contacts more than the one on the oracle's few sources.
    """
    x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-12)
    wide = np.concatenate([np.roll(x, -k, axis=1) for k in lags])
    mean = y[:, train].mean(axis=1, keepdims=True)
    gram, cross = wide[:, train] @ wide[:, train].T, wide[:, train] @ (y[:, train] - mean).T
    scores = []
    for alpha in 10.0 ** np.arange(0, 7):
        weights = np.linalg.solve(gram + alpha * np.eye(len(gram)), cross)
        scores.append(correlation(weights.T @ wide[:, test], y[:, test]).mean())
    return float(max(scores))


def band_energy(count: int = 16) -> Any:
    """Log energy (count, frames) in bands of the stories' spectra: a target that is not the drives."""
    frames = []
    for story in speech.stories():
        audio = speech.audio(story.id)
        at = np.round(np.arange(np.ceil(audio.size * 100 / RATE)) * RATE / 100).astype(int)
        pieces = np.pad(audio, 512)[at[:, None] + np.arange(1024)] * np.hanning(1024)
        frames += [np.abs(np.fft.rfft(pieces)) ** 2, np.zeros((50, 513))]
    freqs, edges = np.fft.rfftfreq(1024, 1 / RATE), np.geomspace(100, 8000, count + 1)
    power = np.concatenate(frames)
    inside = [(freqs >= low) & (freqs < high) for low, high in itertools.pairwise(edges)]
    return np.stack([np.log(power[:, band].mean(axis=1) + 1e-5) for band in inside])


def test_importing_the_package_loads_no_numpy() -> None:
    code = "import sys, braindecode_hub.phantom; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestCochlea:
    def test_erb_is_glasberg_and_moores(self) -> None:
        assert cochlea.erb(np.array([1000.0]))[0] == pytest.approx(132.64, abs=0.01)
        centres = cochlea.erb_space(80, 7000, 16)
        assert centres[[0, -1]] == pytest.approx([80, 7000])
        assert np.all(np.diff(np.diff(centres)) > 0)

    @pytest.mark.parametrize("rate", [22050, 16000, 44100])
    def test_a_tone_drives_its_own_band(self, rate: int) -> None:
        centres = cochlea.erb_space(80, 7000, 16)
        tone = 0.1 * np.sin(2 * np.pi * centres[9] * np.arange(rate) / rate)
        found = cochlea.cochleagram(tone, rate)
        assert found.shape == (16, 100)
        assert found.dtype == np.float32
        assert found[:, 50:90].mean(axis=1).argmax() == 9

    def test_onsets_stand_out_and_silence_is_zero(self) -> None:
        rng = np.random.default_rng(0)
        sound = np.concatenate([np.zeros(RATE), 0.1 * rng.standard_normal(2 * RATE)])
        found = cochlea.cochleagram(sound, RATE)
        assert not found[:, :90].any()
        assert np.all(found[:, 102:107].mean(axis=1) > 1.8 * found[:, 200:295].mean(axis=1))

    def test_compression(self) -> None:
        sound = np.random.default_rng(0).standard_normal(RATE)
        ratio = cochlea.cochleagram(sound, RATE).sum() / cochlea.cochleagram(0.1 * sound, RATE).sum()
        assert ratio == pytest.approx(10**0.3, rel=0.15)

    def test_a_click_arrives_in_its_frame_also_in_a_later_chunk(self) -> None:
        sound = np.zeros(12 * RATE)
        sound[[2 * RATE, 9 * RATE]] = 1
        found = cochlea.cochleagram(sound, RATE)
        assert found[8:, 150:250].argmax(axis=1) + 150 == pytest.approx(200, abs=1)
        assert np.allclose(found[:, 190:240], found[:, 890:940], atol=1e-4)

    def test_chunks_leave_no_seam(self) -> None:
        sound = np.random.default_rng(0).standard_normal(20 * RATE)
        late = cochlea.cochleagram(sound[5 * RATE :], RATE)
        assert np.allclose(cochlea.cochleagram(sound, RATE)[:, 800:], late[:, 300:], atol=2e-3)

    def test_a_clock_that_is_off_moves_the_frames(self) -> None:
        sound = np.zeros(60 * RATE)
        sound[50 * RATE] = 1
        slow = cochlea.cochleagram(sound, RATE * 0.999)
        assert slow[8:].sum(axis=0).argmax() == pytest.approx(5005, abs=1)

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ValueError, match="11025"):
            cochlea.cochleagram(np.zeros(100), 11025)
        with pytest.raises(ValueError, match="samples"):
            cochlea.cochleagram(np.zeros((100, 2)), RATE)

    def test_statistics_agree_with_the_drives(self) -> None:
        z = statistics().zscore(drives())
        assert np.allclose(statistics().unscore(z), drives(), atol=1e-5)
        assert np.abs(statistics().covariance - np.cov(z)).max() < 0.1


class TestNoise:
    @pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
    def test_pink_falls_as_it_should(self, exponent: float) -> None:
        x = noise.pink(4, 60 * 512, 512, np.random.default_rng(0), exponent=exponent)
        freqs, power = signal.welch(x, 512, nperseg=1024)
        inside = (freqs > 2) & (freqs < 200)
        slope = np.polyfit(np.log(freqs[inside]), np.log(power[:, inside].mean(axis=0)), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.1)
        assert x.std() == pytest.approx(1, abs=0.15)
        assert x.dtype == np.float32

    def test_band_holds_its_band_only(self) -> None:
        x = noise.band(2, 30 * 1024, 1024, np.random.default_rng(0), low=70, high=170)
        freqs, power = signal.welch(x, 1024, nperseg=1024, detrend=False)
        assert power[:, (freqs < 65) | (freqs > 175)].max() < 1e-4 * power.max()
        assert x.std() == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("freq", [50.0, 60.0])
    def test_mains_peaks_at_its_harmonics_and_nowhere_else(self, freq: float) -> None:
        x = noise.line(3, 60 * 512, 512, np.random.default_rng(0), freq=freq)
        freqs, power = signal.welch(x, 512, nperseg=2048)
        power = power.mean(axis=0)
        distance = np.abs(freqs - freq * np.round(freqs / freq))
        peaks = [power[np.abs(freqs - h * freq) < 1].max() for h in range(1, int(255 / freq) + 1)]
        assert min(peaks) > 1e4 * power[(distance > 3) & (freqs < 250)].max()
        assert peaks[0] > 2 * peaks[-1]

    def test_drift_is_slow(self) -> None:
        x = noise.drift(2, 600 * 64, 64, np.random.default_rng(0))
        freqs, power = signal.periodogram(x, 64)
        assert power[:, freqs > 0.11].sum() < 1e-3 * power.sum()

    def test_bad_contacts_are_flat_and_noisy_in_turns(self) -> None:
        x = noise.bad(4, 10000, 1000, np.random.default_rng(0))
        assert not x[0::2].any()
        assert np.all(x[1::2].std(axis=1) > 0.9)

    def test_neighbours_share_their_background(self) -> None:
        positions = np.arange(6)[:, None] * np.array([[0.0035, 0, 0]])
        mixing = noise.along_shaft(positions, 0.007)
        x = noise.pink(6, 200000, 1000, np.random.default_rng(0), exponent=0.0, mixing=mixing)
        assert np.corrcoef(x)[0, 1:3] == pytest.approx(np.exp([-0.5, -1.0]), abs=0.02)

    def test_the_wiener_filter_is_the_textbooks(self) -> None:
        flat = np.ones((65, 1, 1), complex)
        assert noise.wiener(2 * flat, 3 * flat, 4 * flat) == pytest.approx(2 * 3 / (4 * 3 + 4))

    def test_filtering_by_a_delay_delays(self) -> None:
        x = np.random.default_rng(0).standard_normal((1, 1000))
        delay = np.exp(-2j * np.pi * np.arange(65) * 3 / 128)[:, None, None]
        assert noise.filtered(delay, x)[0, 3:] == pytest.approx(x[0, :-3], abs=0.01)

    def test_a_cross_spectrum_adds_up_to_the_covariance(self) -> None:
        x = np.array([[1, 0], [0.8, 0.6]]) @ np.random.default_rng(0).standard_normal((2, 50000))
        both = noise.cross_spectrum(x, 64)
        assert ((2 * both[1:-1].sum(axis=0) + both[0] + both[-1]) / 64).real == pytest.approx(np.cov(x), abs=0.03)


class TestSeeg:
    def test_contacts_lie_on_straight_shafts_in_the_head(self) -> None:
        for seed in range(5):
            positions, names, shafts, bads = seeg.SeegModel(seed=seed).geometry()
            assert len(set(names)) == 48
            assert len(set(shafts)) == 6
            assert set(bads) < set(names)
            assert np.all(((positions / seeg.HEAD) ** 2).sum(axis=1) < 1)
            for shaft in set(shafts):
                steps = np.diff(positions[[name == shaft for name in shafts]], axis=0)
                assert np.linalg.norm(steps, axis=1) == pytest.approx(0.0035)
                assert steps == pytest.approx(np.broadcast_to(steps[0], steps.shape))
        with pytest.raises(ValueError, match="do not fit"):
            seeg.SeegModel(contacts=60, shafts=2).geometry()

    def test_a_third_responds_and_covers_every_band(self) -> None:
        model = seeg.SeegModel()
        weights, heard = model.weights(), model.responsive_contacts()
        assert heard.sum() == 16
        assert np.array_equal(np.abs(weights).sum(axis=1) > 0, heard)
        assert np.all(np.abs(weights).max(axis=0) > 0.1)
        assert np.all((model.latencies() >= 0.05) & (model.latencies() <= 0.2))
        names, bads = model.geometry().names, model.geometry().bads
        assert not any(heard[names.index(name)] for name in bads)

    def test_recordings_look_like_recordings(self) -> None:
        model, x = seeg.SeegModel(), recording(1.0)
        montage = model.geometry()
        good = [name not in montage.bads for name in montage.names]
        flat, noisy = (montage.names.index(name) for name in montage.bads)
        assert x.shape == (48, 120 * 1024)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert np.all((x[good].std(axis=1) > 10e-6) & (x[good].std(axis=1) < 300e-6))
        assert not x[flat].any()
        assert x[noisy].std() > 3 * np.median(x[good].std(axis=1))
        freqs, power = signal.welch(x[good], 1024, nperseg=4096)
        power = np.median(power, axis=0)
        for harmonic in (50, 100, 150, 200):
            near = (np.abs(freqs - harmonic) > 2) & (np.abs(freqs - harmonic) < 8)
            assert power[np.abs(freqs - harmonic) < 1].max() > 5 * power[near].max()

    def test_same_seed_same_bits(self) -> None:
        def once(seed: int, draw: int) -> Any:
            model = seeg.SeegModel(seed=seed)
            return model.simulate(drives()[:, :500], 100, np.random.default_rng(draw), statistics())

        assert np.array_equal(once(0, 1), once(0, 1))
        assert not np.array_equal(once(0, 1), once(0, 2))
        assert not np.array_equal(once(0, 1), once(1, 1))
        assert not np.allclose(seeg.SeegModel(seed=0).weights(), seeg.SeegModel(seed=1).weights())

    def test_without_signal_there_is_none_and_more_is_more(self) -> None:
        means = [planted_r(snr).mean() for snr in (0.0, 0.3, 1.0, 3.0)]
        assert abs(means[0]) < 0.03
        assert np.abs(planted_r(0.0)).max() < 0.12
        assert means[0] < means[1] - 0.05
        assert means[1] < means[2] - 0.1
        assert means[2] < means[3] - 0.1
        assert means[3] > 0.65

    def test_contacts_that_do_not_respond_hold_nothing(self) -> None:
        model = seeg.SeegModel(snr=3.0)
        _, truth = tuned(model)
        montage, heard = model.geometry(), model.responsive_contacts()
        deaf = [not h and n not in montage.bads for h, n in zip(heard, montage.names, strict=True)]
        seen = high_gamma(recording(3.0), model.rate)[deaf]
        loudness = np.roll(np.abs(truth).mean(axis=0), 20)
        assert np.abs(correlation(seen[:, 100:-100], loudness[100:-100])).max() < 0.2

    def test_snr_is_what_the_docstring_says(self) -> None:
        model = seeg.SeegModel(snr=2.0)
        gains = model.gains(statistics())[model.responsive_contacts()]
        explained = (gains @ statistics().zscore(drives())).std(axis=1)
        assert np.sqrt((explained**2).mean()) == pytest.approx(2 * seeg.LN_POWER_SD, rel=0.05)
        carrier = noise.band(4, 200 * 1024, 1024, np.random.default_rng(0), low=70, high=170)
        windows = carrier[:, : carrier.shape[1] // 102 * 102].reshape(4, -1, 102)
        assert np.log((windows**2).mean(axis=-1)).std() == pytest.approx(seeg.LN_POWER_SD, rel=0.15)

    def test_the_planted_latency_is_found(self) -> None:
        model = seeg.SeegModel(snr=3.0)
        heard, truth = tuned(model)
        seen = high_gamma(recording(3.0), model.rate)[heard]
        lags = np.arange(-10, 41)
        inside = slice(100, -100)
        r = [correlation(seen[:, inside], np.roll(truth, k, axis=1)[:, inside]) for k in lags]
        found = lags[np.argmax(r, axis=0)] / 100
        assert np.abs(found - model.latencies()[heard]).max() <= 0.0201

    @pytest.mark.slow
    @pytest.mark.parametrize("snr", [0.3, 1.0, 3.0])
    def test_the_oracle_beats_a_ridge_fitted_on_four_minutes(self, snr: float) -> None:
        model, target = seeg.SeegModel(snr=snr), band_energy()
        x = recording(snr, 305)
        train, test = slice(100, 24000), slice(24200, 30400)
        sources = model.oracle(x, model.rate, statistics())
        assert sources.shape == (16, 30500)
        oracle = ridge_scores(sources, target[:, :30500], range(-20, 21, 4), train, test)
        ridge = ridge_scores(high_gamma(x, model.rate), target[:, :30500], range(0, 31, 2), train, test)
        assert oracle > ridge + 0.01

    def test_the_oracle_hears_nothing_in_silence(self) -> None:
        sources = seeg.SeegModel(snr=1.0).oracle(recording(0.0), 1024.0, statistics())
        assert np.abs(correlation(sources, drives()[:, :12000])).max() < 0.15


class TestEeg:
    def test_the_series_is_the_closed_form_where_all_shells_conduct_alike(self) -> None:
        rng = np.random.default_rng(0)
        sensors = eeg.EegModel().geometry()[0]
        places = rng.standard_normal((5, 3)) * 0.02
        moments = rng.standard_normal((5, 3))
        found = np.einsum("csx,sx->cs", eeg.three_shell(sensors, places, conductivities=(0.33,) * 3), moments)
        assert found == pytest.approx(_one_sphere(sensors, places, moments, 0.33), rel=1e-6, abs=1e-6)

    def test_skull_blurs_and_weakens(self) -> None:
        sensors, place = eeg.EegModel().geometry()[0], np.array([[0.0, 0.0, 0.06]])
        real, bare = (
            eeg.three_shell(sensors, place),
            eeg.three_shell(sensors, place, conductivities=(0.33,) * 3),
        )
        assert np.abs(real[..., 2]).max() < 0.5 * np.abs(bare[..., 2]).max()

    def test_a_radial_dipole_is_seen_above_itself(self) -> None:
        sensors, names, _ = eeg.EegModel().geometry()
        for site in ("Cz", "C3", "Oz", "F4", "T8"):
            place = 0.75 * sensors[[names.index(site)]]
            field = np.einsum("csx,sx->c", eeg.three_shell(sensors, place), place)
            assert names[int((field - field.mean()).argmax())] == site

    def test_a_dipole_in_the_skull_is_refused(self) -> None:
        with pytest.raises(ValueError, match="inside the brain"):
            eeg.three_shell(eeg.EegModel().geometry()[0], np.array([[0, 0, 0.081]]))

    def test_the_cap_is_a_head(self) -> None:
        positions, names, bads = eeg.EegModel(bads=3).geometry()
        at = dict(zip(names, positions, strict=True))
        assert len(at) == 32
        assert len(bads) == 3
        assert np.linalg.norm(positions, axis=1) == pytest.approx(0.092)
        assert at["C3"][0] < 0 < at["C4"][0]
        assert at["Oz"][1] < 0 < at["Fp1"][1]
        assert at["Cz"][2] > 0.09
        assert len(eeg.EegModel(channels=16).geometry()[1]) == 16
        with pytest.raises(ValueError, match="16 or 32"):
            eeg.EegModel(channels=20).geometry()

    def test_blinks_are_frontal(self) -> None:
        model = eeg.EegModel()
        _, names, _ = model.geometry()
        order = [names[i] for i in np.argsort(-model.blink_map())]
        assert set(order[:2]) == {"Fp1", "Fp2"}
        assert np.abs(model.blink_map()[names.index("Oz")]) < 0.1

    def test_kernels_peak_at_p1_n1_and_p2(self) -> None:
        for subject in range(5):
            model = eeg.EegModel(rate=1000, subject=subject)
            for kernel in model.kernels()[:, 2]:
                assert kernel.argmin() == pytest.approx(100, abs=20)
                assert kernel[130:].argmax() + 130 == pytest.approx(180, abs=20)
                assert kernel[:75].argmax() == pytest.approx(50, abs=20)

    def test_the_vertex_goes_negative_100_ms_after_an_onset(self) -> None:
        model = eeg.EegModel(snr=30.0)
        _, names, _ = model.geometry()
        pulses = np.zeros((16, 30000))
        pulses[:, 100::200] = 1
        x = model.simulate(pulses, 100, np.random.default_rng(0))
        mean = np.mean([x[names.index("Cz"), k : k + 64] for k in range(128, 38000, 256)], axis=0)
        assert mean.argmin() / 128 == pytest.approx(0.1, abs=0.02)

    def test_recordings_look_like_recordings(self) -> None:
        model = eeg.EegModel(bads=2, rate=256.0)
        x = model.simulate(drives()[:, :12000], 100, np.random.default_rng(0))
        _, names, bads = model.geometry()
        good = [name not in bads for name in names]
        assert x.shape == (32, 30720)
        assert x.dtype == np.float32
        assert np.all((x[good].std(axis=1) > 3e-6) & (x[good].std(axis=1) < 80e-6))
        assert not x[names.index(bads[0])].any()
        assert x[names.index(bads[1])].std() > 100e-6
        freqs, power = signal.welch(x[good], 256, nperseg=1024)
        line = power[:, np.abs(freqs - 50) < 1].max(axis=1)
        assert np.all(line > 5 * np.median(power[:, (freqs > 40) & (freqs < 60)], axis=1))
        back = power[[names[i] == "Oz" for i in np.flatnonzero(good)]][0]
        inside = (freqs > 5) & (freqs < 40)
        assert freqs[inside][back[inside].argmax()] == pytest.approx(10, abs=2.5)

    def test_same_seed_same_bits_and_subjects_differ(self) -> None:
        def once(**kwargs: int) -> Any:
            return eeg.EegModel(**kwargs).simulate(drives()[:, :1000], 100, np.random.default_rng(1))

        assert np.array_equal(once(), once())
        assert not np.array_equal(once(), once(subject=1))
        assert not np.array_equal(once(), once(seed=1))
        fields = [eeg.EegModel(subject=s).lead_field() for s in (0, 1)]
        assert 0.3 < np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1] < 0.999

    def test_snr_is_what_the_docstring_says(self) -> None:
        model = eeg.EegModel(snr=0.5)
        loud, still = (
            m.simulate(drives(), 100, np.random.default_rng(1), model.statistics(drives(), 100))
            for m in (model, eeg.EegModel(snr=0.0))
        )
        response = (loud - still)[model._good()].std(axis=1)
        brain = model._brain(30000, np.random.default_rng(1))[model._good()].std(axis=1)
        assert response.max() / brain[response.argmax()] == pytest.approx(0.5, rel=0.15)

    @pytest.mark.slow
    @pytest.mark.parametrize("snr", [0.1, 0.3, 1.0])
    def test_the_oracle_beats_a_ridge_fitted_on_four_minutes(self, snr: float) -> None:
        model = eeg.EegModel(snr=snr)
        known = model.statistics(drives(), 100)
        x = model.simulate(drives(), 100, np.random.default_rng(3), known)
        truth, train, test = model.features(drives(), 100), slice(100, 30000), slice(30300, 39900)
        sources = model.oracle(x, 128.0, known)
        oracle = correlation(sources[:, test], truth[:, test]).mean()
        ridge = ridge_scores(x[model._good()].astype(float), truth, range(0, 52, 2), train, test)
        assert oracle > ridge + 0.01

    def test_without_signal_the_oracle_finds_none(self) -> None:
        model = eeg.EegModel(snr=0.3)
        known = model.statistics(drives(), 100)
        x = eeg.EegModel(snr=0.0).simulate(drives(), 100, np.random.default_rng(3), known)
        assert np.abs(correlation(model.oracle(x, 128.0, known), model.features(drives(), 100))).max() < 0.06
        with pytest.raises(ValueError, match="128"):
            model.oracle(x, 256.0, known)


def _one_sphere(sensors: Any, places: Any, moments: Any, conductivity: float) -> Any:
    """Potential on a homogeneous sphere in closed form (Mosher, Leahy & Lewis 1999, IEEE TBME 46:245)."""
    out = np.empty((len(sensors), len(places)))
    for k, (place, moment) in enumerate(zip(places, moments, strict=True)):
        radius, depth = np.linalg.norm(sensors, axis=1), place @ place
        away = sensors - place
        d = np.linalg.norm(away, axis=1)
        f = d * (radius * d + radius**2 - sensors @ place)
        c1 = (2 * (away @ place) / d**3 + 1 / d - 1 / radius) / (4 * np.pi * conductivity * depth)
        c2 = (2 / d**3 + (d + radius) / (radius * f)) / (4 * np.pi * conductivity * depth)
        out[:, k] = (c1 - c2 * (sensors @ place)) * (place @ moment) + c2 * depth * (sensors @ moment)
    return out
