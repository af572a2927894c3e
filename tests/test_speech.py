"""The shipped speech: what its table says is what its sound holds."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import itertools
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from braindecode_hub.errors import HubError
from braindecode_hub.phantom import speech

FOLDER = files("braindecode_hub.phantom") / "speech"
TABLE: dict[str, Any] = json.loads(FOLDER.joinpath("speech.json").read_text(encoding="utf-8"))
STORIES = speech.stories()
every_story = pytest.mark.parametrize("story", STORIES, ids=[story.id for story in STORIES])


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that made the corpus; importing it needs no synthesiser."""
    path = Path(__file__).parents[1] / "tools/make_speech.py"
    spec = importlib.util.spec_from_file_location("make_speech", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def inside(story: speech.Story) -> np.ndarray:
    """Which samples lie within a word: `(samples,)` bool."""
    mask = np.zeros(len(speech.audio(story.id)), dtype=bool)
    for word in story.words:
        mask[round(word.start * speech.RATE) : round(word.stop * speech.RATE)] = True
    return mask


def decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def test_it_lasts_about_five_minutes_in_two_voices_of_about_half_each() -> None:
    total = sum(story.seconds for story in STORIES)
    assert 4 * 60 <= total <= 6 * 60
    voices = {story.voice for story in STORIES}
    assert len(voices) == 2
    for voice in voices:
        assert 0.4 <= sum(story.seconds for story in STORIES if story.voice == voice) / total <= 0.6
    assert all(one.voice != other.voice for one, other in itertools.pairwise(STORIES))


def test_it_is_small_enough_to_ship() -> None:
    assert sum(len(item.read_bytes()) for item in FOLDER.iterdir()) <= 2.5e6


def test_ids_are_those_of_the_table_and_of_the_files() -> None:
    assert tuple(story.id for story in STORIES) == speech.STORIES
    shipped = {item.name for item in FOLDER.iterdir() if item.name.endswith(".ogg")}
    assert shipped == {record["file"] for record in TABLE["stories"]}
    assert all(record["file"] == f"{record['id']}.ogg" for record in TABLE["stories"])


@pytest.mark.parametrize("record", TABLE["stories"], ids=lambda record: record["id"])
def test_files_are_the_ones_that_were_made(record: dict[str, Any]) -> None:
    import soundfile

    data = FOLDER.joinpath(record["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"]
    info = soundfile.info(io.BytesIO(data))
    assert (info.samplerate, info.channels, info.format, info.subtype) == (speech.RATE, 1, "OGG", "VORBIS")
    samples = speech.audio(record["id"])
    assert samples.shape == (record["samples"],) and samples.dtype == np.float32
    assert record["seconds"] == record["samples"] / TABLE["rate"] and TABLE["rate"] == speech.RATE == 22_050


@every_story
def test_words_and_sentences_follow_each_other(story: speech.Story) -> None:
    assert all(word.start < word.stop for word in story.words)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(story.words))
    assert story.words[0].start >= 0.25 and story.words[-1].stop <= story.seconds - 0.25
    pauses = [other.start - one.stop for one, other in itertools.pairwise(story.sentences)]
    assert all(0.249 <= pause <= 0.701 for pause in pauses) and np.ptp(pauses) > 0.2
    for index, sentence in enumerate(story.sentences):
        words = [word for word in story.words if word.sentence == index]
        assert [word.text for word in words] == re.findall("[A-Za-z]+", sentence.text)
        assert (words[0].start, words[-1].stop) == (sentence.start, sentence.stop)
        assert 5 <= len(words) <= 12
    assert {word.sentence for word in story.words} == set(range(len(story.sentences)))


def test_no_sentence_is_said_twice() -> None:
    texts = [sentence.text for story in STORIES for sentence in story.sentences]
    said = [" ".join(re.findall("[a-z]+", text.lower())) for text in texts]
    assert 60 <= len(said) == len(set(said)) <= 80


@every_story
def test_words_are_louder_than_pauses(story: speech.Story) -> None:
    samples, spoken = speech.audio(story.id), inside(story)
    assert decibels(samples[spoken]) - decibels(samples[~spoken]) > 20
    for one, other in itertools.pairwise(story.sentences):
        rest = samples[round((one.stop + 0.12) * speech.RATE) : round((other.start - 0.06) * speech.RATE)]
        assert decibels(rest) < decibels(samples[spoken]) - 40, f"sound after {one.text!r}"
    levels = [
        decibels(samples[round(word.start * speech.RATE) : round(word.stop * speech.RATE)]) for word in story.words
    ]
    assert min(levels) > decibels(samples[~spoken]) + 10, "a word that cannot be heard"


@every_story
def test_times_are_aligned_with_the_sound(story: speech.Story) -> None:
    """Of all shifts of the word times, one within 20 ms of none fits the sound best: none was guessed."""
    frame = speech.RATE // 100
    samples, spoken = speech.audio(story.id), inside(story)
    frames = len(samples) // frame
    power = np.square(samples[: frames * frame].astype(np.float64)).reshape(frames, frame).mean(axis=1)
    heard = np.log(power + 1e-7)
    mask = spoken[: frames * frame].reshape(frames, frame).mean(axis=1)
    lags = range(-30, 31)
    fit = [np.corrcoef(np.roll(mask, lag), heard)[0, 1] for lag in lags]
    assert max(fit) > 0.75
    assert abs(lags[int(np.argmax(fit))]) <= 2, "word times are more than 20 ms off"


@pytest.mark.parametrize("voice", ["slt", "awb"])
def test_words_that_begin_with_s_begin_with_a_hiss(voice: str) -> None:
    """Within sentences too: energy above 4 kHz rises where the table says that such a word starts."""
    rises = []
    for story in (story for story in STORIES if story.voice == voice):
        spectrum = np.fft.rfft(speech.audio(story.id).astype(np.float64))
        spectrum[np.fft.rfftfreq(len(speech.audio(story.id)), 1 / speech.RATE) < 4000] = 0
        hiss = np.fft.irfft(spectrum, len(speech.audio(story.id)))
        for word in (word for word in story.words if word.text.lower().startswith("s")):
            start = round(word.start * speech.RATE)
            frame = speech.RATE // 50
            before, after = hiss[start - 2 * frame : start - frame], hiss[start + frame : start + 3 * frame]
            rises.append(decibels(after) - decibels(before))
    assert len(rises) >= 20 and np.mean(rises) > 15


@every_story
def test_nothing_clips_and_loudness_is_even(story: speech.Story) -> None:
    samples = speech.audio(story.id)
    assert np.abs(samples).max() < 0.9
    assert abs(decibels(samples[inside(story)]) + 22) < 1, "dBFS within words"
    assert abs(float(samples.mean(dtype=np.float64))) < 1e-3


def test_the_loudest_sample_is_about_3_db_below_full_scale() -> None:
    peak = max(float(np.abs(speech.audio(name)).max()) for name in speech.STORIES)
    assert 20 * np.log10(peak) == pytest.approx(-3, abs=0.5)


def test_the_table_is_what_the_script_would_say(maker: ModuleType) -> None:
    assert {
        story.id: (story.voice, tuple(sentence.text for sentence in story.sentences)) for story in STORIES
    } == maker.STORIES
    assert list(maker.STORIES) == list(speech.STORIES)
    assert maker.RATE == speech.RATE


def test_audio_is_shared_and_cannot_be_written_to() -> None:
    samples = speech.audio("ferry")
    assert samples is speech.audio("ferry")
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 1


def test_an_unknown_story_says_which_are_known() -> None:
    with pytest.raises(HubError) as caught:
        speech.audio("fery")
    assert "fery" in caught.value.cause and "ferry" in caught.value.remedy


def test_without_soundfile_the_remedy_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    speech._audio.cache_clear()
    with pytest.raises(HubError) as caught:
        speech.audio("ferry")
    assert caught.value.cause == "phantom speech needs soundfile"
    assert caught.value.remedy == "pip install 'braindecode-hub[io]'"


def test_importing_it_is_light() -> None:
    code = "import sys, braindecode_hub.phantom.speech; print({'numpy', 'soundfile'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_licence_travels_with_the_sound() -> None:
    text = FOLDER.joinpath("LICENSE.md").read_text(encoding="utf-8")
    for needed in ("Carnegie Mellon University", "BSD-3-Clause", "tools/make_speech.py"):
        assert needed in text
    for name, version in TABLE["made_with"].items():
        assert re.search(rf"{name} {re.escape(version)}\b", text, re.IGNORECASE), f"{name} {version}"
