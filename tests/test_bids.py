"""BIDS folders that MNE-BIDS wrote are read lazily, with what their tables say; what is not clear costs one line."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import nwb as made
import pytest
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.parts.bids import Bids
from braindecode_hub.types import Context, Event, Recording, Space

AUDIO = Space("audio", ("time",), "*")
RATE, SECONDS, AUDIO_RATE = 256.0, 20.0, 8000
NAMES = ["LA1", "LA2", "LA3", "RB1"]
POSITIONS = np.array([[0.04, 0.01, 0.02], [0.043, 0.01, 0.02], [0.046, 0.01, 0.02], [-0.05, 0.0, 0.01]])
STORIES = {"a.wav": 4.0, "more/b.wav": 3.0}

EVENTS = "\n".join(
    [
        "onset\tduration\ttrial_type\tstim_file",
        "1.5\t4.0\tstory\ta.wav",
        "6.0\tn/a\tstory\tstimuli/more/b.wav",
        "10.0\t0.1\tbutton\tn/a",
        "12.0\t2.0\tstory\ta.wav",
    ]
)


def volts(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1e-4, 1e-4, (len(NAMES), round(RATE * SECONDS)))


def raw(kind: str = "seeg", seed: int = 0) -> mne.io.RawArray:
    names, values, kinds = [*NAMES, "EOG"], np.vstack([volts(seed), np.zeros((1, round(RATE * SECONDS)))]), [kind] * 4
    made_up = mne.io.RawArray(values, mne.create_info(names, RATE, [*kinds, "eog"]), verbose="error")
    made_up.info["line_freq"] = 60
    made_up.info["bads"] = ["LA2"]
    if kind == "seeg":
        places = dict(zip(NAMES, POSITIONS, strict=True))
        made_up.set_montage(
            mne.channels.make_dig_montage(places, coord_frame="mni_tal"), on_missing="ignore", verbose="error"
        )
    return made_up


def write(
    root: Path,
    *,
    form: str = "BrainVision",
    kind: str = "seeg",
    seed: int = 0,
    events: str = EVENTS,
    **entities: str,
) -> Path:
    """Write one recording with MNE-BIDS, its events.tsv as given, and the stories under stimuli/."""
    datatype = {"seeg": "ieeg", "eeg": "eeg", "mag": "meg"}[kind]
    path = mne_bids.BIDSPath(root=root, datatype=datatype, **{"subject": "01", "task": "listen", **entities})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mne_bids.write_raw_bids(raw(kind, seed), path, format=form, allow_preload=True, overwrite=True, verbose="error")
    path.copy().update(suffix="events", extension=".tsv").fpath.write_text(events, "utf-8")
    for name, seconds in STORIES.items():
        (root / "stimuli" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "stimuli" / name, story(seconds), AUDIO_RATE)
    return root


def story(seconds: float) -> np.ndarray:
    return np.random.default_rng(round(seconds)).uniform(-0.5, 0.5, round(seconds * AUDIO_RATE))


def test_events_that_overlap_by_rounding_alone_are_cut_and_noted(tmp_path: Path) -> None:
    root = write(tmp_path / "data", events=EVENTS.replace("6.0\t", "5.499\t"))
    told: list[Event] = []
    dataset = Bids(path=str(root))
    dataset.prepare(Context(log=told.append))
    [first, later, _] = dataset.trials()
    assert later.start == first.stop == pytest.approx(5.5)
    assert later.stimulus_start == pytest.approx(0.001)
    assert [event["text"] for event in told if "rounding" in event["text"]]


def prepared(path: Path, **parameters: Any) -> Bids:
    dataset = Bids(path=str(path), **parameters)
    dataset.prepare(Context())
    return dataset


def refusal(path: Path, **parameters: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        prepared(path, **parameters)
    assert "\n" not in caught.value.cause
    assert "\n" not in caught.value.remedy
    return caught.value


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, one with two runs, and another task of the first: written once, copied where it is changed."""
    root = tmp_path_factory.mktemp("bids")
    write(root, run="1")
    write(root, run="2", seed=1)
    write(root, subject="02", session="late", seed=2)
    return write(root, task="rest", events="onset\tduration\ttrial_type\n1\t1\tnothing\n")


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "bids"))


