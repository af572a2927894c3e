"""What the loaders of public listening data share: sounds that were heard, sentence by sentence, with their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from braindecode_hub.errors import HubError, did_you_mean
from braindecode_hub.parts.opening import open_sound
from braindecode_hub.parts.recordings import Opened, Recordings
from braindecode_hub.types import Recording, Signal, Space, Trial
from braindecode_hub_speech_wav2vec.sentences import Sentence, Word, normalised, spans


@dataclass(frozen=True)
class Said:
    """What is said in one stimulus: its sentences, and its words where their times are known."""

    sentences: tuple[Sentence, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Playback:
    """A stimulus that was played in a recording: its second 0 is at `start`, both clocks running alike.

    `groups` besides those of the recording: the story, the condition.
    """

    stimulus: str
    start: float
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenedSpeech(Opened):
    """A recording with the texts of its stimuli besides the sounds."""

    texts: Mapping[str, Signal] = field(default_factory=dict)


class Heard(Recordings):
    """Recordings of listeners: trials are sentences, each long enough for a window of `shortest_s` seconds.

    Groups of a trial: subject, session, sentence (text with case, punctuation and spaces folded), and what a loader
    adds (story, run, condition). Sentences that no window fits into without touching the next one are left out, and
    counted in a note.
    """

    unverified: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("mne", "soundfile")
    path: str | None
    shortest_s: float
    conditions: list[str]
    """Which kinds of sentences make trials, for data that have several."""
    how: ClassVar[str] = ""
    """How to obtain the data, in one line."""

    @property
    def stimuli_spaces(self) -> tuple[Space, ...]:
        """The sound at each file's own rate, and its words as (text, start, stop) in seconds."""
        return (Space("audio", ("time",), "*"), Space("words"))

    @property
    def root(self) -> Path:
        """The folder of the data; HubError, which says how to obtain them, where none is given."""
        name = type(self).__name__.lower()
        if not self.path:
            raise HubError(f"speech_wav2vec/{name} needs its files, which it does not download", self.how, usage=True)
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise HubError(f"{folder} is no folder", self.how, usage=True)
        return folder

    def stimulus(self, id: str, space: Space) -> Signal:
        """Return the sound (samples,) float32, or the text in the space of words or transcripts that the data have."""
        if space.name not in ("words", "transcript"):
            return super().stimulus(id, space)
        known = {one.name for one in self.stimuli_spaces}
        if space.name not in known:
            raise HubError(f"{type(self).__name__} has no {space.name}", did_you_mean(space.name, known))
        found: dict[str, Signal] = {}
        for one in self._all().values():
            if isinstance(one, OpenedSpeech):
                found |= one.texts
        if id not in found:
            raise HubError(f"there is no stimulus '{id}'", did_you_mean(id, found))
        return found[id]

    def opened(
        self,
        recording: Recording,
        playbacks: Sequence[Playback],
        sounds: Mapping[str, Signal],
        said: Mapping[str, Said],
        *,
        files: Sequence[Path],
        notes: Sequence[str] = (),
    ) -> OpenedSpeech:
        """Return a recording with a trial for every sentence played in it; HubError if there is none."""
        if not self.shortest_s > 0:
            raise HubError(f"shortest_s is {self.shortest_s:g} s", "--set dataset.shortest_s=3", usage=True)
        trials: list[Trial] = []
        left = 0
        for number, playback in enumerate(playbacks, start=1):
            sound = sounds[playback.stimulus]
            seconds = sound.data.shape[0] / (sound.rate or 1.0)
            own = said[playback.stimulus].sentences
            for at, (sentence, span) in enumerate(zip(own, spans(own, seconds, self.shortest_s), strict=True), start=1):
                if sentence.kind and sentence.kind not in self.conditions:
                    continue
                trial = _trial(f"{recording.id}/{number:02d}/{at:03d}", recording, playback, sentence, span)
                left += trial is None
                trials += [trial] if trial is not None else []
        if not trials:
            raise HubError(
                f"recording {recording.id} has no sentence of {self.shortest_s:g} s",
                "--set dataset.shortest_s=1.5, or check the times of its words",
            )
        told = [f"{recording.id}: {left} sentences do not hold {self.shortest_s:g} s, and are left out"] if left else []
        used = {playback.stimulus for playback in playbacks}
        texts = {id: self._text(said[id]) for id in sorted(used)}
        heard = {id: sounds[id] for id in sorted(used)}
        return OpenedSpeech(recording, tuple(trials), heard, tuple(files), False, (*notes, *told), texts=texts)

    def _text(self, said: Said) -> Signal:
        if any(space.name == "words" for space in self.stimuli_spaces):
            return Signal([(word.text, word.start, word.stop) for word in said.words], None, "words")
        return Signal(" ".join(sentence.text for sentence in said.sentences), None, "transcript")


def sound_signal(path: Path, remedy: str) -> Signal:
    """Return a sound file opened by its header; HubError, with `remedy`, if it is not there."""
    if not path.is_file():
        raise HubError(f"{path} does not exist", remedy)
    sound, rate = open_sound(path, None)
    return Signal(sound, rate, "audio")


def _trial(
    name: str, recording: Recording, playback: Playback, sentence: Sentence, span: tuple[float, float] | None
) -> Trial | None:
    text = normalised(sentence.text)
    if span is None or not text:
        return None
    start, stop = playback.start + span[0], playback.start + span[1]
    if start < 0 or stop > recording.seconds:
        return None  # it was cut off where the recording begins or ends
    groups = {"subject": recording.subject, "session": recording.session, **playback.groups, "sentence": text}
    groups |= {"condition": sentence.kind} if sentence.kind else {}
    return Trial(name, recording.id, start, stop, playback.stimulus, span[0], span[1], groups)
