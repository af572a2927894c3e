"""The loaders of public listening data, on tiny files in the published layouts that the tests write themselves.

MNE writes neither KIT (.con) nor CTF (.ds): for these two, `mne_bids.read_raw_bids` alone is replaced, by one that
returns a recording in memory; folders, names, events.tsv, sounds and everything that is made of them are real.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import pytest
import scipy.io
import soundfile

from braindecode_hub.errors import HubError
from braindecode_hub.interfaces import Dataset
from braindecode_hub.manager import Manager
from braindecode_hub.splits import SIDES, Split
from braindecode_hub.types import Context, Event, Space
from braindecode_hub_speech_wav2vec import published
from braindecode_hub_speech_wav2vec.brennan2019 import Brennan2019
from braindecode_hub_speech_wav2vec.broderick2019 import Broderick2019
from braindecode_hub_speech_wav2vec.gwilliams2022 import Gwilliams2022, literal
from braindecode_hub_speech_wav2vec.schoffelen2019 import Schoffelen2019

AUDIO, WORDS, TRANSCRIPT = Space("audio", ("time",), "*"), Space("words"), Space("transcript")
LOADERS = (Brennan2019, Broderick2019, Gwilliams2022, Schoffelen2019)
SAID = ("Down she fell, down.", "Never to stop!", "What a curious feeling.", "Would she ever land?")
"""Four sentences of three to four words, every one 3 s long, with a pause of half a second behind it."""


def words(sentence: str, start: float) -> list[tuple[str, float, float]]:
    """Words of a sentence, evenly over the 3 s from `start`."""
    told = sentence.split()
    return [(word, start + 3.0 * k / len(told), start + 3.0 * (k + 0.9) / len(told)) for k, word in enumerate(told)]


SENTENCES = [words(sentence, 0.2 + 3.5 * k) for k, sentence in enumerate(SAID)]
SECONDS = 3.5 * len(SAID) + 0.5


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def wav(path: Path, seconds: float = SECONDS, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * noise(round(8000 * seconds), seed=seed).clip(-4, 4), 8000)


def cell(values: list[Any]) -> np.ndarray:
    out = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        out[row, 0] = value
    return out


def prepared(dataset: Dataset) -> list[str]:
    """Prepare a dataset and return its notes."""
    logged: list[Event] = []
    dataset.prepare(Context(log=logged.append))
    return [event["text"] for event in logged if event["kind"] == "note"]


# Brennan 2019

AHEAD = {"1": 1.5, "2": 20.0}
"""When the sounds of the two segments begin, in seconds of the recording."""


def table(**changed: str) -> str:
    lines = ["Word,Segment,onset,offset,Order,LogFreq,Sentence,Position"]
    order = 0
    for segment in (1, 2):
        for number, sentence in enumerate(SENTENCES, start=1):
            for place, (word, start, stop) in enumerate(sentence, start=1):
                order += 1
                text = word.strip(".,!?")
                lines.append(f"{text},{segment},{start:.4f},{stop:.4f},{order},9.5,{10 * segment + number},{place}")
    out = "\n".join(lines) + "\n"
    for old, new in changed.items():
        out = out.replace(old, new)
    return out


def brennan(root: Path, *, subjects: tuple[str, ...] = ("S01", "S03"), late: float = 0.0, skip: int = 0) -> Path:
    """Write both sounds, the table, and for every subject S01.mat (FieldTrip) and proc/S01.mat."""
    rate, labels = 500.0, [str(n) for n in range(1, 62) if n != 29]
    for segment in (1, 2):
        wav(root / "audio" / f"DownTheRabbitHoleFinal_SoundFile{segment}.wav", seed=segment)
    (root / "AliceChapterOne-EEG.csv").write_text(table(), "utf-8")
    rows = [line.split(",") for line in table().splitlines()[1:]]
    (root / "proc").mkdir(exist_ok=True)
    for number, subject in enumerate(subjects):
        microvolts = 10 * noise(62, round(rate * 40), seed=number)
        header = {"Fs": rate, "nChans": 62.0, "label": cell([*labels, "VEOG", "Aux5"]), "chanunit": cell(["uV"] * 62)}
        raw = {"hdr": header, "fsample": rate, "trial": cell([microvolts]), "label": header["label"]}
        scipy.io.savemat(root / f"{subject}.mat", {"raw": raw}, do_compression=True)
        begins = [round((AHEAD[row[1]] + float(row[2]) + late * k % 3) * rate) for k, row in enumerate(rows)]
        trl = [
            [at + 1 - 150, at + 500, -150, float(r[1]), float(r[2]), float(r[4])]
            for at, r in zip(begins, rows, strict=True)
        ]
        proc = {
            "trl": np.array(trl)[skip:],
            "varnames": cell(["segment", "tmin", "Order"]),
            "impedence": {"bads": cell(["7"])},
            "rejections": {"badchans": np.zeros((0, 0))},
        }
        scipy.io.savemat(root / "proc" / f"{subject}.mat", {"proc": proc})
    return root


class TestBrennan:
    def test_sentences_words_sensors_and_clock_are_the_files_own(self, tmp_path: Path) -> None:
        dataset = Brennan2019(path=str(brennan(tmp_path)))
        notes = prepared(dataset)
        trials = dataset.trials()
        assert notes == []
        assert len(trials) == 2 * 2 * 4
        first = trials[0]
        assert first.groups == {
            "subject": "S01", "session": "1", "story": "alice-1", "sentence": "down she fell down",
        }  # fmt: skip
        assert first.stimulus_start == pytest.approx(0.2)
        assert first.start - first.stimulus_start == pytest.approx(1.5, abs=0.002)
        second = trials[4]
        assert (second.stimulus, second.groups["story"]) == ("2", "alice-2")
        assert second.start - second.stimulus_start == pytest.approx(20.0, abs=0.002)
        assert dataset.stimulus("1", WORDS).data[:2] == [
            ("Down", 0.2, pytest.approx(0.875)),
            ("she", 0.95, pytest.approx(1.625)),
        ]
        assert dataset.stimulus("1", AUDIO).rate == 8000.0
        recording = dataset.recording("S03")
        assert recording.brain.data.shape == (60, 20000)
        assert recording.brain.rate == 500.0
        assert recording.brain.units == "V"
        assert recording.bads == ("7",)
        assert "29" not in recording.brain.channels
        assert recording.brain.data[2:4, 100:103] == pytest.approx(
            1e-5 * noise(62, 20000, seed=1)[2:4, 100:103], rel=1e-5
        )
        assert np.isfinite(recording.positions).all()
        assert np.linalg.norm(recording.positions, axis=1) == pytest.approx(0.095, abs=0.02)

    def test_a_subject_with_fewer_words_is_still_in_time(self, tmp_path: Path) -> None:
        dataset = Brennan2019(path=str(brennan(tmp_path, subjects=("S24",), skip=9)))
        assert [trial.start - trial.stimulus_start for trial in dataset.trials()][::7] == pytest.approx(
            [1.5, 20.0], abs=0.01
        )

    def test_a_subject_whose_words_lie_elsewhere_is_left_out_unless_asked_for(self, tmp_path: Path) -> None:
        brennan(tmp_path, subjects=("S02",), late=1.0)
        brennan(tmp_path, subjects=("S01",))
        dataset = Brennan2019(path=str(tmp_path))
        notes = prepared(dataset)
        assert {trial.groups["subject"] for trial in dataset.trials()} == {"S01"}
        assert len(notes) == 1
        assert "S02 is left out" in notes[0]
        with pytest.raises(HubError, match=r"words of segment \d lie \d.\d\d s from where"):
            Brennan2019(path=str(tmp_path), subjects=["S02"]).trials()

    def test_each_file_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        brennan(tmp_path, subjects=("S01",))
        path, words_ = tmp_path / "S01.mat", tmp_path / "AliceChapterOne-EEG.csv"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(Brennan2019, tmp_path, "S01.mat cannot be read")
        path.write_bytes(whole)
        words_.write_text(table(onset="begin"), "utf-8")
        refused(Brennan2019, tmp_path, "no column 'onset'")
        words_.write_text(table(**{"0.2000": "soon"}), "utf-8")
        refused(Brennan2019, tmp_path, "line 2: .*'soon'")
        words_.unlink()
        refused(Brennan2019, tmp_path, "AliceChapterOne-EEG.csv does not exist")
        words_.write_text(table(), "utf-8")
        (tmp_path / "audio" / "DownTheRabbitHoleFinal_SoundFile2.wav").unlink()
        refused(Brennan2019, tmp_path, "SoundFile2.wav does not exist")
        wav(tmp_path / "audio" / "DownTheRabbitHoleFinal_SoundFile2.wav")
        with pytest.raises(HubError, match="no subject 'S99'"):
            Brennan2019(path=str(tmp_path), subjects=["S99"]).trials()
        samples = Brennan2019(path=str(tmp_path)).recording("S01").brain.data
        path.unlink()
        refused(Brennan2019, tmp_path, "S01.mat does not exist")
        with pytest.raises(HubError, match=r"S01\.mat cannot be read any more"):
            samples[:, :5]


# Broderick 2019


def broderick(root: Path, *, boundaries: str = "last", timed: bool = True, audio: bool = True) -> Path:
    """Write two runs of two subjects in "Natural Speech", with texts, envelopes and (not in the archive) the sound."""
    home = root / "Natural Speech"
    told = [word for sentence in SENTENCES for word in sentence]
    first = np.cumsum([0, *(len(sentence) for sentence in SENTENCES)])
    flags = np.zeros(len(told))
    flags[first[1:] - 1 if boundaries == "last" else first[:-1]] = 1
    marks = {"last": flags, "first": flags, "numbers": first[:-1] + 1.0, "wrong": np.array([99.0])}[boundaries]
    for run in (1, 2):
        text: dict[str, Any] = {"wordVec": cell([word for word, _, _ in told])}
        if timed:
            text |= {"onset_time": np.array([[start] for _, start, _ in told])}
            text |= {"offset_time": np.array([[stop] for _, _, stop in told])}
            text |= {"sentence_boundaries": marks[:, None]}
        save(home / "Stimuli" / "Text" / f"Run{run}.mat", text)
        envelope = np.abs(noise(round(128 * SECONDS), 1, seed=run))
        save(home / "Stimuli" / "Envelopes" / f"audio{run}_128Hz.mat", {"env": envelope, "fs": 128.0})
        if audio:
            wav(home / "Stimuli" / "Audio" / f"audio{run}.wav", seed=run)
        for subject in (1, 2):
            data = {"eegData": noise(round(128 * SECONDS), 128, seed=subject), "fs": 128.0}
            name = f"EEG/Subject{subject}/Subject{subject}_Run{run}.mat"
            save(home / name, {**data, "mastoids": noise(round(128 * SECONDS), 2)})
    return root


def save(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, values, do_compression=True)


class TestBroderick:
    @pytest.mark.parametrize("boundaries", ["last", "first", "numbers"])
    def test_runs_are_recordings_and_sentences_end_where_the_file_says(self, tmp_path: Path, boundaries: str) -> None:
        dataset = Broderick2019(path=str(broderick(tmp_path, boundaries=boundaries)))
        assert prepared(dataset) == []
        trials = dataset.trials()
        assert len(trials) == 2 * 2 * 4
        assert [trial.groups["sentence"] for trial in trials[:4]] == [
            "down she fell down", "never to stop", "what a curious feeling", "would she ever land",
        ]  # fmt: skip
        assert trials[0].groups["subject"] == "01"
        assert trials[0].groups["run"] == "1"
        assert trials[0].start == trials[0].stimulus_start == pytest.approx(0.2)
        assert dataset.stimulus("audio2", WORDS).data[-1][0] == "land?"
        recording = dataset.recording("02-run01")
        assert recording.brain.rate == 128.0
        assert recording.brain.data.shape == (128, round(128 * SECONDS))
        assert recording.brain.data[5, 10:13] == pytest.approx(
            noise(round(128 * SECONDS), 128, seed=2)[10:13, 5], rel=1e-5
        )
        assert recording.brain.channels[:2] == ("A1", "A2")
        assert np.isfinite(recording.positions).all()

    def test_without_the_sound_there_is_the_published_envelope(self, tmp_path: Path) -> None:
        broderick(tmp_path, audio=False)
        refused(Broderick2019, tmp_path, "audio1.wav does not exist\nDryad has no sound.*stimuli=envelope")
        dataset = Broderick2019(path=str(tmp_path), stimuli="envelope", subjects=[1])
        prepared(dataset)
        envelope = dataset.stimulus("audio1", dataset.stimuli_spaces[0])
        assert envelope.rate == 128.0
        assert envelope.data.shape == (round(128 * SECONDS), 1)

    def test_each_file_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        broderick(tmp_path, timed=False)
        refused(Broderick2019, tmp_path, "Run1.mat has words, but no onset_time")
        broderick(tmp_path, boundaries="wrong")
        refused(Broderick2019, tmp_path, "sentence_boundaries does not fit its 15 words")
        broderick(tmp_path)
        path = tmp_path / "Natural Speech" / "EEG" / "Subject1" / "Subject1_Run1.mat"
        path.write_bytes(path.read_bytes()[:500])
        refused(Broderick2019, tmp_path, "Subject1_Run1.mat")
        with pytest.raises(HubError, match="no subject 7\nknown: 1, 2"):
            Broderick2019(path=str(tmp_path), subjects=[7]).trials()


# Gwilliams 2022


def gwilliams(root: Path, *, late: float = 0.0, spoil: dict[str, str] | None = None) -> Path:
    """Write two subjects of two sessions and two stories: .con files without content, real events and sounds."""
    description(root)
    for seed, story in enumerate(("lw1", "easy_money")):  # equal sounds are one stimulus, whatever they are called
        wav(root / "stimuli" / "audio" / f"{story}_0.wav", seed=seed)
    for subject in ("01", "02"):
        for session in ("0", "1"):
            for task, story in (("0", "lw1"), ("2", "easy_money")):
                stem = f"sub-{subject}_ses-{session}_task-{task}"
                folder = root / f"sub-{subject}" / f"ses-{session}" / "meg"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{stem}_meg.con").write_bytes(b"KIT")
                text = "\n".join(events(story, 2.0 + int(subject), late))
                for old, new in (spoil or {}).items():
                    text = text.replace(old, new, 1)
                (folder / f"{stem}_events.tsv").write_text(text + "\n", "utf-8")
    return root


def description(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "made up", "BIDSVersion": "1.7.0"}))


def events(story: str, begin: float, late: float) -> list[str]:
    """Sound, words and a phoneme each; the last sentence is a list of words; one word counts twice."""
    sound = f"'story': '{story}', 'story_uid': 0.0, 'sound_id': 0.0, 'sound': 'stimuli/audio/{story.upper()}_0.0.wav'"
    rows = ["onset\tduration\ttrial_type\tvalue\tsample"]
    rows.append(f"{begin}\t0.0\t{{{sound}, 'kind': 'sound', 'start': 0.0}}\t1\t0")
    for number, sentence in enumerate(SENTENCES):
        condition = "sentence" if number < 3 else "word_list"
        for place, (word, start, stop) in enumerate(sentence):
            about = f"'start': {start}, 'sequence_id': {float(number)}, 'word_index': {float(place)}"
            about += f", 'condition': '{condition}', 'word': {word!r}, 'pronounced': 1.0, 'speech_rate': nan"
            timed = f"{begin + start + late}\t{stop - start}"
            rows.append(f"{timed}\t{{{sound}, 'kind': 'word', {about}}}\t2\t0")
            rows.append(f"{timed}\t{{{sound}, 'kind': 'phoneme', 'phoneme': 'd_B', {about}}}\t3\t0")
            if number == 1:
                rows.append(f"{timed}\t{{{sound}, 'kind': 'word', {about.replace('sentence', 'pseudo_words')}}}\t2\t0")
    return rows


@pytest.fixture
def megs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MNE-BIDS find six sensors of 25 s at 200 Hz in every recording, and a trigger."""

    def read(path: mne_bids.BIDSPath, **_: Any) -> mne.io.RawArray:
        assert path.fpath.exists()
        names = [f"MEG {n:03d}" for n in range(1, 7)]
        info = mne.create_info([*names, "STI"], 200.0, [*["mag"] * 6, "stim"])
        for at, channel in enumerate(info["chs"][:6]):
            channel["loc"][:3] = 0.1 * np.cos(at), 0.1 * np.sin(at), 0.02 * at
        return mne.io.RawArray(1e-12 * noise(7, 5000), info, verbose="error")

    monkeypatch.setattr(mne_bids, "read_raw_bids", read)