# What is in a folder


def test_events_with_a_sound_are_trials(shared: Path) -> None:
    dataset = prepared(shared, task="listen")
    trials = dataset.trials()
    assert dataset.brain.name == "seeg"
    names = {"sub-01_task-listen_run-1", "sub-01_task-listen_run-2", "sub-02_ses-late_task-listen"}
    assert {t.recording for t in trials} == names
    first = [t for t in trials if t.recording == "sub-01_task-listen_run-1"]
    assert [t.stimulus for t in first] == ["a.wav", "more/b.wav", "a.wav"]
    times = [(t.start, t.stop, t.stimulus_start, t.stimulus_stop) for t in first]
    np.testing.assert_allclose(times, [(1.5, 5.5, 0, 4), (6, 9, 0, 3), (12, 14, 0, 2)], atol=1e-9)
    assert first[0].groups == {"subject": "01", "session": "1", "run": "1", "story": "a.wav"}
    assert trials[-1].groups == {"subject": "02", "session": "late", "story": "a.wav"}
    np.testing.assert_allclose(np.asarray(dataset.stimulus("a.wav", AUDIO).data), story(4.0), atol=1e-4)


@pytest.mark.parametrize(("form", "off"), [("BrainVision", 1e-7), ("EDF", 1e-8)])
def test_what_mne_bids_wrote_is_read_with_its_sensors(tmp_path: Path, form: str, off: float) -> None:
    dataset = prepared(write(tmp_path / "bids", form=form, session="1"))
    recording = dataset.recording("sub-01_ses-1_task-listen")
    assert recording.brain.channels == tuple(NAMES)  # the EOG is no brain
    assert (recording.brain.rate, recording.brain.units, recording.line_freq) == (RATE, "V", 60.0)
    assert (recording.subject, recording.session, recording.bads) == ("01", "1", ("LA2",))
    np.testing.assert_allclose(np.asarray(recording.brain.data)[:, :5120], volts(), atol=off)
    np.testing.assert_allclose(recording.brain.data[1:3, 700:900:3], volts()[1:3, 700:900:3], atol=off)
    assert recording.brain.data[0, 5:9].dtype == np.float32
    np.testing.assert_allclose(recording.positions, POSITIONS, atol=1e-6)
    assert recording.position_frame
    assert len(recording.events) == 4


def test_samples_are_read_when_they_are_sliced(shared: Path) -> None:
    data = prepared(shared, task="listen").recording("sub-01_task-listen_run-1").brain.data
    assert data.raw.preload is False
    data[:, 100:200]
    assert data.raw.preload is False


def test_scalp_eeg_is_another_space(tmp_path: Path) -> None:
    root = write(tmp_path / "bids", kind="eeg")
    assert prepared(root).brain.name == "eeg"
    assert prepared(root, modality="seeg").recording("sub-01_task-listen").brain.modality == "seeg"
    write(root, subject="02")
    error = refusal(root)
    assert "2 datatypes: eeg, ieeg" in error.cause
    assert "dataset.datatype=eeg" in error.remedy
    assert {t.groups["subject"] for t in prepared(root, datatype="ieeg").trials()} == {"02"}


def test_the_units_of_positions_are_those_of_the_coordsystem(root: Path) -> None:
    for path in root.glob("sub-01/ieeg/*_electrodes.tsv"):
        rows = "".join(f"{name}\t{x}\t{y}\t{z}\n" for name, (x, y, z) in zip(NAMES[:3], POSITIONS * 1000, strict=False))
        path.write_text("name\tx\ty\tz\n" + rows + "XX9\tn/a\tn/a\tn/a\n")
    about = {"iEEGCoordinateSystem": "ACPC", "iEEGCoordinateUnits": "mm"}
    for path in root.glob("sub-01/ieeg/*_coordsystem.json"):
        path.write_text(json.dumps(about))
    recording = prepared(root, task="listen", subjects=["01"]).recording("sub-01_task-listen_run-1")
    np.testing.assert_allclose(recording.positions[:3], POSITIONS[:3], atol=1e-9)
    assert np.isnan(recording.positions[3]).all()
    assert recording.position_frame == "ACPC"
    for path in root.glob("sub-01/ieeg/*_coordsystem.json"):
        path.write_text(json.dumps({**about, "iEEGCoordinateUnits": "pixels"}))
    events: list[Event] = []
    dataset = Bids(path=str(root), task="listen", subjects=["01"])
    dataset.prepare(Context(log=events.append))
    assert dataset.recording("sub-01_task-listen_run-1").positions is None
    assert "'pixels'" in events[0]["text"]


