"""NWB files are read lazily, on the file's own clock, and what is not clear in them costs one line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import nwb as made
import pytest
from nwb import AUDIO_RATE, CHANNELS, RATE, SECONDS, change, plain, sound, volts
from pynwb import NWBHDF5IO, H5DataIO

import braindecode_hub as bdh
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.parts.nwb import Nwb
from braindecode_hub.phantom import speech
from braindecode_hub.stretches import Stretch, prepare_brain
from braindecode_hub.types import Context, Event, Space, Trial
from braindecode_hub_audio_seeg.phantom import Phantom

AUDIO = Space("audio", ("time",), "*")
POSITIONS = np.array(
    [[0.04, 0.01, 0.02], [0.043, 0.01, 0.02], [0.046, 0.01, 0.02], [-0.04, 0, 0], [-0.05, 0, 0], [-0.06, 0, 0]]
)


def prepared(path: Path, **parameters: Any) -> Nwb:
    dataset = Nwb(path=str(path), **parameters)
    dataset.prepare(Context())
    return dataset


def noted(path: Path, **parameters: Any) -> tuple[Nwb, list[str]]:
    events: list[Event] = []
    dataset = Nwb(path=str(path), **parameters)
    dataset.prepare(Context(log=events.append))
    return dataset, [event["text"] for event in events if event["kind"] == "note"]


def refusal(path: Path, **parameters: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        prepared(path, **parameters)
    assert "\n" not in caught.value.cause
    assert "\n" not in caught.value.remedy
    return caught.value


def only(dataset: Nwb) -> Trial:
    [trial] = dataset.trials()
    return trial


# What is in a file


def test_a_file_that_pynwb_wrote_is_read_as_pynwb_reads_it(tmp_path: Path) -> None:
    gains = np.linspace(0.5, 2, CHANNELS)
    file = made.Nwb().electrodes(POSITIONS, bad=[False, True, False, False, False, False])
    file.brain(conversion=2.5e-7, offset=1e-4, channel_conversion=gains).audio()
    path = file.save(tmp_path / "a.nwb")
    with NWBHDF5IO(path, "r") as io:
        expected = io.read().acquisition["iEEG"].get_data_in_units().T
    dataset = prepared(path)
    trial = only(dataset)
    recording = dataset.recording(trial.recording)
    assert (recording.subject, recording.session, trial.groups) == ("P01", "s1", {"subject": "P01", "session": "s1"})
    assert recording.brain.channels == ("LA1", "LA2", "LA3", "RB1", "RB2", "RB3")
    assert (recording.brain.rate, recording.brain.units, recording.brain.modality) == (RATE, "V", "seeg")
    assert recording.bads == ("LA2",)
    assert recording.shafts == ("LA", "LA", "LA", "RB", "RB", "RB")
    np.testing.assert_allclose(recording.positions, POSITIONS, atol=1e-7)
    np.testing.assert_allclose(np.asarray(recording.brain.data), expected, rtol=1e-6)
    assert (trial.start, trial.stop, trial.stimulus_start, trial.stimulus_stop) == (0.0, SECONDS, 0.0, SECONDS)
    heard = dataset.stimulus(str(trial.stimulus), AUDIO)
    assert heard.rate == AUDIO_RATE
    np.testing.assert_array_equal(np.asarray(heard.data), sound())


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), slice(3, 9)),
        (slice(1, 4), slice(0, 50, 7)),
        (2, slice(5, 8)),
        slice(0, 2),
        3,
        (slice(None), 7),
        (slice(None), slice(9, 2, -1)),
        (slice(None), slice(6, 2)),
    ],
)
def test_samples_slice_like_an_array(tmp_path: Path, key: Any) -> None:
    data = prepared(plain(tmp_path / "a.nwb")).recording("P01/s1").brain.data
    np.testing.assert_array_equal(data[key], (volts().T * 1e-7).astype(np.float32)[key])
    assert data[key].dtype == np.float32


def test_compressed_and_turned_data_are_the_same_recording(tmp_path: Path) -> None:
    packed = H5DataIO(volts(), compression="gzip", chunks=(256, 2))
    made.Nwb().brain(data=packed).audio().save(tmp_path / "a.nwb")
    made.Nwb().brain(data=volts().T.copy()).audio().save(tmp_path / "b.nwb")
    for name in ("a.nwb", "b.nwb"):
        dataset = prepared(tmp_path / name)
        np.testing.assert_array_equal(dataset.recording("P01/s1").brain.data[:, 7:99], volts().T[:, 7:99])
        assert only(dataset).stop == SECONDS


def test_an_axis_that_nothing_tells_must_be_said(tmp_path: Path) -> None:
    path = change(plain(tmp_path / "a.nwb"), acquisition__iEEG__data=volts().T, acquisition__iEEG__electrodes=None)
    error = refusal(path)
    assert "6 × 5000" in error.cause
    assert "dataset.axis=channels_first" in error.remedy
    dataset = prepared(path, axis="channels_first")
    assert dataset.recording("P01/s1").brain.data.shape == (CHANNELS, 5000)
    assert dataset.recording("P01/s1").brain.channels == ("ch1", "ch2", "ch3", "ch4", "ch5", "ch6")


@pytest.mark.parametrize(("scale", "said"), [(1, None), (1e3, "millimetres"), (1e6, "micrometres")])
def test_positions_are_metres_whatever_the_file_holds(tmp_path: Path, scale: float, said: str | None) -> None:
    path = made.Nwb().electrodes(POSITIONS * scale).brain().audio().save(tmp_path / "a.nwb")
    dataset, notes = noted(path)
    np.testing.assert_allclose(dataset.recording("P01/s1").positions, POSITIONS, rtol=1e-6)
    assert [said in note for note in notes] == ([True] if said else [])


def test_positions_in_no_plausible_unit_are_left_out_and_one_may_say_it(tmp_path: Path) -> None:
    path = made.Nwb().electrodes(POSITIONS * 30).brain().audio().save(tmp_path / "a.nwb")
    dataset, [note] = noted(path)
    assert dataset.recording("P01/s1").positions is None
    assert "position_unit" in note
    known = prepared(path, position_unit="cm").recording("P01/s1").positions
    np.testing.assert_allclose(known, POSITIONS * 0.3, rtol=1e-6)


def test_an_electrode_without_a_place_is_nan_and_the_others_keep_theirs(tmp_path: Path) -> None:
    places = POSITIONS.copy()
    places[1, 2] = np.nan
    path = made.Nwb().electrodes(places).brain().audio().save(tmp_path / "a.nwb")
    known = prepared(path).recording("P01/s1").positions
    assert np.isnan(known[1]).all()
    np.testing.assert_allclose(known[[0, 2]], places[[0, 2]], atol=1e-7)


@pytest.mark.parametrize(
    ("labels", "groups", "names", "shafts"),
    [
        (None, "AAABBB", "ch1", "AAABBB"),
        (["1", "2", "3", "1", "2", "3"], "AAABBB", "A-1", "AAABBB"),
        (["A1", "A2", "A3", "B1", "B2", "B3"], "GGGGGG", "A1", ""),
        (["a", "b", "c", "d", "e", "f"], "GGGGGG", "a", "GGGGGG"),
    ],
)
def test_names_and_shafts_come_from_labels_and_groups(
    tmp_path: Path, labels: Any, groups: str, names: str, shafts: str
) -> None:
    path = made.Nwb().electrodes(labels=labels, groups=tuple(groups)).brain().audio().save(tmp_path / "a.nwb")
    recording = prepared(path).recording("P01/s1")
    assert recording.brain.channels[0] == names
    assert len(set(recording.brain.channels)) == CHANNELS
    assert recording.shafts == tuple(shafts)


def test_bads_add_to_the_tables_and_must_exist(tmp_path: Path) -> None:
    path = made.Nwb().electrodes(bad=[True] + [False] * 5).brain().audio().save(tmp_path / "a.nwb")
    assert prepared(path, bads=["RB3"]).recording("P01/s1").bads == ("LA1", "RB3")
    with pytest.raises(HubError, match="did you mean RB3"):
        prepared(path, bads=["RB4"]).recording("P01/s1")


# Sound


@pytest.mark.parametrize(
    ("values", "more", "expected", "note"),
    [
        ((sound() * 32768).round().astype(np.int16), {}, sound(), None),
        ((sound() * 32768).round().astype(np.int16), {"conversion": 1 / 32768}, sound(), None),
        (sound() * 4000, {}, sound() / np.abs(sound()).max(), "divided by that"),
        ((sound() * 30000).astype(np.int16), {"conversion": 0.5}, sound() / np.abs(sound()).max(), "divided by that"),
        (np.stack([sound(), sound(seed=2)], axis=1), {}, (sound() + sound(seed=2)) / 2, "averaged"),
    ],
)
def test_sound_becomes_one_channel_within_one(
    tmp_path: Path, values: np.ndarray, more: dict[str, Any], expected: np.ndarray, note: str | None
) -> None:
    dataset, notes = noted(made.Nwb().brain().audio(data=values, **more).save(tmp_path / "a.nwb"))
    data = dataset.stimulus("P01/s1", AUDIO).data
    np.testing.assert_allclose(np.asarray(data), expected, atol=2e-4)
    np.testing.assert_array_equal(data[100:140:3], np.asarray(data)[100:140:3])
    assert [note in text for text in notes] == ([True] if note else [])


def test_the_peak_of_a_sound_is_looked_for_once(tmp_path: Path) -> None:
    path = made.Nwb().brain().audio(data=sound() * 40).save(tmp_path / "a.nwb")
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        dataset = Nwb(path=str(path))
        dataset.prepare(Context(cache=cache))
        assert np.abs(np.asarray(dataset.stimulus("P01/s1", AUDIO).data)).max() == pytest.approx(1)
        assert len(cache.entries()) == 1


# Time


def in_step(dataset: Nwb, brain_at: float, sound_at: float) -> bool:
    """Say whether some trial maps that second of the recording to that second of the sound, within 1 ms."""
    for trial in dataset.trials():
        if trial.start <= brain_at <= trial.stop:
            assert trial.stimulus_start is not None
            assert trial.stimulus_stop is not None
            share = (brain_at - trial.start) / trial.seconds
            mapped = trial.stimulus_start + share * (trial.stimulus_stop - trial.stimulus_start)
            return abs(mapped - sound_at) < 1e-3
    return False


def test_series_that_start_apart_are_aligned_by_the_files_clock(tmp_path: Path) -> None:
    path = made.Nwb().brain(starting_time=100.0, rate=RATE).audio(starting_time=101.25).save(tmp_path / "a.nwb")
    trial = only(prepared(path))
    assert (trial.start, trial.stop) == (1.25, 10.0)
    assert (trial.stimulus_start, trial.stimulus_stop) == (0.0, 8.75)


def test_a_drifting_oscillator_is_mapped_and_its_rate_is_nominal(tmp_path: Path) -> None:
    at = 7e4 + np.arange(5000) / RATE
    heard = 7e4 + 0.5 + np.arange(80000) / AUDIO_RATE * (1 + 3e-4)
    path = made.Nwb().brain(timestamps=at).audio(timestamps=heard).save(tmp_path / "a.nwb")
    dataset = prepared(path)
    assert dataset.recording("P01/s1").brain.rate == RATE
    assert dataset.stimulus("P01/s1", AUDIO).rate == AUDIO_RATE
    assert in_step(dataset, heard[40000] - at[0], 40000 / AUDIO_RATE)
    assert in_step(dataset, heard[72000] - at[0], 72000 / AUDIO_RATE)


def test_lost_samples_become_breaks_and_sound_stays_aligned(tmp_path: Path) -> None:
    at = 50 + np.arange(5000) / RATE
    at[2000:] += 3.0
    path = made.Nwb().brain(timestamps=at).audio(data=sound(13), starting_time=50.0).save(tmp_path / "a.nwb")
    dataset = prepared(path)
    assert dataset.recording("P01/s1").breaks == (4.0,)
    first, second = dataset.trials()
    assert (first.start, first.stop, first.stimulus_stop) == pytest.approx((0, 4, 4))
    assert (second.start, second.stop, second.stimulus_start, second.stimulus_stop) == pytest.approx((4, 10, 7, 13))
    assert len({first.id, second.id}) == 2


def test_sound_with_a_gap_is_cut_there_too(tmp_path: Path) -> None:
    heard = np.arange(80000) / AUDIO_RATE
    heard[40000:] += 2.0
    dataset = prepared(made.Nwb().brain().audio(timestamps=heard).save(tmp_path / "a.nwb"))
    found = [(t.start, t.stop, t.stimulus_start) for t in dataset.trials()]
    np.testing.assert_allclose(found, [(0, 5, 0), (7, 10, 5)], atol=1e-9)


def test_jitter_of_a_millisecond_is_no_gap(tmp_path: Path) -> None:
    at = np.arange(5000) / RATE + np.random.default_rng(0).uniform(-0.0005, 0.0005, 5000)
    dataset = prepared(made.Nwb().brain(timestamps=at).audio().save(tmp_path / "a.nwb"))
    assert dataset.recording("P01/s1").breaks == ()
    assert len(dataset.trials()) == 1


def bent(kind: str) -> np.ndarray:
    at = np.arange(5000) / RATE
    if kind == "wobble":
        return at + 0.02 * np.sin(at)
    if kind == "many gaps":
        return at + np.floor(at / 0.1) * 0.05
    if kind == "nan":
        at[77] = np.nan
    elif kind == "back":
        at[3000:] -= 1.0
    elif kind == "still":
        at[:] = 1.0
    return at


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("wobble", "ms off a straight line"),
        ("many gaps", "irregular"),
        ("nan", "timestamp 77 of"),
        ("back", "timestamp 3000 of"),
        ("still", "do not rise"),
    ],
)
def test_timestamps_that_are_no_clock_are_refused(tmp_path: Path, kind: str, cause: str) -> None:
    path = made.Nwb().brain(timestamps=bent(kind)).audio().save(tmp_path / "a.nwb")
    error = refusal(path)
    assert cause in error.cause
    assert "/acquisition/iEEG" in error.cause


def test_another_number_of_timestamps_is_refused(tmp_path: Path) -> None:
    path = made.Nwb().brain(timestamps=bent("")).audio().save(tmp_path / "a.nwb")
    assert (
        "5000 samples, but 4999 timestamps" in refusal(change(path, acquisition__iEEG__timestamps=bent("")[1:])).cause
    )


def test_brain_and_sound_that_never_meet_are_refused(tmp_path: Path) -> None:
    path = made.Nwb().brain().audio(starting_time=1000.0).save(tmp_path / "a.nwb")
    assert "share no time" in refusal(path).cause


# Which series


def test_several_candidates_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    file = made.Nwb().brain().brain("ECoG", data=volts() + 1).audio().audio("Clean", data=sound(seed=3))
    path = file.save(tmp_path / "a.nwb")
    error = refusal(path)
    assert "/acquisition/iEEG (5000 × 6, 500 Hz, volts)" in error.cause
    assert "/acquisition/ECoG" in error.cause
    assert "--set dataset.brain=/acquisition/" in error.remedy
    assert error.usage
    error = refusal(path, brain="/acquisition/ECoG")
    assert "/acquisition/Clean (80000, 8000 Hz, a.u.)" in error.cause
    assert "--set dataset.audio=" in error.remedy
    dataset = prepared(path, brain="/acquisition/ECoG", audio="acquisition/Clean")
    np.testing.assert_array_equal(dataset.recording("P01/s1").brain.data[:, :5], volts().T[:, :5] + 1)
    np.testing.assert_array_equal(dataset.stimulus("P01/s1", AUDIO).data[:5], sound(seed=3)[:5])


def test_a_misspelt_series_gets_the_nearest(tmp_path: Path) -> None:
    error = refusal(plain(tmp_path / "a.nwb"), brain="/acquisition/iEGG")
    assert "no series /acquisition/iEGG" in error.cause
    assert "/acquisition/iEEG" in error.remedy


def test_what_is_slow_or_electrical_is_no_sound(tmp_path: Path) -> None:
    file = made.Nwb().brain().audio("heart", data=sound(rate=100), rate=100.0)
    error = refusal(file.save(tmp_path / "a.nwb"))
    assert "holds no sound" in error.cause
    assert "/acquisition/heart (1000, 100 Hz, a.u.)" in error.cause


def test_a_brain_that_is_a_plain_time_series_may_be_named(tmp_path: Path) -> None:
    path = made.Nwb().audio().audio("iEEG", data=volts() * 0.1, rate=RATE, unit="uV").save(tmp_path / "a.nwb")
    assert "holds no ElectricalSeries" in refusal(path).cause
    recording = prepared(path, brain="/acquisition/iEEG").recording("P01/s1")
    assert recording.brain.units == "uV"
    np.testing.assert_allclose(recording.brain.data[:, :9], volts().T[:, :9] * 0.1, rtol=1e-6)


def test_text_is_no_recording(tmp_path: Path) -> None:
    words = np.array([b"ja"] * 5000)
    path = made.Nwb().brain().audio().audio("Stimulus", data=words, rate=RATE).save(tmp_path / "a.nwb")
    assert only(prepared(path)).stop == SECONDS  # it stands beside them unharmed
    assert "not (samples, channels) of numbers" in refusal(path, brain="/acquisition/Stimulus").cause


def test_links_are_followed_and_count_once(tmp_path: Path) -> None:
    plain(tmp_path / "a.nwb")
    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        file["processing/ecephys/LFP/again"] = h5py.SoftLink("/acquisition/iEEG")
        file.move("acquisition/Audio/data", "hidden")
        file["acquisition/Audio/data"] = h5py.SoftLink("/hidden")
        file["analysis/gone"] = h5py.SoftLink("/nowhere")
    assert only(prepared(tmp_path / "a.nwb")).stop == SECONDS


def test_samples_may_lie_in_another_file(tmp_path: Path) -> None:
    plain(tmp_path / "a.nwb")
    with h5py.File(tmp_path / "a.nwb", "r+") as file, h5py.File(tmp_path / "raw.h5", "w") as other:
        file.copy("acquisition/iEEG/data", other, "data")
        del file["acquisition/iEEG/data"]
        file["acquisition/iEEG/data"] = h5py.ExternalLink("raw.h5", "/data")
    data = prepared(tmp_path / "a.nwb").recording("P01/s1").brain.data
    np.testing.assert_allclose(data[:, :9], volts().T[:, :9] * 1e-7, rtol=1e-6)
    (tmp_path / "raw.h5").unlink()
    assert "ElectricalSeries" in refusal(tmp_path / "a.nwb").cause


# Trials


def test_rows_of_the_table_are_trials(tmp_path: Path) -> None:
    file = made.Nwb().brain(starting_time=1.0, rate=RATE).audio(starting_time=0.5)
    path = file.trial(2.0, 4.0).trial(5.0, 6.5).trial(10.0, 12.0).save(tmp_path / "a.nwb")
    found = [(t.start, t.stop, t.stimulus_start, t.stimulus_stop) for t in prepared(path).trials()]
    expected = [(1, 3, 1.5, 3.5), (4, 5.5, 4.5, 6), (9, 9.5, 9.5, 10)]  # the last ends with the sound
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert only(prepared(path, trials="whole")).seconds == pytest.approx(9.5)
    assert len(prepared(path, trials="table").trials()) == 3


def test_rows_of_one_name_are_one_stimulus_with_the_sound_of_the_first(tmp_path: Path) -> None:
    file = made.Nwb().brain().audio()
    path = file.trial(1, 2, played="a").trial(3, 4, played="b").trial(6, 7.01, played="a").save(tmp_path / "a.nwb")
    dataset = prepared(path, stimulus="played")
    found = [(t.stimulus, t.stimulus_start, t.groups["story"]) for t in dataset.trials()]
    assert found == [("a", 0.0, "a"), ("b", 0.0, "b"), ("a", 0.0, "a")]
    np.testing.assert_array_equal(np.asarray(dataset.stimulus("a", AUDIO).data), sound()[8000:16000])
    assert dataset.trials()[2].stimulus_stop == pytest.approx(1.0)
    unset = prepared(path).trials()
    assert {t.stimulus for t in unset} == {"P01/s1"}
    assert all("story" not in t.groups for t in unset)


@pytest.mark.parametrize(
    ("parameters", "cause"),
    [
        ({"stimulus": "plaid"}, "no column 'plaid'"),
        ({"trials": "/intervals/epochs"}, "no table /intervals/epochs"),
        ({"trials": "whole", "stimulus": "played"}, "without a table"),
        ({"stimulus": "played"}, "'a' lasts 2.00 s in trial 1, 1.00 s before"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, parameters: dict[str, Any], cause: str) -> None:
    path = made.Nwb().brain().audio().trial(1, 2, played="a").trial(3, 5, played="a").save(tmp_path / "a.nwb")
    assert cause in refusal(path, **parameters).cause


def test_a_row_that_ends_before_it_starts_is_named(tmp_path: Path) -> None:
    path = made.Nwb().brain().audio().trial(1, 2).trial(4, 3).save(tmp_path / "a.nwb")
    assert "row 1 of /intervals/trials lasts from 4 to 3 s" in refusal(path).cause


# Which file


def test_a_folder_is_read_by_metadata_never_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "sub-9").mkdir()
    made.Nwb("B 2", "two").brain().audio().save(tmp_path / "sub-9" / "x.nwb")
    made.Nwb("A", None, "morning").brain().audio().save(tmp_path / "y.nwb")
    made.Nwb("A", None, "evening").brain().audio().save(tmp_path / "z.nwb")
    (tmp_path / "._y.nwb").write_bytes(b"junk")
    dataset = prepared(tmp_path)
    found = {(t.recording, t.groups["subject"], t.groups["session"]) for t in dataset.trials()}
    assert found == {("B-2/two", "B-2", "two"), ("A/morning", "A", "morning"), ("A/evening", "A", "evening")}


def test_sessions_that_hold_copies_of_one_sound_share_their_stimulus(tmp_path: Path) -> None:
    for subject, seed in (("A", 1), ("B", 1), ("C", 2)):
        made.Nwb(subject).brain().audio(data=made.sound(seed=seed)).save(tmp_path / f"{subject}.nwb")
    assert [trial.stimulus for trial in prepared(tmp_path).trials()] == ["A/s1", "A/s1", "C/s1"]


def test_files_that_do_not_say_whose_they_are(tmp_path: Path) -> None:
    made.Nwb(None).brain().audio().save(tmp_path / "a.nwb")
    assert only(prepared(tmp_path)).groups["subject"] == "1"
    made.Nwb(None, "s2").brain().audio().save(tmp_path / "b.nwb")
    error = refusal(tmp_path)
    assert "no subject_id" in error.cause
    assert {t.groups["subject"] for t in prepared(tmp_path, subject="anna").trials()} == {"anna"}


def test_one_session_twice_is_refused(tmp_path: Path) -> None:
    plain(tmp_path / "a.nwb")
    (tmp_path / "b.nwb").write_bytes((tmp_path / "a.nwb").read_bytes())
    assert "same session" in refusal(tmp_path).cause
    made.Nwb(identifier="id2").brain().audio().save(tmp_path / "b.nwb")
    assert {t.recording for t in prepared(tmp_path).trials()} == {"P01/s1/id1", "P01/s1/id2"}


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("truncated", "is truncated"),
        ("text", "is no HDF5 file"),
        ("empty", "is no HDF5 file"),
        ("hdf5", "no NWB 2 file"),
        ("zarr", "Zarr"),
        ("missing", "does not exist"),
        ("bare", "no series at all"),
        ("rate", "neither a rate nor timestamps"),
        ("nothing", "holds no .nwb file"),
        ("electrodes", "5 electrodes"),
    ],
)
def test_files_that_are_none_cost_one_line(tmp_path: Path, kind: str, cause: str) -> None:
    path = tmp_path / "a.nwb"
    if kind == "truncated":
        path.write_bytes(plain(tmp_path / "b.nwb").read_bytes()[:50000])
    elif kind in ("text", "empty"):
        path.write_text("hello" if kind == "text" else "")
    elif kind == "hdf5":
        h5py.File(path, "w").close()
    elif kind == "zarr":
        path.mkdir()
    elif kind == "bare":
        made.Nwb().save(path)
    elif kind == "rate":
        change(plain(path), acquisition__iEEG__starting_time=None)
    elif kind == "electrodes":
        change(plain(path), acquisition__iEEG__electrodes=np.arange(5))
    error = refusal(tmp_path if kind == "nothing" else path)
    assert cause in error.cause
    assert "a.nwb" in error.cause or kind == "nothing"


def test_a_damaged_chunk_is_named_when_it_is_read(tmp_path: Path) -> None:
    made.Nwb().brain(data=H5DataIO(volts(), compression="gzip", chunks=(500, 6))).audio().save(tmp_path / "a.nwb")
    with h5py.File(tmp_path / "a.nwb", "r") as file:
        at = file["acquisition/iEEG/data"].id.get_chunk_info(3).byte_offset
    with (tmp_path / "a.nwb").open("rb+") as handle:
        handle.seek(at)
        handle.write(b"\x00" * 200)
    data = prepared(tmp_path / "a.nwb").recording("P01/s1").brain.data
    assert data[:, :500].shape == (CHANNELS, 500)
    with pytest.raises(HubError, match=r"a\.nwb: /acquisition/iEEG cannot be read"):
        data[:, 1500:1600]


def test_a_value_that_is_not_finite_is_named_by_channel_and_time(tmp_path: Path) -> None:
    values = volts().astype(np.float32)
    values[1250, 3] = np.nan
    path = made.Nwb().brain(data=values).audio().save(tmp_path / "a.nwb")
    dataset = prepared(path)
    with pytest.raises(HubError, match=r"not finite in RB1 at 2\.500 s"):
        prepare_brain(dataset, [], Stretch("P01/s1", 0.0, 5.0), Cache(None))
    marked = prepared(path, bads=["RB1"])
    found = prepare_brain(marked, [], Stretch("P01/s1", 0.0, 5.0), Cache(None))
    assert np.isfinite(found.data).all()


# Laziness


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many bytes were read of each HDF5 dataset."""
    counted: dict[str, int] = {}
    plain_read = h5py.Dataset.__getitem__

    def spy(self: h5py.Dataset, *key: Any, **more: Any) -> Any:
        found = plain_read(self, *key, **more)
        counted[self.name] = counted.get(self.name, 0) + getattr(found, "nbytes", 0)
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    return counted


