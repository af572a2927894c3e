"""One's own files: found by their names, read lazily, decoded through the command line; mistakes cost one line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.parts.folder import Folder
from braindecode_hub.parts.opening import Floats, Sound, open_npy
from braindecode_hub.phantom import speech
from braindecode_hub.runner import context
from braindecode_hub.types import Context, Event, Space
from braindecode_hub_audio_seeg.phantom import Phantom

AUDIO = Space("audio", ("time",), "*")
RATE, AUDIO_RATE, SECONDS = 100, 8000, 6


def brain(seed: int = 0, channels: int = 5, seconds: float = SECONDS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, round(RATE * seconds))).astype(np.float32)


def sound(seed: int = 0, seconds: float = SECONDS) -> np.ndarray:
    return np.random.default_rng(100 + seed).uniform(-0.5, 0.5, round(AUDIO_RATE * seconds))


def save(folder: Path, *names: str, seconds: float = SECONDS) -> Path:
    """Save a brain or a sound under each name: names that speak of audio, or of sound files, are sounds."""
    for number, name in enumerate(names):
        path = folder / name
        if "audio" in name and name.endswith(".npy"):
            np.save(path, sound(number, seconds))
        elif name.endswith(".npy"):
            np.save(path, brain(number, seconds=seconds))
        else:
            soundfile.write(path, sound(number, seconds), AUDIO_RATE)
    return folder


def folder(path: Path, **parameters: Any) -> Folder:
    return Folder(path=str(path), **{"rate": RATE, "audio_rate": AUDIO_RATE, "brain": "seeg", **parameters})


def prepared(path: Path, **parameters: Any) -> Folder:
    dataset = folder(path, **parameters)
    dataset.prepare(Context())
    return dataset


def refusal(path: Path, **parameters: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        prepared(path, **parameters)
    assert "\n" not in caught.value.cause
    assert "\n" not in caught.value.remedy
    return caught.value


# Which files belong together


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.npy", "a.wav"], {"a"}),
        (["a.npy", "a.flac", "b.npy", "b.ogg"], {"a", "b"}),
        (["a.npy", "a_audio.npy"], {"a"}),
        (["p1_sEEG.npy", "p1_audio_final.npy", "p2_sEEG.npy", "p2_audio_final.npy"], {"p1", "p2"}),
        (["p1_sEEG.npy", "p1_sEEG.wav"], {"p1"}),
        (["brain.npy", "story.wav"], {"brain"}),
        (["A.npy", "a.WAV"], {"A"}),
    ],
)
def test_pairs_are_found_by_name(tmp_path: Path, names: list[str], found: set[str]) -> None:
    dataset = prepared(save(tmp_path, *names))
    assert {trial.id for trial in dataset.trials()} == found
    for trial in dataset.trials():
        assert trial.groups["subject"] == trial.recording == trial.stimulus
        assert (trial.start, trial.stop, trial.stimulus_stop) == (0.0, SECONDS, SECONDS)
        assert dataset.recording(trial.recording).brain.data.shape == (5, RATE * SECONDS)
        assert len(dataset.stimulus(str(trial.stimulus), AUDIO).data) == pytest.approx(AUDIO_RATE * SECONDS, abs=2)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "a.npy", "a.wav", ".a.npy", "._b.wav")
    (tmp_path / "more.npy").mkdir()
    assert [trial.id for trial in prepared(tmp_path).trials()] == ["a"]


@pytest.mark.parametrize("name", ["a.npy", "file://a.npy"])
def test_one_file_may_be_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, "a.npy", "a.wav", "b.npy", "b.wav")
    path = (tmp_path / "a.npy").as_uri() if "://" in name else str(tmp_path / name)
    dataset = Folder(path=path, rate=RATE)
    dataset.prepare(context())
    assert [trial.id for trial in dataset.trials()] == ["a"]


def test_the_sound_may_be_named(tmp_path: Path) -> None:
    save(tmp_path, "a.npy", "x.wav", "y.wav")
    dataset = prepared(tmp_path / "a.npy", sound=str(tmp_path / "y.wav"))
    np.testing.assert_allclose(np.asarray(dataset.stimulus("a", AUDIO).data), sound(2), atol=1e-4)


@pytest.mark.parametrize(
    ("names", "cause", "remedy"),
    [
        ([], "holds no recording", "a.npy"),
        (["a.wav"], "holds no recording", "a.npy"),
        (["a.npy"], "a.npy has no sound", "a.wav"),
        (["a.npy", "b.npy", "c.wav"], "a.npy has no sound", "move the array away"),
        (["a.npy", "b.npy", "a.wav"], "b.npy has no sound", "b.wav"),
        (["a.npy", "a.wav", "a.flac"], "a.npy has 2 sounds: a.flac, a.wav", "leave one"),
        (["a.npy", "b.wav", "c.wav"], "a.npy has no sound", "dataset.sound"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, names: list[str], cause: str, remedy: str) -> None:
    error = refusal(save(tmp_path, *names))
    assert cause in error.cause
    assert remedy in error.remedy


def test_paths_that_are_none_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.npy", "a.wav")
    assert "does not exist" in refusal(tmp_path / "nowhere").cause
    assert "no .npy" in refusal(tmp_path / "a.wav").cause
    assert "is a folder" in refusal(tmp_path, sound="a.wav").cause
    assert "does not exist" in refusal(tmp_path / "a.npy", sound=str(tmp_path / "b.wav")).cause
    with pytest.raises(HubError, match=r"no \.npy"):
        Folder(path="https://127.0.0.1/a.edf", rate=RATE).prepare(context())
    with pytest.raises(HubError, match="not fetched"):
        Folder(path="https://127.0.0.1/a.npy", rate=RATE).trials()


@pytest.mark.parametrize(
    ("uri", "beside"),
    [
        ("https://x/a.npy", "https://x/a.wav"),
        ("osf://abcde/in/p1_sEEG.npy", "osf://abcde/in/p1_audio_final.npy"),
        ("pypi://p==1/d/a.npy#sha256=0", "pypi://p==1/d/a.wav#sha256=0"),
    ],
)
def test_a_uri_is_fetched_with_its_sound(tmp_path: Path, uri: str, beside: str) -> None:
    save(tmp_path, "brain.npy", "audio.npy" if beside.partition("#")[0].endswith(".npy") else "audio.wav")
    asked = []

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        asked.append(uri)
        return next(tmp_path.glob("audio*" if len(asked) > 1 else "brain*"))

    dataset = Folder(path=uri, rate=RATE, audio_rate=AUDIO_RATE)
    dataset.prepare(Context(downloads=downloads))
    assert asked == [uri, beside]
    before = dataset.fingerprint()
    os.utime(tmp_path / "brain.npy", (1, 1))  # looking at a download makes it newer, not another
    assert dataset.fingerprint() == before


# What is in the array


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, ">i4", np.uint16])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_samples_are_read_lazily_as_float32_whichever_axis_is_time(
    tmp_path: Path, dtype: Any, turned: bool, order: Any
) -> None:
    save(tmp_path, "a.npy", "a.wav")
    values = (np.abs(brain()) * 1000).astype(dtype)
    np.save(tmp_path / "a.npy", np.array(values.T if turned else values, order=order))
    data = prepared(tmp_path).recording("a").brain.data
    assert data.shape == (5, RATE * SECONDS)
    assert isinstance(data._data, np.memmap)
    part = data[:, 10:20]
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, values[:, 10:20].astype(np.float32))
    np.testing.assert_array_equal(np.asarray(data), values.astype(np.float32))


def test_an_axis_that_is_not_clear_must_be_said(tmp_path: Path) -> None:
    save(tmp_path, "a.npy", "a.wav")
    np.save(tmp_path / "a.npy", brain(channels=200))  # (200, 600)
    error = refusal(tmp_path)
    assert "(200, 600)" in error.cause
    assert "dataset.axis=time_first" in error.remedy
    assert prepared(tmp_path, axis="channels_first").recording("a").brain.data.shape == (200, 600)
    np.save(tmp_path / "a.npy", brain(channels=200).T)
    assert prepared(tmp_path, axis="time_first").recording("a").brain.data.shape == (200, 600)


def test_the_wrong_axis_is_seen_by_its_length(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.npy", "a.wav"), axis="time_first")
    assert "0.05 s (600 channels)" in error.cause
    assert "6.00 s" in error.cause
    assert "axis" in error.remedy


@pytest.mark.parametrize("rate", [None, 0.0, -1.0, float("nan")])
def test_the_rate_must_be_given(tmp_path: Path, rate: float | None) -> None:
    error = refusal(save(tmp_path, "a.npy", "a.wav"), rate=rate)
    assert "sampl" in error.cause
    assert "--set dataset.rate=1024" in error.remedy
    assert error.usage


def test_the_rate_of_sound_in_an_array_must_be_given(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "a.npy", "a_audio.npy"), audio_rate=None)
    assert "a_audio.npy" in error.cause
    assert "--set dataset.audio_rate=22050" in error.remedy


@pytest.mark.parametrize("seconds", [5.0, 6.6, 60.0])
def test_lengths_too_far_apart_are_refused(tmp_path: Path, seconds: float) -> None:
    save(tmp_path, "a.npy", "a.wav")
    soundfile.write(tmp_path / "a.wav", sound(0, seconds), AUDIO_RATE)
    error = refusal(tmp_path)
    assert "6.00 s" in error.cause
    assert f"{seconds:.2f} s" in error.cause


@pytest.mark.parametrize("seconds", [5.6, 6.4])
def test_lengths_near_each_other_are_cut_to_the_shorter(tmp_path: Path, seconds: float) -> None:
    save(tmp_path, "a.npy", "a.wav")
    soundfile.write(tmp_path / "a.wav", sound(0, seconds), AUDIO_RATE)
    [trial] = prepared(tmp_path).trials()
    assert trial.stop == trial.stimulus_stop == pytest.approx(min(6.0, seconds))


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, ("echo executed > executed",))


@pytest.mark.parametrize(
    "kind", ["objects", "pickle", "archive", "truncated", "text", "empty", "header", "complex", "bool", "flat"]
)
def test_arrays_that_are_none_are_refused_and_nothing_is_executed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "a.npy", "a.wav")
    path = tmp_path / "a.npy"
    whole = path.read_bytes()
    if kind == "objects":
        np.save(path, np.array([Evil()] * 600), allow_pickle=True)
    elif kind == "archive":
        np.savez(tmp_path / "b.npz", a=brain())
        (tmp_path / "b.npz").replace(path)
    elif kind in ("complex", "bool", "flat"):
        np.save(path, {"complex": brain() * 1j, "bool": brain() > 0, "flat": brain()[0]}[kind])
    else:
        header = whole.replace(b"'descr'", b"'descr;")
        text = {
            "pickle": pickle.dumps(Evil()),
            "truncated": whole[:-1],
            "text": b"1,2,3\n",
            "empty": b"",
            "header": header,
        }
        path.write_bytes(text[kind])
    error = refusal(tmp_path)
    assert "a.npy" in error.cause
    assert not (tmp_path / "executed").exists()
    if kind in ("objects",):
        assert "never loaded" in error.cause


def test_channels_are_named_and_bad_ones_known(tmp_path: Path) -> None:
    save(tmp_path, "a.npy", "a.wav")
    recording = prepared(tmp_path, bads=["ch2"], line_freq=60.0).recording("a")
    assert recording.brain.channels == ("ch1", "ch2", "ch3", "ch4", "ch5")
    assert (recording.bads, recording.line_freq, recording.brain.modality) == (("ch2",), 60.0, "seeg")
    named = prepared(tmp_path, channels=list("vwxyz"), bads=["z"])
    assert named.recording("a").brain.channels == tuple("vwxyz")
    with pytest.raises(HubError, match="no channel 'ch9'"):
        prepared(tmp_path, bads=["ch9"]).recording("a")
    with pytest.raises(HubError, match="5 channels, but 2"):
        prepared(tmp_path, channels=["x", "y"]).recording("a")


# What is in the sound


def noted(path: Path, **parameters: Any) -> tuple[Folder, list[str]]:
    events: list[Event] = []
    dataset = folder(path, **parameters)
    dataset.prepare(Context(log=events.append))
    return dataset, [event["text"] for event in events if event["kind"] == "note"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_stereo_is_averaged_and_said_so(tmp_path: Path, suffix: str) -> None:
    save(tmp_path, "a.npy")
    left, right = sound(1), sound(2)
    soundfile.write(tmp_path / f"a{suffix}", np.stack([left, right], axis=1), AUDIO_RATE)
    dataset, notes = noted(tmp_path)
    data = dataset.stimulus("a", AUDIO).data
    assert notes == [f"a{suffix}: its 2 channels are averaged"]
    assert isinstance(data, Sound)
    whole = np.asarray(data)
    if suffix != ".ogg":
        np.testing.assert_allclose(whole, (left + right) / 2, atol=1e-4)
    np.testing.assert_array_equal(data[1000:1500], whole[1000:1500])
    assert data[-10:].shape == (10,)
    assert data[50:50].shape == (0,)


def test_names_that_no_text_can_hold_and_very_long_ones(tmp_path: Path) -> None:
    for number, name in enumerate((b"p\xff", b"n" * 250)):
        folder = tmp_path / str(number)
        folder.mkdir()
        np.save(folder / "a.npy", brain())
        soundfile.write(folder / "a.wav", sound(), AUDIO_RATE)
        for ending in (b".npy", b".wav"):
            (folder / f"a{ending.decode()}").rename(os.fsdecode(os.path.join(os.fsencode(folder), name + ending)))
    assert "no UTF-8" in refusal(tmp_path / "0").cause
    assert [trial.recording for trial in prepared(tmp_path / "1").trials()] == ["n" * 250]
    assert f"such as {tmp_path / '0'}" in refusal(tmp_path).remedy


def test_floats_beyond_one_are_scaled_in_a_sound_file_as_in_an_array(tmp_path: Path) -> None:
    """What a script writes that forgot to divide int16 by its full scale."""
    save(tmp_path, "a.npy")
    soundfile.write(tmp_path / "a.wav", 30000 * sound(1), AUDIO_RATE, subtype="FLOAT")
    dataset, notes = noted(tmp_path)
    peak = float(np.abs(sound(1)).max())
    assert notes == [f"a.wav: it reaches {30000 * peak:.4g}, and is divided by that"]
    np.testing.assert_allclose(dataset.stimulus("a", AUDIO).data[100:200], sound(1)[100:200] / peak, rtol=1e-5)


def test_copies_of_one_sound_are_one_stimulus_whatever_their_names(tmp_path: Path) -> None:
    """Two people heard one story, and each has a copy of it: a split by subject would test what training has heard."""
    for name, heard in (("ann", 0), ("bob", 0), ("cy", 1)):
        np.save(tmp_path / f"{name}.npy", brain(heard))
        soundfile.write(tmp_path / f"{name}.wav", sound(heard), AUDIO_RATE)
    dataset, notes = noted(tmp_path)
    assert [(trial.stimulus, trial.groups["story"]) for trial in dataset.trials()] == [("ann",) * 2] * 2 + [("cy",) * 2]
    assert notes == ["bob: its sound 'bob' is that of 'ann': to every split they are one"]
    assert [trial.groups["subject"] for trial in dataset.trials()] == ["ann", "bob", "cy"]
    np.testing.assert_array_equal(
        dataset.stimulus("ann", AUDIO).data[:], np.asarray(dataset.stimulus("ann", AUDIO).data)
    )


def test_mp3_sounds_the_same_wherever_it_is_cut(tmp_path: Path) -> None:
    """A decoder that starts inside a file lacks what the frames before it hold: noise up to .2 for 20 ms."""
    story = np.repeat(speech.audio("ferry"), 2)
    soundfile.write(tmp_path / "a.mp3", story, 44100)
    data = Sound(tmp_path / "a.mp3")
    whole = data[:]
    assert len(whole) == len(story)
    for start in range(0, len(whole) - 3000, 33333):
        np.testing.assert_allclose(data[start : start + 3000], whole[start : start + 3000], atol=1e-5)
    assert data[50:50].shape == (0,)


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (sound(1).astype(np.float32), sound(1), None),
        ((sound(1) * 32768).round().astype(np.int16), sound(1), None),
        ((sound(1) * 2**31).round().astype(np.int32), sound(1), None),
        (sound(1)[None], sound(1), None),
        (sound(1)[:, None], sound(1), None),
        (np.stack([sound(1), sound(2)]), (sound(1) + sound(2)) / 2, "averaged"),
        ((np.stack([sound(1), sound(2)]).T * 32768).round().astype(np.int16), (sound(1) + sound(2)) / 2, "averaged"),
        (sound(1) * 1000, sound(1) / np.abs(sound(1)).max(), "divided"),
    ],
)
def test_sound_in_arrays_becomes_one_channel_within_one(
    tmp_path: Path, values: np.ndarray, expected: np.ndarray, note: str | None
) -> None:
    save(tmp_path, "a.npy")
    np.save(tmp_path / "a_audio.npy", values)
    dataset, notes = noted(tmp_path)
    data = dataset.stimulus("a", AUDIO).data
    assert isinstance(data, Floats)
    assert data[:].dtype == np.float32
    np.testing.assert_allclose(np.asarray(data), expected, atol=1e-4)
    np.testing.assert_array_equal(data[70:90], np.asarray(data)[70:90])
    assert [note in text for text in notes] == ([True] if note else [])


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVEjunk", b"\x00" * 500])
def test_sounds_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, "a.npy")
    (tmp_path / "a.wav").write_bytes(content)
    assert "a.wav cannot be read as sound" in refusal(tmp_path).cause


def test_empty_and_odd_sounds_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.npy")
    soundfile.write(tmp_path / "a.wav", np.zeros(0), AUDIO_RATE)
    assert "is empty" in refusal(tmp_path).cause
    (tmp_path / "a.wav").unlink()
    for values in (np.zeros((7, 9)), np.zeros(48000, np.uint8), np.zeros(0)):
        np.save(tmp_path / "a_audio.npy", values)
        assert "a_audio.npy" in refusal(tmp_path).cause


# Configuration and fingerprint


def test_the_configuration_builds_the_same_again(tmp_path: Path) -> None:
    dataset = folder(save(tmp_path, "a.npy", "a.wav"), bads=["ch1"])
    stored = json.loads(json.dumps(dataset.configuration()))
    assert stored["brain"] == "seeg"
    assert Folder(**stored).fingerprint() == dataset.fingerprint()
    assert dataset.brain == Space("seeg", ("channels", "time"), RATE)
    assert Folder(path="x").brain == Space("eeg", ("channels", "time"), "*")
    assert dataset.simulated is False


@pytest.mark.parametrize("name", ["a.npy", "a.wav"])
def test_the_fingerprint_follows_contents_size_and_time(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, "a.npy", "a.wav") / name
    dataset = folder(tmp_path)
    seen = [dataset.fingerprint()]
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    seen.append(folder(tmp_path).fingerprint())  # same size and time, other contents
    os.utime(path, (1, 1))
    seen.append(dataset.fingerprint())  # the same object sees that the file has changed
    seen.append(folder(tmp_path, rate=RATE * 1.001).fingerprint())
    assert len(set(seen)) == 4
    assert folder(tmp_path).fingerprint() == seen[2]


def test_large_arrays_are_opened_and_not_read(tmp_path: Path) -> None:
    form: Any = np.lib.format
    path = tmp_path / "a.npy"
    form.open_memmap(path, mode="w+", dtype=np.float64, shape=(64, 1_000_000))  # 0.5 GB, sparse
    array = open_npy(path)
    assert array.shape == (64, 1_000_000)
    assert Floats(array.T)[5:6, :].tolist() == [[0.0] * 64]


def test_unknown_recordings_get_the_nearest_name(tmp_path: Path) -> None:
    dataset = prepared(save(tmp_path, "anna.npy", "anna.wav"))
    with pytest.raises(HubError, match="anna"):
        dataset.recording("ana")
    with pytest.raises(HubError, match="anna"):
        dataset.stimulus("ana", AUDIO)


# The whole way


def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braindecode_hub.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated patient's recording, saved as a person would save theirs: integers (time, channels), and a wav."""
    place = tmp_path_factory.mktemp("own")
    patient = Phantom(contacts=8, shafts=1, stories=6, snr=3.0, rate=512.0, bads=0)
    patient.prepare(Context())
    recording = patient.recording("01")
    heard = np.zeros(round(recording.seconds * speech.RATE), np.float32)
    for trial in patient.trials():
        story = speech.audio(str(trial.stimulus))
        at = round(trial.start * speech.RATE)
        heard[at : at + len(story)] = story[: len(heard) - at]
    np.save(place / "patient.npy", (np.asarray(recording.brain.data).T * 1e7).round().astype(np.int16))
    soundfile.write(place / "patient.wav", heard, speech.RATE)
    return place