def test_electrodes_and_their_coordsystem_are_of_one_space(root: Path) -> None:
    folder = root / "sub-02/ses-late/ieeg"
    for path in [*folder.glob("*_electrodes.tsv"), *folder.glob("*_coordsystem.json")]:
        path.unlink()
    for space, unit, scale in (("ACPC", "mm", 1000), ("Talairach", "m", 1)):
        rows = "".join(f"{name}\t{x}\t{y}\t{z}\n" for name, (x, y, z) in zip(NAMES, POSITIONS * scale, strict=True))
        stem = f"sub-02_ses-late_task-listen_space-{space}"  # with the task, as BIDS once allowed
        (folder / f"{stem}_electrodes.tsv").write_text("name\tx\ty\tz\n" + rows)
        about = {"iEEGCoordinateSystem": space, "iEEGCoordinateUnits": unit}
        (folder / f"{stem}_coordsystem.json").write_text(json.dumps(about))
    recording = prepared(root, task="listen", subjects=["02"]).recording("sub-02_ses-late_task-listen")
    assert recording.position_frame == "ACPC"
    np.testing.assert_allclose(recording.positions, POSITIONS, atol=1e-9)


def test_magnetometers_are_meg_in_tesla(tmp_path: Path) -> None:
    dataset = prepared(write(tmp_path / "bids", form="FIF", kind="mag"))
    recording = dataset.recording("sub-01_task-listen")
    assert (dataset.brain.name, recording.brain.units, recording.position_frame) == ("meg", "T", "device")
    np.testing.assert_allclose(recording.brain.data[:, 5:90], volts()[:, 5:90], rtol=1e-5)


def test_groups_of_channels_are_shafts(root: Path) -> None:
    path = root / "sub-02/ses-late/ieeg/sub-02_ses-late_task-listen_channels.tsv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0] + "\tgroup", *(f"{line}\t{line[:2]}" for line in lines[1:])]) + "\n", "utf-8")
    recording = prepared(root, task="listen", subjects=["sub-02"]).recording("sub-02_ses-late_task-listen")
    assert recording.shafts == ("LA", "LA", "LA", "RB")


# Files higher up in the tree: the inheritance principle


DEEP = "sub-02/ses-late/ieeg/sub-02_ses-late_task-listen"
ABOVE = [
    "",
    "task-listen_",
    "sub-02/sub-02_",
    "sub-02/ses-late/sub-02_ses-late_",
    "sub-02/ses-late/sub-02_task-listen_",
]


def of_second(root: Path) -> Recording:
    return prepared(root, task="listen", subjects=["02"]).recording("sub-02_ses-late_task-listen")


def put(root: Path, levels: dict[str, dict[str, Any]]) -> Path:
    """Write JSON files by their paths, in place of the recording's own sidecar."""
    (root / f"{DEEP}_ieeg.json").unlink()
    for path, values in levels.items():
        (root / path).write_text(json.dumps(values))
    return root


@pytest.mark.parametrize(
    ("levels", "mains"),
    [
        ({"ieeg.json": 50}, 50.0),
        ({"task-listen_ieeg.json": 50, f"{DEEP}_ieeg.json": None}, 50.0),
        ({"task-listen_ieeg.json": 50, "sub-02/sub-02_ieeg.json": 60, f"{DEEP}_ieeg.json": None}, 60.0),
        ({"sub-02/ses-late/sub-02_ses-late_ieeg.json": 50, "sub-02/sub-02_task-listen_ieeg.json": 60}, 50.0),
        ({"ieeg.json": 60, "task-listen_ieeg.json": 50}, 50.0),
        ({"ieeg.json": 50, f"{DEEP}_ieeg.json": "n/a"}, None),
        ({"task-rest_ieeg.json": 50}, None),
        ({"task-listen_eeg.json": 50, "sub-02/sub-02_acq-x_ieeg.json": 50, "sub-02/sub-01_ieeg.json": 50}, None),
    ],
)
def test_a_sidecar_has_each_key_from_the_nearest_file_that_says_it(
    root: Path, levels: dict[str, Any], mains: float | None
) -> None:
    values = {
        path: {"PowerLineFrequency": value} if value else {"Manufacturer": "none"} for path, value in levels.items()
    }
    assert of_second(put(root, values)).line_freq == mains


