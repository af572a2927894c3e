"""The speech that simulated listeners hear: eight short stories, read by two synthetic voices.

Five minutes in all, with the time of every sentence and word: `tools/make_speech.py` makes them, and
`speech/LICENSE.md` says where they come from. Nothing heavy is imported with this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any

from braindecode_hub.errors import HubError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 22_050
"""Samples per second of all shipped speech. The voices hold nothing above 8 kHz."""

STORIES = ("ferry", "bread", "train", "garden", "mountain", "radio", "market", "stars")
"""The ids of the stories, in order; the voices take turns."""


@dataclass(frozen=True)
class Word:
    """One word as written, from `start` to `stop` in seconds of its story.

    `sentence` is the index of its sentence in the story.
    """

    text: str
    start: float
    stop: float
    sentence: int


@dataclass(frozen=True)
class Sentence:
    """One sentence with its punctuation, from its first word's start to its last word's stop in seconds."""

    text: str
    start: float
    stop: float


@dataclass(frozen=True)
class Story:
    """One stimulus: its voice (`slt`, a woman; `awb`, a man), its length in seconds, and what is said when.

    Sentences and words are in the order of time and do not overlap. `audio(id)` returns its sound.
    """

    id: str
    voice: str
    seconds: float
    sentences: tuple[Sentence, ...]
    words: tuple[Word, ...]


def stories() -> list[Story]:
    """Return every shipped story, in the order of `STORIES`."""
    return list(_stories())


def audio(story_id: str) -> NDArray[np.float32]:
    """Return the sound of a story: `(samples,)` float32 at `RATE` Hz, full scale ±1.

    The array is shared between callers, and so it is read-only. Raises HubError for an unknown id, and
    where soundfile, which reads Ogg Vorbis, is not installed.
    """
    if story_id not in STORIES:
        raise HubError(f"no shipped story is called {story_id!r}", did_you_mean(story_id, STORIES))
    return _audio(story_id)


def _read(name: str) -> bytes:
    return (files("braindecode_hub.phantom") / "speech" / name).read_bytes()


@cache
def _stories() -> tuple[Story, ...]:
    return tuple(_story(record) for record in json.loads(_read("speech.json"))["stories"])


def _story(record: dict[str, Any]) -> Story:
    return Story(
        id=record["id"],
        voice=record["voice"],
        seconds=record["seconds"],
        sentences=tuple(Sentence(**sentence) for sentence in record["sentences"]),
        words=tuple(Word(word["word"], word["start"], word["stop"], word["sentence"]) for word in record["words"]),
    )


@cache
def _audio(story_id: str) -> NDArray[np.float32]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the module is there, libsndfile is not
        raise HubError("phantom speech needs soundfile", "pip install 'braindecode-hub[io]'") from error
    samples: NDArray[np.float32] = soundfile.read(BytesIO(_read(f"{story_id}.ogg")), dtype="float32")[0]
    samples.setflags(write=False)
    return samples