@pytest.mark.usefixtures("megs")
class TestGwilliams:
    def test_stories_sentences_and_sensors(self, tmp_path: Path) -> None:
        dataset = Gwilliams2022(path=str(gwilliams(tmp_path)))
        assert prepared(dataset) == []
        trials = dataset.trials()
        assert len(trials) == 2 * 2 * 2 * 3
        first = trials[0]
        assert first.groups == {
            "subject": "01", "session": "0", "story": "lw1", "sentence": "down she fell down", "condition": "sentence",
        }  # fmt: skip
        assert (first.stimulus, first.stimulus_start) == ("lw1_0.0.wav", pytest.approx(0.2))
        assert first.start == pytest.approx(3.2)
        assert next(trial.start for trial in trials if trial.recording.startswith("sub-02")) == pytest.approx(4.2)
        said = dataset.stimulus("lw1_0.0.wav", WORDS).data
        assert [word for word, _, _ in said] == [word for sentence in SENTENCES for word, _, _ in sentence]
        recording = dataset.recording("sub-01_ses-1_task-2")
        assert recording.brain.data.shape == (6, 5000)
        assert recording.brain.rate == 200.0
        assert recording.brain.units == "T"
        assert recording.positions is not None
        assert recording.positions[1] == pytest.approx([0.1 * np.cos(1), 0.1 * np.sin(1), 0.02])

    def test_word_lists_are_another_condition_and_their_seconds_belong_to_nobody_else(self, tmp_path: Path) -> None:
        gwilliams(tmp_path)
        both = Gwilliams2022(path=str(tmp_path), conditions=["sentence", "word_list"], tasks=["0"], subjects=["01"])
        kinds = [trial.groups["condition"] for trial in both.trials()][:4]
        assert kinds == ["sentence", "sentence", "sentence", "word_list"]
        with pytest.raises(HubError, match="condition 'list'"):
            Gwilliams2022(path=str(tmp_path), conditions=["list"]).trials()

    def test_equal_sentences_of_two_stories_and_sessions_stay_on_one_side(self, tmp_path: Path) -> None:
        trials = Gwilliams2022(path=str(gwilliams(tmp_path))).trials()
        for fold in Split(("sentence",), folds=3).make(trials):
            texts = [{trial.groups["sentence"] for trial in fold.side(side)} for side in SIDES]
            assert sum(map(len, texts)) == len(set.union(*texts)) == 3
            assert all(len(fold.side(side)) == 8 for side in SIDES)
        with pytest.raises(HubError, match="split by subject: there are only 2"):
            Split(("subject", "sentence"), folds=3).make(trials)

    def test_what_events_say_is_never_executed(self, tmp_path: Path) -> None:
        told = literal("{'kind': 'word', 'word': \"don't\", 'rate': nan}", tmp_path, 2)
        assert told == {"kind": "word", "word": "don't", "rate": None}
        assert literal('"{\'word\': ""don\'t""}"', tmp_path, 2) == {"word": "don't"}
        for text in ("__import__('os').getcwd()", "{'a': open('x')}", "[1]", "{", "", "(" * 500):
            with pytest.raises(HubError, match="line 7: trial_type is no dictionary"):
                literal(text, tmp_path, 7)

    def test_each_file_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        refused(Gwilliams2022, gwilliams(tmp_path, late=0.5), "words of lw1_0.0.wav lie 0.50 s from where")
        refused(Gwilliams2022, gwilliams(tmp_path, spoil={"'kind': 'sound'": "'kind': 'noise'"}), "not when that sound")
        refused(
            Gwilliams2022, gwilliams(tmp_path, spoil={"\t0.675": "\t", "3.2\t": "n/a\t"}), "line 3: a word has no onset"
        )
        refused(Gwilliams2022, gwilliams(tmp_path, spoil={"{'story'": "story"}), "line 2: trial_type is no dictionary")
        gwilliams(tmp_path)
        (tmp_path / "stimuli" / "audio" / "lw1_0.wav").write_bytes(b"RIFF....")
        refused(Gwilliams2022, tmp_path, "lw1_0.wav cannot be read as sound")
        (tmp_path / "stimuli" / "audio" / "lw1_0.wav").unlink()
        refused(Gwilliams2022, tmp_path, r"lw1_0.0.wav does not exist\n.*easy_money_0.wav")
        (tmp_path / "dataset_description.json").unlink()
        refused(Gwilliams2022, tmp_path, "no BIDS data set")