def test_a_sidecar_of_nwb_is_inherited_too(tmp_path: Path) -> None:
    root = in_nwb(tmp_path / "bids")
    (root / "sub-07/ieeg/sub-07_task-listen_ieeg.json").write_text("{}")
    (root / "task-listen_ieeg.json").write_text('{"PowerLineFrequency": 60}')
    assert prepared(root).recording("sub-07_task-listen").line_freq == 60.0


def test_the_space_of_positions_may_be_said_for_the_whole_data_set(root: Path) -> None:
    folder = root / "sub-02/ses-late/ieeg"
    for path in [*folder.glob("*_electrodes.tsv"), *folder.glob("*_coordsystem.json")]:
        path.unlink()
    rows = "".join(f"{name}\t{x}\t{y}\t{z}\n" for name, (x, y, z) in zip(NAMES, POSITIONS * 1000, strict=True))
    (root / "sub-02/sub-02_electrodes.tsv").write_text("name\tx\ty\tz\n" + rows)
    (root / "coordsystem.json").write_text('{"iEEGCoordinateSystem": "ACPC", "iEEGCoordinateUnits": "mm"}')
    recording = of_second(root)
    assert recording.position_frame == "ACPC"
    np.testing.assert_allclose(recording.positions, POSITIONS, atol=1e-9)
    (folder / "sub-02_ses-late_coordsystem.json").write_text('{"iEEGCoordinateSystem": "Other"}')
    error = refusal(root, task="listen", subjects=["02"])  # MNE-BIDS reads one coordsystem.json, and merges none
    assert "'iEEGCoordinateUnits' is not in the one file where MNE-BIDS looks for it" in error.cause


def test_the_space_of_positions_of_nwb_is_merged(tmp_path: Path) -> None:
    root = in_nwb(tmp_path / "bids")
    (root / "sub-07/ieeg/sub-07_electrodes.tsv").write_text("name\tx\ty\tz\nC1\t1\t2\t3\n")
    (root / "coordsystem.json").write_text('{"iEEGCoordinateSystem": "Other", "iEEGCoordinateUnits": "mm"}')
    (root / "sub-07/ieeg/sub-07_coordsystem.json").write_text('{"iEEGCoordinateSystem": "ACPC"}')
    recording = prepared(root).recording("sub-07_task-listen")
    assert recording.position_frame == "ACPC"
    np.testing.assert_allclose(recording.positions[0], [0.001, 0.002, 0.003])


@pytest.mark.parametrize("above", ABOVE)
def test_tables_hold_from_wherever_they_lie(root: Path, above: str) -> None:
    chosen: dict[str, Any] = {"task": "listen", "subjects": ["02"]}
    before, trials = of_second(root), prepared(root, **chosen).trials()
    for suffix in ("channels", "events"):
        (root / f"{DEEP}_{suffix}.tsv").rename(root / f"{above}{suffix}.tsv")
    after = of_second(root)
    assert after.brain.channels == before.brain.channels == tuple(NAMES)  # by type: the EOG is no brain
    assert after.bads == before.bads == ("LA2",)
    assert after.events == before.events
    assert prepared(root, **chosen).trials() == trials


@pytest.mark.parametrize("above", [*ABOVE, "sub-02/sub-02_ses-late_task-listen_"])
def test_the_nearest_table_holds_alone(root: Path, above: str) -> None:
    near = root / "sub-02/ses-late/ieeg/sub-02_ses-late"  # fewer entities than some that lie above it
    for suffix, changed in (("channels", ("SEEG\t", "MISC\t")), ("events", ("story", "boundary"))):
        own = (root / f"{DEEP}_{suffix}.tsv").read_text("utf-8")
        (root / f"{DEEP}_{suffix}.tsv").unlink()
        Path(f"{near}_{suffix}.tsv").write_text(own, "utf-8")
        (root / f"{above}{suffix}.tsv").write_text(own.replace(*changed).replace("good", "bad"), "utf-8")
    recording = of_second(root)
    assert (recording.brain.channels, recording.bads, recording.breaks) == (tuple(NAMES), ("LA2",), ())


