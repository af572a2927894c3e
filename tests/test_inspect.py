"""What is planted in a recording is found and named, and in a sound recording nothing is: before any training."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

import braindecode_hub as bdh
from braindecode_hub.contamination import Contamination
from braindecode_hub.inspection import Checked, inspect_dataset
from braindecode_hub.phantom import speech
from braindecode_hub.rates import fitting_rates
from braindecode_hub.signal_checks import Likeness, Mains, Measures, Rail, detrended, robust_sd, spread
from braindecode_hub.types import Array, Context, Recording, Signal, Space, Trial
from braindecode_hub_audio_seeg.phantom import Phantom

RATE, CHANNELS, SECONDS = 1000.0, 12, 40.0
AUDIO = speech.audio("ferry")


class Made(bdh.Dataset):
    """One recording in µV of 1/f noise with something done to it, and the sound that was heard."""

    licence = "made up"
    simulated = True

    def __init__(self, brain: Array, *, trial: Trial | None = None, units: str = "µV", **sensors: Any) -> None:
        self.data, self.units, self.sensors = brain, units, sensors
        seconds = brain.shape[1] / RATE
        self.trial = trial or Trial("t", "r", 0.0, seconds, "ferry", 0.0, seconds, {"subject": "s"})

    @property
    def brain(self) -> Space:
        return Space("seeg", ("channels", "time"), RATE)

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        return (Space("audio", ("time",), float(speech.RATE)),)

    def trials(self) -> list[Trial]:
        return [self.trial]

    def recording(self, id: str) -> Recording:
        names = tuple(f"{'LA' if k < CHANNELS // 2 else 'RB'}{k % 6 + 1}" for k in range(self.data.shape[0]))
        return Recording("r", "s", "1", Signal(self.data, RATE, "seeg", names, self.units), **self.sensors)

    def stimulus(self, id: str, space: Space) -> Signal:
        return Signal(AUDIO, float(speech.RATE), "audio")

    def fingerprint(self) -> str:
        return "made"


def background(seed: int = 0, seconds: float = SECONDS) -> Array:
    """(channels, samples) of independent 1/f noise, SD 40 µV."""
    samples = round(seconds * RATE)
    freqs = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 1.0)
    white = np.random.default_rng(seed).standard_normal((CHANNELS, samples))
    x = np.fft.irfft(np.fft.rfft(white) / freqs**0.7, samples)
    return 40 * x / x.std(axis=1, keepdims=True)


def heard() -> Array:
    """The sound as an amplifier at 1000 Hz would pick it up: SD 1."""
    sound = resample_poly(AUDIO, 20, 441)[: round(SECONDS * RATE)]
    padded = np.pad(sound, (0, round(SECONDS * RATE) - len(sound)))
    return np.asarray(padded / padded.std())


def checked(x: Array, **more: Any) -> Checked:
    if "trial" not in more:
        stop = 38.0
        more["trial"] = Trial("t", "r", 0.0, stop, "ferry", 0.0, stop, {"subject": "s"})
    [one] = inspect_dataset(Made(x, **more), "made").recordings
    return one


def said(one: Checked) -> str:
    return " | ".join(finding.what for finding in one.findings)


# Nothing planted, nothing found


def test_a_sound_recording_raises_no_alarm() -> None:
    one = checked(background())
    assert said(one) == ""
    assert one.bad == []
    assert one.alike == ()
    assert one.mains_hz is None
    assert one.sound.p is not None and one.sound.p > 0.01
    assert one.median_sd == pytest.approx(40, rel=0.1)


@pytest.mark.parametrize("snr", [1.0, 6.0])
def test_the_phantom_has_its_mains_and_its_bads_and_no_sound_in_it(snr: float) -> None:
    dataset = Phantom(stories=2, contacts=24, shafts=4, snr=snr)
    dataset.prepare(Context())
    [one] = inspect_dataset(dataset, "phantom").recordings
    assert said(one) == ""
    assert one.mains_hz == one.stated_hz == 50.0
    assert sorted(channel.name for channel in one.bad) == sorted(dataset.recording("01").bads)
    assert one.clocks.ppm == pytest.approx(20, abs=0.1)
    assert one.sound.p is not None and one.sound.p > 0.01


def test_a_brain_that_hears_is_not_called_contaminated() -> None:
    """High gamma that follows the loudness of every speech band is no sound at the same frequency."""
    loudness = np.abs(heard())
    loudness = np.convolve(loudness, np.hanning(101) / 50, mode="same")
    x = background()
    band = np.random.default_rng(5).standard_normal(x.shape)
    x[::2] += (20 * loudness * np.diff(np.cumsum(band, axis=1), axis=1, prepend=0))[::2]
    assert said(checked(x)) == ""


# One fault each


def line(x: Array) -> None:
    times = np.arange(x.shape[1]) / RATE
    x += 10 * np.sin(2 * np.pi * 60 * times) * np.linspace(0.5, 2, CHANNELS)[:, None]


def bridge(x: Array) -> None:
    x[3] = x[4] + 0.5 * np.random.default_rng(1).standard_normal(x.shape[1])


def copy(x: Array) -> None:
    x[8] = x[9]


def kill(x: Array) -> None:
    x[5] = -3.0


def shake(x: Array) -> None:
    x[6] *= 20


def clip(x: Array) -> None:
    x[7] = np.clip(x[7], -60, 60)


def poke(x: Array) -> None:
    x[2, 5000:5010] = np.nan
    x[2, 6000] = np.inf


def drop(x: Array) -> None:
    x[1, 8000:24000] = 0.0


FAULTS: dict[str, tuple[Callable[[Array], None], str, list[str]]] = {
    "mains": (line, "mains noise at 60 Hz", []),
    "bridge": (bridge, "bridged electrodes? r > .99 between LA4 and LA5", []),
    "copy": (copy, "the same signal twice: RB3 and RB4", []),
    "dead": (kill, "LA6 (flat)", ["LA6"]),
    "noisy": (shake, "RB1 (noisy: ", ["RB1"]),
    "clipped": (clip, "RB2 (10 % of its samples are clipped)", ["RB2"]),
    "not finite": (poke, "11 samples are NaN or infinite, in LA3", ["LA3"]),
    "lost for a while": (drop, "LA2 (flat in 40 % of the stretches)", ["LA2"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_and_nothing_else_is(fault: str) -> None:
    plant, told, bad = FAULTS[fault]
    x = background()
    plant(x)
    one = checked(x)
    assert told in said(one)
    assert [channel.name for channel in one.bad] == bad
    assert all(finding.advice for finding in one.findings)
    assert len(one.findings) == 1 + (fault == "not finite")


def test_sound_that_is_coupled_in_is_found_in_its_channels_only() -> None:
    x = background()
    x[[1, 4]] += 3 * heard()
    one = checked(x)
    assert "the sound itself seems to be in LA2, LA5" in said(one)
    assert one.sound.p == pytest.approx(0.001)
    assert [c.name for c in one.channels if c.sound_p is not None and c.sound_p <= 0.01] == ["LA2", "LA5"]


def test_a_wrong_mains_frequency_is_contradicted_and_a_right_one_is_not() -> None:
    x = background()
    line(x)
    assert "the mains is at 60 Hz, but the recording says 50 Hz" in said(checked(x, line_freq=50.0))
    assert said(checked(x, line_freq=60.0)) == ""


def test_a_common_average_takes_away_mains_that_is_common() -> None:
    x = background()
    x += 20 * np.sin(2 * np.pi * 50 * np.arange(x.shape[1]) / RATE)
    one = checked(x, line_freq=50.0)
    [first, *_] = one.lines
    assert (first.hz, one.mains_hz) == (50.0, 50.0)
    assert first.raw is not None and first.car is not None and first.shafts is not None
    assert first.raw > 15
    assert abs(first.car) < 3 and abs(first.shafts) < 3


def test_drift_is_read_off_the_trials_clocks() -> None:
    stop = 30 * (1 + 200e-6)
    one = checked(background(), trial=Trial("t", "r", 0.0, stop, "ferry", 0.0, 30.0, {"subject": "s"}))
    assert one.clocks.ppm == pytest.approx(200, abs=0.01)
    assert "the clocks of brain and stimulus differ by +200 ppm (12.0 ms a minute)" in said(one)


@pytest.mark.parametrize(
    ("longer", "told"),
    [(1.0004, "15 ms longer than the sound (+"), (1.0045, "no clock drifts that much"), (1.0, "")],
)
def test_drift_of_a_whole_pair_is_read_off_the_lengths(longer: float, told: str) -> None:
    seconds = len(AUDIO) / speech.RATE
    x = background(seconds=seconds * longer)
    trial = Trial("t", "r", 0.0, min(seconds, x.shape[1] / RATE), "ferry", 0.0, min(seconds, x.shape[1] / RATE))
    text = said(checked(x, trial=trial))
    assert (told in text) if told else text == ""


def test_a_trial_outside_its_recording_is_named() -> None:
    one = checked(background(), trial=Trial("late", "r", 20.0, 45.0, "ferry", 0.0, 25.0, {"subject": "s"}))
    assert "outside the recording lies a part of late" in said(one)


@pytest.mark.parametrize(("units", "told"), [("V", "it looks like"), ("µV", ""), ("", ""), ("a.u.", "")])
def test_units_that_cannot_be_are_doubted(units: str, told: str) -> None:
    text = said(checked(background(), units=units))
    assert (told in text) if told else text == ""
    assert ("uV" in text) == bool(told)


def test_what_is_marked_bad_is_not_reported_again_and_spoils_no_average() -> None:
    x = background()
    shake(x)
    one = checked(x, bads=("RB1",))
    assert said(one) == ""
    assert [channel.name for channel in one.bad] == ["RB1"]
    assert "rightly so: RB1 (noisy" in one_text(one)


def one_text(one: Checked) -> str:
    from braindecode_hub.inspection import Inspection

    return Inspection("made", "", True, (one,)).text()


# The measures themselves


def test_robust_sd_is_the_sd_of_a_gaussian_and_ignores_outliers() -> None:
    x = np.random.default_rng(0).standard_normal((2, 100_000)) * [[1.0], [3.0]]
    x[:, :1000] = 1e6
    np.testing.assert_allclose(robust_sd(x), [1.0, 3.0], rtol=0.03)


def test_detrending_leaves_no_mean_and_no_slope() -> None:
    t = np.arange(1000.0)
    x = detrended(np.stack([3 + 0.2 * t, np.sin(2 * np.pi * t / 10)]))
    assert np.abs(x[0]).max() < 1e-9
    assert x[1].std() == pytest.approx(np.sqrt(0.5), rel=1e-3)


def test_mains_has_the_right_level() -> None:
    """A sine of amplitude a in white noise: a² · N / 4 / (1.5 σ²) per bin of a Hann window, 10 dB for 10 times."""
    rng, found = np.random.default_rng(0), []
    for amplitude in (0.0, 0.5, 0.5 * np.sqrt(10)):
        mains = Mains(8, 500.0)
        for _ in range(10):
            times = np.arange(2000) / 500.0
            mains.add(rng.standard_normal((8, 2000)) + amplitude * np.sin(2 * np.pi * 50 * times), np.ones(8, bool))
        found.append(mains.level(50.0, np.ones(8, bool)))
    assert found[0] == pytest.approx(0.0, abs=1.0)
    assert found[2] - found[1] == pytest.approx(10.0, abs=0.5)


@pytest.mark.parametrize(
    ("x", "clips"),
    [
        (np.sin(np.arange(100_000) / 50), False),
        (np.round(np.random.default_rng(0).standard_normal(100_000) * 3), False),
        (np.repeat(np.random.default_rng(0).poisson(0.05, 10_000), 10).astype(float), False),
        (np.clip(np.sin(np.arange(100_000) / 50), -2, 0.9), True),
    ],
)
def test_clipping_is_told_from_sines_integers_and_counts(x: Array, clips: bool) -> None:
    rail = Rail(1)
    for part in np.split(x[None], 10, axis=1):
        rail.add(part, np.median(part, axis=1))
    assert bool(rail.clipped()[0]) is clips


def test_likeness_is_pearsons_r() -> None:
    x = np.random.default_rng(0).standard_normal((3, 500))
    x[1] = x[0] + x[1]
    likeness = Likeness(3)
    likeness.add(x - x.mean(axis=1, keepdims=True), np.ones(3, bool))
    np.testing.assert_allclose(likeness.r, np.corrcoef(x), atol=1e-12)


def test_the_null_of_the_sound_check_is_uniform() -> None:
    """Without any coupling, p over channels is below .1 about once in ten times."""
    low = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        check = Contamination(2, 500.0)
        for start in (0, 10):
            sound = AUDIO[start * speech.RATE : (start + 8) * speech.RATE]
            check.add(rng.standard_normal((2, 4000)), sound, speech.RATE, np.ones(2, bool))
        found = check.result(rng)
        assert found is not None
        low += found.p.min() <= 0.1
    assert low <= 9  # binomial(40, .1): 9 or fewer in 99.5 of 100


def test_a_usual_rate_that_fits_is_found() -> None:
    [(rate, ppm), *_] = fitting_rates(1024 * 300 + 31, 300.0)
    assert rate == 1024
    assert ppm == pytest.approx(31 / 1024 / 300 * 1e6)
    assert fitting_rates(777 * 300, 300.0) == []


# Long recordings


class Endless:
    """8 hours of 64 channels at 1000 Hz, made up where they are looked at; it counts what was asked for."""

    ndim, dtype = 2, np.dtype(np.float32)
    shape = (64, 8 * 3600 * 1000)

    def __init__(self) -> None:
        self.read, self.largest, self.last = 0, 0, 0

    def __getitem__(self, key: tuple[slice, slice]) -> Array:
        first, last, _ = key[1].indices(self.shape[1])
        self.read, self.largest = self.read + last - first, max(self.largest, last - first)
        self.last = max(self.last, last)
        return np.random.default_rng(first).standard_normal((64, last - first)).astype(np.float32) * 40


def test_eight_hours_are_looked_at_in_two_minutes_of_samples_and_little_memory() -> None:
    data = Endless()
    hours = data.shape[1] / RATE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dataset = Made(np.zeros((64, 10)), trial=Trial("t", "r", 0.0, hours, None, groups={"subject": "s"}))
    dataset.data = data
    [one] = inspect_dataset(dataset, "long").recordings
    assert (one.read_s, one.stretches) == (120.0, 30)
    assert (data.read, data.largest) == (120_000, 4000)
    assert data.last == data.shape[1]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200  # the recording has 7 GB
    assert "30 stretches of 4 s, evenly spread: 0% of it" in one_text(one)


def test_stretches_cover_all_of_a_short_recording_and_both_ends_of_a_long_one() -> None:
    assert spread(10.0, 4.0, 120.0) == [(0.0, 4.0), (4.0, 8.0), (8.0, 10.0)]
    long = spread(1000.0, 4.0, 40.0)
    assert (len(long), long[0], long[-1]) == (10, (0.0, 4.0), (996.0, 1000.0))
    assert spread(3.0, 4.0, math.inf) == [(0.0, 3.0)]


def test_measures_of_stretches_with_nothing_usable_are_no_numbers_and_no_crash() -> None:
    measures = Measures(2, 100.0, np.zeros(2, bool))
    measures.add(np.full((2, 400), np.nan))
    assert np.isnan(measures.sd).all()
    assert measures.nan.tolist() == [400, 400]
    assert measures.raw_likeness.mean(np.ones(2, bool)) is None
    assert measures.mains["raw"].lines == {50.0: [], 60.0: []}


# The command, and Python


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    x = background()
    kill(x)
    np.save(folder / "p1.npy", x.astype(np.float32))
    soundfile.write(folder / "p1.wav", np.resize(AUDIO, round(SECONDS * speech.RATE)), speech.RATE)
    return folder


def hub(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "braindecode_hub.cli", *words], capture_output=True, text=True)


def test_the_command_prints_what_python_returns_and_writes_json(mine: Path, tmp_path: Path) -> None:
    done = hub("inspect", str(mine), "--set", "dataset.rate=1000", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    assert "ch06 (flat)" in done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 100
    assert done.stdout.splitlines()[-1] == "1 recording: 1 problem (!!), 0 to check (?)."
    found = bdh.inspect(mine, set={"dataset.rate": 1000})
    assert found.text() + "\n" == done.stdout
    written = json.loads((tmp_path / "found.json").read_text())
    assert written == json.loads(json.dumps(found.as_data()))
    assert written["recordings"][0]["channels"][5]["why"] == ["flat"]
    assert "ch06 (flat)" in found._repr_html_()


@pytest.mark.parametrize(("value", "told"), [(0.0, "'p1' is silent"), (np.nan, "'p1' is not finite at 0.000 s")])
def test_a_sound_without_sound_is_a_problem(mine: Path, value: float, told: str) -> None:
    x, rate = soundfile.read(mine / "p1.wav")
    soundfile.write(mine / "p1.wav", np.full_like(x, value), rate, subtype="FLOAT")
    [one] = bdh.inspect(mine, set={"dataset.rate": 1000}).recordings
    assert told in said(one)


def test_a_pipelines_own_data_is_looked_at_by_name() -> None:
    found = bdh.inspect("audio_seeg", preset="smoke", set={"dataset.stories": 2}, seconds=20)
    assert found.simulated
    assert "SIMULATED" in found.text() and "SIMULATED" in found._repr_html_()
    [one] = found.recordings
    assert one.read_s == 20.0


MISTAKES: dict[str, tuple[list[str], str, str]] = {
    "nothing there": (["nowhere"], "'nowhere' is neither a file, a folder nor a pipeline", "known: audio_seeg"),
    "a misspelt pipeline": (["audio_sseg"], "'audio_sseg' is neither", "did you mean audio_seeg?"),
    "no rate": (["MINE"], "does not say its sampling rate", "1000 would make it as long as p1.wav"),
    "a wrong rate": (["MINE", "--set", "dataset.rate=512"], "lasts 78.12 s", "a brain rate of 1000 Hz would fit"),
    "no seconds": (["MINE", "--set", "dataset.rate=1000", "--seconds", "0"], "0 s are to be read", "--seconds 120"),
    "nobody": (["MINE", "--set", "dataset.rate=1000", "--subjects", "x"], "has no trials", "--subjects"),
    "more than the dataset": (["MINE", "--set", "decoder.lags_s=[0]"], "nothing here reads 'decoder'", "dataset"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_costs_one_line(case: str, mine: Path) -> None:
    words, cause, remedy = MISTAKES[case]
    done = hub("inspect", *(str(mine) if word == "MINE" else word for word in words))
    said = done.stderr.splitlines()
    assert done.returncode in (1, 2), done.stdout
    assert cause in said[-2] and remedy in said[-1], done.stderr
