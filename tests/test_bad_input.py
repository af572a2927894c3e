"""Bad input costs two lines: what is wrong and where, and what to do. Never a traceback, never a run that is "done"."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from braindecode_hub import save_recording
from braindecode_hub.cli import main
from braindecode_hub.phantom import speech

RATE, SECONDS, CHANNELS = 400, 40, 5
LIGHT = ("renderer=null", "metrics=[audio_seeg/mel_correlation]")

Refused = Callable[..., tuple[str, str]]


def brain() -> np.ndarray:
    """(channels, samples) float32, SIMULATED: noise, louder where the speech is."""
    loudness = np.interp(np.arange(RATE * SECONDS) / RATE, np.arange(len(sound())) / speech.RATE, np.abs(sound()))
    noise = np.random.default_rng(0).standard_normal((CHANNELS, RATE * SECONDS))
    return (noise * (0.05 + loudness) * 1000).astype(np.float32)


def sound() -> np.ndarray:
    return np.concatenate([speech.audio("ferry"), speech.audio("bread")])[: speech.RATE * SECONDS]


def pair(folder: Path, values: np.ndarray | None = None, audio: np.ndarray | None = None, name: str = "a") -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", brain() if values is None else values)
    soundfile.write(folder / f"{name}.wav", sound() if audio is None else audio, speech.RATE)
    return folder


def fif(folder: Path, annotations: mne.Annotations | None = None) -> Path:
    """A recording in FIF, and its sound."""
    pair(folder)
    (folder / "a.npy").unlink()
    info = mne.create_info([f"A{k}" for k in range(1, CHANNELS + 1)], RATE, "seeg")
    raw = mne.io.RawArray(brain() * 1e-6, info, verbose="ERROR")
    if annotations is not None:
        raw.set_annotations(annotations)
    raw.save(folder / "a_raw.fif", verbose="ERROR")
    return folder


def edf(folder: Path) -> Path:
    from edfio import Edf, EdfSignal

    pair(folder)
    (folder / "a.npy").unlink()
    signals = [EdfSignal(row, RATE, label=f"A{k}", physical_dimension="uV") for k, row in enumerate(brain(), 1)]
    Edf(signals).write(folder / "a.edf")
    return folder


@pytest.fixture
def ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], list[Path]]]:
    """Run audio_seeg on data; return the exit code, the lines of stderr, and the run folders."""

    def run(data: Path, *sets: str, until: str | None = None) -> tuple[int, list[str], list[Path]]:
        words = [word for one in (*LIGHT, *sets) for word in ("--set", one)]
        words += ["--until", until] if until else []
        out = tmp_path / "runs"
        with pytest.raises(SystemExit) as left:
            main(["run", "audio_seeg", "--data", str(data), "--jobs", "1", "--out", str(out), *words])
        lines = capsys.readouterr().err.splitlines()
        assert not [line for line in lines if "Traceback" in line]
        return int(left.value.code or 0), lines, sorted(out.glob("audio_seeg/2*"))

    return run


@pytest.fixture
def refused(tmp_path: Path, ran: Callable[..., tuple[int, list[str], list[Path]]]) -> Refused:
    """Run what must be refused; return its line of cause and its line of remedy."""

    def check(data: Path, *sets: str) -> tuple[str, str]:
        before = set((tmp_path / "runs/audio_seeg").glob("2*"))
        code, lines, folders = ran(data, *sets)
        assert code in (1, 2)
        [cause] = [line for line in lines if line.startswith("Error: ")]
        [remedy] = [line for line in lines if line.startswith("  Try: ")]
        assert lines[-2:] == [cause, remedy]
        assert "unexpected" not in cause and len(remedy) > 10
        for folder in set(folders) - before:
            assert (folder / "status").read_text().startswith("failed: ")
            assert not (folder / "metrics.json").exists()
            assert not (folder / "predictions.safetensors").exists()
        return cause, remedy

    return check


def test_a_wrong_rate_is_told_with_the_rate_that_would_fit(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in"), f"dataset.rate={RATE / 2}")
    assert "80.00 s" in cause and "40.00 s" in cause and "2 times" in cause
    assert f"{RATE} Hz would fit" in remedy


def test_a_rate_that_contradicts_the_file_is_refused(tmp_path: Path, refused: Refused) -> None:
    cause, _ = refused(edf(tmp_path / "in"), "dataset.rate=512")
    assert "a.edf is sampled at 400 Hz, but dataset.rate is 512" in cause


def test_brain_and_sound_of_other_lengths_are_refused(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in", audio=sound()[: 30 * speech.RATE]), f"dataset.rate={RATE}")
    assert "40.00 s" in cause and "30.00 s" in cause
    assert "cut both" in remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_values_that_are_not_finite_are_named(tmp_path: Path, refused: Refused, value: float, form: str) -> None:
    values = brain()
    values[2, 10 * RATE] = value
    data = pair(tmp_path / "in", values)
    if form == "npz":
        data = tmp_path / "a.npz"
        np.savez(data, brain=values, rate=RATE, audio=sound(), audio_rate=speech.RATE)
    cause, remedy = refused(data, *([f"dataset.rate={RATE}"] if form == "npy" else []))
    assert "ch3 at 10.000 s" in cause
    assert "bad" in remedy


def test_values_beyond_any_unit_and_impossible_mains_are_named(tmp_path: Path, refused: Refused) -> None:
    cause, _ = refused(pair(tmp_path / "huge", brain() * np.float32(1e27)), f"dataset.rate={RATE}")
    assert "reaches" in cause
    cause, _ = refused(pair(tmp_path / "mains"), f"dataset.rate={RATE}", "dataset.line_freq=-50")
    assert "mains of -50 Hz" in cause


def test_a_bad_channel_may_hold_anything(tmp_path: Path, ran: Any) -> None:
    values = brain()
    values[2, 10 * RATE :] = np.nan
    code, lines, [folder] = ran(
        pair(tmp_path / "in", values), f"dataset.rate={RATE}", "dataset.bads=[ch3]", until="fit"
    )
    assert (code, (folder / "status").read_text().strip()) == (0, "fitted"), lines


def test_sound_that_is_not_finite_is_named(tmp_path: Path, refused: Refused) -> None:
    audio = sound().copy()
    audio[5 * speech.RATE] = np.nan
    data = pair(tmp_path / "in")
    (data / "a.wav").unlink()
    np.save(data / "a_audio.npy", audio)
    cause, _ = refused(data, f"dataset.rate={RATE}", f"dataset.audio_rate={speech.RATE}")
    assert f"a_audio.npy is not finite at sample {5 * speech.RATE}" in cause


def test_a_flat_channel_is_named_and_dropped(tmp_path: Path, ran: Any) -> None:
    values = brain()
    values[1] = 7.0
    code, lines, [folder] = ran(pair(tmp_path / "in", values), f"dataset.rate={RATE}", until="fit")
    assert code == 0
    assert [line for line in lines if "ch2 stands still" in line]
    assert [line for line in lines if "features [1] hardly vary and are dropped" in line]
    assert (folder / "status").read_text() == "fitted\n"


def test_a_flat_recording_is_refused(tmp_path: Path, refused: Refused) -> None:
    cause, _ = refused(pair(tmp_path / "in", np.zeros((CHANNELS, RATE * SECONDS))), f"dataset.rate={RATE}")
    assert "recording a is flat" in cause


@pytest.mark.parametrize("key", ["bads", "channels"])
def test_channels_that_are_not_there_are_named(tmp_path: Path, refused: Refused, key: str) -> None:
    cause, remedy = refused(edf(tmp_path / "in"), f"dataset.{key}=[A1, AA2]")
    assert "no channel 'AA2'" in cause
    assert "A2" in remedy
    cause, _ = refused(pair(tmp_path / "npy"), f"dataset.rate={RATE}", "dataset.bads=[ch9]")
    assert "no channel 'ch9'" in cause


def test_time_and_channels_swapped_are_turned_when_clear_and_said(tmp_path: Path, ran: Any, refused: Refused) -> None:
    rate = f"dataset.rate={RATE}"
    code, lines, _ = ran(pair(tmp_path / "in", brain().T), rate, until="prepare")
    assert code == 0
    assert [line for line in lines if "its shape (16000, 5) is taken as time × channels" in line]
    cause, remedy = refused(pair(tmp_path / "square", np.ones((300, 400))), rate)
    assert "which axis is time is not clear" in cause
    assert "dataset.axis=" in remedy
    cause, _ = refused(pair(tmp_path / "said", brain()), rate, "dataset.axis=time_first")
    assert "0.01 s (16000 channels)" in cause


def test_integers_predict_what_floats_predict(tmp_path: Path, ran: Any) -> None:
    """No positions, no units, one trial, one subject: nothing of that is needed."""
    values, found = brain().round().clip(-32768, 32767), {}
    seen: list[Path] = []
    for kind in (np.int16, np.float32):
        data = pair(tmp_path / np.dtype(kind).name, values.astype(kind))
        code, lines, folders = ran(data, f"dataset.rate={RATE}", until="predict")
        assert code == 0, lines
        [folder] = [one for one in folders if one not in seen]
        seen.append(folder)
        assert (folder / "status").read_text() == "predicted\n"
        found[kind] = load_file(folder / "predictions.safetensors")
    assert found[np.int16].keys() == found[np.float32].keys()
    for name, array in found[np.int16].items():
        np.testing.assert_array_equal(array, found[np.float32][name])


def test_a_set_of_one_cannot_be_split_by_what_there_is_one_of(tmp_path: Path, refused: Refused) -> None:
    data = pair(tmp_path / "in")
    for key in ("stimulus", "subject", "session"):
        cause, remedy = refused(data, f"dataset.rate={RATE}", f"split.by={key}")
        assert f"split by {key}: there is only 1" in cause
        assert "time_block" in remedy


@pytest.mark.parametrize("kind", ["folder", "table", "npz", "npz folder", "events"])
def test_nothing_is_no_data(tmp_path: Path, refused: Refused, kind: str) -> None:
    data = tmp_path / "in"
    data.mkdir()
    if kind == "table":
        pair(data)
        (data / "stimuli.csv").write_text("onset,duration,stimulus\n")
    elif kind == "npz folder":
        save_recording(data / "x.npz", brain=brain(), rate=RATE, audio=sound(), audio_rate=speech.RATE)
        (data / "x.npz").rename(data / "x.old")
    elif kind != "folder":
        events = {"events/onset": np.zeros(0)} if kind == "events" else {}
        given = {} if kind == "npz" else {"brain": brain(), "rate": RATE, "audio": sound(), "audio_rate": 22050}
        np.savez(tmp_path / "x.npz", **given, **events)
        data = tmp_path / "x.npz"
    cause, _ = refused(data, *([f"dataset.rate={RATE}"] if kind in ("folder", "table") else []))
    told = {"table": "no row with a stimulus", "npz": "no field 'brain'", "events": "different lengths, or none"}
    assert told.get(kind, "holds no recording") in cause


def test_marked_gaps_become_breaks_and_no_trial_crosses_them(tmp_path: Path, ran: Any) -> None:
    data = fif(tmp_path / "in", mne.Annotations([10.0, 25.0], [1.5, 0.0], ["BAD_movement", "boundary"]))
    code, lines, [folder] = ran(data, until="prepare")
    assert code == 0, lines
    sides = json.loads((folder / "split.json").read_text())["folds"][0]["sides"]
    for trial in (trial for side in sides.values() for trial in side):
        assert trial["stop"] <= 10.0 or trial["start"] >= 11.5
        assert trial["stop"] <= 25.0 or trial["start"] >= 25.0


def test_a_recording_that_is_all_bad_is_refused(tmp_path: Path, refused: Refused) -> None:
    cause, _ = refused(fif(tmp_path / "in", mne.Annotations([0.0], [float(SECONDS)], ["BAD_all"])))
    assert "marked bad" in cause


@pytest.mark.parametrize("form", ["npy", "npz", "wav", "edf", "fif"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, refused: Refused, form: str, share: float) -> None:
    data, sets = tmp_path / "in", ()
    if form == "edf":
        path = edf(data) / "a.edf"
    elif form == "fif":
        path = fif(data) / "a_raw.fif"
    elif form == "npz":
        data = path = save_recording(
            tmp_path / "a.npz", brain=brain(), rate=RATE, audio=sound(), audio_rate=speech.RATE
        )
    else:
        path, sets = pair(data) / f"a.{form}", (f"dataset.rate={RATE}",)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    cause, _ = refused(data, *sets)
    assert path.name in cause


@pytest.mark.parametrize("form", ["npy", "npz", "wav", "edf", "fif"])
def test_files_of_something_else_are_refused(tmp_path: Path, refused: Refused, form: str) -> None:
    data = pair(tmp_path / "in")
    if form != "wav":
        (data / "a.npy").unlink()
    (data / f"a.{form}").write_bytes(b"not what you think" * 500)
    cause, _ = refused(data / f"a.{form}" if form == "npz" else data, f"dataset.rate={RATE}")
    assert f"a.{form}" in cause


def test_two_recordings_of_one_name_are_refused(tmp_path: Path, refused: Refused) -> None:
    pair(tmp_path / "in")
    edf(tmp_path / "other")
    (tmp_path / "other" / "a.edf").rename(tmp_path / "in" / "a.edf")
    cause, remedy = refused(tmp_path / "in", f"dataset.rate={RATE}")
    assert "two recordings are called 'a'" in cause
    assert "rename" in remedy
    names = ["A1", "A1", "A3", "A4", "A5"]
    np.savez(tmp_path / "b.npz", brain=brain(), rate=RATE, audio=sound(), audio_rate=speech.RATE, channels=names)
    assert "two channels called 'A1'" in refused(tmp_path / "b.npz")[0]


def test_units_that_nobody_knows_are_said_and_taken_as_they_are(tmp_path: Path, ran: Any) -> None:
    from edfio import Edf, EdfSignal

    data = edf(tmp_path / "in")
    Edf([EdfSignal(row, RATE, label=f"A{k}") for k, row in enumerate(brain(), 1)]).write(data / "a.edf")
    code, lines, _ = ran(data, until="fit")
    assert code == 0, lines
    assert [line for line in lines if "does not say the unit of A1, A2" in line]


@pytest.mark.parametrize(
    ("name", "cause"), [("a.nwb", "a.nwb"), ("in/dataset_description.json", "in"), ("a.xyz", "a.xyz")]
)
def test_data_that_nothing_reads_is_told_so(tmp_path: Path, refused: Refused, name: str, cause: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    soundfile.write(tmp_path / "a.wav", sound(), speech.RATE)
    assert cause in refused(path.parent if path.suffix == ".json" else path)[0]
