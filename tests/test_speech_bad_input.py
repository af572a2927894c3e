"""Bad input to speech_wav2vec: one line that says what is wrong and one that says what to do; or it simply works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pytest
import soundfile

from braindecode_hub.cli import main
from braindecode_hub.phantom import speech
from braindecode_hub.runfolder import Run

RATE, CHANNELS = 64, 5
BLOCKS = "split.by=time_block"
RIDGE = "decoder={use: core/ridge, lags_s: [0.0, 0.3]}"
TINY = ("decoder.max_steps=1", "decoder.tower_hidden=8", "decoder.tower_depth=2", "beside=[]")

Ran = Callable[..., tuple[int, list[str], Path | None]]


def sound(seconds: float, first: str = "ferry") -> np.ndarray:
    return np.concatenate([speech.audio(first), speech.audio("bread")])[: round(seconds * speech.RATE)]


def brain(audio: np.ndarray, rate: float = RATE, seed: int = 0) -> np.ndarray:
    """(channels, samples) float32, SIMULATED: noise, and how loud the sound is."""
    count = round(rate * len(audio) / speech.RATE)
    loud = np.interp(np.arange(count) / rate, np.arange(len(audio)) / speech.RATE, np.abs(audio))
    return (0.5 * np.random.default_rng(seed).standard_normal((CHANNELS, count)) + 20 * loud).astype(np.float32)


def pair(folder: Path, audio: np.ndarray, values: np.ndarray | None = None, name: str = "a") -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", brain(audio) if values is None else values)
    soundfile.write(folder / f"{name}.wav", audio, speech.RATE)
    return folder


@pytest.fixture
def ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Run speech_wav2vec on a folder; return the exit code, the lines of stderr, and the run folder."""

    def run(
        data: Path, *sets: str, preset: str | None = "ridge", until: str | None = "predict", rate: float | None = RATE
    ) -> tuple[int, list[str], Path | None]:
        given = [*([f"dataset.rate={rate}"] if rate else []), *sets]
        words = [word for one in given for word in ("--set", one)]
        words += ["--preset", preset] if preset else []
        words += ["--until", until] if until else []
        with pytest.raises(SystemExit) as left:
            main(["run", "speech_wav2vec", "--data", str(data), "--jobs", "1", "--out", str(tmp_path / "runs"), *words])
        lines = capsys.readouterr().err.splitlines()
        assert not [line for line in lines if "Traceback" in line]
        folders = sorted((tmp_path / "runs/speech_wav2vec").glob("2*"))
        return int(left.value.code or 0), lines, folders[-1] if folders else None

    return run


@pytest.fixture
def refused(ran: Ran) -> Callable[..., tuple[str, str]]:
    def check(data: Path, *sets: str, **how: object) -> tuple[str, str]:
        code, lines, folder = ran(data, *sets, **how)
        assert code in (1, 2)
        [cause] = [line for line in lines if line.startswith("Error: ")]
        [remedy] = [line for line in lines if line.startswith("  Try: ")]
        assert lines[-2:] == [cause, remedy] and "unexpected" not in cause
        assert folder is None or not (folder / "predictions.safetensors").exists()
        return cause, remedy

    return check


Refused = Callable[..., tuple[str, str]]