def test_a_table_of_another_acquisition_is_not_taken(root: Path) -> None:
    own, other = root / f"{DEEP}_channels.tsv", root / f"{DEEP}_acq-x_channels.tsv"
    own.rename(other)
    error = refusal(root, task="listen", subjects=["02"])
    assert "has no channels.tsv of its own: sub-02_ses-late_task-listen_acq-x_channels.tsv is not for it" in error.cause
    (root / "task-listen_channels.tsv").write_text(other.read_text("utf-8").replace("bad", "good"), "utf-8")
    assert of_second(root).bads == ()


def test_a_table_above_that_names_other_channels_is_refused(root: Path) -> None:
    own = root / f"{DEEP}_channels.tsv"
    text = own.read_text("utf-8").replace("RB1", "RB7")
    own.unlink()
    (root / "sub-02/ses-late/sub-02_channels.tsv").write_text(text, "utf-8")  # where MNE-BIDS does not look
    assert "has no channel 'RB7', but its channels.tsv has" in refusal(root, task="listen", subjects=["02"]).cause


@pytest.mark.parametrize(("text", "cause"), [("[1, 2]", "holds no keys and values"), ("{", "cannot be read as JSON")])
def test_a_sidecar_above_that_is_none_costs_one_line(root: Path, text: str, cause: str) -> None:
    (root / "ieeg.json").write_text(text)
    assert f"{root / 'ieeg.json'} {cause}" in refusal(root, task="listen", subjects=["02"]).cause


# Which sound


def events_of(root: Path, *rows: str, columns: str = "onset\tduration\ttrial_type\tstim_file") -> Path:
    for path in root.glob("sub-*/**/*task-listen*_events.tsv"):
        path.write_text("\n".join([columns, *rows]) + "\n", "utf-8")
    return root


def test_a_template_names_the_sound_from_other_columns(root: Path) -> None:
    events_of(root, "1\t4\ta\tx", "7\t3\tb\tx", "8\t0\tbutton\tx")
    dataset = prepared(root, task="listen", subjects=["01"], stimuli="{trial_type}.wav", trial_types=["a"])
    assert {t.stimulus for t in dataset.trials()} == {"a.wav"}
    error = refusal(root, task="listen", subjects=["01"], stimuli="{trial_type}.wav")
    assert "b.wav does not exist" in error.cause
    assert "no column 'word'" in refusal(root, task="listen", stimuli="{word}.wav").cause


def test_a_sound_that_runs_beyond_the_recording_is_cut(root: Path) -> None:
    events_of(root, "-1\t4\ts\ta.wav", "18\t4\ts\ta.wav")
    trials = prepared(root, task="listen", subjects=["02"]).trials()
    found = [(t.start, t.stop, t.stimulus_start, t.stimulus_stop) for t in trials]
    np.testing.assert_allclose(found, [(0, 3, 1, 4), (18, 20, 0, 2)], atol=1e-9)


def test_stereo_is_averaged_and_said_so(root: Path) -> None:
    soundfile.write(root / "stimuli/a.wav", np.stack([story(4.0), np.zeros(32000)], axis=1), AUDIO_RATE)
    events: list[Event] = []
    dataset = Bids(path=str(root), task="listen")
    dataset.prepare(Context(log=events.append))
    assert [event["text"] for event in events] == ["a.wav: its 2 channels are averaged"]
    np.testing.assert_allclose(np.asarray(dataset.stimulus("a.wav", AUDIO).data), story(4.0) / 2, atol=1e-4)


def test_an_interruption_is_a_break(root: Path) -> None:
    events_of(root, "1\t4\ts\ta.wav", "8\t0\tboundary\tn/a", "10\t4\ts\ta.wav")
    assert prepared(root, task="listen", subjects=["02"]).recording("sub-02_ses-late_task-listen").breaks == (8.0,)


