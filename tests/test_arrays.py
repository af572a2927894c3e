"""Arrays of one's own in an .npz: written whole and checked, mapped where they lie, never unpickled."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.datapaths import dataset_for
from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager
from braindecode_hub.parts.arrays import Arrays
from braindecode_hub.runner import context
from braindecode_hub.types import Context, Space

AUDIO = Space("audio", ("time",), "*")
RATE, AUDIO_RATE, SECONDS = 100, 8000, 20


def fields(seed: int = 0, **changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    found = {
        "brain": rng.standard_normal((4, RATE * SECONDS)),
        "rate": RATE,
        "audio": rng.uniform(-0.5, 0.5, AUDIO_RATE * SECONDS),
        "audio_rate": AUDIO_RATE,
    }
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def opened(path: Path, **parameters: Any) -> Arrays:
    dataset = Arrays(path=str(path), brain="seeg", **parameters)
    dataset.prepare(Context())
    return dataset


def refusal(function: Any, *arguments: Any, **named: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        function(*arguments, **named)
    assert "\n" not in caught.value.cause + caught.value.remedy
    return caught.value


def test_rows_that_overlap_by_rounding_alone_are_cut(tmp_path: Path) -> None:
    events = {"onset": [1.0, 4.0], "duration": [3.002, 3.0], "stimulus_start": [0.0, 3.0]}
    [_, later] = opened(bdh.save_recording(tmp_path / "mine.npz", **fields(), events=events)).trials()
    np.testing.assert_allclose(
        [later.start, later.stop, later.stimulus_start, later.stimulus_stop], [4.002, 7, 3.002, 6]
    )


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    given = fields(
        channels=["A1", "A2", "B1", "B2"], positions=np.eye(4, 3) / 100, position_frame="mri", bads=["B2"],
        breaks=[12.0], line_freq=60, units="V", subject="anna", session="2", simulated=True,
    )  # fmt: skip
    path = bdh.save_recording(tmp_path / "mine.npz", **given)
    dataset = opened(path)
    recording = dataset.recording("mine")
    assert (recording.subject, recording.session, recording.line_freq) == ("anna", "2", 60.0)
    assert recording.brain.channels == ("A1", "A2", "B1", "B2")
    assert (recording.brain.units, recording.brain.rate, recording.bads) == ("V", RATE, ("B2",))
    assert (recording.position_frame, recording.breaks) == ("mri", (12.0,))
    np.testing.assert_allclose(recording.positions, given["positions"])
    np.testing.assert_array_equal(recording.brain.data[:, 5:9], given["brain"][:, 5:9].astype(np.float32))
    np.testing.assert_allclose(np.asarray(dataset.stimulus("mine", AUDIO).data), given["audio"], atol=1e-6)
    assert [(t.start, t.stop, t.groups["subject"]) for t in dataset.trials()] == [
        (0.0, 12.0, "anna"),
        (12.0, 20.0, "anna"),
    ]
    assert dataset.simulated is True
    assert opened(bdh.save_recording(tmp_path / "real.npz", **fields())).simulated is False
    assert Arrays(**json.loads(json.dumps(dataset.configuration()))).fingerprint() == dataset.fingerprint()


def test_members_are_mapped_where_they_are_stored_and_read_where_compressed(tmp_path: Path) -> None:
    given = fields()
    np.savez(tmp_path / "a.npz", **given)
    np.savez_compressed(tmp_path / "b.npz", **given)
    one, other = (opened(tmp_path / name).recording(name[0]).brain.data for name in ("a.npz", "b.npz"))
    assert isinstance(one._data, np.memmap)
    assert not isinstance(other._data, np.memmap)
    np.testing.assert_array_equal(one[:, 7:70], other[:, 7:70])
    np.savez(tmp_path / "c.npz", **{**given, "brain": np.asfortranarray(given["brain"])})
    np.testing.assert_array_equal(opened(tmp_path / "c.npz").recording("c").brain.data[:, 7:70], one[:, 7:70])


def test_a_compressed_member_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braindecode_hub.parts.npz.COMPRESSED_BYTES", 1000)
    np.savez_compressed(tmp_path / "b.npz", **fields())
    error = refusal(opened, tmp_path / "b.npz")
    assert "compressed" in error.cause
    assert "save_recording" in error.remedy


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, ("echo executed > executed",))


@pytest.mark.parametrize("compressed", [False, True])
def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool) -> None:
    monkeypatch.chdir(tmp_path)
    given = fields(channels=np.array([Evil()] * 4, dtype=object))
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **given)
    assert "never loaded" in refusal(opened, tmp_path / "a.npz").cause
    np.savez(tmp_path / "b.npz", **fields(brain=np.array([[Evil()] * 2000], dtype=object)))
    assert "never loaded" in refusal(opened, tmp_path / "b.npz").cause
    error = refusal(bdh.save_recording, tmp_path / "c.npz", **given)
    assert "never saved" in error.cause
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "c.npz").exists()


def test_a_member_that_says_another_size_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **fields())
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["brain.npy"] = members["brain.npy"].replace(b"(4, 2000)", b"(4, 9000)")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "is no whole .npz file" in refusal(opened, tmp_path / "b.npz").cause


@pytest.mark.parametrize(
    ("changed", "cause", "remedy"),
    [
        ({"rate": None}, "does not say 'rate'", "dataset.rate"),
        ({"audio_rate": -1}, "says -1 Hz as 'audio_rate'", "Hz"),
        ({"audio": None}, "no field 'audio'", "save audio"),
        ({"audio": None, "targets": np.ones((200, 2))}, "no field 'audio'", "dataset.targets"),
        ({"brain": None}, "no field 'brain'", "save brain"),
        ({"fs": 100}, "unknown field 'fs'", "known"),
        ({"audiorate": 100}, "unknown field 'audiorate'", "audio_rate"),
        ({"rate": [1, 2]}, "rate is not one number", "one number"),
        ({"channels": ["a"]}, "channels names 1, but brain has 4", "in order"),
        ({"channels": [1, 2, 3, 4]}, "channels holds int64", "text"),
        ({"channels": ["a", "b", "c", "d"], "bads": ["e"]}, "bads names 'e'", "known"),
        ({"positions": np.zeros((3, 4))}, "positions has shape (3, 4)", "(4, 3)"),
        ({"brain": np.zeros((2, 3, 4))}, "not channels and time", "(channels, samples)"),
        ({"rate": 50}, "2 times as long", "100 Hz would fit"),
        ({"audio": np.zeros((7, 9))}, "that is no sound", "samples"),
        ({"events/onset": [1.0], "events/durations": [2.0]}, "a column 'durations'", "duration"),
        ({"events/onset": [1.0], "events/duration": [30.0]}, "row 1", "duration"),
        ({"events/onset": [1.0], "events/stimulus": ["x"]}, "row 1 presents 'x'", "known"),
        ({"events/onset": [1.0, 2.0], "events/duration": [5.0, 1.0]}, "row 2 begins at 2 s, while", "overlap"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changed: dict[str, Any], cause: str, remedy: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **fields(**changed))
    error = refusal(opened, path)
    assert "a.npz" in error.cause
    assert cause in error.cause
    assert remedy in error.remedy


@pytest.mark.parametrize(
    "changed",
    [
        {"brain": np.full((4, 2000), np.nan)},
        {"audio": np.full(160000, np.inf)},
        {"rate": 33.0},
        {"audio": None},
        {"brain": np.zeros((4, 2000))},
        {"brain": [[1.0, 2.0], [3.0]]},
        {"bads": ["nobody"], "channels": ["a", "b", "c", "d"]},
    ],
)
def test_what_cannot_be_used_is_not_saved_and_what_was_there_stays(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = bdh.save_recording(tmp_path / "a.npz", **fields())
    before = path.read_bytes()
    given = fields(**changed)
    refusal(bdh.save_recording, path, **{"brain": None, **given})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]


def test_swapped_axes_are_turned_and_said_when_saving(tmp_path: Path) -> None:
    given = fields()
    with pytest.warns(UserWarning, match="time × channels"):
        path = bdh.save_recording(tmp_path / "a.npz", **{**given, "brain": given["brain"].T})
    np.testing.assert_array_equal(opened(path).recording("a").brain.data[1], given["brain"][1].astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bdh.save_recording(path, **given)


def test_several_presentations_of_several_sounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sounds = {name: rng.uniform(-0.5, 0.5, AUDIO_RATE * 5) for name in ("ferry", "bread")}
    events = {
        "onset": [1.0, 7.0, 13.0],
        "duration": [5.0, 3.0, 5.0],
        "stimulus_start": [0.0, 2.0, 0.0],
        "stimulus": ["ferry", "ferry", "bread"],
        "block": [1, 1, 2],
    }
    path = bdh.save_recording(tmp_path / "a.npz", **fields(audio=sounds, events=events))
    trials = opened(path).trials()
    assert [(t.start, t.stop, t.stimulus, t.stimulus_start, t.stimulus_stop) for t in trials] == [
        (1.0, 6.0, "ferry", 0.0, 5.0),
        (7.0, 10.0, "ferry", 2.0, 5.0),
        (13.0, 18.0, "bread", 0.0, 5.0),
    ]
    assert [t.groups["block"] for t in trials] == ["1", "1", "2"]
    error = refusal(bdh.save_recording, tmp_path / "b.npz", **fields(audio=sounds))
    assert "events are needed" in error.cause


def test_several_recordings_in_one_file_or_one_folder(tmp_path: Path) -> None:
    one, other = fields(1), fields(2, subject="b")
    both = {f"p1/{key}": value for key, value in one.items()} | {f"p2/{key}": value for key, value in other.items()}
    np.savez(tmp_path / "both.npz", **both)
    dataset = opened(tmp_path / "both.npz")
    assert [(t.recording, t.groups["subject"], t.stimulus) for t in dataset.trials()] == [
        ("p1", "p1", "p1"),
        ("p2", "b", "p2"),
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, some in (("p1", one), ("p2", other)):
        bdh.save_recording(folder / f"{name}.npz", **some)
    assert [t.id for t in opened(folder).trials()] == ["p1", "p2"]
    np.savez(tmp_path / "stray.npz", **{"p1/brain": one["brain"], "p1/rate": 1, "p1/audio": one["audio"], "rate": 3})
    assert "stray.npz" in refusal(opened, tmp_path / "stray.npz").cause


def test_sounds_of_one_name_must_be_one_sound(tmp_path: Path) -> None:
    events = {"onset": [0.0]}
    bdh.save_recording(tmp_path / "p1.npz", **fields(1, audio={"ferry": fields(1)["audio"]}, events=events))
    bdh.save_recording(tmp_path / "p2.npz", **fields(2, audio={"ferry": fields(1)["audio"]}, events=events))
    assert {t.stimulus for t in opened(tmp_path).trials()} == {"ferry"}
    bdh.save_recording(tmp_path / "p2.npz", **fields(2, audio={"ferry": fields(2)["audio"]}, events=events))
    assert "another 'ferry'" in refusal(opened, tmp_path).cause


def test_fields_that_are_silently_something_else_are_refused(tmp_path: Path) -> None:
    given = {key: np.asarray(value) for key, value in fields().items() if value is not None}
    for name, value, cause in (
        ("channels", np.array([b"\xff"] + [b"a%d" % n for n in range(len(given["brain"]) - 1)]), "no UTF-8"),
        ("subject", ["ann", "bob"], "subject is 2 texts, not one"),
        ("breaks", [np.nan], "breaks has one at nan s"),
        ("breaks", [1e9], "breaks has one at 1e"),
    ):
        np.savez(tmp_path / "a.npz", **{**given, name: value})
        assert cause in refusal(opened, tmp_path / "a.npz").cause
    sounds = {key: value for key, value in given.items() if key != "audio"} | {"audio/ferry": given["audio"]}
    events = {"events/onset": [0.0], "events/stimulus": np.array([b"ferry"])}
    np.savez(tmp_path / "a.npz", **sounds, **events)
    assert [trial.stimulus for trial in opened(tmp_path / "a.npz").trials()] == ["ferry"]


def test_targets_in_place_of_sound(tmp_path: Path) -> None:
    targets = np.random.default_rng(0).standard_normal((50 * SECONDS, 3))
    path = bdh.save_recording(
        tmp_path / "a.npz", **fields(audio=None, audio_rate=None, targets=targets, targets_rate=50)
    )
    dataset = opened(path, targets="mel")
    [space] = dataset.stimuli_spaces
    signal = dataset.stimulus("a", space)
    assert (space.name, signal.rate, signal.modality) == ("mel", 50.0, "mel")
    np.testing.assert_array_equal(signal.data[10:20], targets[10:20].astype(np.float32))


def test_a_name_without_npz_is_refused(tmp_path: Path) -> None:
    assert ".npz" in refusal(bdh.save_recording, tmp_path / "a.npy", **fields()).cause


def test_a_uri_is_fetched(tmp_path: Path) -> None:
    path = bdh.save_recording(tmp_path / "a.npz", **fields())
    dataset = Arrays(path=path.as_uri())
    dataset.prepare(context())
    assert [t.id for t in dataset.trials()] == ["a"]
    asked = []

    def downloads(uri: str, sha256: str | None, ctx: Context) -> Path:
        asked.append(uri)
        return path

    dataset = Arrays(path="https://x/b.npz")
    assert "not fetched" in refusal(dataset.trials).cause
    dataset.prepare(Context(downloads=downloads))
    assert asked == ["https://x/b.npz"]
    assert [t.id for t in dataset.trials()] == ["b"]


@pytest.mark.parametrize(
    ("data", "use"),
    [
        ("a.npz", "core/arrays"),
        ("a.NPZ", "core/arrays"),
        ("npz", "core/arrays"),
        ("https://x/a.npz#sha256=0", "core/arrays"),
        ("a.npy", "core/folder"),
        ("a.edf", "core/folder"),
        ("mixed", "core/folder"),
        ("nowhere", "core/folder"),
        ("osf://x/a.npy", "core/folder"),
    ],
)
def test_data_finds_its_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, use: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("npz/a.npz", "mixed/a.npz", "mixed/b.npy", "mixed/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert dataset_for(data, "seeg", Manager()) == {"use": use, "path": data, "brain": "seeg"}


def test_targets_are_decoded_the_whole_way(tmp_path: Path) -> None:
    """SIMULATED: three targets that six channels follow."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((50 * 60 + 10, 3))
    targets = np.stack([np.convolve(one, np.ones(11), "valid") for one in white.T], axis=1) / 11**0.5
    brain = np.repeat(targets, 2, axis=0).T
    brain = np.vstack([brain, -brain]) + rng.standard_normal((6, 6000))
    path = bdh.save_recording(
        tmp_path / "a.npz", brain=brain, rate=100, targets=targets, targets_rate=50, simulated=True
    )
    run = bdh.run(
        "audio_seeg",
        preset="ridge",
        data=str(path),
        out=tmp_path / "runs",
        set={
            "dataset.targets": "track",
            "targets": {"track": [{"use": "core/zscore"}]},
            "encoder": [{"use": "core/zscore"}],
            "renderer": None,
            "metrics": ["core/correlation"],
            "split.gap_s": 1.0,
        },
    )
    assert run.metrics["scores"]["correlation"]["value"] > 0.5
    assert run.metrics["flags"] == ["SIMULATED"]
    assert run.metrics["simulated"] is True