@pytest.mark.slow
def test_speech_is_found_in_files_given_by_data(own: Path, tmp_path: Path) -> None:
    given = ["--preset", "ridge", "--data", str(own)]
    for change in (
        "dataset.rate=512",
        "dataset.line_freq=50",
        "renderer.iterations=4",
        "metrics=[audio_seeg/mel_correlation]",
    ):
        given += ["--set", change]
    done = hub("run", "audio_seeg", *given, "--jobs", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((Path(done.stdout.splitlines()[-1]) / "metrics.json").read_text())
    score = metrics["scores"]["mel_correlation"]
    assert score["value"] > score["chance"] + 0.3
    assert score["p"] <= 0.05
    assert metrics["simulated"] is False
    assert metrics["dataset"]["use"] == "core/folder"
    assert all(abs(some["mel_correlation"]) < 0.15 for some in metrics["controls"].values())
    assert metrics["flags"] == []


def test_the_command_line_asks_for_the_rate_in_two_lines(own: Path, tmp_path: Path) -> None:
    done = hub("run", "audio_seeg", "--data", str(own), "--out", str(tmp_path))
    assert done.returncode == 2
    assert "does not say its sampling rate" in done.stderr
    assert "--set dataset.rate=1024" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_value_that_is_not_finite_is_named_by_channel_and_time(own: Path, tmp_path: Path) -> None:
    values = np.load(own / "patient.npy").astype(np.float32)
    values[512 * 40 + 256, 3] = np.nan
    np.save(tmp_path / "patient.npy", values)
    (tmp_path / "patient.wav").symlink_to(own / "patient.wav")
    done = hub(
        "run", "audio_seeg", "--data", str(tmp_path), "--set", "dataset.rate=512", "--out", str(tmp_path / "runs")
    )
    assert done.returncode == 1
    assert "ch4 at 40.500 s" in done.stderr