def test_a_sound_beside_the_recording_is_one_trial(root: Path) -> None:
    folder = root / "sub-02/ses-late/ieeg"
    assert "_audio.wav does not exist" in refusal(root, task="listen", subjects=["02"], stimuli="_audio").cause
    soundfile.write(folder / "sub-02_ses-late_task-listen_audio.wav", story(19.0), AUDIO_RATE)
    dataset = prepared(root, task="listen", subjects=["02"], stimuli="_audio")
    [trial] = dataset.trials()
    assert (trial.start, trial.stop, trial.stimulus_stop) == pytest.approx((0, 19, 19))
    assert "story" not in trial.groups


def test_copies_of_one_sound_beside_recordings_are_one_stimulus(root: Path) -> None:
    for name in ("sub-02/ses-late/ieeg/sub-02_ses-late", "sub-01/ieeg/sub-01"):
        run = "" if "ses" in name else "_run-1"
        soundfile.write(root / f"{name}_task-listen{run}_audio.wav", story(19.0), AUDIO_RATE)
    soundfile.write(root / "sub-01/ieeg/sub-01_task-listen_run-2_audio.wav", story(18.0), AUDIO_RATE)
    dataset = prepared(root, task="listen", stimuli="_audio")
    heard = {trial.recording: trial.stimulus for trial in dataset.trials()}
    assert heard["sub-02_ses-late_task-listen"] == heard["sub-01_task-listen_run-1"] == "sub-01_task-listen_run-1"
    assert heard["sub-01_task-listen_run-2"] == "sub-01_task-listen_run-2"


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("1\t4\ts\tc.wav", "c.wav does not exist"),
        ("1\t4\ts\t../dataset_description.json", "no path inside stimuli"),
        ("soon\t4\ts\ta.wav", "line 2: onset is 'soon'"),
        ("n/a\t4\ts\ta.wav", "line 2 presents a.wav, but has no onset"),
        ("1\t4\ts", "line 2 has not as many fields"),
        ("1\t4\ts\tn/a", "no event of 3 recordings presents a sound"),
        ("99\t4\ts\ta.wav", "no event of 3 recordings presents a sound"),
    ],
)
def test_events_that_present_nothing_readable_are_named(root: Path, row: str, cause: str) -> None:
    assert cause in refusal(events_of(root, row), task="listen").cause


def test_a_misspelt_sound_gets_the_nearest(root: Path) -> None:
    assert "more/b.wav" in refusal(events_of(root, "1\t4\ts\tmore/bb.wav"), task="listen").remedy


# Which recordings


@pytest.mark.parametrize(
    ("parameters", "cause", "remedy"),
    [
        ({}, "2 tasks: listen, rest", "dataset.task=listen"),
        ({"task": "lisen"}, "no task 'lisen'", "did you mean listen"),
        ({"subjects": ["03"]}, "no subject '03'", "01"),
        ({"task": "listen", "session": "early"}, "no session 'early'", "late"),
        ({"datatype": "meg"}, "no datatype 'meg'", "ieeg"),
        ({"task": "listen", "bads": ["LA9"]}, "no channel 'LA9'", "LA1"),
        ({"task": "listen", "stimuli": "/acquisition/Audio"}, "is not NWB", "stim_file"),
    ],
)
def test_what_is_not_there_gets_the_nearest(shared: Path, parameters: dict[str, Any], cause: str, remedy: str) -> None:
    error = refusal(shared, **parameters)
    assert cause in error.cause
    assert remedy in error.remedy
    assert error.usage


def test_folders_that_are_none_are_refused(tmp_path: Path, root: Path) -> None:
    assert "is no folder" in refusal(tmp_path / "nowhere").cause
    assert "no dataset_description.json" in refusal(root / "sub-01").cause
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "dataset_description.json").write_text("{}")
    assert "holds no recording" in refusal(tmp_path / "empty").cause


def test_a_recording_that_cannot_be_read_costs_one_line(root: Path) -> None:
    (root / "sub-02/ses-late/ieeg/sub-02_ses-late_task-listen_ieeg.vhdr").write_text("hello")
    error = refusal(root, task="listen", subjects=["02"])
    assert "sub-02_ses-late_task-listen_ieeg.vhdr cannot be read" in error.cause


def test_a_recording_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "bids", form="EDF")
    [path] = root.glob("sub-01/ieeg/*.edf")
    path.write_bytes(path.read_bytes()[:-3000])
    assert "is cut off: it holds" in refusal(root).cause  # MNE would read what is left