def test_ten_seconds_of_an_hour_read_only_that(tmp_path: Path, read: dict[str, int]) -> None:
    hour, rate, channels = 3600, 1000, 64
    labels = [f"A{n}" for n in range(channels)]
    file = made.Nwb().electrodes(labels=labels, groups=["A"] * channels)
    file.brain(data=volts(1, channels, rate), rate=float(rate)).audio(data=(sound(1) * 1e4).astype(np.int16))
    path = file.save(tmp_path / "a.nwb")
    with h5py.File(path, "r+") as handle:  # an hour of int16 that take no room: 460 MB and 58 MB if they were read
        for name, shape in (("iEEG", (hour * rate, channels)), ("Audio", (hour * 8000,))):
            kept = dict(handle[f"acquisition/{name}/data"].attrs)
            del handle[f"acquisition/{name}/data"]
            data = handle.create_dataset(f"acquisition/{name}/data", shape, np.int16, chunks=(1000, *shape[1:]))
            data.attrs.update(kept)
    read.clear()
    tracemalloc.start()
    dataset = prepared(path)
    [trial] = dataset.trials()
    recording = dataset.recording(trial.recording)
    dataset.fingerprint()
    assert "/acquisition/iEEG/data" not in read
    assert "/acquisition/Audio/data" not in read
    cut = recording.brain.data[:, 1800 * rate : 1810 * rate]
    heard = dataset.stimulus(str(trial.stimulus), AUDIO).data[1800 * 8000 : 1810 * 8000]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (cut.shape, heard.shape) == ((channels, 10 * rate), (80000,))
    assert read["/acquisition/iEEG/data"] == 10 * rate * channels * 2
    assert read["/acquisition/Audio/data"] == 80000 * 2
    assert trial.seconds == hour
    assert peak < 32e6