def test_own_data_know_no_sentences_and_are_told_what_splits_them(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in", sound(24)))
    assert "split by 'sentence': trial 'a' has no such group" in cause
    assert "--set split.by=time_block" in remedy


def test_one_subject_cannot_be_left_out(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in", sound(24)), "split.by=subject")
    assert "split by subject: there is only 1" in cause and "time_block" in remedy


def listeners(folder: Path) -> Path:
    for number, story in enumerate(("ferry", "bread", "train")):
        pair(folder, sound(12, story), name=f"s{number}")
    return folder


def test_an_unseen_subject_needs_a_decoder_that_works_across_subjects(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(listeners(tmp_path / "in"), "split.by=subject")
    assert "has no train trials" in cause and "works across subjects" in remedy


def test_an_unseen_subject_without_sensor_positions_is_decoded_by_the_network(tmp_path: Path, ran: Ran) -> None:
    """The row of the unknown subject; sensors without places get no attention, and everything stays finite."""
    code, lines, folder = ran(listeners(tmp_path / "in"), "split.by=subject", *TINY, preset=None)
    assert code == 0 and folder is not None, lines
    items = Run(folder).items()
    assert items and all(np.isfinite(array).all() for item in items for array in item.predicted.values())


def test_recordings_of_different_rates_are_brought_to_one(tmp_path: Path, ran: Ran) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, rate in enumerate((64, 100)):
        audio = sound(24, ("ferry", "train")[number])
        info = mne.create_info([f"E{k}" for k in range(CHANNELS)], rate, "eeg")
        mne.io.RawArray(1e-6 * brain(audio, rate), info, verbose="ERROR").save(
            folder / f"s{number}_raw.fif", verbose="ERROR"
        )
        soundfile.write(folder / f"s{number}.wav", audio, speech.RATE)
    code, lines, path = ran(folder, BLOCKS, RIDGE, rate=None)
    assert code == 0 and path is not None and (path / "predictions.safetensors").is_file(), lines


def test_audio_shorter_than_a_window_is_refused(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in", sound(2)), BLOCKS)
    assert "the val side of fold 0 is empty" in cause and "split.by" in remedy


@pytest.mark.parametrize(("preset", "more"), [("smoke", ()), (None, TINY)])
def test_windows_longer_than_every_trial_are_refused(
    tmp_path: Path, refused: Refused, preset: str | None, more: tuple[str, ...]
) -> None:
    long = ("window.length_s=30", "window.hop_s=30")
    cause, remedy = refused(pair(tmp_path / "in", sound(24)), BLOCKS, *long, *more, preset=preset)
    assert "windows of 30 s, but the longest training trial lasts" in cause
    assert "--set window.length_s=" in remedy


def test_silence_is_refused(tmp_path: Path, refused: Refused) -> None:
    audio = sound(24)
    cause, remedy = refused(pair(tmp_path / "in", 0 * audio, brain(audio)), BLOCKS)
    assert "every stimulus is silent: 'a' (trial a)" in cause and "sounds that were heard" in remedy


@pytest.mark.parametrize("how", ["zero", "cancelled", "cancelled but for rounding"])
def test_trials_of_silence_are_named_and_left_out_before_training(tmp_path: Path, ran: Ran, how: str) -> None:
    audio = sound(24)
    folder = pair(tmp_path / "in", audio, brain(audio))
    (folder / "a.wav").unlink()
    rows = ["onset,duration,stimulus"]
    for number in range(6):
        part = audio[number * 4 * speech.RATE :][: 4 * speech.RATE]
        if number == 2:
            rest = np.sign(part) / 32768 if "rounding" in how else 0.0
            part = 0 * part if how == "zero" else np.stack([part, rest - part], axis=1)
        soundfile.write(folder / f"s{number}.wav", part, speech.RATE, subtype="FLOAT")
        rows.append(f"{4 * number},4,s{number}.wav")
    (folder / "stimuli.csv").write_text("\n".join(rows))
    code, lines, path = ran(folder, "split.by=stimulus", "split.folds=3", until="prepare")
    assert code == 0 and path is not None, lines
    assert [line for line in lines if "silent, and left out: 's2.wav' (trial a/3);" in line]
    presented = {piece["stimulus"] for side in Run(path).split["folds"][0]["sides"].values() for piece in side}
    assert presented == {f"s{number}.wav" for number in range(6) if number != 2}


def test_stereo_is_averaged_and_said_so(tmp_path: Path, ran: Ran) -> None:
    audio = sound(24)
    code, lines, _ = ran(pair(tmp_path / "in", np.stack([audio, audio], axis=1), brain(audio)), BLOCKS, until="prepare")
    assert code == 0 and [line for line in lines if "a.wav: its 2 channels are averaged" in line]


def test_brain_and_sound_of_other_lengths_are_refused(tmp_path: Path, refused: Refused) -> None:
    cause, remedy = refused(pair(tmp_path / "in", sound(18), brain(sound(24))), BLOCKS)
    assert "24.00 s" in cause and "18.00 s" in cause and "same start and end" in remedy


def test_a_decoder_of_deep_mel_refuses_another_target(tmp_path: Path, refused: Refused) -> None:
    targets = "targets={envelope: [{use: speech_wav2vec/envelope}, {use: core/zscore}]}"
    cause, _ = refused(pair(tmp_path / "in", sound(24)), BLOCKS, targets, *TINY, preset=None)
    assert "produces mel, but the targets are envelope" in cause


@pytest.mark.slow
def test_own_data_without_words_are_decoded_and_reported(tmp_path: Path, ran: Ran) -> None:
    """Two candidates only, no transcript, no positions, one subject: scores with reasons, and a page that says so."""
    words = "metrics=[core/top1, core/mean_rank, core/word_top1]"
    code, lines, folder = ran(pair(tmp_path / "in", sound(12)), BLOCKS, "split.folds=3", RIDGE, words, until=None)
    assert code == 0 and folder is not None, lines
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["scores"]["top1"]["chance"] == 0.5
    assert "word_top1" not in metrics["scores"]
    assert "no two words with times" in metrics["reasons"]["scores.word_top1"]
    html = (folder / "report.html").read_text()
    assert "no two words with times" in html
    assert "(no transcript)" in html and "nearest of 2 candidates" in html and "No evidence of decoding" in html
    played_in_order(Run(folder), sound(12))


def played_in_order(run: Run, audio: np.ndarray) -> None:
    """What was heard and what was retrieved: the pieces of the test side, whole, in its order and as the scores say."""
    seconds = run.retrieval[0]["seconds"]
    length, step = round(seconds * speech.RATE), round((seconds + 0.1) * speech.RATE)
    played = {}
    for side in ("original", "retrieved"):
        [path] = [one for one in run.artifacts() if one.name.endswith(f".{side}.wav")]
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == speech.RATE and len(samples) % step == 0
        played[side] = samples.reshape(-1, step)[:, :length]
    starts = [round(item.about["start"] * speech.RATE) for item in run.items()]
    inside = slice(400, -400)  # ends are faded
    for start, piece in zip(starts, played["original"], strict=True):
        np.testing.assert_allclose(piece[inside], audio[start : start + length][inside], atol=2e-4)
    scores, own = run.details["retrieval/0/scores"], run.details["retrieval/0/own"]
    for best, piece in zip(scores.argmax(axis=1), played["retrieved"], strict=True):
        np.testing.assert_array_equal(piece, played["original"][list(own).index(best)])
    assert all(np.abs(piece[[0, -1]]).max() < 2e-3 for pieces in played.values() for piece in pieces)
    clips = [one["clip"] for one in run.retrieval[0]["candidates"]]
    assert all(soundfile.info(run.path / "artifacts" / clip).duration == pytest.approx(seconds) for clip in clips)


@pytest.mark.slow
def test_sentences_of_ones_own_table_are_the_transcript_and_what_cannot_fail_is_no_score(
    tmp_path: Path, ran: Ran
) -> None:
    data, audio = tmp_path / "in", sound(24)
    pair(data, audio, brain(audio))
    rows = ["onset,duration,stimulus,stimulus_start,sentence"]
    rows += [f"{4 * k},4,a.wav,{4 * k},This is number {k}." for k in range(6)]
    (data / "stimuli.csv").write_text("\n".join(rows))
    asked = "metrics=[core/top10, core/top1, core/top10_averaged]"
    sets = ("split.by=sentence", "split.folds=3", "window.length_s=2", "window.hop_s=2", "unit_s=2")
    code, lines, folder = ran(data, *sets, RIDGE, asked, until=None)
    assert code == 0 and folder is not None, lines
    run = Run(folder)
    tested = {piece["groups"]["sentence"] for piece in run.split["folds"][0]["sides"]["test"]}
    assert {one["text"] for one in run.retrieval[0]["candidates"]} == tested
    html = (folder / "report.html").read_text()
    assert "(no transcript)" not in html and min(tested) in html
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [name for name in metrics["scores"] if name.startswith("top")] == ["top1"]
    for name in ("top10", "top10_averaged"):
        assert metrics["reasons"][f"scores.{name}"] == "it cannot fail with 4 candidates"
    assert not any("top10" in some for kind in ("baselines", "controls") for some in metrics[kind].values())


@pytest.mark.slow
def test_a_single_candidate_gives_no_score_and_says_why(tmp_path: Path, ran: Ran) -> None:
    data = tmp_path / "in"
    data.mkdir()
    rows = ["onset,duration,stimulus"]
    sounds = [sound(3.2, story) for story in ("ferry", "bread", "train", "market")]
    for number, one in enumerate(sounds):
        soundfile.write(data / f"s{number}.wav", one, speech.RATE)
        rows.append(f"{3.2 * number},3.2,s{number}.wav")
    np.save(data / "a.npy", brain(np.concatenate(sounds)))
    (data / "stimuli.csv").write_text("\n".join(rows) + "\n")
    code, lines, folder = ran(data, "split.by=stimulus", RIDGE, until=None)
    assert code == 0 and folder is not None, lines
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "top1" not in metrics["scores"]
    assert metrics["reasons"]["scores.top1"] == "only one test candidate"
    html = (folder / "report.html").read_text()
    assert "Nothing was retrieved: only one test candidate" in html


@pytest.mark.parametrize(
    "given",
    [
        "encoder.0.rate=0",
        "encoder.2.clamp=0",
        "encoder.3.hidden=0",
        "encoder.3.shift_s=-1",
        "encoder.3.shift_s=9",
        "encoder.3.dropout=-1",
        "encoder.3.subject_dropout=2",
        "decoder.batch_size=0",
        "decoder.rate=-1",
        "decoder.validate_every=0",
        "decoder.tower_depth=0",
        "decoder.lag_step_s=0",
        "targets.mel.0.rate=0",
        "unit_s=-1",
    ],
)
def test_a_value_that_nothing_can_be_made_of_is_one_line(tmp_path: Path, ran: Ran, given: str) -> None:
    """Each of these was a traceback, or was taken as it is."""
    data = pair(tmp_path / "data", sound(50))
    code, lines, _ = ran(data, BLOCKS, *TINY, given, preset=None)
    [told] = [line for line in lines if "Error: " in line]
    assert code != 0
    assert given.split("=")[0].split(".")[-1] in told or "rate" in given, told
