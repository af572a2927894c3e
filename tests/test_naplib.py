"""naplib's demo data: the exact HDF5 layout, read lazily, its audio kept, its responses called what they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech
from braindecode_hub.runner import context
from braindecode_hub.types import Context, Space
from braindecode_hub_audio_seeg.mel import MelSpec, log_mel_spectrogram, resample
from braindecode_hub_audio_seeg.naplib import SHA256, URI, Naplib

h5py = pytest.importorskip("h5py")

AUDIO = Space("audio", ("time",), 11025.0)
ONE = {"metrics": ["audio_seeg/mel_correlation"]}
NAMES = ("F7", "F3", "Fz", "F4", "F8", "T3", "C3", "Cz", "C4", "T4")


def write(path: Path, sounds: list[np.ndarray], responses: list[np.ndarray]) -> Path:
    """Write a file as MATLAB 7.3 stores naplib's demo data: a struct of cells, that is of references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def put(value: np.ndarray, **options: Any) -> Any:
            return refs.create_dataset(f"r{len(refs)}", data=value, **options).ref

        def text(value: str) -> np.ndarray:
            return np.array([[ord(letter)] for letter in value], np.uint16)

        fields: dict[str, list[Any]] = {}
        for n, (sound, response) in enumerate(zip(sounds, responses, strict=True)):
            names = np.array([[put(text(name))] for name in NAMES[: response.shape[1]]], h5py.ref_dtype)
            trial = {
                "name": text(f"stim{n + 1:02d}"),
                "sound": sound[None].astype(np.float64),
                "soundf": np.array([[11025.0]]),
                "resp": response.astype(np.float64),
                "dataf": np.array([[100.0 if n == 0 else 99.99999999999999]]),
                "duration": np.array([[len(sound) / 11025.0]]),
                "befaft": np.array([[1.0], [1.0]]),
                "aud": np.zeros((len(response), 128)),
                "script": text(f"THE DOG NUMBER {n + 1}"),
                "chname": names,
            }
            for field, value in trial.items():
                chunked = {"compression": "gzip", "chunks": True} if field in ("sound", "resp") else {}
                fields.setdefault(field, []).append([put(value, **chunked)])
        for field, column in fields.items():
            file.create_dataset(f"out/{field}", data=np.array(column, h5py.ref_dtype))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-1, 1, 11025 * n + 17) for n in (2, 3, 4)]
    responses = [rng.standard_normal((100 * n, 10)) * np.arange(1, 11) for n in (2, 3, 4)]
    return write(tmp_path_factory.mktemp("naplib") / "demo_data.mat", sounds, responses)


def read(path: Path, **parameters: Any) -> Naplib:
    dataset = Naplib(**parameters)
    dataset.read(path)
    return dataset


def test_each_stretch_is_a_trial_and_a_recording(small: Path) -> None:
    trials = read(small).trials()
    assert [trial.id for trial in trials] == ["stim01", "stim02", "stim03"]
    assert [trial.stop for trial in trials] == pytest.approx([2, 3, 4], abs=1e-6)
    assert all(trial.stop == trial.stimulus_stop for trial in trials)
    assert trials[1].groups == {"subject": "naplib", "session": "1", "story": "stim02"}


def test_channels_are_named_and_rates_are_round(small: Path) -> None:
    recording = read(small).recording("stim02")
    assert recording.brain.channels == NAMES
    assert recording.brain.rate == 100.0
    assert recording.brain.data.shape == (10, 300)
    assert recording.seconds == 3.0


def test_samples_come_out_as_they_went_in(small: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.uniform(-1, 1, 11025 * n + 17) for n in (2, 3, 4)]
    dataset = read(small)
    sound = dataset.stimulus("stim03", AUDIO)
    assert sound.rate == 11025.0
    assert sound.data.dtype == np.float32
    np.testing.assert_array_equal(sound.data, sounds[2].astype(np.float32))
    data = dataset.recording("stim01").brain.data
    whole = np.asarray(data)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(data[:, 50:61], whole[:, 50:61])
    np.testing.assert_array_equal(data[3, 50:61], whole[3, 50:61])
    np.testing.assert_array_equal(data[4:6], whole[4:6])
    assert whole.std(axis=1) == pytest.approx(np.arange(1, 11), rel=0.3)