def test_opening_needs_neither_pynwb_nor_mne() -> None:
    import subprocess
    import sys

    code = "import sys, braindecode_hub.parts.nwb; print({'pynwb', 'hdmf', 'mne', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Configuration and fingerprint


def test_the_configuration_builds_the_same_again(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.nwb")
    dataset = prepared(path, brain="/acquisition/iEEG", trials="whole", bads=["LA1"])
    stored = json.loads(json.dumps(dataset.configuration()))
    assert stored["brain"] == "/acquisition/iEEG"
    assert stored["trials"] == "whole"
    assert Nwb(**stored).fingerprint() == dataset.fingerprint()
    before = prepared(path).fingerprint()
    change(path, acquisition__iEEG__data=volts(seed=9))
    assert prepared(path).fingerprint() != before


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    dataset = prepared(plain(tmp_path / "a.nwb"))
    with pytest.raises(HubError, match="did you mean P01/s1"):
        dataset.recording("P01/s2")
    with pytest.raises(HubError, match="no stimulus"):
        dataset.stimulus("x", AUDIO)


# The whole way


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SIMULATED patient in NWB: int16 on a clock that begins at 500 s, and a sound that begins 2 s earlier."""
    patient = Phantom(contacts=8, shafts=1, stories=4, snr=3.0, rate=512.0, bads=0)
    patient.prepare(Context())
    recording = patient.recording("01")
    heard = np.zeros(round((recording.seconds + 2) * speech.RATE), np.float32)
    for trial in patient.trials():
        story = speech.audio(str(trial.stimulus))
        at = round((trial.start + 2) * speech.RATE)
        heard[at : at + len(story)] = story[: len(heard) - at]
    file = made.Nwb("sim", "1").electrodes(
        np.asarray(recording.positions), labels=recording.brain.channels, groups=["A"] * 8
    )
    samples = (np.asarray(recording.brain.data).T * 1e7).round().astype(np.int16)
    file.brain(data=samples, rate=512.0, starting_time=500.0, conversion=1e-7)
    file.audio(data=heard, rate=float(speech.RATE), starting_time=498.0)
    return file.save(tmp_path_factory.mktemp("nwb") / "sim.nwb")


@pytest.mark.slow
def test_speech_is_found_in_an_nwb_file(simulated: Path, tmp_path: Path) -> None:
    quick = {
        "dataset.use": "core/nwb",
        "dataset.path": str(simulated),
        "dataset.line_freq": 50.0,
        "renderer.iterations": 2,
        "metrics": ["audio_seeg/mel_correlation"],
    }
    run = bdh.run("audio_seeg", set=quick, dev=True, jobs=1, out=tmp_path)
    score = run.metrics["scores"]["mel_correlation"]
    assert score["value"] > score["chance"] + 0.3
    assert run.metrics["dataset"]["use"] == "core/nwb"
    assert run.metrics["flags"] == ["DEV"]
