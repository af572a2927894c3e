"""EEGLAB, GDF and Neuroscan CNT, written byte by byte: volts, rates, names, and one line for what is cut off or odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import eeg_files
import h5py
import numpy as np
import pytest
import scipy.io
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.parts.brain_only import BrainOnly
from braindecode_hub.parts.folder import Folder
from braindecode_hub.parts.mne_files import open_with_mne
from braindecode_hub.parts.opening import Brain
from braindecode_hub.types import Context, Event

RATE, SECONDS, AUDIO_RATE = 200, 12, 8000
NAMES = ("Fz", "C3", "C4", "Pz")
GDF = ("gdf1", "gdf2")


def volts() -> np.ndarray:
    """(channels, samples) V, within ±200 µV."""
    return np.random.default_rng(0).uniform(-2e-4, 2e-4, (len(NAMES), RATE * SECONDS))


def write(folder: Path, layout: str, name: str = "p", **changed: Any) -> Path:
    """Write the recording in a layout: `set` (`flat`, `fdt`), `gdf1`, `gdf2`, `cnt16`, `cnt32`."""
    form, given = layout[:3], (volts(), RATE, NAMES)
    path = folder / f"{name}.{form}"
    if form == "set":
        return eeg_files.eeglab(path, *given, **{"flat": "flat" in layout, "fdt": "fdt" in layout, **changed})
    if form == "gdf":
        return eeg_files.gdf(path, *given, **{"version": {"gdf1": "1.25", "gdf2": "2.20"}[layout], **changed})
    return eeg_files.cnt(path, *given, **{"wide": layout == "cnt32", **changed})


LAYOUTS = ["set", "set flat", "set fdt", "set flat fdt", "gdf1", "gdf2", "cnt16", "cnt32"]


def opened(path: Path, *channels: str) -> Brain:
    return open_with_mne(path, "eeg", list(channels))


def refusal(path: Path) -> HubError:
    """Return how a file is refused, by the time it is read to its end: in one line, and a remedy in another."""
    with pytest.raises(HubError) as caught:
        np.asarray(opened(path).data)
    assert "\n" not in caught.value.cause + caught.value.remedy
    assert str(path.parent) in caught.value.cause
    return caught.value


def prepared(path: Path, **parameters: Any) -> tuple[Folder, list[str]]:
    events: list[Event] = []
    dataset = Folder(path=str(path), brain="eeg", **parameters)
    dataset.prepare(Context(log=events.append))
    return dataset, [event["text"] for event in events]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_volts_with_rate_and_names(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, layout)
    soundfile.write(tmp_path / "p.wav", np.random.default_rng(1).uniform(-0.5, 0.5, AUDIO_RATE * SECONDS), AUDIO_RATE)
    dataset, notes = prepared(tmp_path, bads=["C4"])
    recording = dataset.recording("p")
    assert (recording.brain.rate, recording.brain.units, recording.brain.channels) == (RATE, "V", NAMES)
    assert (recording.bads, recording.breaks, notes) == (("C4",), (), [])
    data = recording.brain.data
    assert data[:, 300:420].dtype == np.float32
    np.testing.assert_allclose(np.asarray(data), volts(), atol=2e-8)
    np.testing.assert_array_equal(data[1:3, 300:420:7], np.asarray(data)[1:3, 300:420:7])
    [trial] = dataset.trials()
    assert (trial.start, trial.stop, trial.stimulus) == (0.0, SECONDS, "p")
    [alone] = BrainOnly(path=str(path)).trials()
    assert (alone.stop, alone.stimulus) == (SECONDS, None)
    assert prepared(path, channels=["Pz", "Fz"])[0].recording("p").brain.channels == ("Pz", "Fz")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [0.0, 0.002, 0.02, 0.04, 0.3, 0.6, 0.97, 0.998])
def test_a_file_that_is_cut_off_anywhere_costs_one_line(tmp_path: Path, layout: str, part: float) -> None:
    path = write(tmp_path, layout, events=[(1.0, 769), (2.0, 770)])
    cut = path.with_suffix(".fdt") if "fdt" in layout else path
    whole = cut.read_bytes()
    cut.write_bytes(whole[: round(part * len(whole))])
    error = refusal(path)
    assert "damaged" in str(error) or "cut off" in error.cause or "holds" in error.cause


# EEGLAB


def test_eeglab_knows_types_places_and_boundaries(tmp_path: Path) -> None:
    places = np.array([[0.0, 0.07, 0.06], [-0.07, 0.0, 0.06], [0.07, 0.0, 0.06], [0.0, -0.07, 0.06]])
    path = write(tmp_path, "set", types={"Pz": "EOG"}, positions=places, events=[(2.0, "speech"), (5.0, "boundary")])
    brain = opened(path)
    assert (brain.channels, brain.frame, brain.gaps) == (NAMES[:3], "head", ((5.0, 5.0),))
    np.testing.assert_allclose(brain.positions, places[:3], atol=1e-6)
    assert brain.notes == ("channels left out: Pz (eog)",)
    assert opened(write(tmp_path, "set", events=[(5.0, "boundary")])).gaps == ((5.0, 5.0),)  # an only event


def test_an_fdt_belongs_to_its_recording(tmp_path: Path) -> None:
    path = write(tmp_path, "set fdt")
    assert [one.name for one in opened(path).files] == ["p.set", "p.fdt"]
    fdt = path.with_suffix(".fdt")
    fdt.write_bytes(fdt.read_bytes() + bytes(16))
    assert "p.fdt holds 38416 bytes, but its .set says 4 channels × 2400 samples, 38400 bytes" in refusal(path).cause
    fdt.rename(tmp_path / "q.fdt")
    assert refusal(path).remedy == "put the .fdt beside it, under the same name"


def as_mat73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"] = volts()
    with path.open("rb+") as handle:
        handle.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


ODD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "text": (lambda path: path.write_text("hello"), "cannot be read", "damaged"),
    "other": (lambda path: scipy.io.savemat(path, {"a": 1.0}, appendmat=False), "not as its format", "damaged"),
    "all": (lambda path: scipy.io.savemat(path, {"ALLEEG": 1.0}, appendmat=False), "ALLEEG", "a file of its own"),
    "epochs": (lambda path: write(path.parent, "set", trials=3), "number of trials is 3", "one continuous recording"),
    "old": (lambda path: write(path.parent, "set fdt", data="p.dat"), "Old data format", "a newer EEGLAB"),
    "rate": (lambda path: write(path.parent, "set", srate=float("nan")), "sampled at nan Hz", "export it again"),
    "7.3": (as_mat73, "matlab v7.3", "pip install pymatreader"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_recording_of_eeglab_is_told_from_what_is_damaged(tmp_path: Path, odd: str) -> None:
    make, cause, remedy = ODD[odd]
    make(tmp_path / "p.set")
    error = refusal(tmp_path / "p.set")
    assert cause in error.cause
    assert remedy in error.remedy


# GDF


@pytest.mark.parametrize("layout", GDF)
def test_a_new_segment_of_gdf_breaks_the_recording(tmp_path: Path, layout: str) -> None:
    assert opened(write(tmp_path, layout, events=[(0.0, 32766), (1.0, 769), (5.0, 32766)])).gaps == ((5.0, 5.0),)


@pytest.mark.parametrize("layout", GDF)
def test_slower_channels_of_gdf_are_left_out_and_named(tmp_path: Path, layout: str) -> None:
    brain = opened(write(tmp_path, layout, slow={"TEMP": 10}))
    assert (brain.channels, brain.rate, brain.notes) == (NAMES, RATE, ("channels left out: TEMP (slower)",))
    np.testing.assert_allclose(np.asarray(brain.data), volts(), atol=2e-8)


@pytest.mark.parametrize(
    ("layout", "unit", "scale"),
    [("gdf1", "mV", 1e-3), ("gdf1", "µV", 1e-6), ("gdf1", "nV", 1e-9), ("gdf2", "nV", 1e-9)],
)
def test_a_unit_that_would_be_taken_for_volts_is_refused(tmp_path: Path, layout: str, unit: str, scale: float) -> None:
    error = refusal(write(tmp_path, layout, unit=unit, scale=max(scale, 1e-6)))
    assert f"p.gdf: Fz is in '{unit}', which MNE takes for volts" in error.cause
    assert "save it in uV" in error.remedy


@pytest.mark.parametrize(("layout", "unit", "scale"), [("gdf2", "mV", 1e-3), ("gdf2", "V", 1.0), ("gdf1", "V", 1.0)])
def test_units_that_are_scaled_come_out_in_volts(tmp_path: Path, layout: str, unit: str, scale: float) -> None:
    values = np.random.default_rng(2).uniform(-900 * scale, 900 * scale, (4, RATE * SECONDS))
    version = "1.25" if layout == "gdf1" else "2.20"
    path = eeg_files.gdf(tmp_path / "p.gdf", values, RATE, NAMES, version=version, unit=unit, scale=scale)
    brain = opened(path)
    assert (brain.units, brain.notes) == ("V", ())
    np.testing.assert_allclose(np.asarray(brain.data), values, atol=0.02 * scale)


@pytest.mark.parametrize("layout", GDF)
def test_a_unit_that_gdf_does_not_say_is_said_so(tmp_path: Path, layout: str) -> None:
    brain = opened(write(tmp_path, layout, unit="", scale=1e-6))
    assert brain.units == ""
    assert brain.notes == ("the file does not say the unit of Fz, C3, C4, Pz: taken as it is",)


def test_gdf_without_a_table_of_events_is_read_if_mne_can(tmp_path: Path) -> None:
    for layout in GDF:
        path = write(tmp_path, layout)
        path.write_bytes(path.read_bytes()[:-8])
        if layout == "gdf2":
            np.testing.assert_allclose(np.asarray(opened(path).data), volts(), atol=2e-8)
        else:
            assert "has no table of events, without which MNE reads no GDF 1" in refusal(path).cause


@pytest.mark.parametrize("content", [b"", b"GDF", b"GDF abc ", b"EDF 1.25" + bytes(600), b"\xff" * 900])
def test_what_only_is_called_gdf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.gdf").write_bytes(content)
    assert "p.gdf cannot be read: its header is damaged, or cut off" in refusal(tmp_path / "p.gdf").cause


# Neuroscan CNT


@pytest.mark.parametrize("layout", ["cnt16", "cnt32"])
def test_bad_channels_of_cnt_are_bad(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, layout, bads=["C3"], events=[(1.0, 3)])
    soundfile.write(tmp_path / "p.wav", np.zeros(AUDIO_RATE * SECONDS), AUDIO_RATE)
    assert prepared(path, bads=["Pz"])[0].recording("p").bads == ("C3", "Pz")


def test_a_file_of_ant_neuro_is_told_from_neuroscan(tmp_path: Path) -> None:
    (tmp_path / "p.cnt").write_bytes(b"RIFF" + bytes(2000))
    assert "it is a file of ANT Neuro: pip install antio" in refusal(tmp_path / "p.cnt").remedy