def test_nothing_is_held_open(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.mat"
    path.write_bytes(small.read_bytes())
    data = read(path).recording("stim01").brain.data
    path.write_bytes(b"gone")
    with pytest.raises(OSError, match="signature"):
        data[:, :1]


def test_the_transcript_is_text(small: Path) -> None:
    found = read(small).stimulus("stim02", Space("transcript"))
    assert found.data == "THE DOG NUMBER 2"
    assert found.rate is None


def test_noise_is_seeded_scaled_to_each_electrode_and_the_same_in_every_slice(small: Path) -> None:
    clean = np.asarray(read(small).recording("stim03").brain.data)
    noisy = np.asarray(read(small, noise=3.0).recording("stim03").brain.data)
    again = read(small, noise=3.0).recording("stim03").brain.data
    other = np.asarray(read(small, noise=3.0, seed=1).recording("stim03").brain.data)
    np.testing.assert_array_equal(again[:, 7:99], noisy[:, 7:99])
    added = noisy - clean
    assert added.std(axis=1) == pytest.approx(3 * clean.std(axis=1), rel=0.15)
    apart = np.corrcoef(np.concatenate([added, other - clean]))
    assert np.abs(apart - np.eye(20)).max() < 0.25


def test_the_fingerprint_follows_noise_seed_and_file(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mat"
    copy.write_bytes(small.read_bytes())
    some = [read(small), read(small, noise=1.0), read(small, noise=1.0, seed=2), read(copy)]
    assert len({dataset.fingerprint() for dataset in some}) == 4
    assert read(small).fingerprint() == some[0].fingerprint()


def test_it_asks_for_the_pinned_file_and_no_other(small: Path) -> None:
    asked = []

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        asked.append((uri, sha256))
        return small

    Naplib().prepare(Context(downloads=downloads))
    assert asked == [(URI, SHA256)]


@pytest.mark.parametrize("noise", [-1.0, math.nan, math.inf])
def test_impossible_noise_is_refused(noise: float) -> None:
    with pytest.raises(HubError, match="noise is"):
        Naplib(noise=noise).prepare(Context())


def test_other_files_are_refused(small: Path, tmp_path: Path) -> None:
    text, cut, other, lacking = (tmp_path / name for name in ("a.mat", "b.mat", "c.mat", "d.mat"))
    text.write_text("no HDF5")
    cut.write_bytes(small.read_bytes()[:3000])
    with h5py.File(other, "w") as file:
        file["x"] = 1
    lacking.write_bytes(small.read_bytes())
    with h5py.File(lacking, "r+") as file:
        del file["out/script"]
    for path in (text, cut, other, lacking, tmp_path / "nowhere.mat"):
        with pytest.raises(HubError, match="not the layout"):
            read(path)


def test_mistakes_are_named(small: Path) -> None:
    with pytest.raises(HubError, match="not prepared"):
        Naplib().trials()
    with pytest.raises(HubError, match="stim02"):
        read(small).recording("stim2")
    with pytest.raises(HubError, match="no image"):
        read(small).stimulus("stim01", Space("image"))


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five stretches of the shipped speech, and ten mel bands of each as its responses, 60 ms late."""
    sounds, responses = [], []
    for story in speech.stories()[:5]:
        sound = resample(speech.audio(story.id), speech.RATE, 11025)[: 12 * 11025]
        mel = log_mel_spectrogram(resample(sound, 11025, 22050), MelSpec(fmax=5512.0))
        at = (np.arange(len(sound) * 100 // 11025) / 100 - 0.06) * MelSpec().frame_rate
        responses.append(mel[np.clip(np.rint(at), 0, len(mel) - 1).astype(int)][:, 4:74:7])
        sounds.append(np.clip(sound, -1, 1))
    return write(tmp_path_factory.mktemp("naplib") / "demo_data.mat", sounds, responses)


@pytest.mark.slow
def test_bins_above_the_audio_s_nyquist_are_dropped_named_and_not_scored(
    speaking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Naplib, "prepare", lambda self, ctx: self.read(speaking))
    above = {"targets.mel.0.fmax": 8000.0, "renderer.fmax": 8000.0, "renderer.iterations": 4, **ONE}
    run = bdh.run("audio_seeg", preset="naplib", set=above, dev=True, jobs=1, out=tmp_path)
    reason = run.metrics["reasons"]["scores.excluded_bins"]
    assert "79" in reason
    assert "never vary" in reason
    assert run.metrics["scores"]["mel_correlation"]["value"] > 0.6
    assert "SIMULATED" in run.metrics["flags"]


@pytest.fixture(scope="module")
def real(network: None) -> Naplib:
    dataset = Naplib()
    dataset.prepare(context())
    return dataset


@pytest.mark.network
def test_the_real_file_is_what_it_is_said_to_be(real: Naplib) -> None:
    trials = real.trials()
    assert [trial.id for trial in trials] == [f"stim{n:02d}" for n in range(1, 11)]
    assert sum(trial.seconds for trial in trials) == pytest.approx(644.4, abs=0.2)
    for trial in trials:
        recording, sound = real.recording(trial.id), real.stimulus(trial.id, AUDIO)
        assert (recording.brain.rate, sound.rate) == (100.0, 11025.0)
        assert recording.brain.channels == NAMES
        assert len(sound.data) / 11025 == pytest.approx(recording.seconds, abs=0.02)
    assert real.stimulus("stim01", Space("transcript")).data.startswith("IT IS ME AGAIN HANK THE COW DOG")
    assert np.abs(real.stimulus("stim01", AUDIO).data).max() <= 1.0


@pytest.mark.network
@pytest.mark.slow
def test_speech_is_found_in_the_real_file(real: Naplib, tmp_path: Path) -> None:
    run = bdh.run("audio_seeg", preset="naplib", set=ONE, dev=True, jobs=1, out=tmp_path)
    assert run.metrics["scores"]["mel_correlation"]["value"] > 0.6
    assert run.metrics["scores"]["mel_correlation"]["p"] <= 0.01
    assert run.metrics["simulated"] is True


@pytest.mark.network
def test_offline_the_fetched_file_is_still_there(real: Naplib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINDECODE_HUB_OFFLINE", "1")
    again = Naplib()
    again.prepare(context())
    assert again.fingerprint() == real.fingerprint()
    with pytest.raises(HubError, match="network"):
        Naplib().prepare(context(cache=Cache(Path("nowhere"))))