# Schoffelen 2019


def schoffelen(root: Path, *, marked: bool = True) -> Path:
    """Write two subjects who heard four sounds: .ds folders without content, real events.tsv, sounds and texts."""
    description(root)
    lines = [f"{number} {text.strip('.!?')}" for number, text in zip((1, 45, 186, 360), SAID, strict=True)]
    (root / "stimuli").mkdir(exist_ok=True)
    (root / "stimuli" / "stimuli.txt").write_text("\n".join(lines) + "\n", "utf-8")
    for number in (1, 45, 186, 360):
        wav(root / "stimuli" / "audio_files" / f"EQ_Ramp_Int2_Int1LPF{number:03d}.wav", 3.4, number)
    for subject in ("A2002", "A2003"):
        folder = root / f"sub-{subject}" / "meg"
        (folder / f"sub-{subject}_task-auditory_meg.ds").mkdir(parents=True, exist_ok=True)
        (folder / f"sub-{subject}_task-rest_meg.ds").mkdir(exist_ok=True)
        rows = ["onset\tduration\tsample\ttype\tvalue", "0.1\tn/a\t20\tPicture\tZINNEN 1/1"]
        for at, name in enumerate(("001", "045", "360", "186")):
            begin = 1.0 + 5.5 * at
            rows += [f"{begin - 0.4}\tn/a\t0\tPicture\tWOORDEN"] if name == "186" else []
            rows.append(f"{begin}\tn/a\t0\tSound\tStart File {name}.wav")
            rows.append(f"{begin + 0.05}\tn/a\t0\tNothing\tAudio onset" if marked else f"{begin}\t0\t0\tUPPT001\t1")
            rows.append(f"{begin + 3.5}\tn/a\t0\tNothing\tEnd of file")
        (folder / f"sub-{subject}_task-auditory_events.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return root


@pytest.mark.usefixtures("megs")
class TestSchoffelen:
    def test_every_sound_is_a_sentence_with_a_transcript(self, tmp_path: Path) -> None:
        dataset = Schoffelen2019(path=str(schoffelen(tmp_path)))
        assert prepared(dataset) == []
        trials = dataset.trials()
        assert [trial.stimulus for trial in trials] == 2 * ["001", "045", "360"]
        assert trials[0].groups == {
            "subject": "A2002", "session": "1", "condition": "sentence", "sentence": "down she fell down",
        }  # fmt: skip
        assert (trials[1].start, trials[1].stimulus_start, trials[1].stimulus_stop) == pytest.approx((6.55, 0.0, 3.4))
        assert dataset.stimulus("360", TRANSCRIPT).data == "Would she ever land"
        assert dataset.stimulus("360", AUDIO).data.shape == (27200,)
        with pytest.raises(HubError, match="has no words"):
            dataset.stimulus("360", WORDS)
        assert dataset.recording("sub-A2003_task-auditory").brain.data.shape == (6, 5000)

    def test_word_lists_on_request_and_sounds_that_are_not_marked(self, tmp_path: Path) -> None:
        dataset = Schoffelen2019(path=str(schoffelen(tmp_path, marked=False)), conditions=["sentence", "word_list"])
        trials = dataset.trials()
        assert [trial.groups["condition"] for trial in trials[:4]] == ["sentence"] * 3 + ["word_list"]
        assert trials[1].start == pytest.approx(6.5)

    def test_each_file_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        schoffelen(tmp_path)
        (tmp_path / "stimuli" / "audio_files" / "EQ_Ramp_Int2_Int1LPF045.wav").unlink()
        refused(Schoffelen2019, tmp_path, "EQ_Ramp_Int2_Int1LPF045.wav does not exist")
        schoffelen(tmp_path)
        (tmp_path / "stimuli" / "stimuli.txt").write_text("1 Down\n45\n", "utf-8")
        refused(Schoffelen2019, tmp_path, "stimuli.txt, line 2 is not a number and a text: 45")
        (tmp_path / "stimuli" / "stimuli.txt").write_text("1 Down\n", "utf-8")
        refused(Schoffelen2019, tmp_path, "no text of sound 045")
        with pytest.raises(HubError, match="no sentence of 4 s"):
            Schoffelen2019(path=str(schoffelen(tmp_path)), shortest_s=4.0).trials()


# all four


@pytest.mark.parametrize("loader", LOADERS)
def test_without_the_data_two_lines_say_how_to_obtain_them(loader: type[Dataset]) -> None:
    for path in (None, "/no/such/folder"):
        with pytest.raises(HubError) as told:
            loader(path=path).prepare(Context())  # type: ignore[call-arg]
        assert str(told.value).count("\n") == 1
        assert "dataset.path=FOLDER" in told.value.remedy


@pytest.mark.parametrize("loader", LOADERS)
def test_they_say_that_they_are_unverified_and_where_the_data_are_from(loader: type[Dataset]) -> None:
    assert loader.unverified
    assert loader.licence
    assert "doi:10." in loader.source
    assert "UNVERIFIED" in str(loader.__doc__)


def test_published_scores_stand_for_every_loader() -> None:
    assert set(published.TOP10) == set(published.CANDIDATES) == {loader.__name__.lower() for loader in LOADERS}
    for name, row in published.TOP10.items():
        assert len(row) == len(published.MODELS)
        chance = 1000.0 / published.CANDIDATES[name]
        assert (abs(row[0][0] - chance) < 0.1) == (name != "broderick2019")


def test_loaders_are_found_by_name() -> None:
    manager = Manager()
    for loader in LOADERS:
        name = f"speech_wav2vec/{loader.__name__.lower()}"
        assert manager.component("dataset", name) is loader


def test_files_that_change_change_the_fingerprint(tmp_path: Path) -> None:
    before = Broderick2019(path=str(broderick(tmp_path))).fingerprint()
    assert Broderick2019(path=str(tmp_path)).fingerprint() == before
    text = tmp_path / "Natural Speech" / "Stimuli" / "Text" / "Run2.mat"
    text.write_bytes(text.read_bytes())
    assert Broderick2019(path=str(tmp_path)).fingerprint() != before


def refused(loader: Any, root: Path, why: str) -> None:
    """Check that a loader refuses a folder in two lines, the way `why` says."""
    with pytest.raises(HubError, match=why) as told:
        loader(path=str(root)).trials()
    assert str(told.value).count("\n") == 1