def test_channels_that_differ_from_channels_tsv_are_refused(root: Path) -> None:
    path = root / "sub-02/ses-late/ieeg/sub-02_ses-late_task-listen_channels.tsv"
    path.write_text(path.read_text("utf-8").replace("RB1", "RB7"), "utf-8")
    assert "cannot be read" in refusal(root, task="listen", subjects=["02"]).cause


# NWB inside BIDS


CHANNELS = "name\ttype\tstatus\n" + "".join(f"C{n}\tSEEG\tgood\n" for n in range(1, 7))


def in_nwb(root: Path, channels: str = CHANNELS) -> Path:
    """A BIDS folder whose iEEG is NWB, which MNE-BIDS does not read; its sound is in stimuli/."""
    folder = root / "sub-07" / "ieeg"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "made up", "BIDSVersion": "1.8.0"}')
    made.Nwb("other", "other").brain(starting_time=90.0, rate=made.RATE).audio(starting_time=91.0).save(
        folder / "sub-07_task-listen_ieeg.nwb"
    )
    (folder / "sub-07_task-listen_channels.tsv").write_text(channels)
    (folder / "sub-07_task-listen_ieeg.json").write_text('{"PowerLineFrequency": 50}')
    (folder / "sub-07_task-listen_events.tsv").write_text("onset\tduration\tstim_file\n2.0\t4.0\ta.wav\n")
    (root / "stimuli").mkdir()
    soundfile.write(root / "stimuli/a.wav", story(4.0), AUDIO_RATE)
    return root


def test_recordings_in_nwb_are_read_by_h5py(tmp_path: Path) -> None:
    dataset = prepared(in_nwb(tmp_path / "bids"))
    [trial] = dataset.trials()
    assert (trial.start, trial.stop, trial.stimulus) == (2.0, 6.0, "a.wav")
    recording = dataset.recording("sub-07_task-listen")
    assert (recording.subject, recording.line_freq) == ("07", 50.0)
    assert recording.brain.channels == ("C1", "C2", "C3", "C4", "C5", "C6")
    np.testing.assert_array_equal(recording.brain.data[:, :50], made.volts().T[:, :50])
    inside = prepared(tmp_path / "bids", stimuli="/acquisition/Audio")
    [whole] = inside.trials()
    assert np.abs(inside.stimulus(str(whole.stimulus), AUDIO).data[:]).max() <= 0.5
    assert (whole.start, whole.stop, whole.stimulus_start) == (1.0, 10.0, 0.0)


def test_channels_tsv_must_have_as_many_channels_as_the_nwb_file(tmp_path: Path) -> None:
    root = in_nwb(tmp_path / "bids", "name\ttype\nC1\tSEEG\n")
    assert "has 6 channels, but its channels.tsv 1" in refusal(root).cause


# Configuration and fingerprint


def test_the_fingerprint_knows_recordings_sounds_and_tables(root: Path) -> None:
    chosen: dict[str, Any] = {"task": "listen", "subjects": ["02"]}
    dataset = prepared(root, **chosen)
    first = dataset.fingerprint()
    assert Bids(**json.loads(json.dumps(dataset.configuration()))).fingerprint() == first
    seen = {first}
    soundfile.write(root / "stimuli/a.wav", story(4.0) * 0.9, AUDIO_RATE)
    seen.add(prepared(root, **chosen).fingerprint())
    events_of(root, "1\t4\ts\ta.wav")
    seen.add(prepared(root, **chosen).fingerprint())
    data = root / "sub-02/ses-late/ieeg/sub-02_ses-late_task-listen_ieeg.eeg"
    data.write_bytes(data.read_bytes()[:-4] + b"abcd")
    seen.add(prepared(root, **chosen).fingerprint())
    for mains in (50, 60):
        (root / "task-listen_ieeg.json").write_text(json.dumps({"PowerLineFrequency": mains}))
        seen.add(prepared(root, **chosen).fingerprint())
    assert len(seen) == 6


def test_importing_it_imports_no_mne() -> None:
    import subprocess
    import sys

    code = "import sys, braindecode_hub.parts.bids; print({'mne', 'mne_bids', 'h5py', 'soundfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
