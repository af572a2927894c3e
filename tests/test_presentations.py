"""A table says what was heard when: its rows become trials, and a wrong row is told with its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.parts.folder import Folder
from braindecode_hub.parts.presentations import around_gaps
from braindecode_hub.types import Context, Space, Trial

RATE, AUDIO_RATE, SECONDS = 100, 8000, 40
AUDIO = Space("audio", ("time",), "*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recording of 40 s, and two sounds of 10 s."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "anna.npy", rng.standard_normal((4, RATE * SECONDS)))
    for name in ("ferry.wav", "bread.wav"):
        soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, AUDIO_RATE * 10), AUDIO_RATE)
    return tmp_path


def prepared(path: Path, **parameters: Any) -> Folder:
    dataset = Folder(path=str(path), **{"rate": RATE, "brain": "seeg", **parameters})
    dataset.prepare(Context())
    return dataset


def refusal(path: Path, **parameters: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        prepared(path, **parameters)
    assert "\n" not in caught.value.cause + caught.value.remedy
    return caught.value


TABLE = """onset,duration,stimulus,stimulus_start,block,subject
1,10,ferry.wav,0,1,01
12.5,n/a,bread.wav,,2,01
25,5,ferry.wav,4,2,01
"""


@pytest.mark.parametrize("name", ["stimuli.csv", "stimuli.tsv", "anna_stimuli.tsv", "anna_events.tsv"])
@pytest.mark.parametrize("alone", [False, True])
def test_rows_become_trials(folder: Path, name: str, alone: bool) -> None:
    text = TABLE.replace("stimulus,", "stim_file,", 1) if "events" in name else TABLE
    (folder / name).write_text(text.replace(",", "\t") if name.endswith(".tsv") else text)
    dataset = prepared(folder / "anna.npy" if alone else folder)
    trials = dataset.trials()
    assert [(t.start, t.stop, t.stimulus, t.stimulus_start, t.stimulus_stop) for t in trials] == [
        (1.0, 11.0, "ferry.wav", 0.0, 10.0),
        (12.5, 22.5, "bread.wav", 0.0, 10.0),
        (25.0, 30.0, "ferry.wav", 4.0, 9.0),
    ]
    assert [t.groups for t in trials] == [
        {"story": story, "session": "1", "block": block, "subject": "01"}
        for story, block in (("ferry", "1"), ("bread", "2"), ("ferry", "2"))
    ]
    assert dataset.recording("anna").subject == "01"
    heard, rate = soundfile.read(folder / "bread.wav", dtype="float32")
    np.testing.assert_array_equal(np.asarray(dataset.stimulus("bread.wav", AUDIO).data), heard)
    assert rate == dataset.stimulus("bread.wav", AUDIO).rate


def test_events_without_sounds_are_passed_over(folder: Path) -> None:
    (folder / "anna_events.tsv").write_text("onset\tduration\ttrial_type\n1\t0\tpress\n")
    soundfile.write(folder / "anna.wav", np.full(AUDIO_RATE * SECONDS, 0.1), AUDIO_RATE)
    assert [t.id for t in prepared(folder).trials()] == ["anna"]


def test_rows_where_nothing_was_heard_are_passed_over(folder: Path) -> None:
    (folder / "anna_events.tsv").write_text("onset\tduration\tstim_file\n0\t0\tn/a\n1\t10\tferry.wav\n")
    assert [t.stimulus for t in prepared(folder).trials()] == ["ferry.wav"]


def test_one_table_serves_several_recordings_and_a_stimulus_keeps_its_name(folder: Path) -> None:
    np.save(folder / "bert.npy", np.random.default_rng(1).standard_normal((3, RATE * SECONDS)))
    table = folder / "stimuli.csv"
    table.write_text("recording;onset;stimulus\nanna;0;ferry.wav\nbert.npy;3;ferry.wav\n")
    trials = prepared(folder).trials()
    assert [(t.recording, t.stimulus, t.groups["subject"]) for t in trials] == [
        ("anna", "ferry.wav", "anna"),
        ("bert", "ferry.wav", "bert"),
    ]
    table.write_text("onset,stimulus\n0,ferry.wav\n")
    assert "row 2 does not say which recording" in refusal(folder).cause
    table.write_text("recording,onset,stimulus\nanna,0,ferry.wav\n")
    assert "no row for recording 'bert'" in refusal(folder).cause
    assert [t.recording for t in prepared(folder / "anna.npy").trials()] == ["anna"]


def test_sounds_in_arrays_are_sounds_and_no_recordings(folder: Path) -> None:
    np.save(folder / "song.npy", np.random.default_rng(2).uniform(-0.5, 0.5, AUDIO_RATE * 5))
    (folder / "stimuli.csv").write_text("onset,stimulus\n0,song.npy\n")
    [trial] = prepared(folder, audio_rate=AUDIO_RATE).trials()
    assert (trial.recording, trial.stimulus, trial.stop) == ("anna", "song.npy", 5.0)


ROUNDED = """onset,duration,stimulus,stimulus_start
1,3.001,ferry.wav,0
4,3,ferry.wav,3
6.998,3,ferry.wav,6
"""


def test_rows_that_overlap_by_rounding_alone_are_cut_with_their_stimulus_and_a_note(folder: Path) -> None:
    (folder / "stimuli.csv").write_text(ROUNDED)
    dataset, told = Folder(path=str(folder), rate=RATE, brain="seeg"), []
    dataset.prepare(Context(log=lambda event: told.append(event["text"])))
    spans = [(t.start, t.stop, t.stimulus_start, t.stimulus_stop) for t in dataset.trials()]
    expected = [(1.0, 4.001, 0.0, 3.001), (4.001, 7.0, 3.001, 6.0), (7.0, 9.998, 6.002, 9.0)]
    np.testing.assert_allclose(spans, expected, atol=1e-9)
    assert [trial.id for trial in dataset.trials()] == ["anna/1", "anna/2", "anna/3"]
    assert told == [
        "2 trials, the first of them anna/2, begin up to 5 ms before the last one ends (rounding), cut there"
    ]


def test_what_overlaps_by_more_than_rounding_is_refused(folder: Path) -> None:
    (folder / "stimuli.csv").write_text(ROUNDED.replace("6.998", "6.99"))
    assert "row 4 begins at 6.99 s, while stimuli.csv, row 3 lasts until 7 s" in refusal(folder).cause
    (folder / "stimuli.csv").write_text("onset,duration,stimulus\n1,3,ferry.wav\n3.998,0.004,bread.wav\n")
    assert "row 3 begins at 3.998 s" in refusal(folder).cause  # nothing would be left of it


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("", "is empty", "names the columns"),
        ("start,stimulus\n1,ferry.wav\n", "no column 'onset'; it has start, stimulus", "onset, duration, stimulus"),
        ("onset,duration\n1,2\n", "no column 'stimulus'", "onset, duration, stimulus"),
        ("onset,stimulus,stimulus_strat\n1,ferry.wav,0\n", "a column 'stimulus_strat'", "stimulus_start"),
        ("onset,onset,stimulus\n1,1,ferry.wav\n", "the column 'onset' twice", "keep one"),
        ("onset,stimulus\n1,fery.wav\n", "row 2 presents 'fery.wav', which does not exist", "ferry.wav"),
        ("onset,stimulus\n1,ferry.wav,7\n", "row 2 has 3 values for 2 columns", "n/a"),
        ("onset,stimulus\nsoon,ferry.wav\n", "row 2: onset is 'soon'", "seconds"),
        ("onset,stimulus\n-1,ferry.wav\n", "row 2: onset is '-1'", "0 or more"),
        ("onset,stimulus\nn/a,ferry.wav\n", "row 2 has no onset", "seconds"),
        ("onset,duration,stimulus\n1,0,ferry.wav\n", "row 2 has the duration 0", "n/a"),
        ("onset,stimulus\n1,ferry.wav\n8,bread.wav\n", "row 3 begins at 8 s, while stimuli.csv, row 2", "overlap"),
        ("onset,stimulus\n1,ferry.wav\n35,bread.wav\n", "row 3 lasts from 35 to 45 s, but the recording ends", "first"),
        ("onset,duration,stimulus\n1,15,ferry.wav\n", "row 2 presents 'ferry.wav' from 0 to 15 s, but", "duration"),
        ("onset,stimulus,stimulus_start\n1,ferry.wav,11\n", "it lasts 10.00 s", "stimulus_start"),
        ("recording,onset,stimulus\nana,1,ferry.wav\n", "names the recording 'ana'", "anna"),
        (
            "onset,stimulus,subject\n1,ferry.wav,a\n20,bread.wav,b\n",
            "row 3: recording 'anna' has subject 'b', but 'a' in stimuli.csv, row 2",
            "one subject",
        ),
    ],
)
def test_wrong_tables_are_refused_with_file_row_and_remedy(folder: Path, text: str, cause: str, remedy: str) -> None:
    (folder / "stimuli.csv").write_text(text)
    error = refusal(folder)
    assert "stimuli.csv" in error.cause
    assert cause in error.cause
    assert remedy in error.remedy


def test_two_tables_are_refused(folder: Path) -> None:
    for name in ("stimuli.csv", "stimuli.tsv"):
        (folder / name).write_text(TABLE)
    assert "both" in refusal(folder).cause
    (folder / "stimuli.tsv").unlink()
    (folder / "stimuli.csv").write_bytes(b"onset,stimulus\n1,\xff\xfe\n")
    assert "cannot be read as text" in refusal(folder).cause


def test_trials_are_cut_around_gaps() -> None:
    trial = Trial("t", "r", 10.0, 30.0, "s", 0.0, 10.0, {})
    cut = around_gaps([trial], [(5.0, 11.0), (20.0, 20.0), (20.5, 22.0), (40.0, 50.0)])
    assert [(t.id, t.start, t.stop, t.stimulus_start, t.stimulus_stop) for t in cut] == [
        ("t/0", 11.0, 20.0, 0.5, 5.0),
        ("t/1", 22.0, 30.0, 6.0, 10.0),
    ]
    assert around_gaps([trial], []) == [trial]
    assert around_gaps([trial], [(0.0, 60.0)]) == []


@pytest.mark.parametrize("name", ["stimuli.csv", "stimuli.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_says_which_delimiter_is_meant(folder: Path, name: str, delimiter: str) -> None:
    (folder / name).write_bytes(b"\xef\xbb\xbf" + TABLE.replace(",", delimiter).replace("\n", "\r\n").encode())
    assert [trial.stimulus for trial in prepared(folder).trials()] == ["ferry.wav", "bread.wav", "ferry.wav"]
