"""Recordings in the formats that MNE reads: the same samples, read where they are sliced, with what the file knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import soundfile
from edfio import Edf, EdfSignal

from braindecode_hub.errors import HubError
from braindecode_hub.parts.folder import Folder
from braindecode_hub.parts.mne_files import MneSamples, open_with_mne
from braindecode_hub.types import Context, Event

RATE, SECONDS, AUDIO_RATE = 200, 12, 8000
NAMES = ("A1", "A2", "B1", "B2")


def samples() -> np.ndarray:
    """(channels, samples) in V."""
    return np.random.default_rng(0).standard_normal((len(NAMES), RATE * SECONDS)) * 1e-5


def raw_of(kind: str = "seeg", *, more: tuple[str, ...] = ()) -> Any:
    info = mne.create_info([*NAMES, *more], RATE, [kind] * len(NAMES) + ["stim", "ecg", "eog"][: len(more)])
    info["line_freq"] = 60.0
    data = np.vstack([samples(), *(np.zeros((1, RATE * SECONDS)) for _ in more)])
    return mne.io.RawArray(data, info, verbose="ERROR")


def save(folder: Path, form: str, raw: Any, name: str = "p") -> Path:
    soundfile.write(
        folder / f"{name}.wav", np.random.default_rng(1).uniform(-0.5, 0.5, AUDIO_RATE * SECONDS), AUDIO_RATE
    )
    path = folder / f"{name}{'_raw.fif' if form == 'fif' else '.' + form}"
    if form == "fif":
        raw.save(path, verbose="ERROR")
    elif form == "bdf":
        from edfio import Bdf, BdfSignal

        Bdf(
            [
                BdfSignal(row * 1e6, RATE, label=one, physical_dimension="uV")
                for one, row in zip(NAMES, samples(), strict=True)
            ]
        ).write(path)
    else:
        mne.export.export_raw(path, raw, verbose="ERROR")
    return path


def prepared(path: Path, **parameters: Any) -> tuple[Folder, list[str]]:
    events: list[Event] = []
    dataset = Folder(path=str(path), **{"brain": "seeg", **parameters})
    dataset.prepare(Context(log=events.append))
    return dataset, [event["text"] for event in events]


@pytest.mark.parametrize("form", ["fif", "edf", "bdf", "vhdr"])
@pytest.mark.parametrize("whole", [False, True])
def test_every_format_gives_the_same_samples(tmp_path: Path, form: str, whole: bool) -> None:
    path = save(tmp_path, form, raw_of())
    dataset, _ = prepared(tmp_path if whole else path)
    recording = dataset.recording("p")
    assert (recording.brain.rate, recording.brain.units, recording.brain.channels) == (RATE, "V", NAMES)
    data = recording.brain.data
    assert isinstance(data, MneSamples)
    assert data.shape == (4, RATE * SECONDS)
    part = data[:, 300:420]
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, samples()[:, 300:420], atol=2e-9)
    np.testing.assert_array_equal(data[1:3, 300:420:7], part[1:3, ::7])
    np.testing.assert_array_equal(np.asarray(data)[:, 300:420], part)
    np.testing.assert_array_equal(data[2], np.asarray(data)[2])
    assert data[:, 50:50].shape == (4, 0)
    [trial] = dataset.trials()
    assert (trial.start, trial.stop, trial.stimulus) == (0.0, SECONDS, "p")


def test_nothing_is_loaded_before_it_is_sliced(tmp_path: Path) -> None:
    brain = open_with_mne(save(tmp_path, "fif", raw_of()), "seeg", [])
    assert not brain.data._raw.preload


def test_sensors_come_from_the_file(tmp_path: Path) -> None:
    raw = raw_of(more=("TRIG", "ECG"))
    montage = mne.channels.make_dig_montage(
        {name: [0.01 * k, 0.02, 0.03] for k, name in enumerate(NAMES[:3])}, coord_frame="head"
    )
    raw.set_montage(montage, on_missing="ignore")
    raw.info["bads"] = ["B1"]
    dataset, notes = prepared(save(tmp_path, "fif", raw), bads=["A2"])
    recording = dataset.recording("p")
    assert recording.bads == ("B1", "A2")
    assert (recording.line_freq, recording.position_frame) == (60.0, "head")
    np.testing.assert_allclose(recording.positions[:3], [[0.01 * k, 0.02, 0.03] for k in range(3)], atol=1e-6)
    assert np.isnan(recording.positions[3]).all()
    assert [note for note in notes if "channels left out: TRIG (stim), ECG (ecg)" in note]
    assert prepared(tmp_path, line_freq=50.0)[0].recording("p").line_freq == 50.0


def test_channels_may_be_chosen_in_an_order(tmp_path: Path) -> None:
    save(tmp_path, "edf", raw_of())
    recording = prepared(tmp_path, channels=["B1", "A1"])[0].recording("p")
    assert recording.brain.channels == ("B1", "A1")
    np.testing.assert_allclose(recording.brain.data[:, 5:60], samples()[[2, 0], 5:60], atol=2e-9)
    with pytest.raises(HubError, match="no channel 'B9'"):
        prepared(tmp_path, channels=["B9"])


def test_depth_electrodes_that_a_format_calls_eeg_are_taken_and_said(tmp_path: Path) -> None:
    _, notes = prepared(save(tmp_path, "edf", raw_of()))
    assert [note for note in notes if "no channel is marked as seeg: its 4 EEG channels are taken" in note]
    assert not prepared(tmp_path, brain="eeg")[1]
    with pytest.raises(HubError, match="no meg channel: it holds 4 eeg"):
        prepared(tmp_path, brain="meg")


@pytest.mark.parametrize("form", ["fif", "vhdr"])
def test_gaps_cut_trials_and_break_filters(tmp_path: Path, form: str) -> None:
    raw = raw_of()
    raw.set_annotations(mne.Annotations([3.0, 8.0, 9.0], [1.0, 0.0, 1.0], ["BAD_x", "boundary", "speech"]))
    dataset, _ = prepared(save(tmp_path, form, raw))
    assert dataset.recording("p").breaks == (3.0, 4.0, 8.0)
    assert [(t.start, t.stop, t.stimulus_start) for t in dataset.trials()] == [
        (0.0, 3.0, 0.0),
        (4.0, 8.0, 4.0),
        (8.0, 12.0, 8.0),
    ]


def test_gaps_are_counted_from_the_first_sample_that_was_kept(tmp_path: Path) -> None:
    raw = raw_of()
    raw.set_meas_date(0)
    raw.set_annotations(mne.Annotations([6.0], [1.0], ["BAD_x"], orig_time=0))
    brain = open_with_mne(save(tmp_path, "fif", raw.crop(2.0)), "seeg", [])
    assert brain.gaps == ((4.0, 5.0),)


def test_slower_channels_are_left_out_and_named(tmp_path: Path) -> None:
    signals = [
        EdfSignal(row * 1e6, RATE, label=name, physical_dimension="uV")
        for name, row in zip(NAMES, samples(), strict=True)
    ]
    slow = EdfSignal(np.zeros(SECONDS * 10), 10, label="TEMP", physical_dimension="uV")
    Edf([*signals[:2], slow, *signals[2:]]).write(tmp_path / "p.edf")
    brain = open_with_mne(tmp_path / "p.edf", "eeg", [])
    assert brain.channels == NAMES
    assert [note for note in brain.notes if "TEMP (slower)" in note]


def test_names_in_bids_style_give_subject_session_and_run(tmp_path: Path) -> None:
    for name in ("sub-01_ses-2_run-3_ieeg", "sub-01_ses-4_task-x_ieeg"):
        save(tmp_path, "edf", raw_of(), name)
    trials = prepared(tmp_path)[0].trials()
    assert [t.groups["subject"] for t in trials] == ["01", "01"]
    assert [t.groups["session"] for t in trials] == ["2", "4"]
    assert trials[0].groups["run"] == "3"


def test_later_parts_of_a_fif_belong_to_the_first(tmp_path: Path) -> None:
    path = save(tmp_path, "fif", raw_of())
    (tmp_path / "p_raw-1.fif").write_bytes(path.read_bytes())
    assert [t.id for t in prepared(tmp_path)[0].trials()] == ["p"]


def test_the_fingerprint_follows_every_file_of_a_recording(tmp_path: Path) -> None:
    save(tmp_path, "vhdr", raw_of())
    seen = {prepared(tmp_path)[0].fingerprint()}
    for name in ("p.eeg", "p.vmrk", "p.vhdr", "p.wav"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\n" if name[-1] != "g" else b"\0" * 16)
        seen.add(prepared(tmp_path)[0].fingerprint())
    assert len(seen) == 5


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "edf", raw_of())
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(HubError, match=r"needs mne\n.*braindecode-hub\[io\]"):
        prepared(tmp_path)


def test_a_header_without_its_samples_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "vhdr", raw_of())
    (tmp_path / "p.eeg").unlink()
    with pytest.raises(HubError, match=r"p\.vhdr cannot be read"):
        prepared(path)
